/* Exact sums of numbers with minifloats among them, over windows or over inputs, in 128 bits; divided and rounded once. One
 * task is one output row of one image. */
#include "core.h"
#include "float_conv.h"
#include "minifloat.h"
#include "pool.h"

#include <stdlib.h>

typedef struct hw_float_sum_op {
    hw_op op;
    hw_float_sum sum;        /* its pointers are NULL: the copies are below */
    hw_float_conv last;      /* of which only the last stage is read */
    hw_float_conv *input;    /* [n], of which only the operand is read */
    int32_t *bits;           /* [n] */
} hw_float_sum_op;

enum { SUM_BITS = 126, SPARE_BITS = 64 };

static const hw_float binary32 = {23, 31, 127, 1, 1, HW_IEEE, 0x7F7FFFFF, 0, 0, 1};

static int sum_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_float_sum_op *op = (const hw_float_sum_op *)handle;
    const hw_float_sum *v = &op->sum;
    const hw_tensor *first = &plan->call->inputs[0], *out = &plan->call->output;
    if (plan->call->n_inputs != v->n || plan->call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, plan->call->n_inputs);
    for (int64_t i = 0; i < v->n; i++) {
        const hw_tensor *in = &plan->call->inputs[i];
        const int64_t bytes = op->bits[i] <= 8 ? 1 : op->bits[i] <= 16 ? 2 : 4;
        if (hw_type_bytes(in->type) != bytes || (!op->input[i].input_fixed && hw_type_low(in->type) != 0))
            return hw_fail(status, HW_BAD_TYPE, i, in->type);
        if (hw_check_same_image(in, first, status) || hw_check_windows(&v->window, in, out, status))
            return status->code;
    }
    const int64_t low = v->output_fixed ? v->output.low : 0;
    const int64_t high = v->output_fixed ? v->output.high : ((int64_t)2 << v->out.sign_shift) - 1;
    if (hw_type_low(out->type) > low || hw_type_high(out->type) < high)
        return hw_fail(status, HW_BAD_TYPE, v->n, out->type);
    plan->tasks[1] = out->n * out->h;
    return HW_OK;
}

/* total += a code's number; returns 0, or 1 and 2 for an infinity (2 below zero), 3 for NaN. */
static int add_code(const hw_float_sum_op *op, int64_t input, int64_t code, hw_wide *total)
{
    const hw_float_conv *v = &op->input[input];
    if (!v->input_fixed && is_nan(code, &v->input))
        return 3;
    const hw_parts x = hw_float_operand(v, code);
    if (!v->input_fixed && is_infinite(code, &v->input))
        return 1 << x.sign;
    if (x.significand) {
        const hw_wide term = (hw_wide)x.significand << (x.exponent - op->sum.grid);
        *total += x.sign ? -term : term;
    }
    return 0;
}

static hw_float_code finish_sum(const hw_float_sum_op *op, hw_wide total, int found, int64_t divisor)
{
    if (found)
        return hw_float_finish_code(&op->last, found == 3 ? nan_code(&binary32) : infinity_code(found - 1, &binary32), &binary32);
    if (op->sum.divides) {
        const hw_wide size = total < 0 ? -total : total, quotient = size / divisor;
        const hw_wide sticky = quotient | (quotient * divisor != size);
        total = total < 0 ? -sticky : sticky;
    }
    return hw_float_finish_wide(&op->last, total, op->sum.grid);
}

static void sum_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    (void)worker;
    const hw_float_sum_op *op = (const hw_float_sum_op *)plan->op;
    const hw_pool *v = &op->sum.window;
    const hw_tensor *in = plan->call->inputs, *out = &plan->call->output;
    const int64_t n = task / out->h, y = task % out->h;
    const hw_span rows = hw_window_span(y, v->r, v->stride_h, v->pad_h, v->pad_end_h, in->h, v->count);
    for (int64_t x = 0; x < out->w; x++) {
        const hw_span columns = hw_window_span(x, v->s, v->stride_w, v->pad_w, v->pad_end_w, in->w, v->count);
        for (int64_t c = 0; c < out->c; c++) {
            hw_wide total = 0;
            int found = 0;
            for (int64_t i = 0; i < op->sum.n; i++)
                for (int64_t row = rows.first; row < rows.last; row++)
                    for (int64_t column = columns.first; column < columns.last; column++)
                        found |= add_code(op, i, hw_load(hw_pixel(&in[i], n, row, column), in[i].type, c), &total);
            const hw_float_code made = finish_sum(op, total, found, rows.counted * columns.counted);
            hw_store(hw_pixel(out, n, y, x), out->type, c, made.code);
            events[HW_AT_OUTPUT] += made.event;
        }
    }
}

