"""The narrowest accumulators that will do: proven, safe on the data, or saturating within a margin of accuracy."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from os import PathLike

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.contract.accumulator import Schedule
from hwsim.errors import ContractError, InputError, ProofError
from hwsim.execute.score import Progress
from hwsim.images import ImageSet, images
from hwsim.layers import MacLayer
from hwsim.network.lower.settle import naming
from hwsim.network.quantized import QuantizedNetwork
from hwsim.proofs.certificate import NARROWEST, Certificate
from hwsim.proofs.minimize_report import Column, LayerWidths, Minimized, Stop, Trial, Whole
from hwsim.proofs.minimize_run import Judge, Measured
from hwsim.proofs.narrow import with_width
from hwsim.proofs.prove import prove
from hwsim.proofs.seen import WIDEST, in_integers, seen_widths
from hwsim.quantize.compare import labelled

Data = ImageSet | str | PathLike[str]
Widths = Mapping[str, int]


def minimize_accumulators(
    network: QuantizedNetwork,
    calibration: Data,
    scoring: Data,
    margin: float | None = None,
    calibration_limit: int | None = None,
    limit: int | None = None,
    label_offset: int = 0,
    certificates: Mapping[str, Certificate] | None = None,
    backend: str = "auto",
    progress: Progress | None = None,
) -> Minimized:
    """minimized = the narrowest accumulator per layer that is proven, that calibration never overflows, or that may saturate.

    Proven: by its certificate.  Data: no calibration image has an event in any step of the declared order.  Saturating, where
    a margin is given: at every step, in the declared order or, without one, in Schedule()'s.  Each layer alone goes down from
    the data's width, one bit at a time, until it loses more than the margin (accuracy is not monotone in the width, so no
    bisection is exact); where all layers together lose more, the layer that gains most is widened by a bit, again and again.

    calibration: images.  scoring: images with labels; every top-1 is measured on all of them.  Both are an ImageSet or DATA as
    the command line takes it.  margin: points of top-1 that may be lost against the exact network, 0..100.
    calibration_limit, limit: only the first calibration, scoring images.  label_offset: see hwsim.score.
    certificates: by layer; None proves them for every input in its format.
    progress: called with (scoring images done, in all so far): how many there will be shows as the search goes on.
    Errors: InputError for a margin out of its range, data without labels or images, a network wholly of minifloats; ProofError
    where a scoring image overflows a proven width, which is a fault of hwsim.

    >>> import hwsim
    >>> from hwsim.demo.story import MODEL, WEIGHTS
    >>> net = hwsim.read(MODEL, WEIGHTS)
    >>> digits = hwsim.images("digits", net.preprocessing)
    >>> found = minimize_accumulators(hwsim.quantize(net, digits[:50]), digits[:50], digits[-50:])
    >>> found["conv1"].declared, found["conv1"].proven, found["conv1"].data
    (32, 18, 17)
    """
    start = time.perf_counter()
    allowed = None if margin is None else _checked_margin(margin)
    chosen, labels = labelled(network, scoring, limit, label_offset)
    calibrating = calibration if isinstance(calibration, ImageSet) else images(str(calibration), network.preprocessing)
    calibrating = calibrating[:calibration_limit]
    if not len(chosen) or not len(calibrating):
        raise InputError("minimize: found no scoring or no calibration images, at least one is needed; is the list empty?")
    proofs = _proofs(network, certificates)
    if not proofs:
        raise InputError(f"network {network.name!r}: no layer accumulates integers, so there is no accumulator to minimize.")
    exact = _narrowed(network, {name: proof.layer_bits for name, proof in proofs.items() if not proof.safe.all()})
    seen = seen_widths(exact, calibrating, progress=_then(progress, len(chosen)), layers=list(proofs), backend=backend)
    judge = Judge(exact, chosen, labels, backend, progress, len(calibrating))
    search = Search(network, proofs, {name: found.bits for name, found in seen.items()}, judge)
    search.fixed()
    if allowed is not None:
        search.saturating(allowed)
    return search.minimized(margin, len(calibrating), time.perf_counter() - start)


def _checked_margin(margin: float) -> Fraction:
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0 <= margin <= 100:
        raise InputError(f"minimize: found margin {margin!r}, allowed 0..100 points of top-1.")
    return Fraction(str(margin))


def _then(progress: Progress | None, more: int) -> Progress | None:
    """Progress of a pass behind which `more` images are known to come."""
    return None if progress is None else lambda done, total: progress(done, total + more)


def _proofs(network: QuantizedNetwork, given: Mapping[str, Certificate] | None) -> dict[str, Certificate]:
    """A certificate for each layer that accumulates integers."""
    shapes, proofs = network.shapes(), {}
    for node in filter(in_integers, network.nodes):
        assert isinstance(node.layer, MacLayer)
        known = None if given is None else given.get(node.name)
        proofs[node.name] = prove(node.layer, shapes[node.inputs[0]], name=node.name) if known is None else known
    return proofs


def _at(network: QuantizedNetwork, name: str, bits: int) -> MacLayer:
    """A layer with another width; errors name it."""
    layer = network[name].layer
    assert isinstance(layer, MacLayer)
    with naming(f"network {network.name!r}, layer {name!r}"):
        return with_width(layer, bits)


def _narrowed(network: QuantizedNetwork, widths: Widths) -> QuantizedNetwork:
    """The network with other widths in some layers."""
    return _with_layers(network, {name: _at(network, name, bits) for name, bits in widths.items()})


def _with_layers(network: QuantizedNetwork, layers: Mapping[str, MacLayer]) -> QuantizedNetwork:
    return replace(network, nodes=tuple(replace(node, layer=layers.get(node.name, node.layer)) for node in network.nodes))


@dataclass
class Walk:
    """One layer's way down: saturating accumulators from `first` bits, until the network has fewer than `least` images right.

    Where the first one already loses too much the way goes up instead, to `top` bits at most, where nothing saturates.
    """

    layer: MacLayer
    first: int
    top: int
    least: int
    trials: list[Trial] = field(default_factory=list)
    stop: Stop | None = None
    _made: dict[int, MacLayer] = field(default_factory=dict)

    @classmethod
    def of(cls, proof: Certificate, seen: int, least: int) -> Walk:
        """Return the way of a proven layer. Where no order is declared, what partial sums reach is proven for any order."""
        walk = cls(proof.layer, seen, max(proof.layer_bits, seen), least)
        if proof.contract.accumulator.schedule is None:
            walk.top = min(max(walk.top, walk.at(walk.top).numbers.proven_bits), WIDEST)
        return walk

    def at(self, bits: int) -> MacLayer:
        """Return the layer saturating at so many bits, at every step; symmetrically where it is declared so."""
        if bits not in self._made:
            acc = self.layer.integer.contract.accumulator
            mode = acc.overflow if acc.overflow is Overflow.SATURATE_SYMMETRIC else Overflow.SATURATE
            self._made[bits] = with_width(self.layer, bits, mode, acc.schedule or Schedule())
        return self._made[bits]

    def next(self) -> int | None:
        """Return the width to try next; None where the way ends."""
        if not self.trials:
            return self.first
        last, good = self.trials[-1].bits, self.trials[-1].right >= self.least
        if self.trials[0].right < self.least:
            self.stop = Stop.MARGIN
            return None if good or last >= self.top else last + 1
        self.stop = Stop.MARGIN if not good else Stop.NARROWEST if last == NARROWEST else self._refused(last - 1)
        return None if self.stop is not None else last - 1

    def _refused(self, bits: int) -> Stop | None:
        try:
            self.at(bits)
        except ContractError:
            return Stop.REFUSED
        return None

    @property
    def alone(self) -> Trial:
        """The narrowest width that was tried and kept the margin; nothing saturates at the top, so there is one."""
        return min((trial for trial in self.trials if trial.right >= self.least), key=lambda trial: trial.bits)


class Search:
    """The widths of all layers, column by column, and what each column costs on the judge's images."""

    def __init__(self, network: QuantizedNetwork, proofs: Mapping[str, Certificate], seen: Widths, judge: Judge) -> None:
        self.network, self.proofs, self.seen, self.judge = network, proofs, seen, judge
        self.wholes: dict[Column, Whole] = {}
        self.networks: dict[Column, QuantizedNetwork] = {}
        self.walks: dict[str, Walk] = {}
        self.together: dict[str, int] = {}
        self.widened: list[str] = []

    def fixed(self) -> None:
        """Score the exact network, and the two columns that no search is needed for."""
        widths = {Column.PROVEN: {name: proof.layer_bits for name, proof in self.proofs.items()}, Column.DATA: self.seen}
        layers = [{name: _at(self.network, name, bits) for name, bits in of.items()} for of in widths.values()]
        unsafe = {name: proof.layer for name, proof in self.proofs.items() if not proof.safe.all()}
        self.exact, *found = self.judge.measure([{}, *layers, *([unsafe] if unsafe else [])])
        self.declared = self._whole(found.pop()) if unsafe else None
        for column, narrow, measured in zip(widths, layers, found, strict=True):
            self._keep(column, narrow, measured)
        self._check_proven(found[0])

    def _whole(self, measured: Measured) -> Whole:
        return Whole(measured.accuracy, int((measured.guesses == self.exact.guesses).sum()), measured.events)

    def _keep(self, column: Column, layers: Mapping[str, MacLayer], measured: Measured) -> None:
        self.wholes[column] = self._whole(measured)
        self.networks[column] = _with_layers(self.network, layers)

    def _check_proven(self, measured: Measured) -> None:
        """A proof that an image refutes is none. A spill buffer no wider than its accumulator may hold one value less."""
        overflowing = [name for name, events in measured.events.items() if events.accumulator]
        spills = any(events.spill for events in measured.events.values())
        if overflowing or not (spills or np.array_equal(measured.guesses, self.exact.guesses)):
            raise ProofError(
                f"network {self.network.name!r}: scoring images refute the certificates of {overflowing or list(self.proofs)}; "
                "this is a fault of hwsim, please report it."
            )

    def saturating(self, allowed: Fraction) -> None:
        """Walk down each layer alone, in step, so that the exact network runs once for all; then take them together."""
        least = self.exact.accuracy.right - math.floor(allowed * self.exact.accuracy.images / 100)
        for name, proof in self.proofs.items():
            self.walks[name] = Walk.of(proof, self.seen[name], least)
        while wanted := {name: bits for name, walk in self.walks.items() if (bits := walk.next()) is not None}:
            for (name, bits), found in zip(wanted.items(), self._tried([{n: b} for n, b in wanted.items()]), strict=True):
                self.walks[name].trials.append(Trial(bits, found.accuracy.right, found.accumulator_events))
        self.together = {name: walk.alone.bits for name, walk in self.walks.items()}
        found = self._tried([self.together])[0]
        while found.accuracy.right < least:
            found = self._widen()
        self._keep(Column.SATURATING, self._layers(self.together), found)

    def _layers(self, widths: Widths) -> dict[str, MacLayer]:
        return {name: self.walks[name].at(bits) for name, bits in widths.items()}

    def _tried(self, choices: list[dict[str, int]]) -> list[Measured]:
        return self.judge.measure([self._layers(widths) for widths in choices])

    def _widen(self) -> Measured:
        """Give one bit back to the layer that gains most by it; of equals, to the one that costs most alone."""
        names = [name for name, bits in self.together.items() if bits < self.walks[name].top]
        found = self._tried([self.together | {name: self.together[name] + 1} for name in names])
        at = max(range(len(names)), key=lambda i: (found[i].accuracy.right, -self.walks[names[i]].alone.right, -i))
        self.together[names[at]] += 1
        self.widened.append(names[at])
        return found[at]

    def minimized(self, margin: float | None, calibration_images: int, seconds: float) -> Minimized:
        """Return all that was found."""
        left = [(n.name, "it adds minifloats") for n in self.network.mac_nodes if n.name not in self.proofs]
        return Minimized(
            name=self.network.name,
            margin=margin,
            calibration_images=calibration_images,
            layers=tuple(self._layer(name, proof) for name, proof in self.proofs.items()),
            left=tuple(left),
            exact=self.exact.accuracy,
            declared=self.declared,
            wholes=self.wholes,
            widened=tuple(self.widened),
            runs=self.judge.runs,
            seconds=seconds,
            networks=self.networks,
        )

    def _layer(self, name: str, proof: Certificate) -> LayerWidths:
        found = LayerWidths(name, proof.layer.kind, proof.declared_bits, proof.rule_bits, proof.layer_bits, self.seen[name])
        walk = self.walks.get(name)
        if walk is None:
            return found
        trials = tuple(walk.trials)
        return replace(found, alone=walk.alone.bits, together=self.together[name], trials=trials, stop=walk.stop)
