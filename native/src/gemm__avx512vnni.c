/* Product sums with vpdpbusd (bytes) and vpdpwssd (halves): up to 4 blocks of 16 channels x 6 or 8 pixels in registers.
 *
 * vpdpbusd wants unsigned inputs: signed ones are read as x + 128 (the top bit flipped), and `start` holds -128 * sum(w).
 * Both instructions wrap modulo 2^32 and the final sum fits, so sums on the way may leave int32. */
#include "conv.h"

#include <immintrin.h>
#include <string.h>

enum kind { U8S8, S8S8, S16S16 };

static inline __attribute__((always_inline)) __m512i multiply_add(__m512i acc, __m512i x, __m512i w, const enum kind kind)
{
    return kind == S16S16 ? _mm512_dpwssd_epi32(acc, x, w) : _mm512_dpbusd_epi32(acc, x, w);
}

static inline __attribute__((always_inline)) __m512i broadcast(const uint8_t *in, const enum kind kind)
{
    int32_t dword;
    memcpy(&dword, in, sizeof dword);
    const __m512i x = _mm512_set1_epi32(dword);
    return kind == S8S8 ? _mm512_xor_si512(x, _mm512_set1_epi8((char)0x80)) : x;
}

/* `blocks` x `count` sums, from pixel `first` and block `block` on. Both are constants where this is inlined. */
static inline __attribute__((always_inline)) void tile(const hw_gemm *g, int64_t block, int64_t first, const int blocks,
                                                       const int count, const enum kind kind)
{
    const uint8_t *weights = g->weights + block * g->weight_stride;
    const uint8_t *in = g->in + first * g->pixel_stride;
    const int64_t pixel = g->pixel_stride, next = g->weight_stride;
    __m512i acc[4][8], w[4];
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++)
#pragma GCC unroll 8
        for (int p = 0; p < count; p++)
            acc[b][p] = _mm512_loadu_si512(g->start + (block + b) * LANES);
    for (int64_t step = 0; step < g->steps; step++, weights += BLOCK_BYTES) {
        const uint8_t *at = in + g->offsets[step], *from = weights;
        const uint8_t *end = at + 4 * g->step[step].dwords;
        for (; at < end; at += 4, from += STEP_BYTES) {
#pragma GCC unroll 4
            for (int b = 0; b < blocks; b++)
                w[b] = _mm512_loadu_si512(from + b * next);
#pragma GCC unroll 8
            for (int p = 0; p < count; p++) {
                const __m512i x = broadcast(at + p * pixel, kind);
#pragma GCC unroll 4
                for (int b = 0; b < blocks; b++)
                    acc[b][p] = multiply_add(acc[b][p], x, w[b], kind);
            }
        }
    }
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++)
#pragma GCC unroll 8
        for (int p = 0; p < count; p++)
            _mm512_storeu_si512(g->acc + (block + b) * g->plane + (first + p) * LANES, acc[b][p]);
}

/* All pixels of `blocks` blocks; the last group of pixels overlaps the one before it rather than running over the end. */
static inline __attribute__((always_inline)) void strip(const hw_gemm *g, int64_t block, const int blocks, const int count,
                                                        const enum kind kind)
{
    if (g->pixels < count) {
        for (int64_t p = 0; p < g->pixels; p++)
            tile(g, block, p, blocks, 1, kind);
        return;
    }
    for (int64_t p = 0; p < g->pixels; p += count)
        tile(g, block, min64(p, g->pixels - count), blocks, count, kind);
}

static inline __attribute__((always_inline)) void gemm(const hw_gemm *g, const enum kind kind)
{
    switch (g->blocks) {
    case 1: strip(g, 0, 1, 8, kind); break;
    case 2: strip(g, 0, 2, 8, kind); break;
    case 3: strip(g, 0, 3, 8, kind); break;
    default: strip(g, 0, 4, 6, kind); break;
    }
}

void hw_gemm_u8s8s32__avx512vnni(const hw_gemm *g) { gemm(g, U8S8); }
void hw_gemm_s8s8s32__avx512vnni(const hw_gemm *g) { gemm(g, S8S8); }
void hw_gemm_s16s16s32__avx512vnni(const hw_gemm *g) { gemm(g, S16S16); }
