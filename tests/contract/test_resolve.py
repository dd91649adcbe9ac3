"""From a contract to the integers of the datapath: shifts, aligned biases, proven bounds."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.contract.resolve import signed_width
from hwsim.errors import ProofError
from hwsim.formats import FixedPoint
from hwsim.layers import Convolution, FullyConnected
from oracles.exact import limits, rounded


def fc(x, w, weight, codes=None, acc=Accumulator(64), out=None, **more) -> FullyConnected:
    contract = MacContract(x, w, Output(out or FixedPoint(16, x.fl() + w.fl())), acc, **more)
    return FullyConnected(contract, np.array(weight), None if codes is None else np.array(codes))


def test_shifts_and_biases_follow_from_the_grids():
    x, w = FixedPoint(8, 3), FixedPoint(8, (6, 2))
    layer = fc(x, w, [[1], [1]], [5, -5], Accumulator(32, (11, 5)), FixedPoint(8, 4), bias=FixedPoint(8, (9, 7)))
    p = layer.numbers
    assert p.product_shift == (11 - 9, 5 - 5)
    assert p.bias == (5 << 2, rounded(Fraction(-5, 4), Rounding.TIES_EVEN))
    assert p.epilogue.shift == (11 - 4, 5 - 4)
    assert (p.acc_low, p.acc_high) == limits(32, True)


@pytest.mark.parametrize("mode", list(Rounding), ids=lambda mode: mode.name)
def test_a_bias_finer_than_the_accumulator_is_rounded_as_declared(mode):
    x, w = FixedPoint(8, 1), FixedPoint(8, 1)
    codes = list(range(-20, 21))
    layer = fc(x, w, [[0]] * len(codes), codes, Accumulator(16), bias=FixedPoint(8, 4), bias_rounding=mode)
    assert layer.numbers.bias == tuple(rounded(Fraction(c, 4), mode) for c in codes)


@pytest.mark.parametrize("value", [*range(-300, 300), *(s * (1 << e) + d for s in (-1, 1) for e in (31, 63) for d in (-1, 0, 1))])
def test_signed_width_is_the_narrowest_register(value):
    bits = signed_width(value)
    low, high = limits(bits, True)
    assert low <= value <= high
    if bits > 1:
        low, high = limits(bits - 1, True)
        assert not low <= value <= high


formats = st.builds(FixedPoint, st.integers(1, 2), st.just(0), st.booleans())


@settings(max_examples=60)
@given(x=formats, w=formats, data=st.data())
def test_bounds_are_reached_and_never_left_on_all_inputs(x, w, data):
    weight = data.draw(st.lists(st.lists(st.integers(w.low, w.high), min_size=3, max_size=3), min_size=2, max_size=2))
    bias = data.draw(st.lists(st.integers(-9, 9), min_size=2, max_size=2))
    lift = data.draw(st.integers(0, 2))
    layer = fc(x, w, weight, bias, Accumulator(32, lift))
    totals, exact = set(), set()
    for codes in product(range(x.low, x.high + 1), repeat=3):
        for row, b in zip(weight, bias, strict=True):
            total = sum(c * v for c, v in zip(codes, row, strict=True))
            totals.add(total)
            exact.add(total * 2**lift + b)
    p = layer.numbers
    assert (p.total_low, p.total_high) == (min(totals), max(totals))
    assert (p.exact_low, p.exact_high) == (min(exact), max(exact))


@given(
    bits=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    signed=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 1 << 30),
)
def test_bounds_of_wide_layers_are_reached_by_one_input_each(bits, signed, seed):
    x, w = FixedPoint(bits[0], 0, signed[0]), FixedPoint(bits[1], 0, signed[1])
    rng = np.random.default_rng(seed)
    weight = rng.integers(w.low, w.high, size=(1, 3, 2, 5), endpoint=True)
    layer = Convolution(MacContract(x, w, Output(FixedPoint(16, 0)), Accumulator(64)), weight)
    highest = np.where(weight[0] > 0, x.high, x.low)
    lowest = np.where(weight[0] > 0, x.low, x.high)
    reached = [layer.spec([codes[None].tolist()], 0, 0, 0, 0).acc for codes in (lowest, highest)]
    assert reached == [layer.numbers.exact_low, layer.numbers.exact_high]


def proof(bits: int, weight, bias) -> FullyConnected:
    s8 = FixedPoint(8, 0)
    return fc(s8, s8, weight, bias, Accumulator(bits, require_proof=True))


def test_a_proof_is_given_exactly_when_the_register_is_wide_enough():
    # 127 * 127 + 128 * 128 + 14 = 32527 and -(128 * 127) - 127 * 128 + 14 = -32498
    weight, bias = [[127, -128]], [14]
    assert proof(16, weight, bias).numbers.exact_high == 127 * 127 + 128 * 128 + 14
    with pytest.raises(ProofError, match="16 bits would do"):
        proof(15, weight, bias)
    full = [(1 << 15) - 1 - (127 * 127 + 128 * 128)]
    assert proof(16, weight, full).numbers.exact_high == (1 << 15) - 1
    with pytest.raises(ProofError, match="17 bits would do"):
        proof(16, weight, [full[0] + 1])
    least = [-(1 << 15) + 2 * 127 * 128]
    assert proof(16, weight, least).numbers.exact_low == -(1 << 15)
    with pytest.raises(ProofError, match="17 bits would do"):
        proof(16, weight, [least[0] - 1])


def test_a_proof_covers_every_channel():
    with pytest.raises(ProofError):
        proof(16, [[0, 0], [127, -128]], [0, 500])
