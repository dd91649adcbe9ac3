/* Product sums on AMX tiles: 16 pixels x 64 bytes times 64 bytes x 16 channels. 32 pixels x 32 channels at a time: four
 * accumulator tiles (0-3), two of pixels (4, 5), two of weights (6, 7). A tile load takes any row stride, so neither
 * strided nor padded convolutions need an im2col. Needs 16 pixels or more; with fewer than 32 the two pixel tiles overlap
 * and write the same sums twice. */
#include "conv.h"

#include <immintrin.h>

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t column_bytes[16];
    uint8_t rows[16];
} tile_config;

/* Static: gcc's _tile_loadconfig claims to read 8 bytes only, and stores to the rest of a local could be dropped. */
static const tile_config all_tiles = {
    .palette = 1,
    .column_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};

void hw_tiles_on(void) { _tile_loadconfig(&all_tiles); }
void hw_tiles_off(void) { _tile_release(); }

enum { TILE_PIXELS = 16 };

#define MULTIPLY_PAIR(multiply, x, first, second) \
    multiply(first, x, 6);                        \
    multiply(second, x, 7);

/* Two blocks of channels; the second pixel tile starts `second` pixels behind the first. */
#define PAIR(multiply)                                                                             \
    _tile_loadd(0, g->start, 0); _tile_loadd(1, g->start + LANES, 0); /* the same row 16 times */  \
    _tile_loadd(2, g->start, 0); _tile_loadd(3, g->start + LANES, 0);                              \
    for (int64_t step = 0; step < g->steps; step++, weights += BLOCK_BYTES) {                      \
        const uint8_t *at = g->in + g->offsets[step];                                              \
        _tile_loadd(6, weights, STEP_BYTES);                                                       \
        _tile_loadd(4, at, g->pixel_stride);                                                       \
        _tile_loadd(7, weights + g->weight_stride, STEP_BYTES);                                    \
        _tile_loadd(5, at + second * g->pixel_stride, g->pixel_stride);                            \
        MULTIPLY_PAIR(multiply, 4, 0, 1)                                                           \
        MULTIPLY_PAIR(multiply, 5, 2, 3)                                                           \
    }

#define SINGLE(multiply)                                                                           \
    _tile_loadd(0, g->start, 0); _tile_loadd(2, g->start, 0);                                      \
    for (int64_t step = 0; step < g->steps; step++, weights += BLOCK_BYTES) {                      \
        const uint8_t *at = g->in + g->offsets[step];                                              \
        _tile_loadd(6, weights, STEP_BYTES);                                                       \
        _tile_loadd(4, at, g->pixel_stride);                                                       \
        _tile_loadd(5, at + second * g->pixel_stride, g->pixel_stride);                            \
        multiply(0, 4, 6);                                                                         \
        multiply(2, 5, 6);                                                                         \
    }

#define GEMM(name, multiply)                                          \
    void name(const hw_gemm *g)                                       \
    {                                                                 \
        __asm__ volatile("" ::: "memory"); /* the tile loads of gcc do not say that they read memory */ \
        const uint8_t *weights = g->weights;                          \
        const int64_t second = g->pixels - TILE_PIXELS;               \
        if (g->blocks == 2) {                                         \
            PAIR(multiply)                                            \
        } else {                                                      \
            SINGLE(multiply)                                          \
        }                                                             \
    }

GEMM(hw_gemm_s8s8s32__amx, _tile_dpbssd)
GEMM(hw_gemm_u8s8s32__amx, _tile_dpbusd)

void hw_tiles_collect(const hw_gemm *g)
{
    const int64_t second = (g->pixels - TILE_PIXELS) * LANES;
    _tile_stored(0, g->acc, STEP_BYTES);
    _tile_stored(2, g->acc + second, STEP_BYTES);
    if (g->blocks == 2) {
        _tile_stored(1, g->acc + g->plane, STEP_BYTES);
        _tile_stored(3, g->acc + g->plane + second, STEP_BYTES);
    }
}
