"""Operations that move numbers and compute none: concatenation, slices, padding, resizing, shuffling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from hwsim.errors import InputError
from hwsim.network.ops_base import MAX_ELEMENTS, Op, Pair, Shape, pair


@dataclass(frozen=True)
class Concat(Op):
    """The inputs' channels, one input after the other."""

    inputs: ClassVar[tuple[int, int | None]] = (1, None)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        if len({shape[1:] for shape in inputs}) != 1:
            raise InputError(f"the inputs {', '.join(map(str, inputs))} differ in height or width.")
        return (sum(shape[0] for shape in inputs), *inputs[0][1:])


@dataclass(frozen=True)
class Flatten(Op):
    """The C, H, W elements in that order as C*H*W channels of one pixel."""

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return math.prod(inputs[0]), 1, 1


@dataclass(frozen=True)
class Slice(Op):
    """y[c, y, x] = x[begin + (c, y, x) * step], up to `end`, which is left out.

    begin, end, step: (channel, row, column) each, counted from 0; end lies within the input.

    >>> Slice((1, 0, 0), (3, 5, 7), (1, 2, 2)).output_shape(((3, 5, 7),))
    (2, 3, 4)
    """

    begin: Shape
    end: Shape
    step: Shape = (1, 1, 1)

    def __post_init__(self) -> None:
        for field, low in (("begin", 0), ("end", 1), ("step", 1)):
            _triple(self, field, low)
        if any(a >= b for a, b in zip(self.begin, self.end, strict=True)):
            raise InputError(f"begin {self.begin} must lie before end {self.end} on each axis.")

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        if any(end > side for end, side in zip(self.end, inputs[0], strict=True)):
            raise InputError(f"end {self.end} lies outside the input {inputs[0]}.")
        channels, rows, columns = (-((a - b) // s) for a, b, s in zip(self.begin, self.end, self.step, strict=True))
        return channels, rows, columns


@dataclass(frozen=True)
class Pad(Op):
    """x with `before` and `after` (channels, rows, columns) of one constant around it.

    >>> Pad((0, 1, 2), (0, 0, 1)).output_shape(((3, 5, 7),))
    (3, 6, 10)
    """

    before: Shape
    after: Shape
    value: float = 0.0

    def __post_init__(self) -> None:
        _triple(self, "before", 0)
        _triple(self, "after", 0)
        if not math.isfinite(self.value):
            raise InputError(f"the padding's value is {self.value}; it must be finite.")

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, rows, columns = map(sum, zip(self.before, inputs[0], self.after, strict=True))
        return channels, rows, columns


@dataclass(frozen=True)
class ResizeNearest(Op):
    """y[c, y, x] = x[c, y // factor, x // factor]: each pixel becomes a block; whole factors, (vertical, horizontal).

    >>> ResizeNearest((2, 3)).output_shape(((3, 5, 7),))
    (3, 10, 21)
    """

    factors: Pair

    def __post_init__(self) -> None:
        pair(self, "factors", 1)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, rows, columns = inputs[0]
        return channels, rows * self.factors[0], columns * self.factors[1]


@dataclass(frozen=True)
class ChannelShuffle(Op):
    """y[j * groups + i] = x[i * (C / groups) + j]: the channels of the groups, dealt out in turn.

    >>> ChannelShuffle(2).output_shape(((6, 5, 7),))
    (6, 5, 7)
    """

    groups: int

    def __post_init__(self) -> None:
        if type(self.groups) is not int or self.groups < 1:
            raise InputError(f"groups is {self.groups}; a whole number of at least 1 is needed.")

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        if inputs[0][0] % self.groups:
            raise InputError(f"groups is {self.groups}; it must divide the input's {inputs[0][0]} channels.")
        return inputs[0]


def _triple(op: object, field: str, low: int) -> None:
    """Check one (channel, row, column) attribute."""
    value = getattr(op, field)
    if len(value) != 3 or not all(isinstance(v, int) and low <= v <= MAX_ELEMENTS for v in value):
        raise InputError(f"{field} is {value}; it must be (channel, row, column), whole, {low}..{MAX_ELEMENTS}.")
