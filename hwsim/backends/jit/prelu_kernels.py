"""The kernel of PReLU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loop
from hwsim.arith.prelu import finish_prelu
from hwsim.backends.base import Prepare, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit.compile import compiled
from hwsim.backends.jit.kernels import JitKernel
from hwsim.backends.threads import over_rows
from hwsim.layers import Layer, PReLU, Shape


@compiled
def prelu_rows(first, last, x, zero, slopes, above, below, stage, codes):
    """codes of x - zero by the sign, with int64 slopes by channel; returns the output events."""
    _, height, width, channels = codes.shape
    events = 0
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            for k in range(channels):
                code, event = finish_prelu(x[n, y, column, k] - zero, slopes[k], above, below, stage)
                codes[n, y, column, k] = code
                events += event
    return events


class PReluKernel(JitKernel):
    """One side or the other."""

    layer: PReLU

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        self.slopes = np.ascontiguousarray(np.broadcast_to(self.layer.slopes, (self.output_shape.c,)))

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        codes, layer = self.empty(out.n), self.layer
        x = np.ascontiguousarray(inputs[0].inner, dtype=np.int64)
        numbers = (layer.format.zero(), self.slopes, *layer.sides, layer.epilogue.stage)
        taps.events[1] += over_rows(prelu_rows, out.n * self.output_shape.h, x, *numbers, codes)
        out.inner[...] = codes


PRELU_TABLE: dict[str, Prepare] = {"prelu": PReluKernel}
