/* hw_order: checks, copies, and the proof by bounds.
 *
 * Every register on the way holds a sum of some of {products, bias}, so that its exact value lies in [N + min(b, 0),
 * P + max(b, 0)], N the sum of the negative products and P of the positive ones, on the accumulator's grid. Where that fits
 * the narrowest register, nothing overflows in any order or mode, and the exact sum is the answer. */
#include "order.h"
#include "scalar.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TABLE = 1 << 24, MAX_WALK_LANES = 4096, MAX_TREE_BITS = 62 };

static bool between(int64_t value, int64_t low, int64_t high) { return value >= low && value <= high; }

static int check_modes(const hw_walk *w, hw_status *status)
{
    const int64_t checks[][3] = {
        {w->steps, 1, MAX_TABLE}, {w->lanes, 1, MAX_WALK_LANES}, {w->pairing, HW_ADJACENT, HW_CHAIN},
        {w->tree_overflow, HW_WRAP, HW_TRAP}, {w->overflow, HW_WRAP, HW_TRAP}, {w->rounding, HW_FLOOR, HW_TIES_ODD},
        {w->spill_every, 0, INT32_MAX}, {w->spill_bits, 2, 64}, {w->spill_shift, 0, MAX_TREE_BITS},
        {w->spill_rounding, HW_FLOOR, HW_TIES_ODD}, {w->spill_overflow, HW_WRAP, HW_TRAP},
        {w->spill_bits + w->spill_shift, 2, 64}, {w->levels, 0, MAX_WALK_LANES}};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (!between(checks[i][0], checks[i][1], checks[i][2]))
            return hw_fail(status, HW_BAD_ARGUMENT, (int64_t)i, checks[i][0]);
    if (w->steps * w->lanes > MAX_TABLE)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, w->steps);
    int32_t levels = w->pairing == HW_CHAIN ? w->lanes - 1 : 0;
    while (w->pairing != HW_CHAIN && 1 << levels < w->lanes)
        levels++;
    return w->levels == levels ? HW_OK : hw_fail(status, HW_BAD_ARGUMENT, 12, w->levels);
}

/* Each tap of the kernel must be in the table, once. */
static int check_taps(const hw_walk *w, int64_t taps, hw_status *status)
{
    uint8_t *seen = hw_alloc((size_t)taps, status);
    int64_t count = 0;
    for (int64_t i = 0; seen && i < w->steps * w->lanes && !status->code; i++) {
        const int64_t tap = w->taps[i];
        if (!between(tap, -1, taps - 1) || (tap >= 0 && seen[tap]))
            hw_fail(status, HW_OUT_OF_RANGE, i, tap);
        else if (tap >= 0)
            count += seen[tap] = 1;
    }
    free(seen);
    return status->code || count == taps ? status->code : hw_fail(status, HW_BAD_SHAPE, 0, count);
}

static int check_numbers(const hw_walk *w, int64_t k, hw_status *status)
{
    for (int level = 0; level < w->levels; level++)
        if (!between(w->level_bits[level], 2, MAX_TREE_BITS))
            return hw_fail(status, HW_OUT_OF_RANGE, level, w->level_bits[level]);
    for (int64_t i = 0; i < k; i++) {
        if (!between(w->drop[i], 0, MAX_TREE_BITS))
            return hw_fail(status, HW_OUT_OF_RANGE, i, w->drop[i]);
        if (!between(w->step_shift[i], -63, 63))
            return hw_fail(status, HW_OUT_OF_RANGE, i, w->step_shift[i]);
    }
    return HW_OK;
}

static void *copy(const void *from, size_t bytes, hw_status *status)
{
    void *to = hw_alloc(bytes + 1, status);
    if (to && bytes)
        memcpy(to, from, bytes);
    return to;
}

