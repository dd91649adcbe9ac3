"""Each rule of a declared order alone, in a small layer where it decides, and proofs at their edge, on every target.

Contracts drawn at random combine the rules, and in few of them one rule makes the difference.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from conformance.test_ordered import conforms

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import (
    Accumulator,
    Axis,
    BiasPoint,
    MacContract,
    Order,
    Output,
    PaddedTaps,
    RoundAt,
    Schedule,
    Spill,
    Tail,
    Tree,
    ZeroSkip,
)
from hwsim.formats import FixedPoint
from hwsim.layers import Convolution, FullyConnected
from oracles.cases import Case, codes, generator
from oracles.compare import by_spec

S8 = FixedPoint(8, 4)
PLAIN = Accumulator(15, overflow=Overflow.SATURATE, schedule=Schedule())
DROPPED = replace(PLAIN, bits=12, dropped_bits=3, rounding=Rounding.TIES_UP)
BY_STEP = replace(DROPPED, schedule=Schedule(lanes=3))
PACKED = Schedule(lanes=3, lane_axis=Axis.S, tail=Tail.PACKED)
SPILLED = Schedule(spill=Spill(2, 12, 2, overflow=Overflow.SATURATE))
TREE = Schedule(lanes=5, tree=Tree(Pairing.HALVES, (14, 14, 15), Overflow.SATURATE))


def ordered(schedule: Schedule, **fields) -> Accumulator:
    return replace(PLAIN, schedule=replace(schedule, **fields))


RULES = {
    "bits dropped from each product": (DROPPED, PLAIN),
    "rounding of dropped bits": (DROPPED, replace(DROPPED, rounding=Rounding.FLOOR)),
    "bits dropped behind the tree": (replace(BY_STEP, round_at=RoundAt.STEP), BY_STEP),
    "order": (ordered(Schedule(Order.RSC)), PLAIN),
    "bias last": (ordered(Schedule(bias=BiasPoint.LAST)), PLAIN),
    "pairs of halves": (ordered(TREE), ordered(TREE, tree=replace(TREE.tree, pairing=Pairing.ADJACENT))),
    "padded taps close up": (ordered(PACKED, padded=PaddedTaps.SKIPPED), ordered(PACKED)),
    "zero inputs close up": (ordered(PACKED, skip_zeros=ZeroSkip.INPUT), ordered(PACKED)),
    "zero weights close up": (ordered(PACKED, skip_zeros=ZeroSkip.WEIGHT), ordered(PACKED)),
    "padded steps are not counted": (ordered(SPILLED, padded=PaddedTaps.SKIPPED), ordered(SPILLED)),
    "steps of zero inputs are not counted": (ordered(SPILLED, skip_zeros=ZeroSkip.INPUT), ordered(SPILLED)),
    "steps of zero weights are not counted": (ordered(SPILLED, skip_zeros=ZeroSkip.WEIGHT), ordered(SPILLED)),
    "where nothing is added nothing is spilled": (
        ordered(SPILLED, spill=replace(SPILLED.spill, last=True), skip_zeros=ZeroSkip.WEIGHT),
        ordered(SPILLED, spill=replace(SPILLED.spill, last=True)),
    ),
    "the last sum is spilled": (ordered(SPILLED, spill=replace(SPILLED.spill, last=True)), ordered(SPILLED)),
}


@cache
def case_of(accumulator: Accumulator, groups: int) -> Case:
    """Return the same codes for every accumulator of a number of groups: a window that reaches two rows into the padding."""
    rng = generator(f"order rules {groups}")
    contract = MacContract(S8, S8, Output(FixedPoint(8, 0)), accumulator)
    weight, bias = codes(rng, S8, (4, 4 // groups, 3, 2)), rng.integers(-2000, 2000, size=4)
    weight[3] = 0
    layer = Convolution(contract, weight, bias, stride=(1, 2), pad=(2, 1), groups=groups)
    return Case(f"groups {groups}", layer, (codes(rng, S8, (1, 4, 3, 5)),))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", RULES)
def test_each_rule(target, name, groups):
    conforms(target, case_of(RULES[name][0], groups))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", RULES)
def test_each_rule_decides(name, groups):
    """Events of the cases differ from those without the rule, or accumulators do."""
    with_rule, without = (by_spec(case_of(accumulator, groups)) for accumulator in RULES[name])
    assert with_rule.events != without.events or not np.array_equal(with_rule.acc, without.acc)


# 3-bit inputs -4..3 take 30, 2 and 1 to -132..99: beyond 8 bits at one end only, and by 1 to 4. A bias of 10 brings the end
# inside, so that a proof which counts on it is wrong where some register does not see the bias.
WEIGHT, BIAS = np.array([[30, 2, 1], [-30, -2, -1], [30, 2, 1], [-30, -2, -1]]), np.array([10, -10, -10, 10])
EDGES = {
    "8 bits": (8, Schedule()),
    "9 bits": (9, Schedule()),
    "a spill of 8 bits": (12, Schedule(spill=Spill(1, 8, overflow=Overflow.SATURATE))),
    "a tree of 8 bits": (12, Schedule(lanes=3, tree=Tree(bits=(8, 8), overflow=Overflow.SATURATE))),
}


@cache
def edge_case(name: str, point: BiasPoint, connected: bool) -> Case:
    """Return every image of three codes: as many images, or as the pixels of one."""
    x, (bits, schedule) = FixedPoint(3, 0), EDGES[name]
    accumulator = Accumulator(bits, 0, overflow=Overflow.SATURATE, schedule=replace(schedule, bias=point))
    contract = MacContract(x, FixedPoint(8, 0), Output(FixedPoint(16, 0)), accumulator)
    every = np.array(list(product(range(-4, 4), repeat=3)), dtype=np.int8)
    if connected:
        return Case(name, FullyConnected(contract, WEIGHT, BIAS), (every.reshape(-1, 3, 1, 1),))
    layer = Convolution(contract, WEIGHT.reshape(4, 3, 1, 1), BIAS)
    return Case(name, layer, (np.ascontiguousarray(every.T).reshape(1, 3, 8, 64),))


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("point", list(BiasPoint))
@pytest.mark.parametrize("name", EDGES)
def test_what_is_proven_has_no_event_up_to_the_edge(target, name, point, connected):
    conforms(target, edge_case(name, point, connected))


@pytest.mark.parametrize("point", list(BiasPoint))
def test_the_edges_are_passed_where_a_register_is_too_narrow(point):
    events = {name: sum(by_spec(edge_case(name, point, False)).events[:4]) for name in EDGES}
    assert not events.pop("9 bits") and all(events.values())


@cache
def full_case(mode: Overflow) -> Case:
    """Return three products to a step, on a grid 7 bits finer up to 1.6e9, beside registers of 31 bits that begin at their ends.

    A step fits int32, and so does the register; their sum does not.
    """
    x, w, rng = FixedPoint(16, 0), FixedPoint(8, 0), generator("full")
    accumulator = Accumulator(31, 7, overflow=mode, schedule=Schedule(lanes=3))
    weight = codes(rng, w, (35, 7, 2, 1), 0.6)
    bias = np.where(rng.random(35) < 0.5, -1, 1) * ((1 << 30) - 1)
    layer = Convolution(MacContract(x, w, Output(FixedPoint(8, -24)), accumulator), weight, bias)
    return Case(f"full {mode.name}", layer, (codes(rng, x, (1, 7, 3, 3), 0.6),))


@pytest.mark.parametrize("mode", [Overflow.SATURATE, Overflow.WRAP])
def test_steps_as_large_as_the_register(target, mode):
    assert by_spec(full_case(mode)).events.accumulator > 100
    conforms(target, full_case(mode))
