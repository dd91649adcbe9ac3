"""The specification as a backend: every output in plain Python ints, slowly, as the layers' spec() reads."""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.arith.accumulate import Place
from hwsim.backends.base import Backend, Kernel, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.host import HOST_TABLE
from hwsim.contract.draws import Draws
from hwsim.layers.base import Events
from hwsim.layers.float_unit import FloatUnit

KINDS = (
    "image_encoding",
    "convolution",
    "fully_connected",
    "max_pool",
    "average_pool",
    "relu",
    "rescale",
    "eltwise_sum",
    "eltwise_product",
    "eltwise_max",
    "eltwise_min",
    "arithmetic_shift_right",
    "concat",
    "lookup_table",
    "prelu",
    "softmax_fixed",
    "deconvolution",
    "lrn",
    "stepped_lrn",
    "pad",
    "slice",
    "resize_nearest",
    "channel_shuffle",
    "flatten",
    "clamp",
)


def flags_of(events: Events, draws: bool) -> int:
    """Return the bits 1 << Place of the places that have events, as Taps.flags has them."""
    at = {Place.TREE: events.tree, Place.ACCUMULATOR: events.accumulator, Place.SPILL: events.spill}
    at[Place.OUTPUT] = 0 if draws else events.output
    return sum(1 << place for place, count in at.items() if count)


class SpecKernel(Kernel):
    """Calls layer.spec for each coordinate."""

    backend = "spec"

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out` in row-major order (n, k, y, x)."""
        codes = [buffer.codes.tolist() for buffer in inputs]
        target, draws = out.codes, self.draws
        first_turns = taps.turns_of(out.n)
        unit = getattr(self.layer, "unit", None)
        floats = unit if isinstance(unit, FloatUnit) else None
        channels, height, width = self.output_shape
        for n in range(out.n):
            drawn = {} if draws is None else {"first_turn": first_turns[n]}
            for k in range(channels):
                for y in range(height):
                    for x in range(width):
                        cell = self.layer.spec(codes, n, k, y, x, **drawn)
                        target[n, k, y, x] = cell.code
                        taps.events[:] += cell.events
                        if taps.acc is not None:
                            taps.acc[n, y, x, k] = cell.acc if floats is None else floats.acc_entry(cell.acc)
                        if taps.flags is not None:
                            taps.flags[n, y, x, k] = flags_of(cell.events, draws is not None)


def as_it_is(kernel: Kernel, draws: Draws) -> Kernel:
    """Return the kernel: the specification draws for itself."""
    return kernel


SPEC = Backend("spec", {**dict.fromkeys(KINDS, SpecKernel), **HOST_TABLE}, with_noise=as_it_is)
