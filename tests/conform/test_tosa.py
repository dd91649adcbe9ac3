"""Arm's public tests: hwsim's layers and the plain rules both give what the reference model gives, and wrong rules do not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from hwsim.arith.rounding import Rounding
from hwsim.backends.registry import native_available
from hwsim.conform import tosa_layers, tosa_tools
from hwsim.conform.suite import difference, run_case
from hwsim.conform.suites import conform
from hwsim.conform.tosa_layers import as_unsigned
from hwsim.conform.tosa_suite import case_of
from hwsim.conform.tosa_tools import Listed, Tools, TosaTest
from hwsim.errors import InputError
from oracles.tosa_rules import RULES

BACKENDS = ("spec", "jit", "native") if native_available() else ("spec", "jit")
QUICK = ("add", "arithmetic_right_shift", "clamp", "matmul", "table")
"""Operators whose tests are made in seconds; `make conform` runs all of them."""
RULED = 8_000
"""Values of a test that the plain rules compute in a moment."""


@pytest.fixture(scope="session")
def tools() -> Tools:
    try:
        return tosa_tools.find_tools()
    except InputError as error:
        pytest.skip(str(error))


def agrees(test: TosaTest, found: np.ndarray) -> bool:
    """Whether what an oracle or a mutant computed is what the reference model allows."""
    expected, upper = test.expected, test.upper
    if test.attributes.get("output_unsigned"):
        found, expected = as_unsigned(found, test.output_type), as_unsigned(expected, test.output_type)
        upper = None if upper is None else as_unsigned(upper, test.output_type)
    return difference(found, expected, upper) == ""


def made(tools: Tools, operator: str) -> list[Listed]:
    """An operator's tests; of rescale those without int16 and INEXACT_ROUND, which take half as long to make."""
    return tosa_tools.tests_of(tools, operator, ("tosa-ext-doubleround",) if operator == "rescale" else tosa_tools.EXTENSIONS)


@pytest.mark.slow
@pytest.mark.parametrize("operator", [*QUICK, "rescale"])
def test_every_test_passes_on_every_backend(tools: Tools, operator: str) -> None:
    outcomes = [run_case(case_of(test), BACKENDS) for test in made(tools, operator)]
    assert outcomes and [(o.case.name, o.why) for o in outcomes if not o.passed] == []
    assert all(set(BACKENDS[1:]) <= set(o.backends) for o in outcomes)
    assert any("spec" in o.backends for o in outcomes)


@pytest.mark.slow
def test_the_suite_is_the_generator_s_tests_by_operator(tools: Tools) -> None:
    report = conform(["tosa"], ["matmul", "clamp"], backends=["jit"])
    names = {outcome.case.name for outcome in report.suites[0].outcomes}
    assert names == {test.name for operator in ("matmul", "clamp") for test in made(tools, operator)}
    assert report.passed and [row.operator for row in report.suites[0].rows] == ["matmul", "clamp", "all"]


@pytest.mark.slow
@pytest.mark.parametrize("operator", [*QUICK, "rescale"])
def test_the_plain_rules_are_the_reference_model_s(tools: Tools, operator: str) -> None:
    tests = [test.load() for test in made(tools, operator) if test.outputs <= RULED]
    wrong = [t.name for t in tests if not agrees(t, RULES[t.operator](t.attributes, t.arrays, t.types, t.output_type))]
    assert tests and wrong == []


def rescales(tools: Tools, mode: str) -> list[TosaTest]:
    tests = made(tools, "rescale")
    return [t.load() for t in tests if t.attributes["rounding_mode"] == mode and t.outputs <= RULED]


@pytest.mark.slow
@pytest.mark.parametrize(("declared", "other"), [("SINGLE_ROUND", "DOUBLE_ROUND"), ("DOUBLE_ROUND", "SINGLE_ROUND")])
def test_the_other_rounding_fails(tools: Tools, declared: str, other: str) -> None:
    tests = [t for t in rescales(tools, declared) if t.attributes["scale32"]]
    mutants = [replace(t, attributes={**t.attributes, "rounding_mode": other}) for t in tests]
    found = [tosa_layers.rescale(mutant, "jit") for mutant in mutants]
    assert any(not agrees(t, codes) for t, codes in zip(tests, found, strict=True))
    right = [tosa_layers.rescale(t, "jit") for t in tests]
    assert sum(np.count_nonzero(a != b) for a, b in zip(found, right, strict=True)) >= 100, "outputs that tell them apart"


