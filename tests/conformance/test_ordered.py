"""The declared order on every target: accumulators, codes, events at each place and flags are those of the specification."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from conformance.test_layers import amid
from hypothesis import HealthCheck, given, settings

from hwsim.arith.accumulate import Place
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.arith.shift_add import SignOrder
from hwsim.backends.base import Taps
from hwsim.contract import Accumulator, BiasPoint, MacContract, Order, Output, Schedule, ShiftAdd
from hwsim.formats import FixedPoint, PowerOfTwo
from hwsim.layers import Convolution, FullyConnected
from oracles.cases import Case, codes, generator
from oracles.compare import Outcome, assert_same, by_spec, shapes
from oracles.exact import fitted
from oracles.ordered import product_of, reads_of
from oracles.ordered_cases import ordered_cases, weights


def run(backend, case: Case) -> tuple[Outcome, Taps]:
    """Run alone, with accumulators and flags tapped."""
    kernel = backend.prepare(case.layer, shapes(case))
    n, shape = len(case.inputs[0]), kernel.output_shape
    taps = Taps.for_layer(case.layer, n, shape, acc=True)
    taps.flags = np.full((n, shape.h, shape.w, shape.c), 0xA5, dtype=np.uint8)  # what was there before must not stay
    out = kernel(case.inputs, taps)
    return Outcome(out.codes, taps.acc.transpose(0, 3, 1, 2), taps.counted), taps


@cache
def expected_flags(case: Case) -> np.ndarray:
    """Return the flags [N][K][H][W] by the specification's events, output by output."""
    inputs = [x.tolist() for x in case.inputs]
    flags = np.zeros((len(case.inputs[0]), *case.layer.output_shape(shapes(case))), dtype=np.uint8)
    names = {Place.TREE: "tree", Place.ACCUMULATOR: "accumulator", Place.SPILL: "spill", Place.OUTPUT: "output"}
    for at in np.ndindex(*flags.shape):
        events = case.layer.spec(inputs, *at).events
        flags[at] = sum(1 << place for place, name in names.items() if getattr(events, name))
    return flags


def conforms(target, case: Case) -> None:
    with target.chosen() as backend:
        got, taps = run(backend, case)
        assert_same(case, str(target), by_spec(case), got)
        np.testing.assert_array_equal(taps.flags.transpose(0, 3, 1, 2), expected_flags(case), f"{target}\n{case.layer!r}")
        if target.backend != "spec":
            assert sum(taps.shares) == got.codes.size, f"{target}: every output was proven or walked\n{case.layer!r}"
            assert_same(case, f"{target} amid a network", by_spec(case), amid(backend, case))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(case=ordered_cases())
def test_generated_orders(target, case):
    conforms(target, case)


WIDTHS = (12, 16, 17, 24, 32, 33, 48, 62, 63, 64)
MODES = (Overflow.SATURATE, Overflow.WRAP, Overflow.SATURATE_SYMMETRIC)


@cache
def wide_case(bits: int) -> Case:
    """Return 35 channels of 297 taps whose biases reach to the register's ends and whose sums go on from there.

    Beyond 18 bits the accumulator's grid is finer than the products', so that the same sums reach its ends. No contract can
    be built whose exact sums leave 64 bits, so at 64 there are no events.
    """
    at, rng = WIDTHS.index(bits), generator(f"wide {bits}")
    x, w = FixedPoint(8, 0, signed=at % 2 == 0), FixedPoint(8, 0)
    schedule = Schedule(Order.RSC, bias=BiasPoint.LAST if at % 4 == 1 else BiasPoint.FIRST)
    acc = Accumulator(bits, min(max(0, bits - 18), 39), overflow=MODES[at % 3], schedule=schedule)
    size = (np.arange(35) % 8)[:, None, None, None]  # channels of small weights are proven, those of large ones are walked
    weight = (codes(rng, w, (35, 33, 3, 3)).astype(np.int64) >> size).astype(np.int8)
    high = (1 << min(bits - 1, 62)) - 1
    bias = rng.integers(-high, high, size=35, endpoint=True) >> rng.integers(0, 5, size=35)
    bias[::3] = np.where(bias[::3] < 0, -high, high)
    layer = Convolution(MacContract(x, w, Output(FixedPoint(8, -4)), acc), weight, bias, stride=(2, 1), pad=(1, 0))
    return Case(f"wide {bits}", layer, (codes(rng, x, (1, 33, 3, 5)),))


@pytest.mark.parametrize("bits", WIDTHS)
def test_every_width_of_register_in_many_channels(target, bits):
    conforms(target, wide_case(bits))


def test_the_wide_cases_overflow():
    assert all(by_spec(wide_case(bits)).events.accumulator for bits in WIDTHS[:-1])


@cache
def unordered_case(unit: ShiftAdd, connected: bool) -> Case:
    """Return a layer without a declared order whose shift-add units round, and whose register is too narrow for some sums."""
    x, w, rng = FixedPoint(8, 0, signed=not connected), PowerOfTwo(-6, 0), generator(f"unordered {unit} {connected}")
    contract = MacContract(x, w, Output(FixedPoint(6, -3)), Accumulator(11, unit.guard_bits + 2), product=unit)
    bias, inputs = rng.integers(-900, 900, size=6), codes(rng, x, (2, 6, 3, 5))
    if connected:
        return Case("unordered", FullyConnected(contract, weights(rng, w, (6, 90), 0.3), bias), (inputs,))
    layer = Convolution(contract, weights(rng, w, (6, 2, 3, 2), 0.3), bias, stride=(2, 1), pad=(1, 2), groups=3)
    return Case("unordered", layer, (inputs,))


UNITS = [ShiftAdd(guard, mode, sign) for guard, mode in ((0, Rounding.FLOOR), (3, Rounding.TIES_EVEN)) for sign in SignOrder]


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("unit", UNITS)
def test_products_are_rounded_where_no_order_is_declared_too(target, unit, connected):
    case = unordered_case(unit, connected)
    with target.chosen() as backend:
        got, taps = run(backend, case)
        assert_same(case, str(target), by_spec(case), got)
        np.testing.assert_array_equal(taps.flags.transpose(0, 3, 1, 2), expected_flags(case))
        assert_same(case, f"{target} amid a network", by_spec(case), amid(backend, case))


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("unit", UNITS)
def test_without_an_order_rounded_products_are_summed_modulo_the_register(unit, connected):
    case = unordered_case(unit, connected)
    want, left = by_spec(case), 0
    for n, k, y, x in np.ndindex(*want.acc.shape):
        reads = reads_of(case.layer, case.inputs[0][n], k, y, x).values()
        exact = 4 * sum(product_of(case.layer.contract, read, k) for read in reads) + int(case.layer.bias[k])
        assert want.acc[n, k, y, x] == fitted(exact, Overflow.WRAP, 11, True)
        left += not -1024 <= exact <= 1023
    assert want.events.accumulator == left > 0
