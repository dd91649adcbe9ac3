"""Inputs that drive a sum over its limit and then bring it back: the largest products first, opposite ones behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np

from hwsim.arith.rounding import round_shift
from hwsim.proofs.machine import Machine

SPLITS = 48
"""Steps at which the peak may stand, of all that there are."""

PLANS = 24
"""Ways to build an input, the cheapest first."""

Wanted = Callable[[int], "int | None"]
"""wanted(excess) = how far the sum must come back, None where no way back will do."""


class Plan(NamedTuple):
    """Take the first `there` of the taps that lead up to a step, and the first `back` of those behind it."""

    there: int
    back: int
    step: int
    way_back: int


@dataclass(frozen=True, eq=False)
class Peaks:
    """Peaks of one output beyond its upper limit (up) or its lower one; sums are mirrored where it is the lower one."""

    machine: Machine
    up: bool

    @property
    def sign(self) -> int:
        """1 upwards, -1 downwards."""
        return 1 if self.up else -1

    @property
    def limit(self) -> int:
        """The largest content on this side."""
        low, high = self.machine.limits
        return high if self.up else -low

    @property
    def last(self) -> int:
        """What a bias that comes last adds."""
        w = self.machine.walk
        return self.sign * self.machine.bias if w is not None and w.bias_last else 0

    @cached_property
    def room(self) -> int:
        """How far the sum may rise from its start, with what is read anyway."""
        return self.limit - self.sign * self.machine.bias + self.last

    @cached_property
    def rising(self) -> tuple[np.ndarray, np.ndarray]:
        """(codes, shares) that raise the sum most, by tap."""
        codes = self.machine.site.ends[1 if self.up else 0]
        return codes, self.sign * self.machine.shares(codes)

    @cached_property
    def falling(self) -> tuple[np.ndarray, np.ndarray]:
        """(codes, shares) that lower it most, by tap; shares as what they take away."""
        codes = self.machine.site.ends[0 if self.up else 1]
        return codes, -self.sign * self.machine.shares(codes)

    def inputs(self, wanted: Wanted, least: bool) -> Iterator[np.ndarray]:
        """Yield codes, the fewest entries first. least: pass the limit by as little as the last code allows."""
        plans = sorted(self._plans(wanted))[:PLANS]
        for plan in plans:
            yield from self._built(plan, wanted, least)

    def _plans(self, wanted: Wanted) -> Iterator[Plan]:
        wanted = cache(wanted)
        steps = self.machine.step_of
        splits = np.unique(steps[steps >= 0])
        for step in splits[np.unique(np.linspace(0, len(splits) - 1, min(SPLITS, len(splits))).astype(int))].tolist():
            there, back = self._sides(step)
            sums, returns = self.rising[1][there].cumsum(), self.falling[1][back].cumsum()
            first = int(np.searchsorted(sums, self.room, side="right"))
            for taken in sorted({first, first + 1, 2 * first + 1, len(there) - 1}):
                if not first <= taken < len(there):
                    continue
                way = wanted(int(sums[taken]) - self.room)
                if way is None:
                    continue
                needed = 0 if way <= 0 else int(np.searchsorted(returns, way)) + 1
                if needed <= len(back):
                    yield Plan(taken + 1, needed, step, way)

    def _sides(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(taps that raise the sum up to this step, taps that lower it behind), each the largest first."""
        steps = self.machine.step_of
        chosen = []
        for shares, side in ((self.rising[1], (steps >= 0) & (steps <= step)), (self.falling[1], steps > step)):
            taps = np.flatnonzero(side & (shares > 0))
            chosen.append(taps[np.argsort(-shares[taps], kind="stable")])
        return chosen[0], chosen[1]

    def _built(self, plan: Plan, wanted: Wanted, least: bool) -> Iterator[np.ndarray]:
        there, back = self._sides(plan.step)
        there, back = there[: plan.there], back[: plan.back]
        codes = self.machine.site.base.copy()
        codes[there] = self.rising[0][there]
        total, way = int(self.rising[1][there].sum()), plan.way_back
        if least:
            rest = total - int(self.rising[1][there[-1]])
            codes[there[-1]] = self._code_for(int(there[-1]), self.rising[0], self.sign, self.room + 1 - rest)
            total = rest + self.sign * int(self.machine.shares(codes)[there[-1]])
            way = wanted(total - self.room) or 0
        codes[back] = self.falling[0][back]
        if len(back) and way > 0:
            rest = int(self.falling[1][back[:-1]].sum())
            trimmed = codes.copy()
            trimmed[back[-1]] = self._code_for(int(back[-1]), self.falling[0], -self.sign, way - rest)
            yield trimmed
        yield codes

    def _code_for(self, tap: int, ends: np.ndarray, sign: int, share: int) -> int:
        """The code nearest to the tap's base whose share, on this side, is at least so much; else its end."""
        base, end = int(self.machine.site.base[tap]), int(ends[tap])
        near, far = 0, abs(end - base)
        toward = 1 if end > base else -1
        while near < far:
            middle = (near + far) // 2
            if sign * self._share(tap, base + toward * middle) >= share:
                far = middle
            else:
                near = middle + 1
        return base + toward * near

    def _share(self, tap: int, code: int) -> int:
        machine = self.machine
        product = machine.unit.product(code, machine.k, tap)
        w = machine.walk
        return product << machine.shift if w is None else round_shift(product, -machine.shift, w.rounding)
