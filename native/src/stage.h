/* The last stage of every operator: bias, accumulator, ReLU, rounding shift, overflow, store. One rule, two widths.
 *
 * Wide: any contract, scalar, 128-bit intermediates (stage_wide.c). Narrow: int32 lanes, taken where hw_stage_init has
 * proven that no intermediate leaves int32; all ten roundings are one formula there:
 *
 *     round(v / 2^s) = (v + add + (((v >> pick_shift) ^ pick_flip) & pick_mask)) >> s
 *
 * with add and the pick chosen per mode: nothing (FLOOR, CEIL, TIES_UP, TIES_DOWN), the lowest bit of q = v >> s
 * (TIES_EVEN, TIES_ODD: pick_shift = s, mask 1), or the sign of v (the other four: pick_shift = 31, mask = what a negative
 * v adds more).
 */
#ifndef HW_STAGE_H
#define HW_STAGE_H

#include "hwsim.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct hw_stage {
    int64_t channels, padded; /* padded: the next multiple of LANES */
    hw_output output;
    int32_t code_bits;        /* of low..high, for HW_WRAP */
    bool code_signed;
    int64_t *bias;            /* [padded] */
    int32_t *product_shift, *shift;

    bool narrow;              /* proven: the int32 formula is exact */
    bool plain;               /* narrow, and no product shift, left shift, accumulator wrap or output wrap */
    bool may_leave_acc;       /* the accumulator's wrap has to be done and counted */
    bool fits_sum32;          /* every total fits int32 by itself */
    int32_t pick_flip;
    int32_t low, high, relu_before_low, relu_after_low;
    int32_t *bias32, *left, *right, *add, *pick_shift, *pick_mask; /* [padded] */
} hw_stage;

/* One row of pixels: sums[block][pixel][lane] with `plane` elements from block to block. */
typedef struct hw_row {
    const int32_t *sums;      /* int32 totals, or NULL */
    const int64_t *wide_sums; /* int64 totals */
    int64_t plane;
    int64_t pixels, first_channel, blocks;
    void *out;                /* channel `first_channel` of the first pixel */
    int32_t out_type;
    int64_t out_stride;       /* elements from pixel to pixel */
    void *acc;                /* tap, likewise; NULL: none */
    int32_t acc_type;
    int64_t acc_stride;
} hw_row;

/* total_low, total_high: proven range of each channel's total. Returns HW_OK or a code. */
int hw_stage_init(hw_stage *stage, int64_t channels, const hw_output *output, const int64_t *bias,
                  const int32_t *product_shift, const int32_t *shift, const int64_t *total_low,
                  const int64_t *total_high, hw_status *status);
void hw_stage_free(hw_stage *stage);

/* One value through the exact rule. */
int64_t hw_stage_code(const hw_stage *stage, int64_t channel, int64_t total, int64_t *acc, int64_t events[2]);

typedef void hw_row_fn(const hw_stage *stage, const hw_row *row, int64_t events[2]);
hw_row_fn hw_row__wide, hw_row_s32__portable, hw_row_s32__avx2, hw_row_s32__avx512vnni;
/* The function for this stage on this instruction set. */
hw_row_fn *hw_row_function(const hw_stage *stage, int32_t isa);

#endif
