"""Each float operation in a small network: integers follow float, backends agree, codes that move keep their format."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import hwsim
from hwsim.arith.requantize import Activation
from hwsim.formats import FixedPoint
from hwsim.layers import Clamp, ResizeNearest
from hwsim.network import ops
from hwsim.network.graph import Network, Node
from support.float_networks import IMAGE, conv, pixels

RNG = np.random.default_rng(11)
RELU6 = ops.Clip(0.0, 6.0)
POOL = ops.Pooling(ops.PoolMethod.AVERAGE, global_pooling=True)


def deconvolution(**attributes) -> ops.Deconvolution:
    weight = RNG.normal(size=(6, 5, 3, 2)) / 4
    return ops.Deconvolution(weight.astype(np.float32), RNG.normal(size=6).astype(np.float32) * 0.1, **attributes)


def uneven() -> ops.Convolution:
    whole = conv(RNG, (6, 5, 3, 3), 2.0)
    return ops.Convolution(whole.weight, whole.bias, (2, 1), (0, 1), pad_end=(1, 0))


def network(*middle: ops.Op, joins: ops.Op | None = None) -> Network:
    """data -> conv1 -> the middle, one behind the other -> conv2; joins: of conv1 and the middle, before conv2."""
    nodes = [Node("data", ops.Input((3, 11, 13), IMAGE)), Node("conv1", conv(RNG, (5, 3, 3, 3), 4.0), ("data",))]
    for i, op in enumerate(middle):
        nodes.append(Node(f"op{i}", op, (nodes[-1].name,)))
    if joins is not None:
        nodes.append(Node("join", joins, ("conv1", nodes[-1].name)))
    channels = Network("part", tuple(nodes)).shapes()[nodes[-1].name][0]
    nodes.append(Node("conv2", conv(RNG, (4, channels, 2, 2)), (nodes[-1].name,)))
    return Network("small", tuple(nodes))


CASES = {
    "relu6": network(RELU6),
    "clip within": network(ops.Clip(-1.5, 2.25)),
    "clip from below": network(ops.Clip(-1.0, None)),
    "relu, then clip": network(ops.ReLU(), ops.Clip(None, 3.0)),
    "clip alone": network(ops.Pooling(ops.PoolMethod.AVERAGE, (2, 2)), ops.Clip(-1.0, 1.5)),
    "relu6 behind a maximum": network(ops.Pooling(ops.PoolMethod.MAX, (2, 2), (2, 2)), RELU6),
    "pad": network(ops.ReLU(), ops.Pad((0, 1, 2), (1, 0, 3))),
    "pad with a number": network(ops.Pad((0, 1, 0), (0, 2, 1), 1.5)),
    "slice": network(ops.Slice((1, 0, 2), (5, 9, 11), (2, 1, 3))),
    "resize": network(ops.ResizeNearest((2, 3))),
    "shuffle": network(conv(RNG, (6, 5, 1, 1), 2.0), ops.ChannelShuffle(3)),
    "uneven convolution": network(uneven()),
    "uneven pooling": network(ops.Pooling(ops.PoolMethod.MAX, (3, 2), (2, 2), (0, 1), pad_end=(2, 0))),
    "deconvolution": network(deconvolution(stride=(2, 3), pad=(1, 0)), ops.ReLU()),
    "deconvolution, uneven": network(deconvolution(stride=(2, 2), pad=(0, 1), pad_end=(1, 0), output_padding=(1, 1)), RELU6),
    "leaky": network(ops.ReLU(0.1)),
    "steep below": network(ops.ReLU(-1.5)),
    "prelu": network(ops.PReLU(np.array([0.25, 0.0, -0.3, 1.0, 0.07]))),
    "sigmoid": network(ops.Sigmoid()),
    "tanh": network(ops.Tanh()),
    "maximum": network(conv(RNG, (5, 5, 1, 1), 1.0), joins=ops.EltwiseMax()),
    "product": network(conv(RNG, (5, 5, 1, 1), 1.0), ops.ReLU(), joins=ops.EltwiseProduct()),
    "one factor per channel": network(POOL, conv(RNG, (5, 5, 1, 1), 1.0), RELU6, joins=ops.EltwiseProduct()),
}


@cache
def quantized(name: str):
    """Nothing is clipped but by the network: the ranges are those of the images that are compared."""
    return hwsim.quantize(CASES[name], pixels(24, seed=9), bits=8, method=hwsim.Calibration.MAXIMUM)


def answers(q, images, backend="jit"):
    plan = hwsim.Plan(q, backend, batch=len(images))
    codes = plan.run(images)
    return q.nodes[-1].layer.output_format.to_real(codes.reshape(len(images), -1))


@pytest.mark.parametrize("name", CASES)
def test_integers_follow_float(onnxruntime, name):
    """The noise of 8 bits in three layers stays 26 dB below the answers' spread; layers in the wrong place come to 0 dB."""
    from hwsim.quantize.float_run import FloatRun

    images = pixels(24, seed=9)
    want = FloatRun(CASES[name]).logits(IMAGE.real(images)).reshape(24, -1)
    error = answers(quantized(name), images) - want
    assert 10 * np.log10(np.square(want - want.mean(axis=0)).mean() / np.square(error).mean()) > 26


@pytest.mark.parametrize("name", CASES)
def test_every_backend_gives_the_same(name):
    image = pixels(1)[0]
    spec, jit, auto = (hwsim.run(quantized(name), image, backend=backend) for backend in ("spec", "jit", "auto"))
    for a, b, c in zip(spec, jit, auto, strict=True):
        np.testing.assert_array_equal(a.codes, b.codes, a.name)
        np.testing.assert_array_equal(a.codes, c.codes, a.name)
        assert a.events == b.events == c.events, a.name


