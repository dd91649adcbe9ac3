"""Layers too large for the specification: sums by numpy in int64, then the Python leaves; every path of the C core.

The small cases of tests/conformance rarely fill a register block; these cross the blocks' edges in pixels, channels, steps.
"""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow, wrap_signed
from hwsim.arith.rounding import Rounding, round_shift
from hwsim.backends.base import Taps
from hwsim.backends.native import NATIVE
from hwsim.contract.mac import Accumulator, Activation, MacContract, Output
from hwsim.formats.fixed import FixedPoint
from hwsim.layers import Convolution, Events, Shape

S8, U8, S16, U16 = FixedPoint(8, 4), FixedPoint(8, 4, False), FixedPoint(16, 8), FixedPoint(16, 8, False)

# name: (batch, input, output channels, kernel, geometry, input format, weight format, output bits, accumulator bits)
SIZES = {
    "first layer of SqueezeNet": (1, Shape(3, 39, 41), 96, (7, 7), {"stride": 2}, S8, S8, 8, 32),
    "3x3 over a padded raster": (2, Shape(48, 13, 15), 80, (3, 3), {"pad": 1}, S8, S8, 8, 32),
    "1x1, unsigned": (1, Shape(130, 9, 11), 70, (1, 1), {}, U8, S8, 8, 32),
    "kernel rows merged": (1, Shape(16, 12, 14), 33, (3, 5), {"pad": (1, 2)}, S8, S8, 8, 20),
    "one pixel, many images": (37, Shape(24, 3, 2), 50, (3, 2), {}, S8, S8, 8, 32),
    "one pixel, one image": (1, Shape(300, 3, 2), 131, (3, 2), {}, S8, S8, 16, 32),
    "depthwise": (1, Shape(72, 11, 12), 72, (3, 3), {"pad": 1, "groups": 72}, S8, S8, 8, 32),
    "grouped": (1, Shape(40, 17, 19), 60, (3, 2), {"groups": 4, "stride": (2, 1), "dilation": 2}, U8, S8, 8, 16),
    "16 x 16 bits": (1, Shape(70, 9, 10), 40, (3, 3), {"pad": 1}, S16, S16, 16, 48),
    "16 x 8 bits, unsigned": (1, Shape(70, 9, 10), 40, (3, 3), {"pad": 1}, U16, S8, 16, 40),
    "16 x 16 bits in 64": (1, Shape(600, 5, 6), 17, (1, 1), {}, U16, S16, 24, 64),
    "unsigned 16-bit weights": (1, Shape(20, 6, 7), 19, (2, 3), {}, S16, U16, 16, 32),
    "unsigned 8-bit weights": (1, Shape(40, 9, 10), 33, (3, 3), {"pad": 1}, S8, U8, 8, 32),
}


def codes(rng: np.random.Generator, f: FixedPoint, shape: tuple[int, ...]) -> np.ndarray:
    """Random codes, one in five at an end of the range: only these reach the bounds that the paths are proven by."""
    drawn = rng.integers(f.low, f.high, size=shape, endpoint=True)
    where = rng.random(shape)
    return np.where(where < 0.1, f.low, np.where(where < 0.2, f.high, drawn)).astype(f.dtype)


def direct_sums(x: np.ndarray, layer: Convolution) -> np.ndarray:
    """Exact sums [N][K][Y][X] in int64: one multiply-add of whole planes for each tap."""
    (ph, pw), (sh, sw), (dh, dw), (r, s) = layer.pad, layer.stride, layer.dilation, layer.kernel
    padded = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    _, h, w = layer.output_shape([Shape(*x.shape[1:])])
    group = len(layer.weight) // layer.groups
    sums = np.zeros((len(x), len(layer.weight), h, w), dtype=np.int64)
    for k, weight in enumerate(layer.weight.astype(np.int64)):
        first = k // group * weight.shape[0]
        for i in range(r):
            for j in range(s):
                rows = slice(i * dh, i * dh + sh * (h - 1) + 1, sh)
                columns = slice(j * dw, j * dw + sw * (w - 1) + 1, sw)
                window = padded[:, first : first + weight.shape[0], rows, columns]
                sums[:, k] += np.einsum("ncyx,c->nyx", window, weight[:, i, j])
    return sums


