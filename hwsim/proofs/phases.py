"""Taps that are left out by what they read, in any number: the extreme content for each place between two spills.

How many taps were taken since the last spill is all that the rest of an output depends on beside the content, and a larger
content stays the larger one. So for each such phase one content is kept, tap by tap: left out, or taken. Exact where lanes
close up, the tree clips nothing, a step's sum is its products' sum, and the buffer does not wrap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.arith.rounding import round_shift
from hwsim.contract.accumulator import BiasPoint
from hwsim.proofs.certificate import Ends
from hwsim.proofs.intervals import Interval, Path, held_by, shifted
from hwsim.proofs.skips import Skips


@dataclass(eq=False)
class _End:
    """The extreme that one register was asked for, and the step at which it was first; [rows]."""

    value: np.ndarray
    step: np.ndarray
    largest: bool

    def ask(self, where: np.ndarray, values: np.ndarray, steps: np.ndarray) -> None:
        """Learn [rows][phases] of contents, where they are reached."""
        filled = np.where(where, values, self.value[:, None])
        at = np.arange(len(filled)), (filled.argmax if self.largest else filled.argmin)(axis=1)
        improves = np.asarray(filled[at] > self.value if self.largest else filled[at] < self.value, dtype=bool)
        self.value = np.where(improves, filled[at], self.value)
        self.step = np.where(improves, np.broadcast_to(steps, filled.shape)[at], self.step)


def phases_of(skips: Skips) -> int:
    """Return the number of phases: taps between two spills, and none."""
    schedule, taps = skips.schedule, skips.taps.low.shape[1]
    return 1 + schedule.lanes * min(1 if schedule.spill is None else schedule.spill.every, -(-taps // schedule.lanes) + 1)


def extremes(skips: Skips, path: Path) -> tuple[Ends, Ends]:
    """(ends of the accumulator, of the buffer) for rows whose registers before the accumulator do not wrap."""
    found = [_Phases(skips, path, largest).ends() for largest in (False, True)]
    accumulator, spill = (
        Ends(low.value, high.value, _at(skips, low), _at(skips, high)) for low, high in zip(*found, strict=True)
    )
    return accumulator, spill


def _at(skips: Skips, end: _End) -> np.ndarray:
    places = np.tile([skips.live.y, skips.live.x, 0], (len(end.step), 1))
    places[:, 2] = end.step
    return places


class _Phases:
    """The walk towards one end."""

    def __init__(self, skips: Skips, path: Path, largest: bool) -> None:
        self.skips, self.path, self.lanes = skips, path, skips.schedule.lanes
        self.better = np.greater if largest else np.less
        products = skips.nonzero.high if largest else skips.nonzero.low
        self.products = shifted(products.astype(object) if path.python else products, path.shift, path.rounding)
        self.rows, self.last = len(path.bias), phases_of(skips) - 1
        zero = path.bias * 0
        self.content = np.repeat(path.start[:, None], self.last + 1, axis=1)
        self.count = np.zeros((self.rows, self.last + 1), dtype=np.int64)
        self.reached = np.zeros((self.rows, self.last + 1), dtype=bool)
        self.reached[:, 0] = True
        self.accumulator = _End(path.start, np.zeros(self.rows, dtype=np.int64), largest)
        self.buffer = _End(zero, np.zeros(self.rows, dtype=np.int64), largest)

    def ends(self) -> tuple[_End, _End]:
        """Walk; return the ends of the accumulator and of the buffer."""
        table = self.skips.table
        for tap in table[table >= 0].tolist():
            self._take(tap)
        self._finish()
        return self.accumulator, self.buffer

    def _take(self, tap: int) -> None:
        """One more tap: left out where that may be, taken where that may be."""
        never, free = self.skips.never[:, tap], self.skips.free[:, tap]
        content, count, reached = self.content.copy(), self.count, self.reached & ~never[:, None]
        if self.skips.schedule.spill is not None:
            full = slice(self.last, self.last + 1)
            content[:, full] = self._spilled(content[:, full], count[:, full], reached[:, full])
        to = np.arange(1, self.last + 1)
        taken, counts, may = content[:, :-1] + self.products[:, tap, None], count[:, :-1] + 1, reached[:, :-1].copy()
        again = content[:, self.last] + self.products[:, tap]  # from the last phase to the first
        wins = reached[:, self.last] & (~may[:, 0] | np.asarray(self.better(again, taken[:, 0]), dtype=bool))
        taken[:, 0], counts[:, 0] = np.where(wins, again, taken[:, 0]), np.where(wins, count[:, self.last] + 1, counts[:, 0])
        may[:, 0] |= reached[:, self.last]
        whole = may & (to % self.lanes == 0)
        self.accumulator.ask(whole, taken, counts // self.lanes - 1)
        self._keep((never | free)[:, None] & self.reached, taken, counts, may)

    def _keep(self, skipping: np.ndarray, taken: np.ndarray, counts: np.ndarray, may: np.ndarray) -> None:
        """The better of both for each phase."""
        wins = may & (~skipping[:, 1:] | np.asarray(self.better(taken, self.content[:, 1:]), dtype=bool))
        self.content[:, 1:] = np.where(wins, taken, self.content[:, 1:])
        self.count[:, 1:] = np.where(wins, counts, self.count[:, 1:])
        self.reached = skipping
        self.reached[:, 1:] |= may

    def _spilled(self, content: np.ndarray, count: np.ndarray, where: np.ndarray) -> np.ndarray:
        """What comes back from the buffer; both registers are asked."""
        spill = self.skips.schedule.spill
        assert spill is not None
        rounded, step = round_shift(content, spill.shift, spill.rounding), np.maximum(-(-count // self.lanes) - 1, 0)
        self.buffer.ask(where, rounded, step)
        back = held_by(Interval(rounded, rounded), spill.bits, spill.overflow)[0].low << spill.shift
        self.accumulator.ask(where, back, step)
        return back

    def _finish(self) -> None:
        """The last step, which may be a part of one, its spill, and a bias that comes last."""
        spill, began = self.skips.schedule.spill, np.arange(self.last + 1) > 0
        steps = -(-self.count // self.lanes)
        self.accumulator.ask(self.reached & began, self.content, np.maximum(steps - 1, 0))
        if spill is not None and spill.last:
            self.content = np.where(began, self._spilled(self.content, self.count, self.reached & began), self.content)
        if self.skips.schedule.bias is BiasPoint.LAST:
            self.accumulator.ask(self.reached, self.content + self.path.bias[:, None], steps)
