"""The table of an integer LRN: which sums share an entry, and the exactly rounded powers that the entries are."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np

from hwsim.arith.lrn import UNIFORM, LookupRule, segment
from hwsim.arith.rounding import Rounding, round_ratio
from hwsim.contract.accumulator import check_kind
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint
from hwsim.formats.integer import check_int

MAX_ENTRIES = 1 << 16
MAX_TABLE_BITS = 32
MAX_FRACTION_BITS = 16
MAX_MANTISSA_BITS = 16

EXACT = Context(prec=100)
KEPT = Context(prec=80)
"""Powers are taken to 100 digits and rounded to 80 before a code is chosen, so that an exact tie is seen to be one."""


@dataclass(frozen=True)
class SumLookup:
    """How the sum of squared codes finds its factor in a table of entries in `format`.

    shift, mantissa_bits: segments are 2**shift wide up to 2**(shift + mantissa_bits + 1), beyond that the leading one and
    mantissa_bits behind it are the index (2**mantissa_bits entries for each octave); mantissa_bits None: all are 2**shift wide.
    fraction_bits: so many bits of the sum within its segment interpolate linearly between two entries; 0: the entry itself.
    dropped_bits, rounding: of the interpolated factor, before the multiplier; it then has format.bits + fraction_bits -
    dropped_bits bits.  Sums beyond the table take the last entry.

    Source: NVDLA's LRN unit (CDP), hw/v1/ias/lut-programming: tables indexed by the leading one or uniformly, linear
    interpolation between entries.

    >>> SumLookup(FixedPoint(16, 15, False), shift=4, mantissa_bits=3).factor
    FixedPoint(bits=16, fractional_length=15, signed=False)
    """

    format: FixedPoint
    shift: int
    mantissa_bits: int | None = None
    fraction_bits: int = 8
    dropped_bits: int = 8
    rounding: Rounding = Rounding.TIES_UP

    def __post_init__(self) -> None:
        if not isinstance(self.format, FixedPoint) or self.format.per_channel or self.format.bits > MAX_TABLE_BITS:
            raise ContractError(
                f"SumLookup.format: found {self.format!r}, allowed a FixedPoint of at most {MAX_TABLE_BITS} bits with one "
                "fractional length."
            )
        check_int("SumLookup.shift", self.shift, 0, UNIFORM)
        if self.mantissa_bits is not None:
            check_int("SumLookup.mantissa_bits", self.mantissa_bits, 0, MAX_MANTISSA_BITS)
        check_int("SumLookup.fraction_bits", self.fraction_bits, 0, MAX_FRACTION_BITS)
        check_int("SumLookup.dropped_bits", self.dropped_bits, 0, self.fraction_bits)
        check_kind("SumLookup.rounding", self.rounding, Rounding)

    @property
    def rule(self) -> LookupRule:
        """What the leaves take."""
        mantissa = UNIFORM if self.mantissa_bits is None else self.mantissa_bits
        return LookupRule(self.shift, mantissa, self.fraction_bits, self.dropped_bits, int(self.rounding))

    @property
    def factor(self) -> FixedPoint:
        """Format of what enters the multiplier."""
        finer = self.fraction_bits - self.dropped_bits
        return FixedPoint(self.format.bits + finer, self.format.fl() + finer, self.format.signed)

    def start(self, index: int) -> int:
        """Return the smallest sum of a segment."""
        if self.mantissa_bits is None:
            return index << self.shift
        octave = max((index >> self.mantissa_bits) - 1, 0)
        return (index - (octave << self.mantissa_bits)) << (self.shift + octave)

    def sample(self, index: int) -> Fraction:
        """Return the sum whose power is entry `index`: its segment's start, or its middle where nothing is interpolated."""
        first = self.start(index)
        return Fraction(first) if self.fraction_bits else Fraction(first + self.start(index + 1), 2)


@dataclass(frozen=True)
class TableDesign:
    """What a table is built from: its size, the width of its entries, and the bits that interpolate between them.

    entries: at most; the segments are laid out so that all of them serve.  bits: of an entry.  fraction_bits: 0 for no
    interpolation.  dropped_bits: None for all of fraction_bits: the multiplier takes a factor as wide as an entry.
    """

    entries: int = 256
    bits: int = 16
    fraction_bits: int = 8
    dropped_bits: int | None = None
    rounding: Rounding = Rounding.TIES_UP

    def __post_init__(self) -> None:
        check_int("TableDesign.entries", self.entries, 2, MAX_ENTRIES)
        check_int("TableDesign.bits", self.bits, 2, MAX_TABLE_BITS)
        check_int("TableDesign.fraction_bits", self.fraction_bits, 0, MAX_FRACTION_BITS)


