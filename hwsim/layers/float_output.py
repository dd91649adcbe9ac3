"""The last stage of layers whose exact values meet a minifloat, for Python ints of any size: see arith.float_finish."""

from __future__ import annotations

from hwsim.arith import float_finish
from hwsim.arith.float_finish import FloatFinish
from hwsim.arith.requantize import Activation, finish_rounded
from hwsim.arith.rounding import round_ratio
from hwsim.contract.float_mac import FloatOutput
from hwsim.contract.mac import Output
from hwsim.formats import FixedPoint, Minifloat
from hwsim.formats.catalog import BINARY32

QUOTIENT_BITS = 64  # more than man_bits + 3, which is what a sticky last bit asks for


def finish_rule(output: Output | FloatOutput) -> FloatFinish:
    """Return the output stage as plain ints, for the leaves of arith.float_finish."""
    if isinstance(output, FloatOutput):
        return FloatFinish(1, int(output.rounding), int(output.activation), output.format.layout, 0, 0, 0, 0, 0, 0)
    f, mode = output.format, int(output.fixed_rounding("output"))
    stage = (f.fl(), int(output.overflow), f.bits, int(f.signed), output.low, output.high)
    return FloatFinish(0, mode, int(output.activation), BINARY32.layout, *stage)


def finish_exact(significand: int, exponent: int, output: Output | FloatOutput) -> tuple[int, int]:
    """(code, event) of the exact value significand * 2**exponent. significand: any int, its sign the value's.

    >>> from hwsim.formats.catalog import E4M3
    >>> finish_exact(-17, -4, FloatOutput(E4M3)), finish_exact(-17, -4, Output(FixedPoint(8, 3)))
    ((184, 0), (-8, 0))
    """
    code, event = float_finish.finish_exact(int(significand < 0), abs(significand), exponent, 0, finish_rule(output))
    return int(code), int(event)


def finish_ratio(numerator: int, denominator: int, exponent: int, output: Output | FloatOutput) -> tuple[int, int]:
    """(code, event) of the exact value numerator / denominator * 2**exponent, rounded once. denominator >= 1.

    >>> from hwsim.formats.catalog import E4M3
    >>> E4M3.decode(finish_ratio(1, 3, 0, FloatOutput(E4M3))[0]), finish_ratio(-2, 3, 3, Output(FixedPoint(8, 0)))
    (Fraction(11, 32), (-5, 0))
    """
    if isinstance(output, FloatOutput):
        more = max(0, QUOTIENT_BITS + denominator.bit_length() - numerator.bit_length())
        quotient, remainder = divmod(abs(numerator) << more, denominator)
        sticky = quotient | int(remainder != 0)
        return finish_exact(-sticky if numerator < 0 else sticky, exponent - more, output)
    if output.activation == Activation.RELU_BEFORE_REQUANTIZE:
        numerator = max(numerator, 0)
    f, left = output.format, exponent + output.format.fl()
    rounded = round_ratio(numerator << max(left, 0), denominator << max(-left, 0), output.fixed_rounding("output"))
    code, event = finish_rounded(rounded, output.overflow, output.activation, f.bits, f.signed, output.low, output.high)
    return int(code), int(event)


def finish_code(code: int, fmt: FixedPoint | Minifloat, output: Output | FloatOutput) -> tuple[int, int]:
    """(code, event) of a code in another format: the cast. A zero keeps its sign, infinity and NaN become the output's.

    >>> from hwsim.formats.catalog import BINARY16, E4M3
    >>> finish_code(0x8000, BINARY16, FloatOutput(E4M3)), finish_code(0x7C00, BINARY16, Output(FixedPoint(8, 3)))
    ((128, 0), (127, 1))
    """
    if isinstance(fmt, FixedPoint):
        return finish_exact(code, -fmt.fl(), output)
    made, event = float_finish.finish_code(code, fmt.layout, finish_rule(output))
    return int(made), int(event)
