"""Certificates of sums of minifloats against brute force: every finite input of tiny formats, by the oracle of Fractions."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwsim.arith.rounding import Rounding
from hwsim.contract import MacContract, Output, Schedule, Tail, ZeroSkip
from hwsim.contract.float_mac import ExactSum, FloatAccumulator, FloatMacContract, FloatOutput
from hwsim.errors import ContractError
from hwsim.execute.single import Linear
from hwsim.formats import FixedPoint, Minifloat, PowerOfTwo
from hwsim.formats.catalog import E2M1, E4M3
from hwsim.formats.minifloat import Specials
from hwsim.layers import Convolution, FullyConnected, Shape
from hwsim.proofs.float_prove import prove_float
from oracles import floats as oracle
from oracles.float_cases import schedule_of, words
from oracles.generate import refusing, seeds

E2M0 = Minifloat(2, 0, specials=Specials.FN)
INPUTS = [E2M0, E2M1, Minifloat(2, 1), FixedPoint(2, 1), FixedPoint(2, 0, signed=False)]
WEIGHTS = [E2M1, Minifloat(3, 1), FixedPoint(3, 1), FixedPoint(4, (0, 2)), PowerOfTwo(-2, 1)]
REGISTERS = [Minifloat(3, 2), Minifloat(3, 1, saturate=True), Minifloat(4, 2), Minifloat(3, 2, subnormals=False), Minifloat(4, 1)]


def finite(fmt) -> list[int]:
    """Codes that stand for numbers."""
    if isinstance(fmt, FixedPoint):
        return list(range(fmt.low, fmt.high + 1))
    return [code for code in range(1 << fmt.bits) if isinstance(fmt.decode(code), Fraction)]


@st.composite
def tiny_layers(draw, exact: bool):
    """(layer, input shape) of at most three taps."""
    rng = np.random.default_rng(draw(seeds))
    x, w, register = (draw(st.sampled_from(options)) for options in (INPUTS, WEIGHTS, REGISTERS))
    rounding = st.sampled_from(list(Rounding))
    short = draw(st.none() | st.sampled_from([Minifloat(2, 2), Minifloat(3, 1)]))
    acc = ExactSum() if exact else FloatAccumulator(register, draw(rounding), short, draw(rounding), schedule_of(rng))
    bias = draw(st.none() | st.sampled_from([FixedPoint(3, 1), FixedPoint(4, (0, 3)), E2M1]))
    contract = FloatMacContract(x, w, FloatOutput(E4M3), acc, bias, draw(rounding))
    c, r, s = draw(st.sampled_from([(1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 1, 3), (1, 3, 1)] + [(3, 1, 1)] * (len(finite(x)) < 9)))
    if isinstance(x, Minifloat) and x.bits > 3 and c * r * s > 2:
        c, r, s = 2, 1, 1
    codes = words(rng, w, (2, c * r * s), finite=True)
    biases = words(rng, contract.bias_format(2), (2,), finite=True) if draw(st.booleans()) else None
    if draw(st.booleans()):
        return refusing(FullyConnected, contract, codes, biases), Shape(c, r, s)
    pad = draw(st.tuples(st.integers(0, 1), st.integers(0, 1)))
    layer = refusing(Convolution, contract, codes.reshape(2, c, r, s), biases, pad=pad)
    shape = Shape(c, r, draw(st.integers(1, 2)))
    refusing(layer.output_shape, [shape])
    return layer, shape


def cells(layer, shape):
    """(k, cell of the oracle) of every finite input and output, pixels that an output does not read left alone."""
    out, codes, pixels = layer.output_shape([shape]), finite(layer.contract.input), shape.c * shape.h * shape.w
    assume(len(codes) ** pixels * out.h * out.w <= 600)
    for filled in product(codes, repeat=pixels):
        x = np.array(filled).reshape(1, *shape)
        for k, y, column in product(range(out.c), range(out.h), range(out.w)):
            yield k, oracle.output_at(layer, x, (0, k, y, column))


@settings(max_examples=40)
@given(tiny_layers(exact=True))
def test_an_exact_sum_reaches_its_ends_and_no_more(case):
    layer, shape = case
    proof = prove_float(layer, shape)
    found = [[acc for at, (_, acc, _) in seen if at == k] for seen in [list(cells(layer, shape))] for k in range(2)]
    units = [Fraction(2) ** e for e in layer.unit.exponents]
    ends = [(low / u, high / u) for low, high, u in zip(proof.low, proof.high, units, strict=True)]
    assert ends == [(min(line), max(line)) for line in found]
    for k, line in enumerate(found):
        register = 1 << (int(proof.bits[k]) - 1)
        assert -register <= min(line) and max(line) < register and proof.bits[k] <= proof.declared_bits


@settings(max_examples=80)
@given(tiny_layers(exact=False))
def test_a_float_register_is_safe_where_no_finite_input_overflows_an_add(case):
    layer, shape = case
    proof, fmt = prove_float(layer, shape), layer.contract.accumulator.format
    seen = list(cells(layer, shape))
    for k in range(2):
        overflows = any(events[0] + events[2] for at, (_, _, events) in seen if at == k)
        assert not (proof.safe[k] and overflows)
        if proof.tight:
            assert proof.safe[k] == (not overflows)
        if not proof.safe[k]:
            assert proof.headroom[k] < 0
            continue
        ends = [fmt.decode(acc) for at, (_, acc, _) in seen if at == k]
        assert proof.low[k] <= min(ends) and max(ends) <= proof.high[k]
        if proof.tight:
            assert (proof.low[k], proof.high[k]) == (min(ends), max(ends))
        most = max(abs(proof.low[k]), abs(proof.high[k]))
        assert proof.headroom[k] >= 0 and (not most or most * 2 ** int(proof.headroom[k]) <= fmt.largest)


def test_regrouped_sums_are_safe_by_a_bound_or_not_at_all():
    """Lanes that close up by what is read: proven with room for every rounding, and said to be no witness."""
    packed = Schedule(lanes=2, tail=Tail.PACKED, lane_axis=list(type(Schedule().lane_axis))[2], skip_zeros=ZeroSkip.INPUT)
    wide = FloatMacContract(E2M1, E2M1, FloatOutput(E4M3), FloatAccumulator(Minifloat(5, 10), schedule=packed))
    tight = FloatMacContract(E2M1, E2M1, FloatOutput(E4M3), FloatAccumulator(Minifloat(4, 3), schedule=packed))
    weight = np.full((1, 8), 7)
    for contract, safe in ((wide, True), (tight, False)):
        proof = prove_float(Linear().layer(weight, contract), Shape(1, 1, 8))
        assert (proof.tight, proof.safe.item()) == (False, safe) and "left out" in proof.reason
    assert proof.to_json()["safe"] == [False]


def test_a_layer_in_integers_is_refused():
    s8 = FixedPoint(8, 0)
    layer = Linear().layer(np.array([[1]]), MacContract(s8, s8, Output(s8)))
    with pytest.raises(ContractError, match="prove\\(\\) takes integers"):
        prove_float(layer, Shape(1, 1, 1))
