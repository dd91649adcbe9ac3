"""The average over windows: by an exact division, or by a declared reciprocal of how many pixels a window counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import ClassVar

from hwsim.arith.average import average
from hwsim.arith.requantize import finish
from hwsim.arith.rounding import Rounding, round_ratio
from hwsim.arith.scale import Scaling
from hwsim.contract.accumulator import check_kind
from hwsim.contract.mac import ROUNDINGS, Activation, Output, operand_range, signed_width
from hwsim.contract.reciprocals import MAX_COUNT, Reciprocals
from hwsim.contract.resolve import Epilogue, check_multiplied, resolve_output
from hwsim.contract.scaling import LIMITS
from hwsim.errors import ContractError
from hwsim.formats import Affine
from hwsim.layers.base import AnyOutput, Bounds, Cell, Codes, Events, Range, Real, Requantized, Shape, multiplied_range, one_input
from hwsim.layers.combined import unit_of
from hwsim.layers.float_values import (
    check_float_output,
    check_no_affine,
    check_real,
    check_stage,
    has_float,
    integer_format,
    integer_output,
    sum_of_codes,
    words,
)
from hwsim.layers.pool import CountRule, Window, window_codes

MAX_LIFT = 24
MAX_SUM_BITS = 62


@dataclass(frozen=True)
class AveragePool(Requantized):
    """code = fit(round(sum of (code - zero_in) / divisor * 2**(fl_out - fl_in)) + zero_out): one exact division, one rounding.

    count: what the divisor is; a padded position that counts is a real 0.  output: format, rounding, overflow, activation.
    of_codes: the zero point stays in the sum, round(sum of codes / divisor), so that a tie goes by the code's sign and not by
    the real number's: the two differ only in ties of TIES_AWAY, TIES_TO_ZERO, TIES_EVEN and TIES_ODD, TOWARD_ZERO and
    AWAY_FROM_ZERO, since every other rounding commutes with the addition of an integer. The formats are then the same.
    Source: TensorFlow Lite, AVERAGE_POOL_2D (kernels/internal/reference/integer_ops/pooling.h), TIES_AWAY of codes.
    division: None, or Reciprocals, which multiply the sum instead; they may hold the ratio of two scales, too. Where fractional
    lengths differ, fl_out - fl_in is taken off their shifts (MULTIPLY alone).
    """

    format: Real
    window: Window
    count: CountRule
    output: AnyOutput
    of_codes: bool = False
    division: Reciprocals | None = None

    kind: ClassVar[str] = "average_pool"

    def __post_init__(self) -> None:
        check_real("average_pool.format", self.format)
        if not isinstance(self.count, CountRule):
            raise ContractError(f"average_pool.count: found {self.count!r}, allowed {', '.join(c.name for c in CountRule)}.")
        check_stage(self.kind, self.output)
        if not isinstance(self.of_codes, bool):
            raise ContractError(f"average_pool.of_codes: found {self.of_codes!r}, allowed True or False.")
        if self.division is not None:
            check_kind("average_pool.division", self.division, Reciprocals)
        if not self.in_floats:
            self.epilogue  # noqa: B018  refuse now what cannot be resolved
            return
        check_no_affine(self.kind, (self.format, self.output.format))
        check_float_output(self.kind, self.output)
        if self.of_codes or self.division is not None:
            raise ContractError("average_pool.division: found a rule of integers beside a minifloat, allowed the exact division.")

    @cached_property
    def in_floats(self) -> bool:
        """Whether a minifloat enters or leaves."""
        return has_float((self.format, self.output.format))

    @property
    def lift(self) -> int:
        """fl_out - fl_in, in integers: the sum is shifted left by it, or the divisor by its negative."""
        return integer_format(self.kind, self.output.format).fl() - integer_format(self.kind, self.format).fl()

    @cached_property
    def zero(self) -> int:
        """The input's zero point."""
        return integer_format(self.kind, self.format).zero()

    @property
    def offset(self) -> int:
        """What each counted position adds to the sum of code - zero_in: the zero point where codes are averaged."""
        return self.zero if self.of_codes else 0

    @cached_property
    def epilogue(self) -> Epilogue:
        """Limits and modes of the output; its shift is not used, since the division does it."""
        if abs(self.lift) > MAX_LIFT:
            raise ContractError(
                f"average_pool: the output's fractional_length differs by {self.lift} from the input's; allowed at most 24."
            )
        output = integer_output(self.kind, self.output)
        if output.scaling is not None:
            raise ContractError("average_pool.output.scaling: found a Multiplier, allowed None; its place is in the division.")
        found = resolve_output(output, (output.format.fl(),), 64, self.kind)
        if self.division is not None:
            self._check_division(self.division, output)
            return replace(found, scaling=self.division.rule)
        source = integer_format(self.kind, self.format)
        if isinstance(source, Affine) or isinstance(output.format, Affine):
            same_zero = not self.of_codes or self.zero == output.format.zero()
            if unit_of(source) != unit_of(output.format) or not same_zero:
                raise ContractError(
                    f"average_pool.output.format: found {output.format} for {source}, allowed with an exact division is its "
                    f"scale{' and zero point' if self.of_codes else ''}; give Reciprocals with the ratio in them."
                )
        return replace(found, zero_point=0) if self.of_codes else found

    def _check_division(self, division: Reciprocals, output: Output) -> None:
        rule, rounding = division.rule, output.fixed_rounding(self.kind)
        allowed = ROUNDINGS.get(rule, tuple(Rounding))
        if rounding not in allowed:
            names = ", ".join(mode.name for mode in allowed)
            raise ContractError(f"average_pool.output.rounding: found {rounding.name} with {rule.name}, allowed {names}.")
        if self.of_codes:
            raise ContractError("average_pool.of_codes: found True with reciprocals, allowed False: they multiply real sums.")
        for n in division.counts:
            multiplier, shift = self.reciprocal(n)
            bits = max(signed_width(end) for end in self.totals(n))
            check_multiplied(rule, multiplier, shift, bits, "average_pool.division")

    def reciprocal(self, count: int) -> tuple[int, int]:
        """Return (multiplier, shift) for a window of so many pixels, the change of grid in the shift."""
        assert self.division is not None
        multiplier, shift = self.division.entry(count, self.kind)
        low, high, _ = LIMITS[self.division.rule]
        if self.lift and self.division.rule is not Scaling.MULTIPLY or not low <= shift - self.lift <= high:
            raise ContractError(
                f"average_pool.division: found a shift of {shift} of {self.division.rule.name}, and lengths that differ "
                f"by {self.lift}; allowed is MULTIPLY with shifts less that in {low}..{high}, or equal lengths."
            )
        return multiplier, shift - self.lift

    def totals(self, count: int) -> Range:
        """Smallest and largest sum over a window that counts so many pixels: 0 is among them, as padding counts 0."""
        low, high = operand_range(integer_format(self.kind, self.format))
        if self.output.activation == Activation.RELU_BEFORE_REQUANTIZE:
            low = 0
        return count * low, count * high

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the pooled shape; windows of more than 2**20 pixels leave the proven range and are refused."""
        shape = one_input(self.kind, inputs)
        kernel = self.window.kernel_for(shape)
        if kernel[0] * kernel[1] > MAX_COUNT:
            raise ContractError(f"average_pool.kernel: found {kernel}, allowed at most 2**20 pixels.")
        pooled = self.window.output_shape(shape)
        if self.in_floats:
            return pooled
        if self.division is not None:
            for n in self.counts(shape):
                self.reciprocal(n)
            return pooled
        width = self.format.bits + (kernel[0] * kernel[1]).bit_length() + max(self.lift, 0) + (self.zero != 0)
        if width > MAX_SUM_BITS:
            raise ContractError(
                f"average_pool: the sum of {kernel[0]} x {kernel[1]} codes of {self.format.bits} bits is {width} bits wide "
                f"once shifted left by {self.lift}, allowed 62; choose an output fractional_length nearer to the input's."
            )
        return pooled

    def counts(self, shape: Shape) -> list[int]:
        """Return the numbers of pixels that windows on this input count, ascending: what Reciprocals must have.

        >>> from hwsim.formats import FixedPoint
        >>> s8 = FixedPoint(8, 0)
        >>> AveragePool(s8, Window((2, 2), (2, 2)), CountRule.EXCLUDE_PADDING, Output(s8)).counts(Shape(1, 4, 4))
        [4]
        """
        pooled = self.window.output_shape(shape)
        rows = {self.window.counted(0, shape, y, self.count) for y in range(pooled.h)}
        columns = {self.window.counted(1, shape, x, self.count) for x in range(pooled.w)}
        return sorted({a * b for a, b in product(rows, columns)})

    @property
    def bounds(self) -> Bounds:
        """An average lies between its smallest and its largest pixel, padding's 0 included; or as the reciprocals make it."""
        if self.in_floats:
            return words(self.output)
        e, stage = self.epilogue, self.epilogue.stage
        if self.division is not None:
            found = [
                multiplied_range(*self.totals(n), *self.reciprocal(n), self.division.rule, e.rounding)
                for n in self.division.counts
            ]
        else:
            unit = 1 << max(-self.lift, 0)
            ends = ((end + self.offset) << max(self.lift, 0) for end in self.totals(1))
            low, high = (round_ratio(end, unit, e.rounding) for end in ends)
            found = [(low, high)]
        low, high = min(low for low, _ in found), max(high for _, high in found)
        ends = (min(max(end + e.zero_point, stage.clamp_low), stage.clamp_high) for end in (low, high))
        return Bounds(None, (next(ends), next(ends)))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        plane = inputs[0][n][k]
        codes = window_codes(inputs, self.window, n, k, y, x)
        unit = self.window.divisor(Shape(1, len(plane), len(plane[0])), y, x, self.count)
        if self.in_floats:
            code, event = sum_of_codes(codes, [self.format] * len(codes), unit, self.output)
            return Cell(code, None, Events(0, event))
        total = sum(code - self.zero for code in codes)
        if self.division is not None:
            code, event = finish(total, *self.reciprocal(unit), self.epilogue.stage)
        else:
            code, event = average(total, unit, self.lift, self.offset, self.epilogue.stage)
        return Cell(code, None, Events(0, event))
