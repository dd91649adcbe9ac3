/* Rows of channels for pooling and sums: plain loops that the compiler vectorises, compiled once per instruction set. */
#ifndef HW_WINDOW_H
#define HW_WINDOW_H

#include <stdint.h>

typedef struct hw_window_table {
    /* out[i] = max over taps of in[tap][i], for codes of `type`. */
    void (*max)(void *out, const uint8_t *const *taps, int64_t count, int64_t channels, int32_t type);
    /* sums[i] += in[i] << align, int32 (8- and 16-bit codes only). */
    void (*add)(int32_t *sums, const void *in, int64_t channels, int32_t type, int32_t align);
} hw_window_table;

extern const hw_window_table hw_window__portable, hw_window__avx2, hw_window__avx512vnni;
const hw_window_table *hw_window_for(int32_t isa);

#endif
