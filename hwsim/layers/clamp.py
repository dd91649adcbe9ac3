"""Clamp: codes cut at two declared codes, where it stands alone; behind a layer that computes it is that layer's activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hwsim.arith.overflow import saturate
from hwsim.contract.mac import check_format
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers.base import Bounds, Cell, Codes, Events, Unchanged
from hwsim.layers.move import is_int


@dataclass(frozen=True)
class Clamp(Unchanged):
    """code = min(max(code, low), high), in the same format: ReLU6, say, with low the zero point and high the code of 6.

    low, high: codes of the format.

    >>> Clamp(FixedPoint(8, 4), 0, 96).spec([[[[[-5, 50, 100]]]]], 0, 0, 0, 2).code
    96
    """

    format: FixedPoint | Affine
    low: int
    high: int

    kind: ClassVar[str] = "clamp"

    def __post_init__(self) -> None:
        check_format("clamp.format", self.format)
        for name in ("low", "high"):
            value = getattr(self, name)
            if not is_int(value) or not self.format.low <= value <= self.format.high:
                raise ContractError(
                    f"clamp.{name}: found {value!r}, allowed a code in {self.format.low}..{self.format.high} ({self.format})."
                )
            object.__setattr__(self, name, int(value))
        if self.low > self.high:
            raise ContractError(f"clamp.low: found {self.low}, allowed at most high {self.high}.")

    @property
    def bounds(self) -> Bounds:
        """low..high."""
        return Bounds(None, (self.low, self.high))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        return Cell(saturate(inputs[0][n][k][y][x], self.low, self.high), None, Events())
