"""The datapath on intervals: the smallest and the largest value that each register is asked to hold, step by step.

Sums, roundings, left shifts and saturation are monotone, so the content that the smallest products leave is the smallest
there can be, and likewise the largest. A register before the accumulator that may wrap breaks this: from there on the
interval is all that the register holds, and the row is marked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hwsim.arith.accumulate import Pairing, register_range
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import round_shift
from hwsim.contract.accumulator import BiasPoint, Schedule, Spill
from hwsim.layers.integer_unit import IntegerUnit

SAFE = 1 << 62
"""Contents below it are summed in int64; others, which contracts of 63 and 64 bits allow, in Python ints."""


@dataclass(frozen=True, eq=False)
class Interval:
    """Smallest and largest value of each element, int64 [rows]... or Python ints in arrays of objects."""

    low: np.ndarray
    high: np.ndarray

    def rows(self, chosen: np.ndarray) -> Interval:
        """Return some of the rows."""
        return Interval(self.low[chosen], self.high[chosen])


@dataclass(frozen=True, eq=False)
class Path:
    """What the walk of some rows must know: a row is an output channel, perhaps with a pattern of taps that are left out.

    shift, bias: of each row, [rows].  python: whether Python ints are needed.
    """

    schedule: Schedule
    level_bits: tuple[int, ...]
    rounding: int
    shift: np.ndarray
    bias: np.ndarray
    python: bool

    @classmethod
    def of(cls, unit: IntegerUnit) -> Path:
        """Return the path of all output channels."""
        numbers, acc = unit.numbers, unit.contract.accumulator
        assert acc.schedule is not None
        python, everyone = largest_content(unit) >= SAFE, np.arange(unit.channels)
        shift, bias = (per_channel(values, everyone) for values in (numbers.step_shift, numbers.bias))
        return cls(acc.schedule, numbers.level_bits, int(acc.rounding), shift, bias.astype(object) if python else bias, python)

    def rows(self, channels: np.ndarray) -> Path:
        """Return the path of these."""
        return replace(self, shift=self.shift[channels], bias=self.bias[channels])

    @property
    def tree_overflow(self) -> Overflow:
        """What a level of the tree does with what it does not hold; those that say nothing hold everything."""
        overflow = self.schedule.tree.overflow
        return Overflow.WRAP if overflow is None else overflow

    @property
    def start(self) -> np.ndarray:
        """What the accumulator starts from, [rows]."""
        return self.bias * 0 if self.schedule.bias is BiasPoint.LAST else self.bias

    @property
    def last(self) -> np.ndarray:
        """What is added behind the last step, [rows]."""
        return self.bias if self.schedule.bias is BiasPoint.LAST else self.bias * 0

    def spills(self, step: int, count: int) -> bool:
        """Whether the content goes to the buffer and back behind a step of `count`."""
        spill = self.schedule.spill
        if spill is None:
            return False
        return spill.last if step + 1 == count else (step + 1) % spill.every == 0


@dataclass(frozen=True, eq=False)
class Trail:
    """What the registers of some rows are asked to hold, column by column in time.

    accumulator: [rows][1 + steps + 1]: what it starts from, behind each step, behind a bias that comes last.
    tree: of each level, [rows][1 + steps], the first column being its rest at 0.  spill: [rows][1 + spills], likewise.
    spilled_at: the step of each of its columns.
    tree_wraps: bool [rows][steps], spill_wraps: bool [rows]: where the interval is all that a register holds.
    """

    accumulator: Interval
    tree: tuple[Interval, ...]
    spill: Interval
    spilled_at: np.ndarray
    tree_wraps: np.ndarray
    spill_wraps: np.ndarray

    @property
    def loose(self) -> np.ndarray:
        """Rows whose ends may not be reached, bool [rows]."""
        return self.tree_wraps.any(axis=1) | self.spill_wraps

    def put(self, row: int, better: Trail) -> None:
        """Replace a row by a trail of one row, whose ends are reached."""
        for old, new in zip(self._intervals, better._intervals, strict=True):
            old.low[row], old.high[row] = new.low[0], new.high[0]
        self.tree_wraps[row] = self.spill_wraps[row] = False

    @property
    def _intervals(self) -> tuple[Interval, ...]:
        return (self.accumulator, self.spill, *self.tree)


def per_channel(values: tuple[int, ...], channels: np.ndarray) -> np.ndarray:
    """Return the values of some channels, int64."""
    return np.array([values[k] for k in channels.tolist()], dtype=np.int64)


def largest_content(unit: IntegerUnit) -> int:
    """Return a bound of what any register can be asked to hold, whatever wraps."""
    numbers, schedule, taps = unit.numbers, unit.contract.accumulator.schedule, unit.weight.shape[1]
    bound = max(-numbers.exact_low, numbers.exact_high, -numbers.total_low, numbers.total_high) + max(map(abs, numbers.bias))
    if schedule is not None and schedule.tree.overflow is not None and numbers.level_bits:
        bound += taps << numbers.level_bits[-1] + max(*numbers.step_shift, 0)
    if schedule is not None and schedule.spill is not None:
        bound += 1 << schedule.spill.bits + schedule.spill.shift
    return 2 * bound


def walked(path: Path, products: Interval) -> Trail:
    """Return what all registers are asked to hold; products: [rows][steps][lanes], 0 in idle lanes."""
    if path.python:
        products = Interval(products.low.astype(object), products.high.astype(object))
    sums, tree, wraps = _through_tree(path, products)
    steps = Interval(shifted(sums.low, path.shift, path.rounding), shifted(sums.high, path.shift, path.rounding))
    if path.schedule.spill is not None:
        accumulator, spill, at, spill_wraps = _spilled(path, steps, path.schedule.spill)
    else:
        ends = [path.start[:, None] + np.cumsum(end, axis=1) for end in (steps.low, steps.high)]
        accumulator = Interval(*(_bracketed(path, end) for end in ends))
        rest = path.bias[:, None] * 0
        spill, at, spill_wraps = Interval(rest, rest), np.zeros(1, dtype=np.int64), np.zeros(len(rest), dtype=bool)
    return Trail(accumulator, tuple(map(_with_rest, tree)), spill, at, wraps, spill_wraps)


def shifted(values: np.ndarray, shift: np.ndarray, rounding: int) -> np.ndarray:
    """round(values * 2**shift), a shift for each row."""
    made = np.empty_like(values)
    for s in np.unique(shift).tolist():
        made[shift == s] = round_shift(values[shift == s], -s, rounding)
    return made


def _with_rest(level: Interval) -> Interval:
    """A level's values behind the 0 that it holds before the first step."""
    return Interval(
        *(np.concatenate([np.zeros_like(end[:, :1], shape=(len(end), 1)), end], 1) for end in (level.low, level.high))
    )


