"""Operations that multiply and accumulate: convolution, its transpose, and inner product."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwsim.errors import InputError
from hwsim.network.ops_base import Op, Pair, Shape, end_padding, pair, vector, weights


def _check_kernel(op: Convolution | Deconvolution) -> None:
    """What a convolution and its transpose check alike."""
    filters = weights(op, "weight", 4).shape[0]
    vector(op, "bias", filters)
    for field, low in (("stride", 1), ("pad", 0), ("dilation", 1)):
        pair(op, field, low)
    end_padding(op)
    if op.groups < 1 or filters % op.groups:
        raise InputError(f"groups is {op.groups}; it must divide the {filters} output channels.")


def _checked_sides(op: Convolution | Deconvolution, shape: Shape) -> tuple[int, ...]:
    """Height and width of the input; InputError where its channels are not those of the weights."""
    channels, *sides = shape
    if channels != op.weight.shape[1] * op.groups:
        raise InputError(
            f"the input has {channels} channels; weights of shape {op.weight.shape} in {op.groups} groups "
            f"take {op.weight.shape[1] * op.groups}."
        )
    return tuple(sides)


def _extents(op: Convolution | Deconvolution) -> list[int]:
    """Rows and columns that the dilated kernel covers."""
    return [d * (k - 1) + 1 for d, k in zip(op.dilation, op.weight.shape[2:], strict=True)]


@dataclass(frozen=True, eq=False)
class Convolution(Op):
    """y[k, y, x] = bias[k] + sum x[c, y*stride - pad + r*dilation, ...] * weight[k, c, r, s] over c, r, s.

    weight: float32 of shape K, C/groups, R, S.  bias: K numbers or None.  Pairs are (vertical, horizontal).
    pad: zeros above and to the left.  pad_end: zeros below and to the right where they are not as many.

    >>> Convolution(np.ones((6, 2, 3, 5)), None, pad=(1, 2)).output_shape(((2, 7, 11),))
    (6, 7, 11)
    >>> Convolution(np.ones((6, 2, 3, 5)), None, pad=(0, 2), pad_end=(1, 2)).output_shape(((2, 7, 11),))
    (6, 6, 11)
    """

    weight: np.ndarray
    bias: np.ndarray | None
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    pad_end: Pair | None = None

    def __post_init__(self) -> None:
        _check_kernel(self)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        sides, extents = _checked_sides(self, inputs[0]), _extents(self)
        padded = [sum(each) for each in zip(sides, self.pad, self.pad_end or self.pad, strict=True)]
        if any(side < e for side, e in zip(padded, extents, strict=True)):
            raise InputError(f"the kernel covers {extents[0]}x{extents[1]} and the padded input is smaller.")
        height, width = ((side - e) // s + 1 for side, e, s in zip(padded, extents, self.stride, strict=True))
        return self.weight.shape[0], height, width

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return math.prod(self.output_shape(inputs)) * math.prod(self.weight.shape[1:])


@dataclass(frozen=True, eq=False)
class Deconvolution(Op):
    """y[k, y*stride - pad + r*dilation, ...] = bias[k] + sum of every x[c, y, x] * weight[k, c, r, s] that falls there.

    weight: float32 of shape K, C/groups, R, S, output channels first (files have them second: filters_first).
    pad, pad_end: rows and columns cut away above and left, below and right (None: as many).
    output_padding: rows and columns more below and right, less than the stride; what falls there counts.

    >>> Deconvolution(np.ones((6, 2, 3, 5)), None, stride=(2, 3), pad=(1, 0), output_padding=(1, 0)).output_shape(((2, 7, 11),))
    (6, 14, 35)
    """

    weight: np.ndarray
    bias: np.ndarray | None
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    pad_end: Pair | None = None
    output_padding: Pair = (0, 0)

    def __post_init__(self) -> None:
        _check_kernel(self)
        pair(self, "output_padding", 0)
        if any(o >= max(s, d) for o, s, d in zip(self.output_padding, self.stride, self.dilation, strict=True)):
            raise InputError(
                f"output_padding {self.output_padding} must be smaller than the stride {self.stride} or the dilation."
            )

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        sides, extents = _checked_sides(self, inputs[0]), _extents(self)
        full = ((side - 1) * s + e + o for side, s, e, o in zip(sides, self.stride, extents, self.output_padding, strict=True))
        height, width = (f - p - q for f, p, q in zip(full, self.pad, self.pad_end or self.pad, strict=True))
        if height < 1 or width < 1:
            raise InputError(f"pad {self.pad} cuts away the whole output: {height}x{width} would be left.")
        return self.weight.shape[0], height, width

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return math.prod(inputs[0]) * self.weight.size // self.weight.shape[1] // self.groups


def filters_first(weight: np.ndarray, groups: int) -> np.ndarray:
    """Weights C, K/groups, R, S of a transpose convolution, as Caffe and ONNX store them, as K, C/groups, R, S.

    >>> filters_first(np.zeros((6, 2, 3, 5)), 3).shape
    (6, 2, 3, 5)
    """
    if weight.ndim != 4 or groups < 1 or weight.shape[0] % groups:
        raise InputError(f"groups is {groups}; it must divide the input channels of weights of shape {weight.shape}.")
    channels, filters, *kernel = weight.shape
    split = weight.reshape(groups, channels // groups, filters, *kernel)
    return split.transpose(0, 2, 1, 3, 4).reshape(groups * filters, channels // groups, *kernel)


def channels_first(weight: np.ndarray, groups: int) -> np.ndarray:
    """Undo filters_first: weights K, C/groups, R, S as C, K/groups, R, S."""
    return filters_first(weight, groups)  # exchanging two axes within each group is its own inverse


@dataclass(frozen=True, eq=False)
class InnerProduct(Op):
    """y[k] = bias[k] + sum x[i] * weight[k, i], i over the C, H, W of the input in that order."""

    weight: np.ndarray
    bias: np.ndarray | None

    def __post_init__(self) -> None:
        vector(self, "bias", weights(self, "weight", 2).shape[0])

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        found, taken = math.prod(inputs[0]), self.weight.shape[1]
        if found != taken:
            raise InputError(f"the input {inputs[0]} has {found} elements; the weights take {taken}.")
        return self.weight.shape[0], 1, 1

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return self.weight.size
