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

static inline __m512i load_codes(const uint8_t *in, __mmask16 mask, int32_t type)
{
    switch (type) {
    case HW_S8: return _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, in));
    case HW_U8: return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, in));
    case HW_S16: return _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(mask, in));
    default: return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, in));
    }
}

static inline __attribute__((always_inline)) void add_typed(int32_t *sums, const uint8_t *in, int64_t pixels, int64_t stride,
                                                            __mmask16 mask, __m128i align, const int32_t type)
{
    for (int64_t p = 0; p < pixels; p++, in += stride, sums += LANES) {
        const __m512i term = _mm512_sll_epi32(load_codes(in, mask, type), align);
        _mm512_storeu_si512(sums, _mm512_add_epi32(_mm512_loadu_si512(sums), term));
    }
}

static void add_pixels_fast(int32_t *sums, const uint8_t *in, int64_t pixels, int64_t stride, int64_t channels, int32_t type,
                            int32_t align)
{
    const __mmask16 mask = (__mmask16)((1u << channels) - 1);
    const __m128i by = _mm_cvtsi32_si128(align);
    switch (type) {
    case HW_S8: add_typed(sums, in, pixels, stride, mask, by, HW_S8); break;
    case HW_U8: add_typed(sums, in, pixels, stride, mask, by, HW_U8); break;
    case HW_S16: add_typed(sums, in, pixels, stride, mask, by, HW_S16); break;
    default: add_typed(sums, in, pixels, stride, mask, by, HW_U16);
    }
}

static void look_up_fast(int32_t *sums, const uint8_t *in, int64_t pixels, int64_t stride, int64_t channels, const int32_t *table)
{
    const __mmask16 mask = (__mmask16)((1u << channels) - 1);
    for (int64_t p = 0; p < pixels; p++, in += stride, sums += LANES) {
        const __m512i at = load_codes(in, mask, HW_U8);
        const __m512i term = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), mask, at, table, 4);
        _mm512_storeu_si512(sums, _mm512_add_epi32(_mm512_loadu_si512(sums), term));
    }
}

const hw_window_table hw_window__avx512vnni = {max_taps_fast, add_channels, add_pixels_fast, look_up_fast, float_max_taps};
