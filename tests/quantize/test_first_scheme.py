"""TensorFlow's first scheme against a restatement in plain numbers, one element at a time, and against what it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hwsim.errors import InputError
from hwsim.network import ops
from hwsim.network.graph import Network, Node
from hwsim.quantize.first_scheme import (
    Levels,
    RuntimeRanges,
    convolved,
    min_combined,
    multiplied,
    nudged,
    quantized,
    quantized_between,
    requantized,
    sum_range,
    weights_only,
)
from hwsim.quantize.float_layers import float_layer
from hwsim.quantize.float_run import FloatRun
from support.float_networks import IMAGE, fire, pixels

f32 = np.float32


def away(x: float) -> int:
    """C's round: the nearest integer, a half goes away from zero. Exact, since x is a float and the half is compared apart."""
    whole = math.trunc(x)
    return whole + (1 if x > 0 else -1) * (abs(x - whole) >= 0.5)


def trunc_div_floor(value: int, bits: int) -> int:
    """C's arithmetic shift right."""
    return value // (1 << bits)


def plain_code(x: float, low: float, high: float) -> int:
    """FloatToQuantizedStruct<quint8>: float32 scale, float32 products, round, clamp."""
    scale = f32(255.0 / float(f32(high) - f32(low)))
    return min(max(away(float(f32(x) * scale)) - away(float(f32(low) * scale)), 0), 255)


def plain_offset(low: float, high: float) -> int:
    """FloatToQuantizedUnclamped<quint8>(0): doubles."""
    scale = 256 / (float(f32(high) - f32(low)) * (256 / 255.0))
    return away(0.0 * scale) - away(low * scale)


def plain_real(code: int, low: float, high: float) -> np.float32:
    """QuantizedToFloatStruct<quint8>: float32."""
    scale = f32(float(f32(high) - f32(low)) / 255.0)
    return f32(f32(f32(away(float(f32(low) / scale))) * scale) + f32(f32(code) * scale))


def plain_real_sum(value: int, low: np.float32, high: np.float32) -> np.float32:
    """QuantizedToFloat<qint32>: doubles, but for the float32 step by which the lowest number is rounded."""
    steps = 4294967296
    scale = (float(f32(high - low)) * (steps / 4294967295.0)) / steps
    lowest = away(float(low / f32(scale))) * float(f32(scale))
    return f32(lowest + (value + 2147483648.0) * scale)


def plain_requantize(sums: list[int], low: np.float32, high: np.float32) -> tuple[list[int], float, float]:
    """RequantizationRange and RequantizeManyInNewRangeReference, number by number."""
    new_low, new_high = min(f32(0), plain_real_sum(min(sums), low, high)), plain_real_sum(max(sums), low, high)
    span, new_span = f32(high - low), f32(new_high - new_low)
    if new_span == 0:
        return [0] * len(sums), float(new_low), float(new_high)
    recip = f32(255.0 / float(new_span))
    rezero = f32(float(f32(low + high)) / 2.0)
    scale = math.trunc(255.0 * 65536 * float(span) / float(new_span))
    offset_in = math.trunc(float(f32(f32(rezero * recip) * f32(65536))))
    offset_out = math.trunc(65536 * (float(new_low) * 255.0) / float(new_span))
    codes = [trunc_div_floor(trunc_div_floor(v * scale, 32) + offset_in - offset_out + 32768, 16) for v in sums]
    return [min(max(c, 0), 255) for c in codes], float(new_low), float(new_high)


floats = st.floats(-1000, 1000, width=32, allow_subnormal=False)
arrays = hnp.arrays(np.float32, st.integers(1, 40), elements=floats)


@given(arrays)
def test_quantize_is_its_definition(x):
    found = quantized(x)
    low, high = nudged(float(x.min()), float(x.max()))
    assert (found.low, found.high) == (low, high) and low <= 0 <= high and high > low
    assert found.codes.tolist() == [plain_code(float(v), low, high) for v in x]
    assert found.zero == plain_offset(low, high)
    assert found.real().tolist() == [plain_real(int(c), low, high) for c in found.codes]


@given(arrays)
def test_what_comes_back_lies_within_a_level(x):
    found = quantized(x)
    assert np.abs(found.real() - x).max() <= float(found.level) * 1.01
    assert abs(float(found.real()[found.codes == found.zero].sum())) < 1e-3


@given(arrays)
def test_min_combined_starts_at_the_range_and_rounds_half_up(x):
    low, high = nudged(float(x.min()), float(x.max()))
    found = min_combined(x, low, high)
    scale = f32(f32(255) / (f32(high) - f32(low)))
    assert found.codes.tolist() == [math.floor(f32(f32(f32(v) - f32(low)) * scale) + f32(0.5)) for v in x]


@settings(max_examples=200)
@given(st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=1, max_size=20), st.floats(2.0**-40, 2.0**-10, width=32))
def test_requantize_is_its_definition(sums, step):
    low, high = f32(f32(step) * f32(-(2**31))), f32(f32(step) * f32(2**31 - 1))
    found = requantized(np.array(sums), low, high)
    assert (found.codes.tolist(), found.low, found.high) == plain_requantize(sums, low, high)


