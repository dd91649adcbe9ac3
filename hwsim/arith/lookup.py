"""From a code to an entry of a table, or to the line between two entries. A leaf, for Python ints and int64 alike."""

from hwsim.arith.rounding import round_shift


def table_value(table, place, fraction_bits, dropped_bits, rounding):
    """value(p) = round((t[i] * 2**f + (t[i + 1] - t[i]) * (p mod 2**f)) / 2**dropped), i = p >> f; with f = 0 the entry itself.

    place: code - lowest code, within the table.  f = fraction_bits; entries * 2**(f + 1) stay below 2**63.
    Source: TOSA specification, TABLE of int16 (f = 7, nothing dropped); TensorFlow Lite, LUTLookup of int16, whose
    t[i] + ((t[i + 1] - t[i]) * x + 64 >> 7) is the same line with 7 bits dropped, ties up.

    >>> from hwsim.arith.rounding import Rounding
    >>> table_value([10, 20, 40], 5, 2, 0, Rounding.TIES_UP), table_value([10, 20, 40], 5, 2, 2, Rounding.TIES_UP)
    (100, 25)
    """
    if fraction_bits == 0:
        return table[place]
    index = place >> fraction_bits
    line = (table[index] << fraction_bits) + (table[index + 1] - table[index]) * (place - (index << fraction_bits))
    return round_shift(line, dropped_bits, rounding)
