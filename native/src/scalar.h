/* The arithmetic leaves of hwsim/arith: same names, same order, one line per rounding mode.
 *
 * hw_wide holds every exact intermediate: a 64-bit accumulator shifted left by 63 stays below 2^127. */
#ifndef HW_SCALAR_H
#define HW_SCALAR_H

#include "hwsim.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

__extension__ typedef __int128 hw_wide;

/* Whether (q*unit + r) / unit rounds to q + 1 instead of q, for 0 <= r < unit. 2r is compared with unit as r with unit - r:
 * nothing can overflow. q < 0 means that the exact value is below zero. */
static inline bool increment(hw_wide q, hw_wide r, hw_wide unit, int mode)
{
    const hw_wide rest = unit - r;
    switch (mode) {
    case HW_FLOOR: return false;
    case HW_CEIL: return r > 0;
    case HW_TOWARD_ZERO: return r > 0 && q < 0;
    case HW_AWAY_FROM_ZERO: return r > 0 && q >= 0;
    case HW_TIES_UP: return r >= rest;
    case HW_TIES_DOWN: return r > rest;
    case HW_TIES_AWAY: return r > rest || (r == rest && q >= 0);
    case HW_TIES_TO_ZERO: return r > rest || (r == rest && q < 0);
    case HW_TIES_EVEN: return r > rest || (r == rest && (q & 1));
    default: return r > rest || (r == rest && !(q & 1));
    }
}

/* round(x / 2^shift); a negative shift is the exact left shift. Domain: |x| < 2^63, -63 <= shift <= 126. */
static inline hw_wide round_shift(hw_wide x, int shift, int mode)
{
    if (shift <= 0)
        return x << -shift;
    const hw_wide q = x >> shift;
    return q + increment(q, x - (q << shift), (hw_wide)1 << shift, mode);
}

/* round(x / unit), unit >= 1: exact division. C divides toward zero, so the quotient is brought to the floor first. */
static inline hw_wide round_ratio(hw_wide x, hw_wide unit, int mode)
{
    const bool narrow = x == (int64_t)x && x != INT64_MIN && unit == (int64_t)unit; /* 128-bit division is slow */
    const hw_wide toward_zero = narrow ? (int64_t)x / (int64_t)unit : x / unit;
    const hw_wide q = toward_zero - (toward_zero * unit > x);
    return q + increment(q, x - q * unit, unit, mode);
}

/* x modulo 2^bits as a signed code, bits 1..64. */
static inline int64_t wrap_signed(hw_wide x, int bits)
{
    const uint64_t low = (uint64_t)x << (64 - bits);
    return (int64_t)low >> (64 - bits);
}

/* x modulo 2^bits, bits 1..63. */
static inline int64_t wrap_unsigned(hw_wide x, int bits)
{
    return (int64_t)((uint64_t)x & (((uint64_t)1 << bits) - 1));
}

static inline int64_t wrap(hw_wide x, int bits, bool is_signed)
{
    return is_signed ? wrap_signed(x, bits) : wrap_unsigned(x, bits);
}

/* gemmlowp's two roundings: the doubling high half, then what is left of the shift. Below 31 the value is shifted left first,
 * in 32 bits. */
static inline hw_wide high_multiply(hw_wide value, int64_t multiplier, int shift, int mode)
{
    const int left = shift < 31 ? 31 - shift : 0, right = shift > 31 ? shift - 31 : 0;
    const hw_wide high = round_shift((hw_wide)wrap_signed(value << left, 32) * multiplier, 31, HW_TIES_UP);
    return round_shift(high, right, mode);
}

/* TOSA's: half of 2^31 more, away from zero, where the shift is above 31. */
static inline hw_wide double_round(hw_wide value, int64_t multiplier, int shift)
{
    const hw_wide half = (hw_wide)1 << (shift - 1), nudge = shift > 31 ? (hw_wide)1 << 30 : 0;
    return (value * multiplier + half + (value < 0 ? -nudge : nudge)) >> shift;
}

/* A float's nearest integer, ties as the mode says (HW_TIES_*); beyond +-2^62 it stays there. The fraction is exact. */
static inline int64_t round_float(double x, int mode)
{
    const int64_t far = (int64_t)1 << 62;
    if (x >= 0x1p62 || x <= -0x1p62)
        return x > 0 ? far : -far;
    const int64_t whole = (int64_t)x;
    const double fraction = fabs(x - (double)whole);
    const bool up = x > 0, odd = whole & 1;
    const bool tie_leaves = mode == HW_TIES_AWAY || (mode == HW_TIES_UP && up) || (mode == HW_TIES_DOWN && !up) ||
                            (mode == HW_TIES_EVEN && odd) || (mode == HW_TIES_ODD && !odd);
    if (fraction > 0.5 || (fraction == 0.5 && tie_leaves))
        return up ? whole + 1 : whole - 1;
    return whole;
}

