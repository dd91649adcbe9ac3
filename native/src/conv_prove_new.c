/* What conv_prove.c needs, made once: the channels' limits, and their lanes. */
#include "conv.h"
#include "scalar.h"

#include <stdlib.h>

typedef struct widest { int64_t weight, product; } widest; /* largest magnitudes */

static widest widest_of(const hw_conv_op *op, const hw_conv *conv)
{
    widest most = {0, 0};
    for (int64_t i = 0; i < conv->k * op->taps; i++)
        most.weight = max64(most.weight, llabs((long long)conv->weights[i]));
    most.product = most.weight * max64(-conv->in_low, conv->in_high);
    return most;
}

static bool tree_holds(const hw_walk *w, int64_t product)
{
    for (int level = 0; level < w->levels; level++) {
        const int64_t terms = w->pairing == HW_CHAIN ? level + 2 : level < 30 ? min64(w->lanes, (int64_t)2 << level) : w->lanes;
        if (terms * product > register_high(w->level_bits[level]))
            return false;
    }
    return true;
}

/* Where taps are left out, those behind them move into earlier steps. */
static bool closes_up(const hw_walk *w)
{
    return w->packed && w->lanes > 1 && (w->skip_padded || w->skip_zero_inputs || w->skip_zero_weights);
}

/* Whether the sums of segments prove an output, and 2 C + S + A fits int32. */
static bool separable(const hw_conv_op *op, const hw_conv *conv)
{
    const hw_walk *w = &op->order->walk;
    const int64_t largest = max64(-conv->in_low, conv->in_high);
    for (int64_t k = 0; k < conv->k; k++) {
        int64_t sum = 0;
        for (int64_t i = 0; i < op->taps; i++)
            sum += llabs((long long)conv->weights[k * op->taps + i]);
        if (sum > INT32_MAX / 4 / max64(1, largest))
            return false;
    }
    return conv->groups == 1 && !w->spill_every && !closes_up(w) && tree_holds(w, widest_of(op, conv).product);
}

/* The narrowest lanes that hold every accumulator plus step; LANES_NONE where steps must be taken one output at a time. */
static hw_lane_width choose_width(const hw_conv_op *op, const hw_conv *conv, bool *in_weights)
{
    const hw_order *o = op->order;
    const hw_walk *w = &o->walk;
    const widest most = widest_of(op, conv);
    int32_t shift = 0;
    for (int64_t k = 0; k < conv->k; k++)
        shift = w->step_shift[k] > shift ? w->step_shift[k] : shift;
    if (conv->groups != 1 || w->spill_every || closes_up(w) || !tree_holds(w, most.product) || conv->in_high > INT16_MAX ||
        most.weight > INT16_MAX)
        return LANES_NONE;
    const hw_wide step = (hw_wide)(most.product * w->lanes) << shift;
    *in_weights = shift < 15 && (most.weight << shift) <= INT16_MAX;
    if (*in_weights && w->lanes == 1 && o->bits <= 16 && (most.product << shift) <= INT16_MAX)
        return LANES_16;
    if (*in_weights && o->bits <= 31 && step + o->high <= INT32_MAX)
        return LANES_32;
    if (*in_weights && o->bits == 32 && o->low == INT32_MIN && step <= INT32_MAX)
        return LANES_32;
    *in_weights = false;
    if (most.product * w->lanes <= INT32_MAX && o->bits <= 63 && step + o->high <= INT64_MAX)
        return LANES_64;
    return LANES_NONE;
}

/* Which taps each entry of a column holds. */
static void place_taps(hw_lanes *l, const hw_walk *w)
{
    for (int64_t step = 0; step < w->steps; step++)
        for (int64_t pair = 0; pair < l->pairs; pair++)
            for (int64_t half = 0; half < 2; half++) {
                const int64_t lane = 2 * pair + half;
                l->taps[half * l->entries + step * l->pairs + pair] = lane < w->lanes ? w->taps[step * w->lanes + lane] : -1;
            }
}

static void pack_lanes(hw_conv_op *op, const int32_t *weights, bool in_weights)
{
    hw_lanes *l = &op->lanes;
    for (int64_t k = 0; k < op->conv.k; k++) {
        const int shift = op->order->walk.step_shift[k];
        const int64_t block = k / WALK_LANES, lane = k % WALK_LANES;
        l->shift[k] = in_weights ? 0 : shift;
        l->shifts |= l->shift[k] != 0;
        for (int64_t i = 0; i < l->entries; i++)
            for (int64_t half = 0; half < 2; half++) {
                const int32_t tap = l->taps[half * l->entries + i];
                if (tap < 0)
                    continue;
                const int32_t w = weights[k * op->taps + tap] * (1 << (in_weights ? shift : 0));
                if (l->across)
                    l->across[k * l->entries + i] = (int32_t)((uint32_t)(uint16_t)w * 0x10001u);
                if (l->width == LANES_16)
                    l->weights[(block * l->entries + i) * WALK_LANES + lane] = (int16_t)w;
                else
                    l->weights[((block * l->entries + i) * WALK_LANES + lane) * 2 + half] = (int16_t)w;
            }
    }
}

