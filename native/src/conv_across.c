/* Walks across pixels: where few channels of a register block are unproven, each in many pixels, a channel takes one walk with
 * a pixel to each lane, and not each pixel one with a channel to each. For registers of 16 bits and lanes = 1. */
#include "conv.h"
#include "scalar.h"

/* How many walks the reading of a block's codes takes as long as, about. */
enum { READING = 2 };

static uint32_t unproven_channels(const hw_proof_block *b, int64_t block)
{
    uint32_t any = 0;
    for (int64_t p = 0; p < b->gemm->pixels; p++)
        any |= b->unproven[block][p];
    return any;
}

/* Whether that is fewer walks than by pixels, each of two blocks of channels. */
bool hw_across_pays(const hw_conv_op *op, const hw_proof_block *b, bool read)
{
    enum { MOST = 65535 };
    if (!op->lanes.across || op->lanes.entries > MOST || b->gemm->pixel_stride > INT32_MAX / ACROSS_PIXELS)
        return false;
    int64_t across = read ? 0 : READING, along = 0;
    for (int64_t block = 0; block < b->gemm->blocks; block++) {
        const bool pair = block % 2 == 0 && block + 1 < b->gemm->blocks;
        across += __builtin_popcount(unproven_channels(b, block));
        for (int64_t p = 0; p < b->gemm->pixels && block % 2 == 0; p++)
            along += b->unproven[block][p] || (pair && b->unproven[block + 1][p]);
    }
    return across < along;
}

/* One channel's accumulators, where they were not proven. */
static void take_channel(const hw_conv_op *op, hw_sixteen *at, int64_t lane, const hw_proof_block *b, int64_t block,
                         const int16_t *acc, const uint16_t *happened, hw_take_flag *flag, const hw_plan *plan,
                         int64_t events[HW_COUNTERS])
{
    const hw_order *o = op->order;
    const int64_t shift = op->proof.shift[at->k + lane], bias = op->proof.bias[at->k + lane];
    for (int64_t p = 0; p < b->gemm->pixels; p++) {
        if (!(b->unproven[block][p] >> lane & 1))
            continue;
        const int64_t exact = (int64_t)((uint64_t)(int64_t)at->magnitudes[p * LANES + lane] << shift) + bias;
        int64_t value = acc[p], event = 0;
        if (o->walk.bias_last)
            value = add_to(value, o->bias[at->k + lane], o->bits, o->low, o->high, o->walk.overflow, &event);
        const int64_t count = happened[p] + event;
        events[HW_AT_ACCUMULATOR] += count;
        events[HW_TRANSIENT_ACCUMULATOR] += exact >= o->low && exact <= o->high ? count : 0;
        at->sums[p * LANES + lane] = (int32_t)value + (at->add ? at->add[lane] : 0);
        if (count && plan->call->flags)
            *flag(plan, b, p, at->k + lane) |= 1 << 1;
    }
}

/* All unproven outputs of 16 channels, four channels at a time. */
void hw_walk_across(const hw_plan *plan, const hw_proof_block *b, hw_sixteen *at, int64_t block, const int16_t *codes,
                    hw_take_flag *flag, int64_t events[HW_COUNTERS])
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const hw_order *o = op->order;
    hw_across_walk walk = {.order = o, .codes = codes, .entries = op->lanes.entries};
    for (uint32_t left = unproven_channels(b, block); left;) {
        int64_t lanes[ACROSS_CHANNELS], count = 0;
        for (; left && count < ACROSS_CHANNELS; left &= left - 1)
            lanes[count++] = __builtin_ctz(left);
        for (int64_t i = 0; i < ACROSS_CHANNELS; i++) {
            const int64_t k = at->k + lanes[i < count ? i : 0];
            walk.weights[i] = op->lanes.across + k * op->lanes.entries;
            for (int64_t p = 0; p < ACROSS_PIXELS; p++)
                walk.acc[i][p] = o->walk.bias_last ? 0 : (int16_t)o->bias[k];
        }
        hw_walk_set_of(op)->walk_across(&walk);
        for (int64_t i = 0; i < count; i++)
            take_channel(op, at, lanes[i], b, block, walk.acc[i], walk.events[i], flag, plan, events);
    }
}
