/* hw_conv_new: checks, the proof of the sums' range, the choice of the path. */
#include "conv.h"

#include <stdlib.h>
#include <string.h>

static int check_geometry(const hw_conv *v, hw_status *status)
{
    const int64_t values[] = {v->c, v->k, v->r, v->s, v->groups, v->stride_h, v->stride_w, v->dilation_h,
                              v->dilation_w, v->pad_h + 1, v->pad_w + 1, v->pad_end_h + 1, v->pad_end_w + 1};
    for (int i = 0; i < 13; i++)
        if (values[i] < 1 || values[i] > (i < 9 ? 1 << 24 : UINT16_MAX + 1))
            return hw_fail(status, HW_BAD_ARGUMENT, i, values[i]);
    if (v->c % v->groups || v->k % v->groups)
        return hw_fail(status, HW_BAD_SHAPE, 4, v->groups);
    if (v->in_low > v->in_high || v->in_low < INT16_MIN || v->in_high > UINT16_MAX)
        return hw_fail(status, HW_OUT_OF_RANGE, 0, v->in_low < INT16_MIN ? v->in_low : v->in_high);
    if (v->in_zero && (v->in_zero < v->in_low || v->in_zero > v->in_high || v->shift_add))
        return hw_fail(status, HW_OUT_OF_RANGE, 1, v->in_zero);
    return HW_OK;
}

typedef struct spread {
    int64_t low, high;       /* of all weights, 0 included */
    int64_t beyond_bytes;    /* how many are */
} spread;

/* Per channel: the range that the exact sum, and every partial sum, stays in. A padded tap is 0, so 0 is in it. */
static int range_totals(const hw_conv *v, int64_t *low, int64_t *high, spread *weights, hw_status *status)
{
    const int64_t per_channel = v->c / v->groups * v->r * v->s;
    const int64_t in_low = min64(v->in_low, 0), in_high = max64(v->in_high, 0);
    for (int64_t k = 0; k < v->k; k++) {
        for (int64_t i = 0; i < per_channel; i++) {
            const int64_t w = v->weights[k * per_channel + i];
            if (w < -UINT16_MAX || w > UINT16_MAX)
                return hw_fail(status, HW_OUT_OF_RANGE, k, w);
            weights->low = min64(weights->low, w);
            weights->high = max64(weights->high, w);
            weights->beyond_bytes += w < INT8_MIN || w > INT8_MAX;
            low[k] += w > 0 ? w * in_low : w * in_high;
            high[k] += w > 0 ? w * in_high : w * in_low;
        }
    }
    return HW_OK;
}

/* Whether S + A and S - A of every output fit int32, and the input is read as it is. */
static bool can_prove(const hw_conv_op *op, const hw_conv *conv, const int64_t *low, const int64_t *high)
{
    for (int64_t k = 0; k < conv->k; k++)
        if (high[k] - low[k] > INT32_MAX / 2)
            return false;
    return op->order->exact && conv->in_low >= INT16_MIN && conv->in_high <= INT16_MAX;
}

/* Bytes take a few weights beyond them one by one: uint8 weights less their zero point have 9 bits, but most channels' have 8. */
static bool fit_bytes(const hw_conv_op *op, const spread *weights)
{
    enum { AS_LONG_AS = 256, ALWAYS = 4096 };
    if (op->proves)
        return weights->beyond_bytes == 0;
    return weights->beyond_bytes * AS_LONG_AS <= op->conv.k * op->taps + (weights->beyond_bytes ? ALWAYS : 0);
}

