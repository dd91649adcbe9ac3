"""The last stage where an exact value meets a minifloat: ReLU, one rounding, the output's own overflow.

An exact zero is +0, since a sum in fixed point has one zero; what is rounded to zero keeps its sign. ReLU, before or behind
the rounding, makes +0 of every negative number and of -0, and lets NaN pass: where a negative number overflows to NaN the two
places differ. The event is a finite exact value that rounds beyond the largest number; towards fixed point also NaN, which
gives 0, and infinity, which gives the end of its sign.

Leaves: they validate nothing and run on Python ints of any size and on int64, significands below 2**62.
"""

from typing import NamedTuple

from hwsim.arith.minifloat import FloatLayout, cast_float, fixed_from_exact, fixed_from_float, relu_float, round_pack
from hwsim.arith.requantize import Activation


class FloatFinish(NamedTuple):
    """An Output or a FloatOutput as plain ints: is_float tells whose fields count, `layout` or the fixed-point ones."""

    is_float: int
    mode: int
    activation: int
    layout: FloatLayout
    fractional_length: int
    overflow: int
    bits: int
    signed: int
    low: int
    high: int


def finish_exact(sign, significand, exponent, beyond, o):
    """finish_exact = (code, event) of (-1)**sign * significand * 2**exponent.

    The significand's last bit may be sticky if it lies below every bit that rounding looks at: man_bits + 3 bits from the
    top, or two below the fixed-point grid.  beyond: see fixed_from_exact; of no account towards a minifloat.
    """
    if (significand == 0) & (beyond == 0) | (sign == 1) & (o.activation == Activation.RELU_BEFORE_REQUANTIZE):
        sign, significand, beyond = 0, 0, 0
    if o.is_float:
        code, event = round_pack(sign, significand, exponent, o.mode, o.layout)
        if o.activation == Activation.RELU_AFTER_REQUANTIZE:
            code = relu_float(code, o.layout)
        return code, event
    left = exponent + o.fractional_length
    code, event = fixed_from_exact(sign, significand, left, beyond, o.mode, o.overflow, o.bits, o.signed != 0, o.low, o.high)
    return (max(code, 0) if o.activation == Activation.RELU_AFTER_REQUANTIZE else code), event


def finish_code(code, of, o):
    """finish_code = (code, event) of a code of format `of`: the cast. A zero keeps its sign."""
    if o.activation == Activation.RELU_BEFORE_REQUANTIZE:
        code = relu_float(code, of)
    if o.is_float:
        made, event = cast_float(code, of, o.layout, o.mode)
        return (relu_float(made, o.layout) if o.activation == Activation.RELU_AFTER_REQUANTIZE else made), event
    fl, signed = o.fractional_length, o.signed != 0
    made, event = fixed_from_float(code, of, fl, o.mode, o.overflow, o.bits, signed, o.low, o.high)
    return (max(made, 0) if o.activation == Activation.RELU_AFTER_REQUANTIZE else made), event
