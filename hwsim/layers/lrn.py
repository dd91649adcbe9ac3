"""Local response normalization in integers: an exact sum of squares, a table of powers, one multiply, one rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from hwsim.arith.lrn import look_up
from hwsim.contract.mac import Output, operand_range, real_step
from hwsim.contract.resolve import Epilogue, resolve_output
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers.base import Bounds, Cell, Codes, Events, Requantized, checked_codes, finish, rounded_range
from hwsim.layers.float_values import integer_format, integer_output
from hwsim.layers.host import Region, check_lrn, neighbours
from hwsim.layers.lrn_table import MAX_ENTRIES, Power, SumLookup, TableDesign, design_table

MAX_INPUT_BITS = 16
MAX_REGISTER_BITS = 62

DEFAULT = TableDesign()
"""256 entries of 16 bits: docs/quantize.md has the errors of other sizes."""


@dataclass(frozen=True, eq=False)
class IntegerLRN(Requantized):
    """code = finish((x - zero) * factor(sum of (neighbour - zero)**2)): the sum is exact, the factor comes from a table.

    format: of the input, at most 16 bits.  region, local_size: which neighbours, as HostLRN has them; outside is real 0.
    lookup, table: how the sum finds its factor, and the entries' codes.  output: one rounding, from the product.
    alpha, beta, k: what the table stands for; the table alone decides what comes out. Where a code of input or output is not a
    power of two (Affine, without Output.scaling), the ratio of their scales is in the entries: see from_real.

    >>> s8 = FixedPoint(8, 5)
    >>> lrn = IntegerLRN.from_real(s8, Region.ACROSS_CHANNELS, 3, 1.0, 0.75, 1.0, Output(FixedPoint(8, 6)), TableDesign(64))
    >>> lrn.spec([[[[[32]], [[64]], [[-96]]]]], 0, 1, 0, 0).code, len(lrn.table), lrn.sum_bits
    (35, 46, 16)
    """

    format: FixedPoint | Affine
    region: Region
    local_size: int
    alpha: float
    beta: float
    k: float
    lookup: SumLookup
    table: np.ndarray
    output: Output

    kind: ClassVar[str] = "lrn"

    def __post_init__(self) -> None:
        if integer_format(self.kind, self.format).bits > MAX_INPUT_BITS or self.format.per_channel:
            raise ContractError(f"lrn.format: found {self.format}, allowed one format of at most {MAX_INPUT_BITS} bits.")
        integer_output(self.kind, self.output)
        check_lrn(self.kind, self.local_size, self.alpha, self.beta, self.k)
        object.__setattr__(self, "table", checked_codes("lrn.table", self.table, self.lookup.format, "E"))
        if not 1 <= len(self.table) <= MAX_ENTRIES:
            raise ContractError(f"lrn.table: found {len(self.table)} entries, allowed at most {MAX_ENTRIES}.")
        if self.sum_bits > MAX_REGISTER_BITS:
            raise ContractError(
                f"lrn.local_size: found {self.local_size}, whose sums of squares need {self.sum_bits} bits; allowed are "
                f"{MAX_REGISTER_BITS}."
            )
        self.epilogue  # noqa: B018  refuse now what cannot be resolved

    @classmethod
    def from_real(
        cls,
        format: FixedPoint | Affine,
        region: Region,
        local_size: int,
        alpha: float,
        beta: float,
        k: float,
        output: Output,
        design: TableDesign = DEFAULT,
    ) -> IntegerLRN:
        """Return the layer whose table is that of (k + alpha / n * real sum of squares)**-beta, each entry rounded once.

        Errors: ContractError; Output.scaling must be None: where scales differ by no power of two, the entries hold their ratio.
        """
        check_lrn(cls.kind, local_size, alpha, beta, k)
        if integer_output(cls.kind, output).scaling is not None:
            raise ContractError("lrn.output.scaling: found a Multiplier, allowed None: the table holds the ratio of the scales.")
        count = local_size ** (1 if region == Region.ACROSS_CHANNELS else 2)
        step, gain = real_step(format), _off_grid(format) / _off_grid(output.format)
        power = Power(Fraction(alpha) / count * step**2, Fraction(beta), Fraction(k), gain)
        lookup, table = design_table(power, _largest_sum(format, count), design)
        return cls(format, region, local_size, alpha, beta, k, lookup, table, output)

    @property
    def design(self) -> TableDesign:
        """What the table could have been built from, so that it can be built again for other formats."""
        entries, look = max(1 << (len(self.table) - 1).bit_length(), 2), self.lookup
        return TableDesign(entries, look.format.bits, look.fraction_bits, look.dropped_bits, look.rounding)

    def rebuilt(self, format: FixedPoint | Affine | None = None, output: Output | None = None) -> IntegerLRN:
        """Return the layer for another input or output, its table built again where an entry's meaning changed.

        While all formats keep what a code is worth, the table stays as it is, one written by hand too.
        """
        read, write = self.format if format is None else format, self.output if output is None else output
        if real_step(read) == real_step(self.format) and _off_grid(write.format) == _off_grid(self.output.format):
            return replace(self, format=read, output=write)
        constants = (self.region, self.local_size, self.alpha, self.beta, self.k)
        return IntegerLRN.from_real(read, *constants, write, self.design)

    @property
    def count(self) -> int:
        """The most neighbours that are summed."""
        return self.local_size ** (1 if self.region == Region.ACROSS_CHANNELS else 2)

    @property
    def largest_sum(self) -> int:
        """The largest sum of squares, whatever the codes."""
        return _largest_sum(self.format, self.count)

    @property
    def sum_bits(self) -> int:
        """Width of an unsigned register that holds every sum."""
        return self.largest_sum.bit_length()

    @property
    def product_bits(self) -> int:
        """Width of a signed register that holds every product of code and factor."""
        factor = self.lookup.factor
        return _magnitude(self.format).bit_length() + 1 + factor.bits

    @cached_property
    def epilogue(self) -> Epilogue:
        """The shift, limits and modes."""
        look = self.lookup
        if max(self.product_bits, look.format.bits + 1 + look.fraction_bits) > MAX_REGISTER_BITS:
            raise ContractError(
                f"lrn.lookup: a factor of {look.factor.bits} bits, interpolated with {look.fraction_bits}, times a code of "
                f"{self.format.bits} bits leaves {MAX_REGISTER_BITS} bits; take narrower entries or drop more bits."
            )
        length = integer_format(self.kind, self.format).fl() + look.factor.fl()
        return resolve_output(self.output, (length,), self.product_bits, self.kind)

    @property
    def bounds(self) -> Bounds:
        """Any code times any entry: a line between two entries leaves neither."""
        look, codes = self.lookup, (int(self.table.min()), int(self.table.max()))
        factors = [look_up(0, [code], 0, look.rule) for code in codes]
        products = [x * f for x in operand_range(self.format) for f in factors]
        return Bounds(None, rounded_range((min(0, *products), max(0, *products)), 0, self.epilogue))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        image, zero = inputs[0][n], self.format.zero()
        near = neighbours(self.region, self.local_size, image, (k, y, x))
        total = sum((code - zero) ** 2 for code in near)
        factor = look_up(total, self.entries, len(self.entries) - 1, self.lookup.rule)
        code, event = finish((image[k][y][x] - zero) * factor, 0, self.epilogue)
        return Cell(code, None, Events(0, event))

    @cached_property
    def entries(self) -> list[int]:
        """The table as plain ints."""
        found: list[int] = self.table.tolist()
        return found


def _magnitude(fmt: FixedPoint | Affine) -> int:
    """The largest |code - zero|."""
    return max(abs(end) for end in operand_range(fmt))


def _largest_sum(fmt: FixedPoint | Affine, count: int) -> int:
    return count * _magnitude(fmt) ** 2


def _off_grid(fmt: Any) -> Fraction:
    """What a code is worth beyond the power of two of its fractional length: 1, or an Affine's scale."""
    return real_step(fmt) * Fraction(2) ** fmt.fl()
