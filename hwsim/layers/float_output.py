"""The last stage of layers whose exact values meet a minifloat: ReLU, one rounding, then the output's own overflow.

What all of it keeps to: an exact zero is +0, since a sum in fixed point has one zero; what is rounded to zero keeps its sign.
ReLU, before or behind the rounding, makes +0 of every negative number and of -0 and lets NaN pass. The event is that of the
format: a finite exact value that rounds beyond the largest number; towards a FixedPoint also NaN (0) and infinity (the end).
"""

from __future__ import annotations

from hwsim.arith import requantize as arith
from hwsim.arith.minifloat import cast_float, fixed_from_float, relu_float, round_pack
from hwsim.arith.requantize import Activation, finish_rounded
from hwsim.arith.rounding import round_ratio
from hwsim.contract.float_mac import FloatOutput
from hwsim.contract.mac import Output
from hwsim.formats import FixedPoint, Minifloat

QUOTIENT_BITS = 64  # more than man_bits + 3, which is what a sticky last bit asks for


def finish_exact(significand: int, exponent: int, output: Output | FloatOutput) -> tuple[int, int]:
    """(code, event) of the exact value significand * 2**exponent. significand: any int, its sign the value's.

    >>> from hwsim.formats.catalog import E4M3
    >>> finish_exact(-17, -4, FloatOutput(E4M3)), finish_exact(-17, -4, Output(FixedPoint(8, 3)))
    ((184, 0), (-8, 0))
    """
    if isinstance(output, Output):
        shift = -(exponent + output.format.fl())
        return arith.finish(
            significand,
            shift,
            output.fixed_rounding("output"),
            output.overflow,
            output.activation,
            output.format.bits,
            output.format.signed,
            output.low,
            output.high,
        )
    return _finish_float(int(significand < 0), abs(significand), exponent, output)


def finish_ratio(numerator: int, denominator: int, exponent: int, output: Output | FloatOutput) -> tuple[int, int]:
    """(code, event) of the exact value numerator / denominator * 2**exponent, rounded once. denominator >= 1.

    >>> from hwsim.formats.catalog import E4M3
    >>> E4M3.decode(finish_ratio(1, 3, 0, FloatOutput(E4M3))[0]), finish_ratio(-2, 3, 3, Output(FixedPoint(8, 0)))
    (Fraction(11, 32), (-5, 0))
    """
    if isinstance(output, FloatOutput):
        more = max(0, QUOTIENT_BITS + denominator.bit_length() - numerator.bit_length())
        quotient, remainder = divmod(abs(numerator) << more, denominator)
        return _finish_float(int(numerator < 0), quotient | int(remainder != 0), exponent - more, output)
    if output.activation == Activation.RELU_BEFORE_REQUANTIZE:
        numerator = max(numerator, 0)
    left = exponent + output.format.fl()
    rounded = round_ratio(numerator << max(left, 0), denominator << max(-left, 0), output.fixed_rounding("output"))
    return _fit(rounded, output)


def finish_code(code: int, fmt: FixedPoint | Minifloat, output: Output | FloatOutput) -> tuple[int, int]:
    """(code, event) of a code in another format: the cast. A zero keeps its sign, infinity and NaN become the output's.

    >>> from hwsim.formats.catalog import BINARY16, E4M3
    >>> finish_code(0x8000, BINARY16, FloatOutput(E4M3)), finish_code(0x7C00, BINARY16, Output(FixedPoint(8, 3)))
    ((128, 0), (127, 1))
    """
    if isinstance(fmt, FixedPoint):
        return finish_exact(code, -fmt.fl(), output)
    if output.activation == Activation.RELU_BEFORE_REQUANTIZE:
        code = relu_float(code, fmt.layout)
    if isinstance(output, FloatOutput):
        made, event = cast_float(code, fmt.layout, output.format.layout, output.rounding)
        return _activated(made, output), event
    f, rounding = output.format, output.fixed_rounding("output")
    made, event = fixed_from_float(code, fmt.layout, f.fl(), rounding, output.overflow, f.bits, f.signed, output.low, output.high)
    return max(made, 0) if output.activation == Activation.RELU_AFTER_REQUANTIZE else made, event


def _finish_float(sign: int, significand: int, exponent: int, output: FloatOutput) -> tuple[int, int]:
    if significand == 0 or sign and output.activation == Activation.RELU_BEFORE_REQUANTIZE:
        sign, significand = 0, 0
    code, event = round_pack(sign, significand, exponent, output.rounding, output.format.layout)
    return _activated(code, output), event


def _activated(code: int, output: FloatOutput) -> int:
    return relu_float(code, output.format.layout) if output.activation == Activation.RELU_AFTER_REQUANTIZE else code


def _fit(rounded: int, output: Output) -> tuple[int, int]:
    f = output.format
    return finish_rounded(rounded, output.overflow, output.activation, f.bits, f.signed, output.low, output.high)
