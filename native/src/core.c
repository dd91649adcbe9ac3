/* Status, memory, element types and the checks that every operator makes of its tensors; the exported scalar leaves. */
#include "core.h"
#include "scalar.h"

#include <stdlib.h>
#include <string.h>

int hw_fail(hw_status *status, int32_t code, int64_t index, int64_t value)
{
    status->code = code;
    status->index = index;
    status->value = value;
    return code;
}

void *hw_alloc(size_t bytes, hw_status *status)
{
    void *memory = NULL;
    if (bytes > PTRDIFF_MAX - 64 || posix_memalign(&memory, 64, bytes + 64) != 0) {
        hw_fail(status, HW_NO_MEMORY, 0, (int64_t)bytes);
        return NULL;
    }
    return memset(memory, 0, bytes);
}

static const struct { int64_t low, high; } types[] = {
    [HW_S8] = {INT8_MIN, INT8_MAX},    [HW_U8] = {0, UINT8_MAX},
    [HW_S16] = {INT16_MIN, INT16_MAX}, [HW_U16] = {0, UINT16_MAX},
    [HW_S32] = {INT32_MIN, INT32_MAX}, [HW_U32] = {0, UINT32_MAX},
    [HW_S64] = {INT64_MIN, INT64_MAX},
};

static bool type_known(int32_t type) { return type >= HW_S8 && type <= HW_S64; }
int64_t hw_type_low(int32_t type) { return type_known(type) ? types[type].low : 0; }
int64_t hw_type_high(int32_t type) { return type_known(type) ? types[type].high : 0; }

int hw_check_output(const hw_output *o, hw_status *status)
{
    const int64_t far = (int64_t)1 << 48;
    const int64_t values[] = {o->acc_bits, o->rounding, o->overflow, o->activation, o->low, o->scaling, o->zero_point,
                              o->clamps, o->clamp_low};
    const int64_t lows[] = {2, HW_FLOOR, HW_WRAP, HW_NONE, INT64_MIN, HW_SHIFT, -far, 0, INT64_MIN};
    const int64_t highs[] = {64, HW_TIES_ODD, HW_SATURATE, HW_RELU_AFTER, o->high, HW_FLOAT64, far, 1, o->clamp_high};
    for (int i = 0; i < 8 + o->clamps; i++)
        if (values[i] < lows[i] || values[i] > highs[i])
            return hw_fail(status, HW_BAD_ARGUMENT, i, values[i]);
    if (o->low < -far / 2 || o->high >= far)
        return hw_fail(status, HW_OUT_OF_RANGE, 0, o->low < -far / 2 ? o->low : o->high);
    if (o->scaling != HW_SHIFT && !o->multiplier)
        return hw_fail(status, HW_BAD_ARGUMENT, 5, o->scaling);
    if (o->scaling >= HW_FLOAT32 && o->rounding < HW_TIES_UP)
        return hw_fail(status, HW_BAD_ARGUMENT, 1, o->rounding);
    return HW_OK;
}

/* Sizes that fit together: positive, below 2^31, and strides that leave room for the border. */
int hw_check_tensor(const hw_tensor *t, int64_t index, hw_status *status)
{
    if (!type_known(t->type))
        return hw_fail(status, HW_BAD_TYPE, index, t->type);
    const int64_t sizes[] = {t->n, t->h, t->w, t->c};
    for (int i = 0; i < 4; i++)
        if (sizes[i] < 1 || sizes[i] > INT32_MAX)
            return hw_fail(status, HW_BAD_SHAPE, index, sizes[i]);
    if (t->data == NULL || t->border_h < 0 || t->border_h > UINT16_MAX || t->border_w < 0 || t->border_w > UINT16_MAX)
        return hw_fail(status, HW_BAD_SHAPE, index, t->border_h);
    if (t->stride_w < t->c)
        return hw_fail(status, HW_BAD_SHAPE, index, t->stride_w);
    if (t->stride_h < (t->w + 2 * t->border_w) * t->stride_w && (t->border_h > 0 || t->h > 1))
        return hw_fail(status, HW_BAD_SHAPE, index, t->stride_h);
    if (t->n > 1 && t->stride_n < (t->h + 2 * t->border_h) * t->stride_h)
        return hw_fail(status, HW_BAD_SHAPE, index, t->stride_n);
    return HW_OK;
}

int hw_check_same_image(const hw_tensor *a, const hw_tensor *b, hw_status *status)
{
    if (a->n != b->n)
        return hw_fail(status, HW_BAD_SHAPE, 0, a->n);
    if (a->h != b->h)
        return hw_fail(status, HW_BAD_SHAPE, 2, a->h);
    if (a->w != b->w)
        return hw_fail(status, HW_BAD_SHAPE, 3, a->w);
    return HW_OK;
}

void hw_op_free(hw_op *op)
{
    if (op)
        op->family->free(op);
}

int32_t hw_abi_version(void) { return HW_ABI_VERSION; }

const char *hw_status_text(int32_t code)
{
    static const char *const texts[] = {
        "no error", "out of memory", "sizes that contradict each other", "an element type that is not taken here",
        "an argument outside its range", "an instruction set that this processor lacks", "a value outside its range",
    };
    return code >= HW_OK && code <= HW_OUT_OF_RANGE ? texts[code] : "an unknown status";
}

int64_t hw_round_shift(int64_t x, int32_t shift, int32_t rounding) { return (int64_t)round_shift(x, shift, rounding); }
int64_t hw_round_ratio(int64_t x, int64_t unit, int32_t rounding) { return (int64_t)round_ratio(x, unit, rounding); }
int64_t hw_wrap(int64_t x, int32_t bits, int32_t is_signed) { return wrap(x, bits, is_signed != 0); }
int64_t hw_saturate(int64_t x, int64_t low, int64_t high) { return saturate(x, low, high); }

int64_t hw_fit(int64_t x, int32_t overflow, int32_t bits, int32_t is_signed, int64_t low, int64_t high)
{
    return fit(x, overflow, bits, is_signed != 0, low, high);
}

int32_t hw_sum_fits(int64_t a, int64_t b, int64_t low, int64_t high) { return sum_fits(a, b, low, high); }

int64_t hw_requantize(int64_t acc, int32_t shift, int32_t rounding, int64_t low, int64_t high)
{
    return requantize(acc, shift, rounding, low, high);
}

int64_t hw_high_multiply(int64_t value, int64_t multiplier, int32_t shift, int32_t rounding)
{
    return (int64_t)high_multiply(value, multiplier, shift, rounding);
}

int64_t hw_double_round(int64_t value, int64_t multiplier, int32_t shift)
{
    return (int64_t)double_round(value, multiplier, shift);
}

int64_t hw_float32_multiply(int64_t value, int64_t multiplier, int32_t shift, int32_t rounding)
{
    return float32_multiply(value, multiplier, shift, rounding);
}

int64_t hw_float64_multiply(int64_t value, int64_t multiplier, int32_t shift, int32_t rounding)
{
    return float64_multiply(value, multiplier, shift, rounding);
}

int64_t hw_scale_value(int64_t value, int64_t multiplier, int32_t shift, int32_t rule, int32_t rounding)
{
    return (int64_t)scale_value(value, multiplier, shift, rule, rounding);
}
