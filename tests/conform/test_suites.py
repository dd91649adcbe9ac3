"""The suites that need no generator: a sample of each passes on every backend; `make conform` runs all of it."""

from __future__ import annotations

import pytest

from hwsim.backends.registry import native_available
from hwsim.conform.suites import SUITES, conform
from hwsim.errors import InputError

BACKENDS = ("spec", "jit", "native") if native_available() else ("spec", "jit")
LIMIT = 5


@pytest.mark.parametrize("name", [name for name in SUITES if name != "tosa"])
def test_a_sample_passes_on_every_backend(name: str) -> None:
    try:
        report = conform([name], limit=LIMIT)
    except InputError as error:
        pytest.skip(str(error))
    suite = report.suites[0]
    assert [(outcome.case.name, outcome.why) for outcome in suite.misses if outcome.alarming] == []
    assert suite.passed and all(suite.rows[-1].on.get(backend, 0) for backend in BACKENDS), suite.rows[-1].on
    assert len({outcome.case.name for outcome in suite.outcomes}) == len(suite.outcomes)


@pytest.mark.parametrize("name", [name for name in SUITES if name != "tosa"])
def test_an_operator_asked_for_is_all_that_runs(name: str) -> None:
    try:
        operator = conform([name], limit=1).suites[0].outcomes[0].case.operator
        report = conform([name], [operator], limit=2)
    except InputError as error:
        pytest.skip(str(error))
    assert {outcome.case.operator for outcome in report.suites[0].outcomes} == {operator}
    with pytest.raises(InputError, match="'no such operator', which no suite here has"):
        conform([name], [operator, "no such operator"], limit=1)
