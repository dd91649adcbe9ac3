"""Witnesses: the input that makes a register overflow, by as few entries as possible, and the output in which it shows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hwsim.arith.accumulate import Place
from hwsim.arith.overflow import fits
from hwsim.arith.rounding import round_shift
from hwsim.errors import ContractError, ProofError
from hwsim.execute.explain_integer import integer_rows
from hwsim.execute.explanation import Kind, Row
from hwsim.execute.single import run_layer
from hwsim.execute.trace import LayerTrace
from hwsim.golden.package import Package
from hwsim.golden.write import write_golden
from hwsim.layers import MacLayer, Shape
from hwsim.proofs.certificate import Certificate, Ends
from hwsim.proofs.machine import Machine
from hwsim.proofs.prove import prove
from hwsim.proofs.reference import with_room, without_trap
from hwsim.proofs.search import Pick, search

CANDIDATES = 8
"""Channels that are tried until the output of one shows the overflow."""


@dataclass(frozen=True, eq=False)
class Witness:
    """An input on which a register of a layer overflows; and what becomes of one output, in the layer and in one with room.

    name: of the layer in its network.  layer: as declared.  inputs: codes [1][C][H][W].  at: the output (n, k, y, x).
    place: "accumulator", "tree" or "spill".  step: of the first event there, as OverflowTrap counts; None where no order is
    declared.  asked: the value that did not fit.  persistent: the exact final value does not fit either.
    nonzeros: entries of the input that are not the zero point.  fewest: proven that no input with fewer does it.
    acc, code: of this output.  wide_acc, wide_code: where the register, and the accumulator behind it, have room for every
    input; None if that cannot be built.
    visible: a witness whose code is not the wide one; None if none was found.  reason: why there is none, proven.
    tried: inputs compared in vain, where there is neither.  refusal: why no layer with room can be built, or None.
    other: a witness of the other kind, transient beside a persistent one and the other way round; None if none was found.
    """

    name: str
    layer: MacLayer
    inputs: np.ndarray
    at: tuple[int, int, int, int]
    place: str
    step: int | None
    asked: int
    persistent: bool
    nonzeros: int
    fewest: bool
    acc: int
    code: int
    wide_acc: int | None
    wide_code: int | None
    visible: Witness | None = None
    reason: str | None = None
    tried: int = 0
    refusal: str | None = None
    other: Witness | None = None

    def __post_init__(self) -> None:
        if self.inputs.ndim != 4 or len(self.inputs) != 1:
            raise ContractError(f"Witness.inputs: found shape {self.inputs.shape}, allowed [1][C][H][W].")

    @property
    def differs(self) -> bool:
        """Whether this very input's output code tells the register from a wide one."""
        return self.wide_code is not None and self.code != self.wide_code

    @property
    def kind(self) -> str:
        """ "persistent" or "transient"."""
        return "persistent" if self.persistent else "transient"

    @property
    def transient(self) -> Witness | None:
        """This witness or the other one, whichever is transient."""
        return next((w for w in (self, self.other) if w is not None and not w.persistent), None)

    @property
    def verdict(self) -> str:
        """What becomes of the output, in one sentence."""
        found = self if self.visible is None and self.differs else self.visible
        if found is not None:
            return f"the output code is {found.code}, and {found.wide_code} with room ({found.nonzeros} non-zero entries)"
        if self.refusal is not None:
            return f"there is no output to compare with, since no wider register can be built: {self.refusal}"
        if self.reason is not None:
            return f"no output can differ: {self.reason}"
        if self.tried:
            return f"no output that differs was found in {self.tried} inputs; not proven that there is none"
        return "the output code of this input is the same with room"

    @cached_property
    def runnable(self) -> MacLayer:
        """The layer in which nothing traps: a register that says TRAP leaves what one that wraps does."""
        return without_trap(self.layer)

    def trace(self, backend: str = "auto") -> LayerTrace:
        """Run the whole layer on the input. Where the contract says TRAP nothing stops, and it wraps."""
        return replace(run_layer(self.runnable, self.inputs, backend=backend), name=self.name)

    def write(self, path: str | os.PathLike[str], force: bool = False, command: tuple[str, ...] = ()) -> Package:
        """Write the layer with this input as a golden package; see hwsim.write_golden."""
        return write_golden(self.trace(), path, force=force, command=command)


