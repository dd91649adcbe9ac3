"""Requantize: from a wide exact integer to an output code. One epilogue for every layer that computes."""

from hwsim.arith.overflow import Overflow, saturate, wrap
from hwsim.arith.rounding import round_shift


def fit(x, mode, bits, signed, low, high):
    """fit(x) = x mod 2**bits if mode is WRAP, else clip(x, low, high).

    SATURATE and SATURATE_SYMMETRIC differ in `low` alone. TRAP leaves the value as WRAP does: the caller stops.

    >>> fit(130, Overflow.WRAP, 8, True, -128, 127), fit(130, Overflow.SATURATE, 8, True, -128, 127)
    (-126, 127)
    """
    if (mode == Overflow.WRAP) | (mode == Overflow.TRAP):
        return wrap(x, bits, signed)
    return saturate(x, low, high)


def requantize(acc, shift, rounding, low, high):
    """requantize(acc) = clip(round(acc / 2**shift), low, high).

    acc: exact sum, any int.  shift [bits] = fl_acc - fl_out; negative shifts left, exactly.
    Source: power-of-two case of gemmlowp doc/quantization.md eq. (7).

    >>> from hwsim.arith.rounding import Rounding
    >>> requantize(11, 2, Rounding.TIES_EVEN, -128, 127)
    3
    """
    return saturate(round_shift(acc, shift, rounding), low, high)
