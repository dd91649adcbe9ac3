"""The one interface of all backends: prepare(layer, shapes) -> Kernel; Kernel(inputs, taps) -> codes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from hwsim.backends.buffers import Buffer
from hwsim.contract.draws import Draws
from hwsim.errors import BackendError, ContractError
from hwsim.formats import Format, IntegerFormat, Minifloat
from hwsim.layers.base import Events, Layer, Shape, Shares
from hwsim.layers.draws import draws_of, epilogue_of
from hwsim.layers.float_unit import FloatUnit
from hwsim.layers.mac import MacLayer

EVENTS = len(Events._fields)
COUNTERS = EVENTS + len(Shares._fields)


@dataclass
class Taps:
    """What a kernel leaves behind beside the codes.

    counters: int64 [10], always counted: the seven of Events, then the three of Shares.  acc: dense array [N][H][W][K] to be
    filled (int32 where the accumulator has at most 32 bits, else int64; codes of a float register in their own type; an exact
    sum of minifloats beyond 64 bits has a last axis of int64 words, little end first), or None when nobody asked.
    first_turns: int64 [N], what a kernel that draws is told: the turn since the last reset in which each image begins; None
    where all begin with the seeds.  flags: uint8 [N][H][W][K] to be filled by multiply-accumulate kernels of a MacContract:
    bit 1 << Place (arith.accumulate) is set where that output had an event at that place, else 0; OUTPUT stays 0 in kernels
    that draw. None when nobody asked.
    """

    acc: np.ndarray | None = None
    counters: np.ndarray = field(default_factory=lambda: np.zeros(COUNTERS, dtype=np.int64))
    first_turns: np.ndarray | None = None
    flags: np.ndarray | None = None

    @classmethod
    def for_layer(cls, layer: Layer, n: int, shape: Shape, acc: bool) -> Taps:
        """Return empty taps; `acc` asks for the accumulators, which only multiply-accumulate layers have."""
        if not acc or not isinstance(layer, MacLayer):
            return cls()
        words = layer.unit.acc_words if isinstance(layer.unit, FloatUnit) else None
        return cls(np.zeros((n, shape.h, shape.w, shape.c) + (() if words is None else (words,)), dtype=acc_dtype(layer)))

    @property
    def channels_first(self) -> np.ndarray | None:
        """The accumulators as a copy [N][K][H][W], with the words' axis behind it where there is one."""
        return None if self.acc is None else np.ascontiguousarray(np.moveaxis(self.acc, 3, 1))

    def turns_of(self, n: int) -> list[int]:
        """Return the first turn of each of n images."""
        return [0] * n if self.first_turns is None else self.first_turns[:n].tolist()

    @property
    def events(self) -> np.ndarray:
        """The events' counters, in the order of Events: a view."""
        return self.counters[:EVENTS]

    @property
    def shares(self) -> np.ndarray:
        """The counters of how outputs were computed, in the order of Shares: a view."""
        return self.counters[EVENTS:]

    @property
    def counted(self) -> Events:
        """The events so far."""
        return Events(*self.events.tolist())

    @property
    def shared(self) -> Shares:
        """How the outputs so far were computed."""
        return Shares(*self.shares.tolist())


def zero_of(fmt: Format) -> int:
    """Return the code that fills a border: the zero point."""
    return fmt.zero() if isinstance(fmt, IntegerFormat) else 0


def acc_dtype(layer: MacLayer) -> np.dtype:
    """Return the type of a layer's accumulator tap: int32 up to 32 bits, else int64; see Taps for minifloats."""
    if isinstance(layer.unit, FloatUnit):
        return layer.unit.acc_dtype
    return np.dtype(np.int32 if layer.numbers.acc_bits <= 32 else np.int64)


