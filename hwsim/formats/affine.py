"""Affine codes: TensorFlow's (scale, zero point), for a whole tensor or one scale for each output channel of the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding, round_ratio, round_shift
from hwsim.errors import ContractError
from hwsim.formats.integer import IntegerFormat, along, check_int, finite_float64

MAX_AFFINE_BITS = 64
SMALLEST = float(np.finfo(np.float32).tiny)
"""The scale of a range that is smaller than every normal float32."""


@dataclass(frozen=True)
class Affine(IntegerFormat):
    """real = (code - zero_point) * scale.

    bits: 2..64, the sign bit included (unsigned: <= 62).  scale: positive and finite; zero_point: a code. Either may be a
    tuple, one for each output channel.  narrow: the smallest code is not used, so that signed codes are symmetric.
    Arithmetic sees the integers code - zero_point, hence fl() = 0: what they are worth is the contract's Multiplier to keep.

    >>> f = Affine(8, 0.5, 3)
    >>> f.decode(-128), f.encode(0.0), f.low, Affine(8, 0.5, narrow=True).low
    (Fraction(-131, 2), 3, -128, -127)
    """

    bits: int
    scale: float | tuple[float, ...]
    zero_point: int | tuple[int, ...] = 0
    signed: bool = True
    narrow: bool = False

    def __post_init__(self) -> None:
        check_int("Affine.bits", self.bits, 2, MAX_AFFINE_BITS if self.signed else MAX_AFFINE_BITS - 2)
        for name in ("signed", "narrow"):
            if not isinstance(getattr(self, name), bool):
                raise ContractError(f"Affine.{name}: found {getattr(self, name)!r}, allowed True or False.")
        object.__setattr__(self, "bits", int(self.bits))
        scale, zeros = _entries(self.scale), _entries(self.zero_point)
        for value in scale:
            if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)) or not 0 < value < math.inf:
                raise ContractError(f"Affine.scale: found {value!r}, allowed a finite number above 0.")
        for value in zeros:
            check_int("Affine.zero_point", value, self.low, self.high)
        if min(len(scale), len(zeros)) > 1 and len(scale) != len(zeros):
            raise ContractError(f"Affine.zero_point: found {len(zeros)} for {len(scale)} scales; give one, or one for each.")
        many = max(len(scale), len(zeros)) > 1  # a single entry beside several stands for all of them
        object.__setattr__(self, "scale", _like(self.scale, tuple(float(v) for v in scale), many))
        object.__setattr__(self, "zero_point", _like(self.zero_point, tuple(int(v) for v in zeros), many))

    @property
    def low(self) -> int:
        """Smallest code."""
        return super().low + self.narrow

    @property
    def per_channel(self) -> bool:
        """True if each output channel has its own scale or zero point."""
        return isinstance(self.scale, tuple) or isinstance(self.zero_point, tuple)

    @property
    def channels(self) -> int | None:
        """Number of output channels that are told apart; None where all are alike."""
        sizes = [len(value) for value in (self.scale, self.zero_point) if isinstance(value, tuple)]
        return max(sizes, default=None)

    def fl(self, channel: int = 0) -> int:
        """fl(k) = 0: integers."""
        return 0

    def lengths(self, channels: int) -> tuple[int, ...]:
        """Return 0 for each of `channels` output channels; ContractError where their number differs."""
        if self.channels not in (None, channels):
            raise ContractError(
                f"Affine.scale: found {self.channels} channels for {channels} output channels; give one scale, or one for each."
            )
        return (0,) * channels

    def zero(self, channel: int = 0) -> int:
        """zero(k) = zero_point of output channel k."""
        return self.zero_point[channel] if isinstance(self.zero_point, tuple) else self.zero_point

    def step(self, channel: int = 0) -> float:
        """step(k) = scale of output channel k."""
        return self.scale[channel] if isinstance(self.scale, tuple) else self.scale

    def zeros(self, channels: int) -> tuple[int, ...]:
        """Return the zero point of each of `channels` output channels."""
        self.lengths(channels)
        return tuple(self.zero(k) for k in range(channels))

    def decode(self, code: int, channel: int = 0) -> Fraction:
        """decode(code) = (code - zero_point) * scale, exactly."""
        return (int(code) - self.zero(channel)) * Fraction(self.step(channel))

    def to_real(self, codes: np.ndarray, axis: int = 0) -> np.ndarray:
        """Return the float64 values of codes: one rounding each; channels of a per-channel format lie on `axis`."""
        codes = np.asarray(codes)
        scale, zero = self._broadcast(codes.ndim, axis)
        return (codes.astype(np.float64) - zero) * scale

    def encode(
        self,
        real: float | Fraction,
        rounding: Rounding = Rounding.TIES_AWAY,
        overflow: Overflow = Overflow.SATURATE,
        channel: int = 0,
    ) -> int:
        """encode(real) = fit(round(real / scale) + zero_point): exact, from any finite float or Fraction."""
        return self.fit(self.round_real(real, rounding, channel), overflow)

    def round_real(self, real: float | Fraction, rounding: Rounding = Rounding.TIES_AWAY, channel: int = 0) -> int:
        """round_real(real) = round(real / scale) + zero_point, before any overflow."""
        if isinstance(real, np.floating):
            real = float(real)
        if isinstance(real, float) and not math.isfinite(real):
            raise ContractError(f"Affine.encode: found {real!r}; only finite values have a code.")
        scaled = Fraction(real) / Fraction(self.step(channel))
        return round_ratio(scaled.numerator, scaled.denominator, rounding) + self.zero(channel)

    def encode_array(
        self,
        real: np.ndarray,
        rounding: Rounding = Rounding.TIES_AWAY,
        overflow: Overflow = Overflow.SATURATE,
        axis: int = 0,
    ) -> np.ndarray:
        """encode_array(real)[i] = encode(real[i]): codes of dtype `self.dtype`, channels on `axis`.

        Exact: a correctly rounded quotient lies on the same side of every integer and every half as the true one, or on it;
        only where it lies on one is the sign of the remainder taken, in ints.

        >>> Affine(8, 0.5, 3).encode_array(np.array([0.0, 0.25, -0.25, 100.0]))
        array([  3,   4,   2, 127], dtype=int8)
        """
        real = finite_float64("Affine.encode_array", real)
        scale, zero = (np.broadcast_to(part, real.shape) for part in self._broadcast(real.ndim, axis))
        with np.errstate(over="ignore"):
            quotient = real / scale
        far = np.abs(quotient) >= FAR
        rounded = round_shift(quarters(np.where(far, 0.0, real), scale), 2, rounding) + zero.astype(np.int64)
        codes = self._fitted(rounded, overflow)
        for at in map(tuple, np.argwhere(far)):
            codes[at] = self.encode(float(real[at]), rounding, overflow, int(at[axis]) if self.per_channel else 0)
        return codes

    def _fitted(self, values: np.ndarray, overflow: Overflow) -> np.ndarray:
        """fit, for int64."""
        limited = np.clip(values, self.low_limit(overflow), self.high)
        if overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
            return limited.astype(self.dtype)
        for at in map(tuple, np.argwhere(limited != values)):
            limited[at] = self.fit(int(values[at]), overflow)
        return limited.astype(self.dtype)

    def low_limit(self, overflow: Overflow) -> int:
        """Return the smallest code that the overflow mode lets through."""
        return max(self.low, super().low_limit(overflow))

    def _broadcast(self, ndim: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
        scale, zero = np.asarray(self.scale, dtype=np.float64), np.asarray(self.zero_point, dtype=np.float64)
        return (along(scale, ndim, axis) if scale.ndim else scale), (along(zero, ndim, axis) if zero.ndim else zero)

    def __str__(self) -> str:
        sign = "s" if self.signed else "u"
        scale = f"{min(self.scale):g}..{max(self.scale):g} per channel" if isinstance(self.scale, tuple) else f"{self.scale:g}"
        zeros = set(_entries(self.zero_point))
        return f"{sign}{self.bits} scale {scale} zero {min(zeros)}" + (f"..{max(zeros)}" if len(zeros) > 1 else "")


FAR = 1 << 50
"""Quotients from here on are divided one by one: their halves and quarters would leave float64."""


def quarters(real: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """quarters(real) = an int64 that rounds, two bits dropped, as real / scale does: 4 floor, plus 0, 1, 2, 3 for what is left.

    0: an integer; 2: a half; 1 and 3: between them.  |real / scale| < 2**50.

    >>> quarters(np.array([0.0, 1.0, 1.5, 1.75, -0.5]), np.array(1.0)).tolist()
    [0, 4, 6, 7, -2]
    """
    quotient = real / scale
    floor = np.floor(quotient)
    rest = quotient - floor
    found = 4 * floor.astype(np.int64) + (rest > 0) + (rest >= 0.5) + (rest > 0.5)
    on = np.nonzero((rest == 0) | (rest == 0.5))
    found[on] += _remainder_sign(real[on], quotient[on], np.broadcast_to(scale, real.shape)[on])
    return found


def _remainder_sign(real: np.ndarray, quotient: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The sign of real - quotient * scale, exactly; 2 * quotient is an integer."""
    (x, x_exponent), (s, s_exponent) = _integers(real), _integers(scale)
    halves = (2 * quotient).astype(np.int64).astype(object)
    shift = (x_exponent + 1 - s_exponent).astype(object)
    left = [m << max(int(d), 0) for m, d in zip(x, shift, strict=True)]
    right = [h * m << max(-int(d), 0) for h, m, d in zip(halves, s, shift, strict=True)]
    return np.array([(a > b) - (a < b) for a, b in zip(left, right, strict=True)], dtype=np.int64)


