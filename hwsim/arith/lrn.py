"""From a sum of squares to the factor of a local response normalization: a table's segment, and what lies within it.

Leaves, for Python ints and int64 alike: a sum below 2**62, and entries << fraction_bits below 2**62 (layers/lrn.py proves it).
"""

from typing import NamedTuple

from hwsim.arith.minifloat import bit_length
from hwsim.arith.rounding import round_shift

UNIFORM = 62
"""mantissa_bits at which every segment has one width, 2**shift: no sum has a leading one further up."""


class LookupRule(NamedTuple):
    """How a sum finds its factor, as plain ints (layers/lrn_table.py says what each means)."""

    shift: int
    mantissa_bits: int
    fraction_bits: int
    dropped_bits: int
    rounding: int


def segment(total, shift, mantissa_bits):
    """segment(t) = (index, drop): segment `index` holds the sums that share t >> drop.

    Up to 2**(shift + mantissa_bits + 1) all segments are 2**shift wide; beyond, each octave has 2**mantissa_bits of them: the
    leading one and the mantissa_bits behind it are the index.  total: 0 <= t < 2**62.

    >>> [segment(t, 1, 2)[0] for t in (0, 1, 2, 14, 15, 16, 19, 20, 31, 32)], segment(100, 3, UNIFORM)
    ([0, 0, 1, 7, 7, 8, 8, 9, 11, 12], (12, 3))
    """
    drop = max(bit_length(total) - 1 - mantissa_bits, shift)
    return ((drop - shift) << mantissa_bits) + (total >> drop), drop


def look_up(total, table, last, rule):
    """look_up(t) = the entry of t's segment, or the line from it to the next entry: round((a * (2**f - x) + b * x) / 2**dropped).

    x: the first f = fraction_bits bits of t within its segment, so that 0 of them interpolate nothing.  last: the last entry,
    which stands for every sum beyond the table.

    >>> from hwsim.arith.rounding import Rounding
    >>> rule = LookupRule(3, UNIFORM, 2, 2, Rounding.TIES_UP)
    >>> [look_up(t, [100, 60, 40], 2, rule) for t in (0, 1, 2, 4, 8, 15, 16, 99)]
    [100, 100, 90, 80, 60, 45, 40, 40]
    """
    index, drop = segment(total, rule.shift, rule.mantissa_bits)
    bits = rule.fraction_bits
    if index >= last:
        return round_shift(table[last] << bits, rule.dropped_bits, rule.rounding)
    rest = total - ((total >> drop) << drop)
    part = rest >> (drop - bits) if drop >= bits else rest << (bits - drop)
    line = table[index] * ((1 << bits) - part) + table[index + 1] * part
    return round_shift(line, rule.dropped_bits, rule.rounding)
