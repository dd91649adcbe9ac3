"""round_shift and round_ratio pick, in all ten modes, the integer that the mode's name says."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.arith.rounding import Rounding, increment, round_ratio, round_shift
from oracles.exact import rounded

MODES = list(Rounding)
by_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)


@by_mode
def test_round_shift_of_every_ten_bit_value_by_every_shift(mode):
    for shift in range(-3, 11):
        unit = Fraction(2) ** shift
        for x in range(-520, 521):
            assert round_shift(x, shift, mode) == rounded(x / unit, mode), (x, shift, mode)


@by_mode
def test_round_ratio_of_every_eight_bit_value_by_every_unit(mode):
    for unit in range(1, 50):
        for x in range(-130, 260):
            assert round_ratio(x, unit, mode) == rounded(Fraction(x, unit), mode), (x, unit, mode)


@by_mode
@given(x=st.integers(-(1 << 200), 1 << 200), shift=st.integers(-100, 250))
def test_python_ints_have_no_bound(mode, x, shift):
    assert round_shift(x, shift, mode) == rounded(x / Fraction(2) ** shift, mode)


@by_mode
@given(x=st.integers(-(1 << 200), 1 << 200), unit=st.integers(1, 1 << 120))
def test_a_ratio_of_python_ints_has_no_bound(mode, x, unit):
    assert round_ratio(x, unit, mode) == rounded(Fraction(x, unit), mode)


@by_mode
@given(halves=st.integers(-(1 << 60), 1 << 60), shift=st.integers(1, 62))
def test_a_tie_goes_where_the_name_says(mode, halves, shift):
    x = (2 * halves + 1) << (shift - 1)
    assert round_shift(x, shift, mode) == rounded(Fraction(2 * halves + 1, 2), mode)


def test_the_ten_modes_are_ten_different_rules():
    values = [x / Fraction(4) for x in range(-9, 10)]
    table = {mode: tuple(rounded(v, mode) for v in values) for mode in MODES}
    assert len(set(table.values())) == len(MODES)


@by_mode
@pytest.mark.parametrize("shift", [-5, -1, 0, 1, 2, 7, 31, 61, 62])
def test_an_int64_array_rounds_as_its_elements_do(mode, shift):
    edge = 1 << 63 >> max(-shift, 0)
    around = [m * (edge >> s) + d for m in (-1, 1) for s in (0, 1, 2) for d in range(-3, 4)]
    unit = 1 << max(shift, 0)
    ties = [k * unit + r for k in range(-3, 4) for r in (0, 1, unit // 2 - 1, unit // 2, unit // 2 + 1, unit - 1)]
    values = sorted({x for x in around + ties if -edge <= x < edge and -(1 << 63) <= x < 1 << 63})
    got = round_shift(np.array(values, dtype=np.int64), shift, mode)
    assert got.dtype == np.int64
    assert got.tolist() == [rounded(x / Fraction(2) ** shift, mode) for x in values]


@by_mode
def test_an_int64_array_divides_as_its_elements_do(mode):
    values = np.arange(-300, 300)
    for unit in (1, 2, 3, 7, 12, 169):
        assert round_ratio(values, unit, mode).tolist() == [rounded(Fraction(int(x), unit), mode) for x in values]


def test_increment_sees_the_sign_in_the_quotient():
    # -0.5 = -1 + 1/2: the value is below zero although its integer part "-0" is not
    assert [int(increment(-1, 1, 2, mode)) for mode in MODES] == [0, 1, 1, 0, 1, 0, 0, 1, 1, 0]
