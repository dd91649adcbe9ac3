"""Kernels of the native backend for operands that are put together position by position, and for softmax in integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.arith.operand import Term
from hwsim.backends.base import Prepare
from hwsim.backends.native.kernels import PLAIN, WIDE, EltwiseSumKernel, NativeKernel, address, set_operand, set_output
from hwsim.backends.native.library import Library
from hwsim.contract.operand import FloatSteps
from hwsim.layers import ArithmeticShiftRight, EltwiseMax, EltwiseMin, EltwiseProduct, EltwiseSum, Layer, SoftmaxFixed
from hwsim.layers.combined import Combined


class CombineKernel(NativeKernel):
    """Operands of one shape or stretched, a constant among them or not."""

    layer: Any  # a Combined layer

    @property
    def way(self) -> str:
        """How they are put together, as the header names it."""
        steps: FloatSteps | None = getattr(self.layer, "steps", None)
        plain = {EltwiseProduct: "PRODUCT", EltwiseMax: "MAXIMUM", EltwiseMin: "MINIMUM", ArithmeticShiftRight: "SHIFT_RIGHT"}
        if steps is None:
            return plain.get(type(self.layer), "SUM")
        product = isinstance(self.layer, EltwiseProduct)
        if steps.offset is not None:
            return "OFFSET_PRODUCT" if product else "FUSED_SUM"
        return "FLOAT_PRODUCT" if product else "FLOAT_SUM"

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator; the C core copies the constant."""
        layer: Combined = self.layer
        made, kept = library.ffi.new("hw_combine *"), []
        operands = tuple(zip(layer.fixed, self._terms(), strict=True))
        terms = library.ffi.new("hw_operand[]", len(operands))
        for to, (fmt, term) in zip(terms, operands, strict=True):
            set_operand(to, fmt, term)
        made.n, made.terms, made.way = len(operands), terms, getattr(library.lib, f"HW_{self.way}")
        made.rounding = int(getattr(layer, "rounding", 0))
        if layer.constant is not None:
            kept.append(np.ascontiguousarray(layer.constant.transpose(1, 2, 0), dtype=np.int64))
            made.constant = address(library, kept[-1], "int64_t")
            made.constant_h, made.constant_w, made.constant_c = kept[-1].shape
        steps: FloatSteps | None = getattr(layer, "steps", None)
        if steps is not None:
            kept.append(np.array(steps.scales, dtype=np.float32))
            made.scales, made.divisor, made.offset = address(library, kept[-1], "float"), steps.divisor, steps.offset or 0.0
        epilogue = getattr(layer, "epilogue", None)
        if epilogue is not None:
            made.shift = epilogue.shift[0]
            kept.append(set_output(library, made.output, epilogue, WIDE))
        op = library.lib.hw_combine_new(made, status)
        del kept
        return op

    def _terms(self) -> tuple[Term, ...]:
        plain = (PLAIN,) * len(self.layer.fixed)
        return self.layer.terms if self.way == "SUM" and isinstance(self.layer, EltwiseSum) else plain


def sum_kernel(layer: Layer, shapes: Any) -> NativeKernel:
    """Return the kernel of a sum in integers: lanes where inputs of one shape are all, else position by position."""
    assert isinstance(layer, EltwiseSum)
    plain = layer.steps is None and layer.constant is None and len(set(shapes)) == 1
    return (EltwiseSumKernel if plain else CombineKernel)(layer, shapes)


class SoftmaxKernel(NativeKernel):
    """Shares of the channels at each pixel."""

    layer: SoftmaxFixed

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        made, p = library.ffi.new("hw_softmax *"), self.layer.numbers
        made.c, made.multiplier, made.left, made.reach, made.bits = self.output_shape.c, p.multiplier, p.left, p.reach, p.bits
        kept = set_output(library, made.output, self.layer.epilogue, WIDE)
        op = library.lib.hw_softmax_new(made, status)
        del kept
        return op


ELTWISE_TABLE: dict[str, Prepare] = {
    **dict.fromkeys(("eltwise_product", "eltwise_max", "eltwise_min", "arithmetic_shift_right"), CombineKernel),
    "softmax_fixed": SoftmaxKernel,
}
