"""What Caffe files say is what the Network holds; what they should not say is refused in one sentence."""

import subprocess
import sys

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.layers.pool import CountRule
from hwsim.network import read
from hwsim.network.graph import (
    LRN,
    BatchNorm,
    ChannelOrder,
    Clip,
    Concat,
    Convolution,
    EltwiseMax,
    EltwiseProduct,
    EltwiseSum,
    InnerProduct,
    Input,
    Pooling,
    PoolMethod,
    Region,
    ReLU,
    Scale,
    Sigmoid,
    Slice,
    Softmax,
    Tanh,
)
from hwsim.network.ristretto import RistrettoFormat, read_ristretto_formats
from support.caffe_files import blob, caffemodel, number, piece, v1_caffemodel, varint, write_network

RNG = np.random.default_rng(2)
W = {"c": [RNG.normal(size=(6, 1, 3, 5)), RNG.normal(size=6)], "f": [RNG.normal(size=(7, 6)), RNG.normal(size=7)]}

CURRENT = """
name: "two"  # a comment
input: "data"  input_shape { dim: 4 dim: 2 dim: 9 dim: 11 }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 6 kernel_h: 3 kernel_w: 5 stride: 2 pad: 1 pad: 2 group: 2 weight_filler { type: "xavier" }
                      engine: CAFFE } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: AVE global_pooling: true } }
layer { name: "f" type: "InnerProduct" bottom: "p" top: "f" inner_product_param { num_output: 7 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "f" bottom: "label" top: "loss" include { phase: TRAIN } }
layer { name: "prob" type: "Softmax" bottom: "f" top: "prob" include: { phase: TEST } }
"""

V1 = """
name: "two"
input: "data"  input_dim: 4  input_dim: 2  input_dim: 9  input_dim: 11
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 6 kernel_h: 3 kernel_w: 5 stride: 2 pad_h: 1 pad_w: 2 group: 2 } }
layers { name: "r" type: RELU bottom: "c" top: "c" }
layers { name: "p" type: POOLING bottom: "c" top: "p" pooling_param { pool: AVE global_pooling: true } }
layers { name: "f" type: INNER_PRODUCT bottom: "p" top: "f" inner_product_param { num_output: 7 } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "f" bottom: "label" top: "loss" include: { phase: TRAIN } }
layers { name: "prob" type: SOFTMAX bottom: "f" top: "prob" }
"""


def layered(body, **weights):
    """A prototxt with an input of 2x9x11 and these layers."""
    return 'name: "n" input: "data" input_dim: 1 input_dim: 2 input_dim: 9 input_dim: 11 ' + body, weights


def read_text(folder, text, weights=None):
    return read(*write_network(folder, text, weights or W))


@pytest.mark.parametrize("layout", [CURRENT, V1], ids=["current prototxt", "V1 prototxt"])
@pytest.mark.parametrize("encode", [caffemodel, v1_caffemodel])
def test_both_layouts_give_the_same_network(tmp_path, layout, encode):
    model, learned = write_network(tmp_path, layout, W)
    learned.write_bytes(encode(W))
    net = read(model, learned)
    assert [(node.name, type(node.op), node.inputs) for node in net] == [
        ("data", Input, ()),
        ("c", Convolution, ("data",)),
        ("r", ReLU, ("c",)),
        ("p", Pooling, ("r",)),
        ("f", InnerProduct, ("p",)),
        ("prob", Softmax, ("f",)),
    ]
    assert net.shapes() == {"data": (2, 9, 11), "c": (6, 5, 6), "r": (6, 5, 6), "p": (6, 1, 1), "f": (7, 1, 1), "prob": (7, 1, 1)}
    c = net["c"].op
    assert (c.stride, c.pad, c.dilation, c.groups) == ((2, 2), (1, 2), (1, 1), 2)
    for op, (weight, bias) in ((c, W["c"]), (net["f"].op, W["f"])):
        np.testing.assert_array_equal(op.weight, weight.astype(np.float32))
        np.testing.assert_array_equal(op.bias, bias.astype(np.float32))
    assert net.logits == "f"


