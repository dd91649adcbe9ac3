"""Layers that move codes and compute none: padding, slices, nearest resizing, channel shuffle, flatten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from typing import ClassVar

import numpy as np

from hwsim.arith.rounding import Rounding
from hwsim.arith.sample import sample_index
from hwsim.contract.scaling import float32_multiplier
from hwsim.errors import ContractError
from hwsim.formats import Minifloat
from hwsim.layers.base import Cell, Codes, Events, Real, Shape, Unchanged, one_input, pair
from hwsim.layers.float_values import check_real

MAX_MOVED = 1 << 28
"""Codes of one output image: a file of a few lines must not ask for gigabytes."""
MAX_PLACE = 1 << 28
MAX_TERM = 1 << 62

AXES = ("channels", "rows", "columns")
Triple = tuple[int, int, int]


def triple(name: str, value: object, low: int, high: int = MAX_PLACE) -> Triple:
    """Return (channels, rows, columns) from three ints, each in low..high."""
    given = tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(given) != 3 or not all(is_int(v) and low <= v <= high for v in given):
        raise ContractError(f"{name}: found {value!r}, allowed three integers (channels, rows, columns) in {low}..{high}.")
    return int(given[0]), int(given[1]), int(given[2])


def zero_code(fmt: Real) -> int:
    """Return the code of real 0: the zero point; +0 of a minifloat, or the code that it gave up for 0."""
    return (fmt.zero_code or 0) if isinstance(fmt, Minifloat) else fmt.zero()


def is_int(value: object) -> bool:
    """Return whether a value is an integer, and no bool."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


class Moved(Unchanged):
    """out[c, y, x] = in[source(0, c), source(1, y), source(2, x)]; `fill` where one of these is None."""

    fill: int = 0

    def outputs(self, axis: int, extent: int) -> int:
        """Return how long the output is along axis 0 (channels), 1 (rows) or 2 (columns) of an input of this extent."""
        return extent

    def source(self, axis: int, index: int, extent: int) -> int | None:
        """Return where along the axis output `index` comes from; None for nowhere in the input."""
        return index

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the output's shape; ContractError where the input does not match the attributes."""
        shape = Shape(*(self.outputs(axis, extent) for axis, extent in enumerate(one_input(self.kind, inputs))))
        if math.prod(shape) > MAX_MOVED:
            raise ContractError(f"{self.kind}: the output of {shape.c} x {shape.h} x {shape.w} codes is beyond {MAX_MOVED}.")
        return shape

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        image = inputs[0][n]
        extents = (len(image), len(image[0]), len(image[0][0]))
        at = [self.source(axis, index, extents[axis]) for axis, index in enumerate((k, y, x))]
        if at[0] is None or at[1] is None or at[2] is None:
            return Cell(self.fill, None, Events())
        return Cell(image[at[0]][at[1]][at[2]], None, Events())


@dataclass(frozen=True)
class Pad(Moved):
    """The input with `before` and `after` (channels, rows, columns) of one constant code around it.

    code: the constant; None for real 0, the format's zero point (+0 of a minifloat).

    >>> from hwsim.formats import Affine
    >>> Pad(Affine(8, 0.5, 3), (0, 1, 2), (0, 0, 1)).output_shape([Shape(3, 5, 7)])
    Shape(c=3, h=6, w=10)
    """

    format: Real
    before: Triple
    after: Triple
    code: int | None = None

    kind: ClassVar[str] = "pad"

    def __post_init__(self) -> None:
        check_real("pad.format", self.format)
        for name in ("before", "after"):
            object.__setattr__(self, name, triple(f"pad.{name}", getattr(self, name), 0))
        if self.code is None:
            return
        if not is_int(self.code) or not self.format.low <= self.code <= self.format.high:
            raise ContractError(
                f"pad.code: found {self.code!r}, allowed None or a code in {self.format.low}..{self.format.high} ({self.format})."
            )
        object.__setattr__(self, "code", int(self.code))

    @property
    def fill(self) -> int:  # type: ignore[override]
        """The code of the padding."""
        return zero_code(self.format) if self.code is None else self.code

    def outputs(self, axis: int, extent: int) -> int:
        """before + extent + after."""
        return self.before[axis] + extent + self.after[axis]

    def source(self, axis: int, index: int, extent: int) -> int | None:
        """index - before, within the input."""
        place = index - self.before[axis]
        return place if 0 <= place < extent else None


