"""The plan: kernels prepared, buffers allocated, everything bound, so that running is one program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.backends import trap
from hwsim.backends.base import Backend, Kernel, Program, Step, Taps, zero_of
from hwsim.backends.buffers import Buffer
from hwsim.backends.registry import backend as backend_by_name
from hwsim.backends.registry import native_available
from hwsim.errors import InputError
from hwsim.execute.draws import Drawn, Registers
from hwsim.layers import Concat, Shape
from hwsim.layers.image import PIXEL
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode


def choose(name: str = "auto") -> tuple[Backend, ...]:
    """Return the backends to try in order: the one asked for alone, or native, then jit. Only `auto` chooses."""
    if name != "auto":
        return (backend_by_name(name),)
    names = ("native", "jit") if native_available() else ("jit",)
    return tuple(backend_by_name(n) for n in names)


def prepare(node: QuantizedNode, shapes: Sequence[Shape], backends: Sequence[Backend]) -> tuple[Backend, Kernel]:
    """Return the kernel of the first backend that has one for this layer; the last one raises."""
    for candidate in backends[:-1]:
        if candidate.can(node.layer):
            return candidate, candidate.prepare(node.layer, shapes)
    return backends[-1], backends[-1].prepare(node.layer, shapes)


@dataclass(frozen=True)
class Bound:
    """One node of a plan, with its kernel and buffers."""

    node: QuantizedNode
    step: Step


class Plan:
    """A quantized network made ready to run on batches of `batch` images.

    backend: "spec", "jit", "native" or "auto".  acc: also keep the accumulators of multiply-accumulate layers.
    A concatenation's branches write straight into its buffer, so that it costs nothing.
    Images are counted from power-up: run() is told which one is a batch's first, and so what its layers draw.
    """

    def __init__(self, network: QuantizedNetwork, backend: str = "auto", batch: int = 1, acc: bool = False) -> None:
        if batch < 1:
            raise InputError(f"batch: found {batch}, allowed 1 or more.")
        self.network, self.batch = network, batch
        backends = choose(backend)
        shapes = network.shapes()
        chosen: dict[str, tuple[Backend, Kernel]] = {}
        for node in network.nodes:
            inputs = [shapes[name] for name in node.inputs] or [network.input_shape]
            chosen[node.name] = prepare(node, inputs, backends)
        self.kernels = {name: kernel for name, (_, kernel) in chosen.items()}
        self.pixels = Buffer.allocate(batch, network.input_shape, PIXEL.dtype, self.kernels[network.nodes[0].name].input_border)
        self.buffers = self._buffers()
        drawing = [(name, kernel.draws) for name, kernel in self.kernels.items()]
        self.registers = Registers((name, draws) for name, draws in drawing if draws is not None)
        self.drawn: dict[str, Drawn] = {}
        self.bound = [self._bind(node, acc) for node in network.nodes]
        self.trapping = [bound for bound in self.bound if trap.trapping_places(bound.node.layer)]
        self.programs = self._programs([chosen[node.name][0] for node in network.nodes])

    def _buffers(self) -> dict[str, Buffer]:
        """One buffer per node, with the widest border that a reader wants; branches of a concat share the concat's."""
        borders: dict[str, tuple[int, int]] = {node.name: (0, 0) for node in self.network.nodes}
        host: dict[str, tuple[str, int]] = {}
        shapes = self.network.shapes()
        for node in self.network.nodes:
            wanted = self.kernels[node.name].input_border
            for name in node.inputs:
                borders[name] = (max(borders[name][0], wanted[0]), max(borders[name][1], wanted[1]))
            if isinstance(node.layer, Concat):
                first = 0
                for name in node.inputs:
                    host.setdefault(name, (node.name, first))
                    first += shapes[name].c
        buffers: dict[str, Buffer] = {}
        for node in reversed(self.network.nodes):
            if node.name in host:
                joint, first = host[node.name]
                self._widen(borders, host, node.name, joint)
        for node in reversed(self.network.nodes):
            if node.name in host:
                joint, first = host[node.name]
                buffers[node.name] = buffers[joint].channels(first, shapes[node.name].c)
            else:
                fmt = node.layer.output_format
                border, fill = borders[node.name], zero_of(fmt)
                buffers[node.name] = Buffer.allocate(self.batch, shapes[node.name], fmt.dtype, border, fill)
        return buffers

    @staticmethod
    def _widen(borders: dict[str, tuple[int, int]], host: dict[str, tuple[str, int]], name: str, joint: str) -> None:
        """Give the outermost joint buffer the border that a branch's own readers want."""
        while joint in host:
            joint = host[joint][0]
        (a, b), (c, d) = borders[name], borders[joint]
        borders[joint] = (max(a, c), max(b, d))

    def _bind(self, node: QuantizedNode, acc: bool) -> Bound:
        kernel = self.kernels[node.name]
        taps = Taps.for_layer(node.layer, self.batch, kernel.output_shape, acc)
        if node.name in self.registers.places:
            taps.first_turns = np.zeros(self.batch, dtype=np.int64)
        inputs = tuple(self.buffers[name] for name in node.inputs) or (self.pixels,)
        return Bound(node, Step(kernel, inputs, self.buffers[node.name], taps))

    def _programs(self, backends: Sequence[Backend]) -> list[Program]:
        """Group neighbouring steps of one backend into one program: the native core runs a whole network in one call."""
        programs: list[Program] = []
        group: list[Step] = []
        for i, bound in enumerate(self.bound):
            group.append(bound.step)
            if i + 1 == len(self.bound) or backends[i + 1] is not backends[i]:
                programs.append(backends[i].program(group))
                group = []
        return programs

    def run(self, pixels: np.ndarray, first_image: int = 0) -> np.ndarray:
        """Run one batch of images, uint8 [N][C][H][W] with N at most `batch`; return the logits' codes [N][K...].

        first_image: how many images the hardware has seen since power-up; only draws depend on it.
        Codes, accumulators and events of every layer stay in the plan until the next run.
        """
        shape = self.network.input_shape
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != tuple(shape) or pixels.dtype != np.uint8:
            raise InputError(
                f"network {self.network.name!r}: found an image batch of shape {pixels.shape}, type {pixels.dtype}; allowed are "
                f"uint8 arrays (N, {shape.c}, {shape.h}, {shape.w})."
            )
        if not 1 <= len(pixels) <= self.batch:
            raise InputError(f"network {self.network.name!r}: found {len(pixels)} images, allowed 1..{self.batch} per batch.")
        for c in range(shape.c):  # plane by plane: numpy copies a whole transposition seven times slower
            self.pixels.inner[: len(pixels), ..., c] = pixels[:, c]
        self.pixels.codes[len(pixels) :] = 0
        self.execute(first_image)
        return self.buffers[self.network.logits].codes[: len(pixels)].reshape(len(pixels), -1).copy()

    def execute(self, first_image: int = 0) -> None:
        """Run on what lies in the pixel buffer: codes in, logits out, events counted."""
        self.drawn = {name: self.registers.drawn(name, first_image, self.batch) for name in self.registers.places}
        for bound in self.bound:
            bound.step.taps.counters[:] = 0
            if bound.step.taps.first_turns is not None:
                bound.step.taps.first_turns[:] = self.drawn[bound.node.name].first_turns
        for program in self.programs:
            program()
        for bound in self.trapping:
            trap.check(bound.node.name, bound.step.kernel, bound.step.inputs, bound.step.taps)
