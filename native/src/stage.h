/* The last stage of every operator: bias, accumulator, ReLU, scaling, zero point, clamp, overflow, store. One rule, three
 * widths.
 *
 * Exact: any contract, scalar, 128-bit intermediates (stage.c). Wide and narrow: int64 and int32 lanes, taken where
 * hw_stage_init has proven that no intermediate leaves them; all ten roundings are one formula there:
 *
 *     v = acc + add;  round(acc / 2^s) = (v + (((v >> pick_shift) ^ pick_flip) & pick_mask)) >> s
 *
 * `add` is 0, half - 1, half or 2^s - 1 with half = 2^(s-1), and the pick is nothing, the lowest bit of v >> s or the sign
 * of v. Why v will do in place of acc, with acc = q * 2^s + r: at a tie (r = half) v = acc + half - 1 = q * 2^s + 2^s - 1,
 * whose quotient is q and whose sign is q's; everywhere else adding 1 to v does not carry, whatever the pick.
 * So bias + add can be folded into what a product sum starts from, and the stage begins with v.
 *
 * The rules of scaling put other numbers in the place of acc and s: HW_MULTIPLY acc * multiplier in 64 bits, HW_HIGH_MULTIPLY
 * the high half, in 32, and what is left of the shift. HW_DOUBLE_ROUND adds two constants. HW_FLOAT32 with ties to even adds
 * and subtracts 1.5 * 2^23, from which on float32 has no binary places, where |code - zero point| is small.
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
    int64_t clamp_low, clamp_high; /* INT64_MIN, INT64_MAX: none */
    int64_t *bias, *multiplier; /* [padded] */
    int32_t *product_shift, *shift;

    bool narrow, wide;        /* proven: the int32, the int64 formula is exact */
    bool plain;               /* a shift to the right alone, which brings 0 to 0: what is folded into sums holds `add` */
    bool may_leave_acc;       /* the accumulator's wrap has to be done and counted */
    bool fits_sum32;          /* every total fits int32 by itself */
    bool foldable;            /* narrow, no product shift, accumulator wrap or output wrap, no event in idle lanes: sums may
                                 start from bias32 + folded_add */
    int32_t pick_flip;
    int32_t low, high, relu_before_low, relu_after_low, zero_point, clamp32_low, clamp32_high;
    int32_t *bias32, *folded_add, *left, *right, *add, *pick_shift, *pick_mask, *multiplier32; /* [padded] */
    float *scale;             /* [padded] */
    struct {
        int64_t *product_shift, *left, *right, *add, *pick_shift, *pick_mask; /* [padded], the same for int64 lanes */
        int64_t *multiplier, *nudge;
    } lanes64;
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
    uint8_t *flags;           /* bit 1, 3 set where the accumulator or the output overflows, acc_stride apart; NULL: none */
} hw_row;

/* HW_FLOAT32 in lanes: 1.5 * 2^23, and how far products may be from 0 for it to round them. */
#define HW_FLOAT_MAGIC 12582912.0f
#define HW_FLOAT_REACH 2097152.0f

/* total_low, total_high: proven range of each channel's total. Returns HW_OK or a code. */
int hw_stage_init(hw_stage *stage, int64_t channels, const hw_output *output, const int64_t *bias,
                  const int32_t *product_shift, const int32_t *shift, const int64_t *total_low,
                  const int64_t *total_high, hw_status *status);
void hw_stage_free(hw_stage *stage);

/* One value through the exact rule; its overflows are counted, and flagged where there is a flag. */
int64_t hw_stage_code(const hw_stage *stage, int64_t channel, int64_t total, int64_t *acc, uint8_t *flag,
                      int64_t events[HW_COUNTERS]);

/* The same from what is scaled and rounded already. */
__extension__ typedef __int128 hw_wide;
int64_t hw_stage_finish(const hw_stage *stage, hw_wide scaled, uint8_t *flag, int64_t events[HW_COUNTERS]);

typedef void hw_row_fn(const hw_stage *stage, const hw_row *row, int64_t events[HW_COUNTERS]);
hw_row_fn hw_row__exact;
hw_row_fn hw_row_s32__portable, hw_row_s32__avx2, hw_row_s32__avx512vnni;
hw_row_fn hw_row_s64__portable, hw_row_s64__avx2, hw_row_s64__avx512vnni;
/* Folded sums: they hold bias32 + folded_add, the accumulator, or v where the stage is plain. For foldable stages of 8-bit codes.
 * Where the sums of a register block's pixels lie, in elements, and their codes belong, in bytes from row->out on; row->sums are
 * int32, and pixels, out_stride and taps are not read. */
enum { HW_PLACES = 32 };
typedef struct hw_places {
    int64_t count;
    int64_t sums[HW_PLACES], out[HW_PLACES];
} hw_places;
void hw_folded_bytes__avx512vnni(const hw_stage *stage, const hw_row *row, const hw_places *places, int64_t *events);
/* The function for this stage on this instruction set. */
hw_row_fn *hw_row_function(const hw_stage *stage, int32_t isa);

#endif
