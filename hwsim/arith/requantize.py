"""Requantize: from a wide exact integer to an output code. One epilogue for every layer that computes."""

from enum import IntEnum
from typing import NamedTuple

from hwsim.arith.lfsr import round_shift_stochastic
from hwsim.arith.overflow import Overflow, fits, saturate, wrap
from hwsim.arith.rounding import round_shift
from hwsim.arith.scale import scale_value


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


class Stage(NamedTuple):
    """What an output stage knows beside the multiplier and shift of each channel, as plain ints (contract/resolve.py makes it).

    scaling: the rule.  zero_point: added behind it.  clamp_low, clamp_high: the declared activation clamp, on codes; NO_CLAMP
    where there is none.
    """

    scaling: int
    rounding: int
    zero_point: int
    clamp_low: int
    clamp_high: int
    overflow: int
    activation: int
    bits: int
    signed: int
    low: int
    high: int


NO_CLAMP = (-(1 << 63), (1 << 63) - 1)


def finish_scaled(scaled, stage):
    """finish_scaled(v) = (code, event): clamp(v + zero_point), then finish_rounded: a declared clamp is no overflow.

    >>> finish_scaled(200, Stage(0, 0, 10, -128, 100, Overflow.SATURATE, 0, 8, 1, -128, 127))
    (100, 0)
    """
    code = saturate(scaled + stage.zero_point, stage.clamp_low, stage.clamp_high)
    return finish_rounded(code, stage.overflow, stage.activation, stage.bits, stage.signed != 0, stage.low, stage.high)


def finish(value, multiplier, shift, stage):
    """finish(v) = (code, event): ReLU if it stands here, scale and round, then finish_scaled. The epilogue of every layer.

    >>> from hwsim.arith.rounding import Rounding
    >>> relu = Stage(0, Rounding.TIES_EVEN, 0, *NO_CLAMP, Overflow.SATURATE, Activation.RELU_BEFORE_REQUANTIZE, 8, 1, -128, 127)
    >>> finish(-800, 1, 2, relu), finish(800, 1, 2, relu)
    ((0, 0), (127, 1))
    """
    if stage.activation == Activation.RELU_BEFORE_REQUANTIZE:
        value = max(value, 0)
    return finish_scaled(scale_value(value, multiplier, shift, stage.scaling, stage.rounding), stage)


def finish_stochastic(value, shift, noise, overflow, activation, bits, signed, low, high):
    """finish_stochastic(v) = (code, event): finish, with the noise of the dropped bits in place of a rounding mode.

    >>> stage = (Overflow.SATURATE, Activation.RELU_BEFORE_REQUANTIZE, 8, True, -128, 127)
    >>> [finish_stochastic(value, 2, noise, *stage)[0] for value in (5, -5) for noise in range(4)]
    [1, 1, 1, 2, 0, 0, 0, 0]
    """
    if activation == Activation.RELU_BEFORE_REQUANTIZE:
        value = max(value, 0)
    return finish_rounded(round_shift_stochastic(value, shift, noise), overflow, activation, bits, signed, low, high)
