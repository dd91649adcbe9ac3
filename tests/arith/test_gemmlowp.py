"""The fixed-point exponential and reciprocal: the published rules written a second time, and how near the real ones they are."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.arith import gemmlowp
from hwsim.arith.rounding import Rounding
from oracles import tflite_rules as rules

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
EDGES = [0, -1, -(1 << 24), -(1 << 24) + 1, -(1 << 24) - 1, -(1 << 26), -(31 << 26), -(1 << 31) + 1, -(1 << 31)]
Q5_26 = st.sampled_from(EDGES) | st.integers(-(31 << 26), 0)


@given(INT32, INT32)
def test_the_high_product_is_rounded_up_at_ties_and_saturated(a, b):
    exact = math.floor(Fraction(a * b, 1 << 31) + Fraction(1, 2))
    assert gemmlowp.high_product(a, b) == min(exact, (1 << 31) - 1) == rules.high_mul(a, b)


@given(Q5_26)
def test_the_exponential_is_the_published_one(x):
    assert gemmlowp.exp_negative(x) == rules.exp_on_negative_values(x)


def test_the_exponential_is_near_the_real_one():
    """A Taylor polynomial of degree 4 within 1/8 of its centre errs by up to (1/8)**5 / 5!; the products' roundings add less."""
    places = np.linspace(-(31 << 26), 0, 20_001).astype(np.int64).tolist()
    worst = max(abs(gemmlowp.exp_negative(x) / 2**31 - math.exp(x / 2**26)) for x in places)
    assert worst < 0.125**5 / 120 + 16 / 2**31
    every = [gemmlowp.exp_negative(x) for x in places]
    assert min(every) >= 0 and max(every) == gemmlowp.ONE


@pytest.mark.parametrize(("bit", "factor"), rules.EXP_STEPS)
def test_each_factor_is_the_nearest_number(bit, factor):
    exact = math.exp(-(2.0 ** (bit - 26))) * 2**31
    assert abs(exact - factor) < 1 and factor in vars(gemmlowp).values()


@given(st.integers(0, (1 << 31) - 1))
def test_one_over_one_plus_is_near_the_real_one(x):
    exact = 1 / (1 + x / 2**31)
    assert abs(gemmlowp.over_one_plus(x) / 2**31 - exact) < 2.0**-27


@given(st.integers(1 << 19, (1 << 31) - 1))
def test_the_reciprocal_of_a_sum_is_the_published_one(total):
    zeros = gemmlowp.leading_zeros(total)
    assert zeros == 32 - total.bit_length()
    assert (gemmlowp.over_one_plus((total << zeros) - (1 << 31)), 12 - zeros) == rules.reciprocal(total)


@given(Q5_26, st.integers(1 << 19, (1 << 31) - 1), st.integers(1, 16))
def test_a_share_lies_between_nothing_and_all(x, total, bits):
    share = gemmlowp.softmax_share(gemmlowp.exp_negative(x), total, bits, Rounding.CEIL)
    assert 0 <= share <= 1 << bits


def test_leaves_compile_to_themselves():
    numba = pytest.importorskip("numba")
    import hwsim.backends.jit.leaves  # noqa: F401  registers what these call

    rng = np.random.default_rng(0)
    exponential, reciprocal = numba.njit(gemmlowp.exp_negative), numba.njit(gemmlowp.over_one_plus)
    for x in [*EDGES, *(-rng.integers(0, 1 << 31, 500)).tolist()]:
        assert exponential(x) == gemmlowp.exp_negative(x)
        assert reciprocal(x & ((1 << 31) - 1)) == gemmlowp.over_one_plus(x & ((1 << 31) - 1))
