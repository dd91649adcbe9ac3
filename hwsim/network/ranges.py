"""From what calibration saw to a number format: the range of a tensor, and the rules that turn it into a FixedPoint.

Stored with the network, so that any width can be chosen later without images: ranges come from float execution and may
differ by processor, so they are never computed again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

import numpy as np

from hwsim.arith.overflow import code_max, code_min
from hwsim.contract.dialects import RangeRule
from hwsim.errors import ContractError
from hwsim.formats.affine import Affine, from_range, symmetric
from hwsim.formats.catalog import E4M3, E5M2, ristretto
from hwsim.formats.fixed import FixedPoint
from hwsim.formats.minifloat import Minifloat
from hwsim.formats.pow2 import MAX_EXPONENT, PowerOfTwo, ZeroCode

NARROWEST, WIDEST = 2, 16
"""Widths for which calibration keeps the fractional length of least squared error."""

SPREAD = 16
"""A channel's fractional length is at most this much above the whole tensor's: a channel of almost nothing gets no shift
that leaves int64."""

SEARCH = 8
"""How many fractional lengths beyond the covering one are tried: clipping to 2**-8 of the range has never paid."""


SHRINKS = tuple(0.5 ** (i / 8) for i in range(25))
"""Parts of a range that are tried for the least squared error: to an eighth of it."""

RISTRETTO_POWERS = PowerOfTwo(-8, -1, ZeroCode.NONE)
"""Ristretto's weights: 1 + 3 bits."""

WIDEST_POWERS = 7
"""Bits of a power of two: 2**6 - 1 exponents and a zero. More would leave the shifts of int64."""

POWER_BITS = 4
"""Bits of a power of two by default: a zero and 7 exponents, as wide as Ristretto's (docs/quantize.md has the others)."""

MINIFLOATS = (replace(E4M3, saturate=True), replace(E5M2, saturate=True))
"""The finest format first: a tensor gets the first that holds what was seen of it (docs/quantize.md has the comparison)."""


class Calibration(Enum):
    """Which part of what was seen a format must hold."""

    MAXIMUM = "maximum"
    PERCENTILE = "percentile"
    LEAST_SQUARES = "least_squares"


def ceil_log2(x: float) -> int:
    """ceil_log2(x) = smallest e with x <= 2**e, for finite x > 0; exact, by frexp.

    >>> ceil_log2(1.0), ceil_log2(1.0000001), ceil_log2(0.25)
    (0, 1, -2)
    """
    mantissa, exponent = math.frexp(x)
    return exponent - 1 if mantissa == 0.5 else exponent


def covering_length(low: float, high: float, bits: int, signed: bool) -> int:
    """Return the largest fl at which saturation costs no more than rounding.

    That is code_min - 1/2 <= low * 2**fl and high * 2**fl <= code_max + 1/2.  low <= 0 <= high, finite.
    A tensor of zeros gets an integer length of 0 beside the sign.

    >>> covering_length(0.0, 1.0, 8, True), covering_length(-1.0, 0.99, 8, True), covering_length(0.0, 0.0, 8, True)
    (6, 7, 7)
    """
    largest = max(high, -low if signed else 0.0)
    if largest == 0:
        return bits - signed
    fl = bits - ceil_log2(largest) + 1  # at least one more than can fit
    ends = Fraction(code_min(bits, signed)) - Fraction(1, 2), Fraction(code_max(bits, signed)) + Fraction(1, 2)
    bottom = Fraction(low) if signed else Fraction(0)
    while Fraction(high) * Fraction(2) ** fl > ends[1] or bottom * Fraction(2) ** fl < ends[0]:
        fl -= 1
    return fl


def ristretto_length(largest: float, bits: int, extra: int) -> int:
    """fl = bits - il, il = ceil(log2(largest) + extra): extra 1 for weights, 0 for inputs and outputs of layers.

    Source: Ristretto for Caffe, quantization.cpp, Quantize2DynamicFixedPoint.  Zeros get il = extra.

    >>> ristretto_length(0.9, 8, 1), ristretto_length(151.0, 8, 0)
    (7, 0)
    """
    return bits - extra - (ceil_log2(largest) if largest else 0)


