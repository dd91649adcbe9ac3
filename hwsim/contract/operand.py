"""What becomes of each operand before an elementwise layer combines them: a scale of its own, in integers or in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hwsim.arith.operand import Term
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.contract.accumulator import check_kind
from hwsim.contract.mac import ROUNDINGS
from hwsim.contract.scaling import Multiplier
from hwsim.errors import ContractError
from hwsim.formats import Affine
from hwsim.formats.catalog import BINARY32

MAX_LEFT_SHIFT = 31


@dataclass(frozen=True)
class Operand:
    """term = +-scale((code - zero_point) << left_shift): one operand of a sum.

    left_shift: 0..31, or None for the one that aligns all operands to the finest fractional length.  scaling: None for none;
    rounding: of its last step.  negate: whether the term is subtracted.
    Source of the form: TensorFlow Lite's ADD and SUB, left shifts of 20 and HIGH_MULTIPLY (kernels/internal/reference/add.h).

    >>> Operand(20, Multiplier(Scaling.HIGH_MULTIPLY, 1 << 30, 31)).term(0).left
    20
    """

    left_shift: int | None = None
    scaling: Multiplier | None = None
    rounding: Rounding = Rounding.TIES_AWAY
    negate: bool = False

    def __post_init__(self) -> None:
        shift = self.left_shift
        if shift is not None and (type(shift) is not int or not 0 <= shift <= MAX_LEFT_SHIFT):
            raise ContractError(f"Operand.left_shift: found {shift!r}, allowed None or an integer in 0..{MAX_LEFT_SHIFT}.")
        check_kind("Operand.rounding", self.rounding, Rounding)
        if not isinstance(self.negate, bool):
            raise ContractError(f"Operand.negate: found {self.negate!r}, allowed True or False.")
        if self.scaling is None:
            return
        check_kind("Operand.scaling", self.scaling, Multiplier)
        if self.scaling.channels is not None:
            raise ContractError(f"Operand.scaling: found {self.scaling.channels} multipliers, allowed one for all channels.")
        allowed = ROUNDINGS.get(self.scaling.rule, tuple(Rounding))
        if self.rounding not in allowed:
            names = ", ".join(mode.name for mode in allowed)
            raise ContractError(f"Operand.rounding: found {self.rounding.name} with {self.scaling.rule.name}, allowed {names}.")

    def term(self, align: int) -> Term:
        """Return the numbers as plain ints; align: the left shift where none is declared."""
        left, sign = align if self.left_shift is None else self.left_shift, -1 if self.negate else 1
        if self.scaling is None:
            return Term(left, sign, 1, 0, int(Scaling.SHIFT), int(self.rounding))
        multiplier, shift = (values[0] for values in self.scaling.entries(1, "Operand.scaling"))
        return Term(left, sign, multiplier, shift, int(self.scaling.rule), int(self.rounding))


@dataclass(frozen=True)
class FloatSteps:
    """value = round(float32(combined / divisor)), of float32((code_i - zero_point_i) * scales_i) combined in float32.

    Every product, every step of the combination, in the operands' order, and the quotient are rounded to float32, ties to
    even; the output stage's rounding makes the integer, within +-(2**61 - 1), and 0 of NaN.  scales: float32 numbers, not 0,
    negative for an operand that is subtracted; divisor: a float32 number above 0, the output's scale.
    offset: None, or the float32 sum of what the zero points make, the output's included, for units that round it with the
    rest; the integer is then the output's code, and the divisor 1.  A sum begins with it and takes the operands from the last
    to the first, each by a fused multiply-add of the code as stored; a product is exact, then rounded to float32, times its
    only scale, plus the offset.
    Source: DequantizeLinear, Add or Mul, QuantizeLinear of ONNX; with an offset onnxruntime's QLinearAdd (compiled with FMA)
    and QLinearMul (core/mlas/lib/intrinsics/avx2/qladd_avx2.cpp, qlmul.cpp).

    >>> FloatSteps((0.5, 0.25), 1.0).scales
    (0.5, 0.25)
    """

    scales: tuple[float, ...]
    divisor: float = 1.0
    offset: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))
        for scale in self.scales:
            _check_float32("scales", scale, scale != 0, ", not 0")
        _check_float32("divisor", self.divisor, isinstance(self.divisor, float) and self.divisor > 0, " above 0")
        if self.offset is not None:
            _check_float32("offset", self.offset, True, "")
            if self.divisor != 1.0:
                raise ContractError(f"FloatSteps.divisor: found {self.divisor} with an offset, allowed 1.0: it is in the scales.")


def _check_float32(name: str, value: object, good: bool, said: str) -> None:
    exact = isinstance(value, float) and math.isfinite(value) and float(np.float32(value)) == value
    if not exact or not good:
        raise ContractError(f"FloatSteps.{name}: found {value!r}, allowed a finite float32 number{said}; round it first.")


def fused_sum(inputs: Sequence[Affine], output: Affine) -> FloatSteps:
    """scale_i = float32(s_i / s_out); offset = float32(z_out - fma(scale_0, z_0, fma(.., float32(scale_n * z_n)))).

    >>> fused_sum((Affine(8, 0.5, 3), Affine(8, 0.25, -4)), Affine(8, 0.5, 1))
    FloatSteps(scales=(1.0, 0.5), divisor=1.0, offset=0.0)
    """
    scales = [float(np.float32(f.step()) / np.float32(output.step())) for f in inputs]
    total = Fraction(0)
    for scale, f in zip(reversed(scales), reversed(inputs), strict=True):
        total = _nearest32(Fraction(scale) * f.zero() + total)
    return FloatSteps(tuple(scales), offset=float(_nearest32(output.zero() - total)))


def offset_product(inputs: Sequence[Affine], output: Affine) -> FloatSteps:
    """scale = s_0 * s_1 * .. / s_out, each step rounded to float32; offset = z_out.

    >>> offset_product((Affine(8, 0.5, 3), Affine(8, 0.25, -4)), Affine(8, 0.5, 1))
    FloatSteps(scales=(0.25,), divisor=1.0, offset=1.0)
    """
    scale = np.float32(inputs[0].step())
    for f in inputs[1:]:
        scale = scale * np.float32(f.step())
    return FloatSteps((float(scale / np.float32(output.step())),), offset=float(output.zero()))


def _nearest32(exact: Fraction) -> Fraction:
    """The float32 number nearest to an exact one, ties to even."""
    return Fraction(BINARY32.decode(BINARY32.encode(exact, Rounding.TIES_EVEN)))
