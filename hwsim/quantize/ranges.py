"""What calibration collects of a tensor: ends and a histogram of bounded size, whatever the number of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.contract.dialects import RangeRule
from hwsim.errors import InputError
from hwsim.formats.affine import Affine, from_range
from hwsim.formats.fixed import FixedPoint
from hwsim.network.ranges import NARROWEST, SEARCH, SHRINKS, WIDEST, Calibration, Range, ceil_log2, covering_length

BINS = 2048
"""Bins on each side of zero: where a step is finer than a bin, rounding is taken as uniform within it."""


class Tally:
    """Ends and histogram of one tensor over all images seen so far.

    The histogram covers +-2**exponent in 2 * BINS bins of one width; when a larger value comes, pairs of bins join and the
    exponent grows, so memory stays what it was.  Zeros are counted apart: every format keeps them exactly.
    """

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0
        self.exponent: int | None = None
        self.counts = np.zeros(2 * BINS, dtype=np.int64)
        self.zeros = 0

    def add(self, values: np.ndarray, name: str = "tensor") -> None:
        """Take in the values of one batch; InputError where one is not finite."""
        flat = np.ascontiguousarray(values, dtype=np.float32).ravel()
        low, high = float(flat.min(initial=0)), float(flat.max(initial=0))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(f"calibration: {name} takes values that are not finite; check the weights, the mean and the scale.")
        self.low, self.high = min(self.low, low), max(self.high, high)
        some = flat[flat != 0]
        self.zeros += flat.size - some.size
        if some.size:
            self._widen(ceil_log2(max(-low, high)))
            assert self.exponent is not None
            place = (np.ldexp(some, 11 - self.exponent) + np.float32(BINS)).astype(np.int32)
            self.counts += np.bincount(np.minimum(place, 2 * BINS - 1), minlength=2 * BINS)

    def _widen(self, exponent: int) -> None:
        if self.exponent is None:
            self.exponent = exponent
        while self.exponent < exponent:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([np.zeros(BINS // 2, np.int64), pairs, np.zeros(BINS // 2, np.int64)])
            self.exponent += 1

    @classmethod
    def union(cls, tallies: Sequence[Tally]) -> Tally:
        """Return the tally of all the tensors together."""
        joint = cls()
        exponents = [t.exponent for t in tallies if t.exponent is not None]
        for tally in tallies:
            joint.low, joint.high = min(joint.low, tally.low), max(joint.high, tally.high)
            joint.zeros += tally.zeros
            if tally.exponent is not None:
                other = cls()
                other.exponent, other.counts = tally.exponent, tally.counts
                other._widen(max(exponents))
                joint.exponent, joint.counts = other.exponent, joint.counts + other.counts
        return joint

    def percentile(self, percent: float) -> float:
        """Return the smallest bin edge t with |value| <= t for at least `percent` % of all values, zeros included."""
        if self.exponent is None:
            return 0.0
        magnitudes = self.counts[BINS:] + self.counts[:BINS][::-1]
        reached = self.zeros + np.cumsum(magnitudes)
        edge = int(np.searchsorted(reached, reached[-1] * (percent / 100)))
        return float(np.ldexp(edge + 1.0, self.exponent - 11))

    def squared_error(self, fmt: FixedPoint) -> float:
        """Return the sum of squared errors that a format makes, each value taken at the middle of its bin."""
        if self.exponent is None:
            return 0.0
        width = float(np.ldexp(1.0, self.exponent - 11))
        step = float(np.ldexp(1.0, -fmt.fl()))
        middles = (np.arange(-BINS, BINS) + 0.5) * width
        kept = np.clip(np.rint(middles / step) if step >= width else middles / step, fmt.low, fmt.high) * step
        spread = min(step, width) ** 2 / 12
        return float((self.counts * (np.square(middles - kept) + spread)).sum())

    def least_squares(self, bits: int, signed: bool) -> int:
        """Return the fractional length of least squared error at this width."""
        cover = covering_length(self.low, self.high, bits, signed)
        return min(range(cover, cover + SEARCH + 1), key=lambda fl: self.squared_error(FixedPoint(bits, fl, signed)))

    def affine_ends(self, bits: int, signed: bool) -> tuple[float, float]:
        """Return the ends (low, high) of the affine format of least squared error, of those that shrink both ends alike."""
        ends = [(self.low * part, self.high * part) for part in SHRINKS]
        return min(ends, key=lambda pair: self._affine_error(from_range(pair[0], pair[1], bits, signed)))

    def _affine_error(self, fmt: Affine) -> float:
        """The sum of squared errors, each value taken at the middle of its bin; what a bin spreads is the same for all."""
        if self.exponent is None:
            return 0.0
        width, step = float(np.ldexp(1.0, self.exponent - 11)), fmt.step()
        middles = (np.arange(-BINS, BINS) + 0.5) * width
        quotient = middles / step + fmt.zero()
        kept = np.clip(np.rint(quotient) if step >= width else quotient, fmt.low, fmt.high) - fmt.zero()
        return float((self.counts * (np.square(middles - kept * step) + min(step, width) ** 2 / 12)).sum())

    def range(self, percent: float, rule: RangeRule, method: Calibration) -> Range:
        """Return what a network keeps of this tensor."""
        clip = self.percentile(percent)
        widths = range(NARROWEST, WIDEST + 1)
        return Range(
            self.low,
            self.high,
            max(self.low, -clip),
            min(self.high, clip),
            tuple(self.least_squares(bits, True) for bits in widths),
            tuple(self.least_squares(bits, False) for bits in widths),
            rule,
            method,
        )
