"""The sum of several operands: aligned and exact, each scaled on its own, or step by step in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from hwsim.arith.operand import Term, term_value
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.contract.mac import signed_width
from hwsim.contract.operand import FloatSteps, Operand
from hwsim.contract.resolve import Epilogue, check_multiplied, resolve_output
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers.base import AnyOutput, Bounds, Cell, Codes, Events, Range, Real, finish, multiplied_range, rounded_range
from hwsim.layers.combined import Combined
from hwsim.layers.float_steps import check_steps, steps_epilogue, summed_in_steps
from hwsim.layers.float_values import (
    check_float_output,
    check_no_affine,
    check_stage,
    has_float,
    integer_output,
    sum_of_codes,
    words,
)

MAX_SUM_BITS = 62


@dataclass(frozen=True, eq=False)
class EltwiseSum(Combined):
    """code = fit(round(sum of (code_i - zero_i) * 2**(fl_max - fl_i), at fl_max)): all aligned to the finest grid, one rounding.

    formats: of the inputs.  stretch, constant, constant_format: see Combined.  The exact sum has at most 62 bits.
    operands: how each operand is scaled and signed before the sum, or None for all as they are; then affine operands have one
    scale.  FloatSteps: the whole sum in float32.
    With a minifloat among inputs or output the exact sum has any width, and one zero: +0.
    """

    formats: tuple[Real, ...]
    output: AnyOutput
    operands: tuple[Operand, ...] | FloatSteps | None = None
    stretch: bool = False
    constant: np.ndarray | None = None
    constant_format: FixedPoint | Affine | None = None

    kind: ClassVar[str] = "eltwise_sum"

    def __post_init__(self) -> None:
        self.check_operands()
        check_stage(self.kind, self.output)
        if self.in_floats:
            check_no_affine(self.kind, (*self.formats, self.output.format))
            check_float_output(self.kind, self.output)
            if self.operands is not None or self.stretch:
                name = "stretch" if self.operands is None else "operands"
                raise ContractError(f"eltwise_sum.{name}: found one beside a minifloat, allowed there are sums as they are.")
            return
        if isinstance(self.operands, FloatSteps):
            check_steps(self.kind, self.operands, len(self.fixed))
        elif self.operands is not None:
            object.__setattr__(self, "operands", tuple(self.operands))
            if len(self.operands) != len(self.fixed) or not all(isinstance(o, Operand) for o in self.operands):
                raise ContractError(
                    f"eltwise_sum.operands: found {len(self.operands)}, allowed an Operand for each of the {len(self.fixed)}."
                )
        self.epilogue  # noqa: B018  refuse now what cannot be resolved

    @cached_property
    def in_floats(self) -> bool:
        """Whether a minifloat enters or leaves."""
        return has_float((*self.formats, self.output.format))

    @property
    def output_format(self) -> Real:
        """Format of the output codes."""
        return self.output.format

    @cached_property
    def align(self) -> tuple[int, ...]:
        """fl_max - fl_i: how far each operand is shifted left unless it says otherwise."""
        finest = max(f.fl() for f in self.fixed)
        return tuple(finest - f.fl() for f in self.fixed)

    @cached_property
    def steps(self) -> FloatSteps | None:
        """The float32 steps, where the sum is one of those."""
        return self.operands if isinstance(self.operands, FloatSteps) else None

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """Each operand's numbers, of a sum in integers."""
        declared = self.operands if isinstance(self.operands, tuple) else (Operand(),) * len(self.fixed)
        return tuple(operand.term(align) for operand, align in zip(declared, self.align, strict=True))

    @cached_property
    def total(self) -> Range:
        """Smallest and largest sum; as every term can be 0, each partial sum lies between them, too."""
        found = [_term_range(value, term) for value, term in zip(self.ranges, self.terms, strict=True)]
        return sum(low for low, _ in found), sum(high for _, high in found)

    @cached_property
    def epilogue(self) -> Epilogue:
        """The shift, limits and modes."""
        output = integer_output(self.kind, self.output)
        if self.steps is not None:
            return steps_epilogue(self.kind, output, self.steps)
        scaled = any(term.scaling != Scaling.SHIFT for term in self.terms)
        if not scaled:
            self.check_units(None if output.scaling is not None else output.format)
        width = max(signed_width(end) for end in self.total)
        if width > MAX_SUM_BITS:
            raise ContractError(f"eltwise_sum: the aligned sum is {width} bits wide, allowed 62; bring the inputs' grids closer.")
        return resolve_output(output, (max(f.fl() for f in self.fixed),), width, self.kind)

    @property
    def bounds(self) -> Bounds:
        """The sum of the operands' ranges."""
        if self.in_floats:
            return words(self.output)
        if self.steps is not None:
            return Bounds(None, rounded_range(self._steps_range(self.steps), 0, self.epilogue))
        return Bounds(None, rounded_range(self.total, 0, self.epilogue))

    def _steps_range(self, steps: FloatSteps) -> Range:
        """Every float step is monotone in each operand: the ends are those of the operands' ends."""
        lows = [low if scale > 0 else high for (low, high), scale in zip(self.ranges, steps.scales, strict=True)]
        highs = [high if scale > 0 else low for (low, high), scale in zip(self.ranges, steps.scales, strict=True)]
        return self._in_steps(lows, steps), self._in_steps(highs, steps)

    def _in_steps(self, values: Sequence[int], steps: FloatSteps) -> int:
        return summed_in_steps(values, [f.zero() for f in self.fixed], steps, self.epilogue.rounding)

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        codes = self.codes_at(inputs, n, k, y, x)
        if self.in_floats:
            code, event = sum_of_codes(codes, self.formats, 1, self.output)
            return Cell(code, None, Events(0, event))
        values = [code - f.zero() for code, f in zip(codes, self.fixed, strict=True)]
        if self.steps is not None:
            total = self._in_steps(values, self.steps)
        else:
            total = sum(term_value(value, term) for value, term in zip(values, self.terms, strict=True))
        code, event = finish(total, 0, self.epilogue)
        return Cell(code, None, Events(0, event))


def _term_range(value: Range, term: Term) -> Range:
    """Range of an operand's term; ContractError where its scaling leaves the rule's register."""
    rule, rounding = Scaling(term.scaling), Rounding(term.rounding)
    low, high = (end << term.left for end in value)
    if rule is not Scaling.SHIFT:
        bits = max(signed_width(low), signed_width(high))
        check_multiplied(rule, term.multiplier, term.shift, bits, "eltwise_sum.operands")
        if term.shift < 0:
            check_multiplied(Scaling.MULTIPLY, term.multiplier, term.shift, bits, "eltwise_sum.operands")
        low, high = multiplied_range(low, high, term.multiplier, term.shift, rule, rounding)
    return (low, high) if term.sign > 0 else (-high, -low)