def test_every_parameter_of_every_layer_arrives(tmp_path):
    text, weights = layered(
        """
        layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param {
          num_output: 3 kernel_size: 2 stride_h: 2 stride_w: 1 dilation: 3 bias_term: false } }
        layer { name: "b" type: "BatchNorm" bottom: "c" top: "b" batch_norm_param { use_global_stats: true eps: 0.25 } }
        layer { name: "s" type: "Scale" bottom: "b" top: "b" scale_param { bias_term: true } }
        layer { name: "r" type: "ReLU" bottom: "b" top: "r" relu_param { negative_slope: 0.5 } }
        layer { name: "l" type: "LRN" bottom: "r" top: "l" lrn_param { local_size: 3 alpha: 2 beta: 0.5 k: 7 } }
        layer { name: "w" type: "LRN" bottom: "r" top: "w" lrn_param { norm_region: WITHIN_CHANNEL k: 7 } }
        layer { name: "v" type: "LRNRistretto" bottom: "r" top: "v" quantization_param { precision: MINIFLOAT } }
        layer { name: "e" type: "Eltwise" bottom: "l" bottom: "w" top: "e" }
        layer { name: "p" type: "Pooling" bottom: "e" top: "p" pooling_param { kernel_size: 3 stride: 2 pad: 1 } }
        layer { name: "q" type: "Pooling" bottom: "e" top: "q" pooling_param {
          pool: AVE kernel_h: 3 kernel_w: 3 stride: 2 pad: 1 round_mode: FLOOR } }
        layer { name: "q2" type: "Pooling" bottom: "e" top: "q2" pooling_param { kernel_size: 3 stride: 2 pad: 1 } }
        layer { name: "j" type: "Concat" bottom: "p" bottom: "q2" top: "j" }
        layer { name: "d" type: "Dropout" bottom: "j" top: "j" dropout_param { dropout_ratio: 0.3 } }
        layer { name: "g" type: "Flatten" bottom: "j" top: "g" }
        layer { name: "f" type: "InnerProduct" bottom: "g" top: "f" inner_product_param { num_output: 2 transpose: true } }
        """,
        c=[np.ones((3, 2, 2, 2))],
        b=[np.array([2.0, 4.0, 6.0]), np.array([8.0, 10.0, 12.0]), np.array([4.0])],
        s=[np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0, 7.0])],
        f=[RNG.normal(size=(60, 2)), np.zeros(2)],
    )
    net = read_text(tmp_path, text, weights)
    ops = {node.name: node.op for node in net}
    assert (ops["c"].dilation, ops["c"].stride, ops["c"].bias) == ((3, 3), (2, 1), None)
    assert isinstance(ops["b"], BatchNorm) and ops["b"].epsilon == 0.25
    assert ops["b"].mean.tolist() == [0.5, 1.0, 1.5] and ops["b"].variance.tolist() == [2.0, 2.5, 3.0]
    assert isinstance(ops["s"], Scale) and ops["s"].bias.tolist() == [5.0, 6.0, 7.0]
    assert ops["r"] == ReLU(0.5)
    assert ops["l"] == LRN(Region.ACROSS, 3, 2.0, 0.5, 7.0)
    assert ops["w"] == LRN(Region.WITHIN, 5, 1.0, 0.75, 1.0)
    assert ops["v"] == LRN(Region.ACROSS, 5, 1.0, 0.75, 1.0, stepped=True)
    assert ops["e"] == EltwiseSum() and ops["j"] == Concat()
    assert ops["p"] == Pooling(PoolMethod.MAX, (3, 3), (2, 2), (1, 1), True, CountRule.CAFFE)
    assert ops["q"] == Pooling(PoolMethod.AVERAGE, (3, 3), (2, 2), (1, 1), False, CountRule.CAFFE)
    np.testing.assert_array_equal(ops["f"].weight, weights["f"][0].T.astype(np.float32))
    assert net["s"].inputs == ("b",) and net["r"].inputs == ("s",) and net["g"].inputs == ("d",)


