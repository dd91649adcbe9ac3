"""Worst-case bounds: never left by any input, and reached where they say so."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.formats import FixedPoint
from hwsim.layers import (
    AveragePool,
    Convolution,
    CountRule,
    EltwiseSum,
    HostLRN,
    ImageEncoding,
    Region,
    ReLU,
    Rescale,
    Shape,
    Window,
)

WIDE = 30  # output bits that hold every result below, so that a code is the rounded value itself
S3 = FixedPoint(3, 1)

modes = st.sampled_from(Rounding)
relus = st.sampled_from(Activation)


def outputs_of(layer, inputs):
    """Every output code of one layer on nested lists of one image each."""
    shape = layer.output_shape([shape_of(x) for x in inputs])
    return [layer.spec(inputs, 0, k, y, x) for k in range(shape.c) for y in range(shape.h) for x in range(shape.w)]


def shape_of(x):
    """Shape of one input, nested lists [n][c][y][x]."""
    return Shape(len(x[0]), len(x[0][0]), len(x[0][0][0]))


@settings(max_examples=60)
@given(st.lists(st.integers(-8, 7), min_size=3, max_size=3), st.integers(-40, 40), st.integers(-3, 3), modes, relus)
def test_a_convolutions_bounds_are_the_extremes_over_every_input(weights, bias, fl, mode, relu):
    out = Output(FixedPoint(WIDE, fl), mode, activation=Activation.NONE if relu == Activation.RELU_AFTER_REQUANTIZE else relu)
    contract = MacContract(S3, FixedPoint(4, 1), out, Accumulator(20))
    layer = Convolution(contract, np.array(weights).reshape(1, 3, 1, 1), np.array([bias]))
    cells = [outputs_of(layer, [[[[[c]] for c in codes]]])[0] for codes in itertools.product(range(-4, 4), repeat=3)]
    assert layer.bounds.accumulator == (min(c.acc for c in cells), max(c.acc for c in cells))
    assert layer.bounds.output == (min(c.code for c in cells), max(c.code for c in cells))


def test_a_register_that_can_wrap_widens_the_outputs_bounds_and_not_the_exact_sums():
    contract = MacContract(S3, FixedPoint(4, 1), Output(FixedPoint(WIDE, 2)), Accumulator(5))
    layer = Convolution(contract, np.full((1, 3, 1, 1), 7))
    assert layer.bounds.accumulator == (-84, 63)
    assert layer.bounds.output == (-16, 15)


@settings(max_examples=80)
@given(st.integers(-3, 4), modes, st.booleans())
def test_rescale_relu_and_sum_bounds_are_reached(fl, mode, relu):
    activation = Activation.RELU_BEFORE_REQUANTIZE if relu else Activation.NONE
    out = Output(FixedPoint(WIDE, fl), mode, activation=activation)
    rescale = Rescale(S3, out)
    seen = [outputs_of(rescale, [[[[[c]]]]])[0].code for c in range(-4, 4)]
    assert rescale.bounds == (None, (min(seen), max(seen)))
    total = EltwiseSum((S3, FixedPoint(2, 3)), out)
    seen = [outputs_of(total, [[[[[a]]]], [[[[b]]]]])[0].code for a in range(-4, 4) for b in range(-2, 2)]
    assert total.bounds == (None, (min(seen), max(seen)))
    assert ReLU(S3).bounds == (None, (0, 3))


@settings(max_examples=60)
@given(st.sampled_from(CountRule), st.integers(-2, 3), modes, st.data())
def test_an_average_stays_within_its_bounds(rule, lift, mode, data):
    layer = AveragePool(S3, Window((2, 3), (1, 2), (1, 1), True), rule, Output(FixedPoint(WIDE, 1 + lift), mode))
    codes = data.draw(st.lists(st.integers(-4, 3), min_size=15, max_size=15))
    plane = [codes[5 * y : 5 * y + 5] for y in range(3)]
    low, high = layer.bounds.output
    assert all(low <= cell.code <= high for cell in outputs_of(layer, [[[plane]]]))
    full = outputs_of(layer, [[[[[3] * 5] * 3]]])
    assert max(cell.code for cell in full) == high, "a window without padding, all at the largest code, reaches the bound"


@pytest.mark.parametrize("scale", [1.0, 1 / 256, 0.7])
def test_image_bounds_are_those_of_the_extreme_pixels(scale):
    layer = ImageEncoding.from_real((104.5, 0.0, 255.0), scale, Output(FixedPoint(WIDE, 6)))
    cells = outputs_of(layer, [[[[[0, 255]], [[0, 255]], [[0, 255]]]]])
    assert layer.bounds.output == (min(c.code for c in cells), max(c.code for c in cells))
    assert abs(Fraction(layer.bounds.output[1], 64) - Fraction(255) * Fraction(scale)) < Fraction(1, 64)


def test_lrn_is_bounded_by_its_input_over_k_to_beta():
    layer = HostLRN(FixedPoint(8, 4), Region.ACROSS_CHANNELS, 3, 1.0, 0.75, 2.0, Output(FixedPoint(WIDE, 10)))
    low, high = layer.bounds.output
    cells = outputs_of(layer, [[[[[code]] for code in (-128, 0, 127)]]])
    assert all(low <= cell.code <= high for cell in cells)
    assert high == round(127 / 16 * 2**-0.75 * 1024)
