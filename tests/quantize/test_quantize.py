"""What quantize decides: one format per edge, or Ristretto's two; signs; widths; and sentences for what cannot be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import hwsim
from hwsim.contract import EXACT32, RISTRETTO_CPU, RISTRETTO_GPU, Accumulator, Activation
from hwsim.errors import ContractError, InputError, ProofError
from hwsim.formats.fixed import FixedPoint
from hwsim.layers import Rescale
from hwsim.network import ops
from hwsim.network.graph import Network, Node
from hwsim.network.preprocessing import ChannelOrder, Preprocessing
from hwsim.network.ranges import Calibration
from hwsim.quantize.float_run import FloatRun
from support.float_networks import IMAGE, conv, fire, pixels

pytestmark = pytest.mark.usefixtures("onnxruntime")


def quantize(network=None, dialect=EXACT32, **more):
    return hwsim.quantize(network or fire(), pixels(20), dialect=dialect, **more)


def outputs(q):
    return {node.name: node.layer.output_format for node in q}


def test_exact32_has_one_format_per_edge_and_no_rescale():
    q = quantize()
    assert [node.name for node in q] == [
        "data", "conv1", "pool1", "left", "right", "joint", "conv5", "conv6", "sum", "average", "prob",
    ]  # fmt: skip
    fmt = outputs(q)
    assert fmt["conv1"] == fmt["pool1"]
    assert fmt["left"] == fmt["right"] == fmt["joint"], "the branches of a concatenation have one format"
    assert not any(isinstance(node.layer, Rescale) for node in q)


def test_exact32_spends_no_sign_on_what_relu_made_positive():
    fmt = outputs(quantize())
    assert {name: f.signed for name, f in fmt.items()} == {
        "data": True, "conv1": False, "pool1": False, "left": False, "right": False, "joint": False,
        "conv5": True, "conv6": True, "sum": False, "average": True, "prob": True,
    }  # fmt: skip
    assert (fmt["average"].bits, fmt["sum"].bits) == (16, 8), "the logits are wide"


def test_a_joint_format_is_that_of_the_largest_branch():
    """right has 20 times left's gain: the joint range is right's alone."""
    q = quantize(method=Calibration.MAXIMUM)
    net = fire()
    blobs = FloatRun(net, ["left/relu", "right/relu"]).run(IMAGE.real(pixels(20)))
    largest = max(float(blobs[name].max()) for name in ("left/relu", "right/relu"))
    assert float(blobs["left/relu"].max()) < largest / 4
    fmt = outputs(q)["left"]
    assert largest <= float(fmt.largest) + 2.0**-fmt.fl() / 2 and 2 * largest > float(fmt.largest)


def test_relu_is_the_activation_of_its_producer():
    q = quantize()
    activation = {node.name: node.layer.contract.output.activation for node in q.mac_nodes}
    relu, none = Activation.RELU_BEFORE_REQUANTIZE, Activation.NONE
    assert activation == {"conv1": relu, "left": relu, "right": relu, "conv5": none, "conv6": none}
    assert q["sum"].layer.output.activation == relu


def test_a_relu_whose_producer_others_read_stands_alone():
    rng = np.random.default_rng(4)
    nodes = (
        Node("data", ops.Input((3, 11, 13), IMAGE)),
        Node("conv", conv(rng, (4, 3, 3, 3)), ("data",)),
        Node("relu", ops.ReLU(), ("conv",)),
        Node("both", ops.EltwiseSum(), ("conv", "relu")),
    )
    q = quantize(Network("forked", nodes))
    assert [node.layer.kind for node in q] == ["image_encoding", "convolution", "relu", "eltwise_sum"]
    assert outputs(q)["conv"] == outputs(q)["relu"] and outputs(q)["relu"].signed


@pytest.mark.parametrize("dialect", [RISTRETTO_CPU, RISTRETTO_GPU], ids=lambda d: d.name)
def test_ristretto_reads_through_visible_rescales_and_keeps_the_bias_in_the_weights_format(dialect):
    q = quantize(dialect=dialect)
    blobs = FloatRun(fire(), ["data", "relu1", "joint"]).run(IMAGE.real(pixels(20)))
    reads = {"conv1": "data", "left": "relu1", "conv5": "joint"}
    for layer, tensor in reads.items():
        contract = q[layer].layer.contract
        largest = float(np.abs(blobs[tensor]).max())
        assert contract.input == FixedPoint(8, 8 - int(np.ceil(np.log2(largest))))
        assert contract.bias == contract.weight
        fl = contract.weight.fl() + max(contract.input.fl(), 0)
        assert contract.accumulator == Accumulator(64, fl), "the finer of the products' grid and the bias's"
        assert contract.output.rounding == dialect.rounding == contract.bias_rounding
    assert all(f.signed for f in outputs(q).values())
    for node in q:
        if node.name.endswith(":in"):
            assert isinstance(node.layer, Rescale) and node.layer.format != node.layer.output_format
    assert outputs(q)["average"].bits == 16


def test_a_ristretto_concatenation_loses_nothing_before_the_reader_rounds():
    q = quantize(dialect=RISTRETTO_GPU)
    left, right, joint = (outputs(q)[name] for name in ("left", "right", "joint"))
    assert left != right
    assert joint.fl() == max(left.fl(), right.fl())
    assert joint.largest >= max(left.largest, right.largest) and joint.smallest <= min(left.smallest, right.smallest)
    assert {node.name for node in q if node.name.startswith("joint:")} <= {"joint:left", "joint:right"}


def test_pixels_without_a_mean_are_unsigned():
    plain = Preprocessing(ChannelOrder.BGR, (11, 13), scale=1 / 256)
    assert outputs(quantize(fire(preprocessing=plain)))["data"] == FixedPoint(8, 8, False)


def test_bits_set_every_width_and_weight_bits_theirs():
    q = quantize(bits=6, weight_bits=5)
    fmt = outputs(q)
    assert {fmt[name].bits for name in ("data", "conv1", "joint", "sum")} == {6}
    assert {node.layer.contract.weight.bits for node in q.mac_nodes} == {5}


def test_weights_may_have_a_length_per_channel():
    q = quantize(per_channel=True)
    for node in q.mac_nodes:
        channels = node.source.weight
        for k, fl in enumerate(node.layer.contract.weight.fractional_length):
            largest = float(np.abs(channels[k]).max())
            assert 2.0 ** -(fl - 6) / 2 <= largest * 1.01 and largest <= 127.5 * 2.0**-fl or largest == 0


def test_a_large_bias_beside_tiny_weights_keeps_the_accumulator():
    """On the products' grid the bias alone would need 60 bits; the weights' grid gives way."""
    rng = np.random.default_rng(8)
    op = conv(rng, (4, 3, 3, 3))
    op = dataclasses.replace(op, weight=op.weight * np.float32(1e-12), bias=np.array([100, -3, 0.5, 0], np.float32))
    nodes = (Node("data", ops.Input((3, 11, 13), IMAGE)), Node("conv", op, ("data",)))
    for per_channel in (False, True):
        q = quantize(Network("tiny", nodes), per_channel=per_channel)
        real = q["conv"].layer.contract.bias_format(4).to_real(q["conv"].layer.bias)
        np.testing.assert_allclose(real, op.bias, atol=1e-6)


def test_dead_layers_get_a_format_too():
    net = fire()
    dead = dataclasses.replace(net["conv1"].op, weight=np.zeros((5, 3, 3, 3), np.float32), bias=-np.ones(5, np.float32))
    nodes = tuple(dataclasses.replace(n, op=dead) if n.name == "conv1" else n for n in net)
    for dialect in (EXACT32, RISTRETTO_GPU):
        q = quantize(Network("dead", nodes), dialect)
        trace = hwsim.run(q, pixels(1), backend="jit")
        assert not trace["conv1"].codes.any()


def test_integers_follow_float_as_closely_as_their_grid():
    """16-bit weights and activations: the logits are within a thousandth of float's range."""
    wide = dataclasses.replace(EXACT32, accumulator=Accumulator(48, require_proof=True))
    q = quantize(dialect=wide, bits=16, method=Calibration.MAXIMUM)
    images = pixels(20)[:3]  # of the calibration: nothing is clipped
    want = FloatRun(fire()).logits(IMAGE.real(images))
    got = hwsim.run(q, images, backend="jit")["average"].real.reshape(want.shape)
    assert np.abs(got - want).max() < 1e-3 * np.abs(want).max()


