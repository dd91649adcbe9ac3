/* hw_float_conv_new: checks, so that no shift and no register digit leaves its range whatever the codes, and copies. */
#include "float_conv.h"

#include <fenv.h>
#include <stdlib.h>
#include <string.h>

typedef struct hw_limit {
    int64_t value, low, high;
} hw_limit;

static int check_limits(const hw_limit *limits, int count, hw_status *status)
{
    for (int i = 0; i < count; i++)
        if (limits[i].value < limits[i].low || limits[i].value > limits[i].high)
            return hw_fail(status, HW_BAD_ARGUMENT, i, limits[i].value);
    return HW_OK;
}

int hw_check_float(const hw_float *f, hw_status *status)
{
    const hw_limit limits[] = {
        {f->man_bits, 0, 23}, {f->sign_shift, f->man_bits + 2, f->man_bits + 8}, {f->bias, -512, 512}, {f->lowest, 0, 1},
        {f->subnormals, 0, 1}, {f->specials, HW_IEEE, HW_NO_SPECIALS},
        {f->largest, (int64_t)1 << f->man_bits, ((int64_t)1 << f->sign_shift) - 1}, {f->saturate, 0, 1},
        {f->zero, 0, (int64_t)1 << f->sign_shift}, {f->signed_zero, 0, 1},
        {f->specials == HW_IEEE && f->man_bits == 0, 0, 0},
    };
    if (check_limits(limits, 2, status)) /* the shifts of what follows */
        return status->code;
    return check_limits(limits, sizeof limits / sizeof *limits, status);
}

static int check_conv(const hw_float_conv *v, hw_status *status)
{
    const int64_t side = 1 << 24, taps = (int64_t)1 << 28;
    const hw_limit limits[] = {
        {v->c, 1, side}, {v->k, 1, side}, {v->r, 1, side}, {v->s, 1, side}, {v->groups, 1, side},
        {v->stride_h, 1, side}, {v->stride_w, 1, side}, {v->dilation_h, 1, side}, {v->dilation_w, 1, side},
        {v->pad_h, 0, UINT16_MAX}, {v->pad_w, 0, UINT16_MAX}, {v->pad_end_h, 0, UINT16_MAX}, {v->pad_end_w, 0, UINT16_MAX},
        {v->in_low, INT32_MIN, 0}, {v->in_high, 0, UINT32_MAX},
        {v->input_fixed, 0, 1}, {v->input_exponent, -600, 600}, {v->exact, 0, 1}, {v->words, 1, 64},
        {v->product_rounds, 0, 1}, {v->register_rounding, HW_FLOOR, HW_TIES_ODD},
        {v->product_rounding, HW_FLOOR, HW_TIES_ODD}, {v->lanes, 1, 4096}, {v->steps, 1, taps},
        {v->pairing, HW_ADJACENT, HW_CHAIN}, {v->output_fixed, 0, 1}, {v->output_length, -600, 600},
    };
    if (check_limits(limits, sizeof limits / sizeof *limits, status))
        return status->code;
    if (v->c % v->groups || v->k % v->groups)
        return hw_fail(status, HW_BAD_SHAPE, 4, v->groups);
    if (v->r * v->s > taps || v->c / v->groups > taps / (v->r * v->s))
        return hw_fail(status, HW_BAD_SHAPE, 0, v->c);
    if (v->input_fixed && (v->in_low < -UINT16_MAX || v->in_high > UINT16_MAX))
        return hw_fail(status, HW_OUT_OF_RANGE, 0, v->in_high);
    if (!v->input_fixed && (hw_check_float(&v->input, status) || v->in_low != 0 || v->in_high >> (v->input.sign_shift + 1)))
        return status->code ? status->code : hw_fail(status, HW_OUT_OF_RANGE, 0, v->in_high);
    if (!v->exact && hw_check_float(&v->register_format, status))
        return status->code;
    if (v->product_rounds && hw_check_float(&v->product, status))
        return status->code;
    if (!v->output_fixed)
        return hw_check_float(&v->out, status);
    return hw_check_output(&v->output, status);
}

static int copy_weights(hw_float_conv_op *op, const hw_float_conv *v, hw_status *status)
{
    op->weights = hw_alloc((size_t)(v->k * op->taps) * sizeof *op->weights, status);
    for (int64_t i = 0; op->weights && i < v->k * op->taps; i++) {
        const int32_t m = v->weight_significand[i], e = v->weight_exponent[i];
        if (m < 0 || m >= 1 << 24 || e < -1200 || e > 1200 || v->weight_sign[i] > 1)
            return hw_fail(status, HW_OUT_OF_RANGE, i / op->taps, m);
        const int zeros = m ? __builtin_ctz((unsigned)m) : 0;
        op->weights[i] = (hw_parts){m >> zeros, v->weight_sign[i], m ? e + zeros : 0};
    }
    return status->code;
}

