/* Any convolution with a declared order or a shift-add unit, by the definition: one output after the other, its products
 * step by step, in scalars of 64 and 128 bits. */
#include "conv.h"
#include "scalar.h"

/* What one output's taps read less the zero point, in the order (c, r, s). */
typedef struct window {
    int32_t *codes;
    uint8_t *padded;         /* 1: outside the image, and the code is 0 */
} window;

static void read_window(const hw_plan *plan, int64_t n, int64_t group, int64_t y, int64_t x, window *to)
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const hw_conv *v = &op->conv;
    const hw_tensor *in = &plan->call->inputs[0];
    const int64_t c_group = v->c / v->groups, kernel = v->r * v->s;
    for (int64_t tap = 0; tap < kernel; tap++) {
        const int64_t iy = y * v->stride_h + tap / v->s * v->dilation_h - v->pad_h;
        const int64_t ix = x * v->stride_w + tap % v->s * v->dilation_w - v->pad_w;
        const bool padded = iy < 0 || iy >= in->h || ix < 0 || ix >= in->w;
        const void *pixel = padded ? NULL : hw_pixel(in, n, iy, ix);
        for (int64_t c = 0; c < c_group; c++) {
            to->codes[c * kernel + tap] = padded ? 0 : (int32_t)(hw_load(pixel, in->type, group * c_group + c) - op->zero);
            to->padded[c * kernel + tap] = padded;
        }
    }
}

static inline hw_wide product_at(const hw_conv_op *op, int64_t at, int32_t x)
{
    const hw_shift_add *unit = &op->shift_add;
    if (!unit->exponent)
        return (int64_t)x * op->weights[at];
    return unit->nonzero[at] ? shift_add_product(x, unit->negative[at], unit->exponent[at], unit->guard_bits, unit->rounding,
                                                 unit->sign_after)
                             : 0;
}

/* One output on its way. Partial sums go to the buffer when the next step shows that they were not the last. */
typedef struct walker {
    const hw_conv_op *op;
    const hw_order *order;
    int64_t k, first_weight, steps;
    hw_wide exact;           /* what the accumulator would hold if no register ever overflowed */
    hw_walked at;
} walker;

static void spill(walker *v)
{
    const hw_walk *w = &v->order->walk;
    const hw_wide rounded = round_shift(v->at.acc, w->spill_shift, w->spill_rounding);
    const int64_t low = v->order->spill_low, high = v->order->spill_high;
    const hw_wide back = (hw_wide)keep(rounded, w->spill_overflow, w->spill_bits, low, high) << w->spill_shift;
    v->at.spill += !fits(rounded, low, high);
    v->at.acc = add_to(0, back, v->order->bits, v->order->low, v->order->high, w->overflow, &v->at.accumulator);
    v->exact = round_shift(v->exact, w->spill_shift, w->spill_rounding) << w->spill_shift;
}

static void add_bias(walker *v)
{
    const hw_order *o = v->order;
    v->exact += o->bias[v->k];
    v->at.acc = add_to(v->at.acc, o->bias[v->k], o->bits, o->low, o->high, o->walk.overflow, &v->at.accumulator);
}

static void take_step(walker *v, int64_t *values)
{
    const hw_order *o = v->order;
    const hw_walk *w = &o->walk;
    const int shift = -w->step_shift[v->k];
    if (w->spill_every && v->steps && v->steps % w->spill_every == 0)
        spill(v);
    hw_wide total = 0;
    for (int lane = 0; lane < w->lanes; lane++)
        total += values[lane];
    v->exact += round_shift(total, shift, w->rounding);
    const int64_t held = add_tree(values, w->lanes, w->level_bits, w->levels, w->pairing, w->tree_overflow, &v->at.tree);
    v->at.acc = add_to(v->at.acc, round_shift(held, shift, w->rounding), o->bits, o->low, o->high, w->overflow,
                       &v->at.accumulator);
    v->steps++;
}

static inline bool skipped(const walker *v, const window *from, int64_t tap)
{
    const hw_walk *w = &v->order->walk;
    if ((w->skip_padded && from->padded[tap]) || (w->skip_zero_inputs && from->codes[tap] == 0))
        return true;
    if (!w->skip_zero_weights)
        return false;
    const int64_t at = v->first_weight + tap;
    return v->op->shift_add.exponent ? !v->op->shift_add.nonzero[at] : v->op->weights[at] == 0;
}

static inline int64_t dropped_product(const walker *v, const window *from, int64_t tap)
{
    const hw_walk *w = &v->order->walk;
    return (int64_t)round_shift(product_at(v->op, v->first_weight + tap, from->codes[tap]), w->drop[v->k], w->rounding);
}

static void walk_packed(walker *v, const window *from, int64_t *values)
{
    const hw_walk *w = &v->order->walk;
    int32_t lane = 0;
    for (int64_t i = 0; i < w->steps * w->lanes; i++) {
        if (w->taps[i] < 0 || skipped(v, from, w->taps[i]))
            continue;
        values[lane++] = dropped_product(v, from, w->taps[i]);
        if (lane == w->lanes) {
            take_step(v, values);
            lane = 0;
        }
    }
    if (lane == 0)
        return;
    for (; lane < w->lanes; lane++)
        values[lane] = 0;
    take_step(v, values);
}

