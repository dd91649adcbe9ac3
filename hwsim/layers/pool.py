"""Windows of pooling, floor and ceil mode, global, with the three rules of what an average counts; and the maximum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from hwsim.arith.float_order import code_of_key, order_key
from hwsim.errors import ContractError
from hwsim.formats import Minifloat
from hwsim.layers.base import Cell, Codes, Events, Real, Shape, Unchanged, one_input, pair
from hwsim.layers.float_values import check_real


class CountRule(IntEnum):
    """What an average divides by: the pixels of the image; the whole kernel; the kernel clipped to image + padding."""

    EXCLUDE_PADDING = 0
    INCLUDE_PADDING = 1
    CAFFE = 2


def pooled_extent(extent: int, kernel: int, stride: int, pad: int, ceil_mode: bool, pad_end: int | None = None) -> int:
    """outputs = (extent + pad + pad_end - kernel) / stride + 1, down or up; the last window starts within the image.

    pad_end: behind the image; None for as much as before it.

    >>> pooled_extent(6, 3, 2, 0, True), pooled_extent(6, 3, 2, 0, False)
    (3, 2)
    """
    pads = pad + (pad if pad_end is None else pad_end)
    room = extent + pads - kernel
    if room < 0:
        raise ContractError(f"pooling: a kernel of {kernel} does not fit {extent} + {pads} pixels; use a smaller kernel.")
    outputs = (-(-room // stride) if ceil_mode else room // stride) + 1
    while (outputs - 1) * stride >= extent + pad:
        outputs -= 1
    return outputs


@dataclass(frozen=True)
class Window:
    """The window of a pooling layer. kernel None: the whole image (global pooling).

    pad: above and to the left; pad_end: below and to the right, None for the same.
    """

    kernel: tuple[int, int] | None
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    ceil_mode: bool = False
    pad_end: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.kernel is not None:
            object.__setattr__(self, "kernel", pair("pooling.kernel", self.kernel, 1))
        object.__setattr__(self, "stride", pair("pooling.stride", self.stride, 1))
        object.__setattr__(self, "pad", pair("pooling.pad", self.pad, 0))
        if self.pad_end is not None:
            object.__setattr__(self, "pad_end", pair("pooling.pad_end", self.pad_end, 0))
        for name, pads in (("pad", self.pad), ("pad_end", self.after)):
            if self.kernel is None and pads != (0, 0):
                raise ContractError(f"pooling.{name}: found {pads} with global pooling, allowed (0, 0).")
            if self.kernel is not None and any(p >= k for p, k in zip(pads, self.kernel, strict=True)):
                raise ContractError(f"pooling.{name}: found {pads}, allowed less than the kernel {self.kernel}.")

    @property
    def after(self) -> tuple[int, int]:
        """Padding (below, to the right)."""
        return self.pad if self.pad_end is None else self.pad_end

    def kernel_for(self, shape: Shape) -> tuple[int, int]:
        """Return the kernel's height and width on this input."""
        return (shape.h, shape.w) if self.kernel is None else self.kernel

    def output_shape(self, shape: Shape) -> Shape:
        """Return the pooled shape."""
        if self.kernel is None:
            return Shape(shape.c, 1, 1)
        sizes = zip(shape[1:], self.kernel, self.stride, self.pad, self.after, strict=True)
        return Shape(shape.c, *(pooled_extent(e, k, s, p, self.ceil_mode, end) for e, k, s, p, end in sizes))

    def span(self, axis: int, shape: Shape, index: int) -> tuple[int, int, int]:
        """Return (start, stop, origin) of window `index` along axis 0 (vertical) or 1: clipped to the image; origin is not."""
        kernel = self.kernel_for(shape)[axis]
        origin = 0 if self.kernel is None else index * self.stride[axis] - self.pad[axis]
        return max(origin, 0), min(origin + kernel, shape[1 + axis]), origin

    def counted(self, axis: int, shape: Shape, index: int, rule: CountRule) -> int:
        """Return how many positions of window `index` an average counts along one axis."""
        kernel = self.kernel_for(shape)[axis]
        start, stop, origin = self.span(axis, shape, index)
        if rule == CountRule.INCLUDE_PADDING:
            return kernel
        if rule == CountRule.EXCLUDE_PADDING:
            return stop - start
        return min(origin + kernel, shape[1 + axis] + self.after[axis]) - origin

    def divisor(self, shape: Shape, y: int, x: int, rule: CountRule) -> int:
        """Return what the average of output (y, x) divides by: counted rows times counted columns."""
        return self.counted(0, shape, y, rule) * self.counted(1, shape, x, rule)


def window_codes(inputs: Sequence[Codes], window: Window, n: int, k: int, y: int, x: int) -> list[int]:
    """Return the codes under one output's window that lie on the image."""
    plane = inputs[0][n][k]
    shape = Shape(1, len(plane), len(plane[0]))
    top, bottom, _ = window.span(0, shape, y)
    left, right, _ = window.span(1, shape, x)
    return [plane[row][column] for row in range(top, bottom) for column in range(left, right)]


@dataclass(frozen=True)
class MaxPool(Unchanged):
    """code = max over the window's pixels of the image; padding never wins, since it is not looked at.

    Minifloats are compared as numbers, -0 below +0; a maximum with NaN is NaN.
    """

    format: Real
    window: Window

    kind: ClassVar[str] = "max_pool"

    def __post_init__(self) -> None:
        check_real("max_pool.format", self.format)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the pooled shape."""
        return self.window.output_shape(one_input(self.kind, inputs))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        codes = window_codes(inputs, self.window, n, k, y, x)
        if isinstance(self.format, Minifloat):
            f = self.format.layout
            return Cell(int(code_of_key(max(order_key(code, f) for code in codes), f)), None, Events())
        return Cell(max(codes), None, Events())
