"""Arithmetic shift right by an operand: each position has an amount of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwsim.arith.rounding import Rounding, round_shift
from hwsim.contract.accumulator import check_kind
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers.base import Bounds, Cell, Codes, Events
from hwsim.layers.combined import Combined

MAX_AMOUNT_BITS = 5


@dataclass(frozen=True, eq=False)
class ArithmeticShiftRight(Combined):
    """code = round(code_0 / 2**code_1), in the format of operand 0: two operands, the second of which are amounts.

    formats: of the inputs; the amounts are unsigned FixedPoint codes of at most 5 bits, 0..31, whose fractional length is 0.
    rounding: FLOOR for bits that are dropped, TIES_UP in TOSA's rounding variant.  stretch, constant, constant_format: see
    Combined; a constant is the amount.  Zero points stay in: codes are shifted.
    Source: TOSA specification, ARITHMETIC_RIGHT_SHIFT.

    >>> s8, amount = FixedPoint(8, 0), FixedPoint(3, 0, signed=False)
    >>> ArithmeticShiftRight((s8, amount), Rounding.TIES_UP).spec([[[[[-5]]]], [[[[1]]]]], 0, 0, 0, 0).code
    -2
    """

    formats: tuple[FixedPoint | Affine, ...]
    rounding: Rounding = Rounding.FLOOR
    stretch: bool = False
    constant: np.ndarray | None = None
    constant_format: FixedPoint | Affine | None = None

    kind: ClassVar[str] = "arithmetic_shift_right"

    def __post_init__(self) -> None:
        self.check_operands()
        check_kind("arithmetic_shift_right.rounding", self.rounding, Rounding)
        if len(self.fixed) != 2:
            raise ContractError(
                f"arithmetic_shift_right.formats: found {len(self.fixed)} operands, allowed two: codes and amounts."
            )
        amount = self.fixed[1]
        if not isinstance(amount, FixedPoint) or amount.signed or amount.bits > MAX_AMOUNT_BITS or amount.fl():
            raise ContractError(
                f"arithmetic_shift_right.formats: found amounts {amount}, allowed unsigned FixedPoint codes of at most 5 bits "
                "with fractional_length 0."
            )

    @property
    def output_format(self) -> FixedPoint | Affine:
        """The format of what is shifted."""
        return self.fixed[0]

    @property
    def bounds(self) -> Bounds:
        """The format's range: a shift of 0 leaves all as it is."""
        return Bounds(None, (self.output_format.low, self.output_format.high))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        code, amount = self.codes_at(inputs, n, k, y, x)
        return Cell(round_shift(code, amount, self.rounding), None, Events())
