"""Small .tflite models of drawn shapes, scales and accumulators: hwsim's codes are those of LiteRT's reference kernels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.backends.registry import native_available
from hwsim.contract import Multiplier, Output
from hwsim.contract.scaling import (
    float32_multiplier,
    float64_multiplier,
    make_multiplier,
    quantized_multiplier,
    reduced_multiplier,
)
from hwsim.execute.plan import Plan
from hwsim.formats import Affine
from hwsim.layers import Convolution, MacLayer
from hwsim.network.caffe_input import Wish
from hwsim.network.quantized import QuantizedNetwork
from hwsim.network.read_tflite import network_of
from hwsim.network.tflite_file import parse_tflite

litert = pytest.importorskip("oracles.litert", exc_type=ImportError)
models = pytest.importorskip("oracles.tflite_models", exc_type=ImportError)

QUICK, MORE = range(6), range(6, 60)
KINDS = [(kind, dtype) for kind in models.MODELS for dtype in models.TYPES.get(kind, ("uint8", "int8"))]
FASTEST = "auto" if native_available() else "jit"


def opened(data: bytes) -> QuantizedNetwork:
    return network_of(parse_tflite(data, "x.tflite"), "x", Wish())[0]


def reference(data: bytes, pixels: np.ndarray, dtype: str) -> np.ndarray:
    """LiteRT's output codes, [N] and all else in the order C, H, W."""
    run = litert.Reference(data)
    found = np.concatenate([run.run(codes[None]) for codes in models.as_codes(pixels, dtype)])
    return (found.transpose(0, 3, 1, 2) if found.ndim == 4 else found).reshape(len(pixels), -1)


def check(kind: str, dtype: str, seed: int, backend: str, images: int = 4) -> None:
    """Every tensor that an operator writes, on every image."""
    data = models.MODELS[kind](dtype, seed)
    model = parse_tflite(data, "x.tflite")
    network, held = network_of(model, "x", models.wish(model.tensors[0]))
    pixels = models.image_codes(model.tensors[0], images, seed)
    plan, reference = Plan(network, backend, images), litert.Reference(data)
    plan.run(pixels)
    for i, codes in enumerate(models.as_codes(pixels, dtype)):
        reference.run(codes[None])
        for index, node in held.items():
            wanted, found = reference.tensor(index), plan.buffers[node].codes[i]
            planes = models.as_planes(wanted, found.shape)
            assert np.array_equal(found, planes) and found.dtype == planes.dtype, (kind, dtype, seed, backend, node)


@pytest.mark.parametrize("kind, dtype", KINDS)
def test_codes_are_litert_s(kind: str, dtype: str) -> None:
    for seed in QUICK:
        check(kind, dtype, seed, FASTEST)


@pytest.mark.parametrize("kind, dtype", KINDS)
def test_the_specification_says_so_too(kind: str, dtype: str) -> None:
    for seed in QUICK[:2]:
        check(kind, dtype, seed, "spec", images=1)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jit", "auto"])
@pytest.mark.parametrize("kind, dtype", KINDS)
def test_codes_of_many_more_models_are_litert_s(kind: str, dtype: str, backend: str) -> None:
    for seed in MORE:
        check(kind, dtype, seed, backend)


# -- schools and mutants -------------------------------------------------------------------------------------------------

CHANNELS = 512


def crafted(dtype: str, seed: int, exact: bool, left: bool) -> tuple[bytes, np.ndarray]:
    """A convolution whose accumulators are its biases: on and beside ties of its output, with exact scales or any.

    left: accumulators that lose their upper bits where a school shifts them left within 32 bits. There alone the double
    roundings of TensorFlow Lite and TOSA differ: floor((floor(v / 2**31 + 1/2) + 2**(r-1) - [v < 0]) / 2**r) is both of them.
    """
    rng = np.random.default_rng(seed)
    low, high = models.LIMITS[dtype]
    real = float(2.0 ** int(rng.integers(2, 5) if left else -rng.integers(2, 22)) * (1 if exact else rng.uniform(0.5, 1)))
    scales = (0.5, 0.25) if exact else (float(np.float32(rng.uniform(0.1, 1))), float(np.float32(rng.uniform(0.1, 1))))
    out = float(np.float32(scales[0] * scales[1] / real))
    ties = rng.integers(low, high, CHANNELS) + rng.choice([0, 0.5], CHANNELS)
    bias = np.round(ties / real) + rng.integers(-1, 2, CHANNELS)
    bias = rng.integers(-(1 << 30), 1 << 30, CHANNELS) if left else np.clip(bias, -(1 << 30), 1 << 30)
    bias = bias.astype(np.int32)
    tensors = [
        litert.T((1, 1, 1, 1), dtype, scales[:1], (3,), name="image"),
        litert.constant(np.zeros((CHANNELS, 1, 1, 1), dtype), scales[1:], (0,)),
        litert.constant(bias, (float(np.float32(scales[0] * scales[1])),), (0,)),
        litert.T((1, 1, 1, CHANNELS), dtype, (out,), (0,)),
    ]
    op = litert.Op("CONV_2D", (0, 1, 2), (3,), "Conv2DOptions", {"padding": 1, "strideH": 1, "strideW": 1}, 3)
    return litert.build(tensors, [op], [0], [3]), np.full((1, 1, 1, 1), 77, np.uint8)


