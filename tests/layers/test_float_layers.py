"""Layers that do not multiply, with minifloats: the specification against Fractions, and against casts of ml_dtypes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from hwsim.arith.requantize import Activation
from hwsim.contract.float_mac import FloatOutput
from hwsim.contract.mac import Output
from hwsim.contract.stochastic import Lfsr, StochasticRounding
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint, PowerOfTwo, catalog
from hwsim.layers import (
    AveragePool,
    Concat,
    CountRule,
    EltwiseSum,
    Events,
    HostLRN,
    ImageEncoding,
    MaxPool,
    Region,
    ReLU,
    Rescale,
    Shape,
    Softmax,
    Window,
)
from oracles.cases import Case
from oracles.compare import Outcome, assert_same, by_spec
from oracles.float_layer_cases import KINDS, float_layer_case
from oracles.float_layers import expected

CASES = 60
E4M3, E5M2, POWER = catalog.E4M3, catalog.E5M2, PowerOfTwo(-7, 0)
TWICE = Window((1, 2), (1, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_the_specification_is_what_fractions_say(kind):
    for i in range(CASES):
        case = float_layer_case(kind, i)
        codes, events = expected(case.layer, case.inputs)
        assert_same(case, "the specification", Outcome(codes, None, Events(0, events)), by_spec(case))


def spec(layer, *inputs: np.ndarray) -> np.ndarray:
    return by_spec(Case("", layer, inputs)).codes


@pytest.mark.parametrize(
    ("fmt", "dtype"),
    [(E4M3, ml_dtypes.float8_e4m3fn), (E5M2, ml_dtypes.float8_e5m2), (catalog.E4M3_FNUZ, ml_dtypes.float8_e4m3fnuz)],
)
def test_casts_and_sums_of_pairs_are_those_of_ml_dtypes(fmt, dtype):
    """float32 holds every sum of two exactly, so one cast rounds it."""
    pairs = np.random.default_rng(1).permutation(1 << 16)[:4096].reshape(1, 4, 16, 64)
    a, b = (pairs >> 8).astype(np.uint8), (pairs & 255).astype(np.uint8)
    with np.errstate(all="ignore"):
        reals = a.view(dtype).astype(np.float32) + b.view(dtype).astype(np.float32) + np.float32(0)
        want = reals.astype(dtype)
        half = a.view(dtype).astype(np.float16).view(np.uint16)
    got = spec(EltwiseSum((fmt, fmt), FloatOutput(fmt)), a, b).astype(np.uint8).view(dtype)
    assert np.array_equal(got.astype(np.float32), want.astype(np.float32), equal_nan=True)
    assert (np.signbit(got) == np.signbit(want))[~np.isnan(want.astype(np.float32))].all()
    back = spec(Rescale(catalog.BINARY16, FloatOutput(fmt)), half).astype(np.uint8).view(dtype)
    assert np.array_equal(back.astype(np.float32), a.view(dtype).astype(np.float32), equal_nan=True)


def test_zeros_are_in_order_and_nan_wins():
    for pair, want in (
        ((0x80, 0x00), 0x00),  # -0 < +0
        ((0x00, 0x80), 0x00),
        ((0x80, 0x80), 0x80),
        ((0xB8, 0x80), 0x80),  # -1 < -0
        ((0xB8, 0xC0), 0xB8),  # -1 > -2
        ((0x38, 0x7F), 0x7F),  # NaN
        ((0xFF, 0x7E), 0x7F),  # NaN of either sign gives the one NaN
    ):
        assert spec(MaxPool(E4M3, TWICE), np.array(pair, dtype=np.uint8).reshape(1, 1, 1, 2)).ravel() == [want], pair


def test_padding_never_wins_though_its_words_are_zero():
    x = np.full((1, 2, 3, 5), 0xB8, dtype=np.uint8)
    assert (spec(MaxPool(E4M3, Window((2, 2), (2, 2), (1, 1))), x) == 0xB8).all()


def test_relu_keeps_what_is_positive_and_nan():
    codes = np.array([0x80, 0x00, 0xB8, 0x38, 0xFC, 0x7C, 0xFE, 0x7D], dtype=np.uint8).reshape(1, 2, 1, 4)
    assert spec(ReLU(E5M2), codes).ravel().tolist() == [0, 0, 0, 0x38, 0, 0x7C, 0xFE, 0x7D]


def test_an_average_is_rounded_once():
    """448 + 448 leaves E4M3 and its half does not; 1 + (1 + 2**-3) has half a tie, which goes to the even code."""
    layer = AveragePool(E4M3, TWICE, CountRule.EXCLUDE_PADDING, FloatOutput(E4M3))
    pairs = np.array([[0x7E, 0x7E], [0x38, 0x39], [0x80, 0x80]], dtype=np.uint8).reshape(1, 3, 1, 2)
    assert spec(layer, pairs).ravel().tolist() == [0x7E, 0x38, 0x00]
    thirds = AveragePool(E4M3, Window((1, 3)), CountRule.EXCLUDE_PADDING, FloatOutput(catalog.BINARY32))
    code = spec(thirds, np.array([0x38, 0, 0], dtype=np.uint8).reshape(1, 1, 1, 3)).item()
    assert np.uint32(code).view(np.float32) == np.float32(1) / np.float32(3)


def test_two_infinities_that_disagree_are_nan_and_others_stay():
    layer = EltwiseSum((E5M2, E5M2), FloatOutput(E5M2))
    a = np.array([0x7C, 0x7C, 0xFC, 0x7E], dtype=np.uint8).reshape(1, 1, 2, 2)
    b = np.array([0xFC, 0x3C, 0xBC, 0x7C], dtype=np.uint8).reshape(1, 1, 2, 2)
    assert spec(layer, a, b).ravel().tolist() == [0x7E, 0x7C, 0xFC, 0x7E]


def test_the_same_image_whatever_the_format_holds_it():
    layer = ImageEncoding.from_real([104.0, 117.0], 1 / 256, FloatOutput(catalog.BINARY32))
    x = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(2, axis=1)
    codes = spec(layer, x)
    for n, c, y, x0 in np.ndindex(*codes.shape):
        exact = Fraction(int(x[n, c, y, x0]) - (104, 117)[c], 256)
        assert catalog.BINARY32.decode(int(codes[n, c, y, x0])) == exact


def test_scales_beyond_every_minifloat_are_refused():
    mean = np.zeros((1, 1, 1), dtype=np.int64)
    for length in (-616, 584):
        code = spec(ImageEncoding(mean, 1, length, FloatOutput(E5M2)), np.full((1, 1, 1, 1), 255, dtype=np.uint8)).item()
        assert code == (0x7C if length < 0 else 0)
    for length in (-617, 585, 1 << 80):
        with pytest.raises(ContractError, match=r"scale_length: found .*allowed -616\.\.584"):
            ImageEncoding(mean, 1, length, FloatOutput(E5M2))


def test_softmax_of_minifloats_is_that_of_their_numbers():
    codes = E4M3.encode_array(np.array([[1.0, -2.0, 3.5], [0.0, 448.0, 440.0]])).reshape(2, 3, 1, 1)
    found = Softmax(E4M3).probabilities(codes)
    for row, reals in zip(found[:, :, 0, 0], ([1.0, -2.0, 3.5], [0.0, 448.0, 448.0]), strict=True):
        powers = [np.exp(v - max(reals)) for v in reals]
        np.testing.assert_allclose(row, np.array(powers) / sum(powers), rtol=1e-12)


LRN = HostLRN(E4M3, Region.ACROSS_CHANNELS, 3, 1.0, 0.75, 1.0, FloatOutput(E4M3))
STAGE = FloatOutput(E4M3)


@pytest.mark.parametrize(
    "build",
    [
        lambda f: ReLU(f),
        lambda f: MaxPool(f, TWICE),
        lambda f: AveragePool(f, TWICE, CountRule.CAFFE, STAGE),
        lambda f: Concat(f, 2),
        lambda f: Rescale(f, STAGE),
        lambda f: EltwiseSum((E4M3, f), STAGE),
        lambda f: Softmax(f),
        lambda f: replace(LRN, format=f),
    ],
)
def test_powers_of_two_are_no_activations(build):
    assert build(FixedPoint(8, 3)) and build(E5M2)
    with pytest.raises(ContractError, match="PowerOfTwo.*allowed"):
        build(POWER)


@pytest.mark.parametrize("build", [
    lambda o: AveragePool(E4M3, TWICE, CountRule.CAFFE, o),
    lambda o: Rescale(E4M3, o),
    lambda o: EltwiseSum((E4M3, E4M3), o),
    lambda o: replace(LRN, output=o),
    lambda o: ImageEncoding.from_real(0.0, 1.0, o),
])  # fmt: skip
def test_output_stages_are_of_one_of_the_two_kinds(build):
    assert build(STAGE) and build(Output(FixedPoint(8, 3)))
    for other in (E4M3, None):
        with pytest.raises(ContractError, match="output: found"):
            build(other)


def test_noise_is_not_drawn_where_a_minifloat_enters_or_leaves():
    drawn = Output(FixedPoint(8, 3), StochasticRounding(Lfsr(8)))
    assert Rescale(FixedPoint(16, 8), drawn)
    with pytest.raises(ContractError, match="StochasticRounding"):
        Rescale(E4M3, drawn)


def test_an_lrn_has_no_activation():
    for stage in (STAGE, Output(FixedPoint(8, 3))):
        with pytest.raises(ContractError, match="host_lrn.output.activation.*relu behind"):
            replace(LRN, output=replace(stage, activation=Activation.RELU_AFTER_REQUANTIZE))


def test_any_window_of_minifloats_has_a_shape():
    layer = AveragePool(E4M3, Window((3, 2), (2, 1), (1, 1)), CountRule.CAFFE, STAGE)
    assert layer.output_shape([Shape(2, 7, 5)]) == Shape(2, 4, 6)
    with pytest.raises(ContractError, match="allowed at most 2\\*\\*20"):
        AveragePool(E4M3, Window(None), CountRule.CAFFE, STAGE).output_shape([Shape(1, 1025, 1024)])


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_hold_every_code(kind):
    for i in range(0, CASES, 6):
        case = float_layer_case(kind, i)
        low, high = case.layer.bounds.output
        codes = by_spec(case).codes
        assert low <= codes.min() and codes.max() <= high, case
