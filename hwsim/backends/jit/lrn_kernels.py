"""Kernels and compiled loops of local response normalization in integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loops
from hwsim.arith.lrn import look_up
from hwsim.arith.requantize import finish
from hwsim.backends.base import Prepare, Taps, zero_of
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit.compile import compiled
from hwsim.backends.jit.kernels import JitKernel
from hwsim.backends.threads import over_rows
from hwsim.layers.host import Region
from hwsim.layers.lrn import IntegerLRN


@compiled
def normalize(first, last, x, reach, table, rule, shift, multiplier, stage, codes):
    """codes = epilogue of x * factor(sum of squares within reach), x int64 [N][H][W][C]; returns the events.

    reach: how far to look along (C, H, W).
    """
    _, height, width, channels = codes.shape
    events = 0
    for i in range(first, last):
        n, y = i // height, i % height
        top, bottom = max(y - reach[1], 0), min(y + reach[1] + 1, height)
        for column in range(width):
            left, right = max(column - reach[2], 0), min(column + reach[2] + 1, width)
            for k in range(channels):
                low, high = max(k - reach[0], 0), min(k + reach[0] + 1, channels)
                total = np.int64(0)
                for row in range(top, bottom):
                    for col in range(left, right):
                        for c in range(low, high):
                            total += x[n, row, col, c] * x[n, row, col, c]
                factor = look_up(total, table, len(table) - 1, rule)
                code, event = finish(x[n, y, column, k] * factor, multiplier, shift, stage)
                codes[n, y, column, k] = code
                events += event
    return events


class LRNKernel(JitKernel):
    """Sum of squares, table, multiply."""

    layer: IntegerLRN

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        layer, codes, e = self.layer, self.empty(out.n), self.layer.epilogue
        x = np.ascontiguousarray(inputs[0].inner, dtype=np.int64) - zero_of(layer.format)
        size = min(layer.local_size // 2, 1 << 16)
        reach = (size, 0, 0) if layer.region == Region.ACROSS_CHANNELS else (0, size, size)
        table, rows = layer.table.astype(np.int64), out.n * self.output_shape.h
        numbers = (reach, table, layer.lookup.rule, e.shift[0], e.multiplier[0], e.stage)
        taps.events[1] += over_rows(normalize, rows, x, *numbers, codes)
        out.inner[...] = codes


LRN_TABLE: dict[str, Prepare] = {"lrn": LRNKernel}
