"""Layers other than multiply-accumulate with minifloats: every one against plain Fractions, and every backend against spec."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from hwsim.arith.float_order import code_of_key, order_key
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.backends.registry import backend
from hwsim.contract import FloatOutput, Output
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint, Minifloat
from hwsim.formats.catalog import BINARY16, BINARY32, E4M3, E4M3_FNUZ, E5M2, RISTRETTO_E4M3
from hwsim.layers import (
    AveragePool,
    Concat,
    EltwiseSum,
    HostLRN,
    ImageEncoding,
    Layer,
    MaxPool,
    Region,
    ReLU,
    Rescale,
    Shape,
    Softmax,
    Window,
)
from hwsim.layers.pool import CountRule

FORMATS = [E4M3, E5M2, E4M3_FNUZ, RISTRETTO_E4M3, BINARY16]
SHAPE = Shape(3, 4, 5)
WINDOW = Window((3, 2), (2, 1), (1, 0))


def words(fmt: Minifloat | FixedPoint, seed: int) -> np.ndarray:
    """Random words of a format, NaN and infinities among them, [2][3][4][5]."""
    rng = np.random.default_rng(seed)
    return rng.integers(fmt.low, fmt.high, (2, *SHAPE), endpoint=True).astype(fmt.dtype)


def finite(fmt: Minifloat, seed: int) -> np.ndarray:
    codes = words(fmt, seed)
    return np.where(np.isfinite(fmt.to_real(codes)), codes, 0).astype(fmt.dtype)


def computed(layer: Layer, inputs: list[np.ndarray], name: str) -> tuple[np.ndarray, tuple[int, ...]]:
    from hwsim.backends.base import Taps

    taps = Taps()
    kernel = backend(name).prepare(layer, [Shape(*x.shape[1:]) for x in inputs])
    return kernel(inputs, taps).codes.copy(), tuple(taps.counted)


def layers(fmt: Minifloat) -> list[Layer]:
    """Every kind of layer with this format on one side or both."""
    s8, half = FixedPoint(8, 3), FloatOutput(BINARY16, Rounding.TIES_AWAY, Activation.RELU_AFTER_REQUANTIZE)
    narrow = FloatOutput(fmt, Rounding.FLOOR)
    return [
        MaxPool(fmt, WINDOW),
        ReLU(fmt),
        Concat(fmt, 2),
        Rescale(fmt, half),
        Rescale(fmt, Output(s8)),
        Rescale(s8, narrow),
        EltwiseSum((fmt, s8), narrow),
        EltwiseSum((fmt, fmt, BINARY32), half),
        EltwiseSum((fmt, s8), Output(s8, Rounding.TIES_ODD)),
        AveragePool(fmt, WINDOW, CountRule.CAFFE, narrow),
        AveragePool(s8, WINDOW, CountRule.EXCLUDE_PADDING, half),
        AveragePool(fmt, WINDOW, CountRule.INCLUDE_PADDING, Output(s8)),
        ImageEncoding.from_real((10.5, 20.0, 30.25), 0.37, narrow),
        Softmax(fmt),
    ]


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("which", range(14))
def test_jit_and_the_host_compute_what_the_specification_says(fmt, which):
    layer = layers(fmt)[which]
    inputs = [words(f, 7 + i) for i, f in enumerate(layer.input_formats)]
    codes, events = computed(layer, inputs, "jit")
    reference, counted = np.zeros_like(codes), 0
    lists = [x.tolist() for x in inputs]
    for at in np.ndindex(codes.shape):
        cell = layer.spec(lists, *at)
        reference[at] = cell.code
        counted += cell.events.output
    np.testing.assert_array_equal(codes, reference)
    assert events[1] == counted


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_keys_compare_as_the_numbers_and_come_back_as_the_codes(fmt):
    codes = np.arange(1 << fmt.bits, dtype=np.int64)
    reals, keys = fmt.to_real(codes), order_key(codes, fmt.layout)
    numbers = ~np.isnan(reals)
    order = np.argsort(keys[numbers], kind="stable")
    assert (np.diff(reals[numbers][order]) >= 0).all()
    assert len(set(keys[numbers].tolist())) == numbers.sum()
    np.testing.assert_array_equal(code_of_key(keys, fmt.layout)[numbers], codes[numbers])
    assert np.isnan(fmt.to_real(code_of_key(keys, fmt.layout)[~numbers])).all()


@pytest.mark.parametrize("fmt", [E4M3, E5M2, RISTRETTO_E4M3], ids=str)
def test_an_average_is_the_exact_fraction_rounded_once(fmt):
    x = finite(fmt, 3)
    layer = AveragePool(fmt, Window(None), CountRule.EXCLUDE_PADDING, FloatOutput(fmt))
    codes, _ = computed(layer, [x], "jit")
    for n, c in np.ndindex(2, SHAPE.c):
        exact = sum((Fraction(fmt.decode(int(code))) for code in x[n, c].ravel()), Fraction(0)) / (SHAPE.h * SHAPE.w)
        assert codes[n, c, 0, 0] == fmt.encode(exact)


@pytest.mark.parametrize("fmt", [E4M3, E5M2, RISTRETTO_E4M3], ids=str)
def test_a_sum_of_a_minifloat_and_a_fixed_point_number_is_exact_and_rounded_once(fmt):
    fixed = FixedPoint(8, 5)
    x, y = finite(fmt, 4), words(fixed, 5)
    codes, _ = computed(EltwiseSum((fmt, fixed), FloatOutput(fmt)), [x, y], "jit")
    for got, a, b in zip(codes.ravel(), x.ravel(), y.ravel(), strict=True):
        assert got == fmt.encode(Fraction(fmt.decode(int(a))) + fixed.decode(int(b)))


def test_a_maximum_is_the_numbers_own_and_nan_wins():
    x = np.array([[[[0xB8, 0x80, 0xC0, 0x00]]]], dtype=np.uint8)  # -1, -0, -2, +0
    assert computed(MaxPool(E4M3, Window(None)), [x], "jit")[0].item() == 0x00
    assert computed(MaxPool(E4M3, Window(None)), [x[..., :2]], "jit")[0].item() == 0x80
    x[..., 3] = 0xFF  # NaN
    assert np.isnan(E4M3.to_real(computed(MaxPool(E4M3, Window(None)), [x], "jit")[0])).all()


def test_pixels_become_the_nearest_minifloats():
    scale, mean = 0.25, 31.5
    layer = ImageEncoding.from_real((mean,), scale, FloatOutput(E5M2))
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    codes = computed(layer, [pixels], "jit")[0].ravel()
    assert codes.tolist() == [E5M2.encode((Fraction(p) - Fraction(mean)) * Fraction(scale)) for p in range(256)]


@pytest.mark.parametrize("region", list(Region))
@pytest.mark.parametrize("output", [FloatOutput(E4M3), Output(FixedPoint(8, 2))], ids=str)
def test_lrn_of_minifloats_is_alike_at_once_and_one_by_one(region, output):
    layer = HostLRN(E5M2, region, 3, 0.5, 0.75, 1.0, output)
    x = finite(E5M2, 6)
    codes, events = computed(layer, [x], "spec")
    cells = [layer.spec([x.tolist()], *at) for at in np.ndindex(codes.shape)]
    assert codes.ravel().tolist() == [cell.code for cell in cells]
    assert events[1] == sum(cell.events.output for cell in cells)


def test_an_integer_stage_refuses_to_stand_for_a_float_one():
    with pytest.raises(ContractError, match="allowed here a FixedPoint"):
        _ = Rescale(E4M3, FloatOutput(E4M3)).epilogue
