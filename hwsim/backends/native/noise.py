"""Stochastic rounding in the native backend: the C core clocks the registers for itself and finishes what they round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.arith.lfsr import Alignment, LfsrForm
from hwsim.arith.overflow import wrap_unsigned
from hwsim.backends.base import Kernel, Step, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.native.kernels import WIDE, address, set_output
from hwsim.backends.native.library import Library, require
from hwsim.backends.native.program import Calls
from hwsim.backends.noise import AT_OUTPUT, NoisyKernel
from hwsim.contract.draws import Draws
from hwsim.contract.stochastic import Tail
from hwsim.layers.base import Shape


class NativeNoisyKernel(NoisyKernel):
    """Finishes accumulators by an operator of the C core, freed with the kernel."""

    backend = "native"

    def __init__(self, inner: Kernel, draws: Draws) -> None:
        super().__init__(inner, draws)
        self.library = require()
        status = self.library.ffi.new("hw_status *")
        made = self.make(self.library, status)
        self.library.check(status, self.layer.kind)
        self.stage: Any = Stage(self.layer, self.library.ffi.gc(made, self.library.lib.hw_op_free))

    def make(self, library: Library, status: Any) -> Any:
        """Return the new operator; the C core copies seeds and shifts."""
        rule, noise = self.noise.rule, library.ffi.new("hw_noise *")
        noise.k, noise.width, noise.galois = self.output_shape.c, rule.lfsr.width, int(rule.lfsr.form is LfsrForm.GALOIS)
        noise.taps, noise.lanes, noise.clocks = wrap_unsigned(rule.lfsr.taps, 64), rule.lanes, rule.clocks
        noise.order, noise.idle_tail = list(rule.order.value), int(rule.tail is Tail.IDLE)
        noise.align_low, noise.zero_shift_draws = int(rule.alignment is Alignment.LOW), int(rule.zero_shift_draws)
        seeds, shift = np.array(rule.seeds, dtype=np.uint64), self.shift.astype(np.int32)
        noise.seeds, noise.shift = address(library, seeds, "uint64_t"), address(library, shift, "int32_t")
        kept = set_output(library, noise.output, self.epilogue, WIDE, self.output_shape.c)
        made = library.lib.hw_noise_new(noise, status)
        del kept
        return made

    def finish(self, values: Buffer, out: Buffer, first_turns: Sequence[int]) -> int:
        """Round, write the codes, return the output events."""
        turns = np.array(first_turns, dtype=np.int64).reshape(out.n, 1, 1, 1)
        taps = Taps()
        Calls([Step(self.stage, (values, Buffer(turns, (0, 0), 0, Shape(1, 1, 1))), out, taps)]).run()
        return int(taps.events[AT_OUTPUT])


class Stage:
    """What a call of the C core needs to know of an operator that is no kernel by itself."""

    def __init__(self, layer: Any, op: Any) -> None:
        self.layer, self.op = layer, op