def test_the_sum_of_a_layer_is_that_of_codes_without_their_zero_points():
    """Every output by plain loops: integers first, the range of all, then each code."""
    rng = np.random.default_rng(5)
    op = ops.Convolution(rng.normal(size=(4, 1, 3, 2)).astype(f32), None, (2, 1), (1, 0), (1, 2), 2, (0, 1))
    x, w = quantized(rng.normal(size=(2, 6, 7)).astype(f32)), quantized(op.weight)
    zx, zw = plain_offset(x.low, x.high), plain_offset(w.low, w.high)
    shape = op.output_shape(((2, 6, 7),))
    sums = np.zeros(shape, dtype=np.int64)
    for k, y, i in np.ndindex(*shape):
        for r, s in np.ndindex(3, 2):
            row, column = 2 * y - 1 + r, i + 2 * s
            if 0 <= row < 6 and 0 <= column < 7:
                sums[k, y, i] += (int(x.codes[k // 2, row, column]) - zx) * (int(w.codes[k, 0, r, s]) - zw)
    found = multiplied(op, x, w)
    codes, low, high = plain_requantize(sums.ravel().tolist(), *sum_range(x, w))
    assert found.codes.ravel().tolist() == codes and (found.low, found.high) == (low, high)


def test_a_dense_layer_is_a_product_of_its_flattened_input():
    rng = np.random.default_rng(6)
    op = ops.InnerProduct(rng.normal(size=(5, 24)).astype(f32), None)
    x, w = quantized(rng.normal(size=(2, 3, 4)).astype(f32)), quantized(op.weight)
    sums = (w.codes.astype(int) - plain_offset(w.low, w.high)) @ (x.codes.astype(int).ravel() - plain_offset(x.low, x.high))
    codes, low, high = plain_requantize(sums.tolist(), *sum_range(x, w))
    found = multiplied(op, x, w)
    assert found.codes.ravel().tolist() == codes and (found.low, found.high) == (low, high)


def test_the_range_of_the_sums_is_a_level_of_each_times_int32():
    x, w = Levels(np.zeros(1, np.uint8), -1.0, 1.55), Levels(np.zeros(1, np.uint8), 0.0, 5.1)
    low, high = sum_range(x, w)
    step = f32(f32(f32(f32(1.55) - f32(-1.0)) / f32(255)) * f32(f32(5.1) / f32(255)))
    assert low == f32(step * f32(-2147483648)) and high == f32(step * f32(2147483647))


@pytest.mark.parametrize("network", [fire(), fire(9)], ids=str)
def test_run_time_ranges_stay_near_the_float_network(network, onnxruntime):
    images = pixels(6)
    floats = FloatRun(RuntimeRanges(network).network).logits(IMAGE.real(images))
    found = RuntimeRanges(network).logits(images)
    assert np.abs(found - floats).max() < 0.05 * np.ptp(floats)


def test_float_layers_are_those_of_the_float_run(onnxruntime):
    """Layer by layer: with unquantized convolutions in their place, the whole network is onnxruntime's to rounding."""
    run = RuntimeRanges(fire())
    real = IMAGE.real(pixels(1))
    names = [node.name for node in run.network if node.inputs]
    wanted = FloatRun(run.network, names).run(real)
    for node in run.network:
        if node.inputs and not isinstance(node.op, ops.Convolution):
            made = float_layer(node.name, node.op, [wanted[name][0] for name in node.inputs])
            assert np.allclose(made, wanted[node.name][0].reshape(made.shape), rtol=1e-5, atol=1e-6)
        if isinstance(node.op, ops.Convolution):
            x = wanted.get(node.inputs[0], real)[0].astype(np.float64)
            plain = convolved(node.op, x, node.op.weight.astype(np.float64)) + node.op.bias.reshape(-1, 1, 1)
            assert np.allclose(plain, wanted[node.name][0], rtol=1e-4, atol=1e-4)


def test_weights_only_keeps_256_levels_and_small_tensors():
    rng = np.random.default_rng(2)
    large, small = rng.normal(size=(40, 3, 3, 3)).astype(f32), rng.normal(size=(4, 40, 1, 1)).astype(f32)
    nodes = (
        Node("data", ops.Input((3, 11, 13), IMAGE)),
        Node("large", ops.Convolution(large, None), ("data",)),
        Node("small", ops.Convolution(small, None), ("large",)),
    )
    stored = weights_only(Network("two", nodes))
    kept = {node.name: node.op.weight for node in stored if node.inputs}
    assert np.array_equal(kept["small"], small) and len(np.unique(kept["large"])) <= 256
    low, high = float(large.min()), float(large.max())
    assert kept["large"].ravel().tolist() == [plain_real(plain_code(float(v), low, high), low, high) for v in large.ravel()]


def test_equal_weights_are_stored_without_a_range():
    for value in (0.0, 2.5, -2.5):
        op = ops.Convolution(np.full((64, 16, 1, 1), value, dtype=f32), None)
        nodes = (Node("data", ops.Input((16, 4, 4), None)), Node("c", op, ("data",)))
        kept = weights_only(Network("flat", nodes))["c"].op.weight
        assert np.abs(kept - value).max() <= max(abs(value), 1) / 128 and len(np.unique(kept)) == 1


def test_what_this_run_does_not_have_is_one_sentence():
    nodes = (Node("data", ops.Input((3, 11, 13), IMAGE)), Node("t", ops.Sigmoid(), ("data",)))
    with pytest.raises(InputError, match="layer 't': a Sigmoid does not run between quantized layers"):
        RuntimeRanges(Network("odd", nodes)).logits(pixels(1))
    with pytest.raises(InputError, match="does not say how pixels enter it"):
        RuntimeRanges(fire(preprocessing=None)).logits(pixels(1))


def test_all_sums_one_value_leave_one_code():
    low, high = f32(-2.0), f32(2.0)
    assert requantized(np.zeros(3, dtype=np.int64), low, high).codes.tolist() == plain_requantize([0, 0, 0], low, high)[0]
    assert quantized_between(np.zeros(2, f32), 0.0, 1.0).codes.tolist() == [0, 0]
