"""Taps that are left out by what they read: lanes that close up and spills that come later, as the input has it.

A pattern says which taps are left out; each is an order of its own, in which the taps that are left read codes other than
real 0. Few taps: all patterns. Many: the exact sums where grouping only moves them about, else bounds whatever meets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwsim.arith.accumulate import Pairing, register_range
from hwsim.arith.overflow import Overflow
from hwsim.contract.accumulator import BiasPoint, Schedule, ZeroSkip
from hwsim.contract.stochastic import Tail
from hwsim.proofs.arranged import arrangements
from hwsim.proofs.certificate import Ends
from hwsim.proofs.found import Found, Numbering
from hwsim.proofs.intervals import Interval, held_by, per_channel, shifted
from hwsim.proofs.live import LiveSet
from hwsim.proofs.reachable import Budget
from hwsim.proofs.taps import Taps

PATTERNS = 12
"""Taps of an output that may be there or not, of which all patterns are gone through at most."""


def by_input(schedule: Schedule) -> bool:
    """Whether a tap may be left out by what it reads."""
    return schedule.skip_zeros in (ZeroSkip.INPUT, ZeroSkip.EITHER)


@dataclass(frozen=True, eq=False)
class Skips:
    """Some channels' outputs with these live taps; table[step, lane]: where none is left out."""

    schedule: Schedule
    table: np.ndarray
    taps: Taps
    live: LiveSet

    @property
    def regroups(self) -> bool:
        """Whether leaving out a product that is 0 can change a register: lanes that close up, or spills that come later."""
        return self.schedule.spill is not None or self.schedule.lanes > 1 and self.schedule.tail is Tail.PACKED

    @cached_property
    def nonzero(self) -> Taps:
        """The taps that are not left out."""
        return self.taps.without_zero()

    @cached_property
    def never(self) -> np.ndarray:
        """Taps that every input leaves out, bool [rows][taps]: padding, zeros, and zero weights where they are skipped."""
        zero = self.taps.zero
        never = ~self.live.taps | (self.taps.code_low == zero) & (self.taps.code_high == zero)
        if self.schedule.skip_zeros is ZeroSkip.EITHER:
            never |= self.taps.unit.zero_weights[self.taps.channels]
        return never

    @cached_property
    def free(self) -> np.ndarray:
        """Taps that some inputs leave out and others do not, bool [rows][taps]."""
        zero = self.taps.zero
        return ~self.never & (self.taps.code_low <= zero) & (self.taps.code_high >= zero)

    def enumerable(self, budget: Budget) -> np.ndarray:
        """Return the rows whose patterns are few enough, bool [rows]; their price is taken."""
        count, places = self.free.sum(axis=1), self.table.size
        chosen = count <= PATTERNS
        price = int((np.left_shift(1, count[chosen]) * places).sum())
        if price > budget.left:
            return np.zeros(len(chosen), dtype=bool)
        budget.take(price)
        return chosen

    def patterns(self, row: int) -> Iterator[np.ndarray]:
        """Yield the tables [patterns][steps][lanes] of one row, patterns of equally many steps at a time; -1 where no tap is."""
        free = np.flatnonzero(self.free[row])
        bits = (np.arange(1 << len(free))[:, None] >> np.arange(len(free))) & 1
        alive = np.tile(~self.never[row], (len(bits), 1))
        alive[:, free] = bits.astype(bool)
        for _, tables in arrangements(self.schedule, self.table, alive):
            yield tables

    # ---- no patterns: no regrouping

    def numbering(self, table: np.ndarray) -> Numbering:
        """Return the numbers of the steps that the inputs of the extreme products take."""
        taken = []
        for code in (self._codes(self.taps.falls), self._codes(~self.taps.falls)):
            alive = (table >= 0) & (~self.never & (code != self.taps.zero))[:, table]
            taken.append(alive.any(axis=2))
        return Numbering.of(*taken)

    def _codes(self, of_high: np.ndarray) -> np.ndarray:
        return np.where(of_high, self.taps.code_high, self.taps.code_low)

    # ---- no patterns: phases

    def phased(self, shift: np.ndarray) -> np.ndarray:
        """Return the rows of which phases tell all, bool [rows]: lanes close up, and a step adds its products' sum."""
        closes = self.schedule.lanes == 1 or self.schedule.tail is Tail.PACKED
        return self.tree_bounds[1] & (closes & ((shift >= 0) | (self.schedule.lanes == 1)))

    def wraps(self, buffer: Ends) -> np.ndarray:
        """Return the rows whose buffer wraps when it is asked for such contents, bool [rows]."""
        spill = self.schedule.spill
        if spill is None:
            return np.zeros(len(buffer.low), dtype=bool)
        return held_by(Interval(buffer.low, buffer.high), spill.bits, spill.overflow)[1]

    # ---- no patterns: bounds whatever meets

    def bounds(self) -> Found:
        """Return bounds whatever taps are left out; they are reached where taps only move to other steps.

        Any of them may meet in a tree, and each rounding may go either way. Clipping leaves a value between 0 and what it
        was, so sums of the negative and of the positive products still bound it.
        """
        (low, high), (tree, fits) = self._signed, self.tree_bounds
        shift = per_channel(self.taps.unit.numbers.step_shift, self.taps.channels)
        moved = fits & (shift >= 0) & ~(~self.never & ~self.free).any(axis=1) & (self.schedule.spill is None)
        exact, loose = self._moved(low, high, shift), self._anyhow(low, high, shift, fits)
        ends = Ends(
            *(np.where(moved if a.ndim == 1 else moved[:, None], a, b) for a, b in zip(_parts(exact), _parts(loose), strict=True))
        )
        at = self._at(0)
        return Found(ends, tuple(Ends(level.low, level.high, at, at) for level in tree), self._buffered(loose), ~moved)

    def _at(self, step: int | np.ndarray) -> np.ndarray:
        places = np.tile([self.live.y, self.live.x, 0], (len(self.taps.channels), 1))
        places[:, 2] = step
        return places

    def _bias(self) -> np.ndarray:
        return per_channel(self.taps.unit.numbers.bias, self.taps.channels).astype(object)

    def _moved(self, low: np.ndarray, high: np.ndarray, shift: np.ndarray) -> Ends:
        """The exact ends: the input in which only the products of one sign are not left out."""
        bias, last, ends, at = self._bias(), self.schedule.bias is BiasPoint.LAST, [], []
        for products, worse in ((low, np.minimum), (high, np.maximum)):
            total = shifted(products.sum(axis=1).astype(object), np.maximum(shift, 0), 0)
            steps = -(-(products != 0).sum(axis=1) // self.schedule.lanes)
            behind = last & np.asarray(worse(bias, 0) != 0, dtype=bool)
            ends.append(total + (worse(bias, 0) if last else bias))
            at.append(self._at(np.where(behind, steps, np.maximum(steps - 1, 0))))
        return Ends(ends[0], ends[1], at[0], at[1])

    def _anyhow(self, low: np.ndarray, high: np.ndarray, shift: np.ndarray, fits: np.ndarray) -> Ends:
        """Bounds whatever meets, is rounded, is clipped and wraps."""
        unit, schedule, count = self.taps.unit, self.schedule, low.shape[1]
        rounding = unit.contract.accumulator.rounding
        slack = np.where(shift < 0, count, 0).astype(object)
        if (schedule.tree.overflow in (Overflow.WRAP, Overflow.TRAP)) and unit.numbers.level_bits:
            most = np.full(shift.shape, 1 << (unit.numbers.level_bits[-1] - 1)).astype(object)
            slack += np.where(fits, 0, count * (shifted(most, shift, rounding) + 1))
        spill, bias = schedule.spill, self._bias()
        if spill is not None and spill.shift:
            slack += (count // spill.every + 1) << spill.shift
        ends = [shifted(end.sum(axis=1).astype(object), shift, rounding) for end in (low, high)]
        low_end, high_end = ends[0] - slack + np.minimum(bias, 0), ends[1] + slack + np.maximum(bias, 0)
        if spill is not None and spill.overflow in (Overflow.WRAP, Overflow.TRAP):
            edge = (1 << (spill.bits - 1)) << spill.shift
            wraps = np.asarray((low_end < -edge) | (high_end >= edge), dtype=bool)
            low_end, high_end = np.where(wraps, low_end - edge, low_end), np.where(wraps, high_end + edge, high_end)
        return Ends(low_end, high_end, self._at(0), self._at(0))

    def _buffered(self, contents: Ends) -> Ends:
        """What the spill buffer is asked to hold of such contents."""
        shift = 0 if self.schedule.spill is None else self.schedule.spill.shift
        return Ends(contents.low >> shift, -(-contents.high >> shift), contents.low_at, contents.high_at)

    @property
    def _signed(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest product that a tap can add, or 0."""
        kept = np.where(self.never, 0, 1)
        return (self.taps.low * kept).clip(None, 0), (self.taps.high * kept).clip(0, None)

    @cached_property
    def tree_bounds(self) -> tuple[list[Interval], np.ndarray]:
        """(what each level may be asked to hold: as many of the most extreme products as a node adds; rows that all fit)."""
        low, high = self._signed
        fits, wrapped = np.ones(len(low), dtype=bool), np.zeros(len(low), dtype=bool)
        if self.schedule.lanes == 1:
            return [], fits
        least, most = np.sort(low, axis=1), np.sort(high, axis=1)[:, ::-1]
        chain, overflow = self.schedule.tree.pairing is Pairing.CHAIN, self.schedule.tree.overflow or Overflow.WRAP
        levels, held = [], Interval(low[:, 0] * 0, low[:, 0] * 0)
        for level, bits in enumerate(self.taps.unit.numbers.level_bits):
            terms = level + 2 if chain else min(2 << level, self.schedule.lanes)
            again = (least[:, 0], most[:, 0]) if chain else (held.low, held.high)
            low = np.where(wrapped, held.low + again[0], least[:, :terms].sum(axis=1))
            high = np.where(wrapped, held.high + again[1], most[:, :terms].sum(axis=1))
            levels.append(Interval(low, high))
            ends = register_range(bits, overflow)
            fits &= (low >= ends[0]) & (high <= ends[1])
            held, beyond = held_by(levels[-1], bits, overflow)
            wrapped |= beyond
        return levels, fits


def _parts(ends: Ends) -> tuple[np.ndarray, ...]:
    return ends.low, ends.high, ends.low_at, ends.high_at
