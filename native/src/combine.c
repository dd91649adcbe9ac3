/* Operands put together position by position: sums with a constant or stretched operands, products, maxima, minima, shifts by
 * an operand, and sums and products in float32. One task is one row of one image. */
#include "core.h"
#include "lanes.h"
#include "scalar.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct hw_combine_op {
    hw_op op;
    hw_combine combine;      /* its pointers are the copies below */
    hw_stage stage;          /* of one channel, which is all of them; not of codes that pass */
    hw_operand *terms;
    float *scales;
    int64_t *constant;       /* NULL: none */
} hw_combine_op;

static bool passes(int32_t way) { return way == HW_MAXIMUM || way == HW_MINIMUM || way == HW_SHIFT_RIGHT; }

/* Whether the code's zero point is taken from it: not where codes pass, or are fused as they are stored. */
static bool subtracts(int32_t way) { return !passes(way) && way != HW_FUSED_SUM; }

static bool stretches(int64_t extent, int64_t whole) { return extent == whole || extent == 1; }

static int check_image(int64_t h, int64_t w, int64_t c, const hw_tensor *out, hw_status *status)
{
    if (!stretches(h, out->h))
        return hw_fail(status, HW_BAD_SHAPE, 1, h);
    if (!stretches(w, out->w))
        return hw_fail(status, HW_BAD_SHAPE, 2, w);
    return stretches(c, out->c) ? HW_OK : hw_fail(status, HW_BAD_SHAPE, 3, c);
}

static int combine_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_combine_op *op = (const hw_combine_op *)handle;
    const hw_combine *c = &op->combine;
    const hw_call *call = plan->call;
    const hw_tensor *out = &call->output;
    if (call->n_inputs != c->n - (op->constant != NULL) || call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, call->n_inputs);
    for (int64_t i = 0; i < call->n_inputs; i++) {
        const hw_tensor *in = &call->inputs[i];
        if (in->n != out->n)
            return hw_fail(status, HW_BAD_SHAPE, 0, in->n);
        if (check_image(in->h, in->w, in->c, out, status))
            return status->code;
    }
    if (op->constant && check_image(c->constant_h, c->constant_w, c->constant_c, out, status))
        return status->code;
    const int64_t low = passes(c->way) ? c->terms[0].low : op->stage.output.low;
    const int64_t high = passes(c->way) ? c->terms[0].high : op->stage.output.high;
    if (hw_type_low(out->type) > low || hw_type_high(out->type) < high)
        return hw_fail(status, HW_BAD_TYPE, call->n_inputs, out->type);
    plan->tasks[1] = out->n * out->h;
    plan->scratch_bytes = (c->n + 1) * out->c * (int64_t)sizeof(int64_t);
    return HW_OK;
}

/* values[0..c-1] of operand i at output pixel (n, y, x). */
static void load_operand(const hw_plan *plan, int64_t i, int64_t n, int64_t y, int64_t x, int64_t *values)
{
    const hw_combine_op *op = (const hw_combine_op *)plan->op;
    const hw_combine *v = &op->combine;
    const int64_t c = plan->call->output.c, zero = subtracts(v->way) ? v->terms[i].zero : 0;
    int64_t found;
    if (i == plan->call->n_inputs) {
        const int64_t row = v->constant_h > 1 ? y : 0, column = v->constant_w > 1 ? x : 0;
        hw_load_lanes(op->constant + (row * v->constant_w + column) * v->constant_c, HW_S64, v->constant_c, zero, values);
        found = v->constant_c;
    } else {
        const hw_tensor *in = &plan->call->inputs[i];
        hw_load_lanes(hw_pixel(in, n, in->h > 1 ? y : 0, in->w > 1 ? x : 0), in->type, in->c, zero, values);
        found = in->c;
    }
    for (int64_t k = found; k < c; k++)
        values[k] = values[0];
}

/* An integer from float32 steps, within +-(2^61 - 1); NaN gives 0. */
static int64_t float_integer(float total, float divisor, int mode)
{
    const int64_t most = ((int64_t)1 << 61) - 1;
    const float quotient = total / divisor;
    if (isnan(quotient))
        return 0;
    const int64_t rounded = round_float(quotient, mode);
    return rounded > most ? most : rounded < -most ? -most : rounded;
}

/* The float32 steps of one position; values[i * stride] is operand i's. */
static int64_t in_steps(const hw_combine_op *op, const int64_t *values, int64_t stride)
{
    const hw_combine *v = &op->combine;
    const int mode = op->stage.output.rounding;
    float total = v->offset;
    if (v->way == HW_FUSED_SUM) {
        for (int64_t i = v->n - 1; i >= 0; i--)
            total = fmaf((float)values[i * stride], op->scales[i], total);
        return float_integer(total, 1.0f, mode);
    }
    total = (float)values[0] * op->scales[0];
    for (int64_t i = 1; i < v->n; i++) {
        const float term = (float)values[i * stride] * op->scales[i];
        total = v->way == HW_FLOAT_SUM ? total + term : total * term;
    }
    return float_integer(total, v->divisor, mode);
}

