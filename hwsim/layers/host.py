"""Layers that run on the host in float, and say so: softmax, and an LRN beside the integer one of lrn.py."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np

from hwsim.arith.minifloat import infinity_code, nan_code
from hwsim.arith.overflow import Overflow, fits
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.contract.mac import Output
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint, Minifloat
from hwsim.layers.base import AnyOutput, Bounds, Cell, Codes, Events, Real, Requantized, Unchanged
from hwsim.layers.float_output import finish_exact
from hwsim.layers.float_values import check_real, check_stage, has_float, integer_format, integer_output, words

MAX_SQUARED_BITS = 24  # the squares of 2**15 neighbours and more then sum up within int64


class Region(IntEnum):
    """Which neighbours an LRN sums: the channels beside, or the pixels around, in the same channel."""

    ACROSS_CHANNELS = 0
    WITHIN_CHANNEL = 1


def neighbours(region: Region, local_size: int, image: Sequence, at: tuple[int, int, int]) -> list[int]:
    """Return the codes around (k, y, x) whose squares an LRN sums, those that exist, in the order (c, y, x)."""
    (k, y, x), reach = at, local_size // 2
    if region == Region.ACROSS_CHANNELS:
        return [image[c][y][x] for c in range(max(k - reach, 0), min(k + reach + 1, len(image)))]
    plane = image[k]
    rows = range(max(y - reach, 0), min(y + reach + 1, len(plane)))
    columns = range(max(x - reach, 0), min(x + reach + 1, len(plane[0])))
    return [plane[row][column] for row in rows for column in columns]


def check_lrn(kind: str, local_size: object, alpha: float, beta: float, k: float) -> None:
    """Refuse a size that has no middle, and constants whose powers float64 does not hold."""
    if not isinstance(local_size, int) or local_size < 1 or local_size % 2 == 0:
        raise ContractError(f"{kind}.local_size: found {local_size!r}, allowed an odd number.")
    if not (0 <= alpha <= 2.0**32 and 0 <= beta <= 16 and 2.0**-32 <= k <= 2.0**32):
        raise ContractError(
            f"{kind}: alpha {alpha!r}, beta {beta!r}, k {k!r}; allowed alpha in 0..2**32, beta in 0..16, "
            f"k in 2**-32..2**32: float64 then holds every power."
        )


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
    Squares of fixed-point codes are summed exactly; of minifloats in float64, along rows and then columns, first to last. The
    format of a minifloat output decides an overflow, which is an event.
    """

    format: Real
    region: Region
    local_size: int
    alpha: float
    beta: float
    k: float
    output: AnyOutput

    kind: ClassVar[str] = "host_lrn"

    def __post_init__(self) -> None:
        check_real("host_lrn.format", self.format, MAX_SQUARED_BITS)
        check_stage(self.kind, self.output)
        self.rounding  # noqa: B018  refuse now what this layer cannot draw
        if self.output.activation != Activation.NONE:
            raise ContractError(
                f"host_lrn.output.activation: found {self.output.activation!r}, allowed NONE; put a relu behind it."
            )
        check_lrn(self.kind, self.local_size, self.alpha, self.beta, self.k)

    @property
    def rounding(self) -> Rounding:
        """Where ties go."""
        return self.output.fixed_rounding(self.kind) if isinstance(self.output, Output) else self.output.rounding

    @property
    def in_floats(self) -> bool:
        """Whether a minifloat enters or leaves."""
        return has_float((self.format, self.output.format))

    def _real(self, code: int, squares: int) -> float:
        """Return the normalised value from a code and the exact sum of its neighbours' squared codes."""
        fl = integer_format(self.kind, self.format).fl()
        base = self.k + self.alpha / self._count * math.ldexp(float(squares), -2 * fl)
        return math.ldexp(float(code), -fl) * inverse_power(base, self.beta)

    @property
    def _overflow(self) -> Overflow:
        """What becomes of a value that does not fit: TRAP leaves it as WRAP does, since who runs the layer stops."""
        overflow = integer_output(self.kind, self.output).overflow
        return Overflow.WRAP if overflow == Overflow.TRAP else overflow

    @property
    def bounds(self) -> Bounds:
        """The divisor is at least k**beta, so |output| <= |x| * k**-beta."""
        read, f, mode = self.format, self.output.format, self.rounding
        if not isinstance(read, FixedPoint) or not isinstance(f, FixedPoint):
            return words(self.output)
        most = inverse_power(self.k, self.beta)
        low, high = (math.ldexp(float(code), -read.fl()) * most for code in (read.low, read.high))
        return Bounds(None, (f.round_real(low, mode), f.round_real(high, mode)))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output: exact integer squares, then float64."""
        image = inputs[0][n]
        if self.in_floats:
            codes, events = self._encoded(np.array(self._real_of(image, k, y, x)))
            return Cell(int(codes), None, Events(0, events))
        squares = sum(c * c for c in neighbours(self.region, self.local_size, image, (k, y, x)))
        real = self._real(image[k][y][x], squares)
        output = integer_output(self.kind, self.output)
        f = output.format
        rounded = f.round_real(real, self.rounding)
        event = 0 if fits(rounded, output.low, output.high) else 1
        return Cell(f.fit(rounded, self._overflow), None, Events(0, event))

    def compute(self, codes: np.ndarray) -> tuple[np.ndarray, int]:
        """All outputs at once: codes [N][C][H][W] in; output codes and events out. The same float64 operations as spec."""
        if self.in_floats:
            return self._encoded(self._reals(codes))
        sums = codes.astype(np.int64) ** 2
        reach = self.local_size // 2
        axes = (1,) if self.region == Region.ACROSS_CHANNELS else (2, 3)
        for axis in axes:
            sums = _moving_sum(sums, axis, reach)
        fl = integer_format(self.kind, self.format).fl()
        base = self.k + self.alpha / self._count * np.ldexp(sums.astype(np.float64), -2 * fl)
        real = np.ldexp(codes.astype(np.float64), -fl) * _inverse_powers(base, self.beta)
        output = integer_output(self.kind, self.output)
        return output.format.encode_array(real, self.rounding, self._overflow), _events(real, output)

    # ---- with a minifloat on either side

    def _real_of(self, image: Sequence, k: int, y: int, x: int) -> float:
        """Return one normalised value. The squares are added one by one: Python's own sum of floats compensates since 3.12."""
        total = 0.0
        for code in neighbours(self.region, self.local_size, image, (k, y, x)):
            value = float(self.format.to_real(np.array(code)))
            total += value * value
        power = _inverse_powers(np.array([self.k + self.alpha / self._count * total]), self.beta)
        return float(self.format.to_real(np.array(image[k][y][x]))) * float(power[0])

    @property
    def _count(self) -> int:
        return self.local_size if self.region == Region.ACROSS_CHANNELS else self.local_size**2

    def _reals(self, codes: np.ndarray) -> np.ndarray:
        """Return all normalised values, by the same operations in the same order."""
        across = self.region == Region.ACROSS_CHANNELS
        extents = codes.shape[1:2] if across else codes.shape[2:]
        reach = self.local_size // 2
        places = [range(-min(reach, e), min(reach, e) + 1) for e in extents]
        with np.errstate(over="ignore", invalid="ignore"):  # squares beyond float64 are infinity, and infinity * 0 is NaN
            real = self.format.to_real(codes)
            squares, total = real * real, np.zeros(real.shape)
            for offsets in itertools.product(*places):
                total += _shifted(squares, (*offsets, 0, 0) if across else offsets)
            return np.asarray(real * _inverse_powers(self.k + self.alpha / self._count * total, self.beta))

    def _encoded(self, real: np.ndarray) -> tuple[np.ndarray, int]:
        """Return the codes and the events; NaN and infinity become what a cast makes of them."""
        output, f = self.output, self.output.format
        finite = np.where(np.isfinite(real), real, 0.0)
        events = _events(real, output)
        if isinstance(f, FixedPoint):
            ends = np.where(real > 0, output.high, np.where(real < 0, output.low, 0))  # type: ignore[union-attr]
            codes = f.encode_array(finite, self.rounding, self._overflow)
            return np.where(np.isfinite(real), codes, ends).astype(f.dtype), events + int((~np.isfinite(real)).sum())
        assert isinstance(f, Minifloat)  # check_real
        codes = f.encode_array(finite, self.rounding)
        infinite = np.where(np.signbit(real), infinity_code(1, f.layout), infinity_code(0, f.layout))
        codes = np.where(np.isinf(real), infinite, np.where(np.isnan(real), nan_code(f.layout), codes))
        return codes.astype(f.dtype), events


