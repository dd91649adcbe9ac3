"""Inputs whose output code tells a narrow register from a wide one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import numpy as np

from hwsim.arith.accumulate import Place
from hwsim.arith.overflow import Overflow
from hwsim.proofs.fewest import extremes, with_taps
from hwsim.proofs.machine import CLIPS, Machine
from hwsim.proofs.peaks import Peaks
from hwsim.proofs.site import Site

RANDOM = 64
"""Inputs drawn when all others have failed."""

MOST, LATER = 300, 100
"""Inputs compared when one that differs is known; of them behind the first that does."""


@dataclass
class Comparison:
    """The same output of two machines; tried: how many inputs were compared so far."""

    narrow: Machine
    wide: Machine
    place: Place
    tried: int = field(default=0)

    def differs(self, codes: np.ndarray) -> bool:
        """Return whether the register overflows, no run stops, and the two output codes differ."""
        self.tried += 1
        ours = self.narrow.read(codes)
        if not ours.events[self.place] or ours.traps:
            return False
        theirs = self.wide.read(codes)
        return not theirs.traps and self.told_apart(ours.acc, theirs.acc)

    def told_apart(self, ours: int, theirs: int) -> bool:
        """Return whether two contents make two codes; where the output says TRAP, only those that do not stop the run."""
        if ours == theirs:
            return False
        (code, event), (other, stops) = self.narrow.code(ours), self.wide.code(theirs)
        trapping = self.narrow.unit.numbers.epilogue.overflow == Overflow.TRAP
        return code != other and not (trapping and (event or stops))


def visible(compared: Comparison, starts: Iterable[np.ndarray], enough: int) -> np.ndarray | None:
    """Return codes whose output differs, by as few entries as were found; None where none was found.

    starts: inputs to try first.  enough: entries with which the search ends, since none can do with less.
    """
    best: np.ndarray | None = None
    for codes in chain(starts, _candidates(compared)):
        if best is not None and _entries(compared, codes) >= _entries(compared, best):
            continue
        if compared.differs(codes):
            best = dropped(compared.narrow.site, codes, compared.differs)
            compared.tried = max(compared.tried, MOST - LATER)
        if best is not None and (_entries(compared, best) <= enough or compared.tried > MOST):
            break
    return best


def _entries(compared: Comparison, codes: np.ndarray) -> int:
    site = compared.narrow.site
    return int(((codes != site.zero) & ~site.forced).sum())


def dropped(site: Site, codes: np.ndarray, holds: Callable[[np.ndarray], bool]) -> np.ndarray:
    """Leave taps alone, many at a time and then one by one, as long as what holds of the codes still does."""
    kept = codes.copy()
    size = max(1, int((kept != site.base).sum()) // 2)
    while True:
        taps = np.flatnonzero(kept != site.base)
        for first in range(0, len(taps), size):
            fewer = kept.copy()
            fewer[taps[first : first + size]] = site.base[taps[first : first + size]]
            if holds(fewer):
                kept = fewer
        if size == 1 and int((kept != site.base).sum()) == len(taps):
            return kept
        size = max(1, size // 2)


def _candidates(compared: Comparison) -> Iterator[np.ndarray]:
    machine = compared.narrow
    clips = machine.walk is not None and machine.walk.overflow in CLIPS
    for up in (True, False):
        if clips and compared.place is Place.ACCUMULATOR:
            peaks = Peaks(machine, up)
            yield from peaks.inputs(partial(way_back, compared, peaks), least=False)
        yield from _more_and_more(machine, up)
    yield from drawn(machine.site)


def way_back(compared: Comparison, peaks: Peaks, excess: int) -> int | None:
    """Return how far the sums must fall after a peak of this excess until their codes differ, None where they never do.

    The narrow sum stands at the limit, the wide one higher by the excess, and both fall alike: the codes differ first where
    the narrow one falls below the topmost step of the code.
    """
    low, high = compared.narrow.limits
    top, bottom = peaks.limit + excess + peaks.last, low if peaks.up else -high
    first = _topmost_step(lambda content: compared.narrow.code(peaks.sign * content)[0], bottom, top)
    return None if first is None else max(0, peaks.limit + peaks.last - first + 1)


def _topmost_step(code: Callable[[int], int], bottom: int, top: int) -> int | None:
    """Return the smallest content whose code is that of the top; None where that of the bottom is. A monotone code."""
    if code(bottom) == code(top):
        return None
    while top - bottom > 1:
        middle = (bottom + top) // 2
        if code(middle) == code(top):
            top = middle
        else:
            bottom = middle
    return top


def _more_and_more(machine: Machine, up: bool) -> Iterator[np.ndarray]:
    """The largest products, one after the other, then ever more at a time; the last one at smaller codes, too."""
    codes, useful = extremes(machine, up)
    taps = np.flatnonzero(useful)
    order = taps[np.argsort(-np.abs(machine.site.products(codes))[taps], kind="stable")].tolist()
    count = 1
    while count <= len(order):
        chosen = with_taps(machine, codes, order[:count])
        yield chosen
        for part in (1, 2, 3):
            smaller, tap = chosen.copy(), order[count - 1]
            smaller[tap] = machine.site.base[tap] + (codes[tap] - machine.site.base[tap]) * part // 4
            yield smaller
        count += 1 if count < 8 else count // 4
    yield with_taps(machine, codes, order)


def drawn(site: Site) -> Iterator[np.ndarray]:
    """Yield inputs of ends alone, drawn: the same ones every time."""
    rng = np.random.default_rng(1)
    low, high = site.ends
    for i in range(RANDOM):
        share, zeros = rng.random(), rng.random() * (i % 3) / 2
        codes = np.where(rng.random(len(low)) < share, high, low)
        yield np.where((rng.random(len(low)) < zeros) & ~site.padded, site.base, codes)
