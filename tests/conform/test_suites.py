"""The suites that need no generator: a sample of each passes on every backend; `make conform` runs all of it."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.backends.registry import native_available
from hwsim.conform.suites import SUITES, conform
from hwsim.contract.requantizers import TFLITE_SINGLE_RULES
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


@pytest.mark.parametrize("operator", ["CONV_2D", "ADD", "QUANTIZE"])
def test_single_rounding_is_not_litert_s(operator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TensorFlow Lite rounds twice, one rounding differs in many outputs, ours and theirs."""
    litert_ops = pytest.importorskip("hwsim.conform.litert_ops")
    try:
        suite = litert_ops.open_suite([operator], None)
    except InputError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(litert_ops, "TFLITE_RULES", TFLITE_SINGLE_RULES)
    cases = [case for case in suite.cases if "int16" not in case.name]
    wrong = sum(np.count_nonzero(case.compute("jit") != case.expected()) for case in cases)
    assert wrong >= 50


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
