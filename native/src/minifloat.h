/* The leaves of hwsim/arith/minifloat.py: same names, same order. Rules, domains and reasons stand there.
 *
 * An operand is (sign, significand, exponent), value = (-1)^sign * significand * 2^exponent; every operation forms its exact
 * result, or one that rounds alike, and ends in round_pack. Domain: man_bits <= 23, |bias| <= 512, significands < 2^62. */
#ifndef HW_MINIFLOAT_H
#define HW_MINIFLOAT_H

#include "scalar.h"

typedef struct hw_parts {
    int64_t significand;     /* >= 0 */
    int32_t sign, exponent;
} hw_parts;

typedef struct hw_float_code {
    int64_t code;
    int32_t event;
} hw_float_code;

static inline int bit_length(uint64_t x) { return x ? 64 - __builtin_clzll(x) : 0; }

/* x >> n, its last bit set if any dropped bit was. x >= 0, n >= 0. */
static inline int64_t shift_right_sticky(int64_t x, int64_t n)
{
    if (n > bit_length((uint64_t)x))
        return x > 0;
    const int64_t q = x >> n;
    return q | (q << n != x);
}

static inline hw_parts unpack(int64_t code, const hw_float *f)
{
    const int64_t magnitude = code & (((int64_t)1 << f->sign_shift) - 1);
    const int64_t field = magnitude >> f->man_bits, fraction = magnitude & (((int64_t)1 << f->man_bits) - 1);
    const bool normal = field >= f->lowest;
    const int64_t significand = normal ? fraction + ((int64_t)1 << f->man_bits) : f->subnormals ? fraction : 0;
    const int sign = code != f->zero && code >> f->sign_shift & 1; /* a zero that took another number's code has no sign */
    return (hw_parts){code == f->zero ? 0 : significand, sign, (int32_t)(field + !normal - f->bias - f->man_bits)};
}

static inline bool is_nan(int64_t code, const hw_float *f)
{
    const int64_t magnitude = code & (((int64_t)1 << f->sign_shift) - 1);
    if (f->specials == HW_IEEE)
        return magnitude > f->largest + 1;
    if (f->specials == HW_FNUZ)
        return code == (int64_t)1 << f->sign_shift;
    return magnitude > f->largest;
}

static inline bool is_infinite(int64_t code, const hw_float *f)
{
    return f->specials == HW_IEEE && (code & (((int64_t)1 << f->sign_shift) - 1)) == f->largest + 1;
}

static inline int64_t nan_code(const hw_float *f)
{
    switch (f->specials) {
    case HW_IEEE: return f->largest + 1 + ((int64_t)1 << (f->man_bits - 1));
    case HW_FN: return f->largest + 1;
    case HW_FNUZ: return (int64_t)1 << f->sign_shift;
    default: return f->zero;
    }
}

static inline int64_t zero_code(int sign, const hw_float *f)
{
    return f->zero | (sign & f->signed_zero) << f->sign_shift;
}

static inline int64_t infinity_code(int sign, const hw_float *f)
{
    if (f->saturate)
        return f->largest | (int64_t)sign << f->sign_shift;
    if (f->specials == HW_FNUZ)
        return (int64_t)1 << f->sign_shift;
    return (f->largest + 1) | (int64_t)sign << f->sign_shift;
}

/* max(value, +0): zeros become +0, NaN passes. */
static inline int64_t relu_float(int64_t code, const hw_float *f)
{
    return code >> f->sign_shift == 1 && !is_nan(code, f) ? f->zero : code;
}

/* Infinity is the nearer neighbour: as if the value stood three quarters of the way to it. */
static inline bool overflows_outward(int sign, int mode)
{
    return sign ? !increment(-1, 1, 4, mode) : increment(0, 3, 4, mode);
}

static inline hw_float_code pack(int sign, int64_t magnitude, int mode, const hw_float *f)
{
    if (magnitude > f->largest) {
        const int64_t outward = infinity_code(sign, f), largest = f->largest | (int64_t)sign << f->sign_shift;
        return (hw_float_code){overflows_outward(sign, mode) ? outward : largest, 1};
    }
    if (magnitude == 0 && f->lowest == 1)
        return (hw_float_code){zero_code(sign, f), 0};
    return (hw_float_code){magnitude | (int64_t)sign << f->sign_shift, 0};
}