@dataclass(frozen=True)
class Slice(Moved):
    """out[i] = in[start + i * step] along each axis, up to `stop`, which is left out: range(start, stop, step).

    start, stop, step: (channels, rows, columns).  Steps may be negative; stop is then -1 where the first place is taken too.

    >>> from hwsim.formats import FixedPoint
    >>> Slice(FixedPoint(8, 0), (2, 0, 6), (0, 5, -1), (-1, 2, -3)).output_shape([Shape(3, 5, 7)])
    Shape(c=2, h=3, w=3)
    """

    format: Real
    start: Triple
    stop: Triple
    step: Triple = (1, 1, 1)

    kind: ClassVar[str] = "slice"

    def __post_init__(self) -> None:
        check_real("slice.format", self.format)
        for name, low in (("start", 0), ("stop", -1), ("step", -MAX_PLACE)):
            object.__setattr__(self, name, triple(f"slice.{name}", getattr(self, name), low))
        for axis in range(3):
            if self.step[axis] == 0 or not len(self.places(axis)):
                raise ContractError(
                    f"slice.stop: found no {AXES[axis]} at all from {self.start[axis]} to {self.stop[axis]} in steps of "
                    f"{self.step[axis]}; allowed is at least one."
                )

    def places(self, axis: int) -> range:
        """Return the places along an axis that are taken, in order."""
        return range(self.start[axis], self.stop[axis], self.step[axis])

    def outputs(self, axis: int, extent: int) -> int:
        """Return how many places are taken; ContractError where one lies outside the input."""
        places = self.places(axis)
        if max(places[0], places[-1]) >= extent:
            raise ContractError(
                f"slice.stop: found {AXES[axis]} {places[0]}..{places[-1]} of an input of {extent}, allowed 0..{extent - 1}."
            )
        return len(places)

    def source(self, axis: int, index: int, extent: int) -> int | None:
        """start + index * step."""
        return self.places(axis)[index]


