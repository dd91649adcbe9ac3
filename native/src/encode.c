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
    int64_t *table;          /* [c][256], 2 * code + event; NULL with a mean per pixel */
    bool moves;              /* every code's low byte is the pixel's plus `move`, and nothing is an event */
    uint8_t move;
} hw_encode_op;

static int64_t encode_pixel(const hw_encode_op *op, int64_t pixel, int64_t mean, int64_t events[HW_COUNTERS])
{
    int64_t acc;
    const int64_t value = ((pixel << op->encode.mean_shift) - mean) * op->encode.scale;
    return hw_stage_code(&op->stage, 0, value, &acc, NULL, events);
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

#define TABLE_LOOP(T)                                                  \
    for (int64_t x = 0; x < width; x++) {                              \
        for (int64_t c = 0; c < channels; c++) {                       \
            const int64_t entry = table[256 * c + in[x * in_stride + c]]; \
            ((T *)out)[x * out_stride + c] = (T)(entry >> 1);          \
            counted += entry & 1;                                      \
        }                                                              \
    }

/* Inlined with 1 and 3 channels as constants: most images have so many. */
static inline __attribute__((always_inline)) int64_t table_row(const int64_t *table, const uint8_t *in, int64_t in_stride,
                                                               void *out, int64_t bytes, int64_t out_stride,
                                                               int64_t width, const int64_t channels)
{
    int64_t counted = 0;
    if (bytes == 1)
        TABLE_LOOP(uint8_t)
    else if (bytes == 2)
        TABLE_LOOP(uint16_t)
    else
        TABLE_LOOP(uint32_t)
    return counted;
}

static void row_by_table(const hw_encode_op *op, const hw_plan *plan, int64_t n, int64_t y, int64_t events[HW_COUNTERS])
{
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    const uint8_t *from = hw_pixel(in, n, y, 0);
    void *to = hw_pixel(out, n, y, 0);
    const int64_t bytes = hw_type_bytes(out->type);
    if (out->c == 3)
        events[1] += table_row(op->table, from, in->stride_w, to, bytes, out->stride_w, out->w, 3);
    else if (out->c == 1)
        events[1] += table_row(op->table, from, in->stride_w, to, bytes, out->stride_w, out->w, 1);
    else
        events[1] += table_row(op->table, from, in->stride_w, to, bytes, out->stride_w, out->w, out->c);
}

static void move_row(const hw_encode_op *op, const hw_plan *plan, int64_t n, int64_t y)
{
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    const bool whole = in->stride_w == in->c && out->stride_w == out->c;
    const int64_t runs = whole ? 1 : out->w, count = whole ? out->w * out->c : out->c;
    const uint8_t move = op->move;
    for (int64_t x = 0; x < runs; x++) {
        const uint8_t *restrict from = hw_pixel(in, n, y, x);
        uint8_t *restrict to = hw_pixel(out, n, y, x);
        for (int64_t i = 0; i < count; i++)
            to[i] = (uint8_t)(from[i] + move);
    }
}

static void encode_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    (void)worker;
    const hw_encode_op *op = (const hw_encode_op *)plan->op;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    const int64_t n = task / out->h, y = task % out->h;
    if (op->moves && hw_type_bytes(out->type) == 1) {
        move_row(op, plan, n, y);
        return;
    }
    if (op->table && out->type != HW_S64) {
        row_by_table(op, plan, n, y, events);
        return;
    }
    for (int64_t x = 0; x < out->w; x++) {
        for (int64_t c = 0; c < out->c; c++) {
            const int64_t mean = op->mean[op->encode.mean_per_pixel ? (c * out->h + y) * out->w + x : c];
            hw_store(hw_pixel(out, n, y, x), out->type, c, encode_pixel(op, hw_pixel(in, n, y, x)[c], mean, events));
        }
    }
}

static void encode_free(hw_op *handle)
{
    hw_encode_op *op = (hw_encode_op *)handle;
    hw_stage_free(&op->stage);
    free(op->mean);
    free(op->table);
    free(op);
}

static const hw_family encode_family = {encode_bind, encode_task, encode_free};

static int check_encode(const hw_encode *v, hw_status *status)
{
    const int64_t values[] = {v->c, v->h, v->w, v->mean_per_pixel, v->mean_shift, v->scale};
    const int64_t lows[] = {1, 1, 1, 0, 0, 1};
    const int64_t highs[] = {1 << 16, 1 << 16, 1 << 16, 1, 20, 1 << 24};
    for (int i = 0; i < 6; i++)
        if (values[i] < lows[i] || values[i] > highs[i])
            return hw_fail(status, HW_BAD_ARGUMENT, i, values[i]);
    return HW_OK;
}

static int make_table(hw_encode_op *op, hw_status *status)
{
    op->table = hw_alloc((size_t)op->encode.c * 256 * sizeof(int64_t), status);
    for (int64_t i = 0; op->table && i < op->encode.c * 256; i++) {
        int64_t events[HW_COUNTERS] = {0};
        const int64_t code = encode_pixel(op, i % 256, op->mean[i / 256], events);
        op->table[i] = 2 * code + events[1];
    }
    op->moves = op->table;
    op->move = op->table ? (uint8_t)(op->table[0] >> 1) : 0;
    for (int64_t i = 0; op->moves && i < op->encode.c * 256; i++)
        op->moves = !(op->table[i] & 1) && (uint8_t)(op->table[i] >> 1) == (uint8_t)(i + op->move);
    return status->code;
}

/* (pixel - mean) * scale must leave two bits of room in int64. */
static int copy_mean(hw_encode_op *op, const hw_encode *encode, hw_status *status)
{
    const int64_t means = encode->c * (encode->mean_per_pixel ? encode->h * encode->w : 1);
    op->mean = hw_alloc((size_t)means * sizeof(int64_t), status);
    for (int64_t i = 0; op->mean && i < means; i++) {
        const hw_wide product = (hw_wide)encode->mean[i] * encode->scale;
        if (product > INT64_MAX / 4 || product < INT64_MIN / 4)
            return hw_fail(status, HW_OUT_OF_RANGE, i, encode->mean[i]);
        op->mean[i] = encode->mean[i];
    }
    return status->code;
}

static int fill(hw_encode_op *op, const hw_encode *encode, hw_status *status)
{
    const int64_t bias = 0;
    const int32_t none = 0;
    hw_output output = encode->output;
    output.acc_bits = 64;
    if (hw_stage_init(&op->stage, 1, &output, &bias, &none, &encode->shift, &bias, &bias, status))
        return status->code;
    if (copy_mean(op, encode, status) || encode->mean_per_pixel)
        return status->code;
    return make_table(op, status);
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