def changed(network: QuantizedNetwork, scaling: Multiplier | None, rounding: Rounding) -> QuantizedNetwork:
    """The network with another output stage in its last layer."""
    last = network.nodes[-1]
    assert isinstance(last.layer, MacLayer)
    contract = last.layer.contract
    assert isinstance(contract.output, Output)
    stage = replace(contract.output, scaling=scaling or contract.output.scaling, rounding=rounding)
    layer = replace(last.layer, contract=replace(contract, output=stage))
    return replace(network, nodes=(*network.nodes[:-1], replace(last, layer=layer)))


def real_of(network: QuantizedNetwork) -> float:
    """The real multiplier of the last layer, in double."""
    layer = network.nodes[-1].layer
    assert isinstance(layer, Convolution)
    x, w, y = layer.contract.input, layer.contract.weight, layer.contract.output.format
    assert isinstance(x, Affine) and isinstance(w, Affine) and isinstance(y, Affine)
    return x.step() * w.step() / y.step()


def shifted(real: float) -> tuple[int, int]:
    """The nearest power of two: what a unit with shifts alone has."""
    return 1, -round(np.log2(real))


SCHOOLS = {
    "tflite": (Scaling.HIGH_MULTIPLY, quantized_multiplier, Rounding.TIES_AWAY),
    "tflite, one rounding": (Scaling.MULTIPLY, quantized_multiplier, Rounding.TIES_UP),
    "tosa": (Scaling.DOUBLE_ROUND, quantized_multiplier, Rounding.TIES_UP),
    "16 x 8, 15 bits": (Scaling.MULTIPLY, lambda real: reduced_multiplier(*quantized_multiplier(real)), Rounding.TIES_UP),
    "onnxruntime": (Scaling.FLOAT32, lambda real: float32_multiplier(float(np.float32(real))), Rounding.TIES_EVEN),
    "fully connected": (Scaling.FLOAT64, float64_multiplier, Rounding.TIES_AWAY),
    "shift": (Scaling.MULTIPLY, shifted, Rounding.TIES_UP),
}
MUTANTS = {"ties even": Rounding.TIES_EVEN, "ties up": Rounding.TIES_UP, "ties down": Rounding.TIES_DOWN, "floor": Rounding.FLOOR}


def test_schools_are_told_apart_and_mutants_are_seen() -> None:
    """Of every two schools at least 100 codes differ, and of every mutant from LiteRT; hwsim's own are LiteRT's."""
    apart: Counter[tuple[str, str]] = Counter()
    for seed in range(24):
        dtype = ("uint8", "int8")[seed % 2]
        data, pixels = crafted(dtype, seed, exact=seed % 4 < 2, left=seed % 8 > 5)
        network = opened(data)
        wanted, real = reference(data, pixels, dtype), real_of(network)
        codes = {"litert": wanted, "hwsim": Plan(network, FASTEST).run(pixels)}
        assert np.array_equal(codes["hwsim"], wanted), seed
        for name, (rule, derive, rounding) in SCHOOLS.items():
            school = changed(network, make_multiplier(rule, [derive(real)]), rounding)
            codes[name] = Plan(school, "jit").run(pixels)
        for name, mode in MUTANTS.items():
            apart["litert", name] += int((Plan(changed(network, None, mode), "jit").run(pixels) != wanted).sum())
        for i, first in enumerate(SCHOOLS):
            for second in list(SCHOOLS)[i + 1 :]:
                apart[first, second] += int((codes[first] != codes[second]).sum())
    assert len(apart) == 21 + len(MUTANTS) and min(apart.values()) >= 100, apart.most_common()[::-1][:6]