def _bracketed(path: Path, contents: np.ndarray) -> np.ndarray:
    """The contents behind each step, between the start and what the bias makes of the end."""
    before = np.concatenate([path.start[:, None], contents], axis=1)
    return np.concatenate([before, (before[:, -1] + path.last)[:, None]], axis=1)


# ---- the tree


def paired(count: int, pairing: Pairing) -> tuple[list[int], list[int], list[int]]:
    """(a, b, waiting) of a level with `count` values: a[i] + b[i], the a beyond the last b alone, and who waits outside.

    >>> paired(5, Pairing.HALVES), paired(4, Pairing.CHAIN)
    (([0, 1, 2], [3, 4], []), ([0], [1], [2, 3]))
    """
    if pairing is Pairing.CHAIN:
        return [0], [1], list(range(2, count))
    if pairing is Pairing.ADJACENT:
        return list(range(0, count, 2)), list(range(1, count, 2)), []
    half = (count + 1) // 2
    return list(range(half)), list(range(half, count)), []


def _through_tree(path: Path, products: Interval) -> tuple[Interval, list[Interval], np.ndarray]:
    """(sums [rows][steps] that leave the tree, what each level is asked to hold, where it may wrap [rows][steps])."""
    low, high, levels = products.low, products.high, []
    wraps = np.zeros(low.shape[:2], dtype=bool)
    for bits in path.level_bits:
        a, b, waiting = paired(low.shape[2], path.schedule.tree.pairing)
        asked = Interval(*(_added(end, a, b) for end in (low, high)))
        levels.append(Interval(asked.low.min(axis=2), asked.high.max(axis=2)))
        held, beyond = held_by(asked, bits, path.tree_overflow)
        wraps |= beyond.any(axis=2)
        low, high = (np.concatenate([h, end[:, :, waiting]], axis=2) for h, end in ((held.low, low), (held.high, high)))
    return Interval(low[:, :, 0], high[:, :, 0]), levels, wraps


def _added(values: np.ndarray, a: list[int], b: list[int]) -> np.ndarray:
    total = values[:, :, a]
    total[:, :, : len(b)] += values[:, :, b]
    return total


def held_by(asked: Interval, bits: int, overflow: Overflow) -> tuple[Interval, np.ndarray]:
    """(what a register holds of what it is asked to: clipped, or anything at all where it may wrap; where it may)."""
    low, high = register_range(bits, overflow)
    if overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
        ends = (np.minimum(np.maximum(end, low), high) for end in (asked.low, asked.high))
        return Interval(*ends), np.zeros(asked.low.shape, dtype=bool)
    beyond = np.asarray((asked.low < low) | (asked.high > high), dtype=bool)
    return Interval(np.where(beyond, low, asked.low), np.where(beyond, high, asked.high)), beyond


# ---- the spill buffer


def _spilled(path: Path, steps: Interval, spill: Spill) -> tuple[Interval, Interval, np.ndarray, np.ndarray]:
    """(contents of the accumulator, of the buffer, the step of each spill, rows whose buffer may wrap)."""
    count = steps.low.shape[1]
    now, wraps = Interval(path.start, path.start), np.zeros(len(path.start), dtype=bool)
    held, buffered, at = [now], [Interval(path.bias * 0, path.bias * 0)], [0]
    for step in range(count):
        now = Interval(now.low + steps.low[:, step], now.high + steps.high[:, step])
        asked = now
        if path.spills(step, count):
            rounded = Interval(*(round_shift(end, spill.shift, spill.rounding) for end in (now.low, now.high)))
            buffered.append(rounded)
            at.append(step)
            kept, beyond = held_by(rounded, spill.bits, spill.overflow)
            wraps |= beyond
            now = Interval(kept.low << spill.shift, kept.high << spill.shift)
            asked = Interval(np.minimum(asked.low, now.low), np.maximum(asked.high, now.high))
        held.append(asked)
    held.append(Interval(now.low + path.last, now.high + path.last))
    return _stacked(held), _stacked(buffered), np.array(at), wraps


def _stacked(columns: list[Interval]) -> Interval:
    return Interval(np.stack([c.low for c in columns], axis=1), np.stack([c.high for c in columns], axis=1))
