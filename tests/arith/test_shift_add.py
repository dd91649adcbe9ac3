"""The shift-add product is the exact product, rounded once where its guard bits end; and no multiplier makes it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from fractions import Fraction
from types import FunctionType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.arith import rounding as rounding_leaves
from hwsim.arith.rounding import Rounding
from hwsim.arith.shift_add import SignOrder, negate, shift_add_product
from hwsim.formats.pow2 import PowerOfTwo, ZeroCode
from oracles.exact import rounded

INT8 = np.arange(-128, 128, dtype=np.int64)
RISTRETTO = PowerOfTwo(-8, -1, ZeroCode.NONE)
MULTIPLYING = (ast.Mult, ast.MatMult, ast.Pow, ast.Div, ast.FloorDiv, ast.Mod)
by_mode = pytest.mark.parametrize("mode", list(Rounding), ids=lambda mode: mode.name)
by_order = pytest.mark.parametrize("order", list(SignOrder), ids=lambda order: order.name)


def oracle(x: int, weight: Fraction, guard_bits: int, mode: Rounding, order: SignOrder) -> int:
    scale = Fraction(2) ** guard_bits
    if order == SignOrder.BEFORE_ROUNDING:
        return rounded(x * weight * scale, mode)
    magnitude = rounded(x * abs(weight) * scale, mode)
    return -magnitude if weight < 0 else magnitude


@by_order
@by_mode
def test_every_int8_by_every_weight_and_guard_bit(mode, order):
    expected: dict[tuple, list[int]] = {}  # what is left of the binary point is all that matters to the oracle
    for code in PowerOfTwo(-8, 3, ZeroCode.NONE).codes:
        weight = PowerOfTwo(-8, 3, ZeroCode.NONE).decode(code)
        exponent = abs(weight).numerator.bit_length() - abs(weight).denominator.bit_length()
        for guard_bits in range(10):
            scaled = weight * Fraction(2) ** guard_bits
            if scaled not in expected:
                expected[scaled] = [oracle(int(x), scaled, 0, mode, order) for x in INT8]
            got = shift_add_product(INT8, int(weight < 0), exponent, guard_bits, mode, order)
            assert got.tolist() == expected[scaled], (weight, guard_bits)


@by_order
@by_mode
def test_plain_ints_as_arrays(mode, order):
    for x in range(-128, 128, 3):
        for exponent in range(-8, 2):
            for negative in (0, 1):
                weight = (-1) ** negative * Fraction(2) ** exponent
                for guard_bits in (0, 3):
                    got = shift_add_product(x, negative, exponent, guard_bits, mode, order)
                    assert got == oracle(x, weight, guard_bits, mode, order), (x, weight, guard_bits)


@given(
    x=st.integers(-(1 << 15), (1 << 15) - 1),
    negative=st.integers(0, 1),
    exponent=st.integers(-62, 30),
    guard_bits=st.integers(0, 16),
    mode=st.sampled_from(list(Rounding)),
    order=st.sampled_from(list(SignOrder)),
)
def test_any_int16(x, negative, exponent, guard_bits, mode, order):
    weight = (-1) ** negative * Fraction(2) ** exponent
    assert shift_add_product(x, negative, exponent, guard_bits, mode, order) == oracle(x, weight, guard_bits, mode, order)


def test_enough_guard_bits_are_exact_and_fewer_are_not():
    for exponent in range(-8, 4):
        enough = max(0, -exponent)
        for guard_bits in range(10):
            scaled = [int(x) * Fraction(2) ** (exponent + guard_bits) for x in INT8]
            got = [
                shift_add_product(INT8, 0, exponent, guard_bits, mode, order).tolist() == scaled
                for mode in Rounding
                for order in SignOrder
            ]
            assert set(got) == {guard_bits >= enough}, (exponent, guard_bits)


def differing(mode: Rounding, exponents: range, guard_bits: int) -> Fraction:
    """Return the share of negative int8 products that the sign order changes, over all exponents alike."""
    count = 0
    for e in exponents:
        before, after = (shift_add_product(INT8, 1, e, guard_bits, mode, order) for order in SignOrder)
        count += int((before != after).sum())
    return Fraction(count, len(INT8) * len(exponents))


def test_the_sign_order_matters_to_floor_wherever_a_bit_is_dropped():
    # s dropped bits leave int8 exact once in 2**s: for s = 1..8, 1 - (1/2 + ... + 1/256) / 8 = 87.5 % of negative weights'
    # products, and 80.6 % for s = 1..5
    for guard_bits in range(9):
        exact = sum((Fraction(1, 2**s) for s in range(1 - guard_bits, 9 - guard_bits) if s > 0), Fraction(0))
        exact += min(guard_bits, 8)  # nothing dropped
        assert differing(Rounding.FLOOR, range(-8, 0), guard_bits) == 1 - exact / 8
    assert differing(Rounding.FLOOR, range(-8, 0), 0) == Fraction(1793, 2048)
    assert differing(Rounding.FLOOR, range(-5, 0), 0) == Fraction(129, 160)


@by_mode
def test_modes_symmetric_about_zero_do_not_see_the_sign_order(mode):
    symmetric = {
        Rounding.TOWARD_ZERO,
        Rounding.AWAY_FROM_ZERO,
        Rounding.TIES_AWAY,
        Rounding.TIES_TO_ZERO,
        Rounding.TIES_EVEN,
        Rounding.TIES_ODD,
    }
    assert (differing(mode, range(-8, 0), 0) == 0) == (mode in symmetric)


def test_negate_at_the_edges():
    values = [0, 1, -1, 127, -128, (1 << 63) - 1, 1 - (1 << 63)]
    assert [negate(x, 1) for x in values] == [0 - x for x in values]
    assert [negate(x, 0) for x in values] == values
    assert negate(np.array(values), 1).tolist() == [0 - x for x in values]


def call_tree(function: FunctionType, seen: dict[str, ast.AST]) -> dict[str, ast.AST]:
    """Return the syntax tree of a function and of every function that it reaches by name."""
    if function.__name__ not in seen:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        seen[function.__name__] = tree
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                assert isinstance(node.func, ast.Name), f"{function.__name__} calls {ast.unparse(node.func)}"
                called = function.__globals__[node.func.id]  # a KeyError would be a builtin: pow, sum, divmod
                call_tree(called, seen)
    return seen


def multiplications(function: FunctionType) -> list[str]:
    nodes = ((name, node) for name, tree in call_tree(function, {}).items() for node in ast.walk(tree))
    return [name for name, node in nodes if isinstance(node, MULTIPLYING)]


def test_no_multiplication_in_the_whole_call_tree():
    assert call_tree(shift_add_product, {}).keys() == {"shift_add_product", "negate", "round_shift", "increment"}
    assert multiplications(shift_add_product) == []


def test_a_multiplication_would_be_seen():
    assert multiplications(rounding_leaves.round_ratio) != []
