"""A network in integers written as ONNX: onnxruntime computes the same codes where nothing is said against it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hwsim
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, ExactSum, FloatMacContract, MacContract, Output
from hwsim.contract.mac import Activation
from hwsim.contract.operand import fused_sum, offset_product
from hwsim.contract.product import ShiftAdd
from hwsim.contract.reciprocals import float32_reciprocal
from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint, PowerOfTwo
from hwsim.formats.catalog import E4M3
from hwsim.layers import (
    AveragePool,
    ChannelShuffle,
    Clamp,
    Convolution,
    CountRule,
    Deconvolution,
    EltwiseMax,
    EltwiseProduct,
    EltwiseSum,
    FullyConnected,
    ImageEncoding,
    MaxPool,
    Pad,
    ReLU,
    Rescale,
    ResizeNearest,
    Sampling,
    Shape,
    Slice,
    Softmax,
    Window,
)
from hwsim.network.lower.onnx_quantized_layers import contract
from hwsim.network.preprocessing import ChannelOrder, Preprocessing
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from hwsim.network.write_onnx import differences, to_qdq, write_onnx
from support.networks import branching, pixels
from support.onnx_files import run, save

pytestmark = pytest.mark.usefixtures("onnxruntime")
RNG = np.random.default_rng(31)
SHAPE = Shape(3, 7, 11)
S8, U8 = FixedPoint(8, 0), FixedPoint(8, -1, signed=False)


def chain(*layers, first=S8, mean=(104.0, 117.0, 123.5)):
    """A network of layers, each reading the one before."""
    nodes = [QuantizedNode("data", (), ImageEncoding.from_real(mean, 1.0, Output(first)))]
    for i, layer in enumerate(layers):
        nodes.append(QuantizedNode(f"l{i}", (nodes[-1].name,) * len(layer.input_formats), layer))
    return QuantizedNetwork("chain", tuple(nodes), SHAPE, Preprocessing(ChannelOrder.BGR, SHAPE[1:], mean), "by hand")


def ours(network, images):
    last = network.nodes[-1]
    codes = hwsim.run(network, images, backend="jit")[last.name].codes
    fmt = last.layer.output_format
    real = (codes.astype(np.float64) - fmt.zero()) * (fmt.step() if isinstance(fmt, Affine) else 2.0 ** -fmt.fl())
    return real.astype(np.float32)


def theirs(network, images, optimized):
    """The image's codes as hwsim has them, as real numbers: so that no tie of the image decides."""
    data = network.nodes[0]
    codes = hwsim.run(network, images, backend="jit")[data.name].codes.astype(np.float64)
    fmt = data.layer.output_format
    real = (codes - fmt.zero()) * (fmt.step() if isinstance(fmt, Affine) else 2.0 ** -fmt.fl())
    (found,) = run(to_qdq(network), real.astype(np.float32), optimized)
    return found


def agree(network, optimized=(True, False)):
    images = pixels(2)
    expected = ours(network, images)
    assert len(np.unique(expected)) > 3  # a constant would agree with anything
    for each in optimized:
        np.testing.assert_array_equal(theirs(network, images, each), expected)


def mac(x, w, output, bits=32, **fields):
    return MacContract(x, w, output, Accumulator(bits), **fields)


def convolution(x=S8, w=None, y=None, shape=(4, 3, 3, 2), bias=True, bits=32, own_bias=None, **attributes):
    w, y = w or FixedPoint(8, 7), y or Output(U8, activation=Activation.RELU_BEFORE_REQUANTIZE)
    contract = mac(x, w, y, bits, bias=own_bias)
    codes = RNG.integers(w.low, w.high + 1, shape)
    low, high = (-9000, 9000) if own_bias is None else (own_bias.low, own_bias.high + 1)
    return Convolution(contract, codes, RNG.integers(low, high, shape[0]) if bias else None, **attributes)


