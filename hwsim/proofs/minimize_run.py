"""Score a network with other accumulators in some layers; many variants in one pass, each computing only what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwsim.backends.base import EVENTS, Kernel, Taps, zero_of
from hwsim.backends.buffers import Buffer
from hwsim.execute.plan import Bound, Plan, choose, prepare
from hwsim.execute.score import Accuracy, Progress, run_batch
from hwsim.execute.trace import best, comparable
from hwsim.images import ImageSet
from hwsim.layers import Events, MacLayer
from hwsim.network.quantized import QuantizedNetwork

BATCH_BYTES, MOST_IMAGES = 1 << 24, 64
"""Codes of all layers that one batch may hold, and the most images of a batch."""
KEPT_BYTES = 1 << 28
"""Pixels that are kept between passes; more of them are decoded again."""

Variant = Mapping[str, MacLayer]
"""Layers that take the place of the network's own, by name; none of them is the network itself."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What a network did on the scoring images.

    guesses: int64 [N], the class of each image.  events: of the layers that were replaced, on the codes that reached them.
    """

    accuracy: Accuracy
    guesses: np.ndarray
    events: dict[str, Events]

    @property
    def accumulator_events(self) -> int:
        """Steps that did not fit an accumulator, in all layers that were replaced."""
        return sum(events.accumulator for events in self.events.values())


class Judge:
    """Scores variants of a network on the same images.

    The network runs once a pass. A variant computes a layer again where the layer is replaced, and where codes that it reads
    differ from the network's, on the images on which they do.  passes, runs: how many there were of each.  before: images that
    progress has counted already.
    """

    def __init__(
        self,
        network: QuantizedNetwork,
        images: ImageSet,
        labels: np.ndarray,
        backend: str = "auto",
        progress: Progress | None = None,
        before: int = 0,
    ) -> None:
        self.network, self.images, self.labels, self.before = network, images, labels, before
        self.backend, self.progress = backend, progress
        self.batch = min(_batch(network), len(images))
        self.passes = self.runs = 0
        self._plans: dict[int, Plan] = {}
        self._kept: list[np.ndarray] | None = None

    def measure(self, variants: Sequence[Variant]) -> list[Measured]:
        """Return what each variant does, in order."""
        kernels = self._kernels(variants)
        running = [_Running(self.network, {name: kernels[layer] for name, layer in each.items()}) for each in variants]
        before = self.before + self.passes * len(self.images)
        self.passes, self.runs = self.passes + 1, self.runs + len(variants)
        done = 0
        for pixels in self._pixels():
            plan = self._plan(len(pixels))
            run_batch(plan, pixels, done)
            for variant in running:
                variant.run(plan)
            done += len(pixels)
            if self.progress is not None:
                self.progress(before + done, before + len(self.images))
        return [variant.measured(self.labels) for variant in running]

    def _kernels(self, variants: Sequence[Variant]) -> dict[MacLayer, Kernel]:
        """One kernel for each layer, however many variants share it; layers are told apart as objects."""
        backends, shapes = choose(self.backend), self.network.shapes()
        made: dict[MacLayer, Kernel] = {}
        for name, layer in (pair for variant in variants for pair in variant.items()):
            if layer not in made:
                node = self.network[name]
                _, made[layer] = prepare(replace(node, layer=layer), [shapes[source] for source in node.inputs], backends)
        return made

    def _plan(self, n: int) -> Plan:
        if n not in self._plans:
            self._plans[n] = Plan(self.network, self.backend, n)
        return self._plans[n]

    def _pixels(self) -> Iterator[np.ndarray]:
        """The images' pixels in batches; kept for the next pass where they are few."""
        if self._kept is not None:
            yield from self._kept
            return
        few = len(self.images) * int(np.prod(self.network.input_shape)) <= KEPT_BYTES
        kept = []
        for pixels in self.images.pixel_batches(self.batch):
            if few:
                kept.append(pixels)
            yield pixels
        self._kept = kept if few else None


def _batch(network: QuantizedNetwork) -> int:
    """Images of a batch: as many as memory is spent on."""
    shapes = network.shapes()
    held = sum(int(np.prod(shapes[node.name])) * node.layer.output_format.dtype.itemsize for node in network.nodes)
    return max(1, min(MOST_IMAGES, BATCH_BYTES // held))


@dataclass(frozen=True, eq=False)
class _Changed:
    """Codes of a layer that are not the network's own: [N][H][W][K] of all images, and which images differ, bool [N]."""

    codes: np.ndarray
    differs: np.ndarray


class _Running:
    """One variant, batch by batch."""

    def __init__(self, network: QuantizedNetwork, kernels: Mapping[str, Kernel]) -> None:
        self.network, self.kernels = network, kernels
        self.counters = {name: np.zeros(EVENTS, dtype=np.int64) for name in kernels}
        self.ranked: list[np.ndarray] = []

    def run(self, plan: Plan) -> None:
        """Take one batch, which the network itself has just run."""
        changed: dict[str, _Changed] = {}
        for bound in plan.bound:
            found = self._layer(bound, plan, changed)
            if found is not None:
                changed[bound.node.name] = found
            if bound.node.name == self.network.logits:
                break
        answer = self.network.logits
        codes = changed[answer].codes if answer in changed else plan.buffers[answer].inner
        logits = codes.transpose(0, 3, 1, 2).reshape(len(codes), -1)
        self.ranked.append(best(comparable(logits, self.network[answer].layer.output_format), 5))

    def _layer(self, bound: Bound, plan: Plan, changed: dict[str, _Changed]) -> _Changed | None:
        """Compute a layer again where that can change its codes; None where they are the network's own."""
        name, own = bound.node.name, plan.buffers[bound.node.name].inner
        kernel = self.kernels.get(name, bound.step.kernel)
        again = np.full(len(own), name in self.kernels)
        for source in bound.node.inputs:
            if source in changed:
                again |= changed[source].differs
        if not again.any():
            return None
        taps = Taps()
        if name in plan.drawn:
            taps.first_turns = np.array(plan.drawn[name].first_turns, dtype=np.int64)[again]
        inputs = [
            _read(plan.buffers[source], changed.get(source), again, kernel, i) for i, source in enumerate(bound.node.inputs)
        ]
        made = kernel(inputs, taps).inner
        if name in self.counters:
            self.counters[name] += taps.events
        differs = again.copy()
        differs[again] = (made != own[again]).any(axis=(1, 2, 3))
        if not differs.any():
            return None
        codes = own.copy()
        codes[again] = made
        return _Changed(codes, differs)

    def measured(self, labels: np.ndarray) -> Measured:
        """Return the counts over all batches."""
        ranked = np.concatenate(self.ranked)
        right, right5 = int((ranked[:, 0] == labels).sum()), int((ranked == labels[:, None]).any(axis=1).sum())
        events = {name: Events(*counts.tolist()) for name, counts in self.counters.items()}
        return Measured(Accuracy(len(labels), right, right5), ranked[:, 0], events)


def _read(own: Buffer, changed: _Changed | None, rows: np.ndarray, kernel: Kernel, i: int) -> Buffer:
    """Input i of a kernel: the chosen images' codes; the network's own buffer where all are read unchanged."""
    if changed is None and rows.all():
        return own
    codes = (own.inner if changed is None else changed.codes)[rows]
    fill = zero_of(kernel.layer.input_formats[i])
    made = Buffer.allocate(len(codes), own.shape, codes.dtype, kernel.input_border, fill)
    made.inner[...] = codes
    return made
