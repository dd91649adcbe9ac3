"""Dynamic fixed point: one integer code, one declared fractional length for a whole tensor or for each output channel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding, round_ratio, round_shift
from hwsim.errors import ContractError
from hwsim.formats.integer import IntegerFormat, along, check_int, finite_float64

MAX_BITS = 64
MAX_FRACTIONAL_LENGTH = 256


@dataclass(frozen=True)
class FixedPoint(IntegerFormat):
    """real = code * 2**-fractional_length.

    bits: 1..64, the sign bit included.  fractional_length: -256..256, may be negative or larger than bits; a tuple gives
    one per output channel (weights and biases).  signed: two's complement, else 0..2**bits - 1 (then bits <= 62).

    >>> FixedPoint(8, 7).decode(-128), FixedPoint(8, 7).encode(0.3), FixedPoint(4, -2, signed=False).largest
    (Fraction(-1, 1), 38, Fraction(60, 1))
    """

    bits: int
    fractional_length: int | tuple[int, ...]
    signed: bool = True

    def __post_init__(self) -> None:
        check_int("FixedPoint.bits", self.bits, 1, MAX_BITS if self.signed else MAX_BITS - 2)
        if not isinstance(self.signed, bool):
            raise ContractError(f"FixedPoint.signed: found {self.signed!r}, allowed True or False.")
        if isinstance(self.fractional_length, list):
            object.__setattr__(self, "fractional_length", tuple(self.fractional_length))
        lengths = self.fractional_length if isinstance(self.fractional_length, tuple) else (self.fractional_length,)
        if not lengths:
            raise ContractError("FixedPoint.fractional_length: found no channel at all; give one length per channel.")
        for length in lengths:
            check_int("FixedPoint.fractional_length", length, -MAX_FRACTIONAL_LENGTH, MAX_FRACTIONAL_LENGTH)
        # numpy's integers wrap at their own width, and their repr is not plain
        plain = tuple(int(length) for length in lengths)
        object.__setattr__(self, "bits", int(self.bits))
        object.__setattr__(self, "fractional_length", plain if self.per_channel else plain[0])

    @property
    def per_channel(self) -> bool:
        """True if each output channel has its own fractional length."""
        return isinstance(self.fractional_length, tuple)

    def fl(self, channel: int = 0) -> int:
        """fl(k) = fractional length of output channel k."""
        if isinstance(self.fractional_length, tuple):
            return self.fractional_length[channel]
        return self.fractional_length

    def lengths(self, channels: int) -> tuple[int, ...]:
        """Return the fractional length of each of `channels` output channels."""
        if not isinstance(self.fractional_length, tuple):
            return (self.fractional_length,) * channels
        if len(self.fractional_length) != channels:
            raise ContractError(
                f"FixedPoint.fractional_length: found {len(self.fractional_length)} lengths for {channels} output "
                f"channels; give one length, or one for each channel."
            )
        return self.fractional_length

    @property
    def smallest(self) -> Fraction:
        """Smallest real value (channel 0)."""
        return self.decode(self.low)

    @property
    def largest(self) -> Fraction:
        """Largest real value (channel 0)."""
        return self.decode(self.high)

    def with_bits(self, bits: int) -> FixedPoint:
        """Return the same integer range at another width: bits and fractional length change together."""
        extra = bits - self.bits
        if isinstance(self.fractional_length, tuple):
            return replace(self, bits=bits, fractional_length=tuple(f + extra for f in self.fractional_length))
        return replace(self, bits=bits, fractional_length=self.fractional_length + extra)

    def decode(self, code: int, channel: int = 0) -> Fraction:
        """decode(code) = code * 2**-fl, exactly."""
        return Fraction(int(code)) * Fraction(2) ** -self.fl(channel)

    def to_real(self, codes: np.ndarray, axis: int = 0) -> np.ndarray:
        """Return the float64 values of codes (exact while bits <= 53); channels of a per-channel format lie on `axis`."""
        codes = np.asarray(codes)
        if not isinstance(self.fractional_length, tuple):
            return np.ldexp(codes.astype(np.float64), -self.fractional_length)
        lengths = np.array(self.lengths(codes.shape[axis]), dtype=np.int64)
        return np.ldexp(codes.astype(np.float64), along(-lengths, codes.ndim, axis))

    def encode(
        self,
        real: float | Fraction,
        rounding: Rounding = Rounding.TIES_EVEN,
        overflow: Overflow = Overflow.SATURATE,
        channel: int = 0,
    ) -> int:
        """encode(real) = fit(round(real * 2**fl)): exact, from any float or Fraction.

        Errors: NaN and infinity are refused; Overflow.TRAP refuses what does not fit.
        """
        return self.fit(self.round_real(real, rounding, channel), overflow)

    def round_real(self, real: float | Fraction, rounding: Rounding = Rounding.TIES_EVEN, channel: int = 0) -> int:
        """round_real(real) = round(real * 2**fl), before any overflow: what decides whether encoding is an event."""
        if isinstance(real, np.floating):
            real = float(real)
        if isinstance(real, float) and not np.isfinite(real):
            raise ContractError(f"FixedPoint.encode: found {real!r}; only finite values have a code.")
        scaled = Fraction(real) * Fraction(2) ** self.fl(channel)
        return round_ratio(scaled.numerator, scaled.denominator, rounding)

    def encode_array(
        self,
        real: np.ndarray,
        rounding: Rounding = Rounding.TIES_EVEN,
        overflow: Overflow = Overflow.SATURATE,
        axis: int = 0,
    ) -> np.ndarray:
        """encode_array(real)[i] = encode(real[i]): codes of dtype `self.dtype`, channels on `axis`.

        Exact: a float is mantissa * 2**exponent (frexp), so the integer leaf rounds it, one exponent at a time.

        >>> FixedPoint(8, 4).encode_array(np.array([0.03125, 0.09375, 100.0, -0.5]))
        array([  0,   2, 127,  -8], dtype=int8)
        """
        real = finite_float64("FixedPoint.encode_array", real)
        if isinstance(self.fractional_length, tuple):
            lengths = along(np.array(self.lengths(real.shape[axis]), dtype=np.int64), real.ndim, axis)
        else:
            lengths = np.array(self.fractional_length, dtype=np.int64)
        mantissa, exponent = np.frexp(real)
        shift = np.broadcast_to(53 - exponent.astype(np.int64) - lengths, real.shape).ravel()
        integer = np.ldexp(mantissa, 53).astype(np.int64).ravel()
        codes = np.empty(real.size, dtype=self.dtype)
        for s in np.unique(shift):
            here = shift == s
            codes[here] = self._encode_group(integer[here], int(s), rounding, overflow)
        return codes.reshape(real.shape)

    def _encode_group(self, integer: np.ndarray, shift: int, rounding: Rounding, overflow: Overflow) -> np.ndarray:
        """Round integers of at most 53 bits that share one shift; outside int64's reach, one by one in Python ints."""
        low = self.low_limit(overflow)
        vectorised = -8 <= shift <= 62 and overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC)
        if vectorised:
            return np.clip(round_shift(integer, shift, rounding), low, self.high)
        codes = [self.fit(round_shift(int(x), shift, rounding), overflow) for x in integer]
        return np.array(codes, dtype=self.dtype)

    def __str__(self) -> str:
        sign = "s" if self.signed else "u"
        if isinstance(self.fractional_length, tuple):
            span = f"{min(self.fractional_length)}..{max(self.fractional_length)} per channel"
        else:
            span = str(self.fractional_length)
        return f"{sign}{self.bits} fl {span}"
