"""Kernels of the jit backend for layers other than multiply-accumulate that a minifloat enters or leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.arith.exact_sum import LIMB
from hwsim.arith.float_order import code_of_key, order_key
from hwsim.arith.minifloat import infinity_code, nan_code
from hwsim.backends.base import Kernel, Prepare, Taps, by_format
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit import pool_loops, value_loops
from hwsim.backends.jit.eltwise_kernels import ReluKernel, SumKernel, ValueKernel
from hwsim.backends.jit.kernels import JitKernel
from hwsim.backends.jit.pool_kernels import AveragePoolKernel, MaxPoolKernel, divisors, spans
from hwsim.backends.threads import over_rows
from hwsim.formats import Minifloat
from hwsim.formats.catalog import BINARY32
from hwsim.layers import AveragePool, EltwiseSum, ImageEncoding, Layer, MaxPool, ReLU, Rescale, Shape
from hwsim.layers.base import AnyOutput, Real
from hwsim.layers.float_output import finish_rule
from hwsim.layers.float_unit import Terms, span_of, terms_of
from hwsim.layers.float_values import sum_bits, sum_grid
from hwsim.layers.image import MEAN_LENGTH

Spans = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Divisors = tuple[np.ndarray, np.ndarray]
SUM_BITS = 60


class FloatMaxPoolKernel(MaxPoolKernel):
    """Maximum over windows, of keys that compare as the numbers do."""

    layer: MaxPool

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        assert isinstance(self.layer.format, Minifloat)
        keys, f = self.empty(out.n), self.layer.format.layout
        x = np.ascontiguousarray(order_key(inputs[0].inner.astype(np.int64), f))
        over_rows(pool_loops.max_windows, out.n * self.output_shape.h, x, *self.spans, keys)
        out.inner[...] = code_of_key(keys, f)


class FloatReluKernel(JitKernel):
    """max(code, +0)."""

    layer: ReLU

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        assert isinstance(self.layer.format, Minifloat)
        codes, x = self.empty(out.n), np.ascontiguousarray(inputs[0].inner, dtype=np.int64)
        over_rows(value_loops.relu_codes, out.n * self.output_shape.h, x, self.layer.format.layout, codes)
        out.inner[...] = codes


class CastKernel(JitKernel):
    """From one format to another, a minifloat among them."""

    layer: Rescale

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        codes, fmt = self.empty(out.n), self.layer.format
        x, rows = np.ascontiguousarray(inputs[0].inner, dtype=np.int64), out.n * self.output_shape.h
        if isinstance(fmt, Minifloat):
            rule = finish_rule(self.layer.output)
            taps.events[1] += over_rows(value_loops.cast_codes, rows, x, fmt.layout, rule, codes)
        else:
            taps.events[1] += finish(self, x, -fmt.fl(), codes)
        out.inner[...] = codes


class FloatImageKernel(JitKernel):
    """Pixels to minifloats."""

    layer: ImageEncoding

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        layer, codes = self.layer, self.empty(out.n)
        values = ((inputs[0].inner.astype(np.int64) << MEAN_LENGTH) - layer.mean.transpose(1, 2, 0)) * layer.scale_mantissa
        taps.events[1] += finish(self, values, layer.exponent, codes)
        out.inner[...] = codes


class FloatSumKernel(JitKernel):
    """The exact sum of several inputs whose grids int64 spans."""

    layer: EltwiseSum

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        formats, codes = self.layer.formats, self.empty(out.n)
        grid = min(span_of(fmt).exponent for fmt in formats)
        terms = [terms_of(np.ascontiguousarray(x.inner), fmt) for x, fmt in zip(inputs, formats, strict=True)]
        totals = np.asarray(sum(integers(t, grid) for t in terms))
        special = special_codes([(t.kind == 2, (t.kind == 1) & (t.sign == 0), (t.kind == 1) & (t.sign == 1)) for t in terms])
        taps.events[1] += finish(self, totals, grid, codes, special)
        out.inner[...] = codes


class LimbKernel(JitKernel):
    """Exact sums of any width in limbs, over windows or over inputs, divided and rounded once."""

    def finish(self, terms: Terms, spans: Spans, divisors: Divisors, register: tuple[int, int], codes: np.ndarray) -> int:
        """Fill codes; return the events. register: its grid, its limbs."""
        last = (*spans, *divisors, *register, BINARY32.layout, finish_rule(self.layer.output), codes)
        return int(over_rows(value_loops.limb_windows, len(codes) * self.output_shape.h, tuple(terms), *last))


class FloatAverageKernel(LimbKernel):
    """The exact average over windows."""

    layer: AveragePool

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        window, shape = self.layer.window, shapes[0]
        self.spans, self.divisors = spans(window, shape, self.output_shape), divisors(self.layer, shape, self.output_shape)
        rows, columns = window.kernel_for(shape)
        self.register = register_for((self.layer.format,), rows * columns, self.layer.output)

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        codes, terms = self.empty(out.n), terms_of(np.ascontiguousarray(inputs[0].inner), self.layer.format)
        taps.events[1] += self.finish(terms, self.spans, self.divisors, self.register, codes)
        out.inner[...] = codes


class WideSumKernel(LimbKernel):
    """The exact sum of several inputs, as windows over them: their rows lie one behind the other."""

    layer: EltwiseSum

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        formats, codes, count = self.layer.formats, self.empty(out.n), len(inputs)
        parts = [terms_of(np.ascontiguousarray(x.inner), fmt) for x, fmt in zip(inputs, formats, strict=True)]
        n, h, w, c = codes.shape
        terms = Terms(*(np.stack(part, axis=2).reshape(n, h * count, w, c) for part in zip(*parts, strict=True)))
        y, x = np.arange(h, dtype=np.int64), np.arange(w, dtype=np.int64)
        places = (y * count, y * count + count, x, x + 1)
        once = (np.ones_like(y), np.ones_like(x))
        taps.events[1] += self.finish(terms, places, once, register_for(formats, count, self.layer.output), codes)
        out.inner[...] = codes


def integers(terms: Terms, grid: int) -> np.ndarray:
    """Return the numbers in units of 2**grid, 0 for NaN and infinity."""
    counts = (terms.kind == 0) & (terms.significand != 0)
    values = np.where(counts, terms.significand, 0) << np.where(counts, terms.exponent - grid, 0)
    return np.asarray(np.where(terms.sign == 1, -values, values))


def special_codes(kinds: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the binary32 codes of what sums become where NaN, infinity or its negative is among the terms, else 0."""
    nan, above, below = (np.logical_or.reduce([kind[i] for kind in kinds]) for i in range(3))
    if not (nan.any() or above.any() or below.any()):
        return np.zeros((0, 0, 0, 0), dtype=np.int64)
    f = BINARY32.layout
    infinite = np.where(above, infinity_code(0, f), np.where(below, infinity_code(1, f), 0))
    return np.asarray(np.where(nan | (above & below), nan_code(f), infinite), dtype=np.int64)