static void walk_idle(walker *v, const window *from, int64_t *values)
{
    const hw_walk *w = &v->order->walk;
    const int32_t *tap = w->taps;
    for (int64_t step = 0; step < w->steps; step++, tap += w->lanes) {
        bool live = false;
        for (int32_t lane = 0; lane < w->lanes; lane++) {
            values[lane] = tap[lane] < 0 ? 0 : dropped_product(v, from, tap[lane]);
            live = live || (tap[lane] >= 0 && !skipped(v, from, tap[lane]));
        }
        if (live)
            take_step(v, values);
    }
}

static hw_walked walk_output(const hw_conv_op *op, int64_t k, const window *from)
{
    int64_t values[4096];
    const hw_order *o = op->order;
    walker v = {.op = op, .order = o, .k = k, .first_weight = k * op->taps};
    if (!o->walk.bias_last)
        v.exact = v.at.acc = o->bias[k];
    if (o->walk.packed)
        walk_packed(&v, from, values);
    else
        walk_idle(&v, from, values);
    if (o->walk.spill_every && o->walk.spill_last && v.steps)
        spill(&v);
    if (o->walk.bias_last)
        add_bias(&v);
    v.at.persistent = !fits(v.exact, o->low, o->high);
    return v.at;
}

/* The sum where no order is declared. */
static int64_t total_of(const hw_conv_op *op, int64_t k, const window *from)
{
    hw_wide total = 0;
    for (int64_t tap = 0; tap < op->taps; tap++)
        total += product_at(op, k * op->taps + tap, from->codes[tap]);
    return (int64_t)total;
}

/* Finish one output; `walked` where an order is declared, else the total. */
static void finish(const hw_plan *plan, int64_t at, void *pixel, int64_t k, const hw_walked *walked, int64_t total,
                   int64_t events[HW_COUNTERS])
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const hw_call *call = plan->call;
    uint8_t *flag = call->flags ? call->flags + at : NULL;
    int64_t acc;
    if (walked) {
        hw_order_count(walked, flag, events);
        events[HW_WALKED]++;
        total = walked->acc;
    }
    hw_store(pixel, call->output.type, k, hw_stage_code(&op->stage, k, total, &acc, flag, events));
    if (call->acc)
        hw_store(call->acc, call->acc_type, at, acc);
}

static void walk_pixel(const hw_plan *plan, int64_t at, void *pixel, int64_t k, const window *from,
                       int64_t events[HW_COUNTERS])
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    if (op->order) {
        const hw_walked walked = walk_output(op, k, from);
        finish(plan, at + k, pixel, k, &walked, 0, events);
    } else {
        finish(plan, at + k, pixel, k, NULL, total_of(op, k, from), events);
    }
}

/* All channels of one pixel, 32 at a time. */
static void walk_rounded(const hw_plan *plan, int64_t at, void *pixel, const window *from, int64_t events[HW_COUNTERS])
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const hw_order *o = op->order;
    int32_t *codes = from->codes + op->taps;
    for (int64_t i = 0; i < op->taps; i++)
        codes[i] = from->codes[op->rounded.tap[i]];
    for (int64_t first = 0; first < op->conv.k; first += WALK_LANES) {
        hw_round_walk walk = {.order = o, .rounded = &op->rounded, .codes = codes, .block = first / WALK_LANES};
        for (int64_t i = 0; o && !o->walk.bias_last && i < WALK_LANES; i++)
            walk.acc[i] = walk.exact[i] = o->bias[first + i];
        hw_walk_set_of(op)->walk_rounded(&walk);
        for (int64_t i = 0; i < min64(WALK_LANES, op->conv.k - first); i++) {
            walker one = {.op = op, .order = o, .k = first + i, .exact = walk.exact[i]};
            one.at.acc = walk.acc[i];
            one.at.accumulator = walk.events[i];
            if (o && o->walk.bias_last)
                add_bias(&one);
            if (o)
                one.at.persistent = !fits(one.exact, o->low, o->high);
            finish(plan, at + first + i, pixel, first + i, o ? &one.at : NULL, walk.exact[i], events);
        }
    }
}

hw_walked hw_walk_one(const hw_plan *plan, int64_t n, int64_t k, int64_t y, int64_t x, hw_worker *worker)
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    window from = {.codes = worker->scratch, .padded = (uint8_t *)((int32_t *)worker->scratch + 2 * op->taps)};
    read_window(plan, n, k / (op->conv.k / op->conv.groups), y, x, &from);
    return walk_output(op, k, &from);
}

int64_t hw_walk_scratch(const hw_conv_op *op) { return op->taps * (int64_t)(2 * sizeof(int32_t) + 1); }

void hw_conv_walk_row(const hw_plan *plan, int64_t n, int64_t y, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const hw_tensor *out = &plan->call->output;
    const int64_t k_group = op->conv.k / op->conv.groups;
    window from = {.codes = worker->scratch, .padded = (uint8_t *)((int32_t *)worker->scratch + 2 * op->taps)};
    for (int64_t x = 0; x < out->w; x++) {
        for (int64_t group = 0; group < op->conv.groups; group++) {
            read_window(plan, n, group, y, x, &from);
            const int64_t at = ((n * out->h + y) * out->w + x) * out->c;
            if (op->rounded.factor) {
                walk_rounded(plan, at, hw_pixel(out, n, y, x), &from, events);
                continue;
            }
            for (int64_t k = group * k_group; k < (group + 1) * k_group; k++)
                walk_pixel(plan, at, hw_pixel(out, n, y, x), k, &from, events);
        }
    }
}
