"""PReLU and leaky ReLU: negative inputs times a slope, one for each channel or one for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from hwsim.arith.prelu import finish_prelu
from hwsim.arith.requantize import Activation
from hwsim.contract.mac import MAX_OPERAND_BITS, Output, check_format, operand_range, real_step, signed_width
from hwsim.contract.resolve import Epilogue, resolve_output
from hwsim.contract.scaling import Multiplier
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers.base import Bounds, Cell, Codes, Events, Range, Requantized, Shape, checked_codes, one_input, scaled_range

MAX_VALUE_BITS = 62


@dataclass(frozen=True, eq=False)
class PReLU(Requantized):
    """code = finish(v) where v = code_in - zero_in >= 0, else finish(v * (slope[k] - zero_slope)): one rounding on either side.

    slope: codes [C] of slope_format, or a single one for all channels.  Slopes of 2**-s are the code 1 of FixedPoint(2, s).
    Without multipliers both sides are shifted to the output's grid.  With Output.scaling that scales what is not negative,
    and `negative`, by the same rule, what is: TensorFlow Lite's PRELU; its LEAKY_RELU has the code 1 for a slope, and alpha
    in `negative`.  Neither has entries per channel.  The Output's activation is NONE: a clamp may stand there.

    >>> s8 = FixedPoint(8, 4)
    >>> leaky = PReLU(s8, FixedPoint(6, 8), np.array([26]), Output(s8))  # 26/256, the slope of AMD's DPU
    >>> [leaky.spec([[[[[code]]]]], 0, 0, 0, 0).code for code in (100, -100, -1)]
    [100, -10, 0]
    """

    format: FixedPoint | Affine
    slope_format: FixedPoint | Affine
    slope: np.ndarray
    output: Output
    negative: Multiplier | None = None

    kind: ClassVar[str] = "prelu"

    def __post_init__(self) -> None:
        check_format("prelu.format", self.format)
        check_format("prelu.slope_format", self.slope_format, MAX_OPERAND_BITS)
        object.__setattr__(self, "slope", checked_codes("prelu.slope", np.atleast_1d(self.slope), self.slope_format, "C"))
        if not isinstance(self.output, Output):
            raise ContractError(f"prelu.output: found {self.output!r}, allowed an Output.")
        if self.output.activation is not Activation.NONE:
            raise ContractError(f"prelu.output.activation: found {self.output.activation.name}, allowed NONE, or a clamp.")
        self._check_scaling()
        self.epilogue, self.below  # noqa: B018  refuse now what cannot be resolved

    def _check_scaling(self) -> None:
        """Refuse one multiplier without the other, and grids that shifts do not connect."""
        above, below = self.output.scaling, self.negative
        if below is not None and not isinstance(below, Multiplier):
            raise ContractError(f"prelu.negative: found {below!r}, allowed None or a Multiplier.")
        if (above is None) != (below is None) or above is not None and below is not None and above.rule is not below.rule:
            raise ContractError(f"prelu.negative: found {below!r} beside {above!r}; allowed are two of one rule, or none.")
        for name, scaling in (("output.scaling", above), ("negative", below)):
            if scaling is not None and scaling.channels is not None:
                raise ContractError(
                    f"prelu.{name}: found {scaling.channels} entries, allowed a single one; slopes differ by channel."
                )
        if above is not None or not any(isinstance(f, Affine) for f in (self.format, self.slope_format, self.output.format)):
            return
        if (
            isinstance(self.slope_format, Affine)
            or real_step(self.format) != real_step(self.output.format)
            or self.output.format.fl()
        ):
            raise ContractError(
                f"prelu.output: found no scaling from {self.format} with slopes {self.slope_format} to {self.output.format}; "
                "give Output.scaling and negative, or an output of the input's scale and FixedPoint slopes."
            )

    @cached_property
    def slopes(self) -> np.ndarray:
        """The slopes as integers: codes less their zero point, int64 [C] or [1]."""
        return np.asarray(self.slope.astype(np.int64) - self.slope_format.zero())

    @cached_property
    def ranges(self) -> tuple[Range, Range]:
        """Smallest and largest value (v >= 0, v * slope of v < 0)."""
        low, high = operand_range(self.format)
        products = [min(low, 0) * int(end) for end in (self.slopes.min(), self.slopes.max())]
        return (0, max(high, 0)), (min(0, *products), max(0, *products))

    @cached_property
    def epilogue(self) -> Epilogue:
        """Multiplier, shift, limits and modes of values that are not negative."""
        return self._resolved(self.output, self.format.fl(), self.ranges[0])

    @cached_property
    def below(self) -> Epilogue:
        """Those of products with a slope."""
        output = self.output if self.negative is None else replace(self.output, scaling=self.negative)
        return self._resolved(output, self.format.fl() + self.slope_format.fl(), self.ranges[1])

    def _resolved(self, output: Output, length: int, values: Range) -> Epilogue:
        bits = max(signed_width(end) for end in values)
        if bits > MAX_VALUE_BITS:
            raise ContractError(
                f"prelu: the product with a slope needs {bits} bits, allowed {MAX_VALUE_BITS}; take narrower slopes."
            )
        return resolve_output(output, (length,), bits, self.kind)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's shape; as many channels as slopes, where there are several."""
        shape = one_input(self.kind, inputs)
        if len(self.slope) not in (1, shape.c):
            raise ContractError(f"prelu.slope: found {len(self.slope)} for {shape.c} channels; give one, or one for each.")
        return shape

    @property
    def bounds(self) -> Bounds:
        """The ends of both sides, scaled."""
        ends = [*scaled_range(*self.ranges[0], 0, self.epilogue), *scaled_range(*self.ranges[1], 0, self.below)]
        return Bounds(None, (min(ends), max(ends)))

    @property
    def sides(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(multiplier, shift) of each side."""
        return (self.epilogue.multiplier[0], self.epilogue.shift[0]), (self.below.multiplier[0], self.below.shift[0])

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        slope = int(self.slopes[k if len(self.slopes) > 1 else 0])
        code, event = finish_prelu(inputs[0][n][k][y][x] - self.format.zero(), slope, *self.sides, self.epilogue.stage)
        return Cell(code, None, Events(0, event))