def find_witness(
    layer: MacLayer,
    shape: Shape,
    certificate: Certificate | None = None,
    channel: int | None = None,
    place: Place = Place.ACCUMULATOR,
    name: str | None = None,
) -> Witness | None:
    """witness = an input in the certificate's range on which a register of one channel overflows, by as few entries as possible.

    shape: of one input image.  certificate: of this layer, None to prove it now.  channel: None for the one that needs the
    widest register, of those that need one of the eight widest and whose output shows it if any does.  place: which register.
    Returns None where the certificate says that there is none, or none was found.

    >>> from hwsim.arith.overflow import Overflow
    >>> from hwsim.contract import Accumulator, MacContract, Output
    >>> from hwsim.execute.single import Linear
    >>> from hwsim.formats import FixedPoint
    >>> s8 = FixedPoint(8, 0)
    >>> contract = MacContract(s8, s8, Output(FixedPoint(8, -8)), Accumulator(15, overflow=Overflow.SATURATE))
    >>> found = find_witness(Linear().layer(np.array([[1, 100, -100, 50]]), contract), Shape(4, 1, 1))
    >>> found.inputs.ravel().tolist(), found.step, found.asked, found.kind, found.fewest
    ([0, 127, -128, 0], 2, 25500, 'persistent', True)
    >>> found.verdict
    'the output code is 64, and 100 with room (2 non-zero entries)'
    """
    proof = prove(layer, shape, name=name) if certificate is None else certificate
    room, name = Room(proof, place), proof.name if name is None else name
    if channel is None:
        return _telling(proof, room, name)
    if not 0 <= channel < layer.channels:
        raise ContractError(f"{proof.name}: found output channel {channel}, allowed 0..{layer.channels - 1}.")
    return _find(proof, room, channel, name)


def _telling(proof: Certificate, room: Room, name: str) -> Witness | None:
    """The witness of the worst channel in whose output it shows: a channel that gives 0 whatever it reads tells nobody."""
    worst = None
    for k in worst_channels(proof, room.place)[:CANDIDATES]:
        found = _find(proof, room, k, name)
        if found is not None and found.visible is not None:
            return found
        worst = found if worst is None else worst
    return worst


def witnesses(certificates: Iterable[Certificate], every_channel: bool = False) -> list[Witness]:
    """Return a witness for every register that some input overflows: accumulators first, of each as find_witness does, or all."""
    found = []
    for proof in certificates:
        for place in (Place.ACCUMULATOR, Place.TREE, Place.SPILL):
            room = Room(proof, place)
            if every_channel:
                found += [_find(proof, room, k, proof.name) for k in range(proof.layer.channels)]
            else:
                found.append(_telling(proof, room, proof.name))
    return [witness for witness in found if witness is not None]


@dataclass(frozen=True, eq=False)
class Room:
    """The layer with room in one register, built when it is asked for."""

    proof: Certificate
    place: Place

    @cached_property
    def built(self) -> tuple[MacLayer | None, str | None]:
        """(the layer, why there is none)."""
        try:
            return with_room(self.proof, self.place), None
        except (ContractError, ProofError) as error:
            return None, str(error)


def _find(proof: Certificate, room: Room, k: int, name: str) -> Witness | None:
    """The witness of one channel's register."""
    if not can_overflow(proof, room.place, k):
        return None
    wide, refusal = room.built
    found = search(proof.layer, wide, proof, k, room.place)
    if found.first is None:
        return None
    picks = [pick for pick in (found.first, found.visible, found.other) if pick is not None]
    told = {id(pick): _told(name, proof.layer, wide, pick, room.place) for pick in picks}
    return replace(
        told[id(found.first)],
        visible=None if found.visible is None else told[id(found.visible)],
        reason=found.reason,
        tried=found.tried,
        refusal=refusal,
        other=None if found.other is None else told[id(found.other)],
    )


