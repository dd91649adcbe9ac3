"""Networks that onnxruntime's own quantizer makes of float ones: every code before the softmax is onnxruntime's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.network import read
from support.onnx_files import model, run, save

pytestmark = pytest.mark.usefixtures("onnxruntime")
SHAPE = (3, 19, 21)


def residual(rng) -> object:
    """Branches, a sum, a concatenation, both averages, a classifier: what the quantizer has operators of its own for."""

    def normal(*shape):
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)

    nodes = [
        ("Conv", "x w1 b1", "c1", {"pads": [1, 1, 1, 1]}),
        ("Relu", "c1", "r1"),
        ("MaxPool", "r1", "p1", {"kernel_shape": [3, 3], "strides": [2, 2]}),
        ("Conv", "p1 w2 b2", "left", {"pads": [1, 1, 1, 1]}),
        ("Conv", "p1 w3 b3", "right", {}),
        ("Concat", "left right", "joint", {"axis": 1}),
        ("LeakyRelu", "joint", "leaky", {"alpha": 0.1}),
        ("Conv", "leaky w4 b4", "c4", {"group": 2, "pads": [1, 1, 1, 1]}),
        ("Add", "c4 p1", "sum"),
        ("GlobalAveragePool", "sum", "gap"),
        ("Flatten", "gap", "flat"),
        ("Gemm", "flat w5 b5", "logits", {"transB": 1}),
        ("Softmax", "logits", "y", {"axis": 1}),
    ]
    constants = {"w1": normal(8, 3, 3, 3), "b1": normal(8), "w2": normal(4, 8, 3, 3), "b2": normal(4), "w3": normal(6, 8, 1, 1)}
    constants |= {"b3": normal(6), "w4": normal(8, 5, 3, 3), "b4": normal(8), "w5": normal(10, 8), "b5": normal(10)}
    return model(nodes, constants, ("N", *SHAPE))


def quantized(float_model: Path, reals: np.ndarray, form: str, weights: str, per_channel: bool, codes: str = "QUInt8") -> Path:
    """What the quantizer makes of a float model and calibration images."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(reals)

        def get_next(self):
            image = next(self.rest, None)
            return None if image is None else {self.name: image[None]}

    import onnx

    Images.name = onnx.load(float_model).graph.input[0].name
    out = float_model.with_name(f"{form}.onnx")
    kinds = {"activation_type": QuantType[codes], "weight_type": QuantType[weights]}
    quantize_static(float_model, out, Images(), quant_format=QuantFormat[form], per_channel=per_channel, **kinds)
    return out


def logits(path: Path, reals: np.ndarray, step: float, zero: int) -> np.ndarray:
    """The codes that onnxruntime's softmax reads."""
    import onnx

    made = onnx.load(path)
    softmax = next(node for node in made.graph.node if node.op_type in ("Softmax", "QLinearSoftmax"))
    del made.graph.output[:]
    made.graph.output.append(onnx.helper.make_empty_tensor_value_info(softmax.input[0]))
    (found,) = run(made, reals)
    return found if found.dtype.kind in "iu" else np.rint(found / np.float32(step)).astype(int) + zero


def check(path: Path, images: np.ndarray, **wish) -> None:
    network = read(path, **wish)
    ours = hwsim.run(network, images, backend="jit")
    data, fmt = ours[network.nodes[0].name].codes, network.nodes[0].layer.output_format
    reals = ((data.astype(np.float64) - fmt.zero()) * fmt.step()).astype(np.float32)  # so that no tie of the image decides
    last = network[network.logits].layer.output_format
    expected = logits(path, reals, last.step(), last.zero())
    assert len(np.unique(expected)) > 10
    np.testing.assert_array_equal(ours[network.logits].codes.reshape(expected.shape), expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize(
    ("weights", "per_channel", "codes"),
    [("QInt8", True, "QUInt8"), ("QInt8", False, "QUInt8"), ("QUInt8", False, "QUInt8"), ("QInt8", True, "QInt8")],
)
def test_every_code_of_a_quantized_network_is_onnxruntimes(tmp_path, form, weights, per_channel, codes):
    rng = np.random.default_rng(41)
    images = rng.integers(0, 256, (6, *SHAPE), dtype=np.uint8)
    reals = (images / 128 - 1).astype(np.float32)
    path = quantized(save(residual(rng), tmp_path), reals, form, weights, per_channel, codes)
    check(path, images, mean=(128.0,) * 3, scale=1 / 128)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_lenet_through_the_quantizer(tmp_path, data_dir, form):
    from hwsim.quantize.to_onnx import to_onnx

    net = read(data_dir / "lenet" / "lenet.prototxt", data_dir / "lenet" / "lenet.caffemodel", scale=1 / 256)
    chosen = hwsim.images(data_dir / "mnist" / "t10k-first5000-images-idx3-ubyte.gz", net.preprocessing, limit=100)
    images = np.stack([image.pixels for image in chosen])
    reals = net.preprocessing.real(images)
    path = quantized(save(to_onnx(net, [net.outputs[-1]]), tmp_path), reals[:10], form, "QInt8", True)
    check(path, images, scale=1 / 256)
