"""Kernels and compiled loops of local response normalization in integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loops
from hwsim.arith.float_lrn import add_square
from hwsim.arith.lrn import look_up
from hwsim.arith.minifloat import cast_float, multiply_floats
from hwsim.arith.requantize import finish
from hwsim.backends.base import Prepare, Taps, zero_of
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit.compile import compiled
from hwsim.backends.jit.kernels import JitKernel
from hwsim.backends.threads import over_rows
from hwsim.layers.float_lrn import SteppedLRN
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
        size = min(layer.local_size // 2, max(self.output_shape))
        reach = (size, 0, 0) if layer.region == Region.ACROSS_CHANNELS else (0, size, size)
        table, rows = layer.table.astype(np.int64), out.n * self.output_shape.h
        numbers = (reach, table, layer.lookup.rule, e.shift[0], e.multiplier[0], e.stage)
        taps.events[1] += over_rows(normalize, rows, x, *numbers, codes)
        out.inner[...] = codes


@compiled
def step_by_step(first, last, x, size, running, powers, of_x, f, mode, codes):
    """codes = x * power(sum of squares of size neighbours), channel by channel, every step rounded; returns (steps', outputs').

    x: codes int64 [N][H][W][C] of format of_x, cast to f first.
    """
    _, height, width, channels = codes.shape
    at_steps, at_output, reach = 0, 0, size // 2
    own = np.empty(channels, np.int64)
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            for k in range(channels):
                own[k] = cast_float(x[n, y, column, k], of_x, f, mode)[0]
            total = np.int64(f.zero)
            for k in range(channels):
                low = max(k - reach, 0)
                if running and k > 0:
                    low = k + reach
                if not running:
                    total = np.int64(f.zero)
                for c in range(low, min(k + reach + 1, channels)):
                    total, event = add_square(total, own[c], 0, f, mode)
                    at_steps += event
                if running and k > reach:
                    total, event = add_square(total, own[k - reach - 1], 1, f, mode)
                    at_steps += event
                code, event = multiply_floats(own[k], f, powers[total], f, f, mode)
                codes[n, y, column, k] = code
                at_output += event
    return at_steps, at_output


class SteppedLRNKernel(JitKernel):
    """Every step in one minifloat format."""

    layer: SteppedLRN

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        layer, codes = self.layer, self.empty(out.n)
        x, size = np.ascontiguousarray(inputs[0].inner, dtype=np.int64), min(layer.local_size, 2 * self.output_shape.c + 1)
        powers, formats = layer.table.astype(np.int64), (layer.format.layout, layer.steps.layout)
        numbers = (size, layer.running, powers, *formats, int(layer.rounding))
        taps.events[:2] += over_rows(step_by_step, out.n * self.output_shape.h, x, *numbers, codes)
        out.inner[...] = codes


LRN_TABLE: dict[str, Prepare] = {"lrn": LRNKernel, "stepped_lrn": SteppedLRNKernel}
