"""An explanation of affine codes: what it prints is arithmetic that holds, from the zero points to the multiplier."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.golden.explain import explain_golden

GOLDEN = Path(__file__).parents[2] / "golden"
PRODUCT = re.compile(r"(.+) \* (.+) = (-?\d+)")
TERM = re.compile(r"\((-?\d+) ([-+]) (\d+)\)|(-?\d+)")


def term(text: str) -> int:
    """ "(25 - 5)" or "25" as a number."""
    found = TERM.fullmatch(text)
    assert found, text
    code, sign, zero, plain = found.groups()
    return int(plain) if plain else int(code) + (int(zero) if sign == "+" else -int(zero))


@pytest.mark.parametrize("name", ["affine", "affine_unsigned"])
@pytest.mark.parametrize("at", [(0, 0, 0, 0), (0, 2, 0, 0)])
def test_the_products_that_are_printed_add_up_to_the_accumulator(name: str, at: tuple[int, ...]) -> None:
    explained = explain_golden(GOLDEN / name, name, at)
    packaged = hwsim.read_golden(GOLDEN / name)[name]
    (row,), bias = explained.rows, int(packaged.layer.bias[at[1]])
    total = 0
    for lane in row.lanes:
        if not lane.padded:
            left, right, product = PRODUCT.fullmatch(lane.how).groups()
            assert term(left) * term(right) == int(product)
            total += int(product)
    bits = packaged.layer.contract.accumulator.bits
    assert explained.acc == (total + bias + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
    expected = np.load(GOLDEN / name / f"000_{name}" / "expected.npy")
    assert explained.code == expected[at]
    output = packaged.layer.output_format
    assert explained.ending.real == (explained.code - output.zero_point) * Fraction(output.scale)


def test_the_multiplier_and_the_zero_point_have_lines() -> None:
    lines = explain_golden(GOLDEN / "affine", "affine", (0, 0, 4, 2)).ending.steps
    acc = 25160
    high = (2 * acc * 1609748254 + (1 << 31)) >> 32  # gemmlowp's doubling high half, ties up
    rounded = (high + 64) >> 7
    assert lines[1:3] == (
        f"requantize: {acc} * 1609748254 >> 38 (HIGH_MULTIPLY), TIES_AWAY: {rounded}",
        f"zero point -116: {rounded - 116}",
    )
