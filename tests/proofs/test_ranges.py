"""Ranges through the network: no image leaves them, and where a layer reads each pixel once its ends are reached."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow
from hwsim.contract import Accumulator, Activation, MacContract, Output, Schedule
from hwsim.contract.stochastic import Lfsr, StochasticRounding
from hwsim.execute.trace import run
from hwsim.formats import FixedPoint
from hwsim.formats.catalog import E4M3
from hwsim.layers import Clamp, Convolution, HostLRN, ImageEncoding, Region, ReLU, Rescale, Shape
from hwsim.network.preprocessing import ChannelOrder, Preprocessing
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from hwsim.proofs.certificate import InputRange
from hwsim.proofs.ranges import network_certificates, network_ranges
from support.networks import branching, pixels

S8, S6 = FixedPoint(8, 0), FixedPoint(6, 0)


def extremes(net: QuantizedNetwork, count: int) -> np.ndarray:
    """Random images, black, white, and images of black and white pixels alone."""
    drawn = pixels(count, 11, tuple(net.input_shape))
    return np.concatenate([drawn, (drawn > 127).astype(np.uint8) * 255, 0 * drawn[:1], 0 * drawn[:1] + 255])


def holds(codes: np.ndarray, given: InputRange) -> bool:
    """Whether codes [N][C][H][W] stay in the range of each channel."""
    low, high = codes.min(axis=(0, 2, 3)), codes.max(axis=(0, 2, 3))
    return bool((low >= given.low).all() and (high <= given.high).all())


def narrowed(net: QuantizedNetwork, accumulator: Accumulator) -> QuantizedNetwork:
    """The network with this accumulator in every layer, its biases as far as they fit."""
    nodes = []
    for node in net:
        if isinstance(node.layer, Convolution):
            contract = replace(node.layer.contract, accumulator=accumulator)
            bias = node.layer.bias.clip(accumulator.low, accumulator.high)
            node = replace(node, layer=replace(node.layer, contract=contract, bias=bias))
        nodes.append(node)
    return replace(net, nodes=tuple(nodes))


NETWORKS = {
    "as it is": branching(),
    "outputs that wrap": branching(overflow=Overflow.WRAP),
    "sums that wrap": narrowed(branching(), Accumulator(15)),
    "sums that saturate": narrowed(branching(), Accumulator(15, overflow=Overflow.SATURATE_SYMMETRIC)),
    "trees that wrap": narrowed(branching(), Accumulator(24, schedule=Schedule(lanes=5))),
}


@pytest.mark.parametrize("net", NETWORKS.values(), ids=list(NETWORKS))
def test_no_image_leaves_the_ranges(net: QuantizedNetwork) -> None:
    given, trace = network_ranges(net), run(net, extremes(net, 6))
    for node in net.nodes[:-1]:
        assert holds(trace[node.name].codes, given[node.name]), node.name
    for name, proof in network_certificates(net).items():
        (source,) = net[name].inputs
        assert (proof.inputs.low == given[source].low).all() and (proof.inputs.high == given[source].high).all()


def one_pixel(*layers: tuple[str, object], mean: tuple[float, ...] = (100.0, 7.0)) -> QuantizedNetwork:
    """A network of two channels of one pixel: data and then these layers, one behind the other."""
    nodes = [QuantizedNode("data", (), ImageEncoding.from_real(mean, 0.75, Output(S8)))]
    for name, layer in layers:
        nodes.append(QuantizedNode(name, (nodes[-1].name,), layer))
    return QuantizedNetwork("pixel", tuple(nodes), Shape(2, 1, 1), Preprocessing(ChannelOrder.GRAY, (1, 1)), "by hand")


def every_image() -> np.ndarray:
    """All images of two channels in which each pixel is at an end or one of 16 others."""
    values = np.unique(np.r_[np.arange(0, 256, 17), 0, 255])
    grid = np.stack(np.meshgrid(values, values), axis=-1).reshape(-1, 2, 1, 1)
    return grid.astype(np.uint8)


def convolution(accumulator: Accumulator = Accumulator(20), **output) -> Convolution:
    """Three channels of two taps, of which one looks at the first alone."""
    contract = MacContract(S8, S8, Output(S6, **output), accumulator)
    return Convolution(contract, np.array([[3, -2], [1, 0], [-1, -1]]).reshape(3, 2, 1, 1), np.array([5, -9, 100]))


LAYERS = {
    "sum": convolution(),
    "relu before": convolution(activation=Activation.RELU_BEFORE_REQUANTIZE),
    "relu behind": convolution(activation=Activation.RELU_AFTER_REQUANTIZE),
    "clamped": convolution(clamp_low=-4, clamp_high=9),
    "narrow sum": convolution(Accumulator(8, overflow=Overflow.SATURATE)),
    "relu": ReLU(S8),
    "clamp": Clamp(S8, -3, 21),
    "rescale": Rescale(S8, Output(FixedPoint(7, -1), overflow=Overflow.SATURATE_SYMMETRIC)),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=list(LAYERS))
def test_the_ends_are_reached_where_each_pixel_is_read_once(layer) -> None:
    """Of all images that have each pixel at its ends, some reach the ends of the encoding and of what follows it."""
    net = one_pixel(("layer", layer))
    given, trace = network_ranges(net), run(net, every_image())
    for name in ("data", "layer"):
        codes = trace[name].codes
        assert codes.min(axis=(0, 2, 3)).tolist() == given[name].low.tolist()
        assert codes.max(axis=(0, 2, 3)).tolist() == given[name].high.tolist()


def test_an_output_that_wraps_may_give_any_code() -> None:
    found = network_ranges(one_pixel(("layer", convolution(overflow=Overflow.WRAP))))["layer"]
    assert (found.low == S6.low).all() and (found.high == S6.high).all()


def test_noise_may_round_either_way() -> None:
    noisy = StochasticRounding(Lfsr(8), Lfsr(8).seeds_apart(1, 1))
    net = one_pixel(("layer", Rescale(S8, Output(FixedPoint(6, -2), noisy))))
    plain = one_pixel(("layer", Rescale(S8, Output(FixedPoint(6, -2)))))
    wide, narrow = network_ranges(net)["layer"], network_ranges(plain)["layer"]
    assert (wide.low <= narrow.low).all() and (wide.high >= narrow.high).all()
    codes = run(net, every_image()).layers["layer"].codes
    assert holds(codes, wide)


def test_a_layer_without_a_rule_gives_what_its_bounds_allow() -> None:
    net = one_pixel(("host", HostLRN(S8, Region.ACROSS_CHANNELS, 3, 1.0, 0.75, 1.0, Output(S8))), ("sum", convolution()))
    given = network_ranges(net)
    assert (given["host"].low == S8.low).all() and (given["host"].high == S8.high).all()
    assert holds(run(net, every_image())["sum"].codes, given["sum"])


def test_minifloats_have_no_range_of_codes() -> None:
    net = one_pixel(("cast", Rescale(S8, Output(S8))))
    image = ImageEncoding.from_real((100.0, 7.0), 0.75, replace_output(E4M3))
    floats = replace(net, nodes=(replace(net.nodes[0], layer=image), QuantizedNode("cast", ("data",), Rescale(E4M3, Output(S8)))))
    given = network_ranges(floats)
    assert "data" not in given and (given["cast"].low == S8.low).all() and (given["cast"].high == S8.high).all()


def replace_output(fmt):
    """An output stage of minifloats."""
    from hwsim.contract import FloatOutput

    return FloatOutput(fmt)
