/* Sum of n inputs, each code << align[i], through the last stage: eltwise sum, and with one input rescale and ReLU.
 * One task is one row of one image. */
#include "core.h"
#include "window.h"

#include <stdlib.h>
#include <string.h>

typedef struct hw_sum_op {
    hw_op op;
    hw_stage stage;
    int64_t inputs;
    int32_t *align;
} hw_sum_op;

static int sum_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_sum_op *op = (const hw_sum_op *)handle;
    const hw_call *call = plan->call;
    const hw_tensor *out = &call->output;
    if (call->n_inputs != op->inputs || call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, call->n_inputs);
    if (out->c != op->stage.channels)
        return hw_fail(status, HW_BAD_SHAPE, 1, out->c);
    for (int64_t i = 0; i < op->inputs; i++) {
        if (hw_check_same_image(&call->inputs[i], out, status))
            return status->code;
        if (call->inputs[i].c != out->c)
            return hw_fail(status, HW_BAD_SHAPE, 1, call->inputs[i].c);
    }
    if (hw_type_low(out->type) > op->stage.output.low || hw_type_high(out->type) < op->stage.output.high)
        return hw_fail(status, HW_BAD_TYPE, op->inputs, out->type);
    plan->tasks[1] = out->n * out->h;
    return HW_OK;
}

/* The int32 lanes are proven for 16-bit codes at most; wider inputs take the exact form. */
static bool takes_lanes(const hw_sum_op *op, const hw_call *call)
{
    bool narrow = op->stage.narrow;
    for (int64_t i = 0; i < op->inputs; i++)
        narrow = narrow && hw_type_bytes(call->inputs[i].type) <= 2;
    return narrow;
}

static void row_by_lanes(const hw_plan *plan, int64_t n, int64_t y, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    const hw_sum_op *op = (const hw_sum_op *)plan->op;
    const hw_tensor *out = &plan->call->output;
    const hw_window_table *table = hw_window_for(plan->op->isa);
    hw_row row = {.sums = worker->sums, .plane = MAX_PIXELS * LANES, .blocks = 1, .out_type = out->type,
                  .out_stride = out->stride_w};
    for (int64_t c = 0; c < out->c; c += LANES) {
        for (int64_t x = 0; x < out->w; x += MAX_PIXELS) {
            row.pixels = min64(MAX_PIXELS, out->w - x);
            memset(worker->sums, 0, (size_t)row.pixels * LANES * sizeof(int32_t));
            for (int64_t i = 0; i < op->inputs; i++) {
                const hw_tensor *in = &plan->call->inputs[i];
                for (int64_t p = 0; p < row.pixels; p++)
                    table->add(worker->sums + p * LANES, hw_pixel(in, n, y, x + p) + c * hw_type_bytes(in->type),
                               min64(LANES, out->c - c), in->type, op->align[i]);
            }
            row.first_channel = c;
            row.out = hw_pixel(out, n, y, x) + c * hw_type_bytes(out->type);
            hw_row_function(&op->stage, plan->op->isa)(&op->stage, &row, events);
        }
    }
}

static void row_by_definition(const hw_plan *plan, int64_t n, int64_t y, int64_t events[HW_COUNTERS])
{
    const hw_sum_op *op = (const hw_sum_op *)plan->op;
    const hw_tensor *out = &plan->call->output;
    for (int64_t x = 0; x < out->w; x++) {
        for (int64_t c = 0; c < out->c; c++) {
            int64_t total = 0, acc;
            for (int64_t i = 0; i < op->inputs; i++) {
                const hw_tensor *in = &plan->call->inputs[i];
                total += hw_load(hw_pixel(in, n, y, x), in->type, c) << op->align[i];
            }
            hw_store(hw_pixel(out, n, y, x), out->type, c, hw_stage_code(&op->stage, c, total, &acc, NULL, events));
        }
    }
}

static void sum_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    const int64_t height = plan->call->output.h;
    if (takes_lanes((const hw_sum_op *)plan->op, plan->call))
        row_by_lanes(plan, task / height, task % height, worker, events);
    else
        row_by_definition(plan, task / height, task % height, events);
}

static void sum_free(hw_op *handle)
{
    hw_sum_op *op = (hw_sum_op *)handle;
    hw_stage_free(&op->stage);
    free(op->align);
    free(op);
}

static const hw_family sum_family = {sum_bind, sum_task, sum_free};

static int fill(hw_sum_op *op, int64_t c, const int32_t *align, int32_t shift, const hw_output *output,
                hw_status *status)
{
    int64_t reach = 0; /* of the sum of 16-bit codes */
    op->align = hw_alloc((size_t)op->inputs * sizeof(int32_t), status);
    int64_t *wide = hw_alloc(3 * (size_t)c * sizeof(int64_t), status);
    int32_t *lanes = hw_alloc(2 * (size_t)c * sizeof(int32_t), status);
    for (int64_t i = 0; i < op->inputs && !status->code; i++) {
        if (align[i] < 0 || align[i] > 60)
            hw_fail(status, HW_OUT_OF_RANGE, i, align[i]);
        else
            reach = min64(reach + ((int64_t)1 << min64(16 + align[i], 60)), (int64_t)1 << 60);
        op->align[i] = align[i];
    }
    for (int64_t k = 0; k < c && !status->code; k++) {
        wide[c + k] = -reach;
        wide[2 * c + k] = reach;
        lanes[c + k] = shift;
    }
    if (!status->code)
        hw_stage_init(&op->stage, c, output, wide, lanes, lanes + c, wide + c, wide + 2 * c, status);
    free(wide);
    free(lanes);
    return status->code;
}

hw_op *hw_sum_new(int64_t c, int64_t n, const int32_t *align, int32_t shift, const hw_output *output, int32_t isa,
                  hw_status *status)
{
    *status = (hw_status){0};
    const int picked = hw_pick_isa(isa, status);
    if (picked && (c < 1 || c > INT32_MAX || n < 1 || n > 1 << 14))
        hw_fail(status, HW_BAD_ARGUMENT, c < 1 || c > INT32_MAX ? 0 : 1, c < 1 ? c : n);
    hw_sum_op *op = status->code ? NULL : hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    op->op = (hw_op){.family = &sum_family, .isa = picked};
    op->inputs = n;
    if (fill(op, c, align, shift, output, status)) {
        hw_op_free(&op->op);
        return NULL;
    }
    return &op->op;
}
