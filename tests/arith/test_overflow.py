"""Wrap, saturate, fit and sum_fits against their meaning, exhaustively in narrow registers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.arith.accumulate import accumulate, total_of
from hwsim.arith.overflow import (
    Overflow,
    code_max,
    code_min,
    fits,
    saturate,
    sum_fits,
    wrap,
    wrap_signed,
    wrap_unsigned,
)
from hwsim.arith.requantize import fit
from oracles.exact import fitted, limits, wrapped

signs = pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])


@signs
@pytest.mark.parametrize("bits", range(1, 9))
def test_wrap_is_the_congruent_code(bits, signed):
    low, high = limits(bits, signed)
    assert (code_min(bits, signed), code_max(bits, signed)) == (low, high)
    for x in range(-(4 << bits) - 1, (4 << bits) + 2):
        code = wrap(x, bits, signed)
        assert low <= code <= high and (x - code) % 2**bits == 0, x
        assert code == wrapped(x, bits, signed)


@signs
@given(x=st.integers(-(1 << 130), 1 << 130), bits=st.integers(1, 64))
def test_wrap_of_any_integer_at_any_width(signed, x, bits):
    assert wrap(x, bits, signed) == wrapped(x, bits, signed)


@signs
@pytest.mark.parametrize("mode", list(Overflow), ids=lambda mode: mode.name)
@pytest.mark.parametrize("bits", range(1, 9))
def test_fit_and_fits_over_four_times_the_register(bits, mode, signed):
    low, high = limits(bits, signed, mode)
    for x in range(-(4 << bits) - 1, (4 << bits) + 2):
        assert fit(x, mode, bits, signed, low, high) == fitted(x, mode, bits, signed), x
        assert bool(fits(x, low, high)) == (x in range(low, high + 1)), x
        assert saturate(x, low, high) == min(range(low, high + 1), key=lambda code: abs(code - x)), x


@pytest.mark.parametrize("bits", range(2, 6))
def test_sum_fits_for_every_pair(bits):
    low, high = limits(bits, True)
    for a in range(4 * low, 4 * high + 1):
        for b in range(low, high + 1):
            assert bool(sum_fits(a, b, low, high)) == (a + b in range(low, high + 1)), (a, b)


@pytest.mark.parametrize("bits", range(2, 6))
def test_accumulate_is_the_sum_modulo_the_register_with_its_event(bits):
    low, high = limits(bits, True)
    for shift in range(3):
        for total in range(3 * low, 3 * high + 1):
            for bias in range(low, high + 1):
                exact = total * 2**shift + bias
                want = (wrapped(exact, bits, True), int(exact not in range(low, high + 1)))
                assert accumulate(total, shift, bias, bits, low, high) == want, (total, shift, bias)


@given(bits=st.integers(2, 64), total=st.integers(-(1 << 63), (1 << 63) - 1), data=st.data())
def test_accumulate_up_to_64_bits(bits, total, data):
    low, high = limits(bits, True)
    bias = data.draw(st.integers(low, high) | st.sampled_from([low, high, 0]))
    want = (wrapped(total + bias, bits, True), int(not low <= total + bias <= high))
    assert accumulate(total, 0, bias, bits, low, high) == want


@given(st.lists(st.tuples(st.integers(-(1 << 70), 1 << 70), st.integers(-(1 << 70), 1 << 70)), max_size=9))
def test_dot_is_exact(pairs):
    assert total_of([x * w for x, w in pairs]) == sum(x * w for x, w in pairs)


@pytest.mark.parametrize("bits", [1, 2, 8, 16, 32, 33, 62, 63, 64])
def test_an_int64_array_wraps_as_its_elements_do(bits):
    values = sorted({s * (1 << e) + d for s in (-1, 1) for e in range(63) for d in (-1, 0, 1)} | {-(1 << 63), (1 << 63) - 1})
    array = np.array(values, dtype=np.int64)
    assert wrap_signed(array, bits).tolist() == [wrapped(x, bits, True) for x in values]
    if bits <= 62:
        assert wrap_unsigned(array, bits).tolist() == [wrapped(x, bits, False) for x in values]
    low, high = limits(bits, True)
    assert fits(array, low, high).tolist() == [low <= x <= high for x in values]
