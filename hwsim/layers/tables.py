"""Tables for the lookup-table layer: curves, every entry rounded exactly once; and TensorFlow Lite's, made in float32."""

from __future__ import annotations

from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from fractions import Fraction

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers.lookup import LookupTable, TableFunction

Curve = Callable[[Fraction, int], tuple[Fraction, Fraction]]
"""(low, high) around a function's value at a number, nearer to each other the more digits are asked for."""

FAR = 3000
ALMOST_ONE = 1 - Fraction(1, 1 << 4096)
"""What stands for 1 - exp(-x) beyond x = FAR: no format has a code or a tie between the two."""
MAX_DIGITS = 5000
AFFINE_BYTES = 8


def exact(function: Callable[[Fraction], Fraction]) -> Curve:
    """Return the curve of a function whose value is a fraction.

    >>> table_layer(exact(abs), FixedPoint(3, 1), FixedPoint(4, 2)).table.tolist()
    [7, 6, 4, 2, 0, 2, 4, 6]
    """

    def curve(x: Fraction, digits: int) -> tuple[Fraction, Fraction]:
        value = Fraction(function(x))
        return value, value

    return curve


def exponential(x: Fraction, digits: int) -> tuple[Fraction, Fraction]:
    """exp(x), for |x| <= 3000: Decimal's exp is rounded correctly, and x itself to as many digits.

    The two roundings change the value by less than (|x| + 1) * 10**(1 - prec) of itself, here 10**-digits.
    """
    if abs(x) > FAR:
        raise ContractError(f"exponential: found x = {float(x):g}, allowed -{FAR}..{FAR}.")
    if x == 0:
        return Fraction(1), Fraction(1)
    context = Context(prec=digits + 8, Emin=MIN_EMIN, Emax=MAX_EMAX)
    value = Fraction(context.exp(context.divide(Decimal(x.numerator), Decimal(x.denominator))))
    slack = value / 10**digits
    return value - slack, value + slack


def sigmoid(x: Fraction, digits: int) -> tuple[Fraction, Fraction]:
    """1 / (1 + exp(-x)); irrational but at 0, so that no entry is a tie.

    >>> table_layer(sigmoid, FixedPoint(4, 1), FixedPoint(8, 8, signed=False)).table.tolist()[:8]
    [5, 8, 12, 19, 31, 47, 69, 97]
    """
    if abs(x) > FAR:
        value = ALMOST_ONE if x > 0 else 1 - ALMOST_ONE
        return value, value
    low, high = exponential(-abs(x), digits)
    ends = 1 / (1 + high), 1 / (1 + low)
    return ends if x >= 0 else (1 - ends[1], 1 - ends[0])


def tanh(x: Fraction, digits: int) -> tuple[Fraction, Fraction]:
    """tanh(x) = 2 * sigmoid(2x) - 1.

    >>> table_layer(tanh, FixedPoint(4, 1), FixedPoint(8, 7)).table.tolist()
    [-128, -128, -127, -126, -123, -116, -97, -59, 0, 59, 97, 116, 123, 126, 127, 127]
    """
    low, high = sigmoid(2 * x, digits)
    return 2 * low - 1, 2 * high - 1


def swish(x: Fraction, digits: int) -> tuple[Fraction, Fraction]:
    """x * sigmoid(x)."""
    low, high = sigmoid(x, digits)
    return (x * low, x * high) if x >= 0 else (x * high, x * low)


def hard_sigmoid(slope: Fraction = Fraction(1, 6), middle: Fraction = Fraction(1, 2)) -> Curve:
    """min(max(slope * x + middle, 0), 1); slope 1/6 in MobileNet v3 and PyTorch, 1/5 in ONNX by default."""
    return exact(lambda x: min(max(slope * x + middle, Fraction(0)), Fraction(1)))


hard_swish = exact(lambda x: x * min(max(x / 6 + Fraction(1, 2), Fraction(0)), Fraction(1)))
"""x * hard_sigmoid(x)."""


CURVES: dict[TableFunction, Curve] = {TableFunction.SIGMOID: sigmoid, TableFunction.TANH: tanh}
"""The curve that each name stands for."""


