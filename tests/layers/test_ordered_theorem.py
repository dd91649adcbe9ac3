"""Overflow at full speed: sums of products prove that no order overflows, exactly up to their edge; WRAP needs no order."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.contract import Accumulator, Axis, BiasPoint, MacContract, Order, Output, Schedule, Spill, Tail, Tree
from hwsim.execute.single import run_layer
from hwsim.formats import FixedPoint
from hwsim.layers import FullyConnected
from oracles.exact import limits, wrapped
from oracles.generate import refusing, seeds
from oracles.ordered_cases import contracts, weights

S8 = FixedPoint(8, 0)
OUT = Output(FixedPoint(32, 0))
EVERY_MODE = tuple(Overflow)  # layer.spec walks TRAP as WRAP and counts; only a run stops


class Sum(NamedTuple):
    """Pairs (x, w) of 8 bits and a bias: N and P are its negative and its positive products' sums."""

    pairs: list[tuple[int, int]]
    bias: int

    @property
    def low(self) -> int:
        return sum(min(x * w, 0) for x, w in self.pairs) + min(self.bias, 0)

    @property
    def high(self) -> int:
        return sum(max(x * w, 0) for x, w in self.pairs) + max(self.bias, 0)

    @property
    def exact(self) -> int:
        return sum(x * w for x, w in self.pairs) + self.bias


def layer_of(total: Sum, bits: int, mode: Overflow, schedule: Schedule, grid: int = 0) -> FullyConnected:
    """Return the layer of one output; grid: how much finer than the products' the accumulator's is."""
    contract = MacContract(S8, S8, OUT, Accumulator(bits, grid, overflow=mode, schedule=schedule))
    return FullyConnected(contract, np.array([[w for _, w in total.pairs]]), np.array([total.bias]))


def cell_of(total: Sum, layer: FullyConnected, shape: tuple[int, int, int]):
    image = np.array([x for x, _ in total.pairs]).reshape(shape)
    return layer.spec([image[None].tolist()], 0, 0, 0, 0)


def at_the_edge(draw, mode: Overflow) -> tuple[Sum, int]:
    """Return a sum whose interval [N + min(b, 0), P + max(b, 0)] is exactly the range of a register, and its bits."""
    codes = st.integers(-127, 127)
    pairs = draw(st.lists(st.tuples(codes, codes), min_size=1, max_size=9))
    total = Sum(pairs, draw(st.integers(-300, 300)))
    bits = next(b for b in range(2, 40) if limits(b, True, mode)[0] <= total.low and total.high <= limits(b, True, mode)[1])
    low, high = limits(bits, True, mode)
    for gap, sign in ((high - total.high, 1), (total.low - low, -1)):
        while gap:  # 127 * 127 at a time, then what is left of a multiple of 127, then the rest
            x, w = (127, min(gap // 127, 127)) if gap >= 127 else (1, gap)
            pairs = [*pairs, (x, sign * w)]
            gap -= x * w
    total = Sum(draw(st.permutations(pairs)), total.bias)
    assert (total.low, total.high) == (low, high)
    return total, bits


@st.composite
def edges(draw, mode: Overflow):
    """An edge, the shape of its taps, and a schedule whose every register has the edge's width or more."""
    total, bits = at_the_edge(draw, mode)
    size = len(total.pairs)
    shape = draw(st.sampled_from([s for s in product(range(1, size + 1), repeat=3) if prod(s) == size]))
    order, lanes = draw(st.sampled_from(list(Order))), draw(st.integers(1, 9))
    tail = draw(st.sampled_from(list(Tail)))
    axis = Axis[order.name[-1]] if tail is Tail.PACKED else draw(st.sampled_from(list(Axis)))
    pairing = draw(st.sampled_from(list(Pairing)))
    levels = tuple(bits + draw(st.integers(0, 2)) for _ in range(Tree(pairing).levels(lanes)))
    acc_bits = bits + draw(st.integers(0, 2))
    spill = None
    if draw(st.booleans()):
        spill = Spill(draw(st.integers(1, 3)), draw(st.integers(bits, acc_bits)), overflow=mode, last=draw(st.booleans()))
    schedule = Schedule(
        order, lanes, axis, tail, Tree(pairing, levels, mode), draw(st.sampled_from(list(BiasPoint))), spill=spill
    )
    return total, shape, acc_bits, schedule


@pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda m: m.name)
@settings(max_examples=60)
@given(data=st.data())
def test_where_the_interval_fits_the_narrowest_register_nothing_overflows_in_any_order(mode, data):
    total, shape, bits, schedule = data.draw(edges(mode))
    cell = cell_of(total, layer_of(total, bits, mode, schedule), shape)
    assert (cell.acc, sum(cell.events)) == (total.exact, 0)


@pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda m: m.name)
@pytest.mark.parametrize("side", [1, -1])
@settings(max_examples=40)
@given(data=st.data())
def test_one_beyond_the_edge_some_order_overflows(mode, side, data):
    total, bits = at_the_edge(data.draw, mode)
    beyond = Sum(sorted([*total.pairs, (1, side)], key=lambda pair: -side * pair[0] * pair[1]), total.bias)
    first = BiasPoint.FIRST if side * total.bias > 0 else BiasPoint.LAST  # the bias that helps comes first
    cell = cell_of(beyond, layer_of(beyond, bits, mode, Schedule(bias=first)), (len(beyond.pairs), 1, 1))
    assert cell.events.accumulator >= 1