static inline hw_float_code round_pack(int sign, int64_t significand, int64_t exponent, int mode, const hw_float *f)
{
    if (significand == 0)
        return (hw_float_code){zero_code(sign, f), 0};
    const int length = bit_length((uint64_t)significand);
    int64_t field = length - 1 + exponent + f->bias;
    if (field < f->lowest) {
        if (!f->subnormals)
            return (hw_float_code){zero_code(sign, f), 0};
        field = f->lowest;
    }
    int64_t shift = field - f->bias - f->man_bits - exponent;
    if (shift > length) { /* under half a unit, whatever it is */
        significand = 1;
        shift = 2;
    }
    int64_t rounded = significand;
    if (shift <= 0) {
        rounded <<= -shift;
    } else { /* floor and remainder of the signed value, in 64 bits: shift <= 62 */
        const int64_t x = sign ? -significand : significand, q = x >> shift, unit = (int64_t)1 << shift;
        const int64_t r = x - q * unit;
        rounded = q + (mode == HW_TIES_EVEN ? r > unit - r || (r == unit - r && (q & 1)) : increment(q, r, unit, mode));
        rounded = rounded < 0 ? -rounded : rounded;
    }
    return pack(sign, (field - 1) * ((int64_t)1 << f->man_bits) + rounded, mode, f);
}

/* The sum, exact or with a sticky last bit that rounds alike. a, b < 2^48. */
static inline hw_parts add_exact(hw_parts a, hw_parts b, int mode)
{
    if (a.significand == 0 || (a.exponent < b.exponent && b.significand != 0)) {
        const hw_parts c = a;
        a = b;
        b = c;
    }
    if (b.significand == 0) {
        if (a.significand != 0 || a.sign == b.sign)
            return a;
        return (hw_parts){0, mode == HW_FLOOR, a.exponent};
    }
    const int64_t apart = (int64_t)a.exponent - b.exponent, left = apart < 61 - bit_length((uint64_t)a.significand)
                              ? apart : 61 - bit_length((uint64_t)a.significand);
    const int64_t high = a.significand << left, low = shift_right_sticky(b.significand, apart - left);
    const int64_t total = (a.sign ? -high : high) + (b.sign ? -low : low);
    if (total == 0)
        return (hw_parts){0, mode == HW_FLOOR, a.exponent};
    return (hw_parts){total < 0 ? -total : total, total < 0, a.exponent - (int32_t)left};
}

static inline int64_t add_infinities(bool infinite_a, int sign_a, bool infinite_b, int sign_b, const hw_float *f)
{
    if (infinite_a && infinite_b && sign_a != sign_b)
        return nan_code(f);
    return infinity_code(infinite_a ? sign_a : sign_b, f);
}

static inline hw_float_code add_floats(int64_t a, const hw_float *of_a, int64_t b, const hw_float *of_b, const hw_float *f,
                                    int mode)
{
    if (is_nan(a, of_a) || is_nan(b, of_b))
        return (hw_float_code){nan_code(f), 0};
    const hw_parts x = unpack(a, of_a), y = unpack(b, of_b);
    if (is_infinite(a, of_a) || is_infinite(b, of_b))
        return (hw_float_code){add_infinities(is_infinite(a, of_a), x.sign, is_infinite(b, of_b), y.sign, f), 0};
    const hw_parts sum = add_exact(x, y, mode);
    return round_pack(sum.sign, sum.significand, sum.exponent, mode, f);
}