@dataclass(frozen=True)
class Power:
    """f(s) = gain * (k + slope * s)**-beta: what the factor of a sum s of squared codes is to be.

    Exact numbers: slope = alpha / n * (what a code is worth)**2.
    """

    slope: Fraction
    beta: Fraction
    k: Fraction
    gain: Fraction = Fraction(1)

    def at(self, total: Fraction | int) -> Fraction:
        """Return f(total), correct to 80 digits.

        >>> Power(Fraction(1, 4), Fraction(1, 2), Fraction(1)).at(12)
        Fraction(1, 2)
        """
        base, gain = self.k + self.slope * total, self.gain
        inverse = EXACT.divide(Decimal(base.denominator), Decimal(base.numerator))
        beta = EXACT.divide(Decimal(self.beta.numerator), Decimal(self.beta.denominator))
        return Fraction(KEPT.plus(EXACT.power(inverse, beta))) * gain

    def code(self, total: Fraction | int, fmt: FixedPoint) -> int:
        """Return the code nearest to f(total), ties to even; it must fit."""
        scaled = self.at(total) * Fraction(2) ** fmt.fl()
        return round_ratio(scaled.numerator, scaled.denominator, Rounding.TIES_EVEN)


def floor_log2(value: Fraction) -> int:
    """floor_log2(v) = largest e with 2**e <= v, for v > 0.

    >>> floor_log2(Fraction(1, 3)), floor_log2(Fraction(8))
    (-2, 3)
    """
    e = value.numerator.bit_length() - value.denominator.bit_length()
    return e if Fraction(2) ** e <= value else e - 1


def design_table(power: Power, largest: int, design: TableDesign) -> tuple[SumLookup, np.ndarray]:
    """Return (lookup, entries) for sums of 0..largest: each entry is the power at its segment, rounded once, ties to even.

    The power is nearly straight up to s = k / slope and falls as s**-beta beyond, so equal segments there and the same number
    of segments for each octave beyond err alike: segments are uniform up to about 2k / slope.
    """
    lookup = _laid_out(power, max(largest, 1), design)
    count = _segments(lookup, largest) + (1 if design.fraction_bits else 0)
    codes = [power.code(lookup.sample(i), lookup.format) for i in range(count)]
    return lookup, np.array(codes, dtype=np.int64)


def _laid_out(power: Power, largest: int, design: TableDesign) -> SumLookup:
    """The finest segments that the entries allow."""
    drop = design.fraction_bits if design.dropped_bits is None else design.dropped_bits
    room, fmt = design.entries - (1 if design.fraction_bits else 0), _entry_format(power, design.bits)

    def fitted(shift: int, mantissa_bits: int | None) -> SumLookup:
        lookup = SumLookup(fmt, shift, mantissa_bits, design.fraction_bits, drop, design.rounding)
        return lookup if _segments(lookup, largest) <= room else fitted(shift + 1, mantissa_bits)

    bits = largest.bit_length()
    bend = floor_log2(power.k / power.slope) if power.slope else bits
    octaves = bits - bend + 1
    exact = fitted(0, None)
    if octaves <= 2 or exact.shift == 0:
        return exact
    mantissa = min(max((room // octaves).bit_length() - 1, 0), MAX_MANTISSA_BITS - 1)
    return min((fitted(max(bend - m, 0), m) for m in (mantissa + 1, mantissa)), key=lambda found: found.shift)


def _segments(lookup: SumLookup, largest: int) -> int:
    """Return how many segments the sums 0..largest have."""
    return segment(largest, lookup.rule.shift, lookup.rule.mantissa_bits)[0] + 1


def _entry_format(power: Power, bits: int) -> FixedPoint:
    """The finest unsigned format that holds the largest power, that of the sum 0."""
    length = bits - floor_log2(power.at(0))
    while power.code(0, FixedPoint(bits, length, False)) >= 1 << bits:
        length -= 1
    return FixedPoint(bits, length, False)