def round_entry(curve: Curve, x: Fraction, output: FixedPoint | Affine, rounding: Rounding, overflow: Overflow) -> int:
    """Return the code of a curve's value, rounded once: with more digits until both ends of its range have one code."""
    digits = 20
    while digits <= MAX_DIGITS:
        low, high = (output.encode(end, rounding, overflow) for end in curve(x, digits))
        if low == high:
            return int(low)
        digits *= 2
    raise ContractError(f"table: the curve at {float(x):g} is not told from a tie by {MAX_DIGITS} digits; give it exactly there.")


def table_layer(
    curve: Curve,
    format: FixedPoint | Affine,
    output: FixedPoint | Affine,
    rounding: Rounding = Rounding.TIES_EVEN,
    overflow: Overflow = Overflow.SATURATE,
    fraction_bits: int = 0,
    dropped_bits: int | None = None,
    line_rounding: Rounding = Rounding.TIES_UP,
) -> LookupTable:
    """Return the layer whose entry for each code is the curve's value at that code's number, rounded once to `output`.

    fraction_bits, dropped_bits (None: all of them), line_rounding: as LookupTable has them; entries then stand at every
    2**fraction_bits codes, and the one behind the last at the number that the next code would mean.
    """
    check_integers("table_layer", format, output)
    kept = 0 if dropped_bits is None else fraction_bits - dropped_bits
    entries, step = coarser(output, kept), 1 << fraction_bits
    places = range(format.low, format.high + (2 * step if fraction_bits else 1), step)
    count = ((format.high - format.low) >> fraction_bits) + 1 + (fraction_bits > 0)
    codes = [round_entry(curve, format.decode(place), entries, rounding, overflow) for place in places[:count]]
    drop = fraction_bits if dropped_bits is None else dropped_bits
    return LookupTable(format, output, np.array(codes), fraction_bits, drop, line_rounding)


def coarser(output: FixedPoint | Affine, kept: int) -> FixedPoint | Affine:
    """Return what the entries mean where the line between them is `kept` bits finer: output without its last bits."""
    if kept == 0:
        return output
    if not isinstance(output, FixedPoint) or output.bits <= kept:
        raise ContractError(f"table_layer.output: found {output} with {kept} bits of the line kept, allowed a wider FixedPoint.")
    return FixedPoint(output.bits - kept, output.fl() - kept, output.signed)


def check_integers(where: str, *formats: object) -> None:
    """Refuse what is no FixedPoint or Affine alike for all channels."""
    for fmt in formats:
        if not isinstance(fmt, (FixedPoint, Affine)) or fmt.per_channel:
            raise ContractError(f"{where}: found the format {fmt}, allowed a FixedPoint or an Affine, one for all channels.")


def logistic_float32(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), every step rounded to float32."""
    one = np.float32(1)
    with np.errstate(over="ignore"):
        return np.asarray(one / (one + np.exp(-x.astype(np.float64)).astype(np.float32)))


def tanh_float32(x: np.ndarray) -> np.ndarray:
    """tanh(x), rounded to float32."""
    return np.tanh(x.astype(np.float64)).astype(np.float32)


def tflite_table(function: Callable[[np.ndarray], np.ndarray], format: Affine, output: Affine) -> LookupTable:
    """Return TensorFlow Lite's table of 8-bit codes: round(f(scale * (code - zero)) * (1 / scale_out)) + zero_out.

    Every step in float32, then rounded ties away, saturated.  function: logistic_float32, tanh_float32, or any other of
    float32 numbers.
    Source: kernels/activations.cc, PopulateLookupTable.

    >>> tflite_table(tanh_float32, Affine(8, 0.05, 0), Affine(8, 1 / 128, 0)).table[128:133]
    array([ 0,  6, 13, 19, 25], dtype=int8)
    """
    for fmt in (format, output):
        if not isinstance(fmt, Affine) or fmt.per_channel or fmt.bits > AFFINE_BYTES:
            raise ContractError(
                f"tflite_table: found the format {fmt}, allowed an Affine of at most 8 bits, one for all channels."
            )
    codes = np.arange(format.low, format.high + 1)
    real = np.float32(format.step()) * (codes - format.zero()).astype(np.float32)
    scaled = function(real).astype(np.float32) * (np.float32(1) / np.float32(output.step()))
    rounded = np.copysign(np.floor(np.abs(scaled.astype(np.float64)) + 0.5), scaled) + output.zero()
    return LookupTable(format, output, np.clip(rounded, output.low, output.high).astype(np.int64))
