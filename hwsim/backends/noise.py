"""Layers that draw: any kernel runs to its exact values, then one last stage adds each output's noise and finishes it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hwsim.arith.accumulate import Place
from hwsim.backends.base import Kernel, Taps, acc_dtype
from hwsim.backends.buffers import Buffer
from hwsim.contract.draws import Draws
from hwsim.errors import BackendError
from hwsim.layers.base import Events
from hwsim.layers.draws import epilogue_of
from hwsim.layers.elementwise import Rescale
from hwsim.layers.mac import MacLayer

AT_OUTPUT = Events._fields.index("output")


class NoisyKernel(Kernel):
    """The kernel of a layer that draws, around the kernel that computes its accumulators.

    inner: rounds by FLOOR, which is the rule without its noise; its codes and output events are thrown away.
    """

    backend: ClassVar[str]

    def __init__(self, inner: Kernel, draws: Draws) -> None:
        super().__init__(inner.layer, inner.input_shapes)
        epilogue = epilogue_of(inner.layer)
        if epilogue is None or not isinstance(inner.layer, (MacLayer, Rescale)):
            raise BackendError(f"backend {self.backend} has no exact values of {inner.layer.kind} to round.")
        self.inner, self.noise, self.epilogue = inner, draws, epilogue
        shift = epilogue.shift
        self.shift = np.array(shift if len(shift) == self.output_shape.c else shift * self.output_shape.c, dtype=np.int64)

    @property
    def input_border(self) -> tuple[int, int]:
        """What the inner kernel wants."""
        return self.inner.input_border

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        values = self.values(inputs, out, taps)
        first_turns = taps.turns_of(out.n)
        taps.events[AT_OUTPUT] += self.finish(values, out, first_turns)

    def values(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> Buffer:
        """Return the exact values to be rounded: the input's codes, or the accumulators, whose events are counted."""
        if isinstance(self.layer, Rescale):
            return inputs[0]
        dtype = acc_dtype(self.layer)
        c, h, w = self.output_shape
        acc = np.empty((out.n, h, w, c), dtype=dtype) if taps.acc is None else taps.acc
        own = Taps(acc, flags=taps.flags)
        self.inner.run(inputs, out, own)
        own.events[AT_OUTPUT] = 0
        if taps.flags is not None:
            taps.flags &= ~np.uint8(1 << Place.OUTPUT)
        taps.counters += own.counters
        return Buffer(acc, (0, 0), 0, self.output_shape)

    @abstractmethod
    def finish(self, values: Buffer, out: Buffer, first_turns: Sequence[int]) -> int:
        """Round the values of image n by the draws from first_turns[n] on, write the codes, return the output events."""
