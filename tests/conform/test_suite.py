"""A suite's cases, outcomes and report: what passes must be equal bit for bit, and what does not is told and counted."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.cli import conform as command
from hwsim.cli import frame
from hwsim.conform import suites
from hwsim.conform.badge import badge
from hwsim.conform.report import sample
from hwsim.conform.suite import SPEC_WORK, Case, Result, Suite, difference, run_case
from hwsim.errors import BackendError, ContractError, InputError

ONES = np.ones((2, 3), np.int8)


def case(name: str = "it", found: object = ONES, expected: np.ndarray = ONES, **fields) -> Case:
    """A case of which hwsim computes `found`, or raises it."""

    def compute(backend: str) -> np.ndarray:
        answer = found(backend) if callable(found) else found
        if isinstance(answer, Exception):
            raise answer
        return np.asarray(answer)

    return Case(fields.pop("operator", "op"), name, compute, lambda: expected, **fields)


@given(st.lists(st.integers(-(1 << 47), (1 << 47) - 1), min_size=1, max_size=20), st.data())
def test_one_element_that_differs_is_found_and_named(values: list[int], data: st.DataObject) -> None:
    found = np.array(values)
    at = data.draw(st.integers(0, len(values) - 1))
    found[at] += data.draw(st.sampled_from((-1, 1)))
    assert difference(np.array(values), np.array(values)) == ""
    assert difference(found, np.array(values)).startswith(
        f"1 of {len(values)} elements differ, first at ({at},): found {found[at]}"
    )


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9))
def test_a_range_includes_both_ends(found: int, low: int, high: int) -> None:
    inside = low <= found <= high
    assert (difference(np.array([found]), np.array([low]), np.array([high])) == "") == inside


@pytest.mark.parametrize(
    ("found", "expected", "equal"),
    [
        (np.array([-0.0]), np.array([0.0]), False),
        (np.array([np.nan]), np.array([-np.nan]), True),
        (np.array([1.0], np.float32), np.array([1.0]), False),
        (np.array([1]), np.array([1.0]), False),
        (np.array([1], np.uint8), np.array([1], np.int64), True),
        (np.array([255], np.uint8), np.array([-1], np.int8), False),
        (np.float32(0.5), np.float32(0.5), True),
        (ONES, ONES.T, False),
        (ONES, ONES[:1], False),
    ],
)
def test_integers_are_numbers_and_floats_are_bits(found: np.ndarray, expected: np.ndarray, equal: bool) -> None:
    assert (difference(np.asarray(found), np.asarray(expected)) == "") is equal


def test_every_backend_must_agree() -> None:
    wrong_on_native = case(found=lambda backend: ONES + (backend == "native"))
    outcome = run_case(wrong_on_native, ("spec", "jit", "native"))
    assert outcome.result is Result.DIFFERS and outcome.why.startswith("native: 6 of 6")
    assert run_case(wrong_on_native, ("spec", "jit")).backends == ("spec", "jit")


def test_a_backend_without_a_kernel_stands_aside_and_all_of_them_refuse() -> None:
    lacking = case(found=lambda backend: BackendError("no kernel") if backend == "native" else ONES)
    assert run_case(lacking, ("jit", "native")).backends == ("jit",)
    assert run_case(lacking, ("native",)).result is Result.REFUSED


def test_a_refusal_is_no_pass() -> None:
    outcome = run_case(case(found=ContractError("too wide.")), ("spec", "jit"))
    assert (outcome.result, outcome.why, outcome.alarming) == (Result.REFUSED, "too wide.", True)


def test_spec_is_asked_where_it_is_quick_or_alone() -> None:
    large = case(work=SPEC_WORK + 1)
    assert run_case(large, ("spec", "jit")).backends == ("jit",)
    assert run_case(large, ("spec",)).backends == ("spec",)
    assert run_case(case(work=SPEC_WORK), ("spec", "jit")).backends == ("spec", "jit")


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch):
    """A function that makes one suite, `onnx`, of these cases."""

    def install(*cases: Case, absent: str = "") -> None:
        module = ModuleType("only_here")

        def open_suite(operators, progress) -> Suite:
            if absent:
                raise InputError(absent)
            return Suite("onnx", "a title", "an oracle 1.2", [c for c in cases if operators is None or c.operator in operators])

        module.open_suite = open_suite  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "only_here", module)
        monkeypatch.setattr(suites, "SUITES", {"onnx": "only_here"})

    return install


def test_the_report_counts_by_operator(suite) -> None:
    suite(case("a"), case("b", operator="other"), case("c", found=ONES + 1), case("d", found=ONES + 1, miss="a reason"))
    report = suites.conform(backends=["jit"])
    assert report.counts == (2, 4) and not report.passed
    rows = {row.operator: row for row in report.suites[0].rows}
    assert (rows["op"].passed, rows["op"].total, rows["op"].known, rows["other"].passed) == (1, 3, 1, 1)
    assert (rows["all"].values, rows["all"].on) == (12, {"jit": 2})
    found = report.to_json()
    assert [miss["test"] for miss in found["suites"][0]["misses"]] == ["c", "d"]
    assert found["suites"][0]["oracle"] == "an oracle 1.2" and json.dumps(found)


def test_only_a_miss_without_a_reason_is_wrong(suite) -> None:
    suite(case("a"), case("d", found=ONES + 1, miss="a reason"))
    assert suites.conform().passed
    suite(case("a", found=ONES + 1))
    assert not suites.conform().passed


def test_an_absent_oracle_is_told_and_an_error_where_it_was_asked_for(suite) -> None:
    suite(absent="the oracle is not here; install it.")
    report = suites.conform()
    assert report.suites[0].absent == "the oracle is not here; install it."
    with pytest.raises(InputError, match="install it"):
        suites.conform(["onnx"])
    with pytest.raises(InputError, match="found 'other', allowed onnx"):
        suites.conform(["other"])


def test_the_command_ends_with_1_where_a_test_fails_that_should_pass(suite, tmp_path: Path, capsys) -> None:
    def code(*arguments: str) -> int | str | None:
        with pytest.raises(SystemExit) as end:
            frame.main(["conform", *arguments])
        return end.value.code

    suite(case("a"), case("b", operator="other", found=ONES + 1))
    file = tmp_path / "badge.svg"
    assert code("onnx", "--badge", str(file)) == 1
    assert "DIFFERS b: spec: 6 of 6 elements differ" in capsys.readouterr().out
    assert "1 of 2" in file.read_text()
    assert code("onnx", "--operator", "op", "--json") == 0
    assert json.loads(capsys.readouterr().out)["suites"][0]["operators"][0]["operator"] == "op"
    assert code("onnx", "--badge", str(tmp_path / "no" / "badge.svg")) == 2
    assert "the badge cannot be written" in capsys.readouterr().err
    assert code("onnx", "--badge", str(file), "--limit", "1") == 2
    assert "it counts a whole run" in capsys.readouterr().err
    suite(absent="the oracle is not here; install it.")
    assert code("onnx") == 2
    assert code("nothing") == 2


def test_the_command_knows_every_suite() -> None:
    assert tuple(suites.SUITES) == command.SUITES


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))
def test_a_sample_has_cases_of_every_operator_and_none_twice(first: int, second: int, limit: int) -> None:
    cases = [case(f"a{i}") for i in range(first)] + [case(f"b{i}", operator="other") for i in range(second)]
    names = [c.name for c in sample(cases, limit)]
    assert len(names) == len(set(names)) == min(first, limit) + min(second, limit)
    assert sample(cases, None) == cases


def test_the_badge_is_a_picture_that_says_its_words() -> None:
    text = badge("a <label>", '"9 of 9"', True)
    root = ET.fromstring(text)
    assert [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")] == ["a <label>", '"9 of 9"']
    assert text != badge("a <label>", '"9 of 9"', False)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_badge_in_the_readme_says_what_the_page_says() -> None:
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs" / "conformance.md").read_text(encoding="utf-8")
    found = re.findall(r"^\*\*(\w+)\*\*: ([\d,]+) of ([\d,]+) passed", page, re.MULTILINE)
    assert [name for name, _, _ in found] == list(suites.SUITES)
    passed, total = (sum(int(row[i].replace(",", "")) for row in found) for i in (1, 2))
    shown = badge("public tests", f"{passed:,} of {total:,}", passed == total)
    assert (root / "docs" / "conformance.svg").read_text(encoding="utf-8") == shown, "make conform"
    assert "(docs/conformance.svg)" in (root / "README.md").read_text(encoding="utf-8")