def test_layers_of_later_networks_are_read(tmp_path):
    text, weights = layered(
        """
        layer { name: "u" type: "Deconvolution" bottom: "data" top: "u" convolution_param {
          num_output: 6 kernel_h: 3 kernel_w: 2 stride: 2 pad_h: 1 pad_w: 0 group: 2 } }
        layer { name: "v" type: "DeconvolutionRistretto" bottom: "u" top: "v" convolution_param {
          num_output: 4 kernel_size: 1 bias_term: false } quantization_param { bw_layer_in: 8 } }
        layer { name: "a" type: "PReLU" bottom: "v" top: "v" prelu_param { filler { value: 0.25 } } }
        layer { name: "b" type: "PReLU" bottom: "v" top: "b" prelu_param { channel_shared: true } }
        layer { name: "s" type: "Slice" bottom: "b" top: "left" top: "right" slice_param { slice_point: 1 } }
        layer { name: "h" type: "Slice" bottom: "right" top: "up" top: "down" top: "last" slice_param {
          axis: -2 slice_point: 2 slice_point: 5 } }
        layer { name: "q" type: "Slice" bottom: "left" top: "left" }
        layer { name: "m" type: "Eltwise" bottom: "left" bottom: "left" top: "m" eltwise_param { operation: MAX } }
        layer { name: "t" type: "Eltwise" bottom: "m" bottom: "left" top: "m" eltwise_param { operation: PROD } }
        layer { name: "6" type: "ReLU6" bottom: "m" top: "m" }
        layer { name: "i" type: "Sigmoid" bottom: "m" top: "m" }
        layer { name: "j" type: "TanH" bottom: "up" top: "up" }
        """,
        u=[RNG.normal(size=(2, 3, 3, 2)), RNG.normal(size=6)],
        v=[RNG.normal(size=(6, 4, 1, 1))],
        a=[np.array([1.0, 2.0, 3.0, 4.0])],
        b=[np.array(0.5)],
    )
    net = read_text(tmp_path, text, weights)
    ops = {node.name: node.op for node in net}
    assert net.shapes()["u"] == (6, 17, 22)
    # group 0 reads channel 0, group 1 channel 1; each has 3 of the 6 filters
    np.testing.assert_array_equal(ops["u"].weight, weights["u"][0].reshape(6, 1, 3, 2).astype(np.float32))
    np.testing.assert_array_equal(ops["v"].weight[:, :, 0, 0], weights["v"][0][:, :, 0, 0].T.astype(np.float32))
    assert (ops["u"].stride, ops["u"].pad, ops["u"].groups, ops["v"].bias) == ((2, 2), (1, 0), 2, None)
    assert ops["a"].slope.tolist() == [1, 2, 3, 4] and ops["b"].slope.tolist() == [0.5]
    assert ops["s:left"] == Slice((0, 0, 0), (1, 17, 22)) and ops["s:right"] == Slice((1, 0, 0), (4, 17, 22))
    assert [ops[f"h:{top}"].begin[1] for top in ("up", "down", "last")] == [0, 2, 5]
    assert ops["q"] == Slice((0, 0, 0), (1, 17, 22)) and net["q"].inputs == ("s:left",)
    assert (ops["m"], ops["t"], ops["6"]) == (EltwiseMax(), EltwiseProduct(), Clip(0.0, 6.0))
    assert (ops["i"], ops["j"]) == (Sigmoid(), Tanh())
    assert net["t"].inputs == ("m", "q") and net["j"].inputs == ("h:up",)


def test_the_old_layout_has_slice_and_deconvolution(tmp_path):
    text, weights = layered(
        """layers { name: "u" type: DECONVOLUTION bottom: "data" top: "u" convolution_param { num_output: 4 kernel_size: 2 } }
           layers { name: "s" type: SLICE bottom: "u" top: "x" top: "y" slice_param { slice_dim: 2 slice_point: 4 } }
           layers { name: "t" type: TANH bottom: "x" top: "x" } layers { name: "g" type: SIGMOID bottom: "y" top: "y" }""",
        u=[RNG.normal(size=(2, 4, 2, 2)), np.zeros(4)],
    )
    net = read_text(tmp_path, text, weights)
    assert net.shapes()["t"] == (4, 4, 12) and net.shapes()["g"] == (4, 6, 12)