static void sum_free(hw_op *handle)
{
    free(((hw_float_sum_op *)handle)->input);
    free(((hw_float_sum_op *)handle)->bits);
    free(handle);
}

static const hw_family sum_family = {sum_bind, sum_task, sum_free};

static int check_sum(const hw_float_sum *v, hw_status *status)
{
    const int64_t values[] = {v->n, v->divides, v->grid, v->output_fixed, v->output_length, v->output.rounding,
                              v->output.activation};
    const int64_t lows[] = {1, 0, -1300, 0, -600, HW_FLOOR, HW_NONE};
    const int64_t highs[] = {1 << 14, 1, 600, 1, 600, HW_TIES_ODD, HW_RELU_AFTER};
    for (int i = 0; i < 7; i++)
        if (values[i] < lows[i] || values[i] > highs[i])
            return hw_fail(status, HW_BAD_ARGUMENT, i, values[i]);
    if (hw_check_pool(&v->window, false, status))
        return status->code;
    if (v->window.count < HW_EXCLUDE_PADDING || v->window.count > HW_INCLUDE_PADDING_CLIPPED)
        return hw_fail(status, HW_BAD_ARGUMENT, 8, v->window.count);
    if (v->window.r * v->window.s > 1 << 20)
        return hw_fail(status, HW_BAD_ARGUMENT, 7, v->window.r * v->window.s);
    if (v->output_fixed && v->divides && v->grid > -v->output_length - 2)
        return hw_fail(status, HW_BAD_ARGUMENT, 4, v->output_length);
    return v->output_fixed ? hw_check_output(&v->output, status) : hw_check_float(&v->out, status);
}

/* Every term lies on the grid, and all together within SUM_BITS. */
static int check_input(const hw_float_sum *v, int64_t i, hw_status *status)
{
    int64_t low = v->exponent[i], high = low, length = v->bits[i];
    if (v->fixed[i] < 0 || v->fixed[i] > 1 || v->bits[i] < 1 || v->bits[i] > 32)
        return hw_fail(status, HW_OUT_OF_RANGE, i, v->bits[i]);
    if (!v->fixed[i]) {
        const hw_float *f = &v->format[i];
        if (hw_check_float(f, status) || v->bits[i] != f->sign_shift + 1)
            return status->code ? status->code : hw_fail(status, HW_OUT_OF_RANGE, i, v->bits[i]);
        low = f->lowest - f->bias - f->man_bits;
        high = max64(low, (f->largest >> f->man_bits) - f->bias - f->man_bits);
        length = f->man_bits + 1;
    }
    const int64_t terms = v->n * v->window.r * v->window.s, need = high - v->grid + length + bit_length((uint64_t)terms);
    if (low - v->grid < (v->divides ? SPARE_BITS : 0) || need > SUM_BITS)
        return hw_fail(status, HW_OUT_OF_RANGE, i, need);
    return HW_OK;
}

static int copy_inputs(hw_float_sum_op *op, const hw_float_sum *v, hw_status *status)
{
    op->input = hw_alloc((size_t)v->n * sizeof *op->input, status);
    op->bits = hw_alloc((size_t)v->n * sizeof *op->bits, status);
    for (int64_t i = 0; i < v->n && !status->code && !check_input(v, i, status); i++) {
        op->bits[i] = v->bits[i];
        op->input[i] = (hw_float_conv){.input_fixed = v->fixed[i], .input_exponent = v->exponent[i]};
        if (!v->fixed[i])
            op->input[i].input = v->format[i];
    }
    return status->code;
}

hw_op *hw_float_sum_new(const hw_float_sum *sum, int32_t isa, hw_status *status)
{
    *status = (hw_status){0};
    const int picked = hw_pick_isa(isa, status);
    if (!picked || check_sum(sum, status))
        return NULL;
    hw_float_sum_op *op = hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    op->op = (hw_op){.family = &sum_family, .isa = picked};
    op->sum = *sum;
    op->sum.format = NULL;
    op->sum.fixed = op->sum.bits = op->sum.exponent = NULL;
    op->last = (hw_float_conv){.output_fixed = sum->output_fixed, .output_length = sum->output_length, .out = sum->out,
                               .output = sum->output};
    if (copy_inputs(op, sum, status)) {
        hw_op_free(&op->op);
        return NULL;
    }
    return &op->op;
}
