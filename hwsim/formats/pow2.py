"""Powers of two: a sign and an exponent, so that a product is a shift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

import numpy as np

from hwsim.errors import ContractError
from hwsim.formats.integer import as_float64, check_int

MAX_EXPONENT = 62  # a shift of int64, either way
# (m * 2**-52)**2 > 2 for an integer m iff m > this: 2**105 is no square, so there is no tie
_ROOT_OF_TWO = math.isqrt(1 << 105)
_ONE_AND_A_HALF = 3 << 51


class ZeroCode(Enum):
    """Which exponent index means 0. NONE: no code does, and 0 becomes +2**exp_min, as in Ristretto.

    FIRST: index 0, so that the code of all zeros is 0.  LAST: the index after exp_max's.  Either sign bit reads as 0;
    encoding clears it.
    """

    NONE = "none"
    FIRST = "first"
    LAST = "last"

    def __repr__(self) -> str:
        return f"ZeroCode.{self.name}"  # an expression, unlike Enum's own


class Nearest(Enum):
    """What nearest means between two powers. LOG: round(log2|w|), which knows no tie since sqrt(2) is irrational.

    VALUE_TIES_AWAY, VALUE_TIES_TO_ZERO: the nearer real value; 1.5 * 2**e goes up or down in magnitude.
    """

    LOG = "log"
    VALUE_TIES_AWAY = "value_ties_away"
    VALUE_TIES_TO_ZERO = "value_ties_to_zero"


@dataclass(frozen=True)
class PowerOfTwo:
    """real = (-1)**sign * 2**e for exp_min <= e <= exp_max, and 0 where a code is declared for it.

    Code: sign << index_bits | index, unsigned; index = e - exp_min, one more if the zero comes first.
    exp_min, exp_max: -62..62.  Ristretto's weights are PowerOfTwo(-8, -1, ZeroCode.NONE): 1 + 3 bits.

    >>> f = PowerOfTwo(-8, -1, ZeroCode.NONE)
    >>> f.bits, f.encode(0.3), f.decode(6), f.encode(-0.3), f.encode(0)
    (4, 6, Fraction(1, 4), 14, 0)
    >>> PowerOfTwo(-7, -1).bits, PowerOfTwo(-7, -1).encode(0)
    (4, 0)
    """

    exp_min: int
    exp_max: int
    zero: ZeroCode = ZeroCode.FIRST

    def __post_init__(self) -> None:
        check_int("PowerOfTwo.exp_min", self.exp_min, -MAX_EXPONENT, MAX_EXPONENT)
        check_int("PowerOfTwo.exp_max", self.exp_max, int(self.exp_min), MAX_EXPONENT)
        if not isinstance(self.zero, ZeroCode):
            raise ContractError(f"PowerOfTwo.zero: found {self.zero!r}, allowed ZeroCode: NONE, FIRST, LAST.")
        object.__setattr__(self, "exp_min", int(self.exp_min))
        object.__setattr__(self, "exp_max", int(self.exp_max))

    @property
    def index_count(self) -> int:
        """Number of exponent indices in use, the zero's included."""
        return self.exp_max - self.exp_min + 1 + (self.zero is not ZeroCode.NONE)

    @property
    def index_bits(self) -> int:
        """Width of the exponent index."""
        return (self.index_count - 1).bit_length()

    @property
    def bits(self) -> int:
        """Width of a code: the sign and the index, 1..8."""
        return 1 + self.index_bits

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
        """Storage type of the codes."""
        return np.dtype(np.uint8)

    @property
    def largest(self) -> Fraction:
        """Largest real value."""
        return Fraction(2) ** self.exp_max

    @property
    def smallest(self) -> Fraction:
        """Smallest real value, as FixedPoint.smallest: the negative of the largest."""
        return -self.largest

    @property
    def codes(self) -> tuple[int, ...]:
        """Every code that encoding gives, ascending: a negative zero is none of them."""
        signs = (0, 1 << self.index_bits)
        zero = self._zero_index
        return tuple(sign | index for sign in signs for index in range(self.index_count) if not sign or index != zero)

    @property
    def _zero_index(self) -> int | None:
        return {ZeroCode.NONE: None, ZeroCode.FIRST: 0, ZeroCode.LAST: self.index_count - 1}[self.zero]

    @property
    def _first(self) -> int:
        """Index of exp_min."""
        return int(self.zero is ZeroCode.FIRST)

    def decode(self, code: int) -> Fraction:
        """decode(code) = (-1)**sign * 2**e, exactly, or 0. Errors: an index that stands for nothing."""
        sign, index = int(code) >> self.index_bits, int(code) & ((1 << self.index_bits) - 1)
        if sign not in (0, 1) or index >= self.index_count:
            raise ContractError(f"PowerOfTwo.decode: found code {code!r}, allowed are {self._allowed()}.")
        if index == self._zero_index:
            return Fraction(0)
        power = Fraction(2) ** (self.exp_min + index - self._first)
        return -power if sign else power

    def fields(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(negative, exponent, nonzero) of each code: what a shift-add unit reads. A zero has negative 0, exponent exp_min.

        negative, nonzero: int8, 0 or 1.  exponent: int8.  Errors: codes that stand for nothing, with their position.

        >>> PowerOfTwo(-3, 0).fields(np.array([0, 1, 12], dtype=np.uint8))
        (array([0, 0, 1], dtype=int8), array([-3, -3,  0], dtype=int8), array([0, 1, 1], dtype=int8))
        """
        codes = self._checked_codes(codes)
        index = codes & ((1 << self.index_bits) - 1)
        zero = index == -1 if self._zero_index is None else index == self._zero_index
        exponent = np.where(zero, self.exp_min, self.exp_min + index - self._first)
        negative = np.where(zero, 0, codes >> self.index_bits)
        return negative.astype(np.int8), exponent.astype(np.int8), (~zero).astype(np.int8)

    def to_real(self, codes: np.ndarray) -> np.ndarray:
        """Return the float64 values of codes, exactly."""
        negative, exponent, nonzero = self.fields(codes)
        return np.ldexp(nonzero * (1.0 - 2.0 * negative), exponent.astype(np.int64))

    def encode(self, real: float | Fraction, nearest: Nearest = Nearest.LOG) -> int:
        """encode(real) = the code of the nearest power, exactly, from any float or Fraction.

        Above 2**exp_max: that power. What rounds below 2**exp_min (by VALUE: is nearer to 0) becomes 0 where 0 has a code,
        else 2**exp_min; 0 itself alike, with a plus sign.  Errors: NaN and infinity are refused.
        """
        if isinstance(real, np.floating):
            real = float(real)
        if isinstance(real, float) and not math.isfinite(real):
            raise ContractError(f"PowerOfTwo.encode: found {real!r}; only finite values have a code.")
        value = Fraction(real)
        exponent = _nearest_exponent(abs(value), nearest, self.exp_min) if value else None
        if exponent is None or (exponent < self.exp_min and self.zero is not ZeroCode.NONE):
            return self._first if self._zero_index is None else self._zero_index
        index = min(max(exponent, self.exp_min), self.exp_max) - self.exp_min + self._first
        return int(value < 0) << self.index_bits | index

    def encode_array(self, real: np.ndarray, nearest: Nearest = Nearest.LOG) -> np.ndarray:
        """encode_array(real)[i] = encode(real[i]): codes of dtype `self.dtype`. Exact: integers are compared, not logarithms.

        Ristretto takes log2f, whose last bit puts a few float32 next to 2**(e + 1/2) on the other side.

        >>> PowerOfTwo(-8, -1, ZeroCode.NONE).encode_array(np.array([0.3, -0.36, 0.0, 7.0]))
        array([ 6, 15,  0,  7], dtype=uint8)
        """
        real = self._checked_reals(real)
        mantissa, exponent = np.frexp(np.abs(real))
        integer = np.ldexp(mantissa, 53).astype(np.int64)  # |real| = integer * 2**-52 * 2**(exponent - 1)
        exponent = exponent.astype(np.int64) - 1 + _rounds_up(integer, nearest)
        if nearest is not Nearest.LOG:
            half = 2.0 ** (self.exp_min - 1)
            above = np.abs(real) >= half if nearest is Nearest.VALUE_TIES_AWAY else np.abs(real) > half
            exponent = np.where(above, np.maximum(exponent, self.exp_min), self.exp_min - 1)
        index = np.clip(exponent, self.exp_min, self.exp_max) - self.exp_min + self._first
        codes = (real < 0).astype(np.int64) << self.index_bits | index
        if self._zero_index is None:
            return np.where(real == 0, self._first, codes).astype(self.dtype)
        return np.where((real == 0) | (exponent < self.exp_min), self._zero_index, codes).astype(self.dtype)

    def _allowed(self) -> str:
        high = self.index_count - 1
        return f"0..{high} and {1 << self.index_bits}..{(1 << self.index_bits) + high} ({self!r})"

    def _checked_codes(self, codes: np.ndarray) -> np.ndarray:
        array = np.asarray(codes)
        if array.dtype.kind not in "iu":
            raise ContractError(f"PowerOfTwo.fields: found dtype {array.dtype}, allowed integer codes.")
        bad = (array < 0) | (array >> self.index_bits > 1) | ((array & ((1 << self.index_bits) - 1)) >= self.index_count)
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ContractError(f"PowerOfTwo.fields: found code {array[where]} at {where}, allowed are {self._allowed()}.")
        return array.astype(np.int64)

    def _checked_reals(self, real: np.ndarray) -> np.ndarray:
        array = as_float64("PowerOfTwo.encode_array", real)
        if not np.isfinite(array).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise ContractError(f"PowerOfTwo.encode_array: {array[where]} at position {where}; only finite values have codes.")
        return array

    def __str__(self) -> str:
        return f"pow2 {self.exp_min}..{self.exp_max}" + ("" if self.zero is ZeroCode.NONE else " and 0")


def _nearest_exponent(magnitude: Fraction, nearest: Nearest, exp_min: int) -> int:
    """Return the exponent of the power nearest to a magnitude > 0, exp_min - 1 for what is nearer to 0 by VALUE."""
    if nearest is not Nearest.LOG:
        half = Fraction(2) ** (exp_min - 1)
        if magnitude < half or (magnitude == half and nearest is Nearest.VALUE_TIES_TO_ZERO):
            return exp_min - 1
        if magnitude < 2 * half:
            return exp_min
    floor = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    floor -= magnitude < Fraction(2) ** floor
    m = magnitude / Fraction(2) ** floor
    up = {Nearest.LOG: m * m > 2, Nearest.VALUE_TIES_AWAY: m >= Fraction(3, 2), Nearest.VALUE_TIES_TO_ZERO: m > Fraction(3, 2)}
    return floor + up[nearest]


def _rounds_up(integer: np.ndarray, nearest: Nearest) -> np.ndarray:
    """Return whether integer * 2**-52 in 1..2 is nearer to 2 than to 1."""
    if nearest is Nearest.LOG:
        return integer > _ROOT_OF_TWO
    return integer >= _ONE_AND_A_HALF if nearest is Nearest.VALUE_TIES_AWAY else integer > _ONE_AND_A_HALF