def expected(x: np.ndarray, layer: Convolution) -> tuple[np.ndarray, np.ndarray, Events]:
    """Codes, accumulators and events by the rule of the contract, on whole arrays."""
    p, e = layer.numbers, layer.numbers.epilogue
    assert set(p.product_shift) == {0}
    exact = direct_sums(x, layer) + np.array(p.bias)[:, None, None]
    acc = exact if p.acc_bits == 64 else wrap_signed(exact, p.acc_bits)
    value = np.maximum(acc, 0) if e.activation == Activation.RELU_BEFORE_REQUANTIZE else acc
    rounded = np.stack([round_shift(value[:, k], s, e.rounding) for k, s in enumerate(e.shift)], axis=1)
    clipped = np.clip(rounded, e.low, e.high)
    code = np.maximum(clipped, 0) if e.activation == Activation.RELU_AFTER_REQUANTIZE else clipped
    return code, acc, Events(int((acc != exact).sum()), int((clipped != rounded).sum()))


def build(size: str, rounding: Rounding, activation: Activation) -> tuple[np.ndarray, Convolution]:
    n, shape, channels, kernel, geometry, x_format, w_format, out_bits, acc_bits = SIZES[size]
    rng = np.random.default_rng(len(size))
    groups = geometry.get("groups", 1)
    weight = codes(rng, w_format, (channels, shape.c // groups, *kernel))
    spread = np.sqrt(weight[0].size) * x_format.high * w_format.high / 3
    per_channel = rng.integers(0, 3, channels)  # shifts differ from channel to channel
    weight_format = FixedPoint(w_format.bits, tuple(int(v) for v in per_channel), w_format.signed)
    out_fl = x_format.fl() - max(0, int(np.log2(min(spread, 2.0 ** (acc_bits - 1)))) - out_bits)
    output = Output(FixedPoint(out_bits, out_fl), rounding, Overflow.SATURATE, activation)
    contract = MacContract(x_format, weight_format, output, Accumulator(acc_bits))
    bias = rng.integers(-(1 << min(acc_bits - 2, 40)), 1 << min(acc_bits - 2, 40), channels) >> min(12, acc_bits // 2)
    return codes(rng, x_format, (n, *shape)), Convolution(contract, weight, bias, **geometry)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("rounding", "activation"),
    [
        (Rounding.TIES_EVEN, Activation.RELU_BEFORE_REQUANTIZE),
        (Rounding.TIES_AWAY, Activation.NONE),
        (Rounding.CEIL, Activation.RELU_AFTER_REQUANTIZE),
    ],
    ids=["ties even", "ties away", "ceil"],
)
def test_large_layers_are_exact(isa, size, rounding, activation, monkeypatch):
    x, layer = build(size, rounding, activation)
    want_codes, want_acc, want_events = expected(x, layer)
    kernel = NATIVE.prepare(layer, [Shape(*x.shape[1:])])
    for threads, tapped in (("1", True), ("3", False)):
        monkeypatch.setenv("HWSIM_THREADS", threads)
        taps = Taps.for_layer(layer, len(x), kernel.output_shape, acc=tapped)
        got = kernel([x], taps)
        np.testing.assert_array_equal(got.codes, want_codes, f"{size}, {kernel.path}, {threads} threads")
        assert taps.counted == want_events, kernel.path
        if tapped:
            np.testing.assert_array_equal(taps.acc.transpose(0, 3, 1, 2), want_acc, kernel.path)


def test_some_outputs_saturate_and_some_do_not():
    for size in SIZES:
        x, layer = build(size, Rounding.TIES_EVEN, Activation.NONE)
        code, _, events = expected(x, layer)
        assert 0 < events.output < code.size, size


PATHS = {
    ("amx", "3x3 over a padded raster"): "amx s8s8s32",
    ("amx", "1x1, unsigned"): "amx u8s8s32",
    ("avx512vnni", "3x3 over a padded raster"): "avx512vnni s8s8s32",
    ("avx512vnni", "16 x 16 bits"): "avx512vnni s16s16s64",
    ("avx2", "1x1, unsigned"): "avx2 s16s16s32",
    ("portable", "16 x 16 bits"): "portable s16s16s64",
    ("amx", "unsigned 16-bit weights"): "portable any",
}


@pytest.mark.parametrize(("name", "size"), PATHS)
def test_each_size_takes_the_path_that_it_is_there_for(library, name, size, monkeypatch):
    if name not in library.instruction_sets:
        pytest.skip(f"this processor has no {name}")
    monkeypatch.setenv("HWSIM_ISA", name)
    x, layer = build(size, Rounding.TIES_EVEN, Activation.NONE)
    assert NATIVE.prepare(layer, [Shape(*x.shape[1:])]).path == PATHS[name, size]