def test_a_data_layer_becomes_the_input_with_its_preprocessing(tmp_path):
    def data(phase, scale):
        return (
            f'layer {{ name: "d" type: "Data" top: "data" top: "label" include {{ phase: {phase} }} data_param {{ }}'
            f" transform_param {{ scale: {scale} crop_size: 6 mean_value: 10 mean_value: 20 mirror: true mean_value: 30 }} }}"
        )

    conv = 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 5 kernel_size: 2 } }'
    weights = {"c": [np.ones((5, 3, 2, 2)), np.zeros(5)]}
    net = read_text(tmp_path, data("TRAIN", 2) + data("TEST", 0.5) + conv, weights)
    p = net.preprocessing
    assert (p.channel_order, p.size, p.mean, p.scale, p.crop) == (ChannelOrder.BGR, (6, 6), (10, 20, 30), 0.5, True)
    mean = np.arange(3 * 8 * 10, dtype=np.float32).reshape(3, 8, 10)
    np.save(tmp_path / "mean.npy", mean)
    p = read(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", mean=tmp_path / "mean.npy", scale=1.0).preprocessing
    assert p.scale == 1.0
    np.testing.assert_array_equal(p.mean, mean[:, 1:7, 2:8])


def test_a_mean_image_comes_from_a_binaryproto(tmp_path):
    text, weights = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 5 input_dim: 7', W
    model, learned = write_network(tmp_path, text, weights)
    mean = RNG.normal(size=(1, 3, 5, 7)).astype(np.float32)
    (tmp_path / "mean.binaryproto").write_bytes(blob(mean))
    net = read(model, learned, mean=tmp_path / "mean.binaryproto", channel_order=ChannelOrder.RGB)
    np.testing.assert_array_equal(net.preprocessing.mean, mean[0])


@pytest.mark.parametrize(
    ("rule", "taken"),
    [
        ("include { phase: TEST }", True),
        ("include { phase: TRAIN }", False),
        ("exclude { phase: TEST }", False),
        ("exclude { phase: TRAIN }", True),
        ("include { phase: TEST stage: 'deploy' }", False),
        ("include { phase: TEST not_stage: 'deploy' }", True),
        ("include { min_level: 1 }", False),
        ("include { max_level: 0 }", True),
        ("include { phase: TRAIN } include { phase: TEST }", True),
    ],
)
def test_rules_are_those_of_phase_test(tmp_path, rule, taken):
    text, weights = layered(f'layer {{ name: "r" type: "ReLU" bottom: "data" top: "r" {rule} }}')
    assert (len(read_text(tmp_path, text, weights).nodes) == 2) is taken


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('layer { name: "x" type: "Warp" bottom: "data" top: "x" }', "layer 'x': type 'Warp' is unknown; hwsim reads BatchNorm,"),
        ('layers { name: "x" type: WARP bottom: "data" }', "line 1"),
        ('layers { name: "x" type: MVN bottom: "data" top: "x" }', "type 'MVN' is unknown"),
        ('layers { layer { name: "x" type: "conv" } }', "the layout of 2013 (V0)"),
        ('layer { name: "r" type: "ReLU" bottom: "blob" top: "r" }', "layer 'r': its bottom 'blob' is written by no earlier"),
        ('layer { name: "r" type: "ReLU" bottom: "data" }', "layer 'r': it has 0 tops; ReLU has 1"),
        ('layer { name: "g" type: "InnerProduct" bottom: "data" top: "g" }', "no weights for layer 'g'"),
        (
            'layer { name: "f" type: "InnerProduct" bottom: "data" top: "f" inner_product_param { num_output: 7 } }',
            "layer 'f': the input (2, 9, 11) has 198 elements; the weights take 6",
        ),
        (
            'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 6 kernel_size: 3 } }',
            "layer 'c': the weights in the caffemodel have shape (6, 1, 3, 5); the prototxt needs (6, 1, 3, 3)",
        ),
        (
            'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { bias_term: false } }',
            "layer 'c': kernel_size is given 0 times",
        ),
        (
            'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { pool: STOCHASTIC kernel_size: 2 } }',
            "layer 'p': pooling_param.pool is STOCHASTIC; hwsim allows MAX or AVE",
        ),
        (
            'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 pad: 2 } }',
            "layer 'p': pad (2, 2) must be smaller than the kernel (2, 2)",
        ),
        ('layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "b" top: "c" }', "cut into 3 equal parts"),
        (
            'layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "b" slice_param { slice_point: 2 } }',
            "layer 's': slice_param.slice_point is [2]; 2 tops need 1 points that rise within 2",
        ),
        (
            'layer { name: "s" type: "Slice" bottom: "data" top: "a" slice_param { axis: 0 } }',
            "slice_param.axis is 0; hwsim allows 1 or 2",
        ),
        ('layer { name: "s" type: "Slice" top: "a" }', "layer 's': it has 0 bottoms; Slice has 1"),
        (
            'layer { name: "r" type: "ReLU" top: "r" } layer { name: "s" type: "Slice" bottom: "data" top: "a" }',
            "layer 'r' before it has 0 bottoms",
        ),
        ('layer { name: "s" type: "Slice" bottom: "data" }', "layer 's': it has 0 tops; Slice has 1"),
        ('layer { name: "p" type: "PReLU" bottom: "data" top: "p" }', "no weights for layer 'p'"),
        (
            'layer { name: "e" type: "Eltwise" bottom: "data" bottom: "data" top: "e" eltwise_param { coeff: 1 coeff: -1 } }',
            "eltwise_param.coeff is [-1.0]",
        ),
        ('layer { name: "l" type: "LRN" bottom: "data" top: "l" lrn_param { local_size: 4 } }', "local_size is 4"),
        ('layer { name: "r" type: "ReLU" bottom: "data" top: "r" } ' * 2, "layer 'r': this name is empty or taken"),
        ('layer { name: "d" type: "Data" top: "d" }', "2 inputs in phase TEST (data, d); exactly 1"),
        ("input_dim: 3", "its shape has 5 numbers; 4"),
        (
            'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 ceil: false } }',
            "pooling_param has no field 'ceil'; allowed are",
        ),
        ('layers { name: "r" type: RELU bottom: "data" top: "r"\nrelu_param: <slope: 1e-1> }', "relu_param has no field 'slope'"),
        ('layer { name: "r" type: "ReLU', "line 1"),
        ("layer { " * 5000, "fields are nested too deep"),
    ],
)
def test_a_prototxt_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, body, said):
    with pytest.raises(InputError) as caught:
        read_text(tmp_path, layered(body)[0])
    assert said in str(caught.value)
    assert "net.prototxt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fields_without_influence_are_skipped_wherever_they_stand(tmp_path):
    pool = 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" lr_policy: "x" pooling_param { kernel_size: 2 %s } }'
    plain = read_text(tmp_path, layered(pool % "")[0])
    spoken = read_text(tmp_path, layered(pool % "# note: a dilatation: 3\nengine: CAFFE")[0])
    assert spoken["p"].op == plain["p"].op