@pytest.mark.slow
@pytest.mark.parametrize("tie", [Rounding.TIES_AWAY, Rounding.TIES_EVEN, Rounding.TIES_DOWN])
def test_other_ties_fail(tools: Tools, tie: Rounding, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tie:
        TIES_UP = tie
        FLOOR = Rounding.FLOOR

    monkeypatch.setattr(tosa_layers, "Rounding", Tie)
    tests = [t.load() for t in tosa_tools.tests_of(tools, "arithmetic_right_shift") if t.attributes["round"]]
    assert tests and any(not agrees(t, tosa_layers.arithmetic_right_shift(t, "jit")) for t in tests)


def test_the_tools_are_named_or_found_or_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("HWSIM_TOSA", str(tmp_path))
    with pytest.raises(InputError, match="no tosa_verif_conformance_generator is there; name an environment"):
        tosa_tools.find_tools()
    monkeypatch.delenv("HWSIM_TOSA")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="make conform"):
        tosa_tools.find_tools()


def test_a_damaged_cache_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path))
    tools = Tools("1.2", tmp_path, tmp_path)
    folder = tosa_tools.cache_folder(tools)
    folder.mkdir()
    for text in ("", "[1]", '[{"types": []}]', "{"):
        (folder / "add.json").write_text(text)
        with pytest.raises(InputError, match="add.json: is damaged; delete its folder"):
            tosa_tools.tests_of(tools, "add")
    record = {"operator": "ADD", "name": "it", "attributes": {}, "types": [], "shapes": []}
    record |= {"output_type": "INT8", "outputs": 1, "ranged": False}
    (folder / "add.json").write_text(json.dumps([record]))
    (test,) = tosa_tools.tests_of(tools, "add")
    for data in (b"", b"PK", b"no zip"):
        (folder / "add.npz").write_bytes(data)
        with pytest.raises(InputError, match="add.npz: is damaged or gone"):
            test.load()


@pytest.mark.slow
def test_a_program_that_fails_is_named(tools: Tools, tmp_path) -> None:
    with pytest.raises(InputError, match="tosa_reference_model failed with exit code"):
        tosa_tools._run([str(tools.binaries / "tosa_reference_model"), "--test_desc", "nowhere.json"], tmp_path)


@pytest.mark.parametrize("backend", ["spec", "jit"])
@pytest.mark.parametrize("shape", [(7, 5, 2, 3, 1, 1), (7, 5, 9, 0, 1, 2), (6, 8, 11, 13, 3, 2)])
def test_a_convolution_output_by_output_is_the_convolution(shape: tuple[int, ...], backend: str, monkeypatch) -> None:
    """What is done where padding would make gigabytes, where it would not."""
    h, w, begin, end, stride, dilation = shape
    rng = np.random.default_rng(1)
    x, weight = rng.integers(-128, 128, (2, h, w, 3), np.int8), rng.integers(-128, 128, (4, 3, 2, 3), np.int8)
    zeros = (np.array([7], np.int8), np.array([-3], np.int8))
    attributes = {"pad": [begin, end, end, begin], "stride": [stride, 1], "dilation": [dilation, 1]}
    arrays = (x, weight, rng.integers(-99, 99, 4, np.int32), *zeros)
    test = TosaTest("CONV2D", "it", attributes, ("INT8", "INT8", "INT32", "INT8", "INT8"), arrays, "INT32", x, None)
    expected = RULES["CONV2D"](attributes, arrays, test.types, "INT32")
    assert (tosa_layers.conv2d(test, backend) == expected).all()
    monkeypatch.setattr(tosa_layers, "MAX_PADDED", 0)
    assert (tosa_layers.conv2d(test, backend) == expected).all()
