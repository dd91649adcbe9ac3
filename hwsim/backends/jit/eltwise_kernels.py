"""Kernels of the jit backend for layers that look at one position at a time, in integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.arith.float_order import code_of_key, order_key
from hwsim.arith.scale import Scaling
from hwsim.backends.base import Prepare, Taps, zero_of
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit import eltwise_loops, loops
from hwsim.backends.jit.kernels import JitKernel, scales_of
from hwsim.backends.threads import over_rows
from hwsim.contract.operand import FloatSteps
from hwsim.formats import Minifloat
from hwsim.formats.catalog import BINARY32
from hwsim.layers import ArithmeticShiftRight, EltwiseMax, EltwiseMin, EltwiseProduct, EltwiseSum, ImageEncoding, Rescale
from hwsim.layers.combined import Combined
from hwsim.layers.float_steps import step_codes
from hwsim.layers.image import MEAN_LENGTH


class ReluKernel(JitKernel):
    """max(code, zero point)."""

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        np.maximum(inputs[0].inner, out.inner.dtype.type(zero_of(self.layer.format)), out=out.inner)


class ValueKernel(JitKernel):
    """Layers of one exact value per output, then the epilogue: rescale, image encoding."""

    layer: Rescale | ImageEncoding | EltwiseSum | EltwiseProduct

    def values(self, inputs: Sequence[Buffer]) -> np.ndarray:
        """Return the exact values, int64 [N][H][W][C]."""
        layer = self.layer
        if isinstance(layer, Rescale):
            return inputs[0].inner.astype(np.int64) - zero_of(layer.format)
        assert isinstance(layer, ImageEncoding)
        mean = layer.mean.transpose(1, 2, 0)
        return ((inputs[0].inner.astype(np.int64) << MEAN_LENGTH) - mean) * layer.scale_mantissa

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        codes = self.empty(out.n)
        epilogue = self.layer.epilogue
        scales = scales_of(epilogue, self.output_shape.c)
        rows, values = out.n * self.output_shape.h, self.values(inputs)
        taps.events[1] += over_rows(loops.finish_values, rows, values, *scales, epilogue.stage, codes)
        out.inner[...] = codes


def codes_of(layer: Combined, inputs: Sequence[Buffer]) -> list[np.ndarray]:
    """Return the codes of each operand as int64 arrays that broadcast to [N][H][W][C]."""
    arrays = [buffer.inner.astype(np.int64) for buffer in inputs]
    if layer.constant is not None:
        arrays.append(layer.constant.transpose(1, 2, 0).astype(np.int64)[None])
    return arrays


def operands_of(layer: Combined, inputs: Sequence[Buffer]) -> list[np.ndarray]:
    """Return code - zero_point of each operand as int64 arrays that broadcast to [N][H][W][C]."""
    return [codes - f.zero() for codes, f in zip(codes_of(layer, inputs), layer.fixed, strict=True)]


class SumKernel(ValueKernel):
    """The sum of several operands: as they are, each scaled on its own, or in float32."""

    layer: EltwiseSum

    def values(self, inputs: Sequence[Buffer]) -> np.ndarray:
        """Return the sums, int64 [N][H][W][C]."""
        n, operands = inputs[0].n, operands_of(self.layer, inputs)
        if self.layer.steps is not None:
            fused = self.layer.steps.offset is not None
            return in_steps(self, codes_of(self.layer, inputs) if fused else operands, self.layer.steps, product=False)
        totals = self.empty(n)
        totals[...] = 0
        for values, term in zip(operands, self.layer.terms, strict=True):
            if term.scaling == Scaling.SHIFT:
                totals += (values << term.left) * term.sign
            else:
                whole = np.ascontiguousarray(np.broadcast_to(values, totals.shape))
                over_rows(eltwise_loops.add_terms, n * self.output_shape.h, whole, term, totals)
        return totals


def in_steps(kernel: JitKernel, operands: Sequence[np.ndarray], steps: FloatSteps, product: bool) -> np.ndarray:
    """Return the integers that operands combined in float32 make, [N][H][W][C]; operands: less zero points, if no offset."""
    totals, p = kernel.empty(len(operands[0])), step_codes(steps)
    whole = np.stack([np.broadcast_to(values, totals.shape) for values in operands])
    last = (p.divisor, int(kernel.layer.epilogue.rounding), BINARY32.layout, totals)
    scales, rows = np.array(p.scales, dtype=np.int64), len(totals) * kernel.output_shape.h
    if steps.offset is None:
        over_rows(eltwise_loops.float_steps, rows, whole, scales, product, *last)
    else:
        over_rows(eltwise_loops.fused_sums, rows, whole, scales, p.offset, *last)
    return totals


class ProductKernel(ValueKernel):
    """The product of several operands: exact in int64, or in float32."""

    layer: EltwiseProduct

    def values(self, inputs: Sequence[Buffer]) -> np.ndarray:
        """Return the products, int64 [N][H][W][C]."""
        operands, steps = operands_of(self.layer, inputs), self.layer.steps
        if steps is not None and steps.offset is None:
            return in_steps(self, operands, steps, product=True)
        products = self.empty(inputs[0].n)
        products[...] = operands[0]
        for values in operands[1:]:
            products *= values
        if steps is None:
            return products
        totals, p = np.empty_like(products), step_codes(steps)
        last = (p.scales[0], p.offset, p.divisor, int(self.layer.epilogue.rounding), BINARY32.layout, totals)
        over_rows(eltwise_loops.offset_products, inputs[0].n * self.output_shape.h, products, *last)
        return totals


class ExtremeKernel(JitKernel):
    """The largest or the smallest code of several operands; minifloats by keys that compare as the numbers do."""

    layer: EltwiseMax | EltwiseMin

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        pick, f = np.maximum if isinstance(self.layer, EltwiseMax) else np.minimum, self.layer.output_format
        operands = codes_of(self.layer, inputs)
        if isinstance(f, Minifloat):
            operands = [np.asarray(order_key(codes, f.layout)) for codes in operands]
        best = operands[0]
        for codes in operands[1:]:
            best = pick(best, codes)
        out.inner[...] = code_of_key(best, f.layout) if isinstance(f, Minifloat) else best


class ShiftRightKernel(JitKernel):
    """Codes shifted by amounts."""

    layer: ArithmeticShiftRight

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        codes, rows = self.empty(out.n), out.n * self.output_shape.h
        values, amounts = (np.ascontiguousarray(np.broadcast_to(a, codes.shape)) for a in codes_of(self.layer, inputs))
        over_rows(eltwise_loops.shift_codes, rows, values, amounts, int(self.layer.rounding), codes)
        out.inner[...] = codes


ELTWISE_TABLE: dict[str, Prepare] = {
    "eltwise_product": ProductKernel,
    "eltwise_max": ExtremeKernel,
    "eltwise_min": ExtremeKernel,
    "arithmetic_shift_right": ShiftRightKernel,
}
