"""Explanations of float units: the rows add up as Fractions do, and end in the specification's word and events."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.arith.accumulate import Pairing
from hwsim.arith.minifloat import Specials
from hwsim.arith.rounding import Rounding
from hwsim.contract import (
    Activation,
    Axis,
    BiasPoint,
    ExactSum,
    FloatAccumulator,
    FloatMacContract,
    FloatOutput,
    Order,
    Output,
    PaddedTaps,
    Schedule,
    Tree,
    ZeroSkip,
)
from hwsim.errors import InputError
from hwsim.execute.explain import explain
from hwsim.execute.explanation import Explanation
from hwsim.formats import FixedPoint, Minifloat
from hwsim.formats.catalog import BINARY16, E4M3, E5M2
from hwsim.layers import Convolution

NARROW = Minifloat(3, 2)  # largest 14: overflows, infinities and NaN
SATURATING = Minifloat(3, 3, specials=Specials.NONE, saturate=True)
roundings = st.sampled_from(list(Rounding))


@st.composite
def registers(draw: st.DrawFn) -> FloatAccumulator:
    schedule = Schedule(
        draw(st.sampled_from(Order)),
        draw(st.integers(1, 5)),
        draw(st.sampled_from(Axis)),
        tree=Tree(draw(st.sampled_from(Pairing))),
        bias=draw(st.sampled_from(BiasPoint)),
        padded=draw(st.sampled_from(PaddedTaps)),
        skip_zeros=draw(st.sampled_from(ZeroSkip)),
    )
    product = draw(st.sampled_from((None, NARROW, SATURATING)))
    fmt = draw(st.sampled_from((NARROW, SATURATING, E4M3, BINARY16)))
    return FloatAccumulator(fmt, draw(roundings), product, draw(roundings), schedule)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Convolution, np.ndarray]:
    """A convolution of minifloats; its inputs may be infinite or NaN."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    acc = draw(st.just(ExactSum()) | registers())
    outputs = (FloatOutput(E5M2, activation=draw(st.sampled_from(Activation))), Output(FixedPoint(8, 2)))
    reals = np.round(rng.normal(0, 1.5, (1, 3, 4, 5)) * 4) / 4 * rng.integers(0, 2, (1, 3, 4, 5))
    codes = E5M2.encode_array(reals)
    if draw(st.integers(0, 4)) == 0:
        codes[0, rng.integers(3), rng.integers(4), rng.integers(5)] = draw(st.sampled_from((0x7C, 0xFC, 0x7E, 0x80)))
    weights = E4M3.encode_array(np.round(rng.normal(0, 1, (2, 3, 2, 3)) * 4) / 4)
    bias = BINARY16.encode_array(np.array([0.375, -1.5])) if draw(st.booleans()) else None
    contract = FloatMacContract(E5M2, E4M3, draw(st.sampled_from(outputs)), acc, BINARY16)
    return Convolution(contract, weights, bias, (2, 1), (1, 0)), codes


def same(a, b) -> bool:
    return a == b or (a != a and b != b)


def finite(*values) -> bool:
    return all(abs(v) != float("inf") and v == v for v in values)


def check_story(found: Explanation) -> None:
    """The rows join, and each adds what it says; the line without limits is the exact sum of the products."""
    held, exact = Fraction(0), Fraction(0)
    for row in found.rows:
        assert row.lanes == () or row.kind.name in ("STEP", "SUM")
        if row.kind.name != "SUM":
            assert same(row.before, held)
        if finite(row.before, row.adds):
            assert row.exact == Fraction(row.before) + Fraction(row.adds)
        if len(row.lanes) == 1 and finite(row.adds):
            assert row.adds == row.lanes[0].product
        held = row.after
        exact = row.unlimited
    assert same(found.held, held)
    assert not finite(exact) or isinstance(exact, Fraction)


@settings(max_examples=120)
@given(cases(), st.integers(0, 1), st.integers(0, 1), st.integers(0, 2))
def test_the_last_row_is_the_specifications_cell(case: tuple[Convolution, np.ndarray], k: int, y: int, x: int) -> None:
    layer, codes = case
    found, cell = explain(layer, (0, k, y, x), codes), layer.spec([codes.tolist()], 0, k, y, x)
    check_story(found)
    assert (found.acc, found.code, found.events) == (cell.acc, cell.code, cell.events)
    register = layer.contract.accumulator
    if isinstance(register, ExactSum):
        assert found.held == cell.acc * Fraction(2) ** layer.unit.exponents[k]
    else:
        assert same(float(found.held), float(register.format.to_real(np.array([cell.acc]))[0]))
        taken = [lane.tap for row in found.rows for lane in row.lanes if lane.tap is not None]
        assert len(set(taken)) == len(taken)
    tree, accumulator, spill = (sum(row.events[i] for row in found.rows) for i in range(3))
    assert (tree, accumulator, spill, found.ending.event) == tuple(cell.events[i] for i in (2, 0, 3, 1))
    real = layer.output_format.to_real(np.array([found.code]))[0]
    assert same(float(found.ending.real), float(real))
    assert str(found) and found.to_json()["code"] == cell.code


def linear(acc, reals_x: list[float], reals_w: list[float]) -> Explanation:
    x, w = E4M3.encode_array(np.array(reals_x)), E4M3.encode_array(np.array(reals_w))
    layer = hwsim.Linear().layer(w.reshape(1, -1), FloatMacContract(E4M3, E4M3, FloatOutput(E4M3), acc))
    return explain(layer, (0, 0, 0, 0), x.reshape(1, -1, 1, 1))


def test_the_exact_line_is_the_sum_of_the_products() -> None:
    xs, ws = [1.5, -2, 0.875, 30, -12], [2, 3.5, -1, 4, 8]
    sums = np.cumsum(np.array(xs) * np.array(ws))
    found = linear(FloatAccumulator(E4M3), xs, ws)
    assert [float(row.unlimited) for row in found.rows] == sums.tolist()
    assert [float(row.after) for row in found.rows] == [3, -4, -5, 112, 16], "by hand: steps of 0.5 at -4.875, of 8 at 115"
    assert linear(ExactSum(), xs, ws).held == Fraction(sums[-1])


def test_overflow_of_a_float_register_is_drawn_and_named(tmp_path) -> None:
    found = linear(FloatAccumulator(NARROW), [3, 4, -2, 0.5], [4, 2, 3, 1])
    assert [row.after for row in found.rows] == [12, float("inf"), float("inf"), float("inf")]
    assert [row.events.accumulator for row in found.rows] == [0, 1, 0, 0]
    assert "accumulator (transient)" in str(found), "the exact 14.5 rounds to 14, which is a number"
    found.plot(tmp_path / "inf.png")
    assert (tmp_path / "inf.png").exists()


def test_a_sum_without_a_step_is_zero_and_can_be_drawn(tmp_path) -> None:
    found = linear(FloatAccumulator(E4M3, schedule=Schedule(skip_zeros=ZeroSkip.INPUT)), [0, 0], [1, 2])
    assert (found.rows, found.held, found.code) == ((), 0, 0)
    found.plot(tmp_path / "nothing.png")
    assert (tmp_path / "nothing.png").exists()


def test_of_minifloats_the_output_must_be_named() -> None:
    one = E4M3.encode_array(np.ones((1, 1)))
    layer = hwsim.Linear().layer(one, FloatMacContract(E4M3, E4M3, FloatOutput(E4M3), FloatAccumulator(NARROW)))
    with pytest.raises(InputError, match="minifloats do not tell which outputs overflowed; name the one to explain"):
        explain(layer, None, one.reshape(1, 1, 1, 1))
