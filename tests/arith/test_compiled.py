"""The leaves keep their value when numba compiles them for int64, and when C restates them, up to the edge of int64."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwsim.arith import accumulate as acc_leaves
from hwsim.arith import overflow as overflow_leaves
from hwsim.arith import requantize as requantize_leaves
from hwsim.arith import rounding as rounding_leaves
from hwsim.arith import scale as scale_leaves
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.contract.mac import ROUNDINGS
from oracles.exact import limits
from support.stages import shift_stage

MIN, MAX = -(1 << 63), (1 << 63) - 1
EDGES = sorted({x for e in range(64) for d in (-2, -1, 0, 1, 2) for x in (-(1 << e) + d, (1 << e) + d) if MIN <= x <= MAX})
int64s = st.sampled_from(EDGES) | st.integers(MIN, MAX)
modes = st.sampled_from(list(Rounding))
registers = st.sampled_from([62, 63, 64]) | st.integers(2, 64)
IN_C = (
    *("round_shift", "round_ratio", "wrap", "saturate", "fit", "sum_fits", "requantize"),
    *("high_multiply", "double_round", "float32_multiply", "float64_multiply", "scale_value"),
)


def by_numba() -> SimpleNamespace:
    """Every leaf, compiled by numba as it stands."""
    numba = pytest.importorskip("numba")
    import hwsim.backends.jit.leaves as jit

    return SimpleNamespace(**{leaf.__name__: numba.njit(leaf) for leaf in jit.LEAVES})


def by_c() -> SimpleNamespace:
    """The scalar leaves that the C core exports."""
    native = pytest.importorskip("hwsim.backends.native", reason="the native backend is not there")
    if not native.available():
        pytest.skip("the C core is not installed here")
    lib = native.require().lib
    return SimpleNamespace(**{name: getattr(lib, f"hw_{name}") for name in IN_C})


@pytest.fixture(scope="session", params=[by_numba, by_c], ids=["numba", "c"])
def leaves(request) -> SimpleNamespace:
    return request.param()


@pytest.fixture(scope="session")
def compiled() -> SimpleNamespace:
    """What only numba compiles: the C core keeps these two inside its kernels, where the conformance tests reach them."""
    return by_numba()


def left_shift_room(x: int) -> int:
    """Return by how many bits x may be shifted left within int64."""
    return 63 - (x if x >= 0 else ~x).bit_length()


def shifts(x: int) -> st.SearchStrategy[int]:
    return st.integers(-min(left_shift_room(x), 62), 62)


def agree(leaf: Callable, plain: Callable, *arguments: int) -> None:
    assert leaf(*map(int, arguments)) == plain(*arguments), arguments


@given(x=int64s, mode=modes, data=st.data())
def test_round_shift(leaves, x, mode, data):
    agree(leaves.round_shift, rounding_leaves.round_shift, x, data.draw(shifts(x)), mode)


@given(x=int64s, unit=st.integers(1, 1 << 62), mode=modes)
def test_round_ratio(leaves, x, unit, mode):
    agree(leaves.round_ratio, rounding_leaves.round_ratio, x, unit, mode)


@given(q=st.integers(-(1 << 20), 1 << 20), unit=st.integers(1, 1 << 40), data=st.data(), mode=modes)
def test_round_ratio_near_its_ties(leaves, q, unit, data, mode):
    x = q * unit + unit // 2 + data.draw(st.integers(-1, 1))
    agree(leaves.round_ratio, rounding_leaves.round_ratio, x, unit, mode)


@given(x=int64s, bits=st.integers(1, 64))
def test_wrap_signed(leaves, x, bits):
    agree(leaves.wrap, overflow_leaves.wrap, x, bits, True)


@given(x=int64s, bits=st.integers(1, 62))
def test_wrap_unsigned(leaves, x, bits):
    agree(leaves.wrap, overflow_leaves.wrap, x, bits, False)


@given(x=int64s, bits=st.integers(1, 62), signed=st.booleans(), data=st.data())
def test_fit(leaves, x, bits, signed, data):
    mode = data.draw(st.sampled_from([Overflow.WRAP, Overflow.SATURATE]))
    agree(leaves.fit, requantize_leaves.fit, x, mode, bits, signed, *limits(bits, signed, mode))


@given(bits=registers, a=int64s, data=st.data())
def test_sum_fits(leaves, bits, a, data):
    low, high = limits(bits, True)
    b = data.draw(st.sampled_from([low, low + 1, -1, 0, 1, high - 1, high]) | st.integers(low, high))
    assert bool(leaves.sum_fits(a, b, low, high)) == (low <= a + b <= high)


@given(bits=registers, data=st.data())
def test_sum_fits_where_the_room_ends(leaves, bits, data):
    low, high = limits(bits, True)
    b = data.draw(st.sampled_from([low, -1, 0, 1, high]) | st.integers(low, high))
    a = data.draw(st.sampled_from([low, high])) - b + data.draw(st.integers(-1, 1))
    if MIN <= a <= MAX:
        assert bool(leaves.sum_fits(a, b, low, high)) == (low <= a + b <= high)


@given(x=int64s, mode=modes, bits=st.integers(1, 32), signed=st.booleans(), data=st.data())
def test_requantize(leaves, x, mode, bits, signed, data):
    agree(leaves.requantize, requantize_leaves.requantize, x, data.draw(shifts(x)), mode, *limits(bits, signed))


def near(*centres: int) -> st.SearchStrategy[int]:
    """Return numbers at and beside some centres, of either sign."""
    return st.builds(lambda c, d, s: s * (c + d), st.sampled_from(centres), st.integers(-2, 2), st.sampled_from((-1, 1)))


TIES = [mode for mode in Rounding if mode.name.startswith("TIES")]
INT32 = st.integers(-(1 << 31), (1 << 31) - 1) | near(0, 1 << 12, 1 << 30).map(lambda x: min(max(x, -(1 << 31)), (1 << 31) - 1))
FACTORS = st.integers(0, (1 << 31) - 1) | st.sampled_from([0, 1, 1 << 30, (1 << 31) - 1, (1 << 30) + 1])


@given(x=INT32, m=FACTORS, shift=st.integers(0, 62), mode=modes)
def test_high_multiply(leaves, x, m, shift, mode):
    agree(leaves.high_multiply, scale_leaves.high_multiply, x, m, shift, mode)


@given(x=INT32, m=FACTORS, shift=st.integers(2, 62))
def test_double_round(leaves, x, m, shift):
    agree(leaves.double_round, scale_leaves.double_round, x, m, shift)


@settings(max_examples=400)
@example(x=MIN, m=(1 << 24) - 1, shift=70, mode=Rounding.TIES_EVEN)
@given(
    x=int64s | INT32 | near(1 << 24, 1 << 25, 3 << 23, (1 << 24) + (1 << 12), 1 << 62),
    m=st.integers(0, (1 << 24) - 1) | st.sampled_from([0, 1, 3, 1 << 23, (1 << 24) - 1]),
    shift=st.integers(-200, 200) | st.integers(0, 40),
    mode=st.sampled_from(TIES),
)
def test_float32_multiply(leaves, x, m, shift, mode):
    """In C by the processor's float32: integers beyond 24 bits are rounded as they become floats."""
    agree(leaves.float32_multiply, scale_leaves.float32_multiply, x, m, shift, mode)


