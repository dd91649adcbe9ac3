"""Requantize: from a wide exact integer to an output code. One epilogue for every layer that computes."""

from enum import IntEnum

from hwsim.arith.lfsr import round_shift_stochastic
from hwsim.arith.overflow import Overflow, fits, saturate, wrap
from hwsim.arith.rounding import round_shift


class Activation(IntEnum):
    """Where ReLU stands: both places give the same codes and different output events."""

    NONE = 0
    RELU_BEFORE_REQUANTIZE = 1
    RELU_AFTER_REQUANTIZE = 2


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


def finish_rounded(rounded, overflow, activation, bits, signed, low, high):
    """finish_rounded(r) = (code, event): event = 1 if r leaves low..high; code = fit(r), then ReLU if it stands here.

    >>> finish_rounded(-200, Overflow.SATURATE, Activation.RELU_AFTER_REQUANTIZE, 8, True, -128, 127)
    (0, 1)
    """
    event = 1 - fits(rounded, low, high)
    code = fit(rounded, overflow, bits, signed, low, high)
    if activation == Activation.RELU_AFTER_REQUANTIZE:
        code = max(code, 0)
    return code, event


def finish(value, shift, rounding, overflow, activation, bits, signed, low, high):
    """finish(v) = (code, event): ReLU if it stands here, round, then finish_rounded. The epilogue of every layer.

    >>> from hwsim.arith.rounding import Rounding
    >>> finish(-800, 2, Rounding.TIES_EVEN, Overflow.SATURATE, Activation.RELU_BEFORE_REQUANTIZE, 8, True, -128, 127)
    (0, 0)
    """
    if activation == Activation.RELU_BEFORE_REQUANTIZE:
        value = max(value, 0)
    return finish_rounded(round_shift(value, shift, rounding), overflow, activation, bits, signed, low, high)


def finish_stochastic(value, shift, noise, overflow, activation, bits, signed, low, high):
    """finish_stochastic(v) = (code, event): finish, with the noise of the dropped bits in place of a rounding mode.

    >>> stage = (Overflow.SATURATE, Activation.RELU_BEFORE_REQUANTIZE, 8, True, -128, 127)
    >>> [finish_stochastic(value, 2, noise, *stage)[0] for value in (5, -5) for noise in range(4)]
    [1, 1, 1, 2, 0, 0, 0, 0]
    """
    if activation == Activation.RELU_BEFORE_REQUANTIZE:
        value = max(value, 0)
    return finish_rounded(round_shift_stochastic(value, shift, noise), overflow, activation, bits, signed, low, high)
