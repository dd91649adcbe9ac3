"""Operations on each number alone, or on numbers at one place of several tensors: activations, sums, batch norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwsim.errors import InputError
from hwsim.network.ops_base import Op, Shape, same_channels, vector, weights


@dataclass(frozen=True)
class ReLU(Op):
    """y = max(x, 0) + negative_slope * min(x, 0)."""

    negative_slope: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.negative_slope):
            raise InputError(f"negative_slope is {self.negative_slope}; it must be finite.")


@dataclass(frozen=True, eq=False)
class PReLU(Op):
    """y[c] = max(x[c], 0) + slope[c] * min(x[c], 0).

    slope: one number per channel, or a single one for all.
    """

    slope: np.ndarray

    def __post_init__(self) -> None:
        weights(self, "slope", 1)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0] if self.slope.size == 1 else same_channels(inputs[0], self.slope.size)


@dataclass(frozen=True)
class Clip(Op):
    """y = min(max(x, low), high); None: no limit on that side.

    >>> Clip(0.0, 6.0)  # ReLU6
    Clip(low=0.0, high=6.0)
    """

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.low, self.high) if limit is not None]
        if not all(math.isfinite(limit) for limit in limits) or limits != sorted(limits):
            raise InputError(f"the limits {self.low} and {self.high} must be finite and in order.")


@dataclass(frozen=True)
class Sigmoid(Op):
    """y = 1 / (1 + exp(-x))."""


@dataclass(frozen=True)
class Tanh(Op):
    """y = tanh(x)."""


class Eltwise(Op):
    """What operations on several tensors of one shape share."""

    inputs: ClassVar[tuple[int, int | None]] = (2, None)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        if len(set(inputs)) != 1:
            raise InputError(f"the inputs {', '.join(map(str, inputs))} differ in shape.")
        return inputs[0]


@dataclass(frozen=True)
class EltwiseSum(Eltwise):
    """y = sum of the inputs, all of one shape."""


@dataclass(frozen=True)
class EltwiseMax(Eltwise):
    """y = largest of the inputs, all of one shape."""


@dataclass(frozen=True)
class EltwiseProduct(Eltwise):
    """y = product of the inputs, all of one shape; an input of shape (C, 1, 1) has one factor per channel.

    >>> EltwiseProduct().output_shape(((3, 5, 7), (3, 1, 1)))
    (3, 5, 7)
    """

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        whole = max(inputs, key=math.prod)
        return super().output_shape(tuple(shape for shape in inputs if shape != (whole[0], 1, 1)) or (whole,))


@dataclass(frozen=True)
class Softmax(Op):
    """y[c] = exp(x[c]) / sum of exp(x) over the channels."""


@dataclass(frozen=True)
class Dropout(Op):
    """y = x: dropout acts in training only."""


@dataclass(frozen=True, eq=False)
class BatchNorm(Op):
    """y[c] = (x[c] - mean[c]) / sqrt(variance[c] + epsilon)."""

    mean: np.ndarray
    variance: np.ndarray
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        vector(self, "variance", weights(self, "mean", 1).size)
        if not 0 <= self.epsilon < math.inf or not (self.variance + np.float64(self.epsilon) > 0).all():
            raise InputError(f"variance + epsilon ({self.epsilon}) must be positive in every channel.")

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return same_channels(inputs[0], self.mean.size)


@dataclass(frozen=True, eq=False)
class Scale(Op):
    """y[c] = x[c] * factor[c] + bias[c]."""

    factor: np.ndarray
    bias: np.ndarray | None = None

    def __post_init__(self) -> None:
        vector(self, "bias", weights(self, "factor", 1).size)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return same_channels(inputs[0], self.factor.size)
