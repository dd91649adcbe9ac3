"""What accumulators hold on images: the range of their contents, and the narrowest register that no image overflows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np

from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.backends.base import Kernel, Taps
from hwsim.contract.mac import MacContract
from hwsim.contract.scaling import Multiplier
from hwsim.errors import InputError, OverflowTrap
from hwsim.execute.plan import Bound, Plan, choose, prepare
from hwsim.execute.score import Progress
from hwsim.images import ImageSet, images
from hwsim.layers import Events, MacLayer
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from hwsim.proofs.certificate import width_for
from hwsim.proofs.narrow import with_width

BATCH = 8
WIDEST = 64


@dataclass(frozen=True, eq=False)
class Seen:
    """What a layer's accumulator held on `images` images, in a register that is wide enough; the inputs are the network's own.

    low, high: int64 [K], smallest and largest content at the end of an output, bias included, by output channel.
    bits: the narrowest accumulator that had no event in any step.  end_bits: the same for the ends alone; what `bits` has
    more, partial sums need.  events: of the layer as it is declared.
    """

    images: int
    low: np.ndarray
    high: np.ndarray
    bits: int
    end_bits: int
    events: Events

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest content at the end, over all channels."""
        return int(self.low.min()), int(self.high.max())

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        counts = {"images": self.images, "bits": self.bits, "end_bits": self.end_bits, "events": self.events._asdict()}
        return counts | {"low": self.low.tolist(), "high": self.high.tolist()}


def in_integers(node: QuantizedNode) -> bool:
    """Return whether a node is a multiply-accumulate layer whose accumulator is a register of integers."""
    return isinstance(node.layer, MacLayer) and isinstance(node.layer.contract, MacContract)


def seen_widths(
    network: QuantizedNetwork,
    data: ImageSet | str | PathLike[str],
    limit: int | None = None,
    progress: Progress | None = None,
    layers: Sequence[str] | None = None,
    backend: str = "auto",
    batch: int = BATCH,
) -> dict[str, Seen]:
    """seen = for each layer the narrowest accumulator without an event on these images, by running it.

    The network runs as it is declared. What a layer read there, it reads again alone: with an accumulator that no sum
    leaves, which shows the ends; and, where an order is declared, with narrower ones, from the ends' width upwards until
    no step has an event. Below its first event a narrow register holds what the wide one holds, so this width is exact.
    A spill buffer is as declared, and never wider than the accumulator.

    data: an ImageSet or DATA as the command line takes it.  limit: only the first images.  layers: names, None for all.
    Memory does not grow with the number of images.  TRAP stops nothing here: the register wraps, and the event counts.
    Errors: InputError where no image is left.
    """
    if limit is not None and (type(limit) is not int or limit < 1):
        raise InputError(f"seen_widths: found limit {limit!r}, allowed an integer from 1 on.")
    chosen = (data if isinstance(data, ImageSet) else images(str(data), network.preprocessing))[:limit]
    if not len(chosen):
        raise InputError("seen_widths: found no images, at least one is needed; is the list empty?")
    plan = Plan(network, backend, min(batch, len(chosen)))
    watched = [bound for bound in plan.bound if in_integers(bound.node) and (layers is None or bound.node.name in layers)]
    trials = {bound.node.name: _Trial(bound, backend) for bound in watched}
    done = 0
    for pixels in chosen.pixel_batches(plan.batch):
        if len(pixels) < plan.batch:
            plan = Plan(network, backend, len(pixels))  # empty places of a batch are no images
        with suppress(OverflowTrap):  # raised when all layers have run
            plan.run(pixels, done)
        for bound in plan.bound:
            if bound.node.name in trials:
                trials[bound.node.name].look(bound)
        done += len(pixels)
        if progress is not None:
            progress(done, len(chosen))
    return {name: trial.seen(done) for name, trial in trials.items()}


class _Trial:
    """One layer, run again on what it read, with accumulators of other widths."""

    def __init__(self, bound: Bound, backend: str) -> None:
        self.node, self.backends = bound.node, choose(backend)
        self.shapes = bound.step.kernel.input_shapes
        layer = bound.node.layer
        assert isinstance(layer, MacLayer)
        self.layer = layer
        self.acc = layer.integer.contract.accumulator
        self.wide = self._prepared(max(layer.numbers.proven_bits, self.acc.bits))
        biases = layer.numbers.bias
        self.bits = self.end_bits = width_for(min(biases), max(biases), self.acc.overflow)  # no narrower one can be built
        self.narrow: Kernel | None = None
        self.low = np.full(layer.channels, np.iinfo(np.int64).max)
        self.high = np.full(layer.channels, np.iinfo(np.int64).min)
        self.events = Events()

    def _prepared(self, bits: int) -> Kernel:
        layer = with_width(self.layer if bits <= self.acc.bits else _any_width(self.layer), min(bits, WIDEST))
        _, kernel = prepare(QuantizedNode(self.node.name, self.node.inputs, layer), self.shapes, self.backends)
        return kernel

    def look(self, bound: Bound) -> None:
        """Take what one more batch does to the layer; bound: of the plan that has just run it."""
        self.events = self.events.plus(bound.step.taps.counted)
        taps = self._run(self.wide, bound, acc=True)
        if taps.counted.accumulator and self.wide.layer.numbers.acc_bits < WIDEST:
            self.wide = self._prepared(WIDEST)  # a tree or a spill buffer that wraps may leave what is proven of exact sums
            taps = self._run(self.wide, bound, acc=True)
        assert taps.acc is not None
        ends = taps.acc.reshape(-1, self.layer.channels)
        self.low, self.high = np.minimum(self.low, ends.min(axis=0)), np.maximum(self.high, ends.max(axis=0))
        self.end_bits = max(self.end_bits, width_for(int(self.low.min()), int(self.high.max()), self.acc.overflow))
        self._widen(max(self.bits, self.end_bits))
        while self.acc.schedule is not None and self._overflows(bound):
            self._widen(self.bits + 1)

    def _widen(self, bits: int) -> None:
        if bits != self.bits:
            self.bits, self.narrow = bits, None

    def _overflows(self, bound: Bound) -> bool:
        """Whether any step leaves the narrow register."""
        if self.narrow is None:
            self.narrow = self._prepared(self.bits)
        return self._run(self.narrow, bound, acc=False).counted.accumulator > 0

    def _run(self, kernel: Kernel, bound: Bound, acc: bool) -> Taps:
        taps = Taps.for_layer(kernel.layer, bound.step.out.n, kernel.output_shape, acc)
        taps.first_turns = bound.step.taps.first_turns
        kernel(bound.step.inputs, taps)
        return taps

    def seen(self, count: int) -> Seen:
        """Return what was seen on so many images."""
        return Seen(count, self.low, self.high, self.bits, self.end_bits, self.events)


def _any_width(layer: MacLayer) -> MacLayer:
    """Return the layer with an output stage that takes an accumulator of any width, as multipliers in integers do not."""
    contract = layer.integer.contract
    if contract.output.scaling is None:
        return layer
    output = replace(contract.output, scaling=Multiplier(Scaling.FLOAT32, 1, 0), rounding=Rounding.TIES_EVEN)
    return replace(layer, contract=replace(contract, output=output))
