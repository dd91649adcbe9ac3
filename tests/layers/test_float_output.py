"""The last stage for exact values: one rounding of integers, ratios and codes, against Fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.contract.float_mac import FloatOutput
from hwsim.contract.mac import Output
from hwsim.formats import FixedPoint, Minifloat, catalog
from hwsim.layers.float_output import finish_code, finish_exact, finish_ratio
from oracles.float_cases import FLOATS
from oracles.floats import finished, number

MODES, PLACES = st.sampled_from(list(Rounding)), st.sampled_from(list(Activation))
FIXED = st.builds(FixedPoint, st.integers(1, 32), st.integers(-20, 40), st.booleans())
STAGES = st.builds(FloatOutput, st.sampled_from(FLOATS), MODES, PLACES) | st.builds(
    Output, FIXED, MODES, st.sampled_from(list(Overflow)), PLACES
)


@settings(max_examples=400)
@given(significand=st.integers(-(1 << 90), 1 << 90) | st.integers(-9, 9), exponent=st.integers(-160, 60), output=STAGES)
def test_an_exact_value_is_rounded_once(significand, exponent, output):
    exact = significand * Fraction(2) ** exponent
    assert finish_exact(significand, exponent, output) == finished((exact < 0, abs(exact)), output)


@settings(max_examples=400)
@given(
    numerator=st.integers(-(1 << 70), 1 << 70) | st.integers(-999, 999),
    denominator=st.integers(1, 1 << 40) | st.integers(1, 49),
    exponent=st.integers(-60, 30),
    output=STAGES,
)
def test_a_ratio_is_rounded_once(numerator, denominator, exponent, output):
    exact = Fraction(numerator, denominator) * Fraction(2) ** exponent
    assert finish_ratio(numerator, denominator, exponent, output) == finished((exact < 0, abs(exact)), output)


@settings(max_examples=40)
@given(fmt=st.sampled_from([f for f in FLOATS if f.bits <= 8]), output=STAGES)
def test_every_code_of_8_bits_is_cast(fmt, output):
    for code in range(1 << fmt.bits):
        assert finish_code(code, fmt, output) == finished(number(code, fmt), output), code


@settings(max_examples=300)
@given(fmt=st.sampled_from([f for f in FLOATS if f.bits > 8]), output=STAGES, data=st.data())
def test_codes_of_wide_formats_are_cast(fmt, output, data):
    code = data.draw(st.integers(0, fmt.layout.largest)) | data.draw(st.integers(0, 1)) << (fmt.bits - 1)
    assert finish_code(code, fmt, output) == finished(number(code, fmt), output)


@given(code=st.integers(-128, 127), fl=st.integers(-9, 9), output=STAGES)
def test_a_fixed_point_code_is_cast(code, fl, output):
    fmt = FixedPoint(8, fl)
    assert finish_code(code, fmt, output) == finished(number(code, fmt), output)


@pytest.mark.parametrize("place", [Activation.RELU_BEFORE_REQUANTIZE, Activation.RELU_AFTER_REQUANTIZE])
def test_relu_makes_plus_zero_of_all_that_is_negative_and_lets_nan_pass(place):
    f = catalog.E5M2
    stage = FloatOutput(f, activation=place)
    for code, want in ((0x80, 0), (0xFC, 0), (0x81, 0), (0x7C, 0x7C), (0x7E, 0x7E), (0xFE, 0x7E), (0x3C, 0x3C)):
        assert finish_code(code, f, stage) == (want, 0)


def test_a_negative_number_that_overflows_to_nan_is_zero_only_before_the_rounding():
    before, after = (FloatOutput(catalog.E4M3, activation=Activation(place)) for place in (1, 2))
    assert finish_exact(-1000, 0, before) == (0, 0)
    assert finish_exact(-1000, 0, after) == (0xFF, 1)


def test_what_is_rounded_to_zero_keeps_its_sign_and_an_exact_zero_has_none():
    stage = FloatOutput(Minifloat(4, 3))
    assert finish_exact(-1, -40, stage) == (0x80, 0)
    assert finish_exact(0, 5, stage) == finish_ratio(0, 3, 0, stage) == (0, 0)
    assert finish_exact(0, 0, FloatOutput(Minifloat(4, 3), Rounding.FLOOR)) == (0, 0)
