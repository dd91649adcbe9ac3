"""Layers that run on the host in float, and say so: softmax, and LRN until an integer one is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np

from hwsim.arith.overflow import Overflow, fits
from hwsim.arith.rounding import Rounding
from hwsim.contract.mac import Output, check_format
from hwsim.errors import ContractError
from hwsim.formats.fixed import FixedPoint
from hwsim.layers.base import Bounds, Cell, Codes, Events, Requantized, Unchanged

MAX_SQUARED_BITS = 24  # the squares of 2**15 neighbours and more then sum up within int64


class Region(IntEnum):
    """Which neighbours an LRN sums: the channels beside, or the pixels around, in the same channel."""

    ACROSS_CHANNELS = 0
    WITHIN_CHANNEL = 1


def inverse_power(base: float, beta: float) -> float:
    """inverse_power(b) = b**-beta; 0.75 and 0.5 by square roots, which IEEE 754 rounds alike on every machine."""
    if beta == 0.75:
        root = math.sqrt(base)
        return 1.0 / (root * math.sqrt(root))
    if beta == 0.5:
        return 1.0 / math.sqrt(base)
    return base**-beta


@dataclass(frozen=True)
class HostLRN(Requantized):
    """real = x * (k + alpha / n * sum of squares of n neighbours)**-beta, in float64 on the host, encoded again.

    local_size n: odd.  WITHIN_CHANNEL: n x n pixels, zeros outside the image count.  Source: Caffe lrn_layer.cpp.
    """

    format: FixedPoint
    region: Region
    local_size: int
    alpha: float
    beta: float
    k: float
    output: Output

    kind: ClassVar[str] = "host_lrn"

    def __post_init__(self) -> None:
        check_format("host_lrn.format", self.format, MAX_SQUARED_BITS)
        self.rounding  # noqa: B018  refuse now what this layer cannot draw
        if not isinstance(self.local_size, int) or self.local_size < 1 or self.local_size % 2 == 0:
            raise ContractError(f"host_lrn.local_size: found {self.local_size!r}, allowed an odd number.")
        if not (0 <= self.alpha <= 2.0**32 and 0 <= self.beta <= 16 and 2.0**-32 <= self.k <= 2.0**32):
            raise ContractError(
                f"host_lrn: alpha {self.alpha!r}, beta {self.beta!r}, k {self.k!r}; allowed alpha in 0..2**32, beta in 0..16, "
                f"k in 2**-32..2**32: float64 then holds every power."
            )

    @property
    def rounding(self) -> Rounding:
        """Where ties go."""
        return self.output.fixed_rounding(self.kind)

    def _neighbours(self, image: Sequence, k: int, y: int, x: int) -> list[int]:
        reach = self.local_size // 2
        if self.region == Region.ACROSS_CHANNELS:
            return [image[c][y][x] for c in range(max(k - reach, 0), min(k + reach + 1, len(image)))]
        plane = image[k]
        rows = range(max(y - reach, 0), min(y + reach + 1, len(plane)))
        columns = range(max(x - reach, 0), min(x + reach + 1, len(plane[0])))
        return [plane[row][column] for row in rows for column in columns]

    def _real(self, code: int, squares: int) -> float:
        """Return the normalised value from a code and the exact sum of its neighbours' squared codes."""
        count = self.local_size if self.region == Region.ACROSS_CHANNELS else self.local_size**2
        fl = self.format.fl()
        base = self.k + self.alpha / count * math.ldexp(float(squares), -2 * fl)
        return math.ldexp(float(code), -fl) * inverse_power(base, self.beta)

    @property
    def _overflow(self) -> Overflow:
        """What becomes of a value that does not fit: TRAP leaves it as WRAP does, since who runs the layer stops."""
        return Overflow.WRAP if self.output.overflow == Overflow.TRAP else self.output.overflow

    @property
    def bounds(self) -> Bounds:
        """The divisor is at least k**beta, so |output| <= |x| * k**-beta."""
        most = inverse_power(self.k, self.beta)
        low, high = (math.ldexp(float(code), -self.format.fl()) * most for code in (self.format.low, self.format.high))
        f, mode = self.output.format, self.rounding
        return Bounds(None, (f.round_real(low, mode), f.round_real(high, mode)))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output: exact integer squares, then float64."""
        image = inputs[0][n]
        squares = sum(c * c for c in self._neighbours(image, k, y, x))
        real = self._real(image[k][y][x], squares)
        f = self.output.format
        rounded = f.round_real(real, self.rounding)
        event = 0 if fits(rounded, self.output.low, self.output.high) else 1
        return Cell(f.fit(rounded, self._overflow), None, Events(0, event))

    def compute(self, codes: np.ndarray) -> tuple[np.ndarray, int]:
        """All outputs at once: codes [N][C][H][W] in; output codes and events out. The same float64 operations as spec."""
        sums = codes.astype(np.int64) ** 2
        reach = self.local_size // 2
        axes = (1,) if self.region == Region.ACROSS_CHANNELS else (2, 3)
        for axis in axes:
            sums = _moving_sum(sums, axis, reach)
        count = self.local_size if self.region == Region.ACROSS_CHANNELS else self.local_size**2
        fl = self.format.fl()
        base = self.k + self.alpha / count * np.ldexp(sums.astype(np.float64), -2 * fl)
        real = np.ldexp(codes.astype(np.float64), -fl) * _inverse_powers(base, self.beta)
        f, output = self.output.format, self.output
        wide = FixedPoint(60, f.fl()).encode_array(real, self.rounding)
        events = int(np.count_nonzero((wide < output.low) | (wide > output.high)))
        return f.encode_array(real, self.rounding, self._overflow), events


def _moving_sum(values: np.ndarray, axis: int, reach: int) -> np.ndarray:
    """sum of the values at distance 0..reach on both sides along an axis; outside is 0."""
    extent = values.shape[axis]
    reach = min(reach, extent)  # a reach from a file may be of any size; beyond the array there is nothing to sum
    front = [(1, 0) if i == axis else (0, 0) for i in range(values.ndim)]
    ends = np.cumsum(np.pad(values, front), axis=axis)
    places = np.arange(extent)
    above, below = np.minimum(places + reach + 1, extent), np.maximum(places - reach, 0)
    return np.take(ends, above, axis=axis) - np.take(ends, below, axis=axis)


def _inverse_powers(base: np.ndarray, beta: float) -> np.ndarray:
    if beta == 0.75:
        root = np.sqrt(base)
        return 1.0 / (root * np.sqrt(root))
    if beta == 0.5:
        return 1.0 / np.sqrt(base)
    return np.array([b**-beta for b in base.ravel().tolist()]).reshape(base.shape)


@dataclass(frozen=True)
class Softmax(Unchanged):
    """real = exp(x - max) / sum, over channels, in float64 on the host. The codes pass unchanged: argmax is the codes' own."""

    format: FixedPoint

    kind: ClassVar[str] = "softmax"

    def __post_init__(self) -> None:
        check_format("softmax.format", self.format)

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """The logit's code."""
        return Cell(inputs[0][n][k][y][x], None, Events())

    def compute(self, codes: np.ndarray) -> tuple[np.ndarray, int]:
        """The logits' codes, unchanged; no events."""
        return codes, 0

    def probabilities(self, codes: np.ndarray) -> np.ndarray:
        """float64 probabilities of codes [N][C][H][W] over the channels."""
        real = self.format.to_real(codes)
        power = np.exp(real - real.max(axis=1, keepdims=True))
        return power / power.sum(axis=1, keepdims=True)
