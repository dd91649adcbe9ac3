"""Fixed-point exponential and reciprocal, as gemmlowp has them: Qm.n is an int32 that stands for itself times 2**-n.

Leaves: they validate nothing and run on Python ints and on int64; every value here fits 32 bits, every product 63.
Source: gemmlowp, fixedpoint/fixedpoint.h; TensorFlow Lite, kernels/internal/reference/softmax.h and common.h (GetReciprocal).
"""

from hwsim.arith.overflow import saturate
from hwsim.arith.rounding import Rounding, round_shift

ONE = (1 << 31) - 1  # of Q0.31, which has no 1: the next number below
EIGHTH = 1 << 28
THIRD = 715827883
EXP_EIGHTH = 1895147668  # exp(-1/8), Q0.31
QUARTER_BIT = 24  # of Q5.26
EXP_QUARTER, EXP_HALF, EXP_1 = 1672461947, 1302514674, 790015084  # exp(-1/4), exp(-1/2), exp(-1), .., Q0.31
EXP_2, EXP_4, EXP_8, EXP_16 = 290630308, 39332535, 720401, 242
NEWTON_START, NEWTON_SLOPE = 1515870810, -1010580540  # 48/17 and -32/17, Q2.29
ONE_Q2 = 1 << 29
SUM_SHIFT = 12  # from Q0.31 to Q12.19


def high_product(a, b):
    """high_product(a, b) = round(a * b / 2**31), ties up, within 32 bits: the product of Q0.31 numbers.

    >>> high_product(1 << 30, 3), high_product(-(1 << 31), -(1 << 31)) == (1 << 31) - 1
    (2, True)
    """
    return saturate(round_shift(a * b, 31, Rounding.TIES_UP), -(1 << 31), ONE)


def shift_saturated(x, left):
    """shift_saturated(x) = clip(x << left) to 32 bits.

    >>> shift_saturated(3, 2), shift_saturated(-(1 << 30), 2) == -(1 << 31)
    (12, True)
    """
    return saturate(x << left, -(1 << 31), ONE)


def exp_of_quarter(x):
    """exp_of_quarter(x) = exp(x) of Q0.31 numbers in -1/4..0, excluding 0: a Taylor polynomial of degree 4 around -1/8.

    >>> round(exp_of_quarter(-(1 << 29)) / 2**31, 5)  # exp(-1/4)
    0.7788
    """
    y = x + EIGHTH
    y2 = high_product(y, y)
    y3, y4 = high_product(y2, y), high_product(y2, y2)
    cubic = high_product(round_shift(y4, 2, Rounding.TIES_AWAY) + y3, THIRD)  # (y**4 / 4 + y**3) / 3
    return EXP_EIGHTH + high_product(EXP_EIGHTH, y + round_shift(cubic + y2, 1, Rounding.TIES_AWAY))


def take_factor(result, rest, bit, factor):
    """take_factor(r) = r * factor where the bit of `rest` is set, else r.

    >>> take_factor(1 << 30, 1 << 24, 24, 1 << 30), take_factor(7, 0, 24, 1 << 30)
    (536870912, 7)
    """
    if (rest >> bit) & 1:
        return high_product(result, factor)
    return result


def exp_negative(x):
    """exp_negative(x) = exp(x) as Q0.31, of a Q5.26 number x <= 0: its last quarter by a polynomial, the rest bit by bit.

    >>> exp_negative(0) == ONE, round(exp_negative(-(1 << 26)) / 2**31, 5)  # exp(-1)
    (True, 0.36788)
    """
    if x == 0:
        return ONE
    quarter = (x & ((1 << QUARTER_BIT) - 1)) - (1 << QUARTER_BIT)
    rest = quarter - x
    result = exp_of_quarter(shift_saturated(quarter, 5))
    result = take_factor(result, rest, QUARTER_BIT, EXP_QUARTER)
    result = take_factor(result, rest, QUARTER_BIT + 1, EXP_HALF)
    result = take_factor(result, rest, QUARTER_BIT + 2, EXP_1)
    result = take_factor(result, rest, QUARTER_BIT + 3, EXP_2)
    result = take_factor(result, rest, QUARTER_BIT + 4, EXP_4)
    result = take_factor(result, rest, QUARTER_BIT + 5, EXP_8)
    return take_factor(result, rest, QUARTER_BIT + 6, EXP_16)


def over_one_plus(x):
    """over_one_plus(x) = 1 / (1 + x) as Q0.31, of a Q0.31 number x >= 0: Newton's method, three steps from 48/17 - 32/17 d.

    d = (1 + x) / 2, whose reciprocal the steps approach as Q2.29.

    >>> round(over_one_plus(1 << 30) / 2**31, 5)  # 2 / 3
    0.66667
    """
    d = (x + ONE + 1) >> 1
    y = NEWTON_START + high_product(d, NEWTON_SLOPE)
    y += shift_saturated(high_product(y, ONE_Q2 - high_product(d, y)), 2)
    y += shift_saturated(high_product(y, ONE_Q2 - high_product(d, y)), 2)
    y += shift_saturated(high_product(y, ONE_Q2 - high_product(d, y)), 2)
    return shift_saturated(y, 1)


def leading_zeros(x):
    """Return how many of 32 bits stand above the highest set bit of x > 0.

    >>> leading_zeros(1), leading_zeros((1 << 31) - 1)
    (31, 1)
    """
    n = 32
    while x > 0:
        x >>= 1
        n -= 1
    return n


def softmax_exponential(difference, multiplier, left):
    """softmax_exponential(d) = exp(d * multiplier * 2**(left - 31), a Q5.26 number) as Q0.31; d <= 0, d << left within 32 bits.

    >>> softmax_exponential(0, 1 << 30, 20) == ONE
    True
    """
    return exp_negative(high_product(difference << left, multiplier))


def softmax_term(exponential):
    """softmax_term(e) = e as Q12.19, in which 4095 of them add up.

    >>> softmax_term(ONE)
    524288
    """
    return round_shift(exponential, SUM_SHIFT, Rounding.TIES_AWAY)


def softmax_share(exponential, total, bits, rounding):
    """softmax_share(e) = round(e / total * 2**bits), with a Q12.19 total: its reciprocal, normalized, then one rounding.

    >>> softmax_share(ONE, 2 * 524288, 8, Rounding.TIES_AWAY)
    128
    """
    zeros = leading_zeros(total)
    factor = over_one_plus((total << zeros) - (1 << 31))
    return round_shift(high_product(factor, exponential), SUM_SHIFT - zeros + 31 - bits, rounding)