static int set_taps(hw_float_conv_op *op, const hw_float_conv *v, hw_status *status)
{
    op->tap = hw_alloc((size_t)op->taps * sizeof *op->tap, status);
    if (v->r * v->dilation_h > INT32_MAX || v->s * v->dilation_w > INT32_MAX)
        return hw_fail(status, HW_BAD_ARGUMENT, 7, max64(v->dilation_h, v->dilation_w));
    for (int64_t i = 0; op->tap && i < op->taps; i++)
        op->tap[i] = (hw_tap){(int32_t)(i / (v->r * v->s)), (int32_t)(i / v->s % v->r * v->dilation_h),
                              (int32_t)(i % v->s * v->dilation_w)};
    return status->code;
}

static int copy_table(hw_float_conv_op *op, const hw_float_conv *v, hw_status *status)
{
    op->table = hw_alloc((size_t)(v->steps * v->lanes) * sizeof(int64_t), status);
    for (int64_t i = 0; op->table && i < v->steps * v->lanes; i++) {
        if (v->table[i] < -1 || v->table[i] >= op->taps)
            return hw_fail(status, HW_OUT_OF_RANGE, i, v->table[i]);
        op->table[i] = v->table[i];
    }
    return status->code;
}

static int copy_bias(hw_float_conv_op *op, const hw_float_conv *v, hw_status *status)
{
    const int64_t each = v->exact ? v->words : 1;
    op->bias = hw_alloc((size_t)(v->k * each) * sizeof(int64_t), status);
    op->grid = hw_alloc((size_t)v->k * sizeof(int32_t), status);
    if (status->code)
        return status->code;
    memcpy(op->bias, v->bias, (size_t)(v->k * each) * sizeof(int64_t));
    if (v->exact)
        memcpy(op->grid, v->grid, (size_t)v->k * sizeof(int32_t));
    for (int64_t k = 0; !v->exact && k < v->k; k++)
        if (v->bias[k] < 0 || v->bias[k] >> (v->register_format.sign_shift + 1))
            return hw_fail(status, HW_OUT_OF_RANGE, k, v->bias[k]);
    return HW_OK;
}

/* The finest and the coarsest exponent under a number of the operand or the format. */
static void exponents_of(const hw_float *f, int64_t *low, int64_t *high)
{
    *low = f->lowest - f->bias - f->man_bits;
    *high = ((int64_t)1 << (f->sign_shift - f->man_bits)) - f->bias - f->man_bits;
}

/* Every product, placed in the register of its sum, must leave room for the carries: three digits of 32 bits. */
static int check_digits(hw_float_conv_op *op, hw_status *status)
{
    const hw_float_conv *v = &op->conv;
    int64_t low = v->input_exponent, high = low, bias_low = INT32_MAX, bias_high = INT32_MIN, w_low = INT32_MAX;
    if (!v->input_fixed)
        exponents_of(&v->input, &low, &high);
    if (!v->exact)
        exponents_of(&v->register_format, &bias_low, &bias_high);
    for (int64_t i = 0; i < v->k * op->taps; i++)
        if (op->weights[i].significand)
            w_low = min64(w_low, op->weights[i].exponent);
    op->witness = (int32_t)min64(bias_low, w_low == INT32_MAX ? low : low + w_low);
    for (int64_t i = 0; i < v->k * op->taps; i++) {
        const int64_t base = v->exact ? op->grid[i / op->taps] : op->witness;
        if (op->weights[i].significand == 0)
            continue;
        const int64_t least = low + op->weights[i].exponent - base, most = high + op->weights[i].exponent - base;
        if (least < 0 || most > 32 * (FLOAT_DIGITS - 5))
            return hw_fail(status, HW_OUT_OF_RANGE, i / op->taps, least < 0 ? least : most);
    }
    if (bias_high != INT32_MIN && bias_high - op->witness > 32 * (FLOAT_DIGITS - 5))
        return hw_fail(status, HW_OUT_OF_RANGE, 0, bias_high);
    return HW_OK;
}

static int fill(hw_float_conv_op *op, const hw_float_conv *conv, hw_status *status)
{
    op->taps = conv->c / conv->groups * conv->r * conv->s;
    if (copy_weights(op, conv, status) || copy_bias(op, conv, status) || (!conv->exact && copy_table(op, conv, status)))
        return status->code;
    if (set_taps(op, conv, status) || check_digits(op, status))
        return status->code;
    fenv_t saved; /* subnormal numbers as they are, whatever the program around us has set */
    fegetenv(&saved);
    fesetenv(FE_DFL_ENV);
    hw_float_plan(op, status);
    fesetenv(&saved);
    return status->code;
}

hw_op *hw_float_conv_new(const hw_float_conv *conv, int32_t isa, hw_status *status)
{
    *status = (hw_status){0};
    const int picked = hw_pick_isa(isa, status);
    if (!picked || check_conv(conv, status))
        return NULL;
    hw_float_conv_op *op = hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    op->op = (hw_op){.family = &hw_float_conv_family, .isa = picked};
    op->conv = *conv;
    op->conv.weight_sign = NULL;
    op->conv.weight_significand = op->conv.weight_exponent = op->conv.grid = NULL;
    op->conv.bias = op->conv.table = NULL;
    if (fill(op, conv, status)) {
        hw_op_free(&op->op);
        return NULL;
    }
    return &op->op;
}
