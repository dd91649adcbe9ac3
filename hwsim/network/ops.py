"""What a node of a float Network computes: attributes, weights, output shape. Shapes are (C, H, W), without the batch.

An operation has no name and no edges; its errors say what does not fit, and Network adds the layer's name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import numpy as np

from hwsim.errors import InputError
from hwsim.layers.pool import CountRule, pooled_extent
from hwsim.network.finite import not_finite
from hwsim.network.preprocessing import MAX_SIDE, Preprocessing

Shape = tuple[int, int, int]
Pair = tuple[int, int]

MAX_ELEMENTS = 1 << 31
"""Most elements of one tensor of one image: beyond it a shape is a mistake or an attack."""


class PoolMethod(Enum):
    """Which number stands for a window."""

    MAX = "max"
    AVERAGE = "average"


class Region(Enum):
    """Over which neighbours local response normalization sums squares."""

    ACROSS = "across channels"
    WITHIN = "within channel"


class Op:
    """What one node computes; a frozen dataclass for each kind."""

    inputs: ClassVar[tuple[int, int | None]] = (1, 1)
    """Fewest and most inputs (None: any number)."""

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """Shape of the one output; raises InputError where the inputs do not fit."""
        return inputs[0]

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        """Multiply-accumulates for one image."""
        return 0

    def parameters(self) -> int:
        """Number of learned numbers."""
        return sum(value.size for value in vars(self).values() if isinstance(value, np.ndarray))


def _weights(op: object, field: str, ndim: int) -> np.ndarray:
    """Freeze one float32 array of an operation, checked for its number of axes and for finite values."""
    array = np.ascontiguousarray(getattr(op, field), dtype=np.float32)
    if array is getattr(op, field) and array.flags.writeable:
        array = array.copy()
    if array.ndim != ndim or array.size == 0:
        raise InputError(f"{field} has shape {array.shape}; {ndim} axes with at least one element are needed.")
    if (bad := not_finite(array)) is not None:
        raise InputError(f"{field} holds a number that is not finite, {bad}; a network with NaN or infinity cannot be used.")
    array.setflags(write=False)
    object.__setattr__(op, field, array)
    return array


def _vector(op: object, field: str, length: int) -> None:
    """Freeze one optional float32 vector of an operation."""
    if getattr(op, field) is None:
        return
    if _weights(op, field, 1).size != length:
        raise InputError(f"{field} has {getattr(op, field).size} elements; {length} output channels need {length}.")


def _pair(op: object, field: str, low: int) -> None:
    """Check one (vertical, horizontal) attribute."""
    value = getattr(op, field)
    if len(value) != 2 or not all(isinstance(v, int) and low <= v <= MAX_SIDE for v in value):
        raise InputError(f"{field} is {value}; it must be (vertical, horizontal), whole, {low}..{MAX_SIDE}.")


@dataclass(frozen=True, eq=False)
class Input(Op):
    """The image that enters; preprocessing says how pixels become real numbers, or is None where nobody said it."""

    inputs: ClassVar[tuple[int, int | None]] = (0, 0)
    shape: Shape
    preprocessing: Preprocessing | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or not all(1 <= side <= MAX_SIDE for side in self.shape):
            raise InputError(f"input shape {self.shape} is not (C, H, W) with sides of 1..{MAX_SIDE}.")
        if self.preprocessing is not None and self.preprocessing.shape != self.shape:
            raise InputError(f"input shape {self.shape} does not match the preprocessing's {self.preprocessing.shape}.")

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return self.shape


@dataclass(frozen=True, eq=False)
class Convolution(Op):
    """y[k, y, x] = bias[k] + sum x[c, y*stride - pad + r*dilation, ...] * weight[k, c, r, s] over c, r, s.

    weight: float32 of shape K, C/groups, R, S.  bias: K numbers or None.  Pairs are (vertical, horizontal).

    >>> Convolution(np.ones((6, 2, 3, 5)), None, pad=(1, 2)).output_shape(((2, 7, 11),))
    (6, 7, 11)
    """

    weight: np.ndarray
    bias: np.ndarray | None
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        filters = _weights(self, "weight", 4).shape[0]
        _vector(self, "bias", filters)
        for field, low in (("stride", 1), ("pad", 0), ("dilation", 1)):
            _pair(self, field, low)
        if self.groups < 1 or filters % self.groups:
            raise InputError(f"groups is {self.groups}; it must divide the {filters} output channels.")

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, *sides = inputs[0]
        if channels != self.weight.shape[1] * self.groups:
            raise InputError(
                f"the input has {channels} channels; weights of shape {self.weight.shape} in {self.groups} groups "
                f"take {self.weight.shape[1] * self.groups}."
            )
        extents = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.weight.shape[2:], strict=True)]
        if any(side + 2 * p < e for side, p, e in zip(sides, self.pad, extents, strict=True)):
            raise InputError(f"the kernel covers {extents[0]}x{extents[1]} and the padded input is smaller.")
        height, width = (
            (side + 2 * p - e) // s + 1 for side, p, e, s in zip(sides, self.pad, extents, self.stride, strict=True)
        )
        return self.weight.shape[0], height, width

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return math.prod(self.output_shape(inputs)) * math.prod(self.weight.shape[1:])


@dataclass(frozen=True, eq=False)
class InnerProduct(Op):
    """y[k] = bias[k] + sum x[i] * weight[k, i], i over the C, H, W of the input in that order."""

    weight: np.ndarray
    bias: np.ndarray | None

    def __post_init__(self) -> None:
        _vector(self, "bias", _weights(self, "weight", 2).shape[0])

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        found, taken = math.prod(inputs[0]), self.weight.shape[1]
        if found != taken:
            raise InputError(f"the input {inputs[0]} has {found} elements; the weights take {taken}.")
        return self.weight.shape[0], 1, 1

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return self.weight.size


@dataclass(frozen=True)
class Pooling(Op):
    """y[c, y, x] = maximum or average of a window of x[c]; each channel alone.

    ceil_mode: the number of windows is rounded up, less those that would start beyond the input and its padding
    (as Caffe has it).  count: what an average is divided by.  global_pooling: one window covers the whole input,
    and kernel, stride and pad are not used.

    >>> Pooling(PoolMethod.MAX, (3, 3), (2, 2), ceil_mode=True).output_shape(((5, 14, 16),))
    (5, 7, 8)
    """

    method: PoolMethod
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    ceil_mode: bool = False
    count: CountRule = CountRule.EXCLUDE_PADDING
    global_pooling: bool = False

    def __post_init__(self) -> None:
        for field, low in (("kernel", 1), ("stride", 1), ("pad", 0)):
            _pair(self, field, low)
        if any(p >= k for p, k in zip(self.pad, self.kernel, strict=True)):
            raise InputError(
                f"pad {self.pad} must be smaller than the kernel {self.kernel}: padding alone has no value."
            )

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, height, width = inputs[0]
        if self.global_pooling:
            return channels, 1, 1
        sides = zip((height, width), self.kernel, self.stride, self.pad, strict=True)
        rows, columns = (pooled_extent(side, k, s, p, self.ceil_mode) for side, k, s, p in sides)
        return channels, rows, columns


@dataclass(frozen=True)
class ReLU(Op):
    """y = max(x, 0) + negative_slope * min(x, 0)."""

    negative_slope: float = 0.0


@dataclass(frozen=True)
class Concat(Op):
    """The inputs' channels, one input after the other."""

    inputs: ClassVar[tuple[int, int | None]] = (1, None)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        if len({shape[1:] for shape in inputs}) != 1:
            raise InputError(f"the inputs {', '.join(map(str, inputs))} differ in height or width.")
        return (sum(shape[0] for shape in inputs), *inputs[0][1:])


