"""A Caffe network of every kind of layer that is no plain convolution, from its files to integers."""

from __future__ import annotations

import numpy as np
import pytest

import hwsim
from hwsim.contract.dialects import EXACT32, RISTRETTO_CPU, RISTRETTO_GPU
from hwsim.formats import PowerOfTwo
from hwsim.quantize.float_run import FloatRun
from support.caffe_files import write_network

RNG = np.random.default_rng(21)

TEXT = """
name: "kinds"
input: "data"  input_shape { dim: 1 dim: 3 dim: 13 dim: 11 }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "m" type: "Pooling" bottom: "c" top: "m" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "r" type: "ReLU6" bottom: "m" top: "m" }
layer { name: "n" type: "LRN" bottom: "m" top: "n" lrn_param { local_size: 3 alpha: 0.5 } }
layer { name: "a" type: "PReLU" bottom: "c" top: "a" }
layer { name: "h" type: "Slice" bottom: "a" top: "low" top: "high" slice_param { slice_point: 3 } }
layer { name: "u" type: "Deconvolution" bottom: "n" top: "u" convolution_param { num_output: 5 kernel_size: 3 stride: 2 } }
layer { name: "t" type: "TanH" bottom: "u" top: "t" }
layer { name: "x" type: "Convolution" bottom: "high" top: "x" convolution_param { num_output: 5 kernel_h: 1 kernel_w: 1 } }
layer { name: "l" type: "ReLU" bottom: "x" top: "l" relu_param { negative_slope: 0.125 } }
layer { name: "p" type: "Eltwise" bottom: "t" bottom: "l" top: "p" eltwise_param { operation: PROD } }
layer { name: "y" type: "Convolution" bottom: "low" top: "y" convolution_param { num_output: 5 kernel_h: 1 kernel_w: 1 } }
layer { name: "g" type: "Sigmoid" bottom: "y" top: "g" }
layer { name: "q" type: "Eltwise" bottom: "p" bottom: "g" top: "q" eltwise_param { operation: MAX } }
layer { name: "j" type: "Concat" bottom: "q" bottom: "low" top: "j" }
layer { name: "f" type: "InnerProduct" bottom: "j" top: "f" inner_product_param { num_output: 10 } }
"""


def near(*shape: int, gain: float = 1.0) -> np.ndarray:
    return (RNG.normal(size=shape) * gain / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


BLOBS = {
    "c": [near(8, 3, 3, 3, gain=4.0), near(8)],
    "a": [RNG.uniform(-0.3, 0.9, 8).astype(np.float32)],
    "u": [near(8, 5, 3, 3, gain=2.0), near(5)],
    "x": [near(5, 5, 1, 1, gain=0.7), near(5)],
    "y": [near(5, 3, 1, 1, gain=0.7), near(5)],
    "f": [near(10, 8 * 13 * 11, gain=5.0), near(10)],
}


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    files = write_network(tmp_path_factory.mktemp("kinds"), TEXT, BLOBS)
    return hwsim.read(*files, mean=(104.0, 117.0, 123.0), scale=1 / 64, channel_order=hwsim.ChannelOrder.BGR)


def images(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, 13, 11), dtype=np.uint8)


SCHOOLS = {
    "exact32": dict(dialect=EXACT32),
    "exact32, powers of two": dict(dialect=EXACT32, scheme=hwsim.Scheme.POWER_OF_TWO),
    "ristretto cpu": dict(dialect=RISTRETTO_CPU),
    "ristretto gpu, 12 bits": dict(dialect=RISTRETTO_GPU, bits=12),
}


@pytest.fixture(scope="module", params=SCHOOLS)
def quantized(request, net, onnxruntime):
    return hwsim.quantize(net, images(60, 1), **SCHOOLS[request.param])


def test_the_answers_are_floats(net, quantized):
    """Most of 100 answers among ten classes; chance gives ten, and four bits of a power of two are coarse."""
    some = images(100, 2)
    plan = hwsim.Plan(quantized, "jit", batch=100)
    ours = plan.run(some).reshape(100, -1).argmax(1)
    theirs = FloatRun(net).logits(net.preprocessing.real(some)).reshape(100, -1).argmax(1)
    coarse = any(isinstance(node.layer.contract.weight, PowerOfTwo) for node in quantized.mac_nodes)
    assert (ours == theirs).sum() >= (60 if coarse else 85) and len(np.unique(theirs)) > 3


def test_no_backend_differs(quantized):
    image = images(1, 3)[0]
    spec, jit, auto = (hwsim.run(quantized, image, backend=name) for name in ("spec", "jit", "auto"))
    for a, b, c in zip(spec, jit, auto, strict=True):
        np.testing.assert_array_equal(a.codes, b.codes, a.name)
        np.testing.assert_array_equal(a.codes, c.codes, a.name)
        assert a.events == b.events == c.events, a.name


def test_only_ristretto_leaves_a_layer_to_the_host(quantized):
    hosted = [node.name for node in quantized.nodes if node.layer.kind.startswith("host")]
    assert hosted == (["n"] if "ristretto" in quantized.dialect else [])


def test_files_keep_it(quantized, tmp_path):
    again = hwsim.load(quantized.save(tmp_path / "kinds.hwnet"))
    assert [(node.name, node.to_json()) for node in again.nodes] == [(node.name, node.to_json()) for node in quantized.nodes]


def test_a_package_of_every_layer_is_checked_by_the_specification(quantized, tmp_path):
    trace = hwsim.run(quantized, images(1, 4)[0], backend="jit")
    package = hwsim.write_golden(trace, tmp_path / "package")
    assert hwsim.check(package).passed
