"""TRAP stops at the first event in row-major order (n, k, y, x, step), whatever computes it and on however many threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwsim.arith.overflow import Overflow
from hwsim.backends.trap import output_of
from hwsim.contract import Accumulator, Axis, BiasPoint, MacContract, Multiplier, Output, Scaling, Schedule, Spill, Tree
from hwsim.errors import OverflowTrap
from hwsim.execute.single import run_layer
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import Convolution, FullyConnected
from oracles.cases import FAMILIES, Case, family
from oracles.compare import shapes
from oracles.ordered import expected_output
from oracles.ordered_cases import ordered_cases

S8 = FixedPoint(8, 0)


def trapping(case: Case) -> Case:
    """Return the case with TRAP in its output."""
    layer = case.layer
    if isinstance(layer, (Convolution, FullyConnected)):
        contract = replace(layer.contract, output=replace(layer.contract.output, overflow=Overflow.TRAP))
        return Case(case.name, replace(layer, contract=contract), case.inputs)
    return Case(case.name, replace(layer, output=replace(layer.output, overflow=Overflow.TRAP)), case.inputs)


def candidates() -> list[Case]:
    """Some cases of every kind of layer that has an output stage."""
    found: list[Case] = []
    for name in FAMILIES:
        with_output = [case for case in family(name) if output_of(case.layer) is not None]
        found += [trapping(case) for case in with_output[:: max(len(with_output) // 6, 1)]]
    return found


def first_event(case: Case) -> tuple[int, ...] | None:
    """Return the first coordinate whose event the specification counts, or None."""
    inputs = [x.tolist() for x in case.inputs]
    shape = (len(case.inputs[0]), *case.layer.output_shape(shapes(case)))
    return next((at for at in np.ndindex(*shape) if case.layer.spec(inputs, *at).events.output), None)


@pytest.fixture(scope="module")
def trapped() -> list[tuple[Case, tuple[int, ...] | None]]:
    pairs = [(case, first_event(case)) for case in candidates()]
    assert sum(at is not None for _, at in pairs) > 15 and any(at is None for _, at in pairs)
    assert any(at is not None and max(at) > 1 for _, at in pairs)
    return pairs


def test_trap_names_the_first_event_and_nothing_else_stops(target, trapped):
    with target.chosen():
        for case, at in trapped:
            if at is None:
                run_layer(case.layer, *case.inputs, backend=target.backend)
                continue
            with pytest.raises(OverflowTrap) as caught:
                run_layer(case.layer, *case.inputs, backend=target.backend)
            assert (caught.value.place, caught.value.coordinate) == ("output", at), case.name


@pytest.mark.parametrize("signed", [True, False])
def test_trap_into_a_narrow_format_whose_smallest_code_is_an_event(target, signed):
    fmt = Affine(8, 1.0, 1, signed, narrow=True)
    output = Output(fmt, overflow=Overflow.TRAP, scaling=Multiplier(Scaling.MULTIPLY, 1, 0))
    layer = FullyConnected(MacContract(FixedPoint(9, 0), S8, output), np.array([[1]]))
    least = np.full((2, 1, 1, 1), fmt.low - 1)
    with target.chosen():
        assert run_layer(layer, least, backend=target.backend).codes.ravel().tolist() == [fmt.low] * 2
        with pytest.raises(OverflowTrap) as caught:
            run_layer(layer, least - [[[[0]]], [[[1]]]], backend=target.backend)
    assert (caught.value.place, caught.value.coordinate) == ("output", (1, 0, 0, 0))


def first_trap(case: Case) -> tuple[str, tuple[int, ...], int | None] | None:
    """Return (place, coordinate, step) of the first event at a register that says TRAP, by the oracle's plain loops."""
    x = case.inputs[0]
    for at in np.ndindex(len(x), *case.layer.output_shape(shapes(case))):
        found = expected_output(case.layer, x, *at).trap
        if found is not None:
            return found[0], at, found[1]
    return None


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(case=ordered_cases(st.sampled_from([Overflow.TRAP, *Overflow])))
def test_trap_names_place_output_and_step_of_a_declared_order(target, case):
    want = first_trap(case)
    with target.chosen():
        if want is None:
            run_layer(case.layer, *case.inputs, backend=target.backend)
            return
        with pytest.raises(OverflowTrap) as caught:
            run_layer(case.layer, *case.inputs, backend=target.backend)
    assert (caught.value.place, caught.value.coordinate, caught.value.step) == want


def one_output(bias: int, *, bits=(8, 8), tree=None, spill=None, output=Overflow.SATURATE, acc=Overflow.SATURATE, last=False):
    """Return a layer of one output that adds 100, 100, -100 in three steps of two lanes (the second idle), and its input."""
    point = BiasPoint.LAST if last else BiasPoint.FIRST
    schedule = Schedule(lanes=2, lane_axis=Axis.S, tree=tree or Tree(), bias=point, spill=spill)
    contract = MacContract(
        S8, S8, Output(FixedPoint(bits[1], 0), overflow=output), Accumulator(bits[0], overflow=acc, schedule=schedule)
    )
    return FullyConnected(contract, np.array([[1, 1, 1]]), np.array([bias])), np.array([[[[100]], [[100]], [[-100]]]])


@pytest.mark.parametrize(
    ("built", "place", "step"),
    [
        (one_output(0, acc=Overflow.TRAP), "accumulator", 1),
        (one_output(100, acc=Overflow.TRAP), "accumulator", 0),
        (one_output(-100, acc=Overflow.TRAP), None, None),
        (one_output(-100, acc=Overflow.TRAP, last=True), "accumulator", 1),
        (one_output(100, bits=(9, 9), acc=Overflow.TRAP, last=True), None, None),
        (one_output(-29, bits=(9, 8), acc=Overflow.TRAP), None, None),
        (one_output(156, bits=(9, 8), acc=Overflow.TRAP, last=True), "accumulator", 3),
        (one_output(0, tree=Tree(bits=(7,), overflow=Overflow.TRAP), acc=Overflow.TRAP), "tree", 0),
        (one_output(0, bits=(9, 8), tree=Tree(bits=(8,), overflow=Overflow.TRAP)), None, None),
        (one_output(0, bits=(9, 9), spill=Spill(2, 8, overflow=Overflow.TRAP)), "spill", 1),
        (one_output(0, bits=(9, 9), spill=Spill(3, 8, overflow=Overflow.TRAP)), None, None),
        (one_output(0, spill=Spill(2, 7, overflow=Overflow.TRAP), acc=Overflow.TRAP), "accumulator", 1),
        (one_output(0, bits=(9, 7), output=Overflow.TRAP), "output", None),
    ],
)
@pytest.mark.parametrize("backend", ["spec", "jit"])
def test_the_first_place_of_one_output(backend, built, place, step):
    layer, x = built
    if place is None:
        run_layer(layer, x, backend=backend)
        return
    with pytest.raises(OverflowTrap) as caught:
        run_layer(layer, x, backend=backend)
    assert (caught.value.place, caught.value.coordinate, caught.value.step) == (place, (0, 0, 0, 0), step)
