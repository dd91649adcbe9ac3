"""The registers of one output, run on any products: what they hold, which of them overflow, and when."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hwsim.arith.accumulate import Place, Walk, accumulate, add_tree, arrange, register_range, total_of, walk
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import round_shift
from hwsim.arith.scale import HIGH, Scaling
from hwsim.contract.accumulator import Schedule
from hwsim.contract.stochastic import Tail
from hwsim.layers.base import finish
from hwsim.layers.draws import noise_of
from hwsim.layers.integer_unit import IntegerUnit
from hwsim.proofs.site import Site

CLIPS = (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC)


class Run(NamedTuple):
    """What became of one output. events: by Place; traps: whether a register that says TRAP had one."""

    acc: int
    persistent: bool
    events: tuple[int, int, int]
    traps: bool


@dataclass(frozen=True, eq=False)
class Machine:
    """The registers of a site, as its own layer declares them or as another unit with the same operands does."""

    site: Site
    unit: IntegerUnit

    @cached_property
    def taps(self) -> list[int]:
        """Taps in the declared order, `lanes` to a step, -1 for none."""
        schedule = self.schedule
        return schedule.table(*self.site.layer.extents(self.site.shape)).ravel().tolist()

    @property
    def schedule(self) -> Schedule:
        """The declared order; only where there is one."""
        schedule = self.unit.contract.accumulator.schedule
        assert schedule is not None
        return schedule

    @property
    def walk(self) -> Walk | None:
        """The order's rules as plain ints; None where none is declared."""
        return self.unit.numbers.walk

    @property
    def k(self) -> int:
        """The output channel."""
        return self.site.k

    @property
    def bias(self) -> int:
        """The bias on the accumulator's grid."""
        return self.unit.numbers.bias[self.k]

    @property
    def shift(self) -> int:
        """How far what the tree adds is shifted left on its way to the accumulator."""
        p = self.unit.numbers
        return p.product_shift[self.k] if p.walk is None else p.step_shift[self.k]

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest content of the accumulator."""
        return self.unit.numbers.acc_low, self.unit.numbers.acc_high

    def overflow_of(self, place: Place) -> Overflow:
        """What a register does with what does not fit."""
        w = self.walk
        if w is None or place is Place.ACCUMULATOR:
            return self.unit.contract.accumulator.overflow
        return Overflow(w.tree_overflow if place is Place.TREE else w.spill_overflow)

    @property
    def level_limits(self) -> list[tuple[int, int]]:
        """The range of each level of the tree."""
        return self.levels_of(self.unit)

    @staticmethod
    def levels_of(unit: IntegerUnit) -> list[tuple[int, int]]:
        """Return the range of each level of a unit's tree."""
        p = unit.numbers
        return [] if p.walk is None else [register_range(bits, p.walk.tree_overflow) for bits in p.level_bits]

    def arranged(self, products: list[int], skipped: list[int]) -> tuple[list[int], int]:
        """Return (places of all steps, number of steps)."""
        schedule = self.schedule
        steps = [0] * len(self.taps)
        count = arrange(products, skipped, self.taps, schedule.lanes, schedule.tail is Tail.PACKED, steps)
        return steps, count

    def read(self, codes: np.ndarray) -> Run:
        """Run the output on one code per tap."""
        return self.run(self.site.products(codes).tolist(), self.site.skipped(codes))

    def run(self, products: list[int], skipped: list[int]) -> Run:
        """Run the output on one product per tap."""
        p, w = self.unit.numbers, self.walk
        if w is None:
            acc, event = accumulate(total_of(products), self.shift, self.bias, p.acc_bits, p.acc_low, p.acc_high)
            return Run(acc, bool(event), (0, event, 0), False)
        if self.plain_tree:  # each step's exact sum, as if of a single lane
            sums = np.append(products, 0)[self.static_table].sum(axis=1).tolist()
            acc, persistent, tree, held, spilled, first = walk(sums, len(sums), (), self.shift, self.bias, w._replace(lanes=1))
        else:
            steps, count = self.arranged(products, skipped)
            acc, persistent, tree, held, spilled, first = walk(steps, count, p.level_bits, self.shift, self.bias, w)
        return Run(acc, bool(persistent), (tree, held, spilled), first >= 0)

    @cached_property
    def plain_tree(self) -> bool:
        """Whether the tree is proven by its contract to hold every sum, in steps that the codes do not move."""
        return self.schedule.tree.overflow is None and not self.site.grouped_by_input

    @cached_property
    def static_table(self) -> np.ndarray:
        """The taps of each step, int64 [steps][lanes]; -1 in idle lanes."""
        lanes = 1 if self.walk is None else self.walk.lanes
        return np.array(self.table, dtype=np.int64).reshape(-1, lanes)

    def step_sums(self, codes: np.ndarray) -> list[int]:
        """Return what each step adds to the accumulator; where no order is declared, each tap is a step."""
        products = self.site.products(codes).tolist()
        p, w = self.unit.numbers, self.walk
        if w is None:
            return [value << self.shift for value in products]
        steps, count = self.arranged(products, self.site.skipped(codes))
        groups = [steps[i * w.lanes : (i + 1) * w.lanes] for i in range(count)]
        held = [add_tree(g, p.level_bits, w.pairing, w.tree_overflow)[0] if w.lanes > 1 else g[0] for g in groups]
        return [round_shift(value, -self.shift, w.rounding) for value in held]

    @cached_property
    def step_of(self) -> np.ndarray:
        """The step of each tap if no input is left out, int64 [taps]; -1 for taps that are always left out."""
        found = np.full(len(self.site.pixels), -1)
        for step, taps in enumerate(self.table):
            for tap in taps:
                if tap >= 0:
                    found[tap] = step
        return found

    @cached_property
    def table(self) -> list[list[int]]:
        """Taps of each step if no input is left out, -1 in idle lanes; each tap is a step where no order is declared."""
        site, w = self.site, self.walk
        count = len(site.pixels)
        if w is None:
            return [[tap] for tap in range(count)]
        out = site.skipped(np.where(site.base == site.zero, site.zero + 1, site.base))
        marks, steps = self.arranged([0 if left else tap + 1 for tap, left in enumerate(out)], out)
        return [[mark - 1 for mark in marks[i * w.lanes : (i + 1) * w.lanes]] for i in range(steps)]

    @cached_property
    def tree_is_exact(self) -> bool:
        """Whether no level of the tree overflows, whatever the codes: the most extreme ones do not make it."""
        w = self.walk
        if w is None or w.lanes == 1 or self.schedule.tree.overflow is None:
            return True
        return not self.site.grouped_by_input and not any(self.read(end).events[Place.TREE] for end in self.site.ends)

    @cached_property
    def spill_is_harmless(self) -> bool:
        """Whether the buffer holds all that the accumulator does, bit for bit."""
        w = self.walk
        return w is None or not w.spill_every or not w.spill_shift and w.spill_low <= w.low and w.high <= w.spill_high

    @cached_property
    def additive(self) -> bool:
        """Whether each tap adds its own share to the accumulator, whatever the others read, until something overflows there."""
        w = self.walk
        if w is None:
            return True
        return self.spill_is_harmless and (w.lanes == 1 or self.shift >= 0 and self.tree_is_exact)

    @cached_property
    def monotone(self) -> bool:
        """Whether larger products make larger contents in every register, as long as the accumulator has not wrapped."""
        if self.additive:
            return True
        w = self.walk
        return self.tree_is_monotone and (w is None or self.spill_is_harmless or w.spill_overflow in CLIPS)

    @cached_property
    def tree_is_monotone(self) -> bool:
        """Whether larger products make larger sums of every step, and the codes do not move them to others."""
        w = self.walk
        return not self.site.grouped_by_input and (w is None or self.tree_is_exact or w.tree_overflow in CLIPS)

    def shares(self, codes: np.ndarray) -> np.ndarray:
        """Return what each tap alone adds to the accumulator, int64 [taps]."""
        products = self.site.products(codes)
        w = self.walk
        return np.asarray(products << self.shift if w is None else round_shift(products, -self.shift, w.rounding))

    @cached_property
    def noise(self) -> int:
        """What this output draws to round; 0 where nothing is drawn."""
        site = self.site
        return noise_of(self.unit.numbers.epilogue, site.layer.output_shape([site.shape]), (self.k, site.y, site.x), 0)

    def code(self, acc: int) -> tuple[int, int]:
        """Return (code, event) of a content of the accumulator, as this output makes it of it."""
        return finish(acc, self.k, self.unit.numbers.epilogue, self.noise)

    def code_is_monotone(self, low: int, high: int) -> bool:
        """Return whether, from low to high, a larger content never makes a smaller code: nothing wraps behind the accumulator."""
        e = self.unit.numbers.epilogue
        if e.scaling is Scaling.HIGH_MULTIPLY and e.shift[self.k] < HIGH:
            return False
        return e.overflow in CLIPS or not (self.code(low)[1] or self.code(high)[1])
