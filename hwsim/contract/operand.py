"""What becomes of each operand before an elementwise layer combines them: a scale of its own, in integers or in float32."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwsim.arith.operand import Term
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.contract.accumulator import check_kind
from hwsim.contract.mac import ROUNDINGS
from hwsim.contract.scaling import Multiplier
from hwsim.errors import ContractError

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
    even; the output stage's rounding makes the integer.  scales: float32 numbers, not 0, negative for an operand that is
    subtracted; divisor: a float32 number above 0, the output's scale.
    Source: onnxruntime's QLinearAdd and QLinearMul (MLAS), and DequantizeLinear, Add or Mul, QuantizeLinear of ONNX.

    >>> FloatSteps((0.5, 0.25), 1.0).scales
    (0.5, 0.25)
    """

    scales: tuple[float, ...]
    divisor: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))
        for name, value in (*(("scales", scale) for scale in self.scales), ("divisor", self.divisor)):
            good = isinstance(value, float) and math.isfinite(value) and value != 0 and float(np.float32(value)) == value
            if not good or name == "divisor" and value < 0:
                sign = " above 0" if name == "divisor" else ", not 0"
                raise ContractError(f"FloatSteps.{name}: found {value!r}, allowed a finite float32 number{sign}; round it first.")
