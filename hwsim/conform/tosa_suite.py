"""The suite tosa: Arm's public TOSA conformance tests, the positive integer ones, and the reference model's answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from hwsim.conform.suite import Case, Suite
from hwsim.conform.tosa_layers import COMPUTE, as_unsigned
from hwsim.conform.tosa_tools import Listed, find_tools, tests_of
from hwsim.errors import ContractError

Progress = Callable[[int, int], None]

OPERATORS = (
    "conv2d", "depthwise_conv2d", "transpose_conv2d", "matmul", "rescale", "avg_pool2d", "max_pool2d", "add", "sub", "mul",
    "maximum", "minimum", "arithmetic_right_shift", "clamp", "negate", "table", "pad", "concat", "slice", "resize",
)  # fmt: skip
"""Operators that hwsim has layers for, as TOSA calls them."""

NO_LAYER = "hwsim has no layer for this operator."


def open_suite(operators: Sequence[str] | None, progress: Progress | None) -> Suite:
    """Return the suite; the tests of an operator are made on first use, which takes seconds, and kept."""
    tools = find_tools()
    names = [name for name in OPERATORS if operators is None or name in operators]
    cases: list[Case] = []
    left_out = []
    for done, name in enumerate(names):
        tests = tests_of(tools, name)
        cases += [case_of(test) for test in tests if not _bilinear(test)]
        if bilinear := sum(map(_bilinear, tests)):
            left_out.append((name, bilinear, "bilinear interpolation is no layer of hwsim; nearest is"))
        if progress is not None:
            progress(done + 1, len(names))
    title = "Arm's TOSA conformance tests, positive, integer (tosa-pro-int, int16, int4, doubleround, inexactround)"
    return Suite("tosa", title, f"tosa_reference_model of tosa-tools {tools.version}", tuple(cases), tuple(left_out))


def _bilinear(test: Listed) -> bool:
    return test.operator == "RESIZE" and test.attributes["mode"] != "NEAREST"


def case_of(test: Listed) -> Case:
    """Return the case of a test."""
    known = test.operator in COMPUTE
    return Case(
        operator=test.operator.lower(),
        name=test.name,
        compute=partial(_compute, test),
        expected=partial(_expected, test),
        upper=partial(_upper, test) if test.ranged else None,
        work=_work(test),
        miss=None if known else NO_LAYER,
    )


def _compute(test: Listed, backend: str) -> np.ndarray:
    if test.operator not in COMPUTE:
        raise ContractError(NO_LAYER)
    return COMPUTE[test.operator](test.load(), backend)


def _expected(test: Listed) -> np.ndarray:
    return _signed_as_declared(test, test.load().expected)


def _upper(test: Listed) -> np.ndarray:
    upper = test.load().upper
    assert upper is not None
    return _signed_as_declared(test, upper)


def _signed_as_declared(test: Listed, codes: np.ndarray) -> np.ndarray:
    """Return what the reference model left, unsigned where the operator's output is: TOSA stores it in a signed type."""
    return as_unsigned(codes, test.output_type) if test.attributes.get("output_unsigned") else codes


def _work(test: Listed) -> int:
    """Outputs times the products or pixels of each."""
    shapes, kernel = test.shapes, test.attributes.get("kernel", [])
    taps = {
        "CONV2D": lambda: math.prod(shapes[1][1:]),
        "TRANSPOSE_CONV2D": lambda: math.prod(shapes[1][1:]),
        "DEPTHWISE_CONV2D": lambda: math.prod(shapes[1][:2]),
        "MATMUL": lambda: shapes[0][2],
        "AVG_POOL2D": lambda: math.prod(kernel),
        "MAX_POOL2D": lambda: math.prod(kernel),
    }
    return test.outputs * (taps[test.operator]() if test.operator in taps else 1)
