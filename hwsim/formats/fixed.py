"""Dynamic fixed point: one integer code, one declared fractional length for a whole tensor or for each output channel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from hwsim.arith.overflow import Overflow, code_max, code_min, saturate, wrap
from hwsim.arith.rounding import Rounding, round_ratio, round_shift
from hwsim.errors import ContractError

MAX_BITS = 64
MAX_FRACTIONAL_LENGTH = 256


@dataclass(frozen=True)
class FixedPoint:
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
    def low(self) -> int:
        """Smallest code."""
        return code_min(self.bits, self.signed)

    @property
    def high(self) -> int:
        """Largest code."""
        return code_max(self.bits, self.signed)

    @property
    def smallest(self) -> Fraction:
        """Smallest real value (channel 0)."""
        return self.decode(self.low)

    @property
    def largest(self) -> Fraction:
        """Largest real value (channel 0)."""
        return self.decode(self.high)

    @property
    def dtype(self) -> np.dtype:
        """Storage type of the codes: int8/uint8, int16/uint16, int32/uint32 or int64, the narrowest that holds them."""
        width = 8 if self.bits <= 8 else 16 if self.bits <= 16 else 32 if self.bits <= 32 else 64
        return np.dtype(f"{'int' if self.signed or width == 64 else 'uint'}{width}")

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
        return np.ldexp(codes.astype(np.float64), _along(-lengths, codes.ndim, axis))

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

    def fit(self, code: int, overflow: Overflow) -> int:
        """fit(x) = x where it fits, else as the overflow mode says."""
        low = self.low_limit(overflow)
        if overflow == Overflow.TRAP and not low <= code <= self.high:
            raise ContractError(f"code {code} does not fit {self.low}..{self.high} ({self!r}).")
        if overflow == Overflow.WRAP:
            return wrap(code, self.bits, self.signed)
        return saturate(code, low, self.high)

    def low_limit(self, overflow: Overflow) -> int:
        """Return the smallest code that the overflow mode lets through: -high under SATURATE_SYMMETRIC, else low."""
        return -self.high if overflow == Overflow.SATURATE_SYMMETRIC and self.signed else self.low

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
        real = as_float64("FixedPoint.encode_array", real)
        if not np.isfinite(real).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(real))[0])
            raise ContractError(f"FixedPoint.encode_array: {real[where]} at position {where}; only finite values have codes.")
        if isinstance(self.fractional_length, tuple):
            lengths = _along(np.array(self.lengths(real.shape[axis]), dtype=np.int64), real.ndim, axis)
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


def _along(values: np.ndarray, ndim: int, axis: int) -> np.ndarray:
    shape = [1] * ndim
    shape[axis] = len(values)
    return values.reshape(shape)


def as_float64(where: str, real: np.ndarray) -> np.ndarray:
    """Return numbers as float64, which must hold each of them exactly; where: the method that the sentence names."""
    array = np.asarray(real)
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise ContractError(f"{where}: found dtype {array.dtype}, allowed integers and floats up to 64 bits.")
    if array.dtype.kind in "iu" and array.size and max(-int(array.min()), int(array.max())) > 1 << 53:
        raise ContractError(f"{where}: found integers beyond 2**53, allowed is what float64 holds; use encode.")
    return array.astype(np.float64)


def check_int(field: str, value: object, low: int, high: int) -> None:
    """Refuse what is no integer in low..high; field: as the sentence names it, "FixedPoint.bits"."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ContractError(f"{field}: found {value!r}, allowed an integer in {low}..{high}.")