/* In float32: the conversion of the value and the product are rounded, ties to even. A scale beyond float32 is 0 or infinite:
 * so are the products' integers, within +-2^62. */
static inline int64_t float32_multiply(int64_t value, int64_t multiplier, int shift, int mode)
{
    const float x = (float)value, scale = ldexpf((float)multiplier, -shift);
    const float product = x * scale;
    return value && multiplier ? round_float(product, mode) : 0;
}

static inline int64_t float64_multiply(int64_t value, int64_t multiplier, int shift, int mode)
{
    const double product = (double)value * ldexp((double)multiplier, -shift);
    return value && multiplier ? round_float(product, mode) : 0;
}

/* round(value * multiplier / 2^shift), as the rule has it. */
static inline hw_wide scale_value(int64_t value, int64_t multiplier, int shift, int rule, int mode)
{
    switch (rule) {
    case HW_SHIFT: return round_shift(value, shift, mode);
    case HW_MULTIPLY: return round_shift((hw_wide)value * multiplier, shift, mode);
    case HW_HIGH_MULTIPLY: return high_multiply(value, multiplier, shift, mode);
    case HW_DOUBLE_ROUND: return double_round(value, multiplier, shift);
    case HW_FLOAT32: return float32_multiply(value, multiplier, shift, mode);
    default: return float64_multiply(value, multiplier, shift, mode);
    }
}

/* What one operand adds to a sum; value: its code less the zero point. */
static inline int64_t term_value(const hw_operand *t, int64_t value)
{
    const int64_t moved = (int64_t)((uint64_t)value << t->align);
    return t->sign * (int64_t)scale_value(moved, t->multiplier, t->scaling == HW_SHIFT ? 0 : t->shift, t->scaling, t->rounding);
}

static inline bool fits(hw_wide x, int64_t low, int64_t high)
{
    return x >= low && x <= high;
}

static inline int64_t saturate(hw_wide x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : (int64_t)x;
}

static inline int64_t fit(hw_wide x, int mode, int bits, bool is_signed, int64_t low, int64_t high)
{
    return mode == HW_WRAP ? wrap(x, bits, is_signed) : saturate(x, low, high);
}

static inline bool sum_fits(int64_t a, int64_t b, int64_t low, int64_t high)
{
    return fits((hw_wide)a + b, low, high);
}

static inline int64_t requantize(hw_wide acc, int shift, int rounding, int64_t low, int64_t high)
{
    return saturate(round_shift(acc, shift, rounding), low, high);
}

/* What a register of a declared order keeps of x; all four modes of hw_overflow, low and high as register_range has them. */
static inline int64_t keep(hw_wide x, int mode, int bits, int64_t low, int64_t high)
{
    return mode == HW_WRAP || mode == HW_TRAP ? wrap_signed(x, bits) : saturate(x, low, high);
}

static inline int64_t register_high(int bits)
{
    return (int64_t)(((uint64_t)1 << (bits - 1)) - 1);
}

static inline int64_t register_low(int bits, int mode)
{
    return -register_high(bits) - (mode != HW_SATURATE_SYMMETRIC);
}

/* acc + x, as the register holds it; *events counts it if the sum leaves low..high. */
static inline int64_t add_to(int64_t acc, hw_wide x, int bits, int64_t low, int64_t high, int mode, int64_t *events)
{
    const hw_wide sum = acc + x;
    if (fits(sum, low, high))
        return (int64_t)sum;
    ++*events;
    return keep(sum, mode, bits, low, high);
}

/* The sum of values[0..count-1] by pairs, every sum in a register of its level's width; values are overwritten. */
static inline int64_t add_tree(int64_t *values, int64_t count, const int32_t *level_bits, int levels, int pairing, int mode,
                               int64_t *events)
{
    for (int level = 0; level < levels; level++) {
        const int bits = level_bits[level];
        const int64_t low = register_low(bits, mode), high = register_high(bits), half = (count + 1) / 2;
        if (pairing == HW_CHAIN) {
            values[0] = add_to(values[0], values[level + 1], bits, low, high, mode, events);
            continue;
        }
        for (int64_t i = 0; i < half; i++) {
            const int64_t a = pairing == HW_ADJACENT ? 2 * i : i, b = pairing == HW_ADJACENT ? a + 1 : i + half;
            values[i] = add_to(values[a], b < count ? values[b] : 0, bits, low, high, mode, events);
        }
        count = half;
    }
    return values[0];
}

static inline hw_wide negate(hw_wide x, int negative)
{
    return (x ^ -negative) + negative;
}

/* round(+-x * 2^(exponent + guard_bits)): shifts, additions and negations alone. */
static inline hw_wide shift_add_product(int64_t x, int negative, int exponent, int guard_bits, int mode, bool sign_after)
{
    const hw_wide fine = sign_after ? x : negate(x, negative);
    const hw_wide made = round_shift(fine << guard_bits, -exponent, mode);
    return sign_after ? negate(made, negative) : made;
}

#endif
