"""Kernels of the jit backend for layers other than multiply-accumulate that a minifloat enters or leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hwsim.arith.float_order import code_of_key, order_key
from hwsim.arith.minifloat import infinity_code, nan_code
from hwsim.backends.base import Kernel, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit import loops, value_loops
from hwsim.backends.jit.kernels import AveragePoolKernel, JitKernel, MaxPoolKernel, ReluKernel, ValueKernel
from hwsim.backends.spec import SpecKernel
from hwsim.backends.threads import over_rows
from hwsim.formats import FixedPoint, Format, Minifloat
from hwsim.formats.catalog import BINARY32
from hwsim.layers import AveragePool, EltwiseSum, ImageEncoding, Layer, MaxPool, ReLU, Rescale, Shape
from hwsim.layers.base import Real
from hwsim.layers.float_output import finish_rule
from hwsim.layers.float_unit import Terms, span_of, terms_of
from hwsim.layers.image import MEAN_LENGTH

Prepare = Callable[[Layer, Sequence[Shape]], Kernel]
SUM_BITS = 60
ONE = np.ones(1, dtype=np.int64)


class FloatMaxPoolKernel(MaxPoolKernel):
    """Maximum over windows, of keys that compare as the numbers do."""

    layer: MaxPool

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        assert isinstance(self.layer.format, Minifloat)
        keys, f = self.empty(out.n), self.layer.format.layout
        x = np.ascontiguousarray(order_key(inputs[0].inner.astype(np.int64), f))
        over_rows(loops.max_windows, out.n * self.output_shape.h, x, *self.spans, keys)
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


class FloatAverageKernel(AveragePoolKernel):
    """The exact average of minifloats whose sums int64 holds, rounded once to a minifloat."""

    layer: AveragePool

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        fmt, codes = self.layer.format, self.empty(out.n)
        terms, grid = terms_of(np.ascontiguousarray(inputs[0].inner), fmt), span_of(fmt).exponent
        totals = self._sums(integers(terms, grid))
        special = np.zeros((0, 0, 0, 0), dtype=np.int64)
        if terms.kind.any():
            kinds = (terms.kind == 2, (terms.kind == 1) & (terms.sign == 0), (terms.kind == 1) & (terms.sign == 1))
            parts = tuple(self._sums(kind.astype(np.int64)) > 0 for kind in kinds)
            special = special_codes([(parts[0], parts[1], parts[2])])
        taps.events[1] += finish(self, totals, grid, codes, special, self.rows, self.columns)
        out.inner[...] = codes

    def _sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over each window, by sums along both axes from the front: exact, whatever wraps on the way."""
        ends = np.pad(values.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0), (0, 0)))
        top, bottom, left, right = self.spans
        upper, lower = ends[:, top], ends[:, bottom]
        return np.ascontiguousarray(lower[:, :, right] - lower[:, :, left] - upper[:, :, right] + upper[:, :, left])


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


def finish(
    kernel: Kernel,
    totals: np.ndarray,
    exponent: int,
    codes: np.ndarray,
    special: np.ndarray | None = None,
    rows: np.ndarray | None = None,
    columns: np.ndarray | None = None,
) -> int:
    """Fill codes from exact values in units of 2**exponent over their divisors; return the events."""
    rows = np.repeat(ONE, codes.shape[1]) if rows is None else rows
    columns = np.repeat(ONE, codes.shape[2]) if columns is None else columns
    flags = np.zeros((0, 0, 0, 0), dtype=np.int64) if special is None else special
    exact = np.ascontiguousarray(totals, dtype=np.int64)
    last = (rows, columns, exponent, flags, BINARY32.layout, finish_rule(kernel.layer.output), codes)
    return int(over_rows(value_loops.finish_quotients, len(codes) * codes.shape[1], exact, *last))


def sum_bits(formats: Sequence[Real], terms: int) -> int:
    """Return the bits that a sum of so many terms of these formats needs on the finest grid."""
    spans = [span_of(fmt) for fmt in formats]
    grid = min(span.exponent for span in spans)
    return (max(span.largest << (span.exponent - grid) for span in spans) * terms).bit_length() + 1


def average_kernel(layer: Layer, shapes: Sequence[Shape]) -> Kernel:
    """Return the kernel of an average with minifloats: in int64 where that holds its sums, else output by output."""
    assert isinstance(layer, AveragePool)
    rows, columns = layer.window.kernel_for(shapes[0])
    narrow = sum_bits([layer.format], rows * columns) <= SUM_BITS
    if narrow and isinstance(layer.output.format, Minifloat):
        return FloatAverageKernel(layer, shapes)
    return WideKernel(layer, shapes)


def sum_kernel(layer: Layer, shapes: Sequence[Shape]) -> Kernel:
    """Return the kernel of a sum with minifloats: in int64 where that holds it, else output by output."""
    assert isinstance(layer, EltwiseSum)
    return (FloatSumKernel if sum_bits(layer.formats, len(layer.formats)) <= SUM_BITS else WideKernel)(layer, shapes)


class WideKernel(SpecKernel):
    """Sums beyond int64, in Python ints: the specification itself, called by the jit backend."""

    backend = "jit"


def by_format(integer: Prepare, minifloat: Prepare) -> Prepare:
    """Return what prepares the one kernel or the other, by whether a minifloat enters or leaves."""

    def prepare(layer: Layer, shapes: Sequence[Shape]) -> Kernel:
        formats: tuple[Format, ...] = (*layer.input_formats, layer.output_format)
        return (minifloat if not all(isinstance(f, FixedPoint) for f in formats) else integer)(layer, shapes)

    return prepare


VALUE_TABLE: dict[str, Prepare] = {
    "image_encoding": by_format(ValueKernel, FloatImageKernel),
    "max_pool": by_format(MaxPoolKernel, FloatMaxPoolKernel),
    "average_pool": by_format(AveragePoolKernel, average_kernel),
    "relu": by_format(ReluKernel, FloatReluKernel),
    "rescale": by_format(ValueKernel, CastKernel),
    "eltwise_sum": by_format(ValueKernel, sum_kernel),
}