class Kernel(ABC):
    """A layer made ready for one backend and one set of input shapes. Immutable, and free of names.

    input_border: the border of real 0 (vertical, horizontal) that it wants around its inputs; a smaller one is made up by a copy.
    """

    backend: ClassVar[str]
    layer: Any  # the layer's own type, which each kernel states

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        self.layer = layer
        self.input_shapes = tuple(shapes)
        self.output_shape = layer.output_shape(self.input_shapes)

    @property
    def draws(self) -> Draws | None:
        """Return the draws of this layer for one image; None where it rounds by a fixed mode."""
        epilogue = epilogue_of(self.layer)
        return None if epilogue is None else draws_of(epilogue, self.output_shape)

    @property
    def input_border(self) -> tuple[int, int]:
        """Border that inputs should have."""
        return (0, 0)

    def __call__(self, inputs: Sequence[np.ndarray | Buffer], taps: Taps | None = None, out: Buffer | None = None) -> Buffer:
        """Compute all outputs. inputs: codes [N][C][H][W] or Buffers; out: where to write, or None for a new buffer."""
        if len(inputs) != len(self.input_shapes):
            raise ContractError(f"{self.layer.kind}: found {len(inputs)} inputs, allowed {len(self.input_shapes)}.")
        ready = [self._ready(i, value) for i, value in enumerate(inputs)]
        if len({buffer.n for buffer in ready}) != 1:
            counts = ", ".join(str(buffer.n) for buffer in ready)
            raise ContractError(f"{self.layer.kind}: found inputs of {counts} images, allowed one number of images for all.")
        if out is None:
            out = Buffer.allocate(ready[0].n, self.output_shape, self.layer.output_format.dtype)
        self.run(ready, out, Taps() if taps is None else taps)
        return out

    def _ready(self, i: int, value: np.ndarray | Buffer) -> Buffer:
        fmt = self.layer.input_formats[i]
        if isinstance(value, Buffer):
            enough = all(have >= want for have, want in zip(value.border, self.input_border, strict=True))
            return value if enough else Buffer.from_codes(value.codes, fmt.dtype, self.input_border, zero_of(fmt))
        codes = np.asarray(value)
        if codes.ndim != 4 or tuple(codes.shape[1:]) != tuple(self.input_shapes[i]):
            raise ContractError(
                f"{self.layer.kind}: input {i} has shape {codes.shape}, allowed (N, {', '.join(map(str, self.input_shapes[i]))})."
            )
        where, allowed = f"{self.layer.kind}: input {i}", f"allowed integer codes in {fmt.low}..{fmt.high} ({fmt})"
        if codes.dtype.kind not in "iu":
            raise ContractError(f"{where}: found elements of type {codes.dtype}, {allowed}; encode real values first.")
        if codes.size and not fmt.low <= int(codes.min()) <= int(codes.max()) <= fmt.high:
            at = tuple(int(place) for place in np.argwhere((codes < fmt.low) | (codes > fmt.high))[0])
            raise ContractError(f"{where}: found {int(codes[at])} at (n, c, y, x) = {at}, {allowed}; saturate them first.")
        return Buffer.from_codes(codes, fmt.dtype, self.input_border, zero_of(fmt))

    @abstractmethod
    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`; inputs have the wanted border; events are added to taps.counters."""


@dataclass(frozen=True)
class Step:
    """One kernel with its buffers bound: a line of a program."""

    kernel: Kernel
    inputs: tuple[Buffer, ...]
    out: Buffer
    taps: Taps


Program = Callable[[], None]


def run_steps(steps: Sequence[Step]) -> Program:
    """Return a program that runs the steps one by one."""

    def program() -> None:
        for step in steps:
            step.kernel.run(step.inputs, step.out, step.taps)

    return program


Prepare = Callable[[Layer, Sequence[Shape]], Kernel]


def has_minifloat(layer: Layer) -> bool:
    """Return whether a minifloat enters or leaves the layer."""
    return any(isinstance(fmt, Minifloat) for fmt in (*layer.input_formats, layer.output_format))


def by_format(integers: Prepare, minifloats: Prepare) -> Prepare:
    """Return what prepares the one kernel or the other, by whether a minifloat enters or leaves."""

    def prepare(layer: Layer, shapes: Sequence[Shape]) -> Kernel:
        return (minifloats if has_minifloat(layer) else integers)(layer, shapes)

    return prepare


def nothing(layer: Layer) -> bool:
    """Return False: no layer of a kind in the table is beyond the backend."""
    return False


WithNoise = Callable[[Kernel, Draws], Kernel]
"""From the kernel of a layer that draws, prepared without its noise, to the one that draws."""


@dataclass(frozen=True)
class Backend:
    """One way to compute: a table {kind of layer: prepare} and a way to run bound steps as one program.

    lacks: whether a layer is beyond the backend though its kind is in the table.
    """

    name: str
    table: dict[str, Prepare]
    program: Callable[[Sequence[Step]], Program] = run_steps
    with_noise: WithNoise | None = None
    lacks: Callable[[Layer], bool] = nothing

    def can(self, layer: Layer) -> bool:
        """Return whether this backend has a kernel for the layer."""
        return layer.kind in self.table and not self.lacks(layer)

    def prepare(self, layer: Layer, shapes: Sequence[Shape]) -> Kernel:
        """Return the kernel for a layer; BackendError where this backend has none."""
        if layer.kind not in self.table:
            raise BackendError(f"backend {self.name} has no kernel for {layer.kind}; allowed: {', '.join(sorted(self.table))}.")
        if self.lacks(layer):
            raise BackendError(f"backend {self.name} has no {layer.kind} for this contract; choose backend jit or auto.")
        kernel = self.table[layer.kind](layer, shapes)
        draws = kernel.draws
        if draws is None:
            return kernel
        if self.with_noise is None:
            raise BackendError(f"backend {self.name} cannot draw the noise of this {layer.kind}; choose backend spec.")
        return self.with_noise(kernel, draws)
