/* Product sums of 16-bit operands in plain C: the reference of the packed layout. */
#include "conv.h"

#include <string.h>

static void step_pixel(int32_t *acc, const uint8_t *in, const int16_t *weights, int dwords)
{
    for (int d = 0; d < dwords; d++) {
        int16_t x[2];
        memcpy(x, in + 4 * d, sizeof x);
        for (int lane = 0; lane < LANES; lane++) {
            const int16_t *w = weights + (d * LANES + lane) * 2;
            acc[lane] += x[0] * w[0] + x[1] * w[1];
        }
    }
}

void hw_gemm_s16s16s32__portable(const hw_gemm *g)
{
    for (int64_t b = 0; b < g->blocks; b++) {
        for (int64_t p = 0; p < g->pixels; p++) {
            int32_t *acc = g->acc + b * g->plane + p * LANES;
            const uint8_t *in = g->in + p * g->pixel_stride;
            memcpy(acc, g->start + b * LANES, LANES * sizeof *acc);
            for (int64_t step = 0; step < g->steps; step++) {
                const uint8_t *weights = g->weights + b * g->weight_stride + step * BLOCK_BYTES;
                step_pixel(acc, in + g->offsets[step], (const int16_t *)(const void *)weights, g->step[step].dwords);
            }
        }
    }
}