def test_an_accumulator_that_cannot_be_proven_is_refused_with_layer_and_width():
    with pytest.raises(ProofError, match=r"layer 'conv1'.*an accumulator of 32 bits.*3\d bits would do"):
        quantize(bits=16)
    with pytest.raises(ProofError, match=r"layer 'conv1'.*accumulator of 12 bits"):
        quantize().with_accumulator("conv1", 12)
    wrapping = quantize().with_accumulator("left", 16, require_proof=False)
    assert wrapping["left"].layer.contract.accumulator == Accumulator(16)


def test_progress_tells_images_done_and_limit_stops():
    seen = []
    quantize(limit=11, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(8, 11), (11, 11)]


def test_memory_and_ranges_do_not_depend_on_batches():
    images = pixels(9)
    repeated = hwsim.quantize(fire(), np.concatenate([images, images]))
    assert str(repeated) == str(hwsim.quantize(fire(), images))


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        ({"bits": 1}, ContractError, r"found bits=1, allowed an integer in 2\.\.16"),
        ({"bits": 17}, ContractError, r"bits=17, allowed an integer in 2\.\.16"),
        ({"bits": True}, ContractError, "bits=True"),
        ({"weight_bits": 0}, ContractError, "weight_bits=0"),
        ({"limit": 0}, InputError, "limit 0"),
        ({"percent": 0}, InputError, "percent 0"),
        ({"weight_method": Calibration.PERCENTILE}, ContractError, "PERCENTILE"),
    ],
)
def test_wrong_arguments_get_a_sentence(wrong, error, sentence):
    with pytest.raises(error, match=sentence):
        quantize(**wrong)