FULL = caffemodel(W)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (FULL[:-1], "truncated"),
        (FULL[:300], "truncated"),
        (b"", "no layers"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"name: 'a prototxt'", "are no caffemodel"),
        (varint(100 << 3 | 2) + varint((1 << 31) - 5) + b"12345", "truncated"),
        (caffemodel({"x": W["c"]}), "no weights for layer 'c' of"),
        (caffemodel({**W, "c": W["c"][:1]}), "has 1 blobs for it and 2 are needed"),
        (
            caffemodel({**W, "c": [W["c"][0], np.zeros(5)]}),
            "the biases in the caffemodel have shape (5,); the prototxt needs (6,)",
        ),
        (caffemodel({**W, "c": [W["c"][0] * np.nan, W["c"][1]]}), "weight holds a number that is not finite"),
        (piece(100, piece(1, b"c") + piece(7, piece(7, piece(1, varint(1 << 40) * 2)))), "the file holds 0"),
        (piece(100, piece(1, b"c") + piece(7, number(1, (1 << 64) - 1) + piece(5, b"1234"))), "the file holds 1"),
        (piece(2, piece(1, b"")[:2] + piece(4, b"c")), "no weights for layer 'c'"),
        (piece(2, piece(1, b"old")), "the layout of 2013 (V0)"),
        (piece(100, b"") * 100_001, "no layers, or more than 100,000"),
        (piece(100, piece(1, b"c") + piece(7, b"") * 65), "65 blobs"),
    ],
)
def test_a_caffemodel_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, data, said):
    model, learned = write_network(tmp_path, CURRENT, W)
    learned.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(model, learned)
    assert said in str(caught.value)
    assert "net.caffemodel" in str(caught.value) or "net.prototxt: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_swapped_files_and_an_unknown_size_are_named(tmp_path):
    model, learned = write_network(tmp_path, CURRENT, W)
    for arguments, said in (
        ((tmp_path / "none.prototxt", learned), "none.prototxt: this file does not exist"),
        ((model, tmp_path / "none.caffemodel"), "none.caffemodel: this file does not exist"),
        ((tmp_path, learned), "is a folder"),
        ((learned, model), "give the prototxt first"),
    ):
        with pytest.raises(InputError, match=said):
            read(*arguments)
    with pytest.raises(InputError, match="preprocessing: a mean of shape"):
        read(model, learned, channel_order=ChannelOrder.RGB, shape=(3, 9, 11), mean=(1.0, 2.0))
    with pytest.raises(InputError, match="not a sequence of numbers"):
        read(model, learned, mean=["grey"])
    with pytest.raises(InputError, match=r"shape \(9, 11\) is not"):
        read(model, learned, shape=(9, 11))
    model.write_text('layer { name: "d" type: "Data" top: "data" } ' + CURRENT.partition("}")[2])
    with pytest.raises(InputError, match="give it: --shape"):
        read(model, learned)
    model.write_text('layer { name: "d" type: "Data" top: "data" transform_param { crop_size: 9 mean_file: "m" } }')
    with pytest.raises(InputError, match="its mean is in 'm'"):
        read(model, learned, shape=(1, 9, 9))