def finish(kernel: Kernel, totals: np.ndarray, exponent: int, codes: np.ndarray, special: np.ndarray | None = None) -> int:
    """Fill codes from exact values in units of 2**exponent; return the events."""
    flags = np.zeros((0, 0, 0, 0), dtype=np.int64) if special is None else special
    exact = np.ascontiguousarray(totals, dtype=np.int64)
    last = (exponent, flags, BINARY32.layout, finish_rule(kernel.layer.output), codes)
    return int(over_rows(value_loops.finish_exacts, len(codes) * codes.shape[1], exact, *last))


def register_for(formats: Sequence[Real], terms: int, output: AnyOutput) -> tuple[int, int]:
    """Return grid and limbs of a register whose sum may be divided."""
    grid = sum_grid(formats, output, divides=True)
    return grid, sum_bits(formats, terms, grid) // LIMB + 4


def sum_kernel(layer: Layer, shapes: Sequence[Shape]) -> Kernel:
    """Return the kernel of a sum with minifloats: in int64 where that holds it, else in limbs."""
    assert isinstance(layer, EltwiseSum)
    grid = sum_grid(layer.formats, layer.output, divides=False)
    narrow = sum_bits(layer.formats, len(layer.formats), grid) <= SUM_BITS
    return (FloatSumKernel if narrow else WideSumKernel)(layer, shapes)


VALUE_TABLE: dict[str, Prepare] = {
    "image_encoding": by_format(ValueKernel, FloatImageKernel),
    "max_pool": by_format(MaxPoolKernel, FloatMaxPoolKernel),
    "average_pool": by_format(AveragePoolKernel, FloatAverageKernel),
    "relu": by_format(ReluKernel, FloatReluKernel),
    "rescale": by_format(ValueKernel, CastKernel),
    "eltwise_sum": by_format(SumKernel, sum_kernel),
}
