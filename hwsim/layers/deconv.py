"""Deconvolution: the transpose of a convolution, with stride, cropping, dilation and groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from hwsim.errors import ContractError
from hwsim.layers.base import Real, Shape, one_input, pair
from hwsim.layers.conv import MAX_PADDED, Convolution
from hwsim.layers.integer_unit import Extents
from hwsim.layers.mac import MacLayer, checked_weights
from hwsim.layers.move import Moved, zero_code

MAX_CROP = (1 << 16) - 1


@dataclass(frozen=True, eq=False)
class Deconvolution(MacLayer):
    """acc[n,k,y,x] = bias[k] + sum of every x[n, g*C/G + c, i, j] * w[k,c,r,s] with i*stride - pad + r*dilation = y, and so on.

    weight: codes [K][C/groups][R][S], output channels first (files have them second).  bias: codes [K] or None.
    stride, dilation: int or (vertical, horizontal).  pad: rows and columns cut off above and to the left; negative: as many
    more, of which the kernel may reach some.  pad_end: below and to the right, where it differs; None where it does not.
    H_out = (H - 1) * stride - pad - pad_end + dilation (R - 1) + 1.  ONNX's output_padding is pad_end less by so much, TOSA's
    out_pad is pad and pad_end with their signs changed.

    Taps stand in the order (c, r, s). Those that hit no input pixel, between the pixels or beside the image, are padded taps:
    real 0, steps or not as the contract says.
    Errors: ContractError (shapes, formats, shifts), ProofError (an accumulator not proven safe).

    >>> from hwsim.contract import MacContract, Output
    >>> from hwsim.formats import FixedPoint
    >>> s8 = FixedPoint(8, 0)
    >>> layer = Deconvolution(MacContract(s8, s8, Output(s8)), np.array([[[[1, 2, 3]]]]), stride=(1, 2))
    >>> [layer.spec([[[[[1, 10]]]]], 0, 0, 0, x).acc for x in range(5)]
    [1, 2, 13, 20, 30]
    """

    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pad_end: tuple[int, int] | None = None

    kind: ClassVar[str] = "deconvolution"

    def __post_init__(self) -> None:
        weight = checked_weights("deconvolution.weight", self.weight, self.contract.weight, "KCRS")
        object.__setattr__(self, "weight", weight)
        for name, low in (("stride", 1), ("pad", -MAX_CROP), ("dilation", 1)):
            object.__setattr__(self, name, pair(f"deconvolution.{name}", getattr(self, name), low))
        if self.pad_end is not None:
            object.__setattr__(self, "pad_end", pair("deconvolution.pad_end", self.pad_end, -MAX_CROP))
        if not isinstance(self.groups, (int, np.integer)) or self.groups < 1 or len(weight) % self.groups:
            raise ContractError(
                f"deconvolution.groups: found {self.groups!r} for {len(weight)} output channels, allowed a divisor of these."
            )
        super().__post_init__()

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel height R and width S."""
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def cropping(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """((top, left), (bottom, right)): what is cut off, negative where there is more."""
        return self.pad, self.pad if self.pad_end is None else self.pad_end

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """H_out = (H - 1) * stride - pad - pad_end + dilation (R - 1) + 1, and the same for W."""
        shape = one_input(self.kind, inputs)
        if shape.c != self.weight.shape[1] * self.groups:
            raise ContractError(
                f"deconvolution: found {shape.c} input channels, allowed {self.weight.shape[1] * self.groups} "
                f"({self.weight.shape[1]} per group, {self.groups} groups)."
            )
        cut = (sum(both) for both in zip(*self.cropping, strict=True))
        sides = zip(shape[1:], self.kernel, self.stride, cut, self.dilation, strict=True)
        size = [(extent - 1) * s - p + d * (k - 1) + 1 for extent, k, s, p, d in sides]
        if min(size) < 1:
            raise ContractError(
                f"deconvolution.pad: {self.cropping} leaves an output of {size[0]} x {size[1]}, allowed from 1 x 1."
            )
        spread = math.prod(extent + d * (k - 1) for extent, k, d in zip(size, self.kernel, self.dilation, strict=True))
        if max(spread * shape.c, math.prod(size) * self.channels) > MAX_PADDED:
            raise ContractError(
                f"deconvolution: an output of {size[0]} x {size[1]} makes the input spread out {spread * shape.c} codes large, "
                f"allowed {MAX_PADDED}."
            )
        return Shape(self.channels, *size)

    def extents(self, shape: Shape) -> Extents:
        """(channels of a group, kernel rows, kernel columns)."""
        return self.weight.shape[1], *self.kernel

    def source(self, axis: int, output: int, tap: int, extent: int) -> int | None:
        """Return the input row (axis 0) or column (1) that a tap brings to an output; None where it hits none."""
        place = output + self.pad[axis] - tap * self.dilation[axis]
        return place // self.stride[axis] if place % self.stride[axis] == 0 and 0 <= place < extent * self.stride[axis] else None

    def taps(self, image: Sequence[Sequence[Sequence[int]]], k: int, y: int, x: int) -> tuple[list[int], list[bool]]:
        """Return the code that each tap brings in the order (c, r, s), and which taps hit no input."""
        per_group, (rows, columns) = self.weight.shape[1], self.kernel
        first = k // (self.channels // self.groups) * per_group
        codes, padded = [], []
        for c in range(per_group):
            plane = image[first + c]
            for r in range(rows):
                row = self.source(0, y, r, len(plane))
                for s in range(columns):
                    column = self.source(1, x, s, len(plane[0]))
                    outside = row is None or column is None
                    codes.append(self.pad_code if outside else plane[row][column])  # type: ignore[index]
                    padded.append(outside)
        return codes, padded

    def spread(self, shape: Shape) -> Spread:
        """Return the layer that lays out an input of this shape for `convolution`."""
        out = self.output_shape([shape])
        reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True)]
        lead = (reach[0] - self.pad[0], reach[1] - self.pad[1])
        return Spread(self.input_formats[0], self.stride, lead, (out.h + reach[0], out.w + reach[1]))

    @cached_property
    def convolution(self) -> Convolution:
        """The convolution of the input spread out that has the same accumulators: stride 1, no padding, the kernel turned round.

        Its taps stand the other way round, (c, R - 1 - r, S - 1 - s), and it cannot tell a spread-out zero from a pixel: where
        an order is declared, a kernel has to undo both (see tap_order).
        """
        turned = np.ascontiguousarray(self.weight[:, :, ::-1, ::-1])
        return Convolution(self.contract, turned, self.bias, dilation=self.dilation, groups=self.groups)

    @property
    def tap_order(self) -> np.ndarray:
        """tap_order[t] = the tap of `convolution` that is tap t of this layer, int64 [C/groups * R * S]."""
        taps = np.arange(math.prod(self.weight.shape[1:]), dtype=np.int64).reshape(self.weight.shape[1:])
        return np.ascontiguousarray(taps[:, ::-1, ::-1]).ravel()


@dataclass(frozen=True)
class Spread(Moved):
    """The input's pixels `stride` apart, from `lead` (rows, columns) on, on a canvas of `size` full of real 0.

    A part of Deconvolution, and no layer of a network. lead may be negative: what lies before the canvas is cut off.
    """

    format: Real
    stride: tuple[int, int]
    lead: tuple[int, int]
    size: tuple[int, int]

    kind: ClassVar[str] = "spread"

    @property
    def fill(self) -> int:  # type: ignore[override]
        """The code between the pixels."""
        return zero_code(self.format)

    def outputs(self, axis: int, extent: int) -> int:
        """The canvas."""
        return self.size[axis - 1] if axis else extent

    def source(self, axis: int, index: int, extent: int) -> int | None:
        """(index - lead) / stride, where that is a pixel."""
        if axis == 0:
            return index
        pixel, between = divmod(index - self.lead[axis - 1], self.stride[axis - 1])
        return pixel if between == 0 and 0 <= pixel < extent else None