@dataclass(frozen=True)
class EltwiseSum(Op):
    """y = sum of the inputs, all of one shape."""

    inputs: ClassVar[tuple[int, int | None]] = (2, None)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        if len(set(inputs)) != 1:
            raise InputError(f"the inputs {', '.join(map(str, inputs))} differ in shape.")
        return inputs[0]


@dataclass(frozen=True)
class Softmax(Op):
    """y[c] = exp(x[c]) / sum of exp(x) over the channels."""


@dataclass(frozen=True)
class Dropout(Op):
    """y = x: dropout acts in training only."""


@dataclass(frozen=True)
class Flatten(Op):
    """The C, H, W elements in that order as C*H*W channels of one pixel."""

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return math.prod(inputs[0]), 1, 1


@dataclass(frozen=True, eq=False)
class BatchNorm(Op):
    """y[c] = (x[c] - mean[c]) / sqrt(variance[c] + epsilon)."""

    mean: np.ndarray
    variance: np.ndarray
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        _vector(self, "variance", _weights(self, "mean", 1).size)
        if not 0 <= self.epsilon < math.inf or not (self.variance + np.float64(self.epsilon) > 0).all():
            raise InputError(f"variance + epsilon ({self.epsilon}) must be positive in every channel.")

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return _same_channels(inputs[0], self.mean.size)


@dataclass(frozen=True, eq=False)
class Scale(Op):
    """y[c] = x[c] * factor[c] + bias[c]."""

    factor: np.ndarray
    bias: np.ndarray | None = None

    def __post_init__(self) -> None:
        _vector(self, "bias", _weights(self, "factor", 1).size)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return _same_channels(inputs[0], self.factor.size)


@dataclass(frozen=True)
class LRN(Op):
    """y = x / (k + alpha * mean of x^2 over the region) ^ beta.

    ACROSS: local_size channels around c, the mean divides by local_size, and missing channels count as 0.
    WITHIN: a window of local_size x local_size around the pixel; the mean divides by the window's area as Caffe's
    average pooling does, and k is 1.  local_size is odd.
    """

    region: Region
    local_size: int = 5
    alpha: float = 1.0
    beta: float = 0.75
    k: float = 1.0

    def __post_init__(self) -> None:
        if not (1 <= self.local_size <= MAX_SIDE and self.local_size % 2):
            raise InputError(f"local_size is {self.local_size}; an odd number is needed.")
        if not all(math.isfinite(v) for v in (self.alpha, self.beta, self.k)):
            raise InputError(f"alpha {self.alpha}, beta {self.beta} and k {self.k} must be finite.")


def _same_channels(shape: Shape, channels: int) -> Shape:
    if shape[0] != channels:
        raise InputError(f"the input has {shape[0]} channels; the layer has numbers for {channels}.")
    return shape
