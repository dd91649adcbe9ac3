/* Rows of channels for pooling and sums: plain loops that the compiler vectorises, compiled once per instruction set. */
#ifndef HW_WINDOW_H
#define HW_WINDOW_H

#include <stdint.h>

/* How minifloat codes compare: hwsim.arith.float_order. */
typedef struct hw_float_order {
    int64_t magnitude;       /* mask of the bits below the sign */
    int64_t sign;            /* the sign's bit */
    int64_t top;             /* a magnitude above it is NaN */
    int64_t nan_word;        /* a code that is NaN whatever its magnitude, or -1 */
    int64_t nan;             /* the one NaN result */
} hw_float_order;

typedef struct hw_window_table {
    /* out[i] = max over taps of in[tap][i], for codes of `type`. */
    void (*max)(void *out, const uint8_t *const *taps, int64_t count, int64_t channels, int32_t type);
    /* sums[i] += in[i] << align, int32 (8- and 16-bit codes only). */
    void (*add)(int32_t *sums, const void *in, int64_t channels, int32_t type, int32_t align);
    /* For a block of at most 16 channels of pixels that lie `stride` bytes apart, 16 sums to each: sums[i] += in[i] << align, and
     * sums[i] += table[low byte of in[i]], of 8-bit codes. */
    void (*add_pixels)(int32_t *sums, const uint8_t *in, int64_t pixels, int64_t stride, int64_t channels, int32_t type,
                       int32_t align);
    void (*look_up_pixels)(int32_t *sums, const uint8_t *in, int64_t pixels, int64_t stride, int64_t channels,
                           const int32_t *table);
    /* as max, for minifloat codes: uint8, uint16 or uint32. */
    void (*float_max)(void *out, const uint8_t *const *taps, int64_t count, int64_t channels, int32_t type,
                      const hw_float_order *order);
} hw_window_table;

extern const hw_window_table hw_window__portable, hw_window__avx2, hw_window__avx512vnni;
const hw_window_table *hw_window_for(int32_t isa);

#endif
