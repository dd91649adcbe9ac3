"""Operations on the neighbours of each pixel or channel, without weights: pooling and local response normalization."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from hwsim.errors import InputError
from hwsim.layers.pool import CountRule, pooled_extent
from hwsim.network.ops_base import Op, Pair, Shape, end_padding, pair
from hwsim.network.preprocessing import MAX_SIDE


class PoolMethod(Enum):
    """Which number stands for a window."""

    MAX = "max"
    AVERAGE = "average"


class Region(Enum):
    """Over which neighbours local response normalization sums squares."""

    ACROSS = "across channels"
    WITHIN = "within channel"


@dataclass(frozen=True)
class Pooling(Op):
    """y[c, y, x] = maximum or average of a window of x[c]; each channel alone.

    ceil_mode: the number of windows is rounded up, less those that would start beyond the input and its padding
    (as Caffe has it).  count: what an average is divided by.  global_pooling: one window covers the whole input,
    and kernel, stride and pad are not used.  pad_end: padding below and to the right where it differs from pad.

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
    pad_end: Pair | None = None

    def __post_init__(self) -> None:
        for field, low in (("kernel", 1), ("stride", 1), ("pad", 0)):
            pair(self, field, low)
        end_padding(self)
        for pad in (self.pad, self.pad_end or self.pad):
            if any(p >= k for p, k in zip(pad, self.kernel, strict=True)):
                raise InputError(f"pad {pad} must be smaller than the kernel {self.kernel}: padding alone has no value.")

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, *sides = inputs[0]
        if self.global_pooling:
            return channels, 1, 1
        steps = zip(sides, self.kernel, self.stride, self.pad, self.pad_end or self.pad, strict=True)
        rows, columns = (pooled_extent(side, k, s, p, self.ceil_mode, end) for side, k, s, p, end in steps)
        return channels, rows, columns


@dataclass(frozen=True)
class LRN(Op):
    """y = x / (k + alpha * mean of x^2 over the region) ^ beta.

    ACROSS: local_size channels around c, the mean divides by local_size, and missing channels count as 0.
    WITHIN: a window of local_size x local_size around the pixel; the mean divides by the window's area as Caffe's
    average pooling does, and k is 1.  local_size is odd.
    stepped: where this becomes minifloats, every step is rounded to the format (ACROSS; Ristretto's type LRNRistretto).
    """

    region: Region
    local_size: int = 5
    alpha: float = 1.0
    beta: float = 0.75
    k: float = 1.0
    stepped: bool = False

    def __post_init__(self) -> None:
        if not (1 <= self.local_size <= MAX_SIDE and self.local_size % 2):
            raise InputError(f"local_size is {self.local_size}; an odd number is needed.")
        if not all(math.isfinite(v) for v in (self.alpha, self.beta, self.k)):
            raise InputError(f"alpha {self.alpha}, beta {self.beta} and k {self.k} must be finite.")
