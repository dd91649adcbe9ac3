"""The fewest non-zero entries that make a register overflow: the largest products first, and a bound that nothing beats.

Where every tap adds its own share, an input with m entries reaches no more than the start and the m largest shares; so the
fewest that pass the limit are the largest. Where steps are rounded, a tree clips or sums are spilled, the same bound holds
with each share rounded away from zero, and what lies between the bound and what was found is tried, if it is little.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

from hwsim.arith.accumulate import Pairing, Place
from hwsim.proofs.machine import CLIPS, Machine

NEVER = 1 << 62
"""More entries than any input has: no input does it."""

SUBSETS = 1500
"""Sets of taps that are tried to close the gap between what was found and the bound."""

SIZES = 24
"""Numbers of taps that are tried where a larger number may hide the event."""


class Found(NamedTuple):
    """Codes that overflow a register, and how many of them could have been left alone."""

    codes: np.ndarray
    taps: int


def extremes(machine: Machine, up: bool) -> tuple[np.ndarray, np.ndarray]:
    """(codes of the largest products, upwards or downwards; useful: taps that may move the sum that way at a cost)."""
    site = machine.site
    codes = site.ends[1] if up else site.ends[0]
    sign = 1 if up else -1
    return codes, (sign * site.products(codes) > 0) & ~site.forced


def with_taps(machine: Machine, codes: np.ndarray, taps: np.ndarray | list[int]) -> np.ndarray:
    """The codes at these taps and where the zero point is out of reach; all others are left alone."""
    site = machine.site
    chosen = np.where(site.forced, codes, site.base)
    chosen[taps] = codes[taps]
    return chosen


def fewest(machine: Machine, place: Place, up: bool) -> tuple[Found | None, int]:
    """Return (an input with an event at the place by as few entries as can be found, no fewer than which do it on this side).

    None where none is found; the bound is then NEVER where it is proven that there is none.
    """
    codes, useful = extremes(machine, up)
    best: list[int] | None = None
    for order in _orders(machine, place, codes, useful, up):
        chosen = _first_enough(machine, place, codes, order)
        if chosen is None or best is not None and len(chosen) >= len(best):
            continue
        best = _dropped(machine, place, codes, chosen)
    if best is None:
        return None, NEVER if _ends_are_extremes(machine, place) else lower_bound(machine, place, up)
    bound = lower_bound(machine, place, up)
    if len(best) > bound:
        best, bound = _between(machine, place, codes, useful, best, bound)
    return Found(with_taps(machine, codes, best), len(best)), bound


def overflows(machine: Machine, place: Place, codes: np.ndarray) -> bool:
    """Return whether the register has an event."""
    return bool(machine.read(codes).events[place])


def _orders(machine: Machine, place: Place, codes: np.ndarray, useful: np.ndarray, up: bool) -> Iterator[list[int]]:
    """Taps to take one after the other, the largest first: in all steps, and for a tree in each node that can overflow."""
    sizes = np.abs(machine.site.products(codes))
    if place is Place.TREE and not machine.site.grouped_by_input:
        node = _best_node(machine, up)
        if node is not None:
            yield node
        return
    if place is Place.SPILL and not machine.site.grouped_by_input:
        useful = useful & (machine.step_of <= _last_spill(machine))
    taps = np.flatnonzero(useful)
    yield taps[np.argsort(-sizes[taps], kind="stable")].tolist()


def _last_spill(machine: Machine) -> int:
    """The last step behind which the sum is spilled, -1 for none."""
    w = machine.walk
    assert w is not None
    count = int(machine.step_of.max()) + 1
    return count - 1 if w.spill_last else count // w.spill_every * w.spill_every - 1


def _first_enough(machine: Machine, place: Place, codes: np.ndarray, order: list[int]) -> list[int] | None:
    """The first so many of the order that overflow, found by halving; None where none of those that are tried does."""

    def enough(count: int) -> bool:
        return overflows(machine, place, with_taps(machine, codes, order[:count]))

    high = len(order)
    if not enough(high):  # what wraps on the way may hide an event: then fewer make it
        tried = np.unique(np.geomspace(1, len(order) + 1, SIZES).astype(int) - 1).tolist()
        high = -1 if _ends_are_extremes(machine, place) else next((count for count in tried if enough(count)), -1)
    if high < 0:
        return None
    low = -1  # of `low` taps it is known, or taken for granted, that they do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return order[:high]


def _dropped(machine: Machine, place: Place, codes: np.ndarray, taps: list[int]) -> list[int]:
    """Leave out one tap after the other, the smallest first, as long as the register still overflows."""
    if machine.additive and place is Place.ACCUMULATOR:
        return taps
    kept = list(taps)
    for tap in reversed(taps):
        fewer = [t for t in kept if t != tap]
        if overflows(machine, place, with_taps(machine, codes, fewer)):
            kept = fewer
    return kept


def _between(
    machine: Machine, place: Place, codes: np.ndarray, useful: np.ndarray, best: list[int], bound: int
) -> tuple[list[int], int]:
    """Try every set of fewer taps, from the bound on, as far as there are not too many: (best, bound)."""
    taps, left = np.flatnonzero(useful).tolist(), SUBSETS
    for size in range(bound, len(best)):
        left -= math.comb(len(taps), size)
        if left < 0:
            return best, bound
        for chosen in combinations(taps, size):
            if overflows(machine, place, with_taps(machine, codes, list(chosen))):
                return list(chosen), size
        bound = size + 1 if _ends_are_extremes(machine, place) else bound
    return best, bound


def _ends_are_extremes(machine: Machine, place: Place) -> bool:
    """Whether a set of taps overflows the register if and only if it does so with the largest products, or the smallest."""
    if place is Place.TREE:
        return machine.monotone or not machine.site.grouped_by_input
    if place is Place.ACCUMULATOR:
        return machine.monotone
    w = machine.walk  # until a buffer overflows for the first time it wraps nothing; an accumulator that wraps may hide it
    return w is not None and w.overflow in CLIPS and machine.tree_is_monotone


def lower_bound(machine: Machine, place: Place, up: bool) -> int:
    """Return a number of entries than which no fewer make an event, on this side first; 0 where nothing is known."""
    if place is Place.TREE and not machine.site.grouped_by_input:
        node = _best_node(machine, up)
        return NEVER if node is None else len(node)
    if not (machine.additive or machine.tree_is_monotone) or machine.site.forced.any() and not machine.additive:
        return 0
    return _by_shares(machine, place, up)


def _by_shares(machine: Machine, place: Place, up: bool) -> int:
    """The fewest shares, each rounded away from zero, that pass the limit from where the register starts."""
    w, sign = machine.walk, 1 if up else -1
    codes, useful = extremes(machine, up)
    site = machine.site
    grid = 0 if machine.spill_is_harmless or w is None else w.spill_shift
    shares = [_up(sign * value, -machine.shift, grid) for value in site.products(codes).tolist()]
    if machine.additive:
        shares = (sign * machine.shares(codes)).tolist()
    start = sign * (0 if w is not None and w.bias_last else machine.bias)
    start += sum(share for share, forced in zip(shares, site.forced.tolist(), strict=True) if forced and share > 0)
    limit = machine.limits[1] if up else -machine.limits[0]
    if w is not None and w.bias_last and place is not Place.SPILL:
        limit -= max(0, sign * machine.bias)
    if w is not None and (place is Place.SPILL or not machine.spill_is_harmless and w.spill_overflow not in CLIPS):
        limit = min(limit, (w.spill_high if up else -w.spill_low) << w.spill_shift)  # no buffer wraps before that
    room = limit - _start_bound(machine, start, up, grid)
    largest = sorted((share for share, use in zip(shares, useful.tolist(), strict=True) if use), reverse=True)
    total = 0
    for count, share in enumerate(largest):
        if total > room:
            return count
        total += share
    return len(largest) if total > room else NEVER


def _start_bound(machine: Machine, start: int, up: bool, grid: int) -> int:
    """No less than what the register holds of its start behind every spill: rounded up, and clipped from below."""
    w = machine.walk
    if w is None or machine.spill_is_harmless:
        return start
    clipped = (w.spill_low if up else -w.spill_high) << w.spill_shift
    return max(_up(start, 0, grid), clipped)


def _up(value: int, shift: int, grid: int) -> int:
    """value / 2**shift, on a grid of 2**grid, rounded up."""
    moved = value << -shift if shift <= 0 else -(-value >> shift)
    return -(-moved >> grid) << grid


def _best_node(machine: Machine, up: bool) -> list[int] | None:
    """Taps of the node of the tree that the fewest of its products overflow, on this side; None where no node can.

    Below the first node that overflows every sum is exact, so no input with fewer entries has an event in the tree, whatever
    the tree makes of one.
    """
    codes, useful = extremes(machine, up)
    values = machine.site.products(codes) * (1 if up else -1)
    table, best = machine.static_table, None
    values, useful, forced = np.append(values, 0), np.append(useful, False), np.append(machine.site.forced, False)  # for -1
    for groups, (low, high) in zip(_nodes(machine), machine.level_limits, strict=True):
        for lanes in groups:
            taps = table[:, lanes]
            size = np.where(useful[taps], values[taps], 0)
            room = (high if up else -low) - np.where(forced[taps], values[taps], 0).sum(axis=1)
            reached = np.zeros((len(taps), len(lanes) + 1), dtype=np.int64)
            reached[:, 1:] = (-np.sort(-size, axis=1)).cumsum(axis=1)
            beyond = reached > room[:, None]
            if not beyond.any():
                continue
            counts = np.where(beyond.any(axis=1), beyond.argmax(axis=1), len(lanes) + 1)
            step = int(counts.argmin())
            if best is None or counts[step] < len(best):
                order = np.argsort(-size[step], kind="stable")[: counts[step]]
                best = taps[step][order].tolist()
    return best


def _nodes(machine: Machine) -> Iterator[list[list[int]]]:
    """Lanes that meet in each register of a level, level by level."""
    assert machine.walk is not None
    pairing, groups = machine.schedule.tree.pairing, [[lane] for lane in range(machine.walk.lanes)]
    for level in range(len(machine.level_limits)):
        if pairing is Pairing.CHAIN:
            yield [list(range(level + 2))]
            continue
        half = (len(groups) + 1) // 2
        pairs = [(2 * i, 2 * i + 1) if pairing is Pairing.ADJACENT else (i, i + half) for i in range(half)]
        groups = [[lane for i in pair if i < len(groups) for lane in groups[i]] for pair in pairs]
        yield groups
