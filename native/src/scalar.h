/* The arithmetic leaves of hwsim/arith: same names, same order, one line per rounding mode.
 *
 * hw_wide holds every exact intermediate: a 64-bit accumulator shifted left by 63 stays below 2^127. */
#ifndef HW_SCALAR_H
#define HW_SCALAR_H

#include "hwsim.h"

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