def can_overflow(proof: Certificate, place: Place, k: int) -> bool:
    """Return whether the certificate leaves it open that the register of channel k overflows."""
    return _excess(proof, place)[k] > 0


def worst_channels(proof: Certificate, place: Place) -> list[int]:
    """Return the channels whose register may be asked for more than it holds, that of the largest excess first."""
    excess = _excess(proof, place)
    return sorted((k for k in range(len(excess)) if excess[k] > 0), key=lambda k: -excess[k])


def _excess(proof: Certificate, place: Place) -> list[float]:
    """How far each channel's register may be asked to go beyond its range, in ranges; 0 and less: never."""
    worst = [0.0] * proof.layer.channels
    for ends, (low, high) in _registers(proof, place):
        asked = zip(ends.low.tolist(), ends.high.tolist(), strict=True)
        beyond = (max(most - high, low - least) / (high - low) for least, most in asked)
        worst = [max(pair) for pair in zip(worst, beyond, strict=True)]
    return worst


def _registers(proof: Certificate, place: Place) -> list[tuple[Ends, tuple[int, int]]]:
    """(what a register may be asked to hold, its range), of every register at the place."""
    unit, acc = proof.layer.integer, proof.contract.accumulator
    if place is Place.ACCUMULATOR:
        return [(proof.accumulator, (acc.low, acc.high))]
    if place is Place.TREE:
        return list(zip(proof.tree, Machine.levels_of(unit), strict=True))
    w = unit.numbers.walk
    return [] if proof.spill is None or w is None else [(proof.spill, (w.spill_low, w.spill_high))]


def _told(name: str, layer: MacLayer, wide: MacLayer | None, pick: Pick, place: Place) -> Witness:
    """Read the witness off the specification's own steps."""
    site, codes = pick.site, pick.codes.tolist()
    padded, extents = site.padded.tolist(), layer.extents(site.shape)
    rows, persistent = integer_rows(layer.integer, codes, padded, extents, site.k)
    step, asked = _first_event(layer, rows, place)
    acc = int(rows[-1].after) if rows else 0
    machine = Machine(site, (layer if wide is None else wide).integer)
    theirs = machine.read(pick.codes).acc
    return Witness(
        name=name,
        layer=layer,
        inputs=site.image(pick.codes),
        at=(0, site.k, site.y, site.x),
        place=place.name.lower(),
        step=step,
        asked=asked,
        persistent=persistent,
        nonzeros=site.nonzeros(pick.codes),
        fewest=pick.fewest,
        acc=acc,
        code=machine.code(acc)[0],
        wide_acc=None if wide is None else theirs,
        wide_code=None if wide is None else machine.code(theirs)[0],
    )


def _first_event(layer: MacLayer, rows: tuple[Row, ...], place: Place) -> tuple[int | None, int]:
    """(step of the register's first event, the value that did not fit)."""
    w = layer.numbers.walk
    count = sum(row.kind is Kind.STEP for row in rows)
    row = next(row for row in rows if getattr(row.events, place.name.lower()))
    step = count if row.step is None else row.step  # a bias that comes last is the step behind the others
    return (None if w is None else step), _asked(layer, row, place)


def _asked(layer: MacLayer, row: Row, place: Place) -> int:
    if place is Place.ACCUMULATOR:
        return int(row.exact)
    if place is Place.SPILL:
        w = layer.numbers.walk
        assert w is not None
        return int(round_shift(int(row.before), w.spill_shift, w.spill_rounding))
    limits = Machine.levels_of(layer.integer)
    nodes = zip(row.tree, limits, strict=True)
    return next(int(node.exact) for level, ends in nodes for node in level if not fits(node.exact, *ends))