static int make_lanes(hw_conv_op *op, const hw_conv *conv, hw_status *status)
{
    hw_lanes *l = &op->lanes;
    const hw_walk *w = &op->order->walk;
    bool in_weights = false;
    l->width = choose_width(op, conv, &in_weights);
    if (l->width == LANES_NONE)
        return HW_OK;
    l->pairs = ceil_div(w->lanes, 2);
    l->single = l->pairs == 1;
    l->lone = w->lanes == 1;
    l->entries = w->steps * l->pairs;
    const int64_t blocks = ceil_div(conv->k, WALK_LANES), per_entry = l->width == LANES_16 ? WALK_LANES : 2 * WALK_LANES;
    l->taps = hw_alloc((size_t)l->entries * 2 * sizeof(int32_t), status);
    l->weights = hw_alloc((size_t)(blocks * l->entries * per_entry) * sizeof(int16_t), status);
    l->shift = hw_alloc((size_t)(blocks * WALK_LANES) * sizeof(int64_t), status);
    if (l->width == LANES_16 && hw_walk_set_of(op)->walk_across)
        l->across = hw_alloc((size_t)(conv->k * l->entries) * sizeof(int32_t), status);
    if (status->code)
        return status->code;
    place_taps(l, w);
    pack_lanes(op, conv->weights, in_weights);
    return HW_OK;
}

static int32_t clamp32(hw_wide x) { return (int32_t)(x < INT32_MIN ? INT32_MIN : x > INT32_MAX ? INT32_MAX : x); }

/* What the magnitudes' sum may be short of, since -2^(n-1) has no magnitude in n bits. */
static int64_t slack_of(const hw_conv_op *op, const int32_t *weights)
{
    const int32_t least = op->element == 1 ? INT8_MIN : INT16_MIN;
    const int64_t largest = max64(-op->conv.in_low, op->conv.in_high);
    int64_t slack = 0;
    for (int64_t i = 0; i < op->taps; i++)
        slack += (weights[i] <= least ? largest : 0) +
                 (op->element == 2 && op->conv.in_low == INT16_MIN ? llabs((long long)weights[i]) : 0);
    return slack;
}

static int make_proof(hw_conv_op *op, const hw_conv *conv, hw_status *status)
{
    const size_t n = (size_t)ceil_div(conv->k, WALK_LANES) * WALK_LANES;
    hw_proof *p = &op->proof;
    p->shift = hw_alloc(2 * n * sizeof(int64_t), status);
    p->limit_low = hw_alloc(4 * n * sizeof(int32_t), status);
    if (status->code)
        return status->code;
    p->bias = p->shift + n;
    p->limit_high = p->limit_low + n;
    p->shift32 = p->limit_high + n;
    p->bias32 = p->shift32 + n;
    for (size_t i = 0; i < n; i++) {
        p->limit_low[i] = INT32_MIN;
        p->limit_high[i] = INT32_MAX;
    }
    for (int64_t k = 0; k < conv->k; k++) {
        const hw_order *o = op->order;
        const int shift = o->walk.step_shift[k];
        const hw_wide slack = slack_of(op, conv->weights + k * op->taps);
        const bool always = op->separable && !o->walk.bias_last; /* the bias is in every sum */
        const int64_t most = always ? o->bias[k] : max64(o->bias[k], 0), least = always ? o->bias[k] : min64(o->bias[k], 0);
        const hw_wide high = ((hw_wide)o->node_high[k] - most) >> shift;
        const hw_wide low = -((least - (hw_wide)o->node_low[k]) >> shift);
        p->limit_high[k] = o->settled_channel[k] ? INT32_MAX : clamp32(2 * high - slack);
        p->limit_low[k] = o->settled_channel[k] ? INT32_MIN : clamp32(2 * low + slack);
        p->shift[k] = shift;
        p->bias[k] = o->bias[k];
        p->shift32[k] = shift < 32 ? shift : 31;
        p->bias32[k] = (int32_t)o->bias[k];
    }
    return HW_OK;
}

int hw_prove_init(hw_conv_op *op, const hw_conv *conv, hw_status *status)
{
    op->separable = separable(op, conv);
    return make_lanes(op, conv, status) ? status->code : make_proof(op, conv, status);
}

void hw_prove_free(hw_conv_op *op)
{
    free(op->cut);
    free(op->segment_start);
    free(op->lanes.taps);
    free(op->lanes.weights);
    free(op->lanes.across);
    free(op->lanes.shift);
    free(op->proof.shift);
    free(op->proof.limit_low);
}
