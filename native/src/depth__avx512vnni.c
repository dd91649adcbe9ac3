/* Depthwise sums of bytes with vpdpbusd: four rows of a column, 16 channels to a register. The bytes of four rows are woven
 * together once per column, and every pixel whose kernel covers the column multiplies them. Signed bytes are read as x + 128, and
 * `start` holds -128 * sum(w). */
#define HW_DEPTH hw_depth_s16__avx512vnni
#include "depth.inc"

#include <immintrin.h>

enum { COLUMNS = 72, BLOCKS = 4 };

/* Four rows of up to 64 channels -> [block][16 channels][4 rows]. Weaving works in lanes of 128 bits: the dwords (four channels)
 * of a row are dealt out to the lanes first, so that channels end in their order. */
static inline __attribute__((always_inline)) void weave(const uint8_t *at, int64_t row, int64_t rows, __m512i *to, const int blocks,
                                                        const bool is_signed)
{
    const __m512i deal = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i flip = _mm512_set1_epi8(is_signed ? (char)0x80 : 0);
    __m512i x[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
        const uint8_t *from = at + (r < rows ? r : rows - 1) * row; /* rows beyond the last have weights of 0 */
        const __m512i codes = blocks == 1 ? _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)from))
                                          : _mm512_loadu_si512(from);
        const __m512i dealt = _mm512_permutexvar_epi32(deal, codes);
        x[r] = is_signed ? _mm512_xor_si512(dealt, flip) : dealt;
    }
    const __m512i low01 = _mm512_unpacklo_epi8(x[0], x[1]), low23 = _mm512_unpacklo_epi8(x[2], x[3]);
    to[0] = _mm512_unpacklo_epi16(low01, low23);
    if (blocks > 1)
        to[1] = _mm512_unpackhi_epi16(low01, low23);
    if (blocks > 2) {
        const __m512i high01 = _mm512_unpackhi_epi8(x[0], x[1]), high23 = _mm512_unpackhi_epi8(x[2], x[3]);
        to[2] = _mm512_unpacklo_epi16(high01, high23);
        to[3] = _mm512_unpackhi_epi16(high01, high23);
    }
}

/* The sums of one block and `pixels` pixels from their columns, [column][row group][BLOCKS]. */
static inline __attribute__((always_inline)) void sum_block(const hw_gemm *g, const __m512i *columns, int64_t block, int64_t first,
                                                            int64_t pixels, const int64_t fours, const int64_t taps)
{
    const hw_depth *d = g->depth;
    const uint8_t *weights = g->weights + block * g->weight_stride;
    const __m512i start = _mm512_loadu_si512(g->start + block * LANES);
    int32_t *acc = g->acc + block * g->plane + first * LANES;
    const int64_t pixel_step = d->pixel_step * fours * BLOCKS, tap_step = d->tap_step * fours * BLOCKS;
    for (int64_t p = 0; p < pixels; p++) {
        const __m512i *column = columns + p * pixel_step + block;
        __m512i sum = start;
        for (int64_t four = 0; four < fours; four++)
            for (int64_t s = 0; s < taps; s++)
                sum = _mm512_dpbusd_epi32(sum, column[s * tap_step + four * BLOCKS],
                                          _mm512_loadu_si512(weights + (four * taps + s) * STEP_BYTES));
        _mm512_storeu_si512(acc + p * LANES, sum);
    }
}

static inline __attribute__((always_inline)) void pixels_together(const hw_gemm *g, int64_t first, int64_t pixels,
                                                                  const int blocks, const bool is_signed)
{
    const hw_depth *d = g->depth;
    const uint8_t *in = g->in + first * g->pixel_stride;
    const int64_t fours = ceil_div(d->rows, 4), count = (pixels - 1) * d->pixel_step + (d->taps - 1) * d->tap_step + 1;
    __m512i columns[COLUMNS * BLOCKS];
    for (int64_t q = 0; q < count; q++)
        for (int64_t four = 0; four < fours; four++)
            weave(in + q * d->column + 4 * four * d->row, d->row, d->rows - 4 * four, columns + (q * fours + four) * BLOCKS, blocks,
                  is_signed);
    for (int64_t block = 0; block < g->blocks; block++) {
        if (fours == 1 && d->taps == 3)
            sum_block(g, columns, block, first, pixels, 1, 3);
        else
            sum_block(g, columns, block, first, pixels, fours, d->taps);
    }
}

static inline __attribute__((always_inline)) void depth(const hw_gemm *g, const bool is_signed)
{
    for (int64_t first = 0; first < g->pixels; first += g->depth->together) {
        const int64_t pixels = min64(g->depth->together, g->pixels - first);
        switch (g->blocks) {
        case 1: pixels_together(g, first, pixels, 1, is_signed); break;
        case 2: pixels_together(g, first, pixels, 2, is_signed); break;
        default: pixels_together(g, first, pixels, 4, is_signed);
        }
    }
}

void hw_depth_u8__avx512vnni(const hw_gemm *g) { depth(g, false); }
void hw_depth_s8__avx512vnni(const hw_gemm *g) { depth(g, true); }