/* What a position becomes before the last stage, or is where codes pass. */
static int64_t combined(const hw_combine_op *op, const int64_t *values, int64_t stride)
{
    const hw_combine *v = &op->combine;
    int64_t total = values[0];
    switch (v->way) {
    case HW_SUM:
        total = 0;
        for (int64_t i = 0; i < v->n; i++)
            total += term_value(&v->terms[i], values[i * stride]);
        return total;
    case HW_PRODUCT:
    case HW_OFFSET_PRODUCT:
        for (int64_t i = 1; i < v->n; i++)
            total *= values[i * stride];
        if (v->way == HW_PRODUCT)
            return total;
        return float_integer((float)total * op->scales[0] + v->offset, 1.0f, op->stage.output.rounding);
    case HW_MAXIMUM:
        for (int64_t i = 1; i < v->n; i++)
            total = max64(total, values[i * stride]);
        return total;
    case HW_MINIMUM:
        for (int64_t i = 1; i < v->n; i++)
            total = min64(total, values[i * stride]);
        return total;
    case HW_SHIFT_RIGHT:
        return (int64_t)round_shift(total, (int)(values[stride] & 31), v->rounding);
    default:
        return in_steps(op, values, stride);
    }
}

static void combine_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    const hw_combine_op *op = (const hw_combine_op *)plan->op;
    const hw_tensor *out = &plan->call->output;
    const int64_t n = task / out->h, y = task % out->h, c = out->c;
    int64_t *values = worker->scratch, *codes = values + op->combine.n * c, acc;
    for (int64_t x = 0; x < out->w; x++) {
        for (int64_t i = 0; i < op->combine.n; i++)
            load_operand(plan, i, n, y, x, values + i * c);
        for (int64_t k = 0; k < c; k++) {
            const int64_t total = combined(op, values + k, c);
            codes[k] = passes(op->combine.way) ? total : hw_stage_code(&op->stage, 0, total, &acc, NULL, events);
        }
        hw_store_lanes(hw_pixel(out, n, y, x), out->type, c, codes);
    }
}

static void combine_free(hw_op *handle)
{
    hw_combine_op *op = (hw_combine_op *)handle;
    hw_stage_free(&op->stage);
    free(op->terms);
    free(op->scales);
    free(op->constant);
    free(op);
}

static const hw_family combine_family = {combine_bind, combine_task, combine_free};

static int check_combine(const hw_combine *v, hw_status *status)
{
    const int64_t largest = INT32_MAX, h = v->constant ? v->constant_h : 1, w = v->constant ? v->constant_w : 1;
    const int64_t values[] = {v->n, v->way, v->rounding, h, w, v->constant ? v->constant_c : 1};
    const int64_t lows[] = {2, HW_SUM, HW_FLOOR, 1, 1, 1};
    const int64_t highs[] = {v->way == HW_SHIFT_RIGHT ? 2 : 1 << 14, HW_OFFSET_PRODUCT, HW_TIES_ODD, largest, largest, largest};
    for (int i = 0; i < 6; i++)
        if (values[i] < lows[i] || values[i] > highs[i])
            return hw_fail(status, HW_BAD_ARGUMENT, i, values[i]);
    if (h * w > largest / values[5])
        return hw_fail(status, HW_BAD_SHAPE, 3, values[5]);
    return HW_OK;
}

static int check_operand(const hw_operand *t, int64_t index, hw_status *status)
{
    const int64_t far = (int64_t)1 << 48;
    if (t->low < -far || t->high > far || t->low > t->high || t->zero < -far || t->zero > far)
        return hw_fail(status, HW_OUT_OF_RANGE, index, t->low);
    if (t->align < 0 || t->align > 60 || t->sign * t->sign != 1 || t->rounding < HW_FLOOR || t->rounding > HW_TIES_ODD)
        return hw_fail(status, HW_OUT_OF_RANGE, index, t->align);
    if (t->scaling < HW_SHIFT || t->scaling > HW_FLOAT64)
        return hw_fail(status, HW_OUT_OF_RANGE, index, t->scaling);
    return t->scaling == HW_SHIFT ? HW_OK : hw_check_scale(t->scaling, t->multiplier, t->shift, index, status);
}

static void *copy_of(const void *from, size_t bytes, hw_status *status)
{
    void *to = status->code || !from ? NULL : hw_alloc(bytes, status);
    return to ? memcpy(to, from, bytes) : NULL;
}

static int copy_all(hw_combine_op *op, const hw_combine *v, hw_status *status)
{
    const size_t n = (size_t)v->n;
    op->combine = *v;
    op->terms = copy_of(v->terms, n * sizeof(hw_operand), status);
    op->scales = copy_of(v->scales, (v->way == HW_OFFSET_PRODUCT ? 1 : n) * sizeof(float), status);
    if (v->constant)
        op->constant = copy_of(v->constant, (size_t)(v->constant_h * v->constant_w * v->constant_c) * sizeof(int64_t), status);
    op->combine.terms = op->terms;
    op->combine.scales = NULL;
    op->combine.constant = NULL;
    for (int64_t i = 0; i < v->n && !status->code; i++)
        check_operand(&op->terms[i], i, status);
    if (!status->code && !op->scales && (v->way >= HW_FLOAT_SUM))
        hw_fail(status, HW_BAD_ARGUMENT, 6, v->way);
    return status->code;
}

hw_op *hw_combine_new(const hw_combine *combine, hw_status *status)
{
    *status = (hw_status){0};
    const int64_t none = 0, low = INT64_MIN, high = INT64_MAX;
    const int32_t still = 0;
    hw_combine_op *op = check_combine(combine, status) ? NULL : hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    op->op = (hw_op){.family = &combine_family, .isa = HW_ISA_PORTABLE};
    if (!copy_all(op, combine, status) && !passes(combine->way))
        hw_stage_init(&op->stage, 1, &combine->output, &none, &still, &combine->shift, &low, &high, status);
    if (status->code) {
        combine_free(&op->op);
        return NULL;
    }
    return &op->op;
}
