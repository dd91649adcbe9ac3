"""Affine networks: codes, multipliers and clamps are those that TensorFlow Lite's rules give, said again in plain numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import hwsim
from hwsim.contract import CMSIS_NN, EXACT32, ONNXRUNTIME, TFLITE, TOSA, Scaling, Scheme
from hwsim.errors import InputError
from hwsim.formats import Affine
from hwsim.layers import AveragePool, EltwiseSum, FullyConnected, ImageEncoding
from hwsim.network import ops
from hwsim.network.graph import Network, Node
from hwsim.network.lower.fold import fold
from hwsim.network.quantized import QuantizedNetwork
from hwsim.network.ranges import Calibration, WeightRule
from hwsim.network.read_hwnet import load
from hwsim.quantize.float_run import FloatRun
from hwsim.quantize.ranges import Tally
from oracles import tflite_rules as rules
from support.float_networks import IMAGE, conv, fire, pixels


def away(x: float) -> int:
    """Nearest, ties away from zero."""
    return math.floor(abs(x) + 0.5) * (1 if x >= 0 else -1)


def dense(seed: int = 3) -> Network:
    """data -> conv -> clip 0..6 -> average 2x2 -> product of two -> fully connected."""
    rng = np.random.default_rng(seed)
    nodes = (
        Node("data", ops.Input((3, 11, 13), IMAGE)),
        Node("conv", conv(rng, (4, 3, 3, 3), 4.0), ("data",)),
        Node("relu6", ops.Clip(0.0, 6.0), ("conv",)),
        Node("gate", conv(rng, (4, 3, 3, 3)), ("data",)),
        Node("gated", ops.EltwiseProduct(), ("relu6", "gate")),
        Node("average", ops.Pooling(ops.PoolMethod.AVERAGE, (2, 2), (2, 2)), ("gated",)),
        Node("fc", ops.InnerProduct(rng.normal(size=(6, 4 * 4 * 5)).astype(np.float32), rng.normal(size=6).astype(np.float32)),
             ("average",)),
    )  # fmt: skip
    return Network("dense", nodes)


@pytest.fixture(scope="module")
def network(onnxruntime) -> QuantizedNetwork:
    return hwsim.quantize(fire(), pixels(12), scheme=Scheme.AFFINE, method=Calibration.MAXIMUM)


@pytest.fixture(scope="module")
def with_dense(onnxruntime) -> QuantizedNetwork:
    return hwsim.quantize(dense(), pixels(12), scheme=Scheme.AFFINE, method=Calibration.MAXIMUM)


def scales(node) -> tuple[float, tuple[float, ...], float]:
    contract = node.layer.contract
    return contract.input.scale, contract.weight.scale, contract.output.format.scale


def test_codes_of_weights_and_biases_are_their_definition(network):
    for node in network.mac_nodes:
        layer, (x, w, _) = node.layer, scales(node)
        for k, channel in enumerate(node.source.weight):
            largest = float(np.abs(channel).max())
            assert w[k] >= float(np.float32(largest / 127)) and layer.contract.weight.zero_point == 0
            plain = [away(float(Fraction(float(v)) / Fraction(w[k]))) for v in channel.ravel()]
            assert layer.weight[k].ravel().tolist() == plain
            assert layer.bias[k] == away(float(Fraction(float(node.source.bias[k])) / (Fraction(x) * Fraction(w[k]))))


def test_multipliers_are_tensorflow_lites(network, with_dense):
    for node in (*network.mac_nodes, *with_dense.mac_nodes):
        (x, w, y), output = scales(node), node.layer.contract.output
        for k in range(len(w)):
            if isinstance(node.layer, FullyConnected):
                assert output.scaling.rule is Scaling.FLOAT64 and float(output.scaling.real(k)) == x * w[k] / y
                continue
            m, shift = rules.conv_multiplier_per_channel(x, w[k], y)
            found = output.scaling.entries(len(w), "here")
            assert (found[0][k], 31 - found[1][k]) == (m, shift)
        assert {node.layer.contract.output.rounding.name} == {"TIES_AWAY"}


def test_activations_are_clamps_and_zero_points_are_codes_of_zero(network, with_dense):
    conv1 = network["conv1"].layer.contract.output
    assert conv1.format.decode(conv1.format.zero_point) == 0
    relu6 = with_dense["conv"].layer.contract.output
    low, high = relu6.clamp_low, relu6.clamp_high
    assert (relu6.format.low if low is None else low) == relu6.format.zero_point
    assert (relu6.format.high if high is None else high) == min(
        relu6.format.zero_point + away(float(6 / Fraction(relu6.format.scale))), relu6.format.high
    )


def test_the_sum_is_tensorflow_lites_add(network):
    layer = network["sum"].layer
    assert isinstance(layer, EltwiseSum)
    s1, s2 = (f.scale for f in layer.formats)
    twice, out = 2 * max(s1, s2), layer.output.format.scale
    wanted = [rules.quantize_multiplier(s / twice) for s in (s1, s2)] + [rules.quantize_multiplier(twice / ((1 << 20) * out))]
    found = [o.scaling for o in layer.operands] + [layer.output.scaling]
    assert [(m.multiplier, 31 - m.shift) for m in found] == wanted
    assert [o.left_shift for o in layer.operands] == [20, 20]


def test_global_averages_have_a_format_of_their_own_and_windows_keep_their_inputs(network, with_dense):
    whole, window = network["average"].layer, with_dense["average"].layer
    assert isinstance(whole, AveragePool) and whole.division is not None and whole.format != whole.output.format
    assert window.of_codes and window.format == window.output.format and window.output.rounding.name == "TIES_AWAY"


def test_branches_of_a_concatenation_have_one_format(network):
    left, right, joint = (network[name].layer.output_format for name in ("left", "right", "joint"))
    assert left == right == joint and isinstance(joint, Affine)


def test_the_image_is_encoded_with_the_scale_of_its_codes(network):
    layer = network["data"].layer
    assert isinstance(layer, ImageEncoding)
    fmt, image = layer.output_format, pixels(1)
    real = (image[0].astype(np.float64) - np.array(IMAGE.mean).reshape(3, 1, 1)) * float(np.float32(IMAGE.scale / fmt.scale))
    plain = np.clip(np.trunc(real + np.copysign(0.5, real)) + fmt.zero_point, -128, 127)
    assert np.array_equal(hwsim.run(network, image[0], backend="spec")["data"].codes[0], plain)


@pytest.mark.parametrize("dialect", [TFLITE, CMSIS_NN, TOSA, ONNXRUNTIME], ids=lambda d: d.name)
@pytest.mark.parametrize("options", [{}, {"signed": False}, {"per_channel": False}], ids=str)
def test_affine_outputs_stay_near_floats(dialect, options, onnxruntime):
    """Every dialect and kind of codes: the answer lies within a few steps of the float network's."""
    for network in (fire(), dense()):
        q = hwsim.quantize(network, pixels(12), dialect=dialect, method=Calibration.MAXIMUM, **options)
        images = pixels(4, 9)
        float_name = {"fire": "average", "dense": "fc"}[network.name]
        wanted = FloatRun(fold(network), [float_name]).run(IMAGE.real(images), [float_name])[float_name]
        trace = hwsim.run(q, images, backend="jit")
        fmt = q[q.logits].layer.output_format
        found = fmt.to_real(trace[q.logits].codes)
        spread = float(np.ptp(wanted))
        assert np.abs(found - wanted.reshape(found.shape)).max() < 0.08 * spread


