/* Image -> codes. A pixel has 256 values: with one mean per channel, code and event of each are worked out once. With a
 * mean per pixel they are worked out each time. One task is one row of one image. */
#include "core.h"
#include "scalar.h"

#include <stdlib.h>
#include <string.h>

typedef struct hw_encode_op {
    hw_op op;
    hw_encode encode;        /* its mean is NULL: the copy is below */
    hw_stage stage;
    int64_t *mean;
    int64_t *code;           /* [c][256]; NULL with a mean per pixel */
    uint8_t *event;
} hw_encode_op;

static int64_t encode_pixel(const hw_encode_op *op, int64_t pixel, int64_t mean, int64_t events[2])
{
    int64_t acc;
    const int64_t value = ((pixel << op->encode.mean_shift) - mean) * op->encode.scale;
    return hw_stage_code(&op->stage, 0, value, &acc, events);
}

static int encode_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_encode_op *op = (const hw_encode_op *)handle;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    if (plan->call->n_inputs != 1 || plan->call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, plan->call->n_inputs);
    if (in->type != HW_U8)
        return hw_fail(status, HW_BAD_TYPE, 0, in->type);
    if (hw_check_same_image(in, out, status))
        return status->code;
    if (in->c != op->encode.c || out->c != op->encode.c)
        return hw_fail(status, HW_BAD_SHAPE, 1, in->c);
    if (op->encode.mean_per_pixel && (in->h != op->encode.h || in->w != op->encode.w))
        return hw_fail(status, HW_BAD_SHAPE, 2, in->h);
    if (hw_type_low(out->type) > op->encode.output.low || hw_type_high(out->type) < op->encode.output.high)
        return hw_fail(status, HW_BAD_TYPE, 1, out->type);
    plan->tasks[1] = out->n * out->h;
    return HW_OK;
}

static void row_by_table(const hw_encode_op *op, const uint8_t *in, int64_t in_stride, void *out, int32_t type,
                         int64_t out_stride, int64_t width, int64_t events[2])
{
    int64_t counted = 0;
    for (int64_t c = 0; c < op->encode.c; c++) {
        const int64_t *code = op->code + 256 * c;
        const uint8_t *event = op->event + 256 * c;
        for (int64_t x = 0; x < width; x++) {
            const uint8_t pixel = in[x * in_stride + c];
            hw_store(out, type, x * out_stride + c, code[pixel]);
            counted += event[pixel];
        }
    }
    events[1] += counted;
}

static void encode_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[2])
{
    (void)phase;
    (void)worker;
    const hw_encode_op *op = (const hw_encode_op *)plan->op;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    const int64_t n = task / out->h, y = task % out->h;
    if (op->code) {
        row_by_table(op, hw_pixel(in, n, y, 0), in->stride_w, hw_pixel(out, n, y, 0), out->type, out->stride_w, out->w,
                     events);
        return;
    }
    for (int64_t x = 0; x < out->w; x++) {
        for (int64_t c = 0; c < out->c; c++) {
            const int64_t mean = op->mean[(c * out->h + y) * out->w + x];
            hw_store(hw_pixel(out, n, y, x), out->type, c, encode_pixel(op, hw_pixel(in, n, y, x)[c], mean, events));
        }
    }
}

static void encode_free(hw_op *handle)
{
    hw_encode_op *op = (hw_encode_op *)handle;
    hw_stage_free(&op->stage);
    free(op->mean);
    free(op->code);
    free(op->event);
    free(op);
}

static const hw_family encode_family = {encode_bind, encode_task, encode_free};

static int check_encode(const hw_encode *v, hw_status *status)
{
    const int64_t values[] = {v->c, v->h, v->w, v->mean_per_pixel, v->mean_shift, v->scale, v->shift};
    const int64_t lows[] = {1, 1, 1, 0, 0, 1, -30};
    const int64_t highs[] = {1 << 16, 1 << 16, 1 << 16, 1, 20, 1 << 24, 62};
    for (int i = 0; i < 7; i++)
        if (values[i] < lows[i] || values[i] > highs[i])
            return hw_fail(status, HW_BAD_ARGUMENT, i, values[i]);
    return HW_OK;
}

static int make_table(hw_encode_op *op, hw_status *status)
{
    op->code = hw_alloc((size_t)op->encode.c * 256 * sizeof(int64_t), status);
    op->event = hw_alloc((size_t)op->encode.c * 256, status);
    for (int64_t i = 0; op->code && op->event && i < op->encode.c * 256; i++) {
        int64_t events[2] = {0, 0};
        op->code[i] = encode_pixel(op, i % 256, op->mean[i / 256], events);
        op->event[i] = (uint8_t)events[1];
    }
    return status->code;
}

static int fill(hw_encode_op *op, const hw_encode *encode, hw_status *status)
{
    const int64_t bias = 0, limit = (int64_t)1 << 53;
    const int32_t none = 0;
    const hw_output output = {64, encode->output.rounding, encode->output.overflow, encode->output.activation,
                              encode->output.low, encode->output.high};
    if (hw_stage_init(&op->stage, 1, &output, &bias, &none, &encode->shift, &bias, &bias, status))
        return status->code;
    const int64_t means = encode->c * (encode->mean_per_pixel ? encode->h * encode->w : 1);
    op->mean = hw_alloc((size_t)means * sizeof(int64_t), status);
    for (int64_t i = 0; op->mean && i < means; i++) {
        if (encode->mean[i] < -limit || encode->mean[i] > limit || (__int128)encode->mean[i] * encode->scale > INT64_MAX / 4 || (__int128)encode->mean[i] * encode->scale < INT64_MIN / 4)
            return hw_fail(status, HW_OUT_OF_RANGE, i, encode->mean[i]);
        op->mean[i] = encode->mean[i];
    }
    return status->code || encode->mean_per_pixel ? status->code : make_table(op, status);
}

hw_op *hw_encode_new(const hw_encode *encode, int32_t isa, hw_status *status)
{
    *status = (hw_status){0};
    const int picked = hw_pick_isa(isa, status);
    if (!picked || check_encode(encode, status))
        return NULL;
    hw_encode_op *op = hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    op->op = (hw_op){.family = &encode_family, .isa = picked};
    op->encode = *encode;
    op->encode.mean = NULL;
    if (fill(op, encode, status)) {
        hw_op_free(&op->op);
        return NULL;
    }
    return &op->op;
}