@dataclass(frozen=True)
class ChannelShuffle(Moved):
    """out[j * groups + i] = in[i * (C / groups) + j]: the channels of the groups, dealt out in turn."""

    format: Real
    groups: int

    kind: ClassVar[str] = "channel_shuffle"

    def __post_init__(self) -> None:
        check_real("channel_shuffle.format", self.format)
        if not is_int(self.groups) or not 1 <= self.groups <= MAX_PLACE:
            raise ContractError(f"channel_shuffle.groups: found {self.groups!r}, allowed a divisor of the input's channels.")
        object.__setattr__(self, "groups", int(self.groups))

    def outputs(self, axis: int, extent: int) -> int:
        """The input's extent; ContractError where the groups do not divide the channels."""
        if axis == 0 and extent % self.groups:
            raise ContractError(f"channel_shuffle.groups: found {self.groups} for {extent} channels, allowed a divisor of these.")
        return extent

    def source(self, axis: int, index: int, extent: int) -> int | None:
        """(index mod groups) * (C / groups) + index / groups, of the channels."""
        return index if axis else index % self.groups * (extent // self.groups) + index // self.groups


@dataclass(frozen=True)
class Sampling:
    """index(o) = clip(round((o * step + offset) / unit), 0, extent - 1): which input pixel stands at output o, on one axis.

    float32: the numerator is rounded to a float32 before it is divided, as where the place is computed in float32.

    >>> [Sampling(1, 2).index(o, 3) for o in range(6)]
    [0, 0, 1, 1, 2, 2]
    """

    step: int
    unit: int
    offset: int = 0
    rounding: Rounding = Rounding.FLOOR
    float32: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (("step", 0, 1 << 40), ("unit", 1, MAX_TERM), ("offset", -MAX_TERM, MAX_TERM)):
            value = getattr(self, name)
            if not is_int(value) or not low <= value <= high:
                raise ContractError(f"Sampling.{name}: found {value!r}, allowed an integer in {low}..{high}.")
            object.__setattr__(self, name, int(value))
        if not isinstance(self.rounding, Rounding):
            raise ContractError(f"Sampling.rounding: found {self.rounding!r}, allowed {', '.join(r.name for r in Rounding)}.")
        if not isinstance(self.float32, bool):
            raise ContractError(f"Sampling.float32: found {self.float32!r}, allowed True or False.")

    def index(self, output: int, extent: int) -> int:
        """Return the input pixel at an output pixel."""
        return int(sample_index(output, self.step, self.unit, self.offset, self.rounding, self.float32, extent))

    def outputs(self, extent: int) -> int:
        """floor(extent * unit / step): the outputs of an input of this extent, where no size is declared."""
        if self.step == 0:
            raise ContractError("Sampling.step: found 0 without a declared size, allowed from 1; declare resize_nearest.size.")
        return extent * self.unit // self.step


class Coordinates(IntEnum):
    """Where output o of n lies in an input of m pixels: ONNX's names.

    ASYMMETRIC: o * m / n.  HALF_PIXEL: (o + 1/2) * m / n - 1/2.  ALIGN_CORNERS: o * (m - 1) / (n - 1).
    """

    ASYMMETRIC = 0
    HALF_PIXEL = 1
    ALIGN_CORNERS = 2


def sampling(inputs: int, outputs: int, coordinates: Coordinates, rounding: Rounding) -> Sampling:
    """Return the exact rule of a resizing from `inputs` to `outputs` pixels.

    rounding: FLOOR, CEIL, TIES_DOWN (round_prefer_floor) or TIES_UP (round_prefer_ceil) in ONNX.

    >>> sampling(3, 7, Coordinates.HALF_PIXEL, Rounding.TIES_DOWN)
    Sampling(step=6, unit=14, offset=-4, rounding=<Rounding.TIES_DOWN: 5>, float32=False)
    """
    if coordinates is Coordinates.ASYMMETRIC:
        return Sampling(inputs, outputs, 0, rounding)
    if coordinates is Coordinates.HALF_PIXEL:
        return Sampling(2 * inputs, 2 * outputs, inputs - outputs, rounding)
    return Sampling(inputs - 1 if outputs > 1 else 0, max(outputs - 1, 1), 0, rounding)


def tflite_sampling(inputs: int, outputs: int, align_corners: bool = False, half_pixel_centers: bool = False) -> Sampling:
    """Return TensorFlow Lite's rule: a float32 scale, a float32 product, cut, or rounded where corners are aligned.

    Source: kernels/internal/reference/resize_nearest_neighbor.h, GetNearestNeighbor.

    >>> tflite_sampling(5, 10, half_pixel_centers=True)
    Sampling(step=2, unit=4, offset=1, rounding=<Rounding.FLOOR: 0>, float32=True)
    """
    aligned = align_corners and outputs > 1
    scale = np.float32(inputs - 1) / np.float32(outputs - 1) if aligned else np.float32(inputs) / np.float32(outputs)
    multiplier, shift = float32_multiplier(float(scale)) if scale else (0, 0)
    step, unit = multiplier << max(-shift, 0), 1 << max(shift, 0)
    rounding = Rounding.TIES_AWAY if align_corners else Rounding.FLOOR
    if half_pixel_centers:
        return Sampling(2 * step, 2 * unit, step, rounding, float32=True)
    return Sampling(step, unit, 0, rounding, float32=True)


def tosa_sampling(scale_n: int, scale_d: int, offset: int) -> Sampling:
    """Return TOSA's rule, nearest: round((o * scale_d + offset) / scale_n), half up.

    Source: TOSA specification, RESIZE.  The size is ((extent - 1) * scale_n - offset + border) / scale_d + 1.
    """
    return Sampling(scale_d, scale_n, offset, Rounding.TIES_UP)


@dataclass(frozen=True)
class ResizeNearest(Moved):
    """out[c, y, x] = in[c, vertical.index(y), horizontal.index(x)]: every output is one of the input's codes.

    size: (rows, columns) of the output; None for as many as vertical and horizontal give (see Sampling.outputs).

    >>> from hwsim.formats import FixedPoint
    >>> ResizeNearest(FixedPoint(8, 0), Sampling(1, 2), Sampling(1, 3)).output_shape([Shape(3, 5, 7)])
    Shape(c=3, h=10, w=21)
    """

    format: Real
    vertical: Sampling
    horizontal: Sampling
    size: tuple[int, int] | None = None

    kind: ClassVar[str] = "resize_nearest"

    def __post_init__(self) -> None:
        check_real("resize_nearest.format", self.format)
        for name in ("vertical", "horizontal"):
            if not isinstance(getattr(self, name), Sampling):
                raise ContractError(f"resize_nearest.{name}: found {getattr(self, name)!r}, allowed a Sampling.")
        if self.size is not None:
            object.__setattr__(self, "size", pair("resize_nearest.size", self.size, 1))

    def outputs(self, axis: int, extent: int) -> int:
        """The declared size, or what the rule gives."""
        if axis == 0:
            return extent
        outputs = self._rule(axis).outputs(extent) if self.size is None else self.size[axis - 1]
        if outputs < 1:
            raise ContractError(f"resize_nearest.size: found no {AXES[axis]} at all, allowed from 1.")
        return outputs

    def source(self, axis: int, index: int, extent: int) -> int | None:
        """The rule of the axis."""
        return self._rule(axis).index(index, extent) if axis else index

    def _rule(self, axis: int) -> Sampling:
        return self.vertical if axis == 1 else self.horizontal


def whole_factors(factors: tuple[int, int]) -> tuple[Sampling, Sampling]:
    """Return the rules (vertical, horizontal) under which each pixel becomes a block: index(o) = o // factor."""
    return Sampling(1, factors[0]), Sampling(1, factors[1])


def scaled_by(scale: Fraction | int, coordinates: Coordinates, rounding: Rounding) -> Sampling:
    """Return the exact rule of a resizing by `scale` = outputs / inputs; ALIGN_CORNERS has none without sizes."""
    ratio = Fraction(scale)
    if ratio <= 0 or coordinates is Coordinates.ALIGN_CORNERS:
        raise ContractError(
            f"scaled_by: found {scale} with {coordinates.name}, allowed a scale above 0, without aligned corners."
        )
    return sampling(ratio.denominator, ratio.numerator, coordinates, rounding)


class FlattenOrder(IntEnum):
    """In which order the codes of an image become channels: the last axis runs fastest."""

    CHW = 0
    HWC = 1


@dataclass(frozen=True)
class Flatten(Unchanged):
    """out[i] = the i-th code of the image in the declared order: C * H * W channels of one pixel.

    order: CHW as a fully connected layer reads its input (ONNX, Caffe), HWC as TensorFlow's reshape does.

    >>> from hwsim.formats import FixedPoint
    >>> Flatten(FixedPoint(8, 0)).output_shape([Shape(3, 5, 7)])
    Shape(c=105, h=1, w=1)
    """

    format: Real
    order: FlattenOrder = FlattenOrder.CHW

    kind: ClassVar[str] = "flatten"

    def __post_init__(self) -> None:
        check_real("flatten.format", self.format)
        if not isinstance(self.order, FlattenOrder):
            raise ContractError(f"flatten.order: found {self.order!r}, allowed CHW or HWC.")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """(C * H * W, 1, 1)."""
        return Shape(math.prod(one_input(self.kind, inputs)), 1, 1)

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        image = inputs[0][n]
        channels, height, width = len(image), len(image[0]), len(image[0][0])
        if self.order is FlattenOrder.CHW:
            c, row, column = k // (height * width), k // width % height, k % width
        else:
            row, column, c = k // (width * channels), k // channels % width, k % channels
        return Cell(image[c][row][column], None, Events())