@dataclass(frozen=True)
class Range:
    """What calibration saw of one tensor, and the rule that its format follows.

    low, high: smallest and largest value, 0 included.  clip_low, clip_high: the same without the values of largest
    magnitude beyond the percentile; in the scheme AFFINE with LEAST_SQUARES, the ends of least squared error.
    least_signed, least_unsigned: fractional length of least squared error for each width of 2..16 bits.  rule, method: how
    format() chooses.
    """

    low: float
    high: float
    clip_low: float
    clip_high: float
    least_signed: tuple[int, ...]
    least_unsigned: tuple[int, ...]
    rule: RangeRule = RangeRule.COVER
    method: Calibration = Calibration.MAXIMUM

    def __post_init__(self) -> None:
        ends = (self.low, self.clip_low, self.clip_high, self.high)
        if not all(math.isfinite(v) for v in ends) or not self.low <= self.clip_low <= 0 <= self.clip_high <= self.high:
            raise ContractError(f"range {ends}: allowed finite numbers low <= clip_low <= 0 <= clip_high <= high.")
        for lengths in (self.least_signed, self.least_unsigned):
            if len(lengths) != WIDEST - NARROWEST + 1 or not all(abs(fl) <= 256 for fl in lengths):
                raise ContractError(f"range: found {lengths}, allowed a fractional length for each of 2..16 bits.")

    @property
    def largest(self) -> float:
        """Largest magnitude."""
        return max(-self.low, self.high)

    def format(self, bits: int, signed: bool) -> FixedPoint:
        """Return the format of `bits` bits that the rule and the method give."""
        return FixedPoint(bits, self._length(bits, signed), signed)

    def symmetric(self, bits: int) -> Affine:
        """Return the affine format with zero point 0 that holds what the method keeps; 1 is the scale of nothing."""
        kept = (self.low, self.high) if self.method == Calibration.MAXIMUM else (self.clip_low, self.clip_high)
        fmt = symmetric(max(-kept[0], kept[1]), bits)
        return Affine(bits, fmt.scale)

    def affine(self, bits: int, signed: bool) -> Affine:
        """Return the affine format of `bits` bits that holds what the method keeps: all, or what lies within the clip's ends."""
        if self.method == Calibration.MAXIMUM:
            return from_range(self.low, self.high, bits, signed)
        return from_range(self.clip_low, self.clip_high, bits, signed)

    def _length(self, bits: int, signed: bool) -> int:
        if self.rule == RangeRule.RISTRETTO:
            return ristretto_length(self.largest, bits, 0)
        if self.method == Calibration.MAXIMUM:
            return covering_length(self.low, self.high, bits, signed)
        if self.method == Calibration.PERCENTILE:
            return covering_length(self.clip_low, self.clip_high, bits, signed)
        kept = min(max(bits, NARROWEST), WIDEST)
        return (self.least_signed if signed else self.least_unsigned)[kept - NARROWEST] + bits - kept


@dataclass(frozen=True)
class WeightRule:
    """How the formats of weights follow from the weights themselves.

    method: MAXIMUM or LEAST_SQUARES (rule COVER only).  per_channel: one fractional length for each output channel.
    """

    rule: RangeRule = RangeRule.COVER
    method: Calibration = Calibration.MAXIMUM
    per_channel: bool = False

    def __post_init__(self) -> None:
        if self.method == Calibration.PERCENTILE:
            raise ContractError("weights: found method PERCENTILE, allowed MAXIMUM or LEAST_SQUARES.")

    def format(self, weight: np.ndarray, bits: int, most: np.ndarray | None = None) -> FixedPoint:
        """Return the weights' format. weight: float [K]....  most: largest fractional length that each channel may have."""
        whole = self._length(weight, bits)
        if not self.per_channel:
            return FixedPoint(bits, whole if most is None else min(whole, int(most.min())))
        lengths = [min(self._length(channel, bits), whole + SPREAD) if channel.any() else whole for channel in weight]
        if most is not None:
            lengths = [min(fl, int(m)) for fl, m in zip(lengths, most, strict=True)]
        return FixedPoint(bits, tuple(lengths))

    def affine(self, weight: np.ndarray, bits: int, signed: bool, least: np.ndarray | None = None) -> Affine:
        """Return the weights' affine format: symmetric if signed, else from smallest and largest; a scale per channel, or one.

        least: smallest scale that each channel may have.  A channel of zeros has the largest scale of the others.
        """
        flat = weight.reshape(len(weight), -1).astype(np.float64)
        if not self.per_channel:
            flat = flat.reshape(1, -1)
        formats = [_weight_range(row, bits, signed, self.method) for row in flat]
        steps = np.array([fmt.step() for fmt in formats])
        some = flat.any(axis=1)
        steps = np.where(some, steps, steps[some].max(initial=0.0) or 1.0)
        if least is not None:
            raised = least if self.per_channel else least.max(initial=0.0, keepdims=True)
            steps = np.where(raised > steps, next_float32(raised), steps)
        zeros = tuple(fmt.zero() for fmt in formats)
        if not self.per_channel:
            return Affine(bits, float(steps[0]), zeros[0], signed, signed)
        return Affine(bits, tuple(steps.tolist()), 0 if signed else zeros, signed, signed)

    def powers(self, weight: np.ndarray, bits: int, most: np.ndarray | None = None) -> PowerOfTwo:
        """Return the powers of two of `bits` bits, a code for zero among them, that reach the one nearest to the largest weight.

        Ristretto's are 2**-8..2**-1 without a zero, whatever the weights; it has no other width.  most: see format().
        """
        if self.rule == RangeRule.RISTRETTO:
            if bits != RISTRETTO_POWERS.bits:
                raise ContractError(f"weights: found {bits} bits, allowed {RISTRETTO_POWERS.bits}: Ristretto's powers of two.")
            return RISTRETTO_POWERS
        if not 2 <= bits <= WIDEST_POWERS:
            raise ContractError(f"weights: found {bits} bits, allowed 2..{WIDEST_POWERS} for powers of two.")
        largest = float(np.abs(weight).max())
        wide = PowerOfTwo(-MAX_EXPONENT, MAX_EXPONENT)
        top = int(wide.fields(wide.encode_array(np.array([largest])))[1][0]) if largest else 0
        floor = -MAX_EXPONENT if most is None else -int(most.min())
        return PowerOfTwo(max(top - (1 << (bits - 1)) + 2, min(floor, top), -MAX_EXPONENT), top)

    def _length(self, values: np.ndarray, bits: int) -> int:
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        if self.rule == RangeRule.RISTRETTO:
            return ristretto_length(max(-low, high), bits, 1)
        cover = covering_length(low, high, bits, True)
        if self.method == Calibration.MAXIMUM:
            return cover
        return min(range(cover, cover + SEARCH + 1), key=lambda fl: squared_error(values, FixedPoint(bits, fl)))


