/* Fixed-point exponential and reciprocal: hwsim/arith/gemmlowp.py, same names, same order. Qm.n stands for itself times 2^-n. */
#ifndef HW_GEMMLOWP_H
#define HW_GEMMLOWP_H

#include "scalar.h"

enum { GEMMLOWP_QUARTER_BIT = 24, GEMMLOWP_SUM_SHIFT = 12 };

/* a * b of Q0.31 numbers: ties up, saturated. The product of int32 fits 63 bits. */
static inline int64_t high_product(int64_t a, int64_t b)
{
    const int64_t rounded = (a * b + ((int64_t)1 << 30)) >> 31;
    return rounded > INT32_MAX ? INT32_MAX : rounded;
}

static inline int64_t shift_saturated(int64_t x, int left)
{
    return saturate((hw_wide)x * ((int64_t)1 << left), INT32_MIN, INT32_MAX);
}

/* exp of a Q0.31 number in -1/4..0, excluding 0. */
static inline int64_t exp_of_quarter(int64_t x)
{
    const int64_t exp_eighth = 1895147668, third = 715827883;
    const int64_t y = x + ((int64_t)1 << 28), y2 = high_product(y, y), y3 = high_product(y2, y), y4 = high_product(y2, y2);
    const int64_t cubic = high_product((int64_t)round_shift(y4, 2, HW_TIES_AWAY) + y3, third);
    return exp_eighth + high_product(exp_eighth, y + (int64_t)round_shift(cubic + y2, 1, HW_TIES_AWAY));
}

/* exp of a Q5.26 number x <= 0, as Q0.31: its last quarter by a polynomial, the rest bit by bit. */
static inline int64_t exp_negative(int64_t x)
{
    static const int64_t factors[] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    if (x == 0)
        return INT32_MAX;
    const int64_t quarter = (x & (((int64_t)1 << GEMMLOWP_QUARTER_BIT) - 1)) - ((int64_t)1 << GEMMLOWP_QUARTER_BIT);
    const int64_t rest = quarter - x;
    int64_t result = exp_of_quarter(shift_saturated(quarter, 5));
    for (int i = 0; i < 7; i++)
        if ((rest >> (GEMMLOWP_QUARTER_BIT + i)) & 1)
            result = high_product(result, factors[i]);
    return result;
}

/* 1 / (1 + x) of a Q0.31 number x >= 0, as Q0.31: three Newton steps in Q2.29. */
static inline int64_t over_one_plus(int64_t x)
{
    const int64_t d = (x + INT32_MAX + 1) >> 1;
    int64_t y = 1515870810 + high_product(d, -1010580540);
    for (int i = 0; i < 3; i++)
        y += shift_saturated(high_product(y, ((int64_t)1 << 29) - high_product(d, y)), 2);
    return shift_saturated(y, 1);
}

static inline int leading_zeros(int64_t x)
{
    int n = 32;
    for (; x > 0; x >>= 1)
        n--;
    return n;
}

static inline int64_t softmax_exponential(int64_t difference, int64_t multiplier, int left)
{
    return exp_negative(high_product(difference * ((int64_t)1 << left), multiplier));
}

static inline int64_t softmax_term(int64_t exponential)
{
    return (int64_t)round_shift(exponential, GEMMLOWP_SUM_SHIFT, HW_TIES_AWAY);
}

/* e / total * 2^bits, with a Q12.19 total: factor = over_one_plus of what normalizing by `zeros` leaves. */
static inline int64_t softmax_share(int64_t exponential, int64_t factor, int zeros, int bits, int mode)
{
    return (int64_t)round_shift(high_product(factor, exponential), GEMMLOWP_SUM_SHIFT - zeros + 31 - bits, mode);
}

#endif
