"""Where a register wraps, its extremes do not come from extreme inputs: enumerate all that each register can hold.

Every tap feeds one product, so what the nodes of a tree hold are independent of each other, and so are the steps: what a
register can hold is every sum of what enters it, through its rule. Sets are sorted arrays; a budget bounds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.arith.accumulate import register_range
from hwsim.arith.overflow import Overflow, wrap_signed
from hwsim.arith.rounding import round_shift
from hwsim.proofs.intervals import Interval, Path, Trail, paired

ENUMERATED = 1 << 23
"""Sums that a proof forms at most; beyond, its bounds may be too wide."""
DENSE = 8
"""Places for each sum, up to which marking them is quicker than sorting."""


class Exhausted(Exception):
    """The budget is spent."""


@dataclass
class Budget:
    """Sums that may still be formed."""

    left: int

    def affords(self, cost: int) -> bool:
        """Spend where so much is left."""
        if cost > self.left:
            return False
        self.left -= cost
        return True

    def take(self, cost: int) -> None:
        """Spend; Exhausted where not so much is left."""
        if not self.affords(cost):
            raise Exhausted


Values = list[list[np.ndarray]]
"""Products of each step and lane: sorted, int64; [0] in an idle lane."""


def refined(path: Path, row: int, values: Values, trail: Trail, budget: Budget) -> Trail:
    """Return one row's trail with ends that are reached; Exhausted where the budget does not last."""
    return _Enumeration(path, row, trail, budget).walked(values)


def sums_of(a: np.ndarray, b: np.ndarray, budget: Budget) -> np.ndarray:
    """Return every sum of a value of one set and one of the other, sorted."""
    budget.take(len(a) * len(b))
    sums, low = np.add.outer(a, b).ravel(), a[0] + b[0]
    span = a[-1] + b[-1] - low + 1
    if sums.dtype == object or span > DENSE * len(sums):
        return np.unique(sums)
    seen = np.zeros(int(span), dtype=bool)
    seen[sums - low] = True
    return np.flatnonzero(seen) + low


def _ends(values: np.ndarray) -> np.ndarray:
    """All of a set that matters where only monotone rules follow."""
    return values[[0, -1]] if len(values) > 2 else values


def _held(values: np.ndarray, bits: int, overflow: int) -> np.ndarray:
    """What a register makes of what it is asked to hold."""
    low, high = register_range(bits, overflow)
    if overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
        return np.unique(np.minimum(np.maximum(values, low), high))
    return np.unique(wrap_signed(values, bits))


class _Enumeration:
    """One row's walk on sets."""

    def __init__(self, path: Path, row: int, trail: Trail, budget: Budget) -> None:
        self.path, self.row, self.budget = path, row, budget
        self.tree_wraps, self.spill_wraps = trail.tree_wraps[row], bool(trail.spill_wraps[row])
        self.spilled_at = trail.spilled_at
        self.tree: list[list[tuple[int, int]]] = [[(0, 0)] for _ in path.level_bits]
        self.spill = [(0, 0)]

    def walked(self, values: Values) -> Trail:
        path, count = self.path, len(values)
        content = self._array([path.start[self.row]])
        accumulator = [(content[0], content[0])]
        for step, lanes in enumerate(values):
            content = sums_of(content, self._step(step, lanes), self.budget)
            low, high = content[0], content[-1]
            if path.spills(step, count):
                content = self._spilled(content)
                low, high = min(low, content[0]), max(high, content[-1])
            accumulator.append((low, high))
            content = content if self.spill_wraps else _ends(content)
        last = path.last[self.row]
        accumulator.append((content[0] + last, content[-1] + last))
        none, never = np.zeros((1, count), dtype=bool), np.zeros(1, dtype=bool)
        tree = tuple(self._interval(level) for level in self.tree)
        return Trail(self._interval(accumulator), tree, self._interval(self.spill), self.spilled_at, none, never)

    def _array(self, values: list) -> np.ndarray:
        return np.array(values, dtype=object if self.path.python else np.int64)

    def _interval(self, ends: list[tuple[int, int]]) -> Interval:
        return Interval(*(self._array([end[i] for end in ends])[None] for i in (0, 1)))

    def _step(self, step: int, lanes: list[np.ndarray]) -> np.ndarray:
        """What a step can add to the accumulator."""
        path, whole = self.path, self.spill_wraps or bool(self.tree_wraps[step])
        nodes = [self._array((v if whole else _ends(v)).tolist()) for v in lanes]
        for level, bits in enumerate(path.level_bits):
            a, b, waiting = paired(len(nodes), path.schedule.tree.pairing)
            sums = [sums_of(nodes[i], nodes[j], self.budget) for i, j in zip(a, b, strict=False)]
            sums += [nodes[i] for i in a[len(b) :]]
            self.tree[level].append((min(s[0] for s in sums), max(s[-1] for s in sums)))
            nodes = [_held(s, bits, path.tree_overflow) for s in sums] + [nodes[i] for i in waiting]
        total = nodes[0] if self.spill_wraps else _ends(nodes[0])
        return np.unique(round_shift(total, -int(path.shift[self.row]), path.rounding))

    def _spilled(self, content: np.ndarray) -> np.ndarray:
        """What comes back from the buffer."""
        spill = self.path.schedule.spill
        assert spill is not None
        rounded = np.unique(round_shift(content, spill.shift, spill.rounding))
        self.spill.append((rounded[0], rounded[-1]))
        return _held(rounded, spill.bits, spill.overflow) << spill.shift
