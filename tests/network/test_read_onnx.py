"""What an ONNX file computes, by onnxruntime, is what the Network computes that hwsim reads from it."""

from __future__ import annotations

import numpy as np
import pytest

import hwsim
from hwsim.layers.pool import CountRule
from hwsim.network import read
from hwsim.network.graph import (
    ChannelShuffle,
    Clip,
    Convolution,
    EltwiseProduct,
    Flatten,
    InnerProduct,
    Input,
    Pooling,
    PReLU,
    ReLU,
    ResizeNearest,
    Scale,
    Slice,
)
from support.onnx_files import model, run, save

pytestmark = pytest.mark.usefixtures("onnxruntime")
RNG = np.random.default_rng(23)
SHAPE = (6, 5, 7)  # axes of different length: a wrong axis shows


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def whole(*numbers):
    return np.array(numbers, np.int64)


X = normal(1, *SHAPE)


def compare(folder, made, feed=X, **wish):
    """The network of the file; its outputs are checked against onnxruntime's."""
    from hwsim.quantize.float_run import FloatRun

    network = read(save(made, folder), **wish)
    (expected,) = run(made, feed)
    got = FloatRun(network, [network.outputs[-1]]).run(feed.reshape(1, *network.shapes()[network.input.name]))
    np.testing.assert_allclose(got[network.outputs[-1]].reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
    return network


def kinds(network):
    return [type(node.op) for node in network][1:]


CONV = normal(4, 3, 3, 2), normal(4)


@pytest.mark.parametrize(
    "attributes",
    [
        {"group": 2},
        {"group": 2, "strides": [2, 3], "pads": [1, 0, 2, 1], "dilations": [1, 2], "kernel_shape": [3, 2]},
        {"group": 2, "auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"group": 2, "auto_pad": "SAME_LOWER", "strides": [2, 3]},
        {"group": 2, "auto_pad": "VALID", "strides": [3, 1]},
    ],
)
@pytest.mark.parametrize("opset", [7, 11, 23])
def test_convolutions_pad_as_the_file_says(tmp_path, attributes, opset):
    made = model([("Conv", "x w b", "y", attributes)], dict(zip("wb", CONV, strict=True)), ("N", *SHAPE), opset=opset)
    assert kinds(compare(tmp_path, made)) == [Convolution]


@pytest.mark.parametrize(
    "attributes",
    [
        {"group": 2},
        {"group": 3, "strides": [2, 3], "pads": [1, 0, 2, 1], "output_padding": [1, 2]},
        {"dilations": [2, 1], "strides": [1, 2], "auto_pad": "VALID"},
    ],
)
def test_transpose_convolutions_with_groups(tmp_path, attributes):
    made = model(
        [("ConvTranspose", "x w b", "y", attributes)],
        {"w": normal(6, 2, 3, 2), "b": normal(2 * attributes.get("group", 1))},
        (1, *SHAPE),
    )
    compare(tmp_path, made)


POOLS = [
    {"kernel_shape": [3, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [1, 0, 0, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [1, 1, 2, 1], "ceil_mode": 1},
    {"kernel_shape": [2, 3], "strides": [3, 3], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
]


@pytest.mark.parametrize("attributes", POOLS)
@pytest.mark.parametrize("opset", [10, 12, 22])
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool", "counting"])
def test_pools_of_every_opset(tmp_path, attributes, opset, kind):
    count = {"count_include_pad": 1} if kind == "counting" else {}
    name = "AveragePool" if count else kind
    compare(tmp_path, model([(name, "x", "y", attributes | count)], {}, (1, *SHAPE), opset=opset))


@pytest.mark.parametrize(
    ("nodes", "constants", "found"),
    [
        ([("Relu", "x", "y")], {}, [ReLU]),
        ([("LeakyRelu", "x", "y", {"alpha": 0.25})], {}, [ReLU]),
        ([("PRelu", "x s", "y")], {"s": normal(6, 1, 1)}, [PReLU]),
        ([("PRelu", "x s", "y")], {"s": normal(1)}, [PReLU]),
        ([("Clip", "x _ h", "y")], {"h": np.float32(0.5)}, [Clip]),
        ([("Clip", "x l h", "y")], {"l": np.float32(-0.25), "h": np.float32(6)}, [Clip]),
        ([("Sigmoid", "x", "a"), ("Mul", "x a", "y")], {}, None),
        ([("Tanh", "x", "a"), ("Max", "x a x", "y")], {}, None),
        ([("Relu", "x", "a"), ("Add", "x a", "b"), ("Sum", "a b x", "y")], {}, None),
        ([("Add", "x c", "y")], {"c": normal(1, 6, 1, 1)}, [Scale]),
        ([("Sub", "c x", "y")], {"c": normal(6, 1, 1)}, [Scale]),
        ([("Sub", "x c", "y")], {"c": np.float32(2)}, [Scale]),
        ([("Div", "x c", "a"), ("Mul", "d a", "y")], {"c": normal(6, 1, 1), "d": normal(1, 1, 1, 1)}, [Scale, Scale]),
        ([("GlobalAveragePool", "x", "a"), ("Mul", "x a", "y")], {}, [Pooling, EltwiseProduct]),
        ([("ReduceMean", "x", "a", {"axes": [2, 3], "keepdims": 0}), ("Relu", "a", "y")], {}, [Pooling, ReLU]),
        (
            [("GlobalMaxPool", "x", "a"), ("Squeeze", "a n", "b"), ("Sigmoid", "b", "c"), ("Unsqueeze", "c n", "y")],
            {"n": whole(2, 3)},
            None,
        ),
        ([("LRN", "x", "y", {"size": 3, "alpha": 0.5, "beta": 0.5, "bias": 2.0})], {}, None),
        ([("Concat", "x x", "y", {"axis": -3})], {}, None),
        ([("Slice", "x s e a t", "y")], {"s": whole(1, -6), "e": whole(5, 1 << 40), "a": whole(1, 3), "t": whole(2, 3)}, [Slice]),
        ([("Split", "x n", "a b", {"axis": 2}), ("Concat", "b b", "y", {"axis": 1})], {"n": whole(2, 3)}, None),
        ([("Split", "x", "a b c", {"axis": 1}), ("Mul", "a c", "y")], {}, [Slice, Slice, Slice, EltwiseProduct]),
        ([("Pad", "x p v", "y")], {"p": whole(0, 1, 2, 0, 0, 0, 1, 3), "v": np.float32(0.5)}, None),
        (
            [("Pad", "x p", "a"), ("Conv", "a w", "y", {"pads": [0, 1, 1, 0]})],
            {"p": whole(0, 0, 2, 0, 0, 0, 1, 3), "w": normal(2, 6, 3, 3)},
            [Convolution],
        ),
        (
            [("Pad", "x p v", "a"), ("MaxPool", "a", "y", {"kernel_shape": [3, 3]})],
            {"p": whole(0, 0, 2, 0, 0, 0, 1, 1), "v": np.float32(-np.inf)},
            [Pooling],
        ),
        (
            [("Pad", "x p", "a"), ("AveragePool", "a", "y", {"kernel_shape": [3, 3]})],
            {"p": whole(0, 0, 2, 0, 0, 0, 1, 1)},
            [Pooling],
        ),
        (
            [("Pad", "x p", "a"), ("Relu", "a", "b"), ("Relu", "a", "c"), ("Sub", "c z", "d"), ("Add", "b d", "y")],
            {"p": whole(0, 0, 2, 0, 0, 0, 1, 1), "z": np.float32(0)},
            None,
        ),
        ([("Resize", "x _ s", "y", {"mode": "nearest"})], {"s": np.array([1, 1, 2, 3], np.float32)}, [ResizeNearest]),
        (
            [("Resize", "x _ _ s", "y", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"})],
            {"s": whole(1, 6, 15, 14)},
            [ResizeNearest],
        ),
        (
            [("Resize", "x _ s", "y", {"coordinate_transformation_mode": "asymmetric"})],
            {"s": np.array([1, 1, 2, 2], np.float32)},
            [ResizeNearest],
        ),
        (
            [("Reshape", "x s", "a"), ("Transpose", "a", "b", {"perm": [0, 2, 1, 3, 4]}), ("Reshape", "b t", "y")],
            {"s": whole(0, 3, 2, 5, 7), "t": whole(0, -1, 5, 7)},
            [ChannelShuffle],
        ),
        (
            [("BatchNormalization", "x s b m v", "y", {"epsilon": 0.5})],
            {"s": normal(6), "b": normal(6), "m": normal(6), "v": normal(6) ** 2},
            None,
        ),
        (
            [("Dropout", "x r", "a"), ("Identity", "a", "b"), ("Transpose", "b", "y", {"perm": [0, 1, 2, 3]})],
            {"r": np.float32(0.3)},
            None,
        ),
        ([("Softmax", "x", "y", {"axis": 1})], {}, None),
        ([("Flatten", "x", "y")], {}, [Flatten]),
        (
            [("Flatten", "x", "a"), ("Relu", "a", "b"), ("Gemm", "b w c", "y", {"alpha": 0.5, "beta": 2.0})],
            {"w": normal(210, 4), "c": normal(4)},
            [Flatten, ReLU, InnerProduct],
        ),
        (
            [("Reshape", "x s", "a"), ("MatMul", "a w", "b"), ("Add", "c b", "d"), ("Softmax", "d", "y")],
            {"s": whole(-1, 210), "w": normal(210, 4), "c": normal(4)},
            None,
        ),
    ],
)
def test_operators_compute_what_onnxruntime_computes(tmp_path, nodes, constants, found):
    network = compare(tmp_path, model(nodes, constants, (1, *SHAPE), opset=17 if nodes[0][0] != "ReduceMean" else 13))
    assert found is None or kinds(network) == found


@pytest.mark.parametrize(
    ("opset", "node", "constants"),
    [
        (7, ("Clip", "x", "y", {"min": -0.5, "max": 0.5}), {}),
        (10, ("Clip", "x", "y", {"max": 0.5}), {}),
        (9, ("Pad", "x", "y", {"pads": [0, 0, 1, 2, 0, 1, 0, 3], "value": 0.5}), {}),
        (18, ("Pad", "x p _ a", "y"), {"p": whole(1, 0, 2, 3), "a": whole(-1, 2)}),
        (9, ("Slice", "x", "y", {"starts": [1, 2], "ends": [9, -1], "axes": [2, 3]}), {}),
        (7, ("Upsample", "x", "y", {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "nearest"}), {}),
        (9, ("Upsample", "x s", "y"), {"s": np.array([1, 1, 3, 2], np.float32)}),
        (10, ("Resize", "x s", "y"), {"s": np.array([1, 1, 3, 2], np.float32)}),
        (7, ("BatchNormalization", "x a b a c", "y"), {"a": normal(6), "b": normal(6), "c": normal(6) ** 2}),
        (18, ("ReduceMean", "x a", "y"), {"a": whole(-1, -2)}),
    ],
)
def test_older_and_newer_opsets_say_it_otherwise(tmp_path, opset, node, constants):
    compare(tmp_path, model([node], constants, ("batch", *SHAPE), opset=opset))


def test_split_by_count_leaves_the_rest_to_the_last(tmp_path):
    nodes = [("Split", "x", "a b", {"axis": 3, "num_outputs": 2}), ("Relu", "b", "y"), ("Relu", "a", "unread")]
    assert compare(tmp_path, model(nodes, {}, (1, *SHAPE), opset=18)).shapes()["Relu_1"] == (6, 5, 3)


def test_shapes_taken_apart_by_an_exporter_are_put_together(tmp_path):
    nodes = [
        ("Shape", "x", "s"),
        ("Constant", "", "zero", {"value_int": 0}),
        ("Gather", "s zero", "n"),
        ("Unsqueeze", "n axes", "n1"),
        ("Concat", "n1 rest", "to", {"axis": 0}),
        ("Reshape", "x to", "flat"),
        ("Gemm", "flat w", "y", {"transB": 1}),
    ]
    constants = {"axes": whole(0), "rest": whole(-1), "w": normal(3, 210)}
    network = compare(tmp_path, model(nodes, constants, ("N", *SHAPE)))
    assert kinds(network) == [InnerProduct] and network["Gemm_6"].inputs == ("x",)


def test_a_small_network_as_torchvision_exports_it(tmp_path):
    """Residual blocks, a grouped convolution with batch norm, ReLU6, global average, classifier."""
    nodes = [
        ("Conv", "x w1 b1", "c1", {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ("Relu", "c1", "r1"),
        ("MaxPool", "r1", "p1", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("Conv", "p1 w2", "c2", {"pads": [1, 1, 1, 1], "group": 8}),
        ("BatchNormalization", "c2 g b m v", "n2"),
        ("Clip", "n2 zero six", "r2"),
        ("Conv", "r2 w3", "c3"),
        ("Add", "c3 p1", "sum"),
        ("GlobalAveragePool", "sum", "gap"),
        ("Flatten", "gap", "flat"),
        ("Gemm", "flat w4 b4", "logits", {"transB": 1}),
        ("Softmax", "logits", "y", {"axis": 1}),
    ]
    constants = {"w1": normal(8, 3, 3, 3), "b1": normal(8), "w2": normal(8, 1, 3, 3), "w3": normal(8, 8, 1, 1)}
    constants |= {
        "g": normal(8),
        "b": normal(8),
        "m": normal(8),
        "v": normal(8) ** 2,
        "zero": np.float32(0),
        "six": np.float32(6),
    }
    constants |= {"w4": normal(10, 8), "b4": normal(10)}
    network = compare(tmp_path, model(nodes, constants, ("N", 3, 33, 35)), normal(1, 3, 33, 35), scale=1 / 255)
    assert network.logits == "Gemm_10" and network["Gemm_10"].inputs == ("GlobalAveragePool_8",)
    assert network.preprocessing.channel_order is hwsim.ChannelOrder.RGB
    with pytest.raises(hwsim.InputError, match="does not have the 3 channels"):
        read(tmp_path / "net.onnx", channel_order=hwsim.ChannelOrder.GRAY)
    assert read(tmp_path / "net.onnx").preprocessing is None


def test_nodes_are_named_once_and_dead_ones_are_left_out(tmp_path):
    made = model([("Relu", "x", "a"), ("Unknown", "x", "dead"), ("Relu", "a", "y")], {}, (1, *SHAPE))
    for node in made.graph.node:
        node.name = "same"
    network = read(save(made, tmp_path))
    assert [node.name for node in network] == ["x", "same", "same:1"]
    made.graph.node[0].name = made.graph.node[2].name = ""
    assert [node.name for node in read(save(made, tmp_path))] == ["x", "a", "y"]


def test_inputs_that_nothing_reads_are_left_out(tmp_path):
    """Old files name labels, and every constant, among their inputs."""
    made = model([("PRelu", "x s", "y")], {"s": normal(6, 1, 1)}, (1, *SHAPE))
    for name in ("label", "s"):
        made.graph.input.append(made.graph.input[0])
        made.graph.input[-1].name = name
    assert kinds(read(save(made, tmp_path))) == [PReLU]


def test_an_input_of_free_size_takes_the_size_that_is_wished(tmp_path):
    made = model([("Relu", "x", "y")], {}, ("N", 3, "H", "W"))
    with pytest.raises(hwsim.InputError, match="--shape 3,224,224"):
        read(save(made, tmp_path))
    assert read(tmp_path / "net.onnx", shape=(3, 4, 5)).shapes()["Relu_0"] == (3, 4, 5)


def test_a_flat_input_becomes_channels_of_one_pixel(tmp_path):
    made = model([("Gemm", "x w", "a"), ("Relu", "a", "y")], {"w": normal(210, 3)}, (1, 210))
    network = compare(tmp_path, made, X.reshape(1, 210))
    assert network["x"].op.shape == (210, 1, 1) and isinstance(network["x"].op, Input)


@pytest.mark.parametrize("name", ["lenet", "squeezenet_v1.0"])
def test_networks_that_hwsim_wrote_come_back(tmp_path, data_dir, name):
    """Every parameter, by name, and the same numbers to the last bit."""
    from hwsim.quantize.float_run import FloatRun
    from hwsim.quantize.to_onnx import to_onnx

    folder = data_dir / name
    files = ("lenet.prototxt", "lenet.caffemodel") if name == "lenet" else ("deploy.prototxt", "squeezenet_v1.0.caffemodel")
    network = read(folder / files[0], folder / files[1], scale=1 / 256)
    back = read(save(to_onnx(network, [network.outputs[-1]]), tmp_path))
    images = normal(1, *network.shapes()[network.input.name])
    np.testing.assert_array_equal(FloatRun(back).logits(images), FloatRun(network).logits(images))
    weights = [(node.name, node.op.weight) for node in network if hasattr(node.op, "weight")]
    assert weights and all((back[node].op.weight == weight).all() for node, weight in weights)
    assert back.logits == network.logits and sum(back.macs().values()) == sum(network.macs().values())


def test_averages_count_as_the_file_counts(tmp_path):
    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    for include, rule in ((0, CountRule.EXCLUDE_PADDING), (1, CountRule.CAFFE)):
        made = model([("AveragePool", "x", "y", pool | {"count_include_pad": include})], {}, (1, *SHAPE))
        assert read(save(made, tmp_path))["AveragePool_0"].op.count is rule