static int copy_all(hw_order *order, const hw_conv *conv, hw_status *status)
{
    const hw_walk *w = conv->walk;
    const size_t k = (size_t)conv->k, padded = (size_t)ceil_div(conv->k, 2 * LANES) * 2 * LANES;
    order->walk.taps = copy(w->taps, (size_t)(w->steps * w->lanes) * sizeof(int32_t), status);
    order->walk.level_bits = copy(w->level_bits, (size_t)w->levels * sizeof(int32_t), status);
    order->walk.drop = copy(w->drop, k * sizeof(int32_t), status);
    order->walk.step_shift = copy(w->step_shift, k * sizeof(int32_t), status);
    order->bias = hw_alloc(padded * sizeof(int64_t), status);
    order->settled_channel = hw_alloc(k, status);
    order->node_low = hw_alloc(k * sizeof(int64_t), status);
    order->node_high = hw_alloc(k * sizeof(int64_t), status);
    if (!status->code)
        memcpy(order->bias, conv->bias, k * sizeof(int64_t));
    return status->code;
}

/* Narrow low..high of the accumulator's grid to what a register of that range on a grid `shift` bits coarser holds. */
static void narrow(int64_t *low, int64_t *high, int64_t node_low, int64_t node_high, int shift)
{
    const hw_wide from = round_shift(node_low, -shift, HW_FLOOR), to = round_shift(node_high, -shift, HW_FLOOR);
    *low = from > *low ? (int64_t)from : *low;
    *high = to < *high ? (int64_t)to : *high;
}

static void settle(hw_order *order, int64_t k, int64_t sum_low, int64_t sum_high, bool exact)
{
    const hw_walk *w = &order->walk;
    const int shift = w->step_shift[k];
    int64_t *low = &order->node_low[k], *high = &order->node_high[k];
    *low = order->low;
    *high = order->high;
    for (int level = 0; level < w->levels; level++)
        narrow(low, high, register_low(w->level_bits[level], w->tree_overflow), register_high(w->level_bits[level]), shift);
    if (w->spill_every)
        narrow(low, high, order->spill_low, order->spill_high, w->spill_shift);
    if (!exact)
        return;
    const hw_wide least = ((hw_wide)sum_low << shift) + (order->bias[k] < 0 ? order->bias[k] : 0);
    const hw_wide most = ((hw_wide)sum_high << shift) + (order->bias[k] > 0 ? order->bias[k] : 0);
    order->settled_channel[k] = least >= *low && most <= *high;
}

int hw_order_init(hw_order *order, const hw_conv *conv, const int64_t *sum_low, const int64_t *sum_high,
                  bool exact_products, hw_status *status)
{
    const hw_walk *w = conv->walk;
    const int64_t taps = conv->c / conv->groups * conv->r * conv->s;
    if (check_modes(w, status) || taps > MAX_TABLE || check_taps(w, taps, status) || check_numbers(w, conv->k, status))
        return status->code ? status->code : hw_fail(status, HW_BAD_SHAPE, 0, taps);
    *order = (hw_order){.walk = *w, .channels = conv->k, .bits = conv->output.acc_bits};
    order->low = register_low(order->bits, w->overflow);
    order->high = register_high(order->bits);
    order->spill_low = register_low(w->spill_bits, w->spill_overflow);
    order->spill_high = register_high(w->spill_bits);
    if (copy_all(order, conv, status))
        return status->code;
    order->exact = exact_products && !(w->spill_every && w->spill_shift);
    for (int64_t k = 0; k < conv->k; k++)
        order->exact &= w->drop[k] == 0 && w->step_shift[k] >= 0;
    order->settled = order->exact;
    for (int64_t k = 0; k < conv->k; k++) {
        if (!between(conv->bias[k], order->low, order->high))
            return hw_fail(status, HW_OUT_OF_RANGE, k, conv->bias[k]);
        settle(order, k, sum_low[k], sum_high[k], order->exact);
        order->settled &= order->settled_channel[k];
    }
    return HW_OK;
}

void hw_order_free(hw_order *order)
{
    free((void *)order->walk.taps);
    free((void *)order->walk.level_bits);
    free((void *)order->walk.drop);
    free((void *)order->walk.step_shift);
    free(order->bias);
    free(order->settled_channel);
    free(order->node_low);
    free(order->node_high);
}
