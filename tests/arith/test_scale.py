"""The rules of scaling against restatements that share nothing with them: fractions, C's integer division, numpy's floats.

Exhaustive over small values and multipliers, then at crafted places: ties of each rounding, wraps, the ends of the domain.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling, scale_value

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
EDGES = st.sampled_from([v for e in range(32) for d in (-1, 0, 1) for v in ((1 << e) + d, d - (1 << e)) if abs(v) < 1 << 31])
values = EDGES | INT32 | st.integers(-1000, 1000)
TIES = (Rounding.TIES_UP, Rounding.TIES_DOWN, Rounding.TIES_AWAY, Rounding.TIES_TO_ZERO, Rounding.TIES_EVEN, Rounding.TIES_ODD)


def nearest(x: Fraction, ties: Rounding) -> int:
    """The nearest integer, the tie as told: the definition."""
    floor = math.floor(x)
    if x - floor != Fraction(1, 2):
        return floor + (x - floor > Fraction(1, 2))
    up = {
        Rounding.TIES_UP: True,
        Rounding.TIES_DOWN: False,
        Rounding.TIES_AWAY: x > 0,
        Rounding.TIES_TO_ZERO: x < 0,
        Rounding.TIES_EVEN: floor % 2 == 1,
        Rounding.TIES_ODD: floor % 2 == 0,
    }
    return floor + up[ties]


def c_divide(a: int, b: int) -> int:
    """C's division: the fraction is cut off."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def gemmlowp(x: int, m: int, shift: int) -> int:
    """SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT with its mask, remainder and threshold."""
    left, right = max(31 - shift, 0), max(shift - 31, 0)
    x = int(np.array([x << left]).astype(object)[0]) & 0xFFFFFFFF
    x -= (x >> 31) << 32
    ab = x * m
    high = c_divide(ab + ((1 << 30) if ab >= 0 else 1 - (1 << 30)), 1 << 31)
    mask = (1 << right) - 1
    remainder, threshold = high & mask, (mask >> 1) + (1 if high < 0 else 0)
    return (high >> right) + (1 if remainder > threshold else 0)


def tosa(x: int, m: int, shift: int) -> int:
    """apply_scale_32 with double_round, in fractions: half a unit and, beyond 31, half a unit of the lost bits, then floor."""
    nudged = Fraction(x * m) + Fraction(1 << shift, 2)
    if shift > 31:
        nudged += Fraction(1 << 31, 2) * (1 if x >= 0 else -1)
    return math.floor(nudged / (1 << shift))


def by_float32(x: int, m: int, shift: int, ties: Rounding) -> int:
    with np.errstate(over="ignore", under="ignore"):
        product = np.float32(x) * np.float32(np.ldexp(np.float64(m), -shift))
    return nearest(Fraction(float(product)), ties)


def by_float64(x: int, m: int, shift: int, ties: Rounding) -> int:
    return nearest(Fraction(float(np.float64(x) * np.ldexp(np.float64(m), -shift))), ties)


def test_small_products_are_rounded_once_as_told():
    for x, m, shift in itertools.product(range(-40, 41), range(9), range(-2, 7)):
        for ties in TIES:
            assert scale_value(x, m, shift, Scaling.MULTIPLY, ties) == nearest(Fraction(x * m) / Fraction(2) ** shift, ties)


@given(values, st.integers(0, (1 << 31) - 1), st.integers(0, 62), st.sampled_from(TIES))
def test_multiply_is_the_exact_product_rounded_once(x, m, shift, ties):
    assert scale_value(x, m, shift, Scaling.MULTIPLY, ties) == nearest(Fraction(x * m, 1 << shift), ties)


multipliers = st.integers(1 << 30, (1 << 31) - 1) | st.sampled_from([1 << 30, (1 << 30) + 1, (1 << 31) - 1]) | st.integers(0, 99)


@settings(max_examples=500)
@given(values, multipliers, st.integers(0, 62))
def test_high_multiply_is_gemmlowps_two_roundings(x, m, shift):
    assert scale_value(x, m, shift, Scaling.HIGH_MULTIPLY, Rounding.TIES_AWAY) == gemmlowp(x, m, shift)


