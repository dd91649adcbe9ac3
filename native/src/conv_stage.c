/* Inputs that the products cannot read where they lie are copied first: 8-bit codes for 16-bit products, a border narrower
 * than the padding, a channel pitch that breaks merged taps. Phase 0 of a convolution; one task per padded row. */
#include "conv.h"

#include <stdlib.h>
#include <string.h>

/* The border that the padding asks for along one axis: before the image, and behind it as the output's size has it. */
static int64_t border_needed(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation)
{
    return max64(pad, (out - 1) * stride + (kernel - 1) * dilation - pad - (in - 1));
}

static int32_t wanted_type(const hw_conv_op *op, int32_t type)
{
    const int64_t high = op->conv.in_high + op->zero - op->staged_offset;
    if (op->element == 1) {
        const bool same_bits = type == HW_S8 && !op->in_signed && high <= INT8_MAX;
        return op->in_signed ? HW_S8 : same_bits ? HW_S8 : HW_U8;
    }
    return type == HW_U16 && !op->staged_offset && high <= INT16_MAX ? HW_U16 : HW_S16;
}

int hw_conv_plan_staging(const hw_conv_op *op, hw_plan *plan, hw_status *status)
{
    hw_tensor *in = &plan->input;
    const hw_conv *v = &op->conv;
    const hw_tensor *out = &plan->call->output;
    const int64_t border_h = border_needed(in->h, out->h, v->r, v->stride_h, v->pad_h, v->dilation_h);
    const int64_t border_w = border_needed(in->w, out->w, v->s, v->stride_w, v->pad_w, v->dilation_w);
    const int32_t type = wanted_type(op, in->type);
    if (border_h > max64(v->pad_h, v->pad_end_h) || border_w > max64(v->pad_w, v->pad_end_w))
        return hw_fail(status, HW_BAD_SHAPE, 2, max64(out->h, out->w));
    const bool magnitudes = op->proves && op->in_signed;
    const bool as_it_is = in->type == type && !op->staged_offset && !magnitudes && op->repeat == 1;
    const bool ready = as_it_is && in->border_h >= border_h && in->border_w >= border_w;
    if (ready && (!op->merged || in->stride_w == in->c))
        return HW_OK;
    in->type = type;
    in->border_h = (int32_t)border_h;
    in->border_w = (int32_t)border_w;
    in->c *= op->repeat;
    in->stride_w = in->c;
    in->stride_h = (in->w + 2 * border_w) * in->c;
    in->stride_n = (in->h + 2 * border_h) * in->stride_h;
    plan->staged_bytes = in->n * in->stride_n * op->element + 2 * HW_SLACK;
    if (magnitudes) {
        plan->conv.magnitudes = ceil_div(plan->staged_bytes, 64) * 64;
        plan->staged_bytes += plan->conv.magnitudes;
    }
    plan->staged_origin = HW_SLACK + (border_h * in->stride_h + border_w * in->stride_w) * op->element;
    plan->tasks[0] = in->n * (in->h + 2 * border_h);
    return HW_OK;
}

static void convert(void *to, int32_t to_type, const void *from, int32_t from_type, int64_t count, int64_t offset)
{
    const int16_t less = (int16_t)offset; /* halves wrap, and their results fit */
    if (to_type == HW_S16 && from_type == HW_S8) {
        for (int64_t i = 0; i < count; i++)
            ((int16_t *)to)[i] = (int16_t)(((const int8_t *)from)[i] - less);
    } else if (to_type == HW_S16 && from_type == HW_U8) {
        for (int64_t i = 0; i < count; i++)
            ((int16_t *)to)[i] = (int16_t)(((const uint8_t *)from)[i] - less);
    } else if (to_type == HW_S16 && (from_type == HW_U16 || from_type == HW_S16)) {
        for (int64_t i = 0; i < count; i++)
            ((int16_t *)to)[i] = (int16_t)(((const uint16_t *)from)[i] - less);
    } else if (to_type == from_type && offset == 0) {
        memcpy(to, from, (size_t)(count * hw_type_bytes(to_type)));
    } else {
        for (int64_t i = 0; i < count; i++)
            hw_store(to, to_type, i, hw_load(from, from_type, i) - offset);
    }
}

static void fill(void *to, int32_t type, int64_t count, int64_t value)
{
    for (int64_t i = 0; i < count; i++)
        hw_store(to, type, i, value);
}

/* |x| of a staged row, in unsigned bytes or, at most INT16_MAX, in halves. */
static void take_magnitudes(const hw_plan *plan, int64_t n, int64_t y)
{
    const hw_tensor *t = &plan->input;
    const uint8_t *from = hw_pixel(t, n, y, -t->border_w);
    uint8_t *to = (uint8_t *)from + plan->conv.magnitudes;
    if (t->type == HW_S8) {
        for (int64_t i = 0; i < t->stride_h; i++)
            to[i] = (uint8_t)abs(((const int8_t *)from)[i]);
        return;
    }
    for (int64_t i = 0; i < t->stride_h; i++) {
        const int32_t x = abs(((const int16_t *)(const void *)from)[i]);
        ((int16_t *)(void *)to)[i] = (int16_t)(x > INT16_MAX ? INT16_MAX : x);
    }
}

static void stage_row(const hw_plan *plan, int64_t row)
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const hw_tensor *from = &plan->call->inputs[0], *to = &plan->input;
    const int64_t offset = op->staged_offset, padding = op->zero - offset, border = to->border_w;
    const int64_t rows = to->h + 2 * to->border_h;
    const int64_t n = row / rows, y = row % rows - to->border_h;
    if (y < 0 || y >= to->h) {
        fill(hw_pixel(to, n, y, -border), to->type, to->stride_h, padding);
        return;
    }
    fill(hw_pixel(to, n, y, -border), to->type, border * to->c, padding);
    fill(hw_pixel(to, n, y, to->w), to->type, border * to->c, padding);
    if (from->stride_w == from->c && op->repeat == 1) {
        convert(hw_pixel(to, n, y, 0), to->type, hw_pixel(from, n, y, 0), from->type, to->w * to->c, offset);
        return;
    }
    for (int64_t x = 0; x < to->w && op->repeat == 1; x++)
        convert(hw_pixel(to, n, y, x), to->type, hw_pixel(from, n, y, x), from->type, to->c, offset);
    for (int64_t x = 0; x < to->w && op->repeat > 1; x++)
        for (int64_t k = 0; k < to->c; k++)
            hw_store(hw_pixel(to, n, y, x), to->type, k, hw_load(hw_pixel(from, n, y, x), from->type, k / op->repeat) - offset);
}

void hw_conv_stage_row(const hw_plan *plan, int64_t row)
{
    const int64_t rows = plan->input.h + 2 * plan->input.border_h;
    stage_row(plan, row);
    if (plan->conv.magnitudes)
        take_magnitudes(plan, row / rows, row % rows - plan->input.border_h);
}
