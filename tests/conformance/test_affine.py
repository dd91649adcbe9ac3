"""Zero points, multipliers, clamps and uneven padding on every target: codes, accumulators, events and flags of the spec."""

from __future__ import annotations

from functools import cache

import pytest
from conformance.test_layers import alone, amid
from conformance.test_ordered import conforms as conforms_in_order

from oracles.affine_cases import MAKERS, affine_case
from oracles.cases import Case
from oracles.compare import assert_same, by_spec

EACH = 16

case_of = cache(affine_case)


def conforms(target, case: Case) -> None:
    with target.chosen() as backend:
        if not backend.can(case.layer):
            return
        assert_same(case, f"{target} alone", by_spec(case), alone(backend, case))
        if target.backend != "spec":
            assert_same(case, f"{target} amid a network", by_spec(case), amid(backend, case))


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "ordered"])
def test_generated_affine_layers(target, kind):
    for seed in range(EACH):
        conforms(target, case_of(kind, seed))


def test_generated_affine_orders(target):
    for seed in range(EACH):
        conforms_in_order(target, case_of("ordered", seed))
