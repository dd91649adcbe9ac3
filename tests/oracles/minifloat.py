"""Minifloats a second time, by their meaning: codes read off their binary digits, reals rounded on the grid around them.

Nothing here shares code, significands or exponents with hwsim.arith.minifloat; a grid is a table of Fractions.
"""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from functools import cache, cached_property

from hwsim.arith.minifloat import Specials
from hwsim.arith.rounding import Rounding
from hwsim.formats import Minifloat
from oracles.exact import rounded

NAN, INFINITY = "nan", "infinity"
# Which side of zero goes on to infinity when a result is too large
OUTWARD = {
    Rounding.FLOOR: {True: True, False: False},
    Rounding.CEIL: {True: False, False: True},
    Rounding.TOWARD_ZERO: {True: False, False: False},
}


class FloatOracle:
    """The grid of one format, by its declared fields only."""

    def __init__(self, f: Minifloat) -> None:
        self.f = f
        self.exp_bits, self.man_bits, self.bias = f.exp_bits, f.man_bits, f.bias
        self.codes = [self.meaning(code) for code in range(1 << f.bits)] if f.bits <= 16 else None

    def magnitude(self, field: int, fraction: int) -> Fraction:
        """Return the value of an exponent field and a fraction, the field as large as one likes."""
        part = Fraction(fraction, 2**self.man_bits)
        if field == 0 and self.f.zero_code is None:
            return part * Fraction(2) ** (1 - self.bias) if self.f.subnormals else Fraction(0)
        return (1 + part) * Fraction(2) ** (field - self.bias)

    def meaning(self, code: int) -> tuple[bool, Fraction | str]:
        """Return (negative, number or NAN or INFINITY), read off the digits of the code."""
        digits = f"{code:0{self.f.bits}b}"
        negative, field, fraction = digits[0] == "1", digits[1 : 1 + self.exp_bits], digits[1 + self.exp_bits :]
        if code == self.f.zero_code:
            return False, Fraction(0)
        if self.f.specials == Specials.IEEE and "0" not in field:
            return negative, NAN if "1" in fraction else INFINITY
        if self.f.specials == Specials.FN and "0" not in field + fraction:
            return negative, NAN
        if self.f.specials == Specials.FNUZ and negative and "1" not in digits[1:]:
            return negative, NAN
        return negative, self.magnitude(int(field, 2), int(fraction or "0", 2))

    @cached_property
    def grid(self) -> list[Fraction]:
        """Every magnitude, and four binades more than there are, in order."""
        fields = range((1 << self.exp_bits) + 4)
        return sorted({self.magnitude(e, m) for e in fields for m in range(1 << self.man_bits)} | {Fraction(0)})

    @cached_property
    def largest(self) -> Fraction:
        return max(value for _, value in self.codes if not isinstance(value, str))

    @cached_property
    def by_value(self) -> dict[tuple[bool, Fraction], int]:
        """(negative, magnitude) -> the least code; a code given up for zero answers for its power of two too."""
        table = {(neg, value): code for code, (neg, value) in reversed(list(enumerate(self.codes))) if not isinstance(value, str)}
        if self.f.zero_code is not None:
            table[self.f.zero_code > 0, self.magnitude(0, 0)] = self.f.zero_code
            table[True, Fraction(0)] = self.f.zero_code
        if self.f.specials == Specials.FNUZ:
            table[True, Fraction(0)] = 0
        return table

    @cached_property
    def least_normal(self) -> Fraction:
        return self.magnitude(0 if self.f.zero_code is not None else 1, 0)

    @cache  # noqa: B019 - oracles live as long as the tests
    def ulp(self, magnitude: Fraction) -> Fraction:
        """Return the distance of the two neighbours of a magnitude on the grid (beyond it, of the last two)."""
        at = min(bisect_right(self.grid, magnitude), len(self.grid) - 1)
        return self.grid[at] - self.grid[at - 1]

    @cache  # noqa: B019
    def special(self, what: str, negative: bool = False) -> int:
        """Return the code of a NaN or an infinity that an operation delivers."""
        found = [code for code, meaning in enumerate(self.codes) if meaning == (negative, INFINITY)]
        if what == INFINITY and self.f.saturate:
            return self.by_value[negative, self.largest]
        if what == INFINITY and found:
            return found[0]
        nans = [code for code, (neg, value) in enumerate(self.codes) if value == NAN and (what == NAN or neg == negative)]
        nans = nans or [code for code, (_, value) in enumerate(self.codes) if value == NAN]
        if not nans:
            return self.by_value[False, Fraction(0)]
        if self.f.specials == Specials.IEEE:  # the quiet one: the top bit of the fraction and no other
            return next(code for code in nans if f"{code:b}".count("1") == self.exp_bits + 1 and code >> (self.man_bits - 1) & 1)
        return nans[0]

    @cache  # noqa: B019
    def round(self, real: Fraction, mode: Rounding, negative_zero: bool = False) -> tuple[int, int]:
        """Return (code, event) of an exact real."""
        negative = real < 0 or (real == 0 and negative_zero)
        if real == 0 or (not self.f.subnormals and abs(real) < self.least_normal):
            return self.by_value[negative, Fraction(0)], 0
        ulp = self.ulp(abs(real))
        value = abs(rounded(real / ulp, mode) * ulp)
        if value <= self.largest:
            return self.by_value[negative, value], 0
        if OUTWARD.get(mode, {}).get(negative, True):
            return self.special(INFINITY, negative), 1
        return self.by_value[negative, self.largest], 1


@cache
def oracle_of(f: Minifloat) -> FloatOracle:
    """Return the one oracle of a format."""
    return FloatOracle(f)


def ties_and_neighbours(f: Minifloat) -> list[Fraction]:
    """Return, for every two adjacent numbers up to beyond the largest: the lower, the tie, and what lies around both."""
    oracle = oracle_of(f)
    top = next(i for i, value in enumerate(oracle.grid) if value > oracle.largest)
    reals = [Fraction(0), oracle.grid[-1] * 16]
    for low, high in zip(oracle.grid[: top + 2], oracle.grid[1 : top + 3], strict=True):
        gap = high - low
        reals += [low + gap * Fraction(part, 16) for part in (0, 1, 7, 8, 9)]
    return [sign * real for real in reals for sign in (1, -1)]