def _events(real: np.ndarray, output: AnyOutput) -> int:
    """Return how many finite values do not fit the output once rounded."""
    if isinstance(output, Output):
        wide = FixedPoint(60, output.format.fl()).encode_array(real[np.isfinite(real)], output.fixed_rounding("host_lrn"))
        return int(np.count_nonzero((wide < output.low) | (wide > output.high)))
    beyond = real[np.isfinite(real) & (np.abs(real) > float(output.format.largest))]
    parts = (math.frexp(value) for value in beyond.tolist())
    return sum(finish_exact(int(math.ldexp(mantissa, 53)), exponent - 53, output)[1] for mantissa, exponent in parts)


def _shifted(values: np.ndarray, offsets: tuple[int, ...]) -> np.ndarray:
    """Return the values so far further along the last axes, 0 beyond their ends."""
    out = np.zeros_like(values)
    spans = [(max(o, 0), min(e + o, e)) for o, e in zip(offsets, values.shape[-len(offsets) :], strict=True)]
    if all(low < high for low, high in spans):
        source = tuple(slice(low, high) for low, high in spans)
        target = tuple(slice(low - o, high - o) for (low, high), o in zip(spans, offsets, strict=True))
        lead = (slice(None),) * (values.ndim - len(spans))
        out[lead + target] = values[lead + source]
    return out


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

    format: Real

    kind: ClassVar[str] = "softmax"

    def __post_init__(self) -> None:
        check_real("softmax.format", self.format)

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
