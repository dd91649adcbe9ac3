"""Real networks, one image each: accumulators against oracles that are not ours, and all backends against each other.

The oracle computes every sum of products as ONNX Runtime's ConvInteger does and, independently, as a float64 matrix
product over patches, exact below 2**53; bias, wrap and rounding follow from the formats' real values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import hwsim
from hwsim.contract.dialects import EXACT32, RISTRETTO_GPU
from hwsim.execute.trace import Trace
from hwsim.layers import Convolution, Events
from hwsim.network.preprocessing import ChannelOrder
from hwsim.network.quantized import QuantizedNetwork
from oracles.onnx_oracle import convolve_integer
from oracles.patches import codes_from, contents, product_sums
from oracles.targets import TARGETS, Target

CALIBRATION = 8
SAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Subject:
    """A quantized network, the pixels of one image, and its trace by jit."""

    quantized: QuantizedNetwork
    pixels: np.ndarray
    trace: Trace

    @property
    def macs(self):
        return [layer for layer in self.trace if layer.acc is not None]


def subject(net, data: str, bits: int, dialect) -> Subject:
    images = hwsim.images(data, net.preprocessing)
    quantized = hwsim.quantize(net, images[:CALIBRATION], bits=bits, dialect=dialect)
    pixels = images.pixels(CALIBRATION)[None]
    return Subject(quantized, pixels, hwsim.run(quantized, pixels, backend="jit"))


def squeezenet(data_dir):
    folder = data_dir / "squeezenet_v1.0"
    net = hwsim.read(folder / "deploy.prototxt", folder / "squeezenet_v1.0.caffemodel", mean=(104.0, 117.0, 123.0))
    return net, str(data_dir / "imagenet_val" / "calibration.txt")


def lenet(data_dir):
    folder = data_dir / "lenet"
    net = hwsim.read(folder / "lenet.prototxt", folder / "lenet.caffemodel", scale=1 / 256)
    return net, str(data_dir / "mnist" / "t10k-first5000-images-idx3-ubyte.gz")


def cifar10(data_dir):
    folder = data_dir / "cifar10"
    net = hwsim.read(
        folder / "cifar10_full.prototxt",
        folder / "cifar10_full_v1format.caffemodel",
        mean=np.load(folder / "train_mean_rgb_chw.npy"),
        channel_order=ChannelOrder.RGB,
    )
    return net, str(folder / "test_first500.npz")


SUBJECTS = {
    "squeezenet exact32": (squeezenet, 8, EXACT32, 26),
    "squeezenet ristretto": (squeezenet, 8, RISTRETTO_GPU, 26),
    "lenet exact32": (lenet, 8, EXACT32, 4),
    "lenet ristretto": (lenet, 8, RISTRETTO_GPU, 4),
    "cifar10 exact32": (cifar10, 8, EXACT32, 4),
    "cifar10 ristretto 16 bits": (cifar10, 16, RISTRETTO_GPU, 4),
}


@pytest.fixture(scope="module", params=[pytest.param(s, marks=pytest.mark.slow if "squeezenet" in s else ()) for s in SUBJECTS])
def real(request, data_dir) -> Subject:
    network, bits, dialect, macs = SUBJECTS[request.param]
    made = subject(*network(data_dir), bits, dialect)
    assert len(made.macs) == macs
    return made


def test_every_layer_reads_what_its_producers_wrote(real):
    for node in real.quantized.nodes:
        wrote = [real.trace[name].codes for name in node.inputs] or [real.pixels]
        for seen, made in zip(real.trace[node.name].inputs, wrote, strict=True):
            np.testing.assert_array_equal(seen, made, node.name)


def test_every_accumulator_is_the_float64_product_plus_bias(real):
    for layer in real.macs:
        want, events = contents(layer.layer, product_sums(layer.layer, layer.inputs[0]))
        np.testing.assert_array_equal(layer.acc, want, layer.name)
        assert layer.events.accumulator == events, layer.name


def test_every_accumulator_is_conv_integer_plus_bias(onnxruntime, real):
    for layer in real.macs:
        mac, x = layer.layer, layer.inputs[0]
        if not isinstance(mac, Convolution):
            weight = mac.weight.reshape(len(mac.weight), *x.shape[1:])
            mac = Convolution(mac.contract, weight, mac.bias)
        want, _ = contents(mac, convolve_integer(onnxruntime, x, mac))
        np.testing.assert_array_equal(layer.acc, want.reshape(layer.acc.shape), layer.name)


def test_every_code_of_a_mac_layer_follows_from_its_accumulator(real):
    for layer in real.macs:
        want, events = codes_from(layer.layer, layer.acc)
        np.testing.assert_array_equal(layer.codes, want, layer.name)
        assert layer.events.output == events, layer.name


@pytest.mark.parametrize("target", [t for t in TARGETS if t.backend == "native"], ids=str)
def test_native_equals_jit_whole(real, target: Target):
    target.need()
    with target.chosen():
        trace = hwsim.run(real.quantized, real.pixels, backend="native")
    for ours, theirs in zip(trace, real.trace, strict=True):
        if ours.acc is not None:
            np.testing.assert_array_equal(ours.acc, theirs.acc, ours.name)
        np.testing.assert_array_equal(ours.codes, theirs.codes, ours.name)
        assert ours.events == theirs.events, ours.name


def sampled(shape: tuple[int, ...], rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Return at least SAMPLES places (or all): four corners of the first and last channel, every channel, the rest anywhere."""
    n, channels, height, width = shape
    if np.prod(shape) <= SAMPLES:
        return list(np.ndindex(*shape))
    corners = {(0, k, y, x) for k in (0, channels - 1) for y in (0, height - 1) for x in (0, width - 1)}
    each = {(0, k, int(rng.integers(height)), int(rng.integers(width))) for k in range(channels)}
    places = corners | each
    while len(places) < SAMPLES:
        places.add((0, int(rng.integers(channels)), int(rng.integers(height)), int(rng.integers(width))))
    return sorted(places)


def test_spec_equals_jit(request, real):
    """Whole on LeNet and CIFAR-10 full, with its events; at sampled places on SqueezeNet."""
    whole = "squeezenet" not in request.node.callspec.params["real"]
    rng = np.random.default_rng(1)
    for layer in real.trace:
        inputs = [x.tolist() for x in layer.inputs]
        places = list(np.ndindex(*layer.codes.shape)) if whole else sampled(layer.codes.shape, rng)
        counted = Events()
        for at in places:
            cell = layer.layer.spec(inputs, *at)
            assert cell.code == layer.codes[at], (layer.name, at)
            assert layer.acc is None or cell.acc == layer.acc[at], (layer.name, at)
            counted = counted.plus(cell.events)
        if whole:
            assert counted == layer.events, layer.name