def test_wrong_images_get_a_sentence():
    with pytest.raises(InputError, match="no calibration images"):
        hwsim.quantize(fire(), pixels(0))
    with pytest.raises(InputError, match="float64"):
        hwsim.quantize(fire(), np.zeros((1, 3, 11, 13)))
    with pytest.raises(InputError, match="images are int"):
        hwsim.quantize(fire(), 3)
    with pytest.raises(InputError, match="images are list"):
        hwsim.quantize(fire(), [3])
    with pytest.raises(InputError, match="nowhere.txt"):
        hwsim.quantize(fire(), "nowhere.txt")
    with pytest.raises(InputError, match="does not say how pixels enter"):
        hwsim.quantize(fire(preprocessing=None), pixels(1))
    with pytest.raises(InputError, match="shape"):
        hwsim.quantize(fire(), np.zeros((1, 3, 5, 5), np.uint8))


def test_what_integers_cannot_do_is_refused_by_name():
    rng = np.random.default_rng(4)
    start = (Node("data", ops.Input((3, 11, 13), IMAGE)), Node("conv", conv(rng, (4, 3, 3, 3)), ("data",)))
    leaky = (*start, Node("leaky", ops.ReLU(0.1), ("conv",)))
    with pytest.raises(InputError, match="layer 'leaky'.*has no minifloats yet; choose a scheme of integers"):
        quantize(Network("leaky", leaky), scheme=hwsim.Scheme.MINIFLOAT)
    soft = (*start, Node("soft", ops.Softmax(), ("conv",)), Node("late", ops.ReLU(), ("soft",)))
    with pytest.raises(InputError, match="layer 'soft'.*must be last"):
        quantize(Network("soft", soft))
    negative = Preprocessing(ChannelOrder.BGR, (11, 13), scale=-1.0)
    with pytest.raises(InputError, match="layer 'data'.*positive"):
        quantize(fire(preprocessing=negative))