@settings(max_examples=400)
@given(
    x=st.integers(-(1 << 36), (1 << 36) - 1) | st.sampled_from([-(1 << 36), (1 << 36) - 1]) | INT32 | near(0, 1 << 17),
    m=st.integers(0, (1 << 53) - 1) | st.sampled_from([0, 1, 1 << 52, (1 << 53) - 1, (1 << 52) + 1]),
    shift=st.integers(-200, 200) | st.integers(20, 90),
    mode=st.sampled_from(TIES),
)
def test_float64_multiply(leaves, x, m, shift, mode):
    """In C by the processor's float64."""
    agree(leaves.float64_multiply, scale_leaves.float64_multiply, x, m, shift, mode)


@given(q=st.integers(-(1 << 20), 1 << 20), bits=st.integers(1, 12), mode=st.sampled_from(TIES), d=st.integers(-1, 1))
def test_floats_near_their_ties(leaves, q, bits, mode, d):
    """x * m / 2**shift = q + 1/2, or one multiplier beside it."""
    x = 2 * q + 1
    agree(leaves.float32_multiply, scale_leaves.float32_multiply, x, (1 << bits) + d, bits + 1, mode)
    agree(leaves.float64_multiply, scale_leaves.float64_multiply, x, (1 << bits + 40) + d, bits + 41, mode)