def _integers(values: np.ndarray) -> tuple[list[int], np.ndarray]:
    """(m, e) with value = m * 2**e, m of at most 53 bits."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(mantissa, 53).astype(np.int64).tolist(), exponent.astype(np.int64) - 53


def from_range(low: float, high: float, bits: int = 8, signed: bool = True, narrow: bool = False) -> Affine:
    """scale = (high - low) / (codes - 1), with low <= 0 <= high made so first, and zero_point the code nearest to real 0.

    Real 0 is then exact.  The zero point is rounded from whichever end of the range it fits better, as TensorFlow does;
    an empty range takes scale 1.  scale is a float32, as files keep it.
    Source: TensorFlow Lite, ChooseQuantizationParams (kernels/internal/quantization_util.h).

    >>> f = from_range(-1.0, 1.5, signed=False)
    >>> f.zero_point, f.decode(f.zero_point), f.scale
    (102, Fraction(0, 1), 0.009803921915590763)
    """
    shape = Affine(bits, 1.0, signed=signed, narrow=narrow)
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ContractError(f"affine range: found {low!r}..{high!r}; allowed are finite ends.")
    if low == high:
        return Affine(bits, 1.0, min(max(0, shape.low), shape.high), signed, narrow)
    exact = (high - low) / (shape.high - shape.low)
    with np.errstate(over="ignore"):
        scale = float(np.float32(exact)) or SMALLEST
    if not math.isfinite(scale) or exact == 0.0:
        raise ContractError(f"affine range: found {low!r}..{high!r}, whose scale no float32 holds; allowed are other ends.")
    from_low, from_high = shape.low - low / exact, shape.high - high / exact
    error_low, error_high = abs(shape.low) + abs(low / exact), abs(shape.high) + abs(high / exact)
    zero = from_low if error_low < error_high else from_high
    nearest = round_ratio(*zero.as_integer_ratio(), Rounding.TIES_AWAY)
    return Affine(bits, scale, min(max(nearest, shape.low), shape.high), signed, narrow)


def symmetric(largest: float | tuple[float, ...], bits: int = 8) -> Affine:
    """scale = largest / (2**(bits-1) - 1), zero point 0, narrow codes: weights, one scale for each channel if several are given.

    A float32; of a channel of zeros it is 1.

    >>> symmetric((1.27, 0.0)).scale
    (0.009999999776482582, 1.0)
    """
    high = (1 << (bits - 1)) - 1
    scales = tuple((float(np.float32(v / high)) or SMALLEST) if v else 1.0 for v in _entries(largest))
    return Affine(bits, scales if isinstance(largest, tuple) else scales[0], narrow=True)


def _entries(value: object) -> tuple:
    if isinstance(value, (tuple, list, np.ndarray)):
        if not len(value):
            raise ContractError("Affine: found no channel at all; give one scale and zero point for each channel.")
        return tuple(value)
    return (value,)


def _like(given: object, values: tuple, many: bool) -> object:
    return values if isinstance(given, (tuple, list, np.ndarray)) and not (many and len(values) == 1) else values[0]
