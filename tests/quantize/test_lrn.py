"""Networks with LRN run wholly in integers: as close to float as with LRN on the host, alike on every backend, kept by files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hwsim
from hwsim.contract.dialects import EXACT32, RISTRETTO_GPU
from hwsim.layers import HostLRN, IntegerLRN, SteppedLRN
from hwsim.layers.lrn_table import TableDesign
from hwsim.network import ops
from hwsim.network.graph import Network, Node
from support.float_networks import IMAGE, conv, pixels


def normalized(seed: int = 5) -> Network:
    """data -> conv1 -> max pool -> relu -> LRN within -> conv2 -> LRN across -> conv3."""
    rng = np.random.default_rng(seed)
    nodes = (
        Node("data", ops.Input((3, 11, 13), IMAGE)),
        Node("conv1", conv(rng, (5, 3, 3, 3), 3.0), ("data",)),
        Node("pool1", ops.Pooling(ops.PoolMethod.MAX, (3, 3), (2, 2), ceil_mode=True), ("conv1",)),
        Node("relu1", ops.ReLU(), ("pool1",)),
        Node("norm1", ops.LRN(ops.Region.WITHIN, 3, 0.5), ("relu1",)),
        Node("conv2", conv(rng, (7, 5, 3, 3), 4.0, 1), ("norm1",)),
        Node("norm2", ops.LRN(ops.Region.ACROSS, 5, 2.0, 0.5, 2.0), ("conv2",)),
        Node("conv3", conv(rng, (4, 7, 4, 5)), ("norm2",)),
    )
    return Network("normalized", nodes)


def kinds(network):
    return [node.layer.kind for node in network.nodes]


@pytest.fixture(scope="module")
def quantized(onnxruntime):
    return hwsim.quantize(normalized(), pixels(12), bits=8)


def test_no_layer_is_left_to_the_host(quantized):
    assert kinds(quantized) == ["image_encoding", "convolution", "max_pool", "lrn", "convolution", "lrn", "convolution"]
    host = hwsim.quantize(normalized(), pixels(4), lrn_table=None)
    assert [kind for kind in kinds(host) if "lrn" in kind] == ["host_lrn", "host_lrn"]


def test_codes_are_those_of_lrn_on_the_host_but_for_the_last_place(quantized):
    """Each integer LRN against a HostLRN on the very same codes: the table of 256 entries is far finer than a code of 8 bits."""
    trace = hwsim.run(quantized, pixels(1)[0], backend="jit")
    for name in ("norm1", "norm2"):
        layer, x = quantized[name].layer, trace[name].inputs[0]
        assert isinstance(layer, IntegerLRN)
        host = HostLRN(layer.format, layer.region, layer.local_size, layer.alpha, layer.beta, layer.k, layer.output)
        wanted = host.compute(x)[0].astype(int)
        distance = np.abs(trace[name].codes.astype(int) - wanted)
        assert distance.max() <= 1 and distance.mean() < 0.05 and len(np.unique(wanted)) > 20


def test_every_backend_gives_the_same(quantized):
    image = pixels(1)[0]
    spec, jit, auto = (hwsim.run(quantized, image, backend=name) for name in ("spec", "jit", "auto"))
    for a, b, c in zip(spec, jit, auto, strict=True):
        np.testing.assert_array_equal(a.codes, b.codes, a.name)
        np.testing.assert_array_equal(a.codes, c.codes, a.name)
        assert a.events == b.events == c.events


def test_a_file_keeps_the_table(quantized, tmp_path):
    again = hwsim.load(quantized.save(tmp_path / "n.hwnet"))
    for name in ("norm1", "norm2"):
        ours, theirs = quantized[name].layer, again[name].layer
        np.testing.assert_array_equal(ours.table, theirs.table)
        assert (ours.lookup, ours.alpha, ours.output) == (theirs.lookup, theirs.alpha, theirs.output)


def test_the_table_follows_the_format_that_it_reads(quantized):
    changed = quantized.with_bits("conv1", output=6)
    layer = changed["norm1"].layer
    assert layer.format == changed["conv1"].layer.output_format != quantized["norm1"].layer.format
    fresh = IntegerLRN.from_real(layer.format, layer.region, 3, 0.5, 0.75, 1.0, layer.output, layer.design)
    np.testing.assert_array_equal(layer.table, fresh.table)


def test_the_size_is_chosen_and_ristretto_keeps_floats(onnxruntime):
    small = hwsim.quantize(normalized(), pixels(4), lrn_table=TableDesign(32))
    assert all(16 < len(small[name].layer.table) <= 32 for name in ("norm1", "norm2"))
    left = hwsim.quantize(normalized(), pixels(4), dialect=RISTRETTO_GPU)
    assert isinstance(left["norm1"].layer, HostLRN)


def test_the_float_twin_has_the_lrn_again(quantized, onnxruntime):
    from hwsim.quantize.float_run import FloatRun
    from hwsim.quantize.float_twin import float_twin

    real = IMAGE.real(pixels(3))
    again, before = (FloatRun(network).logits(real) for network in (float_twin(quantized), normalized()))
    np.testing.assert_allclose(again, before, rtol=1e-4, atol=1e-5)


def test_cifar10_full_keeps_the_accuracy_of_float_wholly_in_integers(data_dir, onnxruntime):
    folder = data_dir / "cifar10"
    net = hwsim.read(
        folder / "cifar10_full.prototxt",
        folder / "cifar10_full_v1format.caffemodel",
        mean=np.load(folder / "train_mean_rgb_chw.npy"),
        channel_order=hwsim.ChannelOrder.RGB,
    )
    with np.load(folder / "train_first10000.npz") as data:
        q = hwsim.quantize(net, data["images"][:350])
    assert not [kind for kind in kinds(q) if kind.startswith("host")]
    assert q["conv1"].layer.output_format.signed is False
    assert hwsim.score(q, folder / "test_first500.npz").top1 >= 0.826


def stepped_network() -> Network:
    return Network("stepped", tuple(
        replace(node, op=replace(node.op, stepped=True)) if isinstance(node.op, ops.LRN) else node for node in normalized()
    ))  # fmt: skip


@pytest.mark.parametrize("dialect", [EXACT32, RISTRETTO_GPU])
def test_ristrettos_lrn_rounds_every_step_where_the_network_is_in_minifloats(onnxruntime, dialect):
    q = hwsim.quantize(stepped_network(), pixels(8), scheme=hwsim.Scheme.MINIFLOAT, dialect=dialect)
    layer = q["norm2"].layer
    assert isinstance(q["norm1"].layer, HostLRN) and isinstance(layer, SteppedLRN)
    assert layer.steps.bits == 8 and layer.rounding is dialect.rounding and layer.running
    images = pixels(1)[0]
    spec, jit = (hwsim.run(q, images, backend=name) for name in ("spec", "jit"))
    for a, b in zip(spec, jit, strict=True):
        np.testing.assert_array_equal(a.codes, b.codes, a.name)
        assert a.events == b.events, a.name
    real, x = layer.steps.to_real(jit["norm2"].codes), layer.format.to_real(jit["norm2"].inputs[0])
    squares = np.pad(x * x, ((0, 0), (2, 2), (0, 0), (0, 0)))
    near = sum(squares[:, i : i + x.shape[1]] for i in range(5))
    want = x * (2.0 + 2.0 / 5 * near) ** -0.5
    assert np.abs(real - want).max() <= 0.25 * np.abs(want).max(), "three bits of fraction, five roundings"


def test_in_integers_ristrettos_lrn_is_as_any_other(onnxruntime):
    assert isinstance(hwsim.quantize(stepped_network(), pixels(4))["norm2"].layer, IntegerLRN)
