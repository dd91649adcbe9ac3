"""TRAP stops at the first output event in row-major order (n, k, y, x), whatever computes it and on however many threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow
from hwsim.backends.trap import output_of
from hwsim.errors import OverflowTrap
from hwsim.execute.single import run_layer
from hwsim.layers import Convolution, FullyConnected
from oracles.cases import FAMILIES, Case, family


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
    from oracles.compare import shapes

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
