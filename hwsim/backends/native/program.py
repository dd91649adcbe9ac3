"""From bound steps to one call of the C core: tensors described once, then hw_run as often as wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.backends.base import Program, Step, run_steps
from hwsim.backends.buffers import Buffer
from hwsim.backends.native.library import Library, chosen_threads, require

if TYPE_CHECKING:
    from hwsim.backends.native.kernels import NativeKernel

TYPES = {"int8": 0, "uint8": 1, "int16": 2, "uint16": 3, "int32": 4, "uint32": 5, "int64": 6}


def describe(tensor: Any, buffer: Buffer, library: Library) -> None:
    """Fill an hw_tensor: the address of the first pixel, and strides in elements."""
    padded, size = buffer.padded, buffer.padded.itemsize
    n, h, w, _ = (stride // size for stride in padded.strides)
    offset = buffer.border[0] * h + buffer.border[1] * w + buffer.first
    tensor.data = library.ffi.cast("void *", padded.ctypes.data + offset * size)
    tensor.type = TYPES[padded.dtype.name]
    tensor.border_h, tensor.border_w = buffer.border
    tensor.n, (tensor.c, tensor.h, tensor.w) = buffer.n, buffer.shape
    tensor.stride_n, tensor.stride_h, tensor.stride_w = n, h, w


class Calls:
    """A list of operators bound to their tensors: what hw_run takes. Keeps everything alive that it points to."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.library = require()
        self.steps = tuple(steps)
        self.calls = self.library.ffi.new("hw_call[]", len(steps))
        self.tensors = [self._bind(call, step) for call, step in zip(self.calls, steps, strict=True)]

    def _bind(self, call: Any, step: Step) -> Any:
        ffi = self.library.ffi
        kernel: NativeKernel = step.kernel  # type: ignore[assignment]
        inputs = ffi.new("hw_tensor[]", len(step.inputs))
        for tensor, buffer in zip(inputs, step.inputs, strict=True):
            describe(tensor, buffer, self.library)
        describe(call.output, step.out, self.library)
        call.op, call.inputs, call.n_inputs = kernel.op, inputs, len(step.inputs)
        call.events = ffi.cast("int64_t *", step.taps.counters.ctypes.data)
        if step.taps.acc is not None:
            self._tap(call, step.taps.acc)
        if step.taps.flags is not None:
            assert step.taps.flags.flags.c_contiguous, "a tap is dense"
            call.flags = ffi.cast("uint8_t *", step.taps.flags.ctypes.data)
        return inputs

    def _tap(self, call: Any, acc: np.ndarray) -> None:
        assert acc.flags.c_contiguous, "a tap is dense"
        call.acc, call.acc_type = self.library.ffi.cast("void *", acc.ctypes.data), TYPES[acc.dtype.name]

    def run(self) -> None:
        """Run them all, in order."""
        status = self.library.ffi.new("hw_status *")
        for step in self.steps:
            if step.taps.flags is not None:
                step.taps.flags[...] = 0
        if self.library.lib.hw_run(self.calls, len(self.calls), chosen_threads(), status):
            self.library.check(status, self.steps[status.call].kernel.layer.kind)


def native_program(steps: Sequence[Step]) -> Program:
    """Return a program that runs neighbouring steps in one call of the C core.

    What runs on the host, or is more than one operator, stands between such calls.
    """
    from hwsim.backends.native.kernels import NativeKernel

    programs: list[Program] = []
    group: list[Step] = []
    for step in steps:
        if isinstance(step.kernel, NativeKernel):
            group.append(step)
            continue
        if group:
            programs.append(Calls(group).run)
            group = []
        programs.append(run_steps([step]))
    if group:
        programs.append(Calls(group).run)
    if len(programs) == 1:
        return programs[0]

    def program() -> None:
        for part in programs:
            part()

    return program
