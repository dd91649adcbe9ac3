"""Stochastic rounding in the jit backend: every draw of an image at once, then one compiled loop over the values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loop
from hwsim.arith.requantize import finish_stochastic
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit.compile import compiled
from hwsim.backends.noise import NoisyKernel
from hwsim.backends.threads import over_rows


@compiled
def finish_noisy(first, last, values, noise, which, shift, modes, codes):
    """Epilogue of exact values [N][H][W][K], image n with noise[which[n]] of [K][H][W]; returns the output events."""
    _, height, width, channels = values.shape
    events = 0
    overflow, activation, bits, signed, low, high = modes
    for i in range(first, last):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                value, drawn = np.int64(values[n, y, x, k]), noise[which[n], k, y, x]
                code, event = finish_stochastic(value, shift[k], drawn, overflow, activation, bits, signed != 0, low, high)
                codes[n, y, x, k] = code
                events += event
    return events


class JitNoisyKernel(NoisyKernel):
    """Finishes accumulators by an array of noise."""

    backend = "jit"

    def finish(self, values: Buffer, out: Buffer, first_turns: Sequence[int]) -> int:
        """Round, write the codes, return the output events."""
        different, which = np.unique(np.array(first_turns, dtype=np.int64), return_inverse=True)
        noise = np.stack([self.noise.noise_array(int(turn)) for turn in different])
        c, h, w = self.output_shape
        codes = np.empty((out.n, h, w, c), dtype=np.int64)
        rows = out.n * h
        e = self.epilogue
        modes = (int(e.overflow), int(e.activation), e.bits, int(e.signed), e.low, e.high)
        exact = np.ascontiguousarray(values.inner, dtype=np.int64)
        events = over_rows(finish_noisy, rows, exact, noise, which.ravel(), self.shift, modes, codes)
        out.inner[...] = codes
        return int(events)