@pytest.mark.parametrize("name", ["network", "with_dense"])
def test_an_affine_network_comes_back_from_its_file(name, request, tmp_path):
    network = request.getfixturevalue(name)
    folder = network.save(tmp_path / "a.hwnet")
    opened = load(folder)
    assert not opened.edited
    a, b = (hwsim.run(n, pixels(1)[0], backend="jit") for n in (network, opened))
    for node in network:
        assert opened[node.name].layer.output_format == node.layer.output_format
        assert np.array_equal(a[node.name].codes, b[node.name].codes)


@pytest.mark.parametrize("dialect", [TFLITE, CMSIS_NN, TOSA, ONNXRUNTIME], ids=lambda d: d.name)
def test_sixteen_bit_codes_are_symmetric_and_take_the_wide_rules(dialect, onnxruntime):
    """16x8: the answer is nearer to float's than with 8 bits, in the variant of a 64-bit bias and in that of a 32-bit one."""
    rules = dialect.affine
    narrow = replace(dialect, affine=replace(rules, wide=rules.convolution, wide_dense=rules.fully_connected, wide_bits=32))
    for network in (fire(), dense()):
        name = {"fire": "average", "dense": "fc"}[network.name]
        images = pixels(4, 9)
        wanted = FloatRun(fold(network), [name]).run(IMAGE.real(images), [name])[name]
        for chosen in (dialect, narrow):
            q = hwsim.quantize(network, pixels(12), 16, chosen, Calibration.MAXIMUM, weight_bits=8)
            assert all(node.layer.output_format.zero_point == 0 for node in q if not isinstance(node.layer, ImageEncoding))
            assert {node.layer.contract.accumulator.bits for node in q.mac_nodes} == {chosen.affine.wide_bits}
            trace = hwsim.run(q, images, backend="jit")
            found = q[q.logits].layer.output_format.to_real(trace[q.logits].codes)
            assert np.abs(found - wanted.reshape(found.shape)).max() < 0.03 * float(np.ptp(wanted))


