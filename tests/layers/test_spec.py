"""The specification of every layer equals the oracle, which starts from real numbers and shares no code with it."""

import pytest
from hypothesis import given, settings

from oracles.cases import FAMILIES, family
from oracles.compare import Outcome, assert_same, by_spec
from oracles.generate import cases
from oracles.layers import expected


def by_oracle(case) -> Outcome:
    result = expected(case.layer, case.inputs)
    return Outcome(result.codes, result.acc, result.events)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "host"])
def test_spec_is_what_the_oracle_says_on_the_hard_cases(name):
    for case in family(name):
        assert_same(case, "spec", by_oracle(case), by_spec(case))


@settings(max_examples=200)
@given(cases())
def test_spec_is_what_the_oracle_says_on_generated_layers(case):
    assert_same(case, "spec", by_oracle(case), by_spec(case))
