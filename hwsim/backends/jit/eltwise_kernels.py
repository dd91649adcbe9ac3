"""Kernels of the jit backend for layers that look at one position at a time, in integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.backends.base import Taps, zero_of
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit import loops
from hwsim.backends.jit.kernels import JitKernel, scales_of
from hwsim.backends.threads import over_rows
from hwsim.layers import EltwiseSum, ImageEncoding, Rescale
from hwsim.layers.image import MEAN_LENGTH


class ReluKernel(JitKernel):
    """max(code, zero point)."""

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        np.maximum(inputs[0].inner, out.inner.dtype.type(zero_of(self.layer.format)), out=out.inner)


class ValueKernel(JitKernel):
    """Layers of one exact value per output, then the epilogue: rescale, eltwise sum, image encoding."""

    layer: Rescale | EltwiseSum | ImageEncoding

    def values(self, inputs: Sequence[Buffer]) -> np.ndarray:
        """Return the exact values, int64 [N][H][W][C]."""
        layer = self.layer
        if isinstance(layer, Rescale):
            return inputs[0].inner.astype(np.int64) - zero_of(layer.format)
        if isinstance(layer, EltwiseSum):
            shifted = [b.inner.astype(np.int64) << a for b, a in zip(inputs, layer.align, strict=True)]
            return np.asarray(sum(shifted[1:], shifted[0]))
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