/* What the products read, low..high, must be bytes or halves of one sign. */
static void choose_path(hw_conv_op *op, const spread *weights)
{
    const int64_t zero = op->proves ? 0 : op->zero; /* else x - zero is staged */
    const int64_t low = op->conv.in_low + zero, high = op->conv.in_high + zero;
    const bool int32_sums = op->proves || (!(op->order && !op->order->settled) && (op->stage.narrow || op->stage.fits_sum32));
    const bool half_weights = weights->low >= INT16_MIN && weights->high <= INT16_MAX;
    const bool byte_weights = half_weights && fit_bytes(op, weights);
    op->in_signed = low < 0;
    const bool byte_inputs = op->in_signed ? low >= INT8_MIN && high <= INT8_MAX : high <= UINT8_MAX;
    if (op->op.isa >= HW_ISA_AVX512VNNI && byte_weights && byte_inputs && int32_sums)
        op->path = PATH_BYTES;
    else if (half_weights)
        op->path = int32_sums ? PATH_HALVES : PATH_SPLIT_HALVES;
    else
        op->path = PATH_ANY;
    const bool offset_halves = op->path != PATH_BYTES && high > INT16_MAX;
    op->staged_offset = offset_halves ? 32768 : op->zero - zero;
    if (offset_halves && op->in_signed)
        op->path = PATH_ANY; /* a range wider than 16 bits */
    op->element = op->path == PATH_BYTES ? 1 : 2;
    op->extras = op->path == PATH_BYTES ? weights->beyond_bytes : 0;
    op->depthwise = (op->path == PATH_BYTES || op->path == PATH_HALVES) && !op->proves && hw_depth_takes(&op->conv);
    op->repeat = op->depthwise ? op->conv.k / op->conv.c : 1;
}

/* The stage behind accumulators that come walked: they lie in the register's range, with bias and shift in them. */
static int init_walked_stage(hw_conv_op *op, const hw_conv *conv, hw_status *status)
{
    const size_t k = (size_t)conv->k;
    int64_t *numbers = hw_alloc(4 * k * sizeof(int64_t), status);
    if (!numbers)
        return status->code;
    int64_t *low = numbers + k, *high = low + k;
    for (size_t i = 0; i < k; i++) {
        low[i] = op->order->low;
        high[i] = op->order->high;
    }
    hw_stage_init(&op->stage, conv->k, &conv->output, numbers, (const int32_t *)(high + k), conv->shift, low, high, status);
    free(numbers);
    return status->code;
}

static int init_stage(hw_conv_op *op, const hw_conv *conv, const int64_t *low, const int64_t *high, hw_status *status)
{
    if (!conv->walk)
        return hw_stage_init(&op->stage, conv->k, &conv->output, conv->bias, conv->product_shift, conv->shift, low, high,
                             status);
    op->order = hw_alloc(sizeof *op->order, status);
    if (!op->order || hw_order_init(op->order, conv, low, high, !conv->shift_add, status))
        return status->code;
    op->proves = !op->order->settled && can_prove(op, conv, low, high);
    if (op->order->settled)
        return hw_stage_init(&op->stage, conv->k, &conv->output, conv->bias, conv->walk->step_shift, conv->shift, low, high,
                             status);
    return init_walked_stage(op, conv, status);
}

static void *copy(const void *from, size_t bytes, hw_status *status)
{
    void *to = hw_alloc(bytes, status);
    if (to)
        memcpy(to, from, bytes);
    return to;
}

/* Products of a shift-add unit: fields instead of weights, and sums within int64 as the caller promises. */
static int take_fields(hw_conv_op *op, const hw_conv *conv, hw_status *status)
{
    const hw_shift_add *unit = conv->shift_add;
    const size_t count = (size_t)(conv->k * op->taps);
    if (unit->guard_bits < 0 || unit->guard_bits > 62)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, unit->guard_bits);
    if (unit->rounding < HW_FLOOR || unit->rounding > HW_TIES_ODD)
        return hw_fail(status, HW_BAD_ARGUMENT, 1, unit->rounding);
    for (size_t i = 0; i < count; i++)
        if (unit->exponent[i] < -62 || unit->exponent[i] + unit->guard_bits > 62 || unit->negative[i] > 1)
            return hw_fail(status, HW_OUT_OF_RANGE, (int64_t)i / op->taps, unit->exponent[i]);
    op->shift_add = *unit;
    op->shift_add.negative = copy(unit->negative, count, status);
    op->shift_add.nonzero = copy(unit->nonzero, count, status);
    op->shift_add.exponent = copy(unit->exponent, count, status);
    op->path = PATH_WALK;
    return status->code;
}

