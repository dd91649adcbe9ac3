"""The declared order on every target: accumulators, codes, events at each place and flags are those of the specification."""

from __future__ import annotations

import numpy as np
from conformance.test_layers import amid
from hypothesis import HealthCheck, given, settings

from hwsim.arith.accumulate import Place
from hwsim.backends.base import Taps
from oracles.cases import Case
from oracles.compare import Outcome, assert_same, by_spec, shapes
from oracles.ordered_cases import ordered_cases


def run(backend, case: Case) -> tuple[Outcome, Taps]:
    """Run alone, with accumulators and flags tapped."""
    kernel = backend.prepare(case.layer, shapes(case))
    n, shape = len(case.inputs[0]), kernel.output_shape
    taps = Taps.for_layer(case.layer, n, shape, acc=True)
    taps.flags = np.full((n, shape.h, shape.w, shape.c), 0xA5, dtype=np.uint8)  # what was there before must not stay
    out = kernel(case.inputs, taps)
    return Outcome(out.codes, taps.acc.transpose(0, 3, 1, 2), taps.counted), taps


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