@pytest.mark.parametrize("mode", EVERY_MODE[:3], ids=lambda m: m.name)
@settings(max_examples=30)
@given(data=st.data())
def test_jit_proves_by_sums_exactly_up_to_the_edge(mode, data):
    total, bits = at_the_edge(data.draw, mode)
    for pairs, walked in ((total.pairs, 0), ([*total.pairs, (1, 1)], 1), ([*total.pairs, (1, -1)], 1)):
        near = Sum(pairs, total.bias)
        layer = layer_of(near, bits, mode, Schedule())
        trace = run_layer(layer, np.array([x for x, _ in near.pairs]).reshape(1, -1, 1, 1), backend="jit")
        assert trace.shares == (0, 1 - walked, walked)
        assert trace.acc.item() == cell_of(near, layer, (len(near.pairs), 1, 1)).acc


@settings(max_examples=100)
@given(st.data())
def test_wrap_is_the_exact_sum_modulo_its_width_in_any_order(data):
    total, shape, _, schedule = data.draw(edges(Overflow.WRAP))
    bits = data.draw(st.integers(2, 12))
    wide = tuple(bits + data.draw(st.integers(0, 3)) for _ in range(schedule.tree.levels(schedule.lanes)))
    tree = Tree(schedule.tree.pairing, wide, Overflow.WRAP)
    spill = None if schedule.spill is None else Spill(schedule.spill.every, bits, last=schedule.spill.last)
    own = Schedule(schedule.order, schedule.lanes, schedule.lane_axis, schedule.tail, tree, schedule.bias, spill=spill)
    total = Sum(total.pairs, wrapped(total.bias, bits, True))
    cell = cell_of(total, layer_of(total, bits, Overflow.WRAP, own), shape)
    assert cell.acc == wrapped(total.exact, bits, True)


def test_a_narrower_node_breaks_the_theorem_of_wrap():
    """Why "no node is narrower" stands there: 100 + 100 in a tree of 8 bits reaches a register of 10 bits as -56."""
    total = Sum([(1, 100), (1, 100)], 0)
    narrow = Schedule(lanes=2, tree=Tree(bits=(8,), overflow=Overflow.WRAP))
    assert cell_of(total, layer_of(total, 10, Overflow.WRAP, narrow), (2, 1, 1)).acc == -56
    assert cell_of(total, layer_of(total, 10, Overflow.WRAP, Schedule()), (2, 1, 1)).acc == 200


def images(f: FixedPoint, taps: int) -> np.ndarray:
    """Return every image of so many codes."""
    return np.array(list(product(range(f.low, f.high + 1), repeat=taps))).reshape(-1, taps, 1, 1)


@settings(max_examples=150)
@given(st.data())
def test_what_is_called_safe_has_no_event_whatever_the_image(data):
    taps, k = data.draw(st.integers(1, 3)), 2
    tiny = st.builds(FixedPoint, st.integers(2, 3), st.integers(-1, 2), st.booleans())
    contract = data.draw(contracts(k, taps, False, formats=tiny))
    assume(contract.input.bits * taps <= 6)
    rng = np.random.default_rng(data.draw(seeds))
    bias = rng.integers(-1, 2, size=k)
    layer = refusing(FullyConnected, contract, weights(rng, contract.weight, (k, taps), 0.3), bias)
    p = layer.numbers
    inputs = images(contract.input, taps)
    for channel in range(k):
        if not p.safe[channel]:
            continue
        for n in range(len(inputs)):
            cell = layer.spec([inputs[n : n + 1].tolist()], 0, channel, 0, 0)
            assert not cell.events.accumulator + cell.events.tree + cell.events.spill
            if p.static[channel]:
                total = sum(int(x) * int(f) for x, f in zip(inputs[n].ravel(), layer.integer.factors[channel], strict=True))
                assert cell.acc == total * 2 ** p.product_shift[channel] + p.bias[channel]


def worst_orders(codes: tuple[int, ...], bias: int, mode: Overflow, bits: int) -> list[FullyConnected]:
    """Return layers that add the codes' products ascending and descending by weight, the bias first and last."""
    found = []
    for sign, point in product((1, -1), BiasPoint):
        acc = Accumulator(bits, 0, overflow=mode, schedule=Schedule(bias=point))
        contract = MacContract(FixedPoint(3, 0), S8, OUT, acc, FixedPoint(9, 0))
        ordered = sorted(codes, key=lambda w, sign=sign: sign * w)
        found.append(FullyConnected(contract, np.array([ordered]), np.array([bias])))
    return found


def events_over_all_images(layer: FullyConnected) -> int:
    every = images(layer.contract.input, layer.weight.shape[1])
    return sum(layer.spec([image[None].tolist()], 0, 0, 0, 0).events.accumulator for image in every)


# With the bias -132..99 and -99..132 would fit 8 bits; before it is added they do not.
HELPED = (((30, 2, 1), 10), ((-30, -2, -1), -10))


@pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda m: m.name)
@pytest.mark.parametrize(("codes", "bias"), [((3, -5, 7), 9), ((3, -5, 7), -9), ((-8, -8, 4), 0), ((127, 1, 1), 127), *HELPED])
def test_the_static_proof_is_sharp(mode, codes, bias):
    """At the narrowest width that is called safe no image has an event; one bit narrower, one has."""
    holds_the_bias = abs(bias).bit_length() + 2
    widths = range(holds_the_bias, 20)
    narrowest = next(b for b in widths if all(layer.numbers.static[0] for layer in worst_orders(codes, bias, mode, b)))
    assert narrowest > holds_the_bias
    assert not any(events_over_all_images(layer) for layer in worst_orders(codes, bias, mode, narrowest))
    narrower = worst_orders(codes, bias, mode, narrowest - 1)
    assert not any(layer.numbers.static[0] for layer in narrower)
    assert any(events_over_all_images(layer) for layer in narrower)