def powers(**fields):
    """Weights +-2**-7..1 and 0, by an exact shift-add unit."""
    weight = PowerOfTwo(-7, 0)
    codes = weight.encode_array(RNG.normal(size=(4, 3, 3, 2)))
    return Convolution(mac(S8, weight, Output(S8), **fields), codes, RNG.integers(-99, 99, 4))


ATTRIBUTES = {"stride": (2, 1), "pad": (1, 0), "dilation": (1, 2), "pad_end": (2, 1)}
LAYERS = {
    "relu in unsigned codes": (convolution(),),
    "no bias, attributes": (convolution(bias=False, **ATTRIBUTES),),
    "depthwise": (convolution(shape=(6, 1, 3, 3), groups=3),),
    "signed, relu": (convolution(y=Output(FixedPoint(8, -2), activation=Activation.RELU_AFTER_REQUANTIZE)),),
    "weights per channel": (convolution(w=FixedPoint(8, (7, 5, 9, 7))),),
    "weights of 4 bits": (convolution(w=FixedPoint(4, 3)),),
    "weights of powers of two": (powers(),),
    "a bias of its own format": (convolution(own_bias=FixedPoint(8, 5)),),
    "codes of 5 bits": (convolution(y=Output(FixedPoint(5, -5))), MaxPool(FixedPoint(5, -5), Window((2, 2)))),
    "symmetric": (convolution(y=Output(FixedPoint(8, -1), overflow=Overflow.SATURATE_SYMMETRIC)),),
    "clamped": (convolution(y=Output(U8, clamp_low=3, clamp_high=100)),),
    "codes of 12 bits": (
        convolution(y=Output(FixedPoint(12, 3))),
        convolution(FixedPoint(12, 3), y=Output(FixedPoint(16, 1)), shape=(2, 4, 1, 1)),
    ),
    "fully connected": (
        FullyConnected(
            mac(S8, FixedPoint(8, 7), Output(FixedPoint(16, 0))), RNG.integers(-128, 128, (5, 231)), RNG.integers(-99, 99, 5)
        ),
    ),
    "max pool": (MaxPool(S8, Window((3, 2), (2, 2), (1, 0), True, (2, 1))),),
    "average of powers of two": (AveragePool(S8, Window((2, 4), (2, 1)), CountRule.EXCLUDE_PADDING, Output(FixedPoint(8, 1))),),
    "rescale": (Rescale(S8, Output(FixedPoint(6, -2))),),
    "relu and clamp": (ReLU(S8), Clamp(S8, 5, 90)),
    "sum": (EltwiseSum((S8, S8), Output(FixedPoint(8, -1))),),
    "product": (EltwiseProduct((S8, S8), Output(FixedPoint(8, -6))),),
    "maximum": (EltwiseMax((S8, S8)),),
    "global average of powers of two": (
        Slice(S8, (0, 0, 0), (3, 4, 8)),
        AveragePool(S8, Window(None), CountRule.CAFFE, Output(FixedPoint(8, 3))),
    ),
    "moves": (
        Pad(S8, (0, 1, 2), (0, 0, 1), 7),
        Slice(S8, (0, 1, 0), (3, 8, 14), (1, 2, 3)),
        ResizeNearest(S8, Sampling(1, 2), Sampling(1, 3)),
        Pad(S8, (1, 0, 0), (0, 0, 0)),
        ChannelShuffle(S8, 2),
    ),
    "deconvolution": (
        Deconvolution(
            mac(S8, FixedPoint(8, 7), Output(S8)),
            RNG.integers(-128, 128, (4, 3, 3, 2)),
            RNG.integers(-99, 99, 4),
            (2, 3),
            (1, 0),
            (1, 1),
            1,
            (0, 1),
        ),
    ),
    "deconvolution in groups": (
        Deconvolution(
            mac(S8, FixedPoint(8, 7), Output(S8)), RNG.integers(-128, 128, (6, 1, 3, 2)), None, (2, 1), (0, 0), (1, 1), 3
        ),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_in_fixed_point_are_onnxruntimes_with_and_without_optimizations(name):
    network = chain(*LAYERS[name])
    assert [reason for reason in differences(network) if "averages" not in reason] == []
    agree(network)


@pytest.mark.parametrize("weight", [Affine(8, 0.013), Affine(8, (0.013, 0.002, 0.03, 0.011))], ids=["tensor", "channel"])
def test_affine_layers_are_onnxruntimes(weight):
    f32 = np.float32
    weight = replace(
        weight, scale=tuple(float(f32(s)) for s in weight.scale) if isinstance(weight.scale, tuple) else float(f32(weight.scale))
    )
    x, y = Affine(8, 0.5, 3), Affine(8, float(f32(1.7)), -20)
    made = contract(x, weight, y)
    layer = Convolution(made, RNG.integers(-128, 128, (4, 3, 3, 2)), RNG.integers(-9000, 9000, 4), pad=(1, 1))
    network = chain(layer, first=x)
    assert differences(network) == ()
    agree(network, optimized=(True,))


def test_a_relu_whose_zero_is_the_lowest_code_is_read_back_as_one(tmp_path):
    x, y = Affine(8, 1.0, 3), Affine(8, 17.0, -128)  # 255 * 17: more than 18 taps reach
    made = contract(x, Affine(8, float(np.float32(0.013))), y)
    codes = RNG.integers(-128, 128, (4, 3, 3, 2)), RNG.integers(-9000, 9000, 4)
    events = []
    for clamp in (None, -128):
        network = chain(Convolution(replace(made, output=replace(made.output, clamp_low=clamp)), *codes, pad=(1, 1)), first=x)
        agree(network)
        back = hwsim.run(hwsim.read(write_onnx(network, tmp_path / f"{clamp}.onnx")), pixels(2))
        assert back["l0"].events == hwsim.run(network, pixels(2))["l0"].events
        events.append(back["l0"].events.output)
    assert events[0] > 0 == events[1], "what ReLU cuts off is no overflow, what an end of the format cuts off is one"


def test_sums_and_averages_of_affine_codes_are_onnxruntimes_fused_operators():
    x, y = Affine(8, 0.5, 3), Affine(8, float(np.float32(0.3)), -20)
    total = EltwiseSum((x, x), Output(y), fused_sum((x, x), y))
    real = np.float32(y.step()) / (np.float32(0.5) * np.float32(77))
    pool = AveragePool(y, Window(None), CountRule.CAFFE, Output(x), division=float32_reciprocal(77, float(real)))
    for layers in ((total,), (EltwiseProduct((x, x), Output(y), offset_product((x, x), y)),), (total, pool)):
        network = chain(MaxPool(x, Window((3, 3), (1, 1), (1, 1))), *layers, first=x)
        nodes = [replace(node, inputs=("data", "l0")) if len(node.inputs) == 2 else node for node in network]
        network = replace(network, nodes=tuple(nodes))  # of one tensor twice onnxruntime makes no fused operator
        assert differences(network) == ()
        agree(network, optimized=(True,))


def test_branches_join(tmp_path):
    network = branching()
    images = pixels(2)
    assert not any("rounds" in reason for reason in differences(network))
    found = theirs(network, images, True)
    logits = hwsim.run(network, images, backend="jit")["fc"].codes
    np.testing.assert_array_equal(found.reshape(2, 4).argmax(1), logits.reshape(2, 4).argmax(1))


def test_what_was_written_is_read_back_as_the_same_codes(tmp_path):
    network = chain(*LAYERS["weights per channel"])
    path = write_onnx(network, tmp_path / "net.onnx")
    back = hwsim.read(path)  # what a pixel means is in the file's metadata
    assert back.preprocessing.channel_order is ChannelOrder.BGR and back.preprocessing.mean == (104.0, 117.0, 123.5)
    images = pixels(2)
    np.testing.assert_array_equal(ours(back, images), ours(network, images))


@pytest.mark.parametrize(("key", "value"), [("hwsim.scale", "nan"), ("hwsim.mean", "1,x"), ("hwsim.channel_order", "CMYK")])
def test_metadata_that_no_pixel_follows_are_refused(tmp_path, key, value):
    made = to_qdq(chain(*LAYERS["rescale"]))
    next(entry for entry in made.metadata_props if entry.key == key).value = value
    with pytest.raises(InputError, match="net.onnx: its metadata .* are damaged"):
        hwsim.read(save(made, tmp_path))
    assert hwsim.read(tmp_path / "net.onnx", mean=(1.0, 2.0, 3.0)).preprocessing.mean == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (convolution(y=Output(U8, Rounding.TIES_AWAY)), "rounds TIES_AWAY"),
        (convolution(y=Output(U8, overflow=Overflow.WRAP)), "wraps at its output"),
        (convolution(bias=False, bits=12), "12-bit accumulator"),
        (powers(product=ShiftAdd(2)), "rounds between the multiplier and the accumulator"),
        (convolution(FixedPoint(16, 0), FixedPoint(8, 0), Output(FixedPoint(16, -8))), "float32's 24"),
        (convolution(y=Output(U8, Rounding.TIES_AWAY)), "ties to even"),
    ],
)
def test_what_may_differ_is_told(layer, reason):
    network = chain(layer, first=layer.contract.input)
    assert any(reason in each for each in differences(network))
    assert any(reason in line for line in to_qdq(network).doc_string.splitlines())