@pytest.mark.parametrize("name", CASES)
def test_a_file_keeps_it(name, tmp_path):
    again = hwsim.load(quantized(name).save(tmp_path / "n.hwnet"))
    for ours, theirs in zip(quantized(name).nodes, again.nodes, strict=True):
        assert (ours.name, ours.inputs, ours.layer.kind, ours.to_json()) == (
            theirs.name, theirs.inputs, theirs.layer.kind, theirs.to_json(),
        )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_float_twin_is_the_float_network(onnxruntime, name):
    from hwsim.quantize.float_run import FloatRun
    from hwsim.quantize.float_twin import float_twin

    real = IMAGE.real(pixels(3))
    again, want = (FloatRun(net).logits(real) for net in (float_twin(quantized(name)), CASES[name]))
    np.testing.assert_allclose(again, want, atol=0.02 * np.abs(want).max())


@pytest.mark.parametrize("name", CASES)
def test_other_bits_move_what_is_real(onnxruntime, name):
    """Four more bits in every layer that computes: limits, constants and tables follow, and the error shrinks."""
    from hwsim.quantize.float_run import FloatRun

    finer = quantized(name)
    for node in finer.nodes:
        if hasattr(node.layer, "contract") or hasattr(node.layer, "output") or node.layer.kind in ("eltwise_max", "lookup_table"):
            bits = min(node.layer.output_format.bits + 4, 16)
            finer = finer.with_bits(node.name, output=bits)
    for node in finer.mac_nodes:
        finer = finer.with_bits(node.name, weights=12)
    images = pixels(24, seed=9)
    want = FloatRun(CASES[name]).logits(IMAGE.real(images)).reshape(24, -1)
    before, after = (np.square(answers(q, images) - want).mean() for q in (quantized(name), finer))
    assert after < before / 8


def kinds(q):
    return [node.layer.kind for node in q.nodes]


def test_a_clip_is_a_clamp_of_the_stage_that_computes():
    q = quantized("relu6")
    assert kinds(q) == ["image_encoding", "convolution", "convolution"]
    stage = q["conv1"].layer.contract.output
    assert stage.activation is Activation.RELU_BEFORE_REQUANTIZE and not stage.format.signed
    assert stage.clamp_high in (None, 6 << stage.format.fl()) and stage.clamp_low is None
    both = quantized("clip within")["conv1"].layer.contract.output
    assert (both.clamp_low, both.clamp_high) == (-3 << (both.format.fl() - 1), 9 << (both.format.fl() - 2))
    assert kinds(quantized("relu6 behind a maximum"))[1:3] == ["convolution", "max_pool"]


def test_a_clip_that_others_read_around_stands_alone():
    q = hwsim.quantize(network(RELU6, joins=ops.EltwiseSum()), pixels(8))
    assert [node.name for node in q.nodes if isinstance(node.layer, Clamp)] == ["op0"]
    clamp = q["op0"].layer
    assert clamp.format == q["conv1"].layer.output_format and clamp.low == 0
    assert clamp.high == min(6 << clamp.format.fl(), clamp.format.high)


def test_codes_that_move_keep_their_format():
    for name in ("pad", "slice", "resize"):
        q = quantized(name)
        assert q["op0" if name != "pad" else "op1"].layer.output_format == q["conv1"].layer.output_format
    resize = quantized("resize")["op0"].layer
    assert isinstance(resize, ResizeNearest) and isinstance(resize.format, FixedPoint)


def test_a_maximum_keeps_one_format_for_its_branches(tmp_path):
    q = quantized("maximum")
    assert q["join"].inputs == ("conv1", "op0")
    assert q["conv1"].layer.output_format == q["op0"].layer.output_format == q["join"].layer.output_format
    one = q.with_bits("op0", output=10)
    assert one["join"].inputs == ("conv1", "join:op0") and one["join"].layer == q["join"].layer
    both = one.with_bits("conv1", output=10).with_bits("join", output=10)
    assert both["join"].inputs == ("conv1", "op0") and len(both.nodes) == len(q.nodes)
    again = hwsim.load(one.save(tmp_path / "one.hwnet"))
    assert [node.name for node in again.nodes] == [node.name for node in one.nodes]


def test_a_maximum_of_ristretto_reads_one_format_through_rescales():
    q = hwsim.quantize(CASES["maximum"], pixels(8), dialect=hwsim.dialects.RISTRETTO_GPU)
    formats = {q[name].layer.output_format for name in q["join"].inputs}
    assert len(formats) == 1


def test_a_table_is_made_anew_for_other_formats():
    """As quantizing for these formats would have made it, each entry rounded once."""
    q = quantized("tanh").with_bits("conv1", output=10).with_bits("op0", output=12)
    table = q["op0"].layer
    assert len(table.table) == 1 << 10 and table.output_format.bits == 12
    places = table.format.to_real(np.arange(table.format.low, table.format.high + 1))
    np.testing.assert_array_equal(table.table, np.rint(np.tanh(places) * 2.0 ** table.output_format.fl()))
    wide = q.with_bits("conv1", output=16)["op0"].layer
    assert wide.fraction_bits == 6 and len(wide.table) == 1025


def test_slopes_are_as_wide_as_weights():
    prelu = quantized("prelu")["op0"].layer
    assert prelu.slope_format == FixedPoint(8, 6)
    assert prelu.slope.tolist() == [16, 0, -19, 64, 4]
