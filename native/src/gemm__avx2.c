/* Product sums of 16-bit operands: vpmaddwd, 8 channels in a register, 4 pixels at a time. */
#include "conv.h"

#include <immintrin.h>
#include <string.h>

static inline __m256i broadcast(const uint8_t *in)
{
    int32_t pair;
    memcpy(&pair, in, sizeof pair);
    return _mm256_set1_epi32(pair);
}

static inline __attribute__((always_inline)) void pixels(const hw_gemm *g, int64_t block, int64_t first, const int count)
{
    const uint8_t *weights = g->weights + block * g->weight_stride;
    const uint8_t *in = g->in + first * g->pixel_stride;
    __m256i acc[4][2];
    for (int p = 0; p < count; p++)
        for (int half = 0; half < 2; half++)
            acc[p][half] = _mm256_loadu_si256((const __m256i *)(const void *)(g->start + block * LANES + 8 * half));
    for (int64_t step = 0; step < g->steps; step++, weights += BLOCK_BYTES) {
        const uint8_t *at = in + g->offsets[step];
        for (int d = 0; d < g->step[step].dwords; d++) {
            const __m256i *w = (const __m256i *)(const void *)(weights + d * STEP_BYTES);
            const __m256i w0 = _mm256_loadu_si256(w), w1 = _mm256_loadu_si256(w + 1);
            for (int p = 0; p < count; p++) {
                const __m256i x = broadcast(at + p * g->pixel_stride + 4 * d);
                acc[p][0] = _mm256_add_epi32(acc[p][0], _mm256_madd_epi16(x, w0));
                acc[p][1] = _mm256_add_epi32(acc[p][1], _mm256_madd_epi16(x, w1));
            }
        }
    }
    for (int p = 0; p < count; p++)
        for (int half = 0; half < 2; half++)
            _mm256_storeu_si256((__m256i *)(void *)(g->acc + block * g->plane + (first + p) * LANES + 8 * half),
                                acc[p][half]);
}

void hw_gemm_s16s16s32__avx2(const hw_gemm *g)
{
    for (int64_t block = 0; block < g->blocks; block++) {
        int64_t p = 0;
        for (; p + 4 <= g->pixels; p += 4)
            pixels(g, block, p, 4);
        for (; p < g->pixels; p++)
            pixels(g, block, p, 1);
    }
}
