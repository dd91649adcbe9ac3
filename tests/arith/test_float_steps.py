"""Steps in float32 as codes: numpy's float32, bit for bit, to the ends of the format."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hwsim.arith import float_steps
from hwsim.arith.rounding import Rounding
from hwsim.formats.catalog import BINARY32
from oracles.exact import rounded

F = BINARY32.layout
CODES = [0, 1, 2, 0x7FFFFF, 0x800000, 0x3F800000, 0x3F800001, 0x40400000, 0x7F7FFFFF, 0x7F800000]
codes = (st.sampled_from(CODES) | st.integers(0, 0x7F800000)).flatmap(lambda c: st.sampled_from([c, c | 1 << 31]))
numbers = codes.filter(lambda c: c & 0x7FFFFFFF not in (0, 0x7F800000))
values = st.integers(-(1 << 17), 1 << 17) | st.integers(-(1 << 47), 1 << 47)


def real(code: int) -> np.float32:
    return np.uint32(code).view(np.float32)


def code_of(value: np.float32) -> int:
    return int(np.float32(value).view(np.uint32))


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


def same(code: int, value: np.float32) -> bool:
    return bool(np.isnan(real(code)) and np.isnan(value)) or code == code_of(value)


@given(values, numbers)
def test_a_term_is_a_conversion_and_a_product(value, scale):
    assert same(float_steps.float_term(value, scale, F), np.float32(value) * real(scale))


@given(codes, numbers)
def test_division_is_numpys(a, b):
    assert same(float_steps.divide_floats(a, b, F, Rounding.TIES_EVEN)[0], real(a) / real(b))


def test_division_of_nan_is_nan():
    assert np.isnan(real(float_steps.divide_floats(0x7FC00000, CODES[5], F, Rounding.TIES_EVEN)[0]))


def round32(exact: Fraction) -> Fraction:
    """The number of 24 bits nearest to an exact one, ties to even, by its meaning."""
    grid = Fraction(1)
    while exact and abs(exact) / grid >= 1 << 24:
        grid *= 2
    while exact and abs(exact) / grid < 1 << 23:
        grid /= 2
    return rounded(exact / grid, Rounding.TIES_EVEN) * grid


SMALL = st.integers(-(1 << 16), 1 << 16)


@given(SMALL, SMALL, st.integers(-(1 << 11), 1 << 11) | st.integers(-(1 << 24), 1 << 24))
@example(65519, 65519, 1000)  # the product's 32 bits, rounded first, would give another sum
def test_a_fused_term_is_rounded_once(code, scale, total):
    """Products on the grid of 2**-20: the exact sum is a Fraction, rounded to 24 bits."""
    exact = Fraction(code * scale, 1 << 20) + Fraction(float(np.float32(total)))
    got = float_steps.fused_term(code, code_of(np.float32(scale / (1 << 20))), code_of(np.float32(total)), F)
    assert Fraction(float(real(got))) == round32(exact)


@given(values, numbers, numbers)
def test_an_offset_is_added_to_the_rounded_product(value, scale, offset):
    assert same(float_steps.offset_term(value, scale, offset, F), np.float32(value) * real(scale) + real(offset))


@given(codes, st.sampled_from([0x3F800000, 0x40000000, 0x3E99999A, 0x2B8CBCCC]))
def test_integers_are_quotients_to_the_nearest(code, divisor):
    quotient = real(code) / real(divisor)
    limit = 2.0**61
    want = int(np.rint(np.float64(quotient))) if abs(quotient) < limit else 2**61 - 1 if quotient > 0 else 1 - 2**61
    assert float_steps.float_integer(code, divisor, Rounding.TIES_EVEN, F) == want
