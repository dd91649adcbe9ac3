"""Convolution: stride, padding, dilation and groups (depthwise is groups = channels)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwsim.errors import ContractError
from hwsim.layers.base import Shape, one_input, pair
from hwsim.layers.integer_unit import Extents
from hwsim.layers.mac import MacLayer, checked_weights

MAX_PADDED = 1 << 28  # codes of one image with its padding: a file of a few lines must not ask for gigabytes


@dataclass(frozen=True, eq=False)
class Convolution(MacLayer):
    """acc[n,k,y,x] = bias[k] + sum over c,r,s of x[n, g*C/G + c, y*stride - pad + r*dilation, ...] * w[k,c,r,s].

    weight: codes [K][C/groups][R][S].  bias: codes [K] or None.  stride, pad, dilation: int or (vertical, horizontal).
    pad_end: padding below and to the right where it differs from pad, above and to the left; None where it does not.
    Padded taps are real 0: the input's zero point.
    Errors: ContractError (shapes, formats, shifts), ProofError (an accumulator not proven safe).
    """

    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pad_end: tuple[int, int] | None = None

    kind: ClassVar[str] = "convolution"

    def __post_init__(self) -> None:
        weight = checked_weights("convolution.weight", self.weight, self.contract.weight, "KCRS")
        object.__setattr__(self, "weight", weight)
        for name, low in (("stride", 1), ("pad", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(f"convolution.{name}", getattr(self, name), low))
        if self.pad_end is not None:
            object.__setattr__(self, "pad_end", pair("convolution.pad_end", self.pad_end, 0))
        if not isinstance(self.groups, (int, np.integer)) or self.groups < 1 or len(weight) % self.groups:
            raise ContractError(
                f"convolution.groups: found {self.groups!r} for {len(weight)} output channels, allowed a divisor of these."
            )
        super().__post_init__()

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel height R and width S."""
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """((top, left), (bottom, right))."""
        return self.pad, self.pad if self.pad_end is None else self.pad_end

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """H_out = (H + pad + pad_end - dilation (R - 1) - 1) // stride + 1, and the same for W."""
        shape = one_input(self.kind, inputs)
        if shape.c != self.weight.shape[1] * self.groups:
            raise ContractError(
                f"convolution: found {shape.c} input channels, allowed {self.weight.shape[1] * self.groups} "
                f"({self.weight.shape[1]} per group, {self.groups} groups)."
            )
        size = []
        pads = tuple(a + b for a, b in zip(*self.padding, strict=True))
        for extent, k, s, p, d in zip(shape[1:], self.kernel, self.stride, pads, self.dilation, strict=True):
            room = extent + p - d * (k - 1) - 1
            if room < 0:
                raise ContractError(f"convolution: a kernel of extent {d * (k - 1) + 1} does not fit {extent} + {p} pixels.")
            size.append(room // s + 1)
        padded = math.prod(extent + p for extent, p in zip(shape[1:], pads, strict=True)) * shape.c
        if padded > MAX_PADDED:
            raise ContractError(f"convolution.pad: {self.pad} makes the input {padded} codes large, allowed {MAX_PADDED}.")
        return Shape(self.channels, *size)

    def extents(self, shape: Shape) -> Extents:
        """(channels of a group, kernel rows, kernel columns)."""
        return self.weight.shape[1], *self.kernel

    def taps(self, image: Sequence[Sequence[Sequence[int]]], k: int, y: int, x: int) -> tuple[list[int], list[bool]]:
        """Return the codes under the kernel in the order (c, r, s), and which of them lie in the padding."""
        per_group = self.weight.shape[1]
        first = k // (self.channels // self.groups) * per_group
        codes, padded = [], []
        for c in range(per_group):
            plane = image[first + c]
            for r in range(self.kernel[0]):
                row = y * self.stride[0] - self.pad[0] + r * self.dilation[0]
                for s in range(self.kernel[1]):
                    column = x * self.stride[1] - self.pad[1] + s * self.dilation[1]
                    inside = 0 <= row < len(plane) and 0 <= column < len(plane[row])
                    codes.append(plane[row][column] if inside else self.pad_code)
                    padded.append(not inside)
        return codes, padded