def test_high_multiply_at_every_tie_of_both_steps():
    for shift in (29, 31, 32, 34, 40):
        for m in (1 << 30, 3 << 29, (1 << 31) - 1, 0x55555555):
            for x in range(-700, 700):
                assert scale_value(x, m, shift, Scaling.HIGH_MULTIPLY, Rounding.TIES_AWAY) == gemmlowp(x, m, shift)


def test_two_roundings_are_not_one():
    """Crafted: the first step makes a tie out of less than one, or loses one."""
    once = [scale_value(x, 0x40000001, 33, Scaling.MULTIPLY, Rounding.TIES_AWAY) for x in range(-200, 200)]
    twice = [scale_value(x, 0x40000001, 33, Scaling.HIGH_MULTIPLY, Rounding.TIES_AWAY) for x in range(-200, 200)]
    assert sum(a != b for a, b in zip(once, twice, strict=True)) >= 50


@settings(max_examples=500)
@given(values, multipliers, st.integers(2, 62))
def test_double_round_is_tosas(x, m, shift):
    assert scale_value(x, m, shift, Scaling.DOUBLE_ROUND, Rounding.TIES_UP) == tosa(x, m, shift)


@settings(max_examples=500)
@given(values, st.integers(0, (1 << 24) - 1), st.integers(-20, 120), st.sampled_from(TIES))
def test_float32_is_numpys(x, m, shift, ties):
    wanted = by_float32(x, m, shift, ties)
    if abs(wanted) < 1 << 62:
        assert scale_value(x, m, shift, Scaling.FLOAT32, ties) == wanted


wide = values | st.integers(-(1 << 36) + 1, (1 << 36) - 1)


@settings(max_examples=500)
@given(wide, st.integers(0, (1 << 53) - 1), st.integers(20, 120), st.sampled_from(TIES))
def test_float64_is_numpys(x, m, shift, ties):
    wanted = by_float64(x, m, shift, ties)
    if abs(wanted) < 1 << 62:
        assert scale_value(x, m, shift, Scaling.FLOAT64, ties) == wanted


def test_float64_at_places_where_the_product_is_a_tie_of_53_bits():
    """m odd and x = 2**k + 1 leave a lone last bit behind the 53rd: to even, down and up."""
    for m in ((1 << 52) + 1, (1 << 52) + 3, (1 << 53) - 1):
        for k in range(1, 36):
            for x in ((1 << k) + 1, -(1 << k) - 1, (1 << k) - 1):
                for shift in (52 + k - 3, 52, 53):
                    assert scale_value(x, m, shift, Scaling.FLOAT64, Rounding.TIES_AWAY) == by_float64(
                        x, m, shift, Rounding.TIES_AWAY
                    )


def test_float32_beyond_two_to_the_62_stays_there():
    assert scale_value(1 << 30, (1 << 24) - 1, -30, Scaling.FLOAT32, Rounding.TIES_EVEN) == 1 << 62
    assert scale_value(-(1 << 30), (1 << 24) - 1, -30, Scaling.FLOAT32, Rounding.TIES_EVEN) == -(1 << 62)


@pytest.mark.parametrize("rule", [rule for rule in Scaling if rule is not Scaling.HIGH_MULTIPLY])
@given(data=st.data())
def test_rules_are_monotone(rule, data):
    """What bounds rest on; HIGH_MULTIPLY is too, as long as its left shift does not wrap."""
    most = {Scaling.FLOAT32: (1 << 24) - 1, Scaling.FLOAT64: (1 << 53) - 1}.get(rule, (1 << 31) - 1)
    m, shift = data.draw(st.integers(0, most)), data.draw(st.integers(2, 62))
    ties = Rounding.TIES_UP if rule is Scaling.DOUBLE_ROUND else data.draw(st.sampled_from(TIES))
    a, b = sorted((data.draw(values), data.draw(values)))
    assert scale_value(a, m, shift, rule, ties) <= scale_value(b, m, shift, rule, ties)
