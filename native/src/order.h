/* A declared order, made ready: what the accumulator does step by step, and when nothing of it can be seen in the result. */
#ifndef HW_ORDER_H
#define HW_ORDER_H

#include "core.h"

typedef struct hw_order {
    hw_walk walk;            /* its pointers are copies, freed with it */
    int64_t channels;
    int32_t bits;            /* of the accumulator */
    int64_t low, high, spill_low, spill_high;
    int64_t *bias;           /* [channels padded to 2 * LANES] */
    bool exact;              /* no bit is lost between product and accumulator: without overflow the exact sum is the answer */
    bool settled;            /* exact, and nothing can overflow in any channel, whatever the image */
    uint8_t *settled_channel; /* [channels] */
    int64_t *node_low, *node_high; /* [channels], range that every register on the way holds, on the accumulator's grid */
} hw_order;

/* What the walk over one output's steps ends with. */
typedef struct hw_walked {
    int64_t acc;
    bool persistent;         /* what the same path ends with when no register overflows does not fit the accumulator */
    int64_t tree, accumulator, spill; /* events */
} hw_walked;

enum { WALK_LANES = 2 * LANES, WALK_PIXELS = 4 };

/* Registers of 16, 32 or 64 bits, one output channel to a lane: for orders in which steps of zero change nothing, trees cannot
 * overflow and nothing is rounded or spilled. A column is what one pixel's taps read, in the order of the steps.
 * LANES_16: one tap to an entry, twice in its halves; lanes = 1. Else two taps to an entry, `pairs` entries to a step.
 * LANES_32: accumulator plus step fit int32, or the register is int32 itself and the step fits. */
typedef enum hw_lane_width { LANES_NONE, LANES_16, LANES_32, LANES_64 } hw_lane_width;

typedef struct hw_lanes {
    hw_lane_width width;
    int64_t entries, pairs;  /* of a column; of a step */
    int32_t *taps;           /* [2][entries]: of the low halves, then of the high ones; -1: none, and its weight is 0 */
    int16_t *weights;        /* [blocks of 32 channels][entries][32 channels], or [..][entries][2][16 channels][2 taps] */
    int32_t *across;         /* [channels padded][entries], LANES_16: each weight twice, for walks across pixels; else NULL */
    int64_t *shift;          /* [channels padded], of each step's sum; 0 where it is in the weights */
    bool shifts;
    bool single, lone;       /* one entry to a step; one tap to a step */
} hw_lanes;

/* One walk of up to four pixels through 32 channels. */
typedef struct hw_lane_walk {
    const hw_order *order;
    const hw_lanes *lanes;
    int64_t block, pixels;
    const int32_t *columns[WALK_PIXELS];
    _Alignas(64) int64_t acc[WALK_PIXELS][WALK_LANES];
    _Alignas(64) int32_t events[WALK_PIXELS][WALK_LANES];
} hw_lane_walk;

enum { ACROSS_PIXELS = 32, ACROSS_CHANNELS = 4 };

/* One walk of up to four channels, 16-bit registers, with a pixel to each lane. */
typedef struct hw_across_walk {
    const hw_order *order;
    const int16_t *codes;    /* [entries][ACROSS_PIXELS] */
    const int32_t *weights[ACROSS_CHANNELS]; /* all are read */
    int64_t entries;
    _Alignas(64) int16_t acc[ACROSS_CHANNELS][ACROSS_PIXELS]; /* in: what they start from */
    _Alignas(64) uint16_t events[ACROSS_CHANNELS][ACROSS_PIXELS];
} hw_across_walk;

/* The proof by sums. S: the exact sum of a segment, A: that of magnitudes, so that P = (S + A) / 2 and N = (S - A) / 2; C: the
 * exact sum of all segments before it. Per channel, padded: proven where 2 C + S + A <= limit_high and 2 C + S - A >= limit_low
 * for each segment. v = (S << shift) + bias is the accumulator then, S of all segments. */
typedef struct hw_proof {
    int32_t *limit_low, *limit_high;
    int64_t *shift, *bias;   /* bias: with what the stage folds into its sums */
    int32_t *shift32, *bias32;
} hw_proof;