static inline hw_float_code multiply_floats(int64_t a, const hw_float *of_a, int64_t b, const hw_float *of_b,
                                         const hw_float *f, int mode)
{
    if (is_nan(a, of_a) || is_nan(b, of_b))
        return (hw_float_code){nan_code(f), 0};
    const hw_parts x = unpack(a, of_a), y = unpack(b, of_b);
    if (is_infinite(a, of_a) || is_infinite(b, of_b)) {
        if (x.significand == 0 || y.significand == 0)
            return (hw_float_code){nan_code(f), 0};
        return (hw_float_code){infinity_code(x.sign ^ y.sign, f), 0};
    }
    return round_pack(x.sign ^ y.sign, x.significand * y.significand, x.exponent + y.exponent, mode, f);
}

static inline hw_float_code multiply_add_floats(int64_t a, const hw_float *of_a, int64_t b, const hw_float *of_b, int64_t c,
                                             const hw_float *of_c, const hw_float *f, int mode)
{
    if (is_nan(a, of_a) || is_nan(b, of_b) || is_nan(c, of_c))
        return (hw_float_code){nan_code(f), 0};
    const hw_parts x = unpack(a, of_a), y = unpack(b, of_b), z = unpack(c, of_c);
    const int sign = x.sign ^ y.sign;
    const bool infinite = is_infinite(a, of_a) || is_infinite(b, of_b);
    if (infinite && (x.significand == 0 || y.significand == 0))
        return (hw_float_code){nan_code(f), 0};
    if (infinite || is_infinite(c, of_c))
        return (hw_float_code){add_infinities(infinite, sign, is_infinite(c, of_c), z.sign, f), 0};
    const hw_parts product = {x.significand * y.significand, sign, x.exponent + y.exponent};
    const hw_parts sum = add_exact(product, z, mode);
    return round_pack(sum.sign, sum.significand, sum.exponent, mode, f);
}

static inline hw_float_code cast_float(int64_t code, const hw_float *of_code, const hw_float *f, int mode)
{
    if (is_nan(code, of_code))
        return (hw_float_code){nan_code(f), 0};
    const hw_parts x = unpack(code, of_code);
    if (is_infinite(code, of_code))
        return (hw_float_code){infinity_code(x.sign, f), 0};
    return round_pack(x.sign, x.significand, x.exponent, mode, f);
}

static inline hw_float_code float_from_fixed(int64_t code, int64_t fractional_length, const hw_float *f, int mode)
{
    return round_pack(code < 0, code < 0 ? -code : code, -fractional_length, mode, f);
}

/* (-1)^sign * significand * 2^left, rounded, then fit into low..high. beyond: bits of the magnitude from 2^58 on are left out
 * of the significand. significand < 2^62, bits <= 58; signed where low < 0. */
static inline hw_float_code fixed_from_exact(int sign, int64_t significand, int64_t left, bool beyond, int mode, int overflow,
                                          int64_t low, int64_t high)
{
    const int length = bit_length((uint64_t)significand), bits = bit_length((uint64_t)high) + (low < 0);
    if (-left > length) {
        significand = significand > 0;
        left = -2;
    } else if (significand == 0) {
        left = 0;
    }
    if (beyond || length + left > 62) {
        if (overflow != HW_WRAP)
            return (hw_float_code){sign ? low : high, 1};
        if (left >= 0) {
            const int64_t room = left < 62 ? 62 - left : 0;
            const int64_t kept = (significand & (((int64_t)1 << room) - 1)) << (left < 62 ? left : 62);
            return (hw_float_code){fit(sign ? -kept : kept, overflow, bits, low < 0, low, high), 1};
        }
    }
    const hw_wide rounded = round_shift(sign ? -significand : significand, (int)-left, mode);
    return (hw_float_code){fit(rounded, overflow, bits, low < 0, low, high), beyond || !fits(rounded, low, high)};
}

static inline hw_float_code fixed_from_float(int64_t code, const hw_float *of_code, int64_t fractional_length, int mode,
                                          int overflow, int64_t low, int64_t high)
{
    if (is_nan(code, of_code))
        return (hw_float_code){0, 1};
    const hw_parts x = unpack(code, of_code);
    if (is_infinite(code, of_code))
        return (hw_float_code){x.sign ? low : high, 1};
    return fixed_from_exact(x.sign, x.significand, x.exponent + fractional_length, false, mode, overflow, low, high);
}

#endif
