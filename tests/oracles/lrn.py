"""Integer LRN a second time: plain loops, segments listed one after the other, lines and roundings in fractions."""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction

import numpy as np

from hwsim.layers import Events, IntegerLRN, Region
from hwsim.layers.lrn_table import SumLookup
from oracles.exact import limits, rounded


def starts(lookup: SumLookup, count: int) -> list[int]:
    """Where segments 0..count begin: equal ones until the leading one and what follows it take over, one octave at a time."""
    found, width = [0], 1 << lookup.shift
    while len(found) <= count:
        found.append(found[-1] + width)
        mantissa = lookup.mantissa_bits
        if mantissa is not None and found[-1] == width * 2 ** (mantissa + 1):
            width *= 2
    return found


def factor(layer: IntegerLRN, total: int, begins: list[int]) -> Fraction:
    """The factor of a sum, in units of the table's grid."""
    look, entries = layer.lookup, layer.table.tolist()
    index = bisect_right(begins, total) - 1
    if index >= len(entries) - 1:
        value = Fraction(entries[-1])
    else:
        steps = 2**look.fraction_bits
        place = Fraction(total - begins[index], begins[index + 1] - begins[index]) * steps
        a, b = entries[index], entries[index + 1]
        value = a + Fraction(b - a) * (place.numerator // place.denominator) / steps
    grid = 2 ** (look.fraction_bits - look.dropped_bits)
    return Fraction(rounded(value * grid, look.rounding), grid)


def squares(layer: IntegerLRN, x: np.ndarray, at: tuple[int, ...]) -> int:
    """The exact sum, over every cell of the tensor that is near."""
    n, k, y, column = at
    reach, total = layer.local_size // 2, 0
    for c, row, col in np.ndindex(*x.shape[1:]):
        if layer.region == Region.ACROSS_CHANNELS:
            near = abs(c - k) <= reach and (row, col) == (y, column)
        else:
            near = c == k and abs(row - y) <= reach and abs(col - column) <= reach
        if near:
            total += (int(x[n, c, row, col]) - layer.format.zero()) ** 2
    return total


def integer_lrn(layer: IntegerLRN, x: np.ndarray) -> tuple[np.ndarray, Events]:
    """Codes and events; the output is a FixedPoint or an Affine without a multiplier, and saturates."""
    f, mode = layer.output.format, layer.output.overflow
    codes, events, begins = np.zeros(x.shape, dtype=object), 0, starts(layer.lookup, len(layer.table))
    low, high = limits(f.bits, f.signed, mode)
    for at in np.ndindex(*x.shape):
        value = (int(x[at]) - layer.format.zero()) * factor(layer, squares(layer, x, at), begins)
        shift = layer.format.fl() + layer.lookup.format.fl() - f.fl()
        code = rounded(value / Fraction(2) ** shift, layer.output.rounding) + f.zero()
        events += not low <= code <= high
        codes[at] = sorted((low, code, high))[1]
    return codes, Events(0, events)
