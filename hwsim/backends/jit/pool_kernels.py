"""Kernels of the jit backend for pooling in integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.backends.base import Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit import pool_loops
from hwsim.backends.jit.kernels import JitKernel
from hwsim.backends.threads import over_rows
from hwsim.layers import AveragePool, Layer, MaxPool, Shape, Window


def spans(window: Window, shape: Shape, out: Shape) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return top, bottom by output row and left, right by output column, as Window.span gives them."""
    rows = [window.span(0, shape, y)[:2] for y in range(out.h)]
    columns = [window.span(1, shape, x)[:2] for x in range(out.w)]
    top, bottom = np.array(rows, dtype=np.int64).T.copy()
    left, right = np.array(columns, dtype=np.int64).T.copy()
    return top, bottom, left, right


def divisors(layer: AveragePool, shape: Shape, out: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Return rows by output row and columns by output column, whose product an average divides by."""
    rows = [layer.window.counted(0, shape, y, layer.count) for y in range(out.h)]
    columns = [layer.window.counted(1, shape, x, layer.count) for x in range(out.w)]
    return np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64)


class MaxPoolKernel(JitKernel):
    """Maximum over windows."""

    layer: MaxPool

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        self.spans = spans(self.layer.window, shapes[0], self.output_shape)

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        codes = self.empty(out.n)
        x = np.ascontiguousarray(inputs[0].inner, dtype=np.int64)
        over_rows(pool_loops.max_windows, out.n * self.output_shape.h, x, *self.spans, codes)
        out.inner[...] = codes


class AveragePoolKernel(JitKernel):
    """Average over windows; the divisor is rows * columns, as every count rule has it."""

    layer: AveragePool

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        self.spans = spans(self.layer.window, shapes[0], self.output_shape)
        self.rows, self.columns = divisors(self.layer, shapes[0], self.output_shape)
        if self.layer.division is not None:
            known = {n: self.layer.reciprocal(n) for n in self.layer.counts(shapes[0])}
            pairs = np.array([[known[int(r * c)] for c in self.columns] for r in self.rows], dtype=np.int64)
            self.multiplier, self.shift = (np.ascontiguousarray(pairs[..., i]) for i in range(2))

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        totals, codes, rows = self.empty(out.n), self.empty(out.n), out.n * self.output_shape.h
        x = np.ascontiguousarray(inputs[0].inner, dtype=np.int64)
        layer, stage = self.layer, self.layer.epilogue.stage
        over_rows(pool_loops.sum_windows, rows, x - layer.zero if layer.zero else x, *self.spans, totals)
        if layer.division is not None:
            taps.events[1] += over_rows(pool_loops.multiply_sums, rows, totals, self.multiplier, self.shift, stage, codes)
        else:
            numbers = (self.rows, self.columns, layer.lift, layer.offset, stage)
            taps.events[1] += over_rows(pool_loops.divide_sums, rows, totals, *numbers, codes)
        out.inner[...] = codes
