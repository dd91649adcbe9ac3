"""Layers of MobileNet's kinds, too large for the specification: sums and scalings by numpy, written apart, on every path of C."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.backends.base import Taps
from hwsim.backends.native import NATIVE
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.contract.scaling import make_multiplier
from hwsim.formats import Affine
from hwsim.layers import Convolution, Events, Shape

ROUNDING = {
    Scaling.HIGH_MULTIPLY: Rounding.TIES_AWAY,
    Scaling.MULTIPLY: Rounding.TIES_UP,
    Scaling.DOUBLE_ROUND: Rounding.TIES_UP,
    Scaling.FLOAT32: Rounding.TIES_EVEN,
}

DEPTHWISE = "avx512vnni depthwise u8"

# name: (input, output channels, kernel, geometry, share of weights beyond signed bytes, path on AMX)
SIZES = {
    "first": (Shape(3, 33, 35), 24, (3, 3), {"stride": 2, "pad_end": (1, 1)}, 0.0, "amx u8s8s32"),
    "pointwise": (Shape(40, 9, 11), 50, (1, 1), {}, 0.002, "amx u8s8s32"),
    "pointwise, many weights of nine bits": (Shape(40, 9, 11), 50, (1, 1), {}, 0.4, "avx512vnni s16s16s32"),
    "depthwise": (Shape(70, 13, 17), 70, (3, 3), {"pad": 1, "groups": 70}, 0.002, DEPTHWISE),
    "depthwise, stride 2": (Shape(35, 14, 18), 35, (3, 3), {"stride": 2, "pad_end": (1, 1), "groups": 35}, 0.0, DEPTHWISE),
    "depthwise, 5 x 5, two to a channel": (Shape(24, 9, 12), 48, (5, 5), {"pad": 2, "groups": 24}, 0.0, DEPTHWISE),
    "depthwise, dilated, stride 3": (
        Shape(20, 19, 23),
        20,
        (2, 3),
        {"stride": (2, 3), "dilation": (3, 2), "groups": 20},
        0.0,
        DEPTHWISE,
    ),
}


def build(size: str, rule: Scaling, signed: bool) -> tuple[np.ndarray, Convolution]:
    shape, channels, kernel, geometry, beyond, _ = SIZES[size]
    rng = np.random.default_rng([len(size), int(rule), signed])
    x_format = Affine(8, 0.5, -7 if signed else 121, signed)
    w_format = Affine(8, 0.25, 100, signed=False)
    drawn = 100 + rng.integers(-100, 128, size=(channels, shape.c // geometry.get("groups", 1), *kernel))
    weight = np.where(rng.random(drawn.shape) < beyond, rng.integers(228, 256, drawn.shape), drawn)
    spread = 5000.0 * np.sqrt(weight[0].size)
    reals = 60.0 / spread * rng.uniform(0.5, 2.0, channels)
    exponent = [24 if rule is Scaling.FLOAT32 else 31] * channels
    pairs = [(int(real * 2.0 ** (e + 8)) >> 3, e + 5) for real, e in zip(reals, exponent, strict=True)]
    pairs = [(m >> 7, s - 7) if rule is Scaling.FLOAT32 else (m, s) for m, s in pairs]
    output = Output(Affine(8, 1.0, 20, signed), ROUNDING[rule], scaling=make_multiplier(rule, pairs), clamp_low=3)
    contract = MacContract(x_format, w_format, output, Accumulator(32))
    bias = rng.integers(-int(spread), int(spread), channels)
    x = rng.integers(x_format.low, x_format.high, size=(2, *shape), endpoint=True).astype(x_format.dtype)
    return x, Convolution(contract, weight.astype(np.uint8), bias, **geometry)


def sums(x: np.ndarray, layer: Convolution) -> np.ndarray:
    """Exact sums [N][K][Y][X] in int64, padded taps 0."""
    (top, left), (bottom, right) = layer.padding
    real = x.astype(np.int64) - layer.contract.input.zero_point
    padded = np.pad(real, ((0, 0), (0, 0), (top, bottom), (left, right)))
    factors = layer.weight.astype(np.int64) - layer.contract.weight.zero_point
    _, h, w = layer.output_shape([Shape(*x.shape[1:])])
    found = np.zeros((len(x), len(factors), h, w), dtype=np.int64)
    for k, weights in enumerate(factors):
        first = k // (len(factors) // layer.groups) * len(weights)
        for c, r, s in np.ndindex(weights.shape):
            plane = padded[:, first + c, r * layer.dilation[0] :, s * layer.dilation[1] :]
            found[:, k] += weights[c, r, s] * plane[:, :: layer.stride[0], :: layer.stride[1]][:, :h, :w]
    return found + np.asarray(layer.bias)[:, None, None]


def scaled(acc: np.ndarray, m: np.ndarray, s: np.ndarray, rule: Scaling) -> np.ndarray:
    """The rules as their sources have them."""
    if rule is Scaling.FLOAT32:
        return np.rint(acc.astype(np.float32) * (m / 2.0**s).astype(np.float32)).astype(np.int64)
    product = acc * m
    if rule is Scaling.MULTIPLY:
        return product + (1 << s - 1) >> s
    if rule is Scaling.DOUBLE_ROUND:
        return product + (1 << s - 1) + np.where(acc >= 0, 1 << 30, -(1 << 30)) >> s
    high = product + (1 << 30) >> 31
    right = s - 31
    below = high & (1 << right) - 1
    return (high >> right) + (below > ((1 << right) - 1 >> 1) + (high < 0))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("rule", ROUNDING)
@pytest.mark.parametrize("size", SIZES)
def test_large_affine_layers_are_exact(isa, size, rule, signed, monkeypatch):
    x, layer = build(size, rule, signed)
    multiplier, shift = (np.array(v)[:, None, None] for v in layer.contract.output.scaling.entries(layer.channels, ""))
    code = np.maximum(scaled(sums(x, layer), multiplier, shift, rule) + 20, 3)
    low, high = layer.contract.output.format.low, layer.contract.output.format.high
    want, events = np.clip(code, low, high), int((code > high).sum())
    assert 0 < events < code.size / 2
    kernel = NATIVE.prepare(layer, [Shape(*x.shape[1:])])
    for threads in ("1", "3"):
        monkeypatch.setenv("HWSIM_THREADS", threads)
        taps = Taps()
        np.testing.assert_array_equal(kernel([x], taps).codes, want, f"{size}, {kernel.path}, {threads} threads")
        assert taps.counted == Events(0, events), kernel.path


@pytest.mark.parametrize("size", SIZES)
def test_each_size_takes_the_path_that_it_is_there_for(library, size, monkeypatch):
    if "amx" not in library.instruction_sets:
        pytest.skip("this processor has no amx")
    monkeypatch.setenv("HWSIM_ISA", "amx")
    x, layer = build(size, Scaling.HIGH_MULTIPLY, signed=False)
    assert NATIVE.prepare(layer, [Shape(*x.shape[1:])]).path == SIZES[size][-1]