def test_a_tie_that_is_said_to_differ_does_differ():
    """TIES_AWAY against onnxruntime's ties to even: the warning is not idle."""
    network = chain(Rescale(S8, Output(FixedPoint(7, -1), Rounding.TIES_AWAY)))
    images = pixels(2)
    assert (theirs(network, images, True) != ours(network, images)).any()


def test_what_onnx_cannot_say_is_refused(tmp_path):
    wide = chain(convolution(y=Output(FixedPoint(24, 0))))
    with pytest.raises(InputError, match="layer 'l0': its codes are .*at most 16 bits"):
        write_onnx(wide, tmp_path / "net.onnx")
    floats = FloatMacContract(S8, E4M3, Output(S8), ExactSum())
    with pytest.raises(InputError, match="layer 'l0': its operands are minifloats"):
        write_onnx(chain(Convolution(floats, np.full((4, 3, 1, 1), 8), None)), tmp_path / "net.onnx")
    backwards = chain(Slice(S8, (2, 0, 0), (-1, 7, 11), (-1, 1, 1)))
    with pytest.raises(InputError, match="backwards"):
        write_onnx(backwards, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_whole_and_is_not_overwritten_unasked(tmp_path):
    network = chain(ReLU(S8), Softmax(S8))
    path = write_onnx(network, tmp_path / "net.onnx")
    with pytest.raises(InputError, match="exists already"):
        write_onnx(network, path)
    assert write_onnx(network, path, force=True) == path and [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    with pytest.raises(InputError, match="allowed .onnx"):
        write_onnx(network, tmp_path / "net.txt")
    with pytest.raises(InputError, match="no folder"):
        write_onnx(network, tmp_path / "none" / "net.onnx")


@pytest.mark.slow
def test_lenet_in_dynamic_fixed_point_gives_onnxruntime_the_same_answers(data_dir):
    folder = data_dir / "lenet"
    net = hwsim.read(folder / "lenet.prototxt", folder / "lenet.caffemodel", scale=1 / 256)
    data = data_dir / "mnist" / "t10k-first5000-images-idx3-ubyte.gz"
    quantized = hwsim.quantize(net, hwsim.images(data, net.preprocessing, limit=100))
    images = np.stack([image.pixels for image in hwsim.images(data, net.preprocessing, limit=100)])
    logits = quantized.logits
    nodes = [node for node in quantized.nodes if not isinstance(node.layer, Softmax)]
    ends = replace(quantized, nodes=tuple(nodes))
    assert nodes[-1].name == logits
    np.testing.assert_array_equal(theirs(ends, images, True), ours(ends, images))
