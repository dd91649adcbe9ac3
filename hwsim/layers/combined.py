"""What layers share that combine several operands position by position: inputs, a constant, and one rule of broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from typing import ClassVar

import numpy as np

from hwsim.contract.mac import operand_range, real_step
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint, Minifloat
from hwsim.layers.base import Codes, Range, Real, Shape, checked_codes
from hwsim.layers.float_values import check_real, integer_format

MAX_OPERANDS = 1 << 16


class Combined:
    """Operands: the inputs, in order, and then the constant, if there is one.

    formats: of the inputs.  constant: codes [C][H][W] in `constant_format`, or None.
    The inputs have one shape, the output's.  stretch: along each axis an input may instead have one position that stands for
    all; the constant always may.
    """

    kind: ClassVar[str]
    formats: tuple[Real, ...]
    stretch: bool
    constant: np.ndarray | None
    constant_format: FixedPoint | Affine | None

    def check_operands(self) -> None:
        """Refuse operands that are too few, or no formats; own the constant."""
        object.__setattr__(self, "formats", tuple(self.formats))
        given = len(self.formats) + (self.constant is not None)
        if not self.formats or not 2 <= given <= MAX_OPERANDS:
            raise ContractError(
                f"{self.kind}.formats: found {len(self.formats)} inputs{'' if self.constant is None else ' and a constant'}, "
                "allowed two or more, a constant counted."
            )
        for f in self.formats:
            check_real(f"{self.kind}.formats", f)
        if not isinstance(self.stretch, bool):
            raise ContractError(f"{self.kind}.stretch: found {self.stretch!r}, allowed True or False.")
        if (self.constant is None) != (self.constant_format is None):
            raise ContractError(f"{self.kind}.constant: found codes without a format or the reverse; give both or none.")
        if self.constant_format is None:
            return
        check_real(f"{self.kind}.constant_format", self.constant_format)
        if any(isinstance(f, Minifloat) for f in (*self.formats, self.constant_format)):
            raise ContractError(f"{self.kind}.constant: found one beside a minifloat, allowed are FixedPoint and Affine.")
        assert self.constant is not None
        object.__setattr__(self, "constant", checked_codes(f"{self.kind}.constant", self.constant, self.constant_format, "CHW"))

    @property
    def input_formats(self) -> tuple[Real, ...]:
        """Format of each input."""
        return self.formats

    @cached_property
    def operand_formats(self) -> tuple[Real, ...]:
        """Format of each operand: the inputs', then the constant's."""
        return self.formats if self.constant_format is None else (*self.formats, self.constant_format)

    @cached_property
    def fixed(self) -> tuple[FixedPoint | Affine, ...]:
        """Format of each operand of a layer in integers."""
        return tuple(integer_format(self.kind, f) for f in self.operand_formats)

    @cached_property
    def ranges(self) -> tuple[Range, ...]:
        """Smallest and largest code - zero_point of each operand; a constant's are its own. Each range has 0 in it."""
        found = [operand_range(f) for f in self.fixed]
        if self.constant is not None:
            zero = self.fixed[-1].zero()
            found[-1] = min(int(self.constant.min()) - zero, 0), max(int(self.constant.max()) - zero, 0)
        return tuple(found)

    @cached_property
    def _constant_list(self) -> list[list[list[int]]]:
        assert self.constant is not None
        return self.constant.tolist()

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the largest extent of each axis; each operand has it, or 1 where it may be stretched."""
        if len(inputs) != len(self.formats) or not self.stretch and len(set(inputs)) != 1:
            raise ContractError(
                f"{self.kind}: found inputs {list(map(tuple, inputs))}, allowed {len(self.formats)} "
                f"{'inputs' if self.stretch else 'of one shape'}."
            )
        shapes = [*inputs] if self.constant is None else [*inputs, Shape(*self.constant.shape)]
        whole = Shape(*(max(extents) for extents in zip(*shapes, strict=True)))
        for shape in shapes:
            fits = all(extent in (1, full) for extent, full in zip(shape, whole, strict=True))
            if not fits or not self.stretch and whole != inputs[0]:
                shown = ", ".join(str(tuple(shape)) for shape in shapes)
                raise ContractError(f"{self.kind}: found operands {shown}; allowed along each axis is one extent for all, or 1.")
        return whole

    def codes_at(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> list[int]:
        """Return the code of each operand at one output."""
        operands = [image[n] for image in inputs]
        if self.constant is not None:
            operands.append(self._constant_list)
        return [_stretched(planes, k, y, x) for planes in operands]

    def check_units(self, output: Real | None, product: bool = False) -> None:
        """Refuse operands whose real units do not agree, or their product's with the output's (None: not compared).

        A unit is what the integers are worth once fractional lengths are aligned: 1 in fixed point, the scale of an Affine.
        """
        if all(isinstance(f, FixedPoint) for f in (*self.fixed, *(() if output is None else (output,)))):
            return
        units = [unit_of(f) for f in self.fixed]
        if not product and len(set(units)) > 1:
            shown = ", ".join(f"{float(unit):g}" for unit in units)
            raise ContractError(f"{self.kind}.formats: found scales {shown}, allowed one for all; give each operand a scaling.")
        whole = units[0]
        for unit in units[1:] if product else ():
            whole *= unit
        if output is not None and whole != unit_of(integer_format(self.kind, output)):
            raise ContractError(
                f"{self.kind}.output: found no scaling from values of {float(whole):g} to {output}; give Output.scaling, or an "
                "output of that scale."
            )


def unit_of(fmt: FixedPoint | Affine) -> Fraction:
    """Return what the integers of a format are worth, fractional length aside: a Fraction."""
    return real_step(fmt) * Fraction(2) ** fmt.fl()


def _stretched(planes: Sequence[Sequence[Sequence[int]]], k: int, y: int, x: int) -> int:
    rows = planes[k if len(planes) > 1 else 0]
    row = rows[y if len(rows) > 1 else 0]
    return row[x if len(row) > 1 else 0]
