/* The loops of window.h; maxima of bytes by hand: a register of 64 channels runs over all taps before it is stored. */
#define HW_WINDOW_STATIC
#include "window.inc"

#include <immintrin.h>

static inline __attribute__((always_inline)) void max_bytes(uint8_t *out, const uint8_t *const *taps, int64_t count,
                                                            int64_t channels, const bool is_signed)
{
    for (int64_t c = 0; c < channels; c += 64) {
        const int64_t lanes = min64(64, channels - c);
        const __mmask64 mask = ~(uint64_t)0 >> (64 - lanes);
        __m512i most = _mm512_maskz_loadu_epi8(mask, taps[0] + c);
        for (int64_t t = 1; t < count; t++) {
            const __m512i x = _mm512_maskz_loadu_epi8(mask, taps[t] + c);
            most = is_signed ? _mm512_max_epi8(most, x) : _mm512_max_epu8(most, x);
        }
        _mm512_mask_storeu_epi8(out + c, mask, most);
    }
}

static void max_taps_fast(void *out, const uint8_t *const *taps, int64_t count, int64_t channels, int32_t type)
{
    if (type == HW_S8)
        max_bytes(out, taps, count, channels, true);
    else if (type == HW_U8)
        max_bytes(out, taps, count, channels, false);
    else
        max_taps(out, taps, count, channels, type);
}

const hw_window_table hw_window__avx512vnni = {max_taps_fast, add_channels, float_max_taps};
