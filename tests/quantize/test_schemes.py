"""Schemes: formats follow from the rules, networks of mixed schemes run alike on every backend, files keep them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import hwsim
from hwsim.arith.overflow import Overflow
from hwsim.contract import (
    EXACT32,
    RISTRETTO_GPU,
    Accumulator,
    ExactSum,
    FloatAccumulator,
    FloatMacContract,
    MacContract,
    Minifloats,
    Order,
    Schedule,
    Scheme,
)
from hwsim.errors import ContractError, HwsimError, InputError
from hwsim.formats import FixedPoint, Minifloat, PowerOfTwo
from hwsim.formats.catalog import BINARY16, E4M3, E5M2
from hwsim.formats.pow2 import ZeroCode
from hwsim.network.quantized import QuantizedNetwork
from support.float_networks import fire, pixels

SATURATING = replace(E5M2, saturate=True)
REGISTER = Minifloats(E5M2, FloatAccumulator(BINARY16))


def quantized(scheme: Scheme, **options) -> QuantizedNetwork:
    return hwsim.quantize(fire(), pixels(12), scheme=scheme, **options)


def same_everywhere(network: QuantizedNetwork) -> None:
    """Codes, accumulators and events of spec and of what auto chooses, layer by layer."""
    image = pixels(1, seed=9)
    want = hwsim.run(network, image, backend="spec")
    for backend in ("jit", "auto"):
        for got in hwsim.run(network, image, backend=backend):
            reference = want[got.name]
            np.testing.assert_array_equal(got.codes, reference.codes, err_msg=f"{backend} {got.name}")
            assert got.events == reference.events
            if reference.acc is not None:
                np.testing.assert_array_equal(got.acc, reference.acc)


def test_powers_reach_the_one_nearest_to_the_largest_weight_with_a_code_for_zero():
    for node in quantized(Scheme.POWER_OF_TWO).mac_nodes:
        fmt = node.layer.contract.weight
        largest = Fraction(float(np.abs(node.source.weight).max()))
        assert isinstance(fmt, PowerOfTwo) and fmt.zero is ZeroCode.FIRST and fmt.bits == 4
        # nearest in the logarithm: 2**(e - 1/2) < largest < 2**(e + 1/2), squared to stay exact
        assert Fraction(2) ** (2 * fmt.exp_max - 1) < largest**2 < Fraction(2) ** (2 * fmt.exp_max + 1)
        assert node.layer.contract.product.is_exact(fmt)


def test_ristretto_takes_its_own_powers_and_the_bias_on_the_accumulators_grid():
    for node in quantized(Scheme.POWER_OF_TWO, dialect=RISTRETTO_GPU).mac_nodes:
        assert node.layer.contract.weight == PowerOfTwo(-8, -1, ZeroCode.NONE)
        assert node.layer.contract.bias is None
    with pytest.raises(ContractError, match=r"found 5 bits, allowed 4"):
        quantized(Scheme.POWER_OF_TWO, dialect=RISTRETTO_GPU, weight_bits=5)


def test_minifloats_take_the_finest_format_that_holds_what_was_seen():
    network = quantized(Scheme.MINIFLOAT)
    for node in network.mac_nodes:
        fmt = node.layer.contract.output.format
        assert (fmt.man_bits == 3) == (network.ranges[node.name].largest <= E4M3.largest)
        assert fmt.saturate
    assert network[network.logits].layer.output_format.bits == BINARY16.bits


def test_a_minifloat_that_is_named_is_the_one_of_every_layer_and_saturates():
    assert not E5M2.saturate
    contracts = [node.layer.contract for node in quantized(Scheme.MINIFLOAT, minifloats=Minifloats(E5M2)).mac_nodes]
    assert {contract.weight for contract in contracts} == {contract.input for contract in contracts} == {SATURATING}
    assert {contract.output.format for contract in contracts} == {SATURATING}


@pytest.mark.parametrize(
    "options",
    [
        {"scheme": Scheme.POWER_OF_TWO},
        pytest.param({"scheme": Scheme.POWER_OF_TWO, "dialect": RISTRETTO_GPU}, marks=pytest.mark.slow),
        {"scheme": Scheme.MINIFLOAT},
        pytest.param({"scheme": Scheme.MINIFLOAT, "dialect": RISTRETTO_GPU}, marks=pytest.mark.slow),
        pytest.param({"scheme": Scheme.MINIFLOAT, "minifloats": REGISTER}, marks=pytest.mark.slow),
    ],
    ids=["powers", "ristretto powers", "minifloat", "ristretto minifloat", "binary16 register"],
)
def test_each_scheme_computes_alike_on_every_backend_and_survives_its_file(options, tmp_path):
    network = quantized(**options)
    same_everywhere(network)
    again = hwsim.load(network.save(tmp_path / "n.hwnet"))
    assert str(again) == str(network) and not again.edited


def test_schemes_mix_layer_by_layer():
    network = quantized(Scheme.DYNAMIC_FIXED_POINT)
    network = network.with_weights("conv1", E4M3).with_weights("left", PowerOfTwo(-7, -1))
    kinds = {node.name: type(node.layer.contract) for node in network.mac_nodes}
    assert kinds["conv1"] is FloatMacContract and kinds["left"] is MacContract
    same_everywhere(network)


def test_a_unit_in_integers_reads_minifloats_through_a_visible_rescale():
    network = quantized(Scheme.MINIFLOAT).with_weights("conv5", FixedPoint(8, 7))
    cast = network["conv5:in"].layer
    assert network["conv5"].inputs == ("conv5:in",) and isinstance(cast.format, Minifloat)
    assert cast.output_format == network["conv5"].layer.contract.input
    same_everywhere(network)


def test_every_layer_takes_a_named_accumulator():
    narrow = Accumulator(16, overflow=Overflow.SATURATE, schedule=Schedule(Order.RSC, lanes=4))
    network = quantized(Scheme.DYNAMIC_FIXED_POINT).with_accumulator(None, narrow)
    assert all(node.layer.contract.accumulator == narrow for node in network.mac_nodes)
    same_everywhere(network)
    floats = quantized(Scheme.MINIFLOAT).with_accumulator(None, FloatAccumulator(BINARY16))
    assert all(node.layer.contract.accumulator == FloatAccumulator(BINARY16) for node in floats.mac_nodes)


def with_large_bias(net):
    """The network with one bias of conv1 far below zero, so that ReLU hides it from the ranges."""
    node = net["conv1"]
    bias = node.op.bias.copy()
    bias[1] = -900
    return replace(net, nodes=tuple(replace(n, op=replace(n.op, bias=bias)) if n is node else n for n in net))


@pytest.mark.parametrize("net", [fire(), with_large_bias(fire())], ids=["small biases", "a large bias"])
def test_a_fitted_accumulator_leaves_one_bit_above_what_was_seen_and_above_the_bias(net):
    dialect = replace(EXACT32, accumulator=Accumulator(12, overflow=Overflow.SATURATE), fit_accumulator=True)
    network, fitted = hwsim.quantize(net, pixels(12), dialect=dialect), 0
    for node in network.mac_nodes:
        contract, channels = node.layer.contract, node.layer.channels
        top = max(network.ranges[node.name].largest, float(np.abs(node.source.bias).max()))
        for k in range(channels):
            reach = Fraction(top) * Fraction(2) ** contract.accumulator_length(k)
            assert reach <= 1 << 10
            coarser = contract.accumulator_length(k) < contract.product_length(k)
            assert reach > 1 << 9 or not coarser
            fitted += coarser
    assert fitted
    same_everywhere(network)


def test_the_answer_is_the_largest_number_not_the_largest_word():
    trace = hwsim.run(quantized(Scheme.MINIFLOAT), pixels(3))
    fmt = trace.network[trace.network.logits].layer.output_format
    reals = fmt.to_real(trace.logits)
    assert (trace.top(1)[:, 0] == reals.argmax(1)).all()


def test_what_does_not_fit_together_is_refused_in_one_sentence():
    floats, integers = quantized(Scheme.MINIFLOAT), quantized(Scheme.DYNAMIC_FIXED_POINT)
    wrong = [
        (lambda: floats.with_accumulator("conv1", 16), InputError, "found accumulator 16 for a FloatMacContract"),
        (lambda: integers.with_accumulator("conv1", ExactSum()), InputError, "found accumulator ExactSum for a MacContract"),
        (lambda: integers.with_accumulator(None, ExactSum()), InputError, "no layer takes"),
        (lambda: integers.with_weights("pool1", E4M3), InputError, "has no weights"),
        (lambda: floats.with_bits("conv1", weights=6), InputError, "by with_weights"),
        (lambda: quantized("minifloat"), ContractError, "found scheme='minifloat', allowed Scheme"),
        (lambda: Minifloats("e4m3"), ContractError, "allowed a Minifloat"),
    ]
    for call, error, sentence in wrong:
        with pytest.raises(error, match=sentence.replace("(", r"\(")) as raised:
            call()
        assert isinstance(raised.value, HwsimError)


def test_nan_and_infinity_in_weights_are_refused_with_their_position():
    for scheme, bad in itertools.product(Scheme, (np.nan, np.inf)):
        with pytest.raises(HwsimError, match="conv1|weight") as raised:
            net = fire()
            node = net["conv1"]
            weight = node.op.weight.copy()
            weight[1, 2, 0, 1] = bad
            broken = replace(net, nodes=tuple(replace(n, op=replace(n.op, weight=weight)) if n is node else n for n in net))
            hwsim.quantize(broken, pixels(2), scheme=scheme)
        assert "(1, 2, 0, 1)" in str(raised.value)
