"""Inputs steered at a corner of one output: near-overflow partial sums, cancellation, carry chains, ties, saturation.

Plain deterministic search without Hypothesis: what is drawn is which output, which step and which corner; the codes follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from hwsim.arith.accumulate import Pairing, register_range
from hwsim.arith.overflow import Overflow
from hwsim.arith.scale import Scaling
from hwsim.contract import Accumulator, Schedule
from hwsim.contract.resolve import Epilogue
from hwsim.layers import MacLayer
from hwsim.testing.aims import BEYOND, Aim, Steering, Waypoint
from hwsim.testing.reach import FloatReach, IntegerReach, reach_of
from hwsim.testing.steer_floats import float_route


def aims_of(layer: MacLayer) -> tuple[Aim, ...]:
    """Return what the inputs of a layer can be steered at."""
    accumulator = layer.contract.accumulator
    schedule = getattr(accumulator, "schedule", None)
    left_out = set()
    if not isinstance(accumulator, Accumulator) or schedule is None or schedule.tree.bits is None or schedule.lanes == 1:
        left_out.add(Aim.TREE)
    if schedule is None or schedule.spill is None:
        left_out.add(Aim.SPILL)
    if schedule is None:
        left_out.add(Aim.TRANSIENT)
    return tuple(aim for aim in Aim if aim not in left_out)


def steered(layer: MacLayer, image: np.ndarray, steering: Steering) -> np.ndarray:
    """Return a copy of an image's codes [C][H][W], changed under one output so that it comes to a corner, or near it.

    >>> from hwsim.contract import Accumulator, MacContract, Output
    >>> from hwsim.formats import FixedPoint
    >>> from hwsim.layers import FullyConnected
    >>> s8 = FixedPoint(8, 0)
    >>> layer = FullyConnected(MacContract(s8, s8, Output(s8), Accumulator(12)), np.array([[100, 3, 1]]))
    >>> steered(layer, np.zeros((3, 1, 1), dtype=np.int8), Steering(Aim.REGISTER, (0, 0, 0), offset=1)).ravel()
    array([20, 16,  0], dtype=int8)
    """
    codes = np.array(image, order="C")
    reach = reach_of(layer, codes, *steering.output)
    if not any(reach.steps):
        return codes
    if steering.aim is Aim.TREE:
        assert isinstance(reach, IntegerReach)
        if _steer_tree(reach, steering):
            return codes
    first = 0
    route = float_route(reach, steering) if isinstance(reach, FloatReach) else iter(_route(reach, steering))
    coarse = not steering.exact and steering.aim in BEYOND
    beyond = steering.aim in BEYOND and (steering.offset > 0 or steering.aim is Aim.TRANSIENT)
    for step, target, final, goal in route:
        reach.go(first, step, target, final, coarse and goal)
        if beyond and goal:
            reach.push(first, step, target, final)
        first = step + 1
    return codes


def _route(reach: IntegerReach, steering: Steering) -> list[Waypoint]:
    """The contents that the accumulator passes: on the wanted side, or else on the other; or else as far as it goes."""
    way = {
        Aim.TRANSIENT: _transient,
        Aim.CANCELLATION: _cancelled,
        Aim.CARRY: _carry,
        Aim.SPILL: _spill,
        Aim.TIE: _at_output,
        Aim.SATURATION: _at_output,
    }.get(steering.aim, _overflow)
    for ways in (way, _overflow, _at_output):
        for side in (steering, replace(steering, negative=not steering.negative)):
            if (found := ways(reach, side)) is not None:
                return [found[0]._replace(goal=True), *_end(reach, steering, found)]
    last = len(reach.steps) - 1
    return [Waypoint(last, reach.reachable(last, True)[int(not steering.negative)], True)]


def _end(reach: IntegerReach, steering: Steering, route: list[Waypoint]) -> list[Waypoint]:
    """What follows the first waypoint: in every other place a tie of the output instead, where later steps can make one."""
    (step, content, final, _), *others = route
    if final or not steering.place % 2:
        return others
    less, more = reach.behind(step)
    low, high = max(content + less, reach.layer.numbers.acc_low), min(content + more, reach.layer.numbers.acc_high)
    ties = _output_targets(reach, replace(steering, aim=Aim.TIE, offset=0, place=steering.place // 2))
    target = next((tie for tie in ties if low <= tie <= high), None)
    return others if target is None else [Waypoint(len(reach.steps) - 1, target, True)]


def _beyond(ends: tuple[int, int], steering: Steering) -> int:
    """One of a register's ends, and as far beyond as the offset says."""
    low, high = ends
    return low - steering.offset if steering.negative else high + steering.offset


