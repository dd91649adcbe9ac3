/* Rounded products in lanes of channels: powers of two with few guard bits, and products finer than the accumulator's grid. */
#include "conv.h"
#include "scalar.h"

#include <stdlib.h>

enum { MAX_RIGHT = 30 };

/* What one weight's product is made by: round(x * factor / 2^right), then `negative` and a left shift of the channel's. */
typedef struct recipe {
    int64_t factor;
    int right, left;
    bool negative;
} recipe;

static recipe recipe_of(const hw_conv *conv, int64_t at, int64_t k)
{
    const hw_shift_add *unit = conv->shift_add;
    const int step = conv->walk ? conv->walk->step_shift[k] : 0, drop = conv->walk ? conv->walk->drop[k] : 0;
    if (!unit)
        return (recipe){conv->weights[at], drop + (step < 0 ? -step : 0), step > 0 ? step : 0, false};
    const int exponent = unit->exponent[at];
    const int64_t power = unit->nonzero[at] ? (int64_t)1 << (unit->guard_bits + (exponent > 0 ? exponent : 0)) : 0;
    const bool negative = unit->negative[at];
    return (recipe){negative && !unit->sign_after ? -power : power, exponent < 0 ? -exponent : 0, step > 0 ? step : 0,
                    negative && unit->sign_after};
}

/* One tap to a step, one rounding to a product, and nothing else on the way. */
static bool takes(const hw_conv *conv)
{
    const hw_walk *w = conv->walk;
    if (conv->groups != 1 || conv->in_high > INT16_MAX || (w && (w->lanes != 1 || w->spill_every)))
        return false;
    if (w && (conv->output.acc_bits > 62 || w->step_shift[0] > 31))
        return false;
    for (int64_t k = 0; conv->shift_add && w && k < conv->k; k++)
        if (w->drop[k] || w->step_shift[k] < 0)
            return false;
    return true;
}

/* In int32: x * factor and what rounding adds to it; in int64: all sums, with a register's content. */
static bool fits_lanes(const hw_conv *conv, const recipe *r)
{
    const int64_t x = max64(-conv->in_low, conv->in_high), taps = conv->c * conv->r * conv->s;
    const hw_wide most = (hw_wide)x * (r->factor < 0 ? -r->factor : r->factor);
    if (r->right > MAX_RIGHT || r->left > 31 || most + ((hw_wide)1 << r->right) > INT32_MAX)
        return false;
    return ((most + 1) << r->left) * taps < ((hw_wide)1 << 62);
}

int hw_rounded_init(hw_conv_op *op, const hw_conv *conv, hw_status *status)
{
    if (!takes(conv))
        return HW_OK;
    for (int64_t k = 0; k < conv->k; k++)
        for (int64_t tap = 0; tap < op->taps; tap++) {
            const recipe made = recipe_of(conv, k * op->taps + tap, k);
            if (!fits_lanes(conv, &made))
                return HW_OK;
        }
    hw_round_lanes *r = &op->rounded;
    const int64_t padded = ceil_div(conv->k, WALK_LANES) * WALK_LANES;
    const size_t count = (size_t)(padded * op->taps);
    r->taps = op->taps;
    r->rounding = conv->shift_add ? conv->shift_add->rounding : conv->walk->rounding;
    r->factor = hw_alloc(count * sizeof(int32_t), status);
    r->right = hw_alloc(count, status);
    r->negative = conv->shift_add && conv->shift_add->sign_after ? hw_alloc(count, status) : NULL;
    r->left = hw_alloc((size_t)padded * sizeof(int64_t), status);
    r->tap = hw_alloc((size_t)op->taps * sizeof(int32_t), status);
    if (status->code)
        return status->code;
    for (int64_t i = 0; i < op->taps; i++)
        r->tap[i] = conv->walk ? conv->walk->taps[i] : (int32_t)i;
    for (int64_t k = 0; k < conv->k; k++)
        for (int64_t i = 0; i < op->taps; i++) {
            const recipe made = recipe_of(conv, k * op->taps + r->tap[i], k);
            const int64_t at = (k / WALK_LANES * op->taps + i) * WALK_LANES + k % WALK_LANES;
            r->factor[at] = (int32_t)made.factor;
            r->right[at] = (int8_t)made.right;
            r->left[k] = made.left;
            if (r->negative)
                r->negative[at] = made.negative ? -1 : 0;
        }
    return HW_OK;
}

void hw_rounded_free(hw_conv_op *op)
{
    free(op->rounded.factor);
    free(op->rounded.right);
    free(op->rounded.negative);
    free(op->rounded.left);
    free(op->rounded.tap);
}
