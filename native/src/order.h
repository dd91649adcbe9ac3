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
