"""Look for witnesses at every kind of output of a channel: all that a small one can do, the largest products of a large one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from hwsim.arith.accumulate import Place
from hwsim.contract.stochastic import StochasticRounding
from hwsim.layers import MacLayer
from hwsim.proofs.certificate import Certificate
from hwsim.proofs.endings import BUDGET, Ending, endings
from hwsim.proofs.fewest import NEVER, fewest, overflows
from hwsim.proofs.harmless import harmless
from hwsim.proofs.machine import Machine
from hwsim.proofs.peaks import Peaks
from hwsim.proofs.site import Site, sites
from hwsim.proofs.visible import Comparison, drawn, dropped, visible

ENUMERATED = "every input was tried, and none makes another output code"


@dataclass(frozen=True, eq=False)
class Pick:
    """Codes for the taps of one site. entries: that could have been left alone; fewest: no input of the layer needs fewer."""

    site: Site
    codes: np.ndarray
    entries: int
    fewest: bool


@dataclass(frozen=True, eq=False)
class Search:
    """What was found for one register of one channel. first: an event by the fewest entries.  other: one of the other kind.

    visible: an event that the output code shows.  reason: why there is no such thing, proven.  tried: inputs compared in vain.
    """

    first: Pick | None
    other: Pick | None = None
    visible: Pick | None = None
    reason: str | None = None
    tried: int = 0


@dataclass
class Best:
    """The least of what was found at all sites, and a number of entries than which none needs fewer."""

    pick: Pick | None = None
    bound: int = field(default=NEVER)

    def meet(self, pick: Pick | None, bound: int) -> None:
        """Take what was found at one more site, where none needs fewer entries than the bound."""
        if pick is not None and (self.pick is None or pick.entries < self.pick.entries):
            self.pick = pick
        self.bound = min(self.bound, bound)

    @property
    def settled(self) -> Pick | None:
        """The least, told whether it is proven to be."""
        pick = self.pick
        return None if pick is None else Pick(pick.site, pick.codes, pick.entries, pick.entries <= self.bound)


def search(layer: MacLayer, wide: MacLayer | None, proof: Certificate, k: int, place: Place, budget: int = BUDGET) -> Search:
    """Look for inputs on which a register of channel k overflows, and for one whose output code tells it from a wide one.

    wide: the layer with room in that register; None where there is none to compare with.  budget: see endings.endings.
    """
    pairs = [_pair(site, layer, wide) for site in sites(layer, proof.shape, proof.inputs, k)]
    ends = [endings(*pair, place, budget) for pair in pairs]
    first, kinds = Best(), (Best(), Best())
    for pair, end in zip(pairs, ends, strict=True):
        if end is None:
            _by_size(pair[0], place, first, kinds)
        else:
            _by_reach(pair[0].site, end, first, kinds)
    if first.pick is None:
        _by_chance([narrow for (narrow, _), end in zip(pairs, ends, strict=True) if end is None], place, first)
    if first.pick is None:
        return Search(None)
    persistent = _persistent(first.pick, layer)
    other = kinds[not persistent].settled
    if other is None:
        other = next(iter(_other_kind(pairs, place, persistent)), None)
    if wide is None:
        return Search(first.settled, other)
    shown, reason, tried = _shown(pairs, ends, place, first, other)
    return Search(first.settled, other, shown, reason, tried)


Pair = tuple[Machine, Machine]


def _pair(site: Site, layer: MacLayer, wide: MacLayer | None) -> Pair:
    return Machine(site, layer.integer), Machine(site, (layer if wide is None else wide).integer)


def _persistent(pick: Pick, layer: MacLayer) -> bool:
    return Machine(pick.site, layer.integer).read(pick.codes).persistent


def _by_size(machine: Machine, place: Place, first: Best, kinds: tuple[Best, Best]) -> None:
    """The largest products first; kinds: [transient, persistent]."""
    for up in (True, False):
        found, bound = fewest(machine, place, up)
        pick = None if found is None else Pick(machine.site, found.codes, found.taps, False)
        first.meet(pick, bound)
        persistent = pick is not None and machine.read(pick.codes).persistent
        kinds[persistent].meet(pick, bound)
        kinds[not persistent].meet(None, bound)


def _by_chance(machines: list[Machine], place: Place, first: Best) -> None:
    """Drawn inputs, where the largest products overflow nothing: what wraps before the register hides its events."""
    for machine in machines:
        hit = next((codes for codes in drawn(machine.site) if overflows(machine, place, codes)), None)
        if hit is not None:
            codes = dropped(machine.site, hit, partial(overflows, machine, place))
            first.meet(Pick(machine.site, codes, _entries(machine.site, codes), False), 0)


def _by_reach(site: Site, ends: list[Ending], first: Best, kinds: tuple[Best, Best]) -> None:
    """All that the site can do."""
    first.meet(*_least(site, [end for end in ends if end.event]))
    for persistent in (False, True):
        kinds[persistent].meet(*_least(site, [end for end in ends if end.event and end.persistent == persistent]))


def _least(site: Site, ends: list[Ending]) -> tuple[Pick | None, int]:
    """(the end with the fewest entries, how many they are)."""
    if not ends:
        return None, NEVER
    end = min(ends, key=lambda e: e.nonzeros)
    return Pick(site, end.codes, end.nonzeros, False), end.nonzeros


def _other_kind(pairs: list[Pair], place: Place, persistent: bool) -> Iterator[Pick]:
    """Inputs whose events are transient where others are persistent, and the other way round."""
    for machine, _ in pairs:
        for up in (True, False):
            for codes in _of_kind(machine, up, persistent):
                run = machine.read(codes)
                if run.events[place] and run.persistent != persistent:
                    yield Pick(machine.site, codes, _entries(machine.site, codes), False)


def _of_kind(machine: Machine, up: bool, persistent: bool) -> Iterable[np.ndarray]:
    if machine.walk is None:
        return ()
    peaks = Peaks(machine, up)
    if persistent:  # go back by the excess, and by what a late bias adds
        return peaks.inputs(lambda excess: max(0, excess + peaks.last), least=True)
    return peaks.inputs(lambda excess: 0 if excess + peaks.last > 0 else None, least=False)


def _entries(site: Site, codes: np.ndarray) -> int:
    return int(((codes != site.zero) & ~site.forced).sum())


def _shown(
    pairs: list[Pair], ends: list[list[Ending] | None], place: Place, first: Best, other: Pick | None
) -> tuple[Pick | None, str | None, int]:
    """(an output that differs, why there is none, inputs compared in vain)."""
    reasons = [harmless(narrow, wide, place) for narrow, wide in pairs]
    if all(reasons):
        return None, reasons[0], 0
    best, tried, drawn = Best(), 0, _draws(pairs[0][0])
    for (narrow, wide), end, reason in zip(pairs, ends, reasons, strict=True):
        if reason is not None:
            continue
        compared = Comparison(narrow, wide, place)
        if end is not None:
            shown = [e for e in end if e.event and not e.traps and compared.told_apart(e.acc, e.wide)]
            best.meet(*_least(narrow.site, shown))
            tried += len(end)
            continue
        known = [p.codes for p in (first.pick, other) if p is not None and p.site is narrow.site]
        codes = visible(compared, known, first.bound)
        tried += compared.tried
        pick = None if codes is None else Pick(narrow.site, codes, _entries(narrow.site, codes), False)
        best.meet(pick, first.bound if first.bound < NEVER else 0)
    if best.pick is not None:
        return best.settled, None, 0
    proven = not drawn and all(e is not None or r is not None for e, r in zip(ends, reasons, strict=True))
    return None, ENUMERATED if proven else None, tried


def _draws(machine: Machine) -> bool:
    return isinstance(machine.unit.contract.output.rounding, StochasticRounding)
