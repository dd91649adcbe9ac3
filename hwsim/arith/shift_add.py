"""The product of a shift-add unit: an activation times +-2**e, made of shifts, additions and negations alone."""

from enum import IntEnum

from hwsim.arith.rounding import round_shift


class SignOrder(IntEnum):
    """Where the weight's sign is applied: it decides what the modes that are not symmetric about zero do."""

    BEFORE_ROUNDING = 0
    AFTER_ROUNDING = 1

    def __repr__(self) -> str:
        return f"SignOrder.{self.name}"


def negate(x, negative):
    """negate(x, s) = -x if s == 1 else x, for s in 0..1: invert all bits and add one, as two's complement does.

    >>> negate(5, 1), negate(5, 0), negate(-128, 1)
    (-5, 5, 128)
    """
    return (x ^ -negative) + negative


def shift_add_product(x, negative, exponent, guard_bits, mode, order):
    """shift_add_product(x) = round(+-x * 2**(exponent + guard_bits)): the product on a grid guard_bits finer than x's.

    x: code.  negative: the weight's sign bit, 0 or 1.  exponent, guard_bits [bits].  mode: Rounding.  order: SignOrder.
    Exact if guard_bits >= -exponent; then neither mode nor order matters.  A weight of zero has no exponent: its
    product is 0, and the caller says so.  int64: -62 <= exponent, and |x| * 2**max(guard_bits, guard_bits + exponent) < 2**63.

    >>> from hwsim.arith.rounding import Rounding
    >>> [shift_add_product(5, 1, -2, guard, Rounding.FLOOR, SignOrder.BEFORE_ROUNDING) for guard in (0, 1, 2)]
    [-2, -3, -5]
    >>> [shift_add_product(5, 1, -2, guard, Rounding.FLOOR, SignOrder.AFTER_ROUNDING) for guard in (0, 1, 2)]
    [-1, -2, -5]
    """
    if order == SignOrder.BEFORE_ROUNDING:
        return round_shift(negate(x, negative) << guard_bits, -exponent, mode)
    return negate(round_shift(x << guard_bits, -exponent, mode), negative)
