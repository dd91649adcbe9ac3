"""The tables of sigmoid and tanh between two formats: an entry for each code, or lines where there are too many codes."""

from __future__ import annotations

from hwsim.arith.rounding import Rounding
from hwsim.formats import FixedPoint
from hwsim.layers.lookup import LookupTable, TableFunction
from hwsim.layers.tables import CURVES, table_layer

WHOLE_BITS = 12
"""Inputs of more bits get lines between 2**LINE_BITS entries."""
LINE_BITS = 10


def function_table(function: TableFunction, fmt: FixedPoint, output: FixedPoint, rounding: Rounding) -> LookupTable:
    """Return the layer of a function from one format to another, each entry rounded once; it says what it stands for.

    >>> table = function_table(TableFunction.TANH, FixedPoint(4, 1), FixedPoint(8, 7), Rounding.TIES_EVEN)
    >>> table.table.tolist()[8:], table.function
    ([0, 59, 97, 116, 123, 126, 127, 127], <TableFunction.TANH: 1>)
    """
    bits = fmt.bits - LINE_BITS if fmt.bits > WHOLE_BITS else 0
    made = table_layer(CURVES[function], fmt, output, rounding, fraction_bits=bits)
    return LookupTable(fmt, output, made.table, made.fraction_bits, made.dropped_bits, made.rounding, function)
