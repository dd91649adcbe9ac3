"""Concatenation of channels. All branches have one format; lower.py puts a visible Rescale before those that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hwsim.errors import ContractError
from hwsim.layers.base import Cell, Codes, Events, Real, Shape, Unchanged
from hwsim.layers.float_values import check_real

MAX_INPUTS = 1 << 16
"""A manifest of a few lines may claim any number of inputs, and each gets a format."""


@dataclass(frozen=True)
class Concat(Unchanged):
    """The channels of input 0, then those of input 1, and so on; codes unchanged."""

    format: Real
    count: int

    kind: ClassVar[str] = "concat"

    def __post_init__(self) -> None:
        check_real("concat.format", self.format)
        if type(self.count) is not int or not 1 <= self.count <= MAX_INPUTS:
            raise ContractError(f"concat.count: found {self.count!r}, allowed the number of inputs, 1..{MAX_INPUTS}.")

    @property
    def input_formats(self) -> tuple[Real, ...]:
        """The one format, for each input."""
        return (self.format,) * self.count

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Channels add up; heights and widths are equal."""
        if len(inputs) != self.count or len({shape[1:] for shape in inputs}) != 1:
            raise ContractError(f"concat: found inputs {list(map(tuple, inputs))}, allowed {self.count} of one height and width.")
        return Shape(sum(shape.c for shape in inputs), inputs[0].h, inputs[0].w)

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        for codes in inputs:
            if k < len(codes[n]):
                return Cell(codes[n][k][y][x], None, Events())
            k -= len(codes[n])
        raise IndexError(k)
