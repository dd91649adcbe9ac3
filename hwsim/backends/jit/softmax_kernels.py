"""The softmax in integers of the jit backend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loop
from hwsim.arith.gemmlowp import softmax_exponential, softmax_share, softmax_term
from hwsim.arith.requantize import finish_scaled
from hwsim.backends.base import Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit.compile import compiled
from hwsim.backends.jit.kernels import JitKernel
from hwsim.backends.threads import over_rows
from hwsim.layers import SoftmaxFixed


@compiled
def softmax_pixels(first, last, x, p, stage, codes):
    """codes = shares of the channels of each pixel; p: SoftmaxNumbers; returns the events."""
    _, height, width, channels = codes.shape
    exponentials, events = np.empty(channels, np.int64), 0
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            pixel = x[n, y, column]
            largest, total = pixel.max(), np.int64(0)
            for k in range(channels):
                exponentials[k] = -1
                if largest - pixel[k] <= p.reach:
                    exponentials[k] = softmax_exponential(pixel[k] - largest, p.multiplier, p.left)
                    total += softmax_term(exponentials[k])
            for k in range(channels):
                share = np.int64(0)
                if exponentials[k] >= 0:
                    share = softmax_share(exponentials[k], total, p.bits, p.rounding)
                code, event = finish_scaled(share, stage)
                codes[n, y, column, k] = code
                events += event
    return events


class SoftmaxKernel(JitKernel):
    """Shares of the channels at each pixel."""

    layer: SoftmaxFixed

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        codes, x = self.empty(out.n), np.ascontiguousarray(inputs[0].inner, dtype=np.int64)
        rows = out.n * self.output_shape.h
        taps.events[1] += over_rows(softmax_pixels, rows, x, self.layer.numbers, self.layer.epilogue.stage, codes)
        out.inner[...] = codes