HOSTILE = {
    "empty layers": "piece(100, b'') * 5_000_000",
    "empty blobs": "piece(100, piece(1, b'c') + piece(7, b'') * 5_000_000)",
    "deep nesting": "b''.join([b'\\xa2\\x06' + varint(15_000_000)] + [b'\\x0a\\x0a'] * 7_500_000)",
    "groups without end": "b'\\x0b' * 10_000_000",
    "dimensions": "piece(100, piece(1, b'c') + piece(7, piece(7, piece(1, b'\\x01' * 10_000_000))))",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_caffemodel_takes_no_memory_out_of_proportion(tmp_path, kind):
    """15 MB of file may take 15 times that: protobuf keeps 8 or 16 bytes for one of the file's."""
    model, learned = write_network(tmp_path, CURRENT, W)
    script = f"""
import resource, sys
sys.path.insert(0, {str(__file__).rpartition("network")[0]!r})
from support.caffe_files import number, piece, varint
from hwsim.errors import InputError
from hwsim.network import read
open({str(learned)!r}, "wb").write({HOSTILE[kind]})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read({str(model)!r}, {str(learned)!r})
except InputError as error:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout, done.stderr
    assert int(done.stdout) < 250


def test_ristretto_formats_are_read_by_layer(tmp_path):
    text = layered(
        """layer { name: "c" type: "ConvolutionRistretto" bottom: "data" top: "c" convolution_param { num_output: 6 }
             quantization_param { bw_layer_in: 8 bw_layer_out: 9 bw_params: 4 fl_layer_in: -2 fl_layer_out: 3 fl_params: 7 } }
           layer { name: "f" type: "FcRistretto" bottom: "c" top: "f" quantization_param { precision: DYNAMIC_FIXED_POINT } }"""
    )[0]
    model = tmp_path / "q.prototxt"
    model.write_text(text)
    assert read_ristretto_formats(model) == {
        "c": RistrettoFormat(8, 9, 4, -2, 3, 7),
        "f": RistrettoFormat(32, 32, 32, 16, 16, 16),
    }
    model.write_text(text.replace("DYNAMIC_FIXED_POINT", "MINIFLOAT"))
    with pytest.raises(InputError, match="layer 'f': precision MINIFLOAT"):
        read_ristretto_formats(model)
    model.write_text(layered("")[0])
    with pytest.raises(InputError, match="no layer has a quantization_param"):
        read_ristretto_formats(model)
