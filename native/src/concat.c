/* The inputs' channels one after the other. An input that already lies in its place is left alone. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

typedef struct hw_concat_op {
    hw_op op;
    int64_t inputs;
} hw_concat_op;

static int concat_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_call *call = plan->call;
    int64_t channels = 0;
    if (call->n_inputs != ((const hw_concat_op *)handle)->inputs || call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, call->n_inputs);
    for (int64_t i = 0; i < call->n_inputs; i++) {
        if (hw_check_same_image(&call->inputs[i], &call->output, status))
            return status->code;
        if (call->inputs[i].type != call->output.type)
            return hw_fail(status, HW_BAD_TYPE, i, call->inputs[i].type);
        channels += call->inputs[i].c;
    }
    if (channels != call->output.c)
        return hw_fail(status, HW_BAD_SHAPE, 1, channels);
    plan->tasks[1] = call->output.n * call->output.h;
    return HW_OK;
}

static void concat_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    (void)worker;
    (void)events;
    const hw_tensor *out = &plan->call->output;
    const int64_t n = task / out->h, y = task % out->h, bytes = hw_type_bytes(out->type);
    int64_t first = 0;
    for (int64_t i = 0; i < plan->call->n_inputs; i++) {
        const hw_tensor *in = &plan->call->inputs[i];
        const bool there = hw_pixel(out, n, y, 0) + first * bytes == hw_pixel(in, n, y, 0);
        for (int64_t x = 0; x < out->w && !there; x++)
            memcpy(hw_pixel(out, n, y, x) + first * bytes, hw_pixel(in, n, y, x), (size_t)(in->c * bytes));
        first += in->c;
    }
}

static void concat_free(hw_op *op) { free(op); }

static const hw_family concat_family = {concat_bind, concat_task, concat_free};

hw_op *hw_concat_new(int64_t n, hw_status *status)
{
    *status = (hw_status){0};
    if (n < 1) {
        hw_fail(status, HW_BAD_ARGUMENT, 0, n);
        return NULL;
    }
    hw_concat_op *op = hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    op->op = (hw_op){.family = &concat_family, .isa = HW_ISA_PORTABLE};
    op->inputs = n;
    return &op->op;
}
