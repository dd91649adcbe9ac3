"""Minifloat: a sign, a few bits of exponent, a few bits of fraction, and a declared meaning for every code."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property

import numpy as np

from hwsim.arith.minifloat import (
    FloatLayout,
    Specials,
    bit_length,
    infinity_code,
    is_infinite,
    is_nan,
    nan_code,
    pack,
    round_pack,
    unpack,
)
from hwsim.arith.rounding import Rounding, round_shift
from hwsim.errors import ContractError
from hwsim.formats.integer import as_float64, check_int

MAX_MAN_BITS = 23
MAX_BIAS = 512
# A quotient cut to this many bits and a sticky one rounds as the fraction itself: see add_exact.
QUOTIENT_BITS = 64


@dataclass(frozen=True, repr=False)
class Minifloat:
    """real = (-1)**sign * 1.fraction * 2**(field - bias); in the lowest binade 0.fraction * 2**(1 - bias).

    exp_bits: 2..8.  man_bits: 0..23, without the hidden one; with none every significand is 1, an odd one, so ties to even go
    away from zero (IEEE 754-2019 section 4.3.1).  bias: -512..512, None for 2**(exp_bits - 1) - 1.
    subnormals: field 0 holds numbers without the hidden one. Without them a magnitude below the smallest normal number is
    zero before any rounding, and field 0 means zero whatever its fraction, unless zero_code says otherwise.
    specials: which codes are no numbers (IEEE needs a fraction bit for its NaN).
    saturate: a result beyond the largest number, infinity included, becomes it; a format without NaN has no other choice.
    zero_code: None for all-zero bits; else field 0 is a binade as any other, and this one of its two least codes
    (0 or 2**(bits - 1)) means 0 instead of its power of two. For Ristretto's formats on hardware.
    Codes are sign, exponent, fraction from the top bit down, stored unsigned. Sources: IEEE 754-2019; `catalog` for others.

    >>> e4m3 = Minifloat(4, 3, specials=Specials.FN)
    >>> e4m3.decode(0x7E), e4m3.encode(1.0625), e4m3.encode(-1000.0), e4m3.smallest_subnormal
    (Fraction(448, 1), 56, 255, Fraction(1, 512))
    """

    exp_bits: int
    man_bits: int
    bias: int | None = None
    subnormals: bool = True
    specials: Specials = Specials.IEEE
    saturate: bool = False
    zero_code: int | None = None

    def __post_init__(self) -> None:
        check_int("Minifloat.exp_bits", self.exp_bits, 2, 8)
        check_int("Minifloat.man_bits", self.man_bits, 0, MAX_MAN_BITS)
        bias = (1 << (self.exp_bits - 1)) - 1 if self.bias is None else self.bias
        check_int("Minifloat.bias", bias, -MAX_BIAS, MAX_BIAS)
        for name in ("subnormals", "saturate"):
            if not isinstance(getattr(self, name), bool):
                raise ContractError(f"Minifloat.{name}: found {getattr(self, name)!r}, allowed True or False.")
        if not isinstance(self.specials, Specials):
            allowed = ", ".join(f"Specials.{s.name}" for s in Specials)
            raise ContractError(f"Minifloat.specials: found {self.specials!r}, allowed {allowed}.")
        # numpy's integers wrap at their own width, and their repr is not plain
        for name, value in (("exp_bits", self.exp_bits), ("man_bits", self.man_bits), ("bias", bias)):
            object.__setattr__(self, name, int(value))
        self._check_specials()
        self._check_zero()

    def _check_specials(self) -> None:
        if self.specials == Specials.IEEE and self.man_bits == 0:
            raise ContractError(
                "Minifloat.specials: found Specials.IEEE with man_bits=0, where no code is left for NaN; "
                "use man_bits >= 1 or Specials.FN."
            )
        if self.specials == Specials.NONE and not self.saturate:
            raise ContractError(
                "Minifloat.saturate: found False with Specials.NONE, where nothing stands for an overflow; use saturate=True."
            )

    def _check_zero(self) -> None:
        if self.zero_code is None:
            return
        allowed = (0, 1 << (self.bits - 1))
        if isinstance(self.zero_code, bool) or self.zero_code not in allowed:
            raise ContractError(
                f"Minifloat.zero_code: found {self.zero_code!r}, allowed None, {allowed[0]} or {allowed[1]}, the codes of "
                f"the least magnitude."
            )
        if self.subnormals or self.specials != Specials.NONE:
            raise ContractError(
                f"Minifloat.zero_code: found {self.zero_code} with subnormals={self.subnormals} and Specials."
                f"{self.specials.name}; a code is given up for zero only with subnormals=False and Specials.NONE."
            )
        object.__setattr__(self, "zero_code", int(self.zero_code))

    @property
    def bits(self) -> int:
        """Width of a code: sign, exponent, fraction."""
        return 1 + self.exp_bits + self.man_bits

    @property
    def signed(self) -> bool:
        """False: codes are words of sign and fields, not two's complement numbers."""
        return False

    @property
    def low(self) -> int:
        """Smallest word."""
        return 0

    @property
    def high(self) -> int:
        """Largest word that the width holds; not every word need stand for a number."""
        return (1 << self.bits) - 1

    @property
    def dtype(self) -> np.dtype:
        """Storage type of the codes: uint8, uint16 or uint32, the narrowest that holds them."""
        return np.dtype("uint8" if self.bits <= 8 else "uint16" if self.bits <= 16 else "uint32")

    @cached_property
    def layout(self) -> FloatLayout:
        """The format as plain ints, for the leaves of `arith.minifloat`."""
        sign_shift = self.exp_bits + self.man_bits
        largest = {
            Specials.IEEE: (((1 << self.exp_bits) - 1) << self.man_bits) - 1,
            Specials.FN: (1 << sign_shift) - 2,
            Specials.FNUZ: (1 << sign_shift) - 1,
            Specials.NONE: (1 << sign_shift) - 1,
        }[self.specials]
        return FloatLayout(
            man_bits=self.man_bits,
            sign_shift=sign_shift,
            bias=int(self.bias or 0),
            lowest=int(self.zero_code is None),
            subnormals=int(self.subnormals),
            specials=int(self.specials),
            largest=largest,
            saturate=int(self.saturate),
            zero=self.zero_code or 0,
            signed_zero=int(self.zero_code is None and self.specials != Specials.FNUZ),
        )

    @property
    def has_nan(self) -> bool:
        """True if some code is NaN."""
        return self.specials != Specials.NONE

    @property
    def largest(self) -> Fraction:
        """Largest real value."""
        return self._number(self.layout.largest)

    @property
    def smallest(self) -> Fraction:
        """Smallest real value: -largest."""
        return -self.largest

    @property
    def smallest_normal(self) -> Fraction:
        """Smallest power of two with all bits of fraction: 2**(1 - bias), one binade lower with a zero_code."""
        return Fraction(2) ** (self.layout.lowest - self.layout.bias)

    @property
    def smallest_subnormal(self) -> Fraction | None:
        """Smallest positive number of a format with subnormals, None without."""
        return self._number(1) if self.subnormals and self.man_bits else None

    def decode(self, code: int) -> Fraction | float:
        """decode(code) = the exact number; float('inf'), float('-inf') or float('nan') for what is none.

        Both zeros decode to Fraction(0): `to_real` keeps their sign.
        """
        if isinstance(code, bool) or not isinstance(code, (int, np.integer)) or not 0 <= code < 1 << self.bits:
            raise ContractError(f"Minifloat.decode: found code {code!r}, allowed 0..{(1 << self.bits) - 1} ({self!r}).")
        if is_nan(int(code), self.layout):
            return float("nan")
        if is_infinite(int(code), self.layout):
            return float("-inf" if int(code) >> self.layout.sign_shift else "inf")
        return self._number(int(code))

    def _number(self, code: int) -> Fraction:
        sign, significand, exponent = unpack(code, self.layout)
        return Fraction(-significand if sign else significand) * Fraction(2) ** exponent

    def to_real(self, codes: np.ndarray) -> np.ndarray:
        """Return the float64 values of codes, exactly, with signed zeros, infinities and NaN.

        >>> Minifloat(4, 3, specials=Specials.FN).to_real(np.array([0x38, 0x80, 0x7F], dtype=np.uint8))
        array([ 1., -0., nan])
        """
        codes = np.asarray(codes)
        if codes.dtype.kind not in "iu":
            raise ContractError(f"Minifloat.to_real: found dtype {codes.dtype}, allowed integers.")
        codes = codes.astype(np.int64)
        if codes.size and not 0 <= codes.min() <= codes.max() < 1 << self.bits:
            raise ContractError(
                f"Minifloat.to_real: found codes {codes.min()}..{codes.max()}, allowed 0..{(1 << self.bits) - 1}."
            )
        sign, significand, exponent = unpack(codes, self.layout)
        real = np.ldexp(significand.astype(np.float64), exponent)
        real = np.where(is_infinite(codes, self.layout), np.inf, real)
        negative = (sign == 1) & ((significand != 0) | (self.layout.signed_zero == 1))
        return np.where(is_nan(codes, self.layout), np.nan, np.where(negative, -real, real))

    def encode(self, real: float | Fraction, rounding: Rounding = Rounding.TIES_EVEN) -> int:
        """encode(real) = the code of round(real): exact, from any float or Fraction; -0.0 keeps its sign.

        NaN and infinity become the format's own; without NaN, NaN is refused, as infinity is where NaN would stand for it.
        """
        if isinstance(real, np.floating):
            real = float(real)
        if isinstance(real, float) and not np.isfinite(real):
            return self._encode_special(real, "")
        sign = int(real < 0 or (isinstance(real, float) and np.signbit(real)))
        significand, exponent = _binary(abs(Fraction(real)))
        return round_pack(sign, significand, exponent, rounding, self.layout)[0]

    def _encode_special(self, real: float, where: str) -> int:
        """Return the code of NaN or an infinity; `where` completes the sentence of the refusal."""
        if np.isnan(real) and self.has_nan:
            return nan_code(self.layout)
        if np.isinf(real) and (self.saturate or self.specials == Specials.IEEE):
            return infinity_code(int(real < 0), self.layout)
        raise ContractError(f"Minifloat.encode: found {real}{where}; {self!r} has no code for it, only finite values do.")

    def encode_array(self, real: np.ndarray, rounding: Rounding = Rounding.TIES_EVEN) -> np.ndarray:
        """encode_array(real)[i] = encode(real[i]): codes of dtype `self.dtype`.

        Exact: a float is mantissa * 2**exponent (frexp), so the integer leaf rounds it, one exponent at a time.

        >>> Minifloat(5, 2).encode_array(np.array([1.0, -1.125, 1e9, -0.0]))
        array([ 60, 188, 124, 128], dtype=uint8)
        """
        real = as_float64("Minifloat.encode_array", real)
        flat = real.ravel()
        codes = np.empty(flat.size, dtype=np.int64)
        finite = np.isfinite(flat)
        for i in np.flatnonzero(~finite):
            where = tuple(int(k) for k in np.unravel_index(i, real.shape))
            codes[i] = self._encode_special(float(flat[i]), f" at position {where}")
        codes[finite] = self._encode_finite(flat[finite], rounding)
        return codes.astype(self.dtype).reshape(real.shape)

    def _encode_finite(self, real: np.ndarray, rounding: Rounding) -> np.ndarray:
        mantissa, exponent = np.frexp(real)
        integer = np.abs(np.ldexp(mantissa, 53)).astype(np.int64)
        negative = np.signbit(real)
        codes = np.empty(real.size, dtype=np.int64)
        for e in np.unique(exponent):
            here = exponent == e
            codes[here] = self._encode_binade(negative[here], integer[here], int(e) - 53, rounding)
        return codes

    def _encode_binade(self, negative: np.ndarray, integer: np.ndarray, exponent: int, rounding: Rounding) -> np.ndarray:
        """round_pack of integers of exactly 53 bits, or zero, that share one exponent."""
        f = self.layout
        top = exponent + 52 + f.bias
        field = max(top, f.lowest)
        if top < f.lowest and not f.subnormals:
            integer = np.zeros_like(integer)
        shift = field - f.bias - f.man_bits - exponent
        if shift > 53:  # under half a unit, whatever it is
            integer, shift = np.minimum(integer, 1), 2
        rounded = np.abs(round_shift(np.where(negative, -integer, integer), shift, rounding))
        magnitude = ((field - 1) << f.man_bits) + rounded
        codes = magnitude | (negative.astype(np.int64) << f.sign_shift)
        # zeros and overflows are few kinds: the leaf packs one of each
        for sign in (0, 1):
            mine = negative == bool(sign)
            codes[mine & (integer == 0)] = round_pack(sign, 0, 0, rounding, f)[0]
            codes[mine & (integer != 0) & (magnitude == 0)] = pack(sign, 0, rounding, f)[0]
            codes[mine & (integer != 0) & (magnitude > f.largest)] = pack(sign, f.largest + 1, rounding, f)[0]
        return codes

    def __repr__(self) -> str:
        shown = (f"{f.name}={_shown(getattr(self, f.name))}" for f in fields(self))
        return f"Minifloat({', '.join(shown)})"

    def __str__(self) -> str:
        return f"E{self.exp_bits}M{self.man_bits} bias {self.bias} {self.specials.name}{' saturating' if self.saturate else ''}"


def _shown(value: object) -> str:
    return f"Specials.{value.name}" if isinstance(value, Specials) else repr(value)


def _binary(real: Fraction) -> tuple[int, int]:
    """Return (significand, exponent) of a fraction >= 0: exact if it is dyadic, else with a sticky last bit."""
    more = max(0, QUOTIENT_BITS + bit_length(real.denominator) - bit_length(real.numerator))
    quotient, remainder = divmod(real.numerator << more, real.denominator)
    return quotient | int(remainder != 0), -more
