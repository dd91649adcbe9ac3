"""The specification as a backend: every output in plain Python ints, slowly, as the layers' spec() reads."""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.backends.base import Backend, Kernel, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.host import HOST_TABLE

KINDS = (
    "image_encoding",
    "convolution",
    "fully_connected",
    "max_pool",
    "average_pool",
    "relu",
    "rescale",
    "eltwise_sum",
    "concat",
)


class SpecKernel(Kernel):
    """Calls layer.spec for each coordinate."""

    backend = "spec"

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out` in row-major order (n, k, y, x)."""
        codes = [buffer.codes.tolist() for buffer in inputs]
        target = out.codes
        channels, height, width = self.output_shape
        for n in range(out.n):
            for k in range(channels):
                for y in range(height):
                    for x in range(width):
                        cell = self.layer.spec(codes, n, k, y, x)
                        target[n, k, y, x] = cell.code
                        taps.events[:] += cell.events
                        if taps.acc is not None:
                            taps.acc[n, y, x, k] = cell.acc


SPEC = Backend("spec", {**dict.fromkeys(KINDS, SpecKernel), **HOST_TABLE})
