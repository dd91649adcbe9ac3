/* Product sums of 16-bit operands in plain C. Here the two elements of a dword lie [element][channel], not
 * [channel][element]: one plain loop of widening multiplies by one code, which compilers vectorise on every machine (the
 * pragma keeps gcc from unrolling it before it looks). */
#include "conv.h"

#include <string.h>

enum { PIXELS = 4 };

static void multiply_add(int32_t *restrict acc, int16_t x, const int16_t *restrict weights)
{
#pragma GCC unroll 1
    for (int lane = 0; lane < LANES; lane++)
        acc[lane] += (int32_t)x * weights[lane];
}

static void step_pixels(int32_t *acc, const uint8_t *in, int64_t pixel_stride, const int16_t *weights, int elements,
                        int64_t pixels)
{
    for (int e = 0; e < elements; e++) {
        for (int64_t p = 0; p < pixels; p++) {
            int16_t x;
            memcpy(&x, in + p * pixel_stride + 2 * e, sizeof x);
            multiply_add(acc + p * LANES, x, weights + e * LANES);
        }
    }
}

void hw_gemm_s16s16s32__portable(const hw_gemm *g)
{
    for (int64_t b = 0; b < g->blocks; b++) {
        for (int64_t first = 0; first < g->pixels; first += PIXELS) {
            const int64_t pixels = min64(PIXELS, g->pixels - first);
            int32_t *acc = g->acc + b * g->plane + first * LANES;
            for (int64_t p = 0; p < pixels; p++)
                memcpy(acc + p * LANES, g->start + b * LANES, LANES * sizeof *acc);
            for (int64_t step = 0; step < g->steps; step++) {
                const uint8_t *weights = g->weights + b * g->weight_stride + step * BLOCK_BYTES;
                step_pixels(acc, g->in + first * g->pixel_stride + g->offsets[step], g->pixel_stride,
                            (const int16_t *)(const void *)weights, 2 * g->step[step].dwords, pixels);
            }
        }
    }
}