def test_weights_with_a_large_bias_get_a_scale_that_keeps_it_in_32_bits(onnxruntime):
    network = dense()
    weight = np.full((4, 3, 3, 3), 1e-9, dtype=np.float32)
    tiny = ops.Convolution(weight, np.array([5.0, -5.0, 0.0, 1e-3], dtype=np.float32))
    nodes = tuple(Node("conv", tiny, ("data",)) if n.name == "conv" else n for n in network)
    q = hwsim.quantize(Network("tiny", nodes), pixels(8), scheme=Scheme.AFFINE)
    assert np.abs(q["conv"].layer.bias).max() <= 1 << 30
    assert q["conv"].layer.bias[0] == -q["conv"].layer.bias[1] > 1 << 29


def test_channels_of_zeros_have_the_scale_of_the_others():
    weight = np.array([[0.5, -1.27], [0.0, 0.0]], dtype=np.float32)
    fmt = WeightRule(per_channel=True).affine(weight, 8, True)
    assert fmt.scale[0] == fmt.scale[1] == float(np.float32(1.27 / 127)) or fmt.scale[0] == fmt.scale[1]
    unsigned = WeightRule().affine(weight, 8, False)
    assert unsigned.decode(unsigned.zero_point) == 0 and unsigned.low == 0


def test_least_squares_clips_where_an_outlier_stretches_the_range():
    tally = Tally()
    tally.add(np.concatenate([np.random.default_rng(1).normal(0, 1, 1000000), [40.0]]).astype(np.float32))
    low, high = tally.affine_ends(8, True)
    assert high <= 28.3 and low > tally.low
    calm = Tally()
    calm.add(np.linspace(-1, 3, 9999).astype(np.float32))
    assert calm.affine_ends(8, True) == (-1.0, 3.0)


def test_scheme_and_dialect_must_agree():
    with pytest.raises(InputError, match="found scheme AFFINE with dialect 'exact32', allowed with this scheme: tflite, "):
        hwsim.quantize(fire(), pixels(2), scheme=Scheme.AFFINE, dialect=EXACT32)
    with pytest.raises(InputError, match="found scheme POWER_OF_TWO with dialect 'tosa', allowed with this scheme: exact32"):
        hwsim.quantize(fire(), pixels(2), scheme=Scheme.POWER_OF_TWO, dialect=TOSA)


def test_codes_beyond_8_bits_are_signed():
    with pytest.raises(InputError, match="found unsigned codes of 16 bits, allowed with AFFINE are 8"):
        hwsim.quantize(fire(), pixels(2), bits=16, weight_bits=8, scheme=Scheme.AFFINE, signed=False)


def test_one_width_alone_is_no_edit_of_an_affine_network(network):
    for edit in ({"weights": 4}, {"output": 6}):
        with pytest.raises(InputError, match="layer 'conv1': its scales go with its multipliers"):
            network.with_bits("conv1", **edit)
