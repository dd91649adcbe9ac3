"""The lookup-table layer: any function of one code, sigmoid and tanh among them. tables.py makes the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np

from hwsim.arith.lookup import table_value
from hwsim.arith.rounding import Rounding
from hwsim.errors import ContractError
from hwsim.formats import Minifloat
from hwsim.formats.integer import check_int
from hwsim.layers.base import Bounds, Cell, Codes, Events, OneInput, Real
from hwsim.layers.float_values import check_real

MAX_TABLE_INPUT = 16
"""Bits of what indexes a table."""


class TableFunction(IntEnum):
    """What the entries of a table are values of, where it is known: another format then gets a table of its own."""

    SIGMOID = 0
    TANH = 1


@dataclass(frozen=True, eq=False)
class LookupTable(OneInput):
    """code = table[code_in - low]; with fraction_bits, the line between two entries that the code's low bits choose a point of.

    format: of the input, at most 16 bits; low: its smallest code.  table: codes [E] of output_format, one for each code from low
    on; with fraction_bits f one for each 2**f codes, and one behind the last for the line to end at.
    dropped_bits, rounding: the line's point is an integer on a grid finer by f bits, of which so many are rounded away; the
    entries are then codes of output_format without its last f - dropped_bits bits.
    function: what the table stands for; the table alone decides.
    What is TABLE of int16 in TOSA has f = 7 and drops none; TensorFlow Lite's drops all 7, ties up.

    >>> from hwsim.formats import FixedPoint
    >>> square = LookupTable(FixedPoint(3, 0), FixedPoint(6, 0), np.arange(-4, 4) ** 2)
    >>> square.spec([[[[[-4, 3]]]]], 0, 0, 0, 0).code, square.bounds.output
    (16, (0, 16))
    """

    format: Real
    output_format: Real
    table: np.ndarray
    fraction_bits: int = 0
    dropped_bits: int = 0
    rounding: Rounding = Rounding.TIES_UP
    function: TableFunction | None = None

    kind: ClassVar[str] = "lookup_table"

    def __post_init__(self) -> None:
        check_real("lookup_table.format", self.format, MAX_TABLE_INPUT)
        check_real("lookup_table.output_format", self.output_format)
        if self.format.bits > MAX_TABLE_INPUT:
            raise ContractError(f"lookup_table.format: found {self.format}, allowed at most {MAX_TABLE_INPUT} bits.")
        floats = isinstance(self.format, Minifloat) or isinstance(self.output_format, Minifloat)
        check_int("lookup_table.fraction_bits", self.fraction_bits, 0, 0 if floats else self.format.bits - 1)
        check_int("lookup_table.dropped_bits", self.dropped_bits, 0, self.fraction_bits)
        if not isinstance(self.rounding, Rounding):
            raise ContractError(f"lookup_table.rounding: found {self.rounding!r}, allowed {', '.join(r.name for r in Rounding)}.")
        if self.function is not None and not isinstance(self.function, TableFunction):
            names = ", ".join(function.name for function in TableFunction)
            raise ContractError(f"lookup_table.function: found {self.function!r}, allowed None, {names}.")
        object.__setattr__(self, "table", self._checked(np.asarray(self.table)))

    def _checked(self, table: np.ndarray) -> np.ndarray:
        """Return a read-only copy in the output's type: as many entries as there are places, each of which the output holds."""
        if table.dtype.kind not in "iu" or table.shape != (self.entries,):
            raise ContractError(
                f"lookup_table.table: found {table.dtype} of shape {table.shape}, allowed {self.entries} integers, "
                f"for the codes {self.format.low}..{self.format.high} in steps of {1 << self.fraction_bits}."
            )
        low, high = int(table.min()) << self.kept_bits, int(table.max()) << self.kept_bits
        if low < self.output_format.low or high > self.output_format.high:
            raise ContractError(
                f"lookup_table.table: the entries make codes {low}..{high}, allowed {self.output_format.low}.."
                f"{self.output_format.high} ({self.output_format}); saturate them first."
            )
        owned = table.astype(self.output_format.dtype)
        owned.setflags(write=False)
        return owned

    @property
    def entries(self) -> int:
        """How many entries the table has."""
        last = self.format.high - self.format.low
        return (last >> self.fraction_bits) + 1 + (self.fraction_bits > 0)

    @property
    def kept_bits(self) -> int:
        """By how many bits the output's grid is finer than the entries'."""
        return self.fraction_bits - self.dropped_bits

    @property
    def bounds(self) -> Bounds:
        """The smallest and the largest entry: a line lies between its ends."""
        return Bounds(None, (int(self.table.min()) << self.kept_bits, int(self.table.max()) << self.kept_bits))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        place = inputs[0][n][k][y][x] - self.format.low
        index = place >> self.fraction_bits
        near = [int(entry) for entry in self.table[index : index + 2]]
        part = place - (index << self.fraction_bits)
        return Cell(int(table_value(near, part, self.fraction_bits, self.dropped_bits, self.rounding)), None, Events())
