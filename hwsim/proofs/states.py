"""Every content that the registers of one output can hold, followed one by one: where intervals are bounds only.

A state is what the accumulator holds, how many steps lie behind the last spill, and the lanes that are filled so far; each step
sends every state on with every choice of inputs. Small layers have few; where they are too many, nothing is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract.accumulator import Schedule

State = tuple[int, int, tuple[int, ...]]
"""Content, steps since the last spill (as many as `every`: the spill is due before the next step), lanes filled."""
Choice = tuple[int, bool]
"""A tap's product, and whether what it reads leaves it out."""


class TooMany(Exception):
    """More states than there is patience for."""


class States:
    """The walk of one output. rule: (shift left, rounding) from a step's sum to the accumulator's grid.

    held: the ends of the accumulator, of each tree level and of the spill buffer so far.
    patience: how many sums may be tried; counted down.
    """

    def __init__(self, schedule: Schedule, rule: tuple[int, Rounding], start: int, levels: int, patience: int):
        self.schedule, self.rule, self.patience = schedule, rule, patience
        self.every = schedule.spill.every if schedule.spill is not None else 1
        self.states: set[State] = {(start, 0, ())}
        self.held = [[start, start], *([0, 0] for _ in range(levels)), *([[0, 0]] if schedule.spill is not None else [])]

    def take_row(self, choices: Sequence[Sequence[Choice]]) -> None:
        """One step of fixed taps, left out where all of its taps are."""
        self._try(prod(len(each) for each in choices))
        chosen = [[value for value, _ in row] for row in product(*choices) if not all(out for _, out in row)]
        stays = any(all(out for _, out in row) for row in product(*choices))
        totals = {self._total(row) for row in chosen}
        self._try(len(totals) * len(self.states))
        ready = {self._ready(acc, count) for acc, count, _ in self.states} if totals else set()
        taken: set[State] = {(acc + total, count, ()) for acc, count in ready for total in totals}
        for acc, _, _ in (min(taken), max(taken)) if taken else ():
            self._hold(0, acc)
        self.states = taken | self.states if stays else taken

    def take_tap(self, choices: Sequence[Choice], lanes: int) -> None:
        """One tap where those that are left close up: a step is taken when its lanes are full."""
        self._try(len(choices) * len(self.states))
        found: set[State] = set()
        for acc, count, filled in self.states:
            for value, out in choices:
                now = filled if out else (*filled, value)
                found.add(self._step(acc, count, self._total(now)) if len(now) == lanes else (acc, count, now))
        self.states = found

    def end(self, lanes: int, bias: int) -> list[list[int]]:
        """Take what is left in the lanes, spill and add the bias as declared; return the ends of every register."""
        spill, ends = self.schedule.spill, set()
        for acc, count, filled in self.states:
            if filled:
                acc, count, _ = self._step(acc, count, self._total([*filled, *[0] * (lanes - len(filled))]))
            ends.add(self._spilled(acc) if spill is not None and spill.last and count else acc)
        for acc in ends:
            self._hold(0, acc + bias)
        return self.held

    def _try(self, count: int) -> None:
        self.patience -= count
        if self.patience < 0:
            raise TooMany

    def _hold(self, register: int, value: int) -> None:
        ends = self.held[register]
        ends[0], ends[1] = min(ends[0], value), max(ends[1], value)

    def _ready(self, acc: int, count: int) -> tuple[int, int]:
        """The state before a step's sum is added: what was due is spilled."""
        due = self.schedule.spill is not None and count == self.every
        return self._spilled(acc) if due else acc, count % self.every + 1

    def _step(self, acc: int, count: int, total: int) -> State:
        acc, count = self._ready(acc, count)
        self._hold(0, acc + total)
        return acc + total, count, ()

    def _spilled(self, acc: int) -> int:
        spill = self.schedule.spill
        assert spill is not None
        written = rounded(acc, spill.shift, spill.rounding)
        self._hold(len(self.held) - 1, written)
        back = content(written, spill.bits, spill.overflow) << spill.shift
        self._hold(0, back)
        return back

    def _total(self, values: Sequence[int]) -> int:
        """The sum that the tree makes of the lanes, on the accumulator's grid."""
        tree, level = self.schedule.tree, 0
        while len(values) > 1:
            half = (len(values) + 1) // 2
            if tree.pairing is Pairing.CHAIN:
                sums, rest = [values[0] + values[1]], list(values[2:])
            elif tree.pairing is Pairing.ADJACENT:
                sums, rest = [sum(values[2 * i : 2 * i + 2]) for i in range(half)], []
            else:
                sums, rest = [sum(values[i::half]) for i in range(half)], []
            level += 1
            for value in sums:
                self._hold(level, value)
            if tree.bits is not None and tree.overflow is not None:
                sums = [content(value, tree.bits[level - 1], tree.overflow) for value in sums]
            values = sums + rest
        left, rounding = self.rule
        return rounded(values[0], -left, rounding)


def content(value: int, bits: int, overflow: Overflow) -> int:
    """What a register keeps of a value."""
    top = 1 << (bits - 1)
    if overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
        return min(max(value, -top + (overflow is Overflow.SATURATE_SYMMETRIC)), top - 1)
    return (value + top) % (2 * top) - top


def rounded(x: int, shift: int, mode: Rounding) -> int:
    """round(x / 2**shift); a negative shift multiplies."""
    if shift <= 0:
        return x << -shift
    down, rest, half = x >> shift, x & ((1 << shift) - 1), 1 << (shift - 1)
    if rest == 0 or mode.name.startswith("TIES") and rest != half:
        return down + (rest > half)
    up = {
        Rounding.FLOOR: False, Rounding.CEIL: True, Rounding.TOWARD_ZERO: x < 0, Rounding.AWAY_FROM_ZERO: x > 0,
        Rounding.TIES_UP: True, Rounding.TIES_DOWN: False, Rounding.TIES_AWAY: x > 0, Rounding.TIES_TO_ZERO: x < 0,
        Rounding.TIES_EVEN: down % 2 == 1, Rounding.TIES_ODD: down % 2 == 0,
    }  # fmt: skip
    return down + up[mode]
