/* The exported minifloat leaves. */
#include "minifloat.h"

static int64_t give(hw_float_code rounded, int32_t *event)
{
    *event = rounded.event;
    return rounded.code;
}

void hw_float_unpack(int64_t code, const hw_float *f, int64_t parts[3])
{
    const hw_parts found = unpack(code, f);
    parts[0] = found.sign;
    parts[1] = found.significand;
    parts[2] = found.exponent;
}

int64_t hw_float_round_pack(int32_t sign, int64_t significand, int64_t exponent, int32_t rounding, const hw_float *f,
                            int32_t *event)
{
    return give(round_pack(sign, significand, exponent, rounding, f), event);
}

int64_t hw_float_add(int64_t a, const hw_float *of_a, int64_t b, const hw_float *of_b, const hw_float *f,
                     int32_t rounding, int32_t *event)
{
    return give(add_floats(a, of_a, b, of_b, f, rounding), event);
}

int64_t hw_float_multiply(int64_t a, const hw_float *of_a, int64_t b, const hw_float *of_b, const hw_float *f,
                          int32_t rounding, int32_t *event)
{
    return give(multiply_floats(a, of_a, b, of_b, f, rounding), event);
}

int64_t hw_float_multiply_add(int64_t a, const hw_float *of_a, int64_t b, const hw_float *of_b, int64_t c,
                              const hw_float *of_c, const hw_float *f, int32_t rounding, int32_t *event)
{
    return give(multiply_add_floats(a, of_a, b, of_b, c, of_c, f, rounding), event);
}

int64_t hw_float_cast(int64_t code, const hw_float *of_code, const hw_float *f, int32_t rounding, int32_t *event)
{
    return give(cast_float(code, of_code, f, rounding), event);
}

int64_t hw_float_from_fixed(int64_t code, int32_t fractional_length, const hw_float *f, int32_t rounding, int32_t *event)
{
    return give(float_from_fixed(code, fractional_length, f, rounding), event);
}

int64_t hw_float_to_fixed(int64_t code, const hw_float *of_code, int32_t fractional_length, const hw_output *o,
                          int32_t *event)
{
    return give(fixed_from_float(code, of_code, fractional_length, o->rounding, o->overflow, o->low, o->high), event);
}