def _limit(reach: IntegerReach, steering: Steering) -> int:
    numbers = reach.layer.numbers
    return _beyond((numbers.acc_low, numbers.acc_high), steering)


def _from(step: int, count: int) -> list[int]:
    """Steps 0..count-1, from `step` on, and then those before it."""
    return [*range(min(step, count - 1), count), *range(min(step, count - 1))]


def _overflow(reach: IntegerReach, steering: Steering) -> list[Waypoint] | None:
    """A partial sum at the limit; where no order is declared, the whole one."""
    target, last = _limit(reach, steering), len(reach.steps) - 1
    if reach.schedule is not None and steering.place % 4 < 3:
        for step in _from(steering.step, last + 1):
            low, high = reach.reachable(step)
            if low <= target <= high:
                return [Waypoint(step, target)]
    low, high = reach.reachable(last, True)
    return [Waypoint(last, target, True)] if low <= target <= high else None


def _transient(reach: IntegerReach, steering: Steering) -> list[Waypoint] | None:
    """Beyond the limit, and an end that fits the register."""
    target, last = _limit(reach, replace(steering, offset=1 + abs(steering.offset))), len(reach.steps) - 1
    for step in _from(steering.step, last):
        low, high = reach.reachable(step)
        less, more = reach.behind(step)
        back = target + more if steering.negative else target + less
        if low <= target <= high and (_fits(back, reach) or (back < 0) != (target < 0)):
            return [Waypoint(step, target), Waypoint(last, steering.offset, True)]
    return None


def _fits(content: int, reach: IntegerReach) -> bool:
    return reach.layer.numbers.acc_low <= content <= reach.layer.numbers.acc_high


def _cancelled(reach: IntegerReach, steering: Steering) -> list[Waypoint] | None:
    """The largest partial sum that the register holds and that the later steps can take back, and a small end."""
    limit, last, best = _limit(reach, replace(steering, offset=0)), len(reach.steps) - 1, (0, 0)
    for step in range(last):
        (low, high), (less, more) = reach.reachable(step), reach.behind(step)
        size = max(low, limit, -more) if steering.negative else min(high, limit, -less)
        best = max(best, (abs(size) if (size < 0) == steering.negative else 0, step))
    size, step = best
    size = -size if steering.negative else size
    return [Waypoint(step, size), Waypoint(last, steering.offset, True)] if abs(size) > 1 else None


def _carry(reach: IntegerReach, steering: Steering) -> list[Waypoint] | None:
    """0b0..01..1 and then one more, or -1 and then 0."""
    last = len(reach.steps) - 1
    step = min(steering.step, max(last - 1, 0))
    low, high = reach.reachable(step)
    power = 1 << min(steering.place, max(high, 1).bit_length() - 1, reach.layer.numbers.acc_bits - 2)
    before, after = (-1, 0) if steering.negative else (power - 1, power)
    if not low <= before <= high:
        return None
    return [Waypoint(step, before, step == last), *([Waypoint(step + 1, after, step + 1 == last)] if step < last else [])]


def _spill(reach: IntegerReach, steering: Steering) -> list[Waypoint] | None:
    """The content that the buffer just holds, where it is written."""
    schedule, last = reach.schedule, len(reach.steps) - 1
    assert schedule is not None and schedule.spill is not None
    spill = schedule.spill
    target = _beyond(register_range(spill.bits, spill.overflow), steering) << spill.shift
    for step in _from(steering.step, last + 1):
        low, high = reach.reachable(step)
        if (spill.last if step == last else (step + 1) % spill.every == 0) and low <= target <= high:
            return [Waypoint(step, target)]
    return None


