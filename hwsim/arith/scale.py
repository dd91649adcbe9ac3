"""Scaling: from the accumulator's integers to the output's, by a shift, an integer multiplier, or a float32 scale.

Each rule computes value * multiplier / 2**shift and differs in where it rounds. Leaves: they validate nothing and run on
Python ints and on int64, where value * multiplier fits (contract/resolve.py proves it).
"""

from enum import IntEnum

from hwsim.arith.overflow import wrap_signed
from hwsim.arith.rounding import Rounding, increment, round_shift


class Scaling(IntEnum):
    """How value * multiplier / 2**shift is rounded.

    SHIFT: by the shift alone; no multiplier.  MULTIPLY: the exact product, once.  HIGH_MULTIPLY: gemmlowp's two roundings,
    the doubling high half first.  DOUBLE_ROUND: TOSA's, one bit of which is rounded before.  FLOAT32: value and product
    are float32 numbers, and the product is rounded to an integer.  FLOAT64: the same in float64.
    """

    SHIFT = 0
    MULTIPLY = 1
    HIGH_MULTIPLY = 2
    DOUBLE_ROUND = 3
    FLOAT32 = 4
    FLOAT64 = 5


HIGH = 31
FLOAT32_BITS = 24
FLOAT64_BITS = 53
LOW_BITS = 26
FAR = 62


def high_multiply(value, multiplier, shift, rounding):
    """high_multiply(x) = round(round(wrap32(x << left) * m / 2**31, ties up) / 2**right): the shift is 31 + right - left.

    value: int32.  multiplier: 0..2**31 - 1.  shift: 0..62; where it is below 31 the value is shifted left first, in 32 bits.
    rounding: of the second step; TIES_AWAY in gemmlowp and TensorFlow Lite.  The first step's truncating division by 2**31
    of ab + (ab < 0 ? 1 - 2**30 : 2**30) is ties up for both signs.
    Source: gemmlowp fixedpoint.h, SaturatingRoundingDoublingHighMul and RoundingDivideByPOT.

    >>> high_multiply(5, 1 << 30, 31, Rounding.TIES_AWAY), high_multiply(-5, 1 << 30, 31, Rounding.TIES_AWAY)
    (3, -2)
    """
    left = max(HIGH - shift, 0)
    high = round_shift(wrap_signed(value << left, 32) * multiplier, HIGH, Rounding.TIES_UP)
    return round_shift(high, max(shift - HIGH, 0), rounding)


def double_round(value, multiplier, shift):
    """double_round(x) = (x * m + 2**(shift - 1) +- 2**30) >> shift, the last term only where shift > 31, with x's sign.

    shift: 2..62.  Source: TOSA specification, apply_scale_32.

    >>> double_round(-3, 1 << 30, 32), double_round(3, 1 << 30, 32)
    (-1, 1)
    """
    nudge = 1 << (shift - 1)
    if shift > HIGH:
        nudge += (1 << 30) if value >= 0 else -(1 << 30)
    return (value * multiplier + nudge) >> shift


def magnitude_bits(x):
    """Return the bits of |x|: the least n with |x| < 2**n.

    >>> magnitude_bits(-8), magnitude_bits(0)
    (4, 0)
    """
    left, n = x if x < 0 else -x, 0  # not abs(x), which the smallest int64 has not
    while left < 0:
        left = (left + 1) >> 1
        n += 1
    return n


def float32_multiply(value, multiplier, shift, rounding):
    """float32_multiply(x) = round(float32(float32(x) * scale)), scale = multiplier / 2**shift with 24 bits or fewer.

    Both float32 roundings go to the nearest, ties to even. What is beyond +-2**62 stays there, and a subnormal product is far
    below any tie. rounding: one that sends what is near an integer to it, TIES_*.

    >>> float32_multiply(16777217, 1, 0, Rounding.TIES_EVEN), float32_multiply(5, 1, 1, Rounding.TIES_EVEN)
    (16777216, 2)
    """
    spare = max(magnitude_bits(value) - FLOAT32_BITS, 0)
    product = round_shift(value, spare, Rounding.TIES_EVEN) * multiplier
    over = max(magnitude_bits(product) - FLOAT32_BITS, 0)
    kept = round_shift(product, over, Rounding.TIES_EVEN)
    return place_float(kept, shift - spare - over, rounding)


def place_float(kept, right, rounding):
    """Return round(kept / 2**right), a float's mantissa at its place: beyond +-2**62 it stays there."""
    if kept == 0:
        return kept
    if right >= 0:
        return round_shift(kept, min(right, FAR), rounding)
    if magnitude_bits(kept) - right > FAR:
        return (1 << FAR) if kept > 0 else -(1 << FAR)
    return kept << -right


def float64_multiply(value, multiplier, shift, rounding):
    """float64_multiply(x) = round(float64(x * scale)), scale = multiplier / 2**shift with 53 bits or fewer.

    value: at most 37 bits with its sign, so that its products with the two halves of the multiplier's 53 bits, 27 and 26, stay
    within int64. The product goes to the nearest float64, ties to even. rounding: TIES_*; TensorFlow Lite's fully connected
    layers take TIES_AWAY.
    What is beyond +-2**62 stays there; TensorFlow Lite's conversion to int32 is undefined in C beyond int32.

    >>> float64_multiply(-5, 1, 1, Rounding.TIES_AWAY), float64_multiply((1 << 35) - 1, (1 << 53) - 1, 52, Rounding.TIES_AWAY)
    (-3, 68719476734)
    """
    size = abs(value)
    low = size * (multiplier & ((1 << LOW_BITS) - 1))
    high = size * (multiplier >> LOW_BITS) + (low >> LOW_BITS)
    rest = low & ((1 << LOW_BITS) - 1)  # the product is high * 2**26 + rest
    over = max(magnitude_bits(high) + LOW_BITS - FLOAT64_BITS, 0) if high else 0
    if over <= LOW_BITS:
        kept, remainder = (high << (LOW_BITS - over)) + (rest >> over), rest & ((1 << over) - 1)
    else:
        cut = over - LOW_BITS
        kept, remainder = high >> cut, ((high & ((1 << cut) - 1)) << LOW_BITS) + rest
    kept += increment(kept, remainder, 1 << over, Rounding.TIES_EVEN)
    return place_float(-kept if value < 0 else kept, shift - over, rounding)


def scale_value(value, multiplier, shift, rule, rounding):
    """scale_value(x) = round(x * multiplier / 2**shift), as the rule has it; rounding: of its last step.

    >>> [scale_value(11, 3, 2, rule, Rounding.TIES_EVEN) for rule in (Scaling.SHIFT, Scaling.MULTIPLY, Scaling.FLOAT32)]
    [3, 8, 8]
    """
    if rule == Scaling.SHIFT:
        return round_shift(value, shift, rounding)
    if rule == Scaling.MULTIPLY:
        return round_shift(value * multiplier, shift, rounding)
    if rule == Scaling.HIGH_MULTIPLY:
        return high_multiply(value, multiplier, shift, rounding)
    if rule == Scaling.DOUBLE_ROUND:
        return double_round(value, multiplier, shift)
    if rule == Scaling.FLOAT32:
        return float32_multiply(value, multiplier, shift, rounding)
    return float64_multiply(value, multiplier, shift, rounding)