/* 16 channels of one pixel on their way from sums to accumulators; k: the first of them. */
typedef struct hw_sixteen {
    const hw_order *order;
    const hw_proof *proof;
    int64_t k;
    const int32_t *add;      /* [16], what the stage folds into its sums, or NULL */
    const int32_t *part;     /* S of this segment, where sums hold C; NULL: sums hold S, and there is none before it */
    bool more;               /* segments follow: sums become C + S, and nothing else is written */
    int32_t *sums;           /* in: S or C; out: accumulators of at most 32 bits, with `add` */
    int64_t *wide;           /* out: wider ones */
    int32_t *magnitudes;     /* in: A; out: S of all segments, where anything is unproven */
} hw_sixteen;

/* Products that are rounded, 32 channels of one pixel in lanes of int32: one tap to a step, and zeros change nothing. The
 * product of a weight is round(+-x * factor * 2^-right); accumulators are int64. */
typedef struct hw_round_lanes {
    int64_t taps;            /* in the order of the steps */
    int32_t *factor;         /* [blocks of 32 channels][taps][32], 0 for a weight of zero */
    int8_t *right;           /* likewise, 0..30 */
    int8_t *negative;        /* likewise, 0 or -1: the sign is applied to what has been rounded; NULL: it is in the factor */
    int64_t *left;           /* [channels padded], of what has been rounded */
    int32_t rounding;        /* hw_rounding */
    int32_t *tap;            /* [taps] */
} hw_round_lanes;

/* order NULL: no register holds the sum; exact is all there is. */
typedef struct hw_round_walk {
    const hw_order *order;
    const hw_round_lanes *rounded;
    const int32_t *codes;    /* [taps], in the order of the steps */
    int64_t block;
    int64_t acc[WALK_LANES], exact[WALK_LANES]; /* set by the caller */
    int32_t events[WALK_LANES];
} hw_round_walk;

/* What is compiled once per instruction set. */
typedef struct hw_walk_set {
    void (*walk_rounded)(hw_round_walk *walk);
    /* Columns beyond walk->pixels are read, too: the caller repeats one. acc and events are set. */
    void (*walk)(hw_lane_walk *walk);
    /* NULL where there is none; entries < 65,536. */
    void (*walk_across)(hw_across_walk *walk);
    /* codes[entry][pixel] from the codes at pixel * stride + offsets[entry]; pixels beyond the last repeat it. */
    void (*rows)(const hw_lanes *lanes, const uint8_t *first, int64_t stride, int64_t pixels, const int32_t *offsets,
                 int32_t type, int16_t *codes);
    /* A column from the codes (HW_S8, HW_U8, or halves) at pixel + offsets[0][entry] and, behind it, [1][entry]. */
    void (*column)(const hw_lanes *lanes, const uint8_t *pixel, const int32_t *offsets, int32_t type, int32_t *column);
    /* Turn the sums of pixels that lie one behind the other into accumulators; set a bit for each output that is not proven. */
    void (*prove)(const hw_sixteen *first, int64_t pixels, uint16_t *unproven);
    /* Take over what was walked where a bit is set, and count. */
    void (*take)(const hw_sixteen *at, uint32_t unproven, const int64_t *acc, const int32_t *happened,
                 int64_t events[HW_COUNTERS]);
} hw_walk_set;

extern const hw_walk_set hw_walk_set__portable, hw_walk_set__avx2, hw_walk_set__avx512vnni;

/* sum_low, sum_high: per channel, proven range of the sum of any of its products. exact_products: none is rounded. */
int hw_order_init(hw_order *order, const hw_conv *conv, const int64_t *sum_low, const int64_t *sum_high,
                  bool exact_products, hw_status *status);
void hw_order_free(hw_order *order);

/* Count what an output's walk saw, and flag it. flag: of the output, or NULL. */
static inline void hw_order_count(const hw_walked *walked, uint8_t *flag, int64_t events[HW_COUNTERS])
{
    events[HW_AT_TREE] += walked->tree;
    events[HW_AT_ACCUMULATOR] += walked->accumulator;
    events[HW_AT_SPILL] += walked->spill;
    if (!walked->persistent) {
        events[HW_TRANSIENT_TREE] += walked->tree;
        events[HW_TRANSIENT_ACCUMULATOR] += walked->accumulator;
        events[HW_TRANSIENT_SPILL] += walked->spill;
    }
    if (flag)
        *flag |= (uint8_t)((walked->tree > 0) | (walked->accumulator > 0) << 1 | (walked->spill > 0) << 2);
}

#endif
