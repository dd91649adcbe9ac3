"""Everything that a small site can do: each way its registers can end, by the fewest entries that lead there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from hwsim.arith.accumulate import Place, Walk, add_to, add_tree, total_of
from hwsim.arith.accumulate import spill as through_buffer
from hwsim.arith.overflow import Overflow, fits, wrap_signed
from hwsim.arith.rounding import round_shift
from hwsim.proofs.machine import Machine

BUDGET = 60_000
"""Ways from one state to the next that are tried."""

MAX_CODES = 4096
"""Codes of all taps together, beyond which nothing is tried."""


class State(NamedTuple):
    """What two machines hold, and what they would hold without limits. event: at the place; traps: at a register that says so."""

    acc: int
    wide: int
    exact: int
    event: bool
    traps: bool


class Ending(NamedTuple):
    """One way to end. nonzeros: of the taps that could read the zero point; persistent: the exact end does not fit."""

    acc: int
    wide: int
    persistent: bool
    event: bool
    traps: bool
    nonzeros: int
    codes: np.ndarray


class Option(NamedTuple):
    """What a step may add to each machine, by the fewest entries."""

    narrow: int
    wide: int
    exact: int
    event: bool
    traps: bool


Chosen = tuple[int, tuple[tuple[int, int], ...]]
"""(non-zero entries, (tap, code) of each)."""


class TooMany(Exception):
    """More ways than the budget allows."""


def endings(narrow: Machine, wide: Machine, place: Place, budget: int = BUDGET) -> list[Ending] | None:
    """Return every way the two machines can end, each by the fewest non-zero entries; None where there are too many.

    place: whose events are meant, in the narrow machine.
    """
    site = narrow.site
    if int((site.high - site.low + 1).sum()) > MAX_CODES:
        return None
    try:
        if site.grouped_by_input:
            return list(_one_by_one(narrow, wide, place, budget))
        return list(_step_by_step(narrow, wide, place, budget))
    except TooMany:
        return None


def choices(machine: Machine, tap: int) -> list[tuple[int, int, int]]:
    """(product, code, cost) for each product that a tap can make, by the cheapest code."""
    site = machine.site
    codes = np.arange(site.low[tap], site.high[tap] + 1)
    made = [machine.unit.product(code, site.k, tap) for code in codes.tolist()]
    found: dict[int, tuple[int, int]] = {}
    for code, value in sorted(zip(codes.tolist(), made, strict=True), key=lambda pair: abs(pair[0] - site.zero)):
        found.setdefault(value, (int(code != site.zero and not site.forced[tap]), code))
    return [(value, code, cost) for value, (cost, code) in found.items()]


def _one_by_one(narrow: Machine, wide: Machine, place: Place, budget: int) -> Iterator[Ending]:
    """Every input, where the codes decide how the products are grouped."""
    site = narrow.site
    options = [range(low, high + 1) for low, high in zip(site.low.tolist(), site.high.tolist(), strict=True)]
    if math.prod(len(o) for o in options) > budget // 20:
        raise TooMany
    for chosen in product(*options):
        codes = np.array(chosen, dtype=np.int64)
        ours, theirs = narrow.read(codes), wide.read(codes)
        nonzeros = int(((codes != site.zero) & ~site.forced).sum())
        event, traps = bool(ours.events[place]), ours.traps or theirs.traps
        yield Ending(ours.acc, theirs.acc, ours.persistent, event, traps, nonzeros, codes)


def _step_by_step(narrow: Machine, wide: Machine, place: Place, budget: int) -> Iterator[Ending]:
    """States after each step, each by the fewest entries."""
    steps = narrow.table
    layers: list[dict[State, tuple[int, State | None, Chosen]]] = [{_start(narrow): (0, None, (0, ()))}]
    left = budget
    for step, taps in enumerate(steps):
        options = _options(narrow, wide, taps, place, left)
        left -= len(layers[-1]) * len(options)
        if left < 0:
            raise TooMany
        after: dict[State, tuple[int, State | None, Chosen]] = {}
        for state, (cost, _, _) in layers[-1].items():
            for option, chosen in options.items():
                reached = _advanced(narrow, wide, state, option, step, len(steps), place)
                if reached not in after or after[reached][0] > cost + chosen[0]:
                    after[reached] = (cost + chosen[0], state, chosen)
        layers.append(after)
    for state, (cost, _, _) in layers[-1].items():
        end = _ended(narrow, wide, state, place)
        persistent = not fits(end.exact, *narrow.limits)
        yield Ending(end.acc, end.wide, persistent, end.event, end.traps, cost, _codes(narrow.site.base, layers, state))


def _start(machine: Machine) -> State:
    w = machine.walk
    first = 0 if w is None or w.bias_last else machine.bias
    return State(first, first, first, False, False)


def _options(narrow: Machine, wide: Machine, taps: list[int], place: Place, budget: int) -> dict[Option, Chosen]:
    """What a step can add, each by the fewest entries."""
    each = [[(0, 0, 0)] if tap < 0 else choices(narrow, tap) for tap in taps]
    if math.prod(len(c) for c in each) > budget:
        raise TooMany
    found: dict[Option, Chosen] = {}
    for chosen in product(*each):
        option = _option(narrow, wide, [value for value, _, _ in chosen], place)
        cost = sum(c for _, _, c in chosen)
        if option not in found or found[option][0] > cost:
            found[option] = (cost, tuple((tap, code) for tap, (_, code, _) in zip(taps, chosen, strict=True) if tap >= 0))
    return found


def _option(narrow: Machine, wide: Machine, values: list[int], place: Place) -> Option:
    w = narrow.walk
    if w is None:
        share = values[0] << narrow.shift
        return Option(share, share, share, False, False)
    (ours, event, trapped), (theirs, _, stopped) = _tree(narrow, values), _tree(wide, values)
    moved = [round_shift(total, -narrow.shift, w.rounding) for total in (ours, theirs, total_of(values))]
    return Option(moved[0], moved[1], moved[2], place is Place.TREE and event, trapped or stopped)


def _tree(machine: Machine, values: list[int]) -> tuple[int, bool, bool]:
    """(sum, event, event where the tree says TRAP)."""
    w = machine.walk
    assert w is not None
    if len(values) == 1:
        return values[0], False, False
    total, events = add_tree(list(values), machine.unit.numbers.level_bits, w.pairing, w.tree_overflow)
    return total, bool(events), bool(events) and w.tree_overflow == Overflow.TRAP


def _advanced(narrow: Machine, wide: Machine, state: State, o: Option, step: int, count: int, place: Place) -> State:
    """One step in both machines, and in one without limits."""
    w = narrow.walk
    if w is None:
        exact = state.exact + o.exact
        return State(exact, exact, exact, False, False)
    assert wide.walk is not None
    spills = bool(w.spill_every) and bool(w.spill_last if step + 1 == count else (step + 1) % w.spill_every == 0)
    ours, held, spilled, trapped = _stepped(w, state.acc, o.narrow, spills)
    theirs, _, _, stopped = _stepped(wide.walk, state.wide, o.wide, spills)
    exact = state.exact + o.exact
    if spills:
        exact = round_shift(exact, w.spill_shift, w.spill_rounding) << w.spill_shift
    event = state.event or o.event or place is Place.ACCUMULATOR and held or place is Place.SPILL and spilled
    return State(ours, theirs, exact, event, state.traps or o.traps or trapped or stopped)


def _stepped(w: Walk, acc: int, added: int, spills: bool) -> tuple[int, bool, bool, bool]:
    """(content, event at the accumulator, at the spill buffer, at one of them that says TRAP)."""
    acc, held = add_to(acc, added, w.bits, w.low, w.high, w.overflow)
    spilled = 0
    if spills:
        acc, spilled, reloaded = through_buffer(acc, w)
        held += reloaded
    trapped = held and w.overflow == Overflow.TRAP or spilled and w.spill_overflow == Overflow.TRAP
    return acc, bool(held), bool(spilled), bool(trapped)


def _ended(narrow: Machine, wide: Machine, state: State, place: Place) -> State:
    """The bias that comes last; and the whole sum at once where no order is declared."""
    w, p = narrow.walk, narrow.unit.numbers
    if w is None:
        exact = state.exact + narrow.bias
        event = not fits(exact, *narrow.limits)
        held = [wrap_signed(exact, machine.unit.numbers.acc_bits) for machine in (narrow, wide)]
        return State(held[0], held[1], exact, event, False)
    if not w.bias_last:
        return state
    assert wide.walk is not None
    ours, held_event, _, trapped = _stepped(w, state.acc, p.bias[narrow.k], False)
    theirs, _, _, stopped = _stepped(wide.walk, state.wide, p.bias[narrow.k], False)
    event = state.event or place is Place.ACCUMULATOR and held_event
    return State(ours, theirs, state.exact + p.bias[narrow.k], event, state.traps or trapped or stopped)


def _codes(base: np.ndarray, layers: list[dict[State, tuple[int, State | None, Chosen]]], state: State) -> np.ndarray:
    """Follow the cheapest way back."""
    codes, at = base.copy(), state
    for reached in reversed(layers[1:]):
        _, before, (_, chosen) = reached[at]
        for tap, code in chosen:
            codes[tap] = code
        assert before is not None
        at = before
    return codes