def _weight_range(values: np.ndarray, bits: int, signed: bool, method: Calibration) -> Affine:
    """The format of one channel's weights, or of all: what holds them, or shrunk to the least squared error."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)

    def shrunk(part: float) -> Affine:
        return symmetric(max(-low, high) * part, bits) if signed else from_range(low * part, high * part, bits, signed)

    if method == Calibration.MAXIMUM or low == high:
        return shrunk(1.0)
    return min(map(shrunk, SHRINKS), key=lambda fmt: affine_error(values, fmt))


def affine_error(values: np.ndarray, fmt: Affine) -> float:
    """Return the sum of (value - what the format keeps of it)**2, in float64."""
    kept = np.clip(np.rint(values / fmt.step()) + fmt.zero(), fmt.low, fmt.high) - fmt.zero()
    return float(np.square(values - kept * fmt.step()).sum())


def next_float32(values: np.ndarray) -> np.ndarray:
    """Return the float32 numbers right above, as float64."""
    return np.nextafter(values.astype(np.float32), np.float32(np.inf)).astype(np.float64)


def covering_minifloat(largest: float) -> Minifloat:
    """Return the first of MINIFLOATS whose numbers reach `largest`, else the last.

    >>> covering_minifloat(448.0).man_bits, covering_minifloat(449.0).man_bits, covering_minifloat(1e9).man_bits
    (3, 2, 2)
    """
    return next((fmt for fmt in MINIFLOATS if largest <= fmt.largest), MINIFLOATS[-1])


def ristretto_minifloat(largest: float, bits: int) -> Minifloat:
    """Return Ristretto's minifloat: max(4, ceil(log2(log2(max) - 1) + 1)) bits of exponent, the others of fraction.

    largest: over the inputs and outputs of all layers.  Source: Ristretto for Caffe, quantization.cpp, Quantize2MiniFloat.

    >>> ristretto_minifloat(151.0, 8).exp_bits, ristretto_minifloat(9000.0, 8).exp_bits
    (4, 5)
    """
    above = math.log2(largest) - 1 if largest > 0 else 0.0
    exp_bits = max(4, math.ceil(math.log2(above) + 1)) if above > 0 else 4
    if not 1 + exp_bits < bits:
        raise ContractError(f"minifloat: found {bits} bits, allowed from {exp_bits + 2} with {exp_bits} bits of exponent.")
    return ristretto(exp_bits, bits - 1 - exp_bits)


def squared_error(values: np.ndarray, fmt: FixedPoint) -> float:
    """Return the sum of (value - what the format keeps of it)**2, in float64."""
    real = np.asarray(values, dtype=np.float64)
    kept = np.clip(np.rint(np.ldexp(real, fmt.fl())), fmt.low, fmt.high)
    return float(np.square(real - np.ldexp(kept, -fmt.fl())).sum())