def _at_output(reach: IntegerReach, steering: Steering) -> list[Waypoint] | None:
    """An accumulator halfway between two outputs, or where the output begins to overflow."""
    last = len(reach.steps) - 1
    low, high = reach.reachable(last, True)
    low, high = max(low, reach.layer.numbers.acc_low), min(high, reach.layer.numbers.acc_high)
    reached = (target for target in _output_targets(reach, steering) if low <= target <= high)
    return next(([Waypoint(last, target, True)] for target in reached), None)


def _output_targets(reach: IntegerReach, steering: Steering) -> list[int]:
    """Accumulators of the wanted side, from `place` on; offset beside them."""
    epilogue = reach.layer.numbers.epilogue
    least, most = epilogue.low - epilogue.zero_point, epilogue.high - epilogue.zero_point
    if steering.aim is Aim.SATURATION:
        below = [least - 1, least] if steering.negative else [most, most - 1]
    else:
        below = [-1 - i for i in range(4)] + [least, least - 1] if steering.negative else [0, 1, 2, 3, most, most - 1]
    turned = _from(steering.place % len(below), len(below))
    return [halfway(below[i], reach.k, epilogue) + steering.offset for i in turned]


def halfway(code: int, k: int, epilogue: Epilogue) -> int:
    """Return the accumulator nearest to scale(acc) = code + 1/2: a tie, where a shift alone scales and drops a bit.

    code: of the output, before its zero point is added.
    """
    shift, multiplier = epilogue.shift[k], epilogue.multiplier[k]
    exact = Fraction(2 * code + 1, 2) * Fraction(2) ** shift
    if epilogue.scaling is not Scaling.SHIFT:
        exact /= max(multiplier, 1)
    return round(exact)


def _steer_tree(reach: IntegerReach, steering: Steering) -> bool:
    """Bring one node of a step's adder tree to the limit of its level, if any can come there; say whether."""
    schedule = reach.schedule
    assert schedule is not None and schedule.tree.bits is not None
    nodes = list(tree_nodes(schedule))
    steps = [step for step, lanes in enumerate(reach.lanes) if any(tap in reach.place for tap in lanes)]
    for side in (steering, replace(steering, negative=not steering.negative)):
        for at in _from(steering.place % len(nodes), len(nodes)):
            level, lanes = nodes[at]
            ends = register_range(schedule.tree.bits[level], schedule.tree.overflow or Overflow.WRAP)
            for i in _from(steering.step % len(steps), len(steps)):
                taken = [tap for lane, tap in enumerate(reach.lanes[steps[i]]) if lane in lanes]
                if _at_node(reach, taken, _beyond(ends, side), steering.offset > 0):
                    return True
    return False


def _at_node(reach: IntegerReach, lanes: list[int], target: int, beyond: bool) -> bool:
    """Bring the sum of some lanes to the target, if it can come there."""
    taps = [tap for tap in lanes if tap in reach.place]
    low, high = reach.span(taps)
    if not low <= target <= high:
        return False
    reach.add(taps, target - sum(reach.product(tap, reach.now(tap)) for tap in taps))
    if (missing := target - sum(reach.product(tap, reach.now(tap)) for tap in taps)) * target > 0 and beyond:
        reach.add_beyond(taps, missing)
    return True


def tree_nodes(schedule: Schedule) -> Iterator[tuple[int, frozenset[int]]]:
    """Yield (level, the lanes that are summed there) of each adder of a schedule's tree that adds.

    >>> [(level, sorted(lanes)) for level, lanes in tree_nodes(Schedule(lanes=3))]
    [(0, [0, 1]), (1, [0, 1, 2])]
    """
    held = [frozenset([lane]) for lane in range(schedule.lanes)]
    pairing = schedule.tree.pairing
    for level in range(schedule.tree.levels(schedule.lanes)):
        if pairing is Pairing.CHAIN:
            held = [held[0] | held[1], *held[2:]]
            yield level, held[0]
            continue
        half = (len(held) + 1) // 2
        pairs = [(2 * i, 2 * i + 1) if pairing is Pairing.ADJACENT else (i, i + half) for i in range(half)]
        sums = [(held[a] | held[b], True) if b < len(held) else (held[a], False) for a, b in pairs]
        yield from ((level, lanes) for lanes, added in sums if added)
        held = [lanes for lanes, _ in sums]
