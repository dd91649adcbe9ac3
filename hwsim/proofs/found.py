"""From the walks of a proof to the ends of each register: the extremes over time, over patterns, over sets of live taps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.proofs.certificate import Ends
from hwsim.proofs.intervals import Interval, Trail
from hwsim.proofs.live import LiveSet


@dataclass(frozen=True, eq=False)
class Numbering:
    """The number of each step as the inputs of the smallest and of the largest products take it, int64 [rows][steps + 1].

    A step whose taps are all left out is not taken. The last column counts those that are.
    """

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, taken_low: np.ndarray, taken_high: np.ndarray) -> Numbering:
        """Return the numbering from which steps are taken, bool [rows][steps]."""
        return cls(*(_numbers(taken) for taken in (taken_low, taken_high)))


def _numbers(taken: np.ndarray) -> np.ndarray:
    behind = np.cumsum(taken, axis=1)
    return np.concatenate([np.maximum(behind - 1, 0), taken.sum(axis=1)[:, None]], axis=1)


@dataclass(frozen=True, eq=False)
class Found:
    """Ends of all registers, by row; loose: bool [rows], whose accumulator's ends may not be reached."""

    accumulator: Ends
    tree: tuple[Ends, ...]
    spill: Ends
    loose: np.ndarray

    @property
    def registers(self) -> tuple[Ends, ...]:
        """All of them."""
        return (self.accumulator, self.spill, *self.tree)

    def replaced(self, rows: np.ndarray, accumulator: Ends, spill: Ends) -> Found:
        """Return it with other ends in some rows, which are reached."""
        return Found(
            _chosen(rows, accumulator, self.accumulator), self.tree, _chosen(rows, spill, self.spill), self.loose & ~rows
        )

    def widest_row(self) -> Found:
        """Return the widest over all rows, as one row."""
        return _found([_widest(ends) for ends in self.registers], np.array([self.loose.any()]))


def _chosen(rows: np.ndarray, first: Ends, second: Ends) -> Ends:
    places = (np.where(rows[:, None], getattr(first, at), getattr(second, at)) for at in ("low_at", "high_at"))
    return Ends(np.where(rows, first.low, second.low), np.where(rows, first.high, second.high), *places)


def _found(registers: Sequence[Ends], loose: np.ndarray) -> Found:
    return Found(registers[0], tuple(registers[2:]), registers[1], loose)


def _widest(ends: Ends) -> Ends:
    low, high = [int(ends.low.argmin())], [int(ends.high.argmax())]
    return Ends(ends.low[low], ends.high[high], ends.low_at[low], ends.high_at[high])


def joined(parts: Sequence[Found]) -> Found:
    """Return the wider of several, row by row; of equal ones the first."""
    registers = [_merged(same) for same in zip(*(part.registers for part in parts), strict=True)]
    return _found(registers, np.any([part.loose for part in parts], axis=0))


def _merged(parts: Sequence[Ends]) -> Ends:
    low, high = np.stack([p.low for p in parts]), np.stack([p.high for p in parts])
    at, first, last = np.arange(low.shape[1]), low.argmin(axis=0), high.argmax(axis=0)
    low_at, high_at = np.stack([p.low_at for p in parts]), np.stack([p.high_at for p in parts])
    return Ends(low[first, at], high[last, at], low_at[first, at], high_at[last, at])


def concatenated(parts: Sequence[Found], order: np.ndarray | None = None) -> Found:
    """Return the rows of several, one after the other, or in this order."""
    if len(parts) == 1:
        return parts[0]
    rows = slice(None) if order is None else order
    registers = []
    for same in zip(*(part.registers for part in parts), strict=True):
        names = ("low", "high", "low_at", "high_at")
        registers.append(Ends(*(np.concatenate([getattr(p, name) for p in same])[rows] for name in names)))
    return _found(registers, np.concatenate([part.loose for part in parts])[rows])


def ends_of(trail: Trail, live: LiveSet, numbering: Numbering | None) -> Found:
    """Return the extremes over time, and where each is reached first."""
    count = trail.accumulator.low.shape[1] - 2
    if numbering is None:
        plain = np.arange(count + 1)[None]
        numbering = Numbering(plain, plain)
    before = [np.concatenate([numbers[:, :1] * 0, numbers], axis=1) for numbers in (numbering.low, numbering.high)]
    accumulator = _ends(trail.accumulator, live, *before)
    tree = tuple(_ends(level, live, *(numbers[:, :-1] for numbers in before)) for level in trail.tree)
    spilled_at = trail.spilled_at[None]
    return Found(accumulator, tree, _ends(trail.spill, live, spilled_at, spilled_at), trail.loose)


def _ends(contents: Interval, live: LiveSet, low_steps: np.ndarray, high_steps: np.ndarray) -> Ends:
    """The extremes over all columns [rows][columns]; steps: of each column, of all rows alike or [rows][columns]."""
    at = []
    for first, steps in ((contents.low.argmin(axis=1), low_steps), (contents.high.argmax(axis=1), high_steps)):
        step = np.broadcast_to(steps, (len(first), steps.shape[1]))[np.arange(len(first)), first]
        at.append(np.stack([np.full(len(first), live.y), np.full(len(first), live.x), step], axis=1))
    return Ends(contents.low.min(axis=1), contents.high.max(axis=1), *at)
