"""Ranges seen on images: the narrowest accumulator without an event is the one that plain loops over every step find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hwsim
from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.contract import Accumulator, Axis, BiasPoint, MacContract, Multiplier, Output, Scaling, Schedule, Spill, Tree, ZeroSkip
from hwsim.errors import ContractError, InputError, OverflowTrap
from hwsim.execute.trace import run
from hwsim.formats import Affine, FixedPoint
from hwsim.images import ImageSet
from hwsim.layers import Convolution, FullyConnected, ImageEncoding, MacLayer, Shape
from hwsim.network.preprocessing import ChannelOrder, Preprocessing
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from hwsim.proofs.narrow import with_width
from hwsim.proofs.seen import seen_widths
from oracles.ordered import expected_output

S8, W6 = FixedPoint(8, 0), FixedPoint(6, 5)
IMAGE = Preprocessing(ChannelOrder.BGR, (3, 4), (100.0, 110.0, 120.0))


class Pixels:
    """A source of images that lie in memory."""

    labels = None

    def __init__(self, arrays: np.ndarray) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays)

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int, gray: bool) -> np.ndarray:
        return self.arrays[index]


def image_set(count: int = 3) -> ImageSet:
    """Random images in rows of red, green and blue."""
    arrays = np.random.default_rng(count).integers(0, 256, (count, 3, 4, 3), dtype=np.uint8)
    return ImageSet(Pixels(arrays), IMAGE, range(count))


def network(accumulator: Accumulator, output: Output | None = None) -> QuantizedNetwork:
    """Image -> codes -> convolution -> fully connected, each with this accumulator; no axis is as long as another."""
    rng = np.random.default_rng(5)
    out = Output(S8, activation=Activation.RELU_BEFORE_REQUANTIZE) if output is None else output
    first, second = MacContract(S8, W6, out, accumulator), MacContract(S8, W6, Output(FixedPoint(16, -2)), accumulator)
    conv = Convolution(first, rng.integers(-32, 32, (2, 3, 2, 2)), rng.integers(-60, 60, 2), pad=1)
    fc = FullyConnected(second, rng.integers(-32, 32, (3, 2 * 4 * 5)), rng.integers(-60, 60, 3))
    nodes = (
        QuantizedNode("data", (), ImageEncoding.from_real((100.0, 110.0, 120.0), 1.0, Output(S8))),
        QuantizedNode("conv", ("data",), conv),
        QuantizedNode("fc", ("conv",), fc),
    )
    return QuantizedNetwork("small", nodes, Shape(3, 3, 4), IMAGE, "by hand")


def overflows(layer: MacLayer, x: np.ndarray) -> bool:
    """Whether the accumulator has an event, by plain loops over every output and every step."""
    shape = layer.output_shape([Shape(*x.shape[1:])])
    return any(expected_output(layer, x, *place).events.accumulator for place in np.ndindex(len(x), *shape))


def narrowest(layer: MacLayer, x: np.ndarray) -> int:
    """The first width, from 2 upwards, that can be built and has no event."""
    for bits in range(2, 40):
        try:
            narrow = with_width(layer, bits)
        except ContractError:
            continue
        if not overflows(narrow, x):
            return bits
    raise AssertionError("no width will do")


ORDERED = {
    "wraps": Accumulator(24, schedule=Schedule()),
    "overflows as declared": Accumulator(11, overflow=Overflow.SATURATE),
    "symmetric, bias last": Accumulator(24, overflow=Overflow.SATURATE_SYMMETRIC, schedule=Schedule(bias=BiasPoint.LAST)),
    "lanes": Accumulator(24, schedule=Schedule(lanes=2, lane_axis=Axis.R, skip_zeros=ZeroSkip.INPUT)),
    "a tree that wraps": Accumulator(
        9, overflow=Overflow.SATURATE, schedule=Schedule(lanes=3, tree=Tree(Pairing.CHAIN, (10, 9), Overflow.WRAP))
    ),
    "spills": Accumulator(24, schedule=Schedule(spill=Spill(3, 11, 1, overflow=Overflow.SATURATE))),
    "a narrow spill that wraps": Accumulator(24, schedule=Schedule(spill=Spill(2, 9, 0, last=True))),
}


@pytest.mark.parametrize("accumulator", ORDERED.values(), ids=list(ORDERED))
def test_the_narrowest_register_is_the_one_that_plain_loops_find(accumulator: Accumulator) -> None:
    net, data = network(accumulator), image_set()
    found = seen_widths(net, data, batch=2)
    trace = run(net, data)
    for name in ("conv", "fc"):
        layer, (x,) = trace[name].layer, trace[name].inputs
        assert found[name].bits == narrowest(layer, x)
        wide = [expected_output(with_width(layer, 40), x, *at).acc for at in np.ndindex(trace[name].codes.shape)]
        ends = np.array(wide).reshape(len(x), layer.channels, -1)
        assert (found[name].low == ends.min(axis=(0, 2))).all() and (found[name].high == ends.max(axis=(0, 2))).all()
        assert found[name].range == (min(wide), max(wide))
        assert found[name].events == trace[name].events


def test_partial_sums_may_need_more_than_the_ends() -> None:
    """White is 127 in every channel; times 31, -31 and 1, so that the first content is far from the end."""
    net = network(Accumulator(24, schedule=Schedule()))
    conv = Convolution(net["conv"].layer.contract, np.array([31, -31, 1]).reshape(1, 3, 1, 1))
    net = QuantizedNetwork("cancels", (net.nodes[0], QuantizedNode("conv", ("data",), conv)), net.input_shape, IMAGE, "by hand")
    white = ImageSet(Pixels(np.full((1, 3, 4, 3), 255, dtype=np.uint8)), IMAGE, range(1))
    seen = seen_widths(net, white)["conv"]
    assert seen.range == (127, 127)
    assert (seen.end_bits, seen.bits) == (8, 13)  # 31 * 127 = 3937


def test_a_brighter_image_widens_what_a_darker_one_left() -> None:
    """Image by image: 31 * 10 needs 10 bits, 31 * 90 13, and the register is tried anew each time."""
    net = network(Accumulator(24, schedule=Schedule()))
    conv = Convolution(net["conv"].layer.contract, np.array([31, 0, 0]).reshape(1, 3, 1, 1))
    net = QuantizedNetwork("grows", (net.nodes[0], QuantizedNode("conv", ("data",), conv)), net.input_shape, IMAGE, "by hand")
    arrays = np.repeat(np.array([110, 190], dtype=np.uint8), 3 * 4 * 3).reshape(2, 3, 4, 3)
    for count, top in ((1, 310), (2, 31 * 90)):
        (seen,) = seen_widths(net, ImageSet(Pixels(arrays), IMAGE, range(count)), batch=1).values()
        assert (seen.range[1], seen.bits) == (top, top.bit_length() + 1)


@pytest.mark.parametrize("schedule", [None, Schedule(), Schedule(bias=BiasPoint.LAST)])
def test_no_width_is_named_that_the_bias_does_not_fit(schedule: Schedule | None) -> None:
    """White makes -127 of a bias of 120: the end needs 4 bits, and no register of 4 bits can be built with this bias."""
    net = network(Accumulator(24, schedule=schedule))
    conv = Convolution(net["conv"].layer.contract, np.array([-1, 0, 0]).reshape(1, 3, 1, 1), np.array([120]))
    net = QuantizedNetwork("bias", (net.nodes[0], QuantizedNode("conv", ("data",), conv)), net.input_shape, IMAGE, "by hand")
    white = ImageSet(Pixels(np.full((1, 3, 4, 3), 255, dtype=np.uint8)), IMAGE, range(1))
    (seen,) = seen_widths(net, white).values()
    assert seen.range == (-7, -7) and seen.bits == 8
    with pytest.raises(ContractError, match="bias"):
        with_width(conv, 7)


def test_without_an_order_the_ends_are_all_there_is() -> None:
    net, data = network(Accumulator(10)), image_set()
    found, trace = seen_widths(net, data, batch=2), run(net, data)
    for name in ("conv", "fc"):
        weight = trace[name].layer.weight.astype(np.int64)
        wide = run(replace_layer(net, name, with_width(trace[name].layer, 40)), data)[name].acc
        assert (int(wide.min()), int(wide.max())) == found[name].range
        assert (found[name].low == wide.min(axis=(0, 2, 3))).all() and (found[name].high == wide.max(axis=(0, 2, 3))).all()
        bits = found[name].bits
        assert bits == found[name].end_bits
        assert -(1 << (bits - 1)) <= wide.min() and wide.max() < 1 << (bits - 1)
        assert wide.min() < -(1 << (bits - 2)) or wide.max() >= 1 << (bits - 2)
        assert weight.size and found[name].images == 3


def replace_layer(net: QuantizedNetwork, name: str, layer: MacLayer) -> QuantizedNetwork:
    """The network with another layer under this name."""
    return replace(net, nodes=tuple(replace(node, layer=layer) if node.name == name else node for node in net))


@pytest.mark.parametrize("backend", ["spec", "jit"])
def test_every_backend_and_batch_sees_the_same(backend: str) -> None:
    net, data = network(ORDERED["lanes"]), image_set()
    expected, found = seen_widths(net, data), seen_widths(net, data, backend=backend, batch=1)
    for name, seen in expected.items():
        assert (seen.bits, seen.end_bits, seen.range, seen.events) == (
            found[name].bits, found[name].end_bits, found[name].range, found[name].events,
        )  # fmt: skip


def test_a_multiplier_of_32_bits_does_not_keep_a_wide_register_from_being_watched() -> None:
    """HIGH_MULTIPLY takes no accumulator beyond 32 bits; what is seen is what lies before it."""
    u8, w8 = Affine(16, 0.5, 7), Affine(16, 0.25)
    scaled = Output(Affine(8, 0.5), scaling=Multiplier(Scaling.HIGH_MULTIPLY, 1 << 30, 45))
    image = ImageEncoding.from_real((0.0, 0.0, 0.0), 1.0, Output(u8))
    weight = np.full((1, 3, 1, 1), 32767)
    conv = Convolution(MacContract(u8, w8, scaled, Accumulator(12)), weight, None)
    nodes = (QuantizedNode("data", (), image), QuantizedNode("conv", ("data",), conv))
    net = QuantizedNetwork("scaled", nodes, Shape(3, 3, 4), IMAGE, "by hand")
    seen = seen_widths(net, image_set())["conv"]
    codes = run(net, image_set())["data"].codes.astype(np.int64) - 7
    sums = (codes * 32767).sum(axis=1)
    assert seen.range == (int(sums.min()), int(sums.max()))


def test_only_the_layers_and_images_asked_for() -> None:
    net, ticks = network(ORDERED["wraps"]), []
    found = seen_widths(net, image_set(), limit=2, layers=["fc"], batch=1, progress=lambda *at: ticks.append(at))
    assert list(found) == ["fc"] and found["fc"].images == 2 and ticks == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("data", "limit", "sentence"),
    [(image_set(0), None, "no images"), (image_set(), 0, "limit 0"), (image_set(), 1.5, "limit 1.5")],
)
def test_no_image_is_refused(data: ImageSet, limit: int | None, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        seen_widths(network(ORDERED["wraps"]), data, limit)


def test_a_trap_stops_nothing() -> None:
    data = image_set()
    wraps, traps = (network(Accumulator(11, overflow=mode, schedule=Schedule())) for mode in (Overflow.WRAP, Overflow.TRAP))
    with pytest.raises(OverflowTrap):
        hwsim.run(traps, data)
    expected, found = seen_widths(wraps, data), seen_widths(traps, data)
    for name, seen in expected.items():
        assert (seen.bits, seen.range, seen.events) == (found[name].bits, found[name].range, found[name].events)
        assert seen.events.accumulator > 0
