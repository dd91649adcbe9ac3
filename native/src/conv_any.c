/* Any convolution, by the definition: int64 sums, taps outside the image skipped. For operands that no fast path takes
 * (weights beyond 16 bits signed, inputs of mixed range). */
#include "conv.h"

static int64_t total_at(const hw_plan *plan, int64_t n, int64_t k, int64_t y, int64_t x)
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const hw_conv *v = &op->conv;
    const hw_tensor *in = &plan->input;
    const int64_t c_group = v->c / v->groups, first = k / (v->k / v->groups) * c_group;
    int64_t total = 0;
    for (int64_t r = 0; r < v->r; r++) {
        const int64_t iy = y * v->stride_h + r * v->dilation_h - v->pad_h;
        for (int64_t s = 0; s < v->s && iy >= 0 && iy < in->h; s++) {
            const int64_t ix = x * v->stride_w + s * v->dilation_w - v->pad_w;
            if (ix < 0 || ix >= in->w)
                continue;
            const void *pixel = hw_pixel(in, n, iy, ix);
            for (int64_t c = 0; c < c_group; c++)
                total += (hw_load(pixel, in->type, first + c) - op->zero) * op->weights[((k * c_group + c) * v->r + r) * v->s + s];
        }
    }
    return total;
}

void hw_conv_any_row(const hw_plan *plan, int64_t n, int64_t y, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)worker;
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const hw_tensor *out = &plan->call->output;
    if (op->order)
        events[HW_BY_BOUNDS] += out->w * out->c;
    for (int64_t x = 0; x < out->w; x++) {
        for (int64_t k = 0; k < out->c; k++) {
            int64_t acc;
            const int64_t at = ((n * out->h + y) * out->w + x) * out->c + k;
            uint8_t *flag = plan->call->flags ? plan->call->flags + at : NULL;
            const int64_t code = hw_stage_code(&op->stage, k, total_at(plan, n, k, y, x), &acc, flag, events);
            hw_store(hw_pixel(out, n, y, x), out->type, k, code);
            if (plan->call->acc)
                hw_store(plan->call->acc, plan->call->acc_type, at, acc);
        }
    }
}
