"""Deconvolution: every target gives what scattered loops give, over formats, strides, cropping, dilation, groups and orders."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from conformance.test_ordered import conforms as conforms_in_order
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.backends.base import Taps
from hwsim.backends.spec import SPEC
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.contract.scaling import Multiplier
from hwsim.formats import Affine, FixedPoint, PowerOfTwo
from hwsim.layers import Deconvolution
from oracles import tflite_rules
from oracles.able import conforms_or_refuses
from oracles.cases import Case, codes, generator
from oracles.compare import Outcome, assert_same, by_spec, shapes
from oracles.deconv_cases import assumed, scattered
from oracles.float_cases import float_case
from oracles.layers import end_of_mac
from oracles.ordered_cases import ordered_cases, weights
from oracles.scatter import sums

S8 = FixedPoint(8, 3)
GEOMETRY = [
    {},
    {"stride": (2, 3)},
    {"stride": (2, 2), "pad": (1, 1)},
    {"stride": (3, 2), "pad": (1, 0), "pad_end": (0, 2)},
    {"stride": (2, 1), "pad": (-1, -2), "pad_end": (-3, 0)},
    {"stride": (1, 2), "dilation": (2, 3), "pad": (2, 1)},
    {"stride": (3, 3), "dilation": (2, 2), "groups": 2, "pad_end": (-2, -1)},
    {"stride": (2, 2), "groups": 6, "pad": (0, 1)},
    {"pad": (4, 5), "stride": (3, 4)},
    {"stride": (5, 4)},
]


def fixed_layer(name: str, attributes) -> Deconvolution:
    rng, groups = generator(name), attributes.get("groups", 1)
    w = FixedPoint(8, (5, 6, 7, 5, 6, 7)) if groups == 1 else FixedPoint(8, 6)
    if "dilation" in attributes:
        w = PowerOfTwo(-4, -1)
    out = Output(FixedPoint(8, 2), Rounding.TIES_EVEN, Overflow.SATURATE, Activation.RELU_BEFORE_REQUANTIZE)
    contract = MacContract(S8, w, out, Accumulator(18))
    bias = rng.integers(-9000, 9000, 6)
    return Deconvolution(contract, weights(rng, w, (6, 6 // groups, 3, 2), 0.2), bias, **attributes)


@cache
def fixed_case(i: int) -> tuple[Case, Outcome]:
    layer = fixed_layer(f"fixed {i}", GEOMETRY[i])
    x = codes(generator(f"x {i}"), S8, (2, 6, 4, 5))
    if isinstance(layer.contract.weight, PowerOfTwo):  # the products' real values, on their grid
        unit = layer.contract.product
        real = layer.contract.weight.to_real(layer.weight) * 2**unit.guard_bits
        plain = Deconvolution(MacContract(S8, FixedPoint(16, 0), Output(S8)), real.astype(int), None, **GEOMETRY[i])
        total = sums(plain, x, 0, [0] * 6)
        fl = unit.guard_bits
        contract = MacContract(S8, FixedPoint(16, fl), layer.contract.output, layer.contract.accumulator)
    else:
        total, contract = sums(layer, x, 0, [0] * 6), layer.contract
    return Case(f"deconvolution {GEOMETRY[i]}", layer, (x,)), end_of_mac(contract, layer.bias, total)


@pytest.mark.parametrize("i", range(len(GEOMETRY)), ids=lambda i: str(GEOMETRY[i]))
def test_fixed_point(target, i):
    case, want = fixed_case(i)
    assert_same(case, "spec", want, by_spec(case))
    conforms_or_refuses(target, case)


@cache
def affine_case(i: int) -> tuple[Case, Outcome]:
    """Zero points of input, of each output channel's weights and of the output, TensorFlow Lite's two roundings, a clamp."""
    rng, attributes = generator(f"affine {i}"), GEOMETRY[i]
    groups = attributes.get("groups", 1)
    x_format, out_format = Affine(8, 0.5, 131, signed=False), Affine(8, 0.25, -17)
    w_format = Affine(8, tuple(0.125 * (k + 1) for k in range(6)), tuple(int(z) for z in rng.integers(-9, 9, 6)))
    multipliers = [int(m) for m in rng.integers(1 << 30, 1 << 31, 6)]
    shifts = [int(s) for s in rng.integers(31, 42, 6)]
    scaling = Multiplier(Scaling.HIGH_MULTIPLY, tuple(multipliers), tuple(shifts))
    output = Output(out_format, Rounding.TIES_AWAY, scaling=scaling, clamp_low=-17, clamp_high=90)
    weight, bias = codes(rng, FixedPoint(8, 0), (6, 6 // groups, 3, 2)), rng.integers(-9000, 9000, 6)
    layer = Deconvolution(MacContract(x_format, w_format, output, Accumulator(32)), weight, bias, **attributes)
    x = codes(rng, FixedPoint(8, 0, signed=False), (2, 6, 4, 5))
    acc = sums(layer, x, 131, list(w_format.zero_point)) + bias[:, None, None]
    scaled = np.stack(
        [tflite_rules.double_rounding(acc[:, k].astype(np.int64), multipliers[k], 31 - shifts[k]) for k in range(6)], axis=1
    )
    want = Outcome(np.clip(scaled - 17, -17, 90), acc, (0, 0))
    return Case(f"affine deconvolution {attributes}", layer, (x,)), want


@pytest.mark.parametrize("i", range(len(GEOMETRY)), ids=lambda i: str(GEOMETRY[i]))
def test_affine(target, i):
    case, want = affine_case(i)
    assert_same(case, "spec", want, by_spec(case))
    conforms_or_refuses(target, case)


SOME = HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much
crops = st.tuples(st.integers(-2, 2), st.integers(-1, 1))


@settings(max_examples=12, suppress_health_check=SOME)
@given(case=ordered_cases(), pad=crops, end=crops)
def test_generated_orders(target, case, pad, end):
    made = assumed(scattered(case, pad, end))
    with target.chosen() as backend:
        if target.backend == "native" and not backend.can(made.layer):
            return
    conforms_in_order(target, made)


@cache
def float_cases() -> list[Case]:
    return [made for number in range(40) if (made := scattered(float_case(number))) is not None]


def tapped(backend, case: Case):
    """Codes, accumulators and events of a backend."""
    kernel = backend.prepare(case.layer, shapes(case))
    taps = Taps.for_layer(case.layer, len(case.inputs[0]), kernel.output_shape, acc=True)
    return kernel(case.inputs, taps).codes, taps.acc, taps.counted


@cache
def by_the_spec(case: Case):
    return tapped(SPEC, case)


def test_minifloats(target):
    """Exact sums and float registers; tests/layers holds the specification to an oracle of fractions."""
    assert len(float_cases()) > 20
    for case in float_cases():
        with target.chosen() as backend:
            if target.backend == "native" and not backend.can(case.layer):
                continue
            for got, want in zip(tapped(backend, case), by_the_spec(case), strict=True):
                np.testing.assert_array_equal(got, want, repr(case.layer))
