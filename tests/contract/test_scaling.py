"""Multipliers: each school's derivation against fractions and against TensorFlow Lite's own steps, and what is refused."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.arith.scale import Scaling
from hwsim.contract import Multiplier
from hwsim.contract.scaling import (
    LIMITS,
    float32_multiplier,
    float64_multiplier,
    make_multiplier,
    quantized_multiplier,
    reduced_multiplier,
)
from hwsim.errors import ContractError

reals = st.floats(2.0**-31, 2.0**29) | st.floats(0.25, 4.0) | st.integers(-31, 29).map(lambda e: 2.0**e)


@given(reals)
def test_31_bits_are_the_nearest_ones(real):
    m, shift = quantized_multiplier(real)
    assert 1 << 30 <= m < 1 << 31
    assert abs(Fraction(m, 1 << shift) - Fraction(real)) <= Fraction(1, 1 << (shift + 1))


@given(reals)
def test_31_bits_are_tensorflow_lites(real):
    """QuantizeMultiplier: frexp, round(q * 2**31) away from zero, halved where it reaches 2**31."""
    q, shift = math.frexp(real)
    fixed = math.floor(q * (1 << 31) + 0.5)
    if fixed == 1 << 31:
        fixed, shift = fixed // 2, shift + 1
    assert quantized_multiplier(real) == (fixed, 31 - shift)


def test_a_multiplier_that_rounds_up_to_2_31_is_halved():
    real = float(np.nextafter(1.0, 0.0))
    assert quantized_multiplier(real) == (1 << 30, 30)


def test_what_is_too_small_becomes_0_and_what_is_too_large_the_largest():
    assert quantized_multiplier(2.0**-34) == (0, 31)
    assert quantized_multiplier(2.0**40) == ((1 << 31) - 1, 1)
    assert quantized_multiplier(2.0**-32) == (1 << 30, 62)


@given(reals)
def test_15_bits_are_the_upper_ones_rounded_up_at_ties(real):
    m, shift = quantized_multiplier(real)
    reduced, less = reduced_multiplier(m, shift)
    assert less == shift - 16 and reduced == min(math.floor(Fraction(m, 1 << 16) + Fraction(1, 2)), 0x7FFF)


@given(st.floats(2.0**-100, 2.0**100, width=32))
def test_float32_scales_are_kept_exactly(real):
    m, shift = float32_multiplier(real)
    assert Fraction(m) / Fraction(2) ** shift == Fraction(real) and m < 1 << 24 and m % 2


@given(st.floats(2.0**-100, 2.0**100))
def test_float64_scales_are_kept_exactly(real):
    m, shift = float64_multiplier(real)
    assert Fraction(m) / Fraction(2) ** shift == Fraction(real) and m < 1 << 53 and m % 2


def test_equal_entries_are_one():
    assert make_multiplier(Scaling.MULTIPLY, [(3, 2), (3, 2)]) == Multiplier(Scaling.MULTIPLY, 3, 2)
    each = make_multiplier(Scaling.MULTIPLY, [(3, 2), (5, 4)])
    assert each.channels == 2 and each.entries(2, "here") == ((3, 5), (2, 4)) and each.real(1) == Fraction(5, 16)


@pytest.mark.parametrize("rule", LIMITS)
def test_the_ends_of_each_rule_are_allowed_and_what_lies_beyond_is_not(rule):
    low, high, most = LIMITS[rule]
    for m, shift in ((0, low), (most, high)):
        assert Multiplier(rule, m, shift).real() == Fraction(m) / Fraction(2) ** shift
    for m, shift, name in ((most + 1, low, "multiplier"), (-1, low, "multiplier"), (1, low - 1, "shift"), (1, high + 1, "shift")):
        with pytest.raises(ContractError, match=f"Multiplier.{name}: found .* with {rule.name}, allowed an integer in"):
            Multiplier(rule, m, shift)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Multiplier(Scaling.SHIFT, 1, 0), "a shift alone needs no Multiplier"),
        (lambda: Multiplier(1, 1, 0), "Multiplier.rule: found 1, allowed MULTIPLY"),
        (lambda: Multiplier(Scaling.MULTIPLY, 1.5, 0), "Multiplier.multiplier: found 1.5"),
        (lambda: Multiplier(Scaling.MULTIPLY, True, 0), "Multiplier.multiplier: found True"),
        (lambda: Multiplier(Scaling.MULTIPLY, (), 0), "found no channel at all"),
        (lambda: Multiplier(Scaling.MULTIPLY, (1, 2), (1, 2, 3)), "give one, or as many as multipliers"),
        (lambda: Multiplier(Scaling.MULTIPLY, (1, 2), 3).entries(3, "conv1"), "conv1: Multiplier has 2 entries for 3 output"),
        (lambda: quantized_multiplier(0.0), "scale: found 0.0, allowed a finite number above 0"),
        (lambda: quantized_multiplier(math.inf), "scale: found inf"),
        (lambda: quantized_multiplier(math.nan), "scale: found nan"),
        (lambda: float32_multiplier(0.1), "found 0.1, allowed a float32 number; round it first"),
    ],
)
def test_what_is_no_multiplier_gets_one_sentence(make, sentence):
    with pytest.raises(ContractError, match=sentence):
        make()


def test_lists_and_arrays_of_numbers_become_tuples_and_a_list_of_one_its_number():
    made = Multiplier(Scaling.MULTIPLY, np.array([3, 5]), [1, 2])
    assert made == Multiplier(Scaling.MULTIPLY, (3, 5), (1, 2))
    assert Multiplier(Scaling.MULTIPLY, (3,), 1) == Multiplier(Scaling.MULTIPLY, 3, 1)
