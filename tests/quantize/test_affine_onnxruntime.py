"""What quantize makes in the dialect ONNXRUNTIME is what onnxruntime computes: written as QDQ, the same numbers, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import hwsim
from hwsim.contract import ONNXRUNTIME, TFLITE
from hwsim.network import ops
from hwsim.network.graph import Network, Node
from hwsim.network.ranges import Calibration
from support.float_networks import IMAGE, conv, fire, pixels


def gated(seed: int = 3) -> Network:
    """data -> conv + clip 0..6, conv -> product of the two -> fully connected: the last layer's codes are the output."""
    rng = np.random.default_rng(seed)
    dense = ops.InnerProduct(rng.normal(size=(6, 4 * 9 * 11)).astype(np.float32), rng.normal(size=6).astype(np.float32))
    nodes = (
        Node("data", ops.Input((3, 11, 13), IMAGE)),
        Node("conv", conv(rng, (4, 3, 3, 3), 4.0), ("data",)),
        Node("relu6", ops.Clip(0.0, 6.0), ("conv",)),
        Node("gate", conv(rng, (4, 3, 3, 3)), ("data",)),
        Node("gated", ops.EltwiseProduct(), ("relu6", "gate")),
        Node("fc", dense, ("gated",)),
    )
    return Network("gated", nodes)


def headless() -> Network:
    """fire without its softmax."""
    return Network("fire", fire().nodes[:-1])


def added() -> Network:
    """fire up to its sum and the ReLU behind it: each sum is an output."""
    return Network("fire", fire().nodes[:-2])


def product() -> Network:
    """gated up to its product: each product is an output."""
    return Network("gated", gated().nodes[:-1])


def summed() -> Network:
    """fire up to its sum alone: onnxruntime makes one operator of it."""
    return Network("fire", fire().nodes[:-3])


def both(network: Network, folder, images: np.ndarray, **options) -> tuple[np.ndarray, np.ndarray]:
    """The output of hwsim and of onnxruntime, float32."""
    import onnxruntime

    q = hwsim.quantize(network, pixels(12), method=Calibration.MAXIMUM, **options)
    session = onnxruntime.InferenceSession(str(hwsim.write_onnx(q, folder / "net.onnx")), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: IMAGE.real(images)})[0]
    fmt = q[q.logits].layer.output_format
    codes = hwsim.run(q, images, backend="jit")[q.logits].codes
    mine = np.float32(fmt.step()) * (codes.astype(np.float32) - np.float32(fmt.zero()))
    return mine.ravel(), found.ravel()


@pytest.mark.parametrize("options", [{}, {"signed": False}, {"per_channel": False}], ids=str)
@pytest.mark.parametrize("network", [headless, added, summed, gated, product])
def test_onnxruntime_computes_the_same_outputs(network, options, tmp_path, onnxruntime):
    mine, found = both(network(), tmp_path, pixels(40, 9), dialect=ONNXRUNTIME, **options)
    assert np.array_equal(mine, found) and len(np.unique(mine)) > 20


def test_another_dialect_is_another_network(tmp_path, onnxruntime):
    """TensorFlow Lite's rules, by the same ranges: somewhere else in the last bit."""
    images = pixels(40, 9)
    q = [hwsim.quantize(headless(), pixels(12), method=Calibration.MAXIMUM, dialect=d) for d in (ONNXRUNTIME, TFLITE)]
    a, b = (hwsim.run(network, images, backend="jit")["sum"].codes for network in q)
    assert (a != b).sum() >= 100 and np.abs(a.astype(int) - b.astype(int)).max() <= 3


@pytest.mark.slow
def test_squeezenet_in_uint8_gives_onnxruntime_the_same_logits(data_dir, tmp_path, onnxruntime):
    """int8 codes would not: onnxruntime leaves their convolutions in float on x86."""
    folder = data_dir / "squeezenet_v1.0"
    net = hwsim.read(folder / "deploy.prototxt", folder / "squeezenet_v1.0.caffemodel", mean=(104.0, 117.0, 123.0))
    net = Network(net.name, net.nodes[:-1])
    lists = data_dir / "imagenet_val"
    seen, scored = (hwsim.images(str(lists / f), net.preprocessing) for f in ("calibration.txt", "scoring.txt"))
    q = hwsim.quantize(net, seen, limit=4, dialect=ONNXRUNTIME, method=Calibration.MAXIMUM, signed=False)
    images = np.stack([scored.pixels(i) for i in range(2)])
    session = onnxruntime.InferenceSession(str(hwsim.write_onnx(q, tmp_path / "net.onnx")), providers=["CPUExecutionProvider"])
    found = [session.run(None, {session.get_inputs()[0].name: net.preprocessing.real(images[i : i + 1])})[0] for i in range(2)]
    fmt = q[q.logits].layer.output_format
    codes = hwsim.run(q, images)[q.logits].codes
    mine = np.float32(fmt.step()) * (codes.astype(np.float32) - np.float32(fmt.zero()))
    assert np.array_equal(mine.ravel(), np.concatenate(found).ravel()) and len(np.unique(mine)) > 50