@settings(max_examples=300)
@given(bits=registers, total=int64s, product_shift=st.integers(0, 62), data=st.data())
def test_accumulate(compiled, bits, total, product_shift, data):
    product_shift = min(product_shift, left_shift_room(total))
    low, high = limits(bits, True)
    bias = data.draw(st.sampled_from([low, low + 1, -1, 0, 1, high]) | st.integers(low, high))
    agree(compiled.accumulate, acc_leaves.accumulate, total, product_shift, bias, bits, low, high)


@settings(max_examples=300)
@given(
    x=int64s,
    mode=modes,
    overflow=st.sampled_from(list(Overflow)),
    activation=st.sampled_from(list(Activation)),
    bits=st.integers(1, 32),
    signed=st.booleans(),
    data=st.data(),
)
def test_finish(compiled, x, mode, overflow, activation, bits, signed, data):
    low, high = limits(bits, signed, overflow)
    shift = data.draw(shifts(x))
    stage = shift_stage(mode, overflow, activation, bits, signed, low, high)
    assert compiled.finish(x, 1, shift, stage) == requantize_leaves.finish(x, 1, shift, stage)


MULTIPLIERS = {
    Scaling.SHIFT: (1, 1),
    Scaling.MULTIPLY: (0, (1 << 31) - 1),
    Scaling.HIGH_MULTIPLY: (0, (1 << 31) - 1),
    Scaling.DOUBLE_ROUND: (0, (1 << 31) - 1),
    Scaling.FLOAT32: (0, (1 << 24) - 1),
    Scaling.FLOAT64: (0, (1 << 53) - 1),
}
"""Least and largest multiplier of each rule."""


@settings(max_examples=600)
@given(
    x=st.sampled_from([x for x in EDGES if -(1 << 31) <= x < 1 << 31]) | st.integers(-(1 << 31), (1 << 31) - 1),
    rule=st.sampled_from(Scaling),
    shift=st.integers(2, 62),
    data=st.data(),
)
def test_scale_value(leaves, x, rule, shift, data):
    """Every rule, with values of 32 bits and its widest multipliers."""
    mode = data.draw(st.sampled_from(ROUNDINGS.get(rule, tuple(Rounding))))
    least, most = MULTIPLIERS[rule]
    multiplier = data.draw(st.sampled_from([least, most]) | st.integers(least, most))
    agree(leaves.scale_value, scale_leaves.scale_value, x, multiplier, shift, rule, mode)


@settings(max_examples=300)
@given(
    x=int64s,
    overflow=st.sampled_from(list(Overflow)),
    activation=st.sampled_from(list(Activation)),
    bits=st.integers(1, 32),
    signed=st.booleans(),
    data=st.data(),
)
def test_finish_stochastic(compiled, x, overflow, activation, bits, signed, data):
    shift = data.draw(shifts(x))
    most = (1 << max(shift, 0)) - 1
    noise = data.draw(st.integers(0, most) | st.just(most))
    arguments = (x, shift, noise, overflow, activation, bits, signed, *limits(bits, signed, overflow))
    agree(compiled.finish_stochastic, requantize_leaves.finish_stochastic, *arguments)
