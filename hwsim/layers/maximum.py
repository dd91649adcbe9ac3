"""The maximum and the minimum of several operands, position by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwsim.arith.float_order import code_of_key, order_key
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint, Minifloat
from hwsim.layers.base import Bounds, Cell, Codes, Events, Real
from hwsim.layers.combined import Combined


class Extreme(Combined):
    """What maximum and minimum share: operands of one format, whose codes pass."""

    def __post_init__(self) -> None:
        self.check_operands()
        for f in self.operand_formats[1:]:
            if f != self.formats[0]:
                raise ContractError(
                    f"{self.kind}.formats: found {f} beside {self.formats[0]}, allowed one format for all; rescale before it."
                )

    @property
    def output_format(self) -> Real:
        """The operands' format."""
        return self.formats[0]

    @property
    def bounds(self) -> Bounds:
        """Any code of the format."""
        return Bounds(None, (self.output_format.low, self.output_format.high))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        codes, f = self.codes_at(inputs, n, k, y, x), self.output_format
        if not isinstance(f, Minifloat):
            return Cell(self.pick(codes), None, Events())
        layout = f.layout
        return Cell(int(code_of_key(self.pick([order_key(code, layout) for code in codes]), layout)), None, Events())

    @staticmethod
    def pick(codes: Sequence[int]) -> int:
        """Return the code that wins."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class EltwiseMax(Extreme):
    """code = max of the operands' codes, all of one format.

    formats: of the inputs.  stretch, constant, constant_format: see Combined.  Minifloats are compared as numbers, -0 below
    +0; a maximum with NaN is NaN.

    >>> s8 = FixedPoint(8, 4)
    >>> EltwiseMax((s8, s8)).spec([[[[[24]]]], [[[[-40]]]]], 0, 0, 0, 0).code
    24
    """

    formats: tuple[Real, ...]
    stretch: bool = False
    constant: np.ndarray | None = None
    constant_format: FixedPoint | Affine | None = None

    kind: ClassVar[str] = "eltwise_max"

    @staticmethod
    def pick(codes: Sequence[int]) -> int:
        """Return the largest."""
        return max(codes)


@dataclass(frozen=True, eq=False)
class EltwiseMin(Extreme):
    """code = min of the operands' codes, all of one integer format; else as EltwiseMax.

    >>> s8 = FixedPoint(8, 4)
    >>> EltwiseMin((s8, s8)).spec([[[[[24]]]], [[[[-40]]]]], 0, 0, 0, 0).code
    -40
    """

    formats: tuple[FixedPoint | Affine, ...]
    stretch: bool = False
    constant: np.ndarray | None = None
    constant_format: FixedPoint | Affine | None = None

    kind: ClassVar[str] = "eltwise_min"

    @staticmethod
    def pick(codes: Sequence[int]) -> int:
        """Return the smallest."""
        return min(codes)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fixed  # noqa: B018  refuse minifloats, whose NaN has no place at the lower end
