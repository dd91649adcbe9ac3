"""Layers that run on the host, the same for every backend: softmax, and LRN in float."""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.backends.base import Kernel, Taps
from hwsim.backends.buffers import Buffer
from hwsim.layers.host import HostLRN, Softmax


class HostKernel(Kernel):
    """Runs the layer's own float computation on whole arrays."""

    backend = "host"
    layer: HostLRN | Softmax

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        codes, events = self.layer.compute(inputs[0].codes)
        out.codes[...] = codes
        taps.events[1] += events


HOST_TABLE = {"host_lrn": HostKernel, "softmax": HostKernel}
