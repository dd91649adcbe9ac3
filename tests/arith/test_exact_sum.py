"""The multiword register against Python's own integers, and compiled as it stands; its width against the sums it must hold."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.arith import exact_sum as plain
from hwsim.arith.exact_sum import Span, register_of
from hwsim.arith.float_finish import FloatFinish, finish_exact
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.formats import Minifloat, catalog
from oracles.exact import limits, stored
from oracles.float_cases import FLOATS
from oracles.floats import code_of, largest, least, round_to


def by_numba() -> SimpleNamespace:
    numba = pytest.importorskip("numba")
    import hwsim.backends.jit.leaves as jit

    names = ("add_to_limbs", "carry_limbs", "round_limbs", "pack_words", "finish_exact")
    leaves = {leaf.__name__: leaf for leaf in jit.LEAVES}
    return SimpleNamespace(**{name: numba.njit(leaves[name]) for name in names}, array=lambda x: np.array(x, dtype=np.int64))


def by_python() -> SimpleNamespace:
    names = ("add_to_limbs", "carry_limbs", "round_limbs", "pack_words")
    return SimpleNamespace(**{name: getattr(plain, name) for name in names}, finish_exact=finish_exact, array=list)


@pytest.fixture(scope="session", params=[by_python, by_numba], ids=["python", "numba"])
def leaves(request) -> SimpleNamespace:
    return request.param()


SIGNIFICANDS = st.integers(0, (1 << 48) - 1) | st.sampled_from([1, (1 << 48) - 1, 1 << 47, (1 << 32) - 1, 1 << 32])
ADDENDS = st.lists(st.tuples(st.integers(0, 1), SIGNIFICANDS, st.integers(0, 300)), max_size=12)
FORMATS = [f for f in FLOATS if f.bits <= 16] + [catalog.BINARY32]


def summed(leaves, start: int, addends, words: int):
    limbs = leaves.array(plain.to_limbs(start, 2 * words + 3))
    for addend in addends:
        leaves.add_to_limbs(limbs, *addend)
    leaves.carry_limbs(limbs)
    return limbs


@settings(max_examples=150)
@given(start=st.integers(-(1 << 350), 1 << 350), addends=ADDENDS)
def test_limbs_hold_the_sum_and_its_words(leaves, start, addends):
    words = 6
    limbs = summed(leaves, start, addends, words)
    total = start + sum((-m if sign else m) * 2**shift for sign, m, shift in addends)
    packed = leaves.array([0] * words)
    leaves.pack_words(limbs, packed)
    assert plain.from_words([int(w) for w in packed]) == total
    assert [int(limb) for limb in limbs] == [total // 2 ** (32 * i) % 2**32 for i in range(len(limbs))]


def test_carries_of_very_many_products_fit(leaves):
    """Limbs take up carries for as long as a layer's taps: here, each as large as it gets, on the same limb."""
    limbs = leaves.array([0] * 7)
    for _ in range(1000):
        leaves.add_to_limbs(limbs, 1, (1 << 48) - 1, 31)
    biggest = max(abs(int(limb)) for limb in limbs)
    assert biggest * ((1 << 28) // 1000 + 1) + (1 << 32) < 1 << 63
    leaves.carry_limbs(limbs)
    total = -1000 * ((1 << 48) - 1) * 2**31
    assert [int(limb) for limb in limbs] == [total // 2 ** (32 * i) % 2**32 for i in range(7)]


@settings(max_examples=400)
@given(
    total=st.integers(-(1 << 200), 1 << 200) | st.integers(-(1 << 70), 1 << 70) | st.integers(-9, 9),
    low=st.integers(0, 120),
    exponent=st.integers(-260, 20),
    f=st.sampled_from(FORMATS),
    mode=st.sampled_from(list(Rounding)),
)
def test_a_sum_of_any_width_rounds_once_to_a_minifloat(leaves, total, low, exponent, f, mode):
    total <<= low
    limbs = summed(leaves, total, [], 6)
    sign, significand, at, beyond = (int(x) for x in leaves.round_limbs(limbs, exponent, 1, 0))
    rule = FloatFinish(1, int(mode), 0, f.layout, 0, 0, 0, 0, 0, 0)
    made = tuple(int(x) for x in leaves.finish_exact(sign, significand, at, beyond, rule))
    exact = abs(total) * Fraction(2) ** exponent
    number, event = round_to((total < 0, exact), f, mode)
    assert made == (code_of(number, f), event)
    whole = finish_exact(int(total < 0), abs(total), exponent, 0, rule)  # in Python ints without a window
    assert whole == made


@settings(max_examples=400)
@given(
    total=st.integers(-(1 << 200), 1 << 200) | st.integers(-(1 << 70), 1 << 70) | st.integers(-9, 9),
    exponent=st.integers(-230, 90),
    bits=st.integers(1, 32),
    signed=st.booleans(),
    fl=st.integers(-20, 40),
    mode=st.sampled_from(list(Rounding)),
    overflow=st.sampled_from(list(Overflow)),
    activation=st.sampled_from(list(Activation)),
)
def test_a_sum_of_any_width_rounds_once_to_fixed_point(leaves, total, exponent, bits, signed, fl, mode, overflow, activation):
    low, high = limits(bits, signed, overflow)
    layout = catalog.BINARY32.layout
    rule = FloatFinish(0, int(mode), int(activation), layout, fl, int(overflow), bits, int(signed), low, high)
    limbs = summed(leaves, total, [], 6)
    sign, significand, at, beyond = (int(x) for x in leaves.round_limbs(limbs, exponent, 0, fl))
    made = tuple(int(x) for x in leaves.finish_exact(sign, significand, at, beyond, rule))
    assert made == stored(total * Fraction(2) ** exponent, fl, bits, signed, mode, overflow, activation)
    assert finish_exact(int(total < 0), abs(total), exponent, 0, rule) == made


@pytest.mark.parametrize("f", [*FORMATS, Minifloat(8, 23, bias=-500)], ids=str)
def test_a_span_is_the_grid_and_the_largest_number_of_a_format(f):
    span = plain.float_span(f.layout)
    assert Fraction(2) ** span.exponent == least(f)
    assert span.largest * least(f) == largest(f)


@given(
    x=st.builds(Span, st.integers(-300, 300), st.integers(1, 1 << 300)),
    w=st.builds(Span, st.integers(-300, 300), st.integers(1, 1 << 300)),
    taps=st.integers(1, 1 << 28),
    bias=st.integers(0, 1 << 600),
)
def test_a_register_holds_every_sum_and_not_a_bit_more(x, w, taps, bias):
    register = register_of(x, w, taps, bias)
    most = taps * x.largest * w.largest + bias
    assert -(2 ** (register.bits - 1)) <= -most and most < 2 ** (register.bits - 1)
    assert most >= 2 ** (register.bits - 2)
    assert register.exponent == x.exponent + w.exponent


def test_binary32_times_binary32_is_held_too():
    span = plain.float_span(catalog.BINARY32.layout)
    register = register_of(span, span, 1)
    assert (register.exponent, register.bits, register.words) == (-298, 555, 9)