static int fill(hw_conv_op *op, const hw_conv *conv, hw_status *status)
{
    op->taps = conv->c / conv->groups * conv->r * conv->s;
    spread weights = {0, 0, 0};
    int64_t *low = hw_alloc(2 * (size_t)conv->k * sizeof(int64_t), status);
    if (!low)
        return status->code;
    int64_t *high = low + conv->k;
    if (conv->shift_add || range_totals(conv, low, high, &weights, status) == HW_OK)
        init_stage(op, conv, low, high, status);
    free(low);
    if (status->code)
        return status->code;
    if (conv->shift_add)
        return take_fields(op, conv, status) ? status->code : hw_rounded_init(op, conv, status);
    choose_path(op, &weights);
    op->proves = op->proves && (op->path == PATH_BYTES || op->path == PATH_HALVES);
    if (op->order && !op->order->settled && !op->proves) {
        op->path = PATH_WALK;
        op->depthwise = false;
    }
    if (op->path == PATH_ANY || op->path == PATH_WALK || op->proves)
        op->weights = copy(conv->weights, (size_t)(conv->k * op->taps) * sizeof(int32_t), status);
    if (status->code || op->path == PATH_ANY)
        return status->code;
    if (op->path == PATH_WALK)
        return hw_rounded_init(op, conv, status);
    if (op->proves && hw_prove_init(op, conv, status))
        return status->code;
    return hw_conv_pack(op, conv->weights, status);
}

hw_op *hw_conv_new(const hw_conv *conv, int32_t isa, hw_status *status)
{
    *status = (hw_status){0};
    const int picked = hw_pick_isa(isa, status);
    if (!picked || check_geometry(conv, status))
        return NULL;
    hw_conv_op *op = hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    op->op = (hw_op){.family = &hw_conv_family, .isa = picked};
    op->conv = *conv;
    op->conv.in_low -= conv->in_zero;
    op->conv.in_high -= conv->in_zero;
    op->zero = conv->in_zero;
    const hw_conv moved = op->conv; /* from here on inputs are x - zero */
    op->conv.weights = NULL;
    op->conv.bias = NULL;
    op->conv.product_shift = op->conv.shift = NULL;
    op->conv.walk = NULL;
    op->conv.shift_add = NULL;
    op->conv.output.multiplier = NULL;
    if (fill(op, &moved, status)) {
        hw_op_free(&op->op);
        return NULL;
    }
    return &op->op;
}

const char *hw_op_path(const hw_op *handle)
{
    static const char *const bytes[2][2] = {{"avx512vnni u8s8s32", "avx512vnni s8s8s32"}, {"amx u8s8s32", "amx s8s8s32"}};
    static const char *const halves[3] = {"portable s16s16s32", "avx2 s16s16s32", "avx512vnni s16s16s32"};
    static const char *const depth_bytes[2] = {"avx512vnni depthwise u8", "avx512vnni depthwise s8"};
    static const char *const depth_halves[3] = {"portable depthwise s16", "avx2 depthwise s16", "avx512vnni depthwise s16"};
    static const char *const split[3] = {"portable s16s16s64", "avx2 s16s16s64", "avx512vnni s16s16s64"};
    if (handle->family == &hw_float_conv_family)
        return hw_float_conv_path(handle);
    if (handle->family != &hw_conv_family)
        return hw_isa_name(handle->isa);
    const hw_conv_op *op = (const hw_conv_op *)handle;
    const int half_isa = (int)min64(handle->isa, HW_ISA_AVX512VNNI) - HW_ISA_PORTABLE;
    if (op->depthwise)
        return op->path == PATH_BYTES ? depth_bytes[op->in_signed] : depth_halves[half_isa];
    switch (op->path) {
    case PATH_BYTES: return bytes[handle->isa == HW_ISA_AMX][op->in_signed];
    case PATH_HALVES: return halves[half_isa];
    case PATH_SPLIT_HALVES: return split[half_isa];
    case PATH_ANY: return "portable any";
    default: return "portable walk";
    }
}
