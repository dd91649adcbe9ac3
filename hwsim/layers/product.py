"""The product of several operands, position by position: exact, or step by step in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import ClassVar

import numpy as np

from hwsim.contract.mac import Output, signed_width
from hwsim.contract.operand import FloatSteps
from hwsim.contract.resolve import Epilogue, resolve_output
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers.base import Bounds, Cell, Codes, Events, Range, finish, rounded_range
from hwsim.layers.combined import Combined
from hwsim.layers.float_steps import check_steps, multiplied_in_steps, steps_epilogue
from hwsim.layers.float_values import integer_output

MAX_PRODUCT_BITS = 64
MAX_STEP_BITS = 62
MAX_CORNERS = 8


@dataclass(frozen=True, eq=False)
class EltwiseProduct(Combined):
    """code = fit(round(product of (code_i - zero_i)) + zero_out), shifted by the sum of fl_i - fl_out or by a Multiplier.

    formats: of the inputs, no minifloats.  stretch, constant, constant_format: see Combined.  The exact product, in the
    operands' order, has at most 64 bits.  steps: the product in float32 instead, step by step or with an offset; or None.

    >>> s8 = FixedPoint(8, 4)
    >>> EltwiseProduct((s8, s8), Output(s8)).spec([[[[[24]]]], [[[[40]]]]], 0, 0, 0, 0).code  # 1.5 * 2.5
    60
    """

    formats: tuple[FixedPoint | Affine, ...]
    output: Output
    steps: FloatSteps | None = None
    stretch: bool = False
    constant: np.ndarray | None = None
    constant_format: FixedPoint | Affine | None = None

    kind: ClassVar[str] = "eltwise_product"

    def __post_init__(self) -> None:
        self.check_operands()
        integer_output(self.kind, self.output)
        if self.steps is not None:
            check_steps(self.kind, self.steps, 1 if self.steps.offset is not None else len(self.fixed))
        self.epilogue  # noqa: B018  refuse now what cannot be resolved

    @property
    def output_format(self) -> FixedPoint | Affine:
        """Format of the output codes."""
        return self.output.format

    @cached_property
    def total(self) -> Range:
        """Smallest and largest product; ContractError where a product of the first operands needs more than 64 bits."""
        found = self.ranges[0]
        for other in self.ranges[1:]:
            corners = [a * b for a, b in product(found, other)]
            found = min(corners), max(corners)
            width = max(signed_width(end) for end in found)
            if width > MAX_PRODUCT_BITS:
                raise ContractError(f"eltwise_product: the exact product is {width} bits wide, allowed 64; give it fewer bits.")
        return found

    @property
    def width(self) -> int:
        """Bits of the exact product."""
        return max(signed_width(end) for end in self.total)

    @cached_property
    def epilogue(self) -> Epilogue:
        """The shift or multiplier, limits and modes."""
        output, _ = self.output, self.fixed
        if self.steps is not None:
            if self.steps.offset is not None and self.width > MAX_STEP_BITS:
                raise ContractError(f"eltwise_product: the exact product is {self.width} bits wide, allowed 62 before an offset.")
            return steps_epilogue(self.kind, output, self.steps)
        self.check_units(None if output.scaling is not None else output.format, product=True)
        return resolve_output(output, (sum(f.fl() for f in self.fixed),), self.width, self.kind)

    @property
    def bounds(self) -> Bounds:
        """The product of the operands' ranges."""
        if self.steps is None:
            return Bounds(None, rounded_range(self.total, 0, self.epilogue))
        if len(self.ranges) > MAX_CORNERS:
            return Bounds(None, rounded_range((-(1 << 61), 1 << 61), 0, self.epilogue))
        found = [multiplied_in_steps(corner, self.steps, self.epilogue.rounding) for corner in product(*self.ranges)]
        return Bounds(None, rounded_range((min(found), max(found)), 0, self.epilogue))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        values = [code - f.zero() for code, f in zip(self.codes_at(inputs, n, k, y, x), self.fixed, strict=True)]
        whole = prod(values) if self.steps is None else multiplied_in_steps(values, self.steps, self.epilogue.rounding)
        code, event = finish(whole, 0, self.epilogue)
        return Cell(code, None, Events(0, event))
