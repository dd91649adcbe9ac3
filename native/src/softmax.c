/* Softmax in integers: shares of the channels of each pixel. One task is one row of one image. */
#include "core.h"
#include "gemmlowp.h"
#include "lanes.h"

#include <stdlib.h>

typedef struct hw_softmax_op {
    hw_op op;
    hw_softmax softmax;      /* its pointers are not read */
    hw_stage stage;          /* of one channel, which is all of them */
} hw_softmax_op;

static int softmax_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_softmax_op *op = (const hw_softmax_op *)handle;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    if (plan->call->n_inputs != 1 || plan->call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, plan->call->n_inputs);
    if (hw_check_same_image(in, out, status))
        return status->code;
    if (in->c != op->softmax.c || out->c != in->c)
        return hw_fail(status, HW_BAD_SHAPE, 1, in->c);
    if (hw_type_bytes(in->type) > 2)
        return hw_fail(status, HW_BAD_TYPE, 0, in->type);
    if (hw_type_low(out->type) > op->stage.output.low || hw_type_high(out->type) < op->stage.output.high)
        return hw_fail(status, HW_BAD_TYPE, 1, out->type);
    plan->tasks[1] = out->n * out->h;
    plan->scratch_bytes = 2 * in->c * (int64_t)sizeof(int64_t);
    return HW_OK;
}

/* exponentials[k] of codes[k]: -1 where it does not count; returns their sum, Q12.19. */
static int64_t exponentiate(const hw_softmax *s, const int64_t *codes, int64_t *exponentials)
{
    int64_t largest = codes[0], total = 0;
    for (int64_t k = 1; k < s->c; k++)
        largest = max64(largest, codes[k]);
    for (int64_t k = 0; k < s->c; k++) {
        exponentials[k] = -1;
        if (largest - codes[k] <= s->reach) {
            exponentials[k] = softmax_exponential(codes[k] - largest, s->multiplier, s->left);
            total += softmax_term(exponentials[k]);
        }
    }
    return total;
}

static void softmax_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    const hw_softmax_op *op = (const hw_softmax_op *)plan->op;
    const hw_softmax *s = &op->softmax;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    int64_t *codes = worker->scratch, *exponentials = codes + s->c;
    for (int64_t x = 0; x < out->w; x++) {
        hw_load_lanes(hw_pixel(in, task / out->h, task % out->h, x), in->type, s->c, 0, codes);
        const int64_t total = exponentiate(s, codes, exponentials);
        const int zeros = leading_zeros(total);
        const int64_t factor = over_one_plus(total * ((int64_t)1 << zeros) - ((int64_t)1 << 31));
        for (int64_t k = 0; k < s->c; k++) {
            const bool counts = exponentials[k] >= 0;
            const int64_t share = counts ? softmax_share(exponentials[k], factor, zeros, s->bits, s->output.rounding) : 0;
            codes[k] = hw_stage_finish(&op->stage, share, NULL, events);
        }
        hw_store_lanes(hw_pixel(out, task / out->h, task % out->h, x), out->type, s->c, codes);
    }
}

static void softmax_free(hw_op *handle)
{
    hw_stage_free(&((hw_softmax_op *)handle)->stage);
    free(handle);
}

static const hw_family softmax_family = {softmax_bind, softmax_task, softmax_free};

static int check_softmax(const hw_softmax *s, hw_status *status)
{
    const int64_t values[] = {s->c, s->multiplier, s->left, s->reach, s->bits, s->output.activation, s->output.scaling};
    const int64_t lows[] = {1, 1, 0, 0, 1, HW_NONE, HW_SHIFT};
    const int64_t highs[] = {4095, INT32_MAX, 30, INT32_MAX >> (s->left & 31), 16, HW_NONE, HW_SHIFT};
    for (int i = 0; i < 7; i++)
        if (values[i] < lows[i] || values[i] > highs[i])
            return hw_fail(status, HW_OUT_OF_RANGE, i, values[i]);
    return HW_OK;
}

hw_op *hw_softmax_new(const hw_softmax *softmax, hw_status *status)
{
    *status = (hw_status){0};
    const int64_t none = 0, most = INT32_MAX;
    const int32_t still = 0;
    hw_softmax_op *op = check_softmax(softmax, status) ? NULL : hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    op->op = (hw_op){.family = &softmax_family, .isa = HW_ISA_PORTABLE};
    op->softmax = *softmax;
    if (hw_stage_init(&op->stage, 1, &softmax->output, &none, &still, &still, &none, &most, status)) {
        softmax_free(&op->op);
        return NULL;
    }
    return &op->op;
}
