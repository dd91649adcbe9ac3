"""Hypothesis strategies of small whole networks: an image's encoding, then a few layers of every kind, branches among them.

hwsim.run takes every one of them, and so it does after save and hwsim.load.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from hwsim.arith.overflow import Overflow
from hwsim.contract import FloatOutput, Output
from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint, Format, Minifloat
from hwsim.layers import (
    AveragePool,
    Clamp,
    Concat,
    Convolution,
    CountRule,
    EltwiseSum,
    FullyConnected,
    Layer,
    MaxPool,
    ReLU,
    Rescale,
    Shape,
    Window,
)
from hwsim.network.lower.plain import encoding
from hwsim.network.lower.settle import settle
from hwsim.network.preprocessing import ChannelOrder, Preprocessing
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from hwsim.testing.bounds import check_bounds, check_int, chosen
from hwsim.testing.rows import built, draw_rows, given_contract
from hwsim.testing.strategies import Product, affine_formats, codes, fixed_formats, minifloat_formats, some_bits
from hwsim.testing.wishes import REGISTER_OVERFLOWS, Wishes, draw_from

MAX_ALIGNED = 20
"""By how many bits the grids of two branches may differ that are added or joined."""


class Tensor(NamedTuple):
    """What a node gives: its name, the codes' format, their shape."""

    name: str
    format: Any
    shape: Shape


def networks(
    min_layers: int = 1,
    max_layers: int = 5,
    *,
    products: Iterable[Product] | None = None,
    overflow: Iterable[Overflow] | None = None,
    max_channels: int = 4,
    max_side: int = 6,
) -> SearchStrategy[QuantizedNetwork]:
    """Networks of min_layers..max_layers behind the image's encoding, for images of at most max_side x max_side pixels.

    Convolutions, pooling, ReLU, clamps, rescales, sums, concatenations (which may put a rescale of their own before a branch),
    fully connected layers.  products: what multiplies, None for all; the image is encoded in a format that one of them takes.
    overflow: None for all modes but TRAP.  Shrinks to one layer and an image of one pixel.

    >>> networks(3, 2)
    Traceback (most recent call last):
    ...
    hwsim.errors.InputError: networks: found min_layers=3 above max_layers=2, so that nothing is left to draw; \
allowed is 1 <= min_layers <= max_layers <= 64.
    """
    check_bounds("networks", "layers", min_layers, max_layers, 1, 64)
    check_int("networks: max_channels", max_channels, 1, 64)
    check_int("networks: max_side", max_side, 1, 64)
    wishes = Wishes(
        products=chosen("networks: products", products, Product),
        overflow=chosen("networks: overflow", overflow, (*REGISTER_OVERFLOWS, Overflow.TRAP), REGISTER_OVERFLOWS),
        scheduled=(False, True) if overflow is None or Overflow.WRAP in tuple(overflow) else (True,),
        channels=max_channels,
        own_bias=False,
        max_output_bits=16,
    )
    return _networks(min_layers, max_layers, wishes, max_side)


def pixels(network: QuantizedNetwork, *, min_images: int = 1, max_images: int = 2) -> SearchStrategy[np.ndarray]:
    """Images of a network, uint8 [N][C][H][W]: sparse, constant, black and white, or mixed; shrinks to one black image."""
    if not isinstance(network, QuantizedNetwork):
        raise InputError(f"pixels: found {network!r:.60}, allowed a QuantizedNetwork, as networks() draws them.")
    check_int("pixels: max_images", max_images, 1, 64)
    check_int("pixels: min_images", min_images, 1, max_images)
    fmt, shape = FixedPoint(8, 0, signed=False), tuple(network.input_shape)
    return st.integers(min_images, max_images).flatmap(lambda count: codes(fmt, (count, *shape)))


@st.composite
def _networks(draw: DrawFn, min_layers: int, max_layers: int, wishes: Wishes, max_side: int) -> QuantizedNetwork:
    order = draw_from(draw, (ChannelOrder.GRAY, ChannelOrder.RGB, ChannelOrder.BGR))
    size = (draw(st.integers(1, max_side)), draw(st.integers(1, max_side)))
    mean = draw(st.lists(st.integers(0, 255).map(float), min_size=1, max_size=1))
    preprocessing = Preprocessing(order, size, tuple(mean), draw_from(draw, (1.0, 0.5, 2.0**-7, 0.017)))
    shape = Shape(*preprocessing.shape)
    nodes = [QuantizedNode("data", (), encoding(preprocessing.mean, preprocessing.scale, _image_output(draw, wishes)))]
    tensors = [Tensor("data", nodes[0].layer.output_format, shape)]
    for number in range(draw(st.integers(min_layers, max_layers))):
        source = tensors[-1] if draw(st.integers(0, 3)) < 3 else draw_from(draw, tensors)
        layer, reads = _layer(draw, wishes, source, tensors)
        name = f"{layer.kind}{number + 1}"
        made = layer.output_shape([tensor.shape for tensor in reads])
        nodes.append(QuantizedNode(name, tuple(tensor.name for tensor in reads), layer))
        tensors.append(Tensor(name, layer.output_format, made))
    return QuantizedNetwork("drawn", settle(nodes, "drawn"), shape, preprocessing, "drawn")


def _image_output(draw: DrawFn, wishes: Wishes) -> Output | FloatOutput:
    """Codes that about hold what pixels become, in a format that one of the products takes."""
    takes: dict[type, SearchStrategy[Any]] = {}
    if set(wishes.products) & {Product.FIXED, Product.SHIFT_ADD}:
        takes[FixedPoint] = fixed_formats(2, 16, min_fractional_length=-6, max_fractional_length=6)
    if Product.AFFINE in wishes.products:
        takes[Affine] = affine_formats(2, 16)
    if Product.FLOAT in wishes.products:
        takes[Minifloat] = minifloat_formats()
    fmt = draw(takes[draw_from(draw, list(takes))])
    if isinstance(fmt, Minifloat):
        return FloatOutput(fmt)
    overflows = [mode for mode in (Overflow.SATURATE, *wishes.overflow) if mode in wishes.overflow]
    return Output(fmt, draw_from(draw, wishes.roundings), draw_from(draw, overflows))


def _layer(draw: DrawFn, wishes: Wishes, source: Tensor, tensors: list[Tensor]) -> tuple[Layer, list[Tensor]]:
    """Draw a layer that reads the source, and perhaps another tensor."""
    fmt, fixed = source.format, isinstance(source.format, FixedPoint)
    kinds = ["mac"] * 3 * bool(_taken(wishes, fmt)) + ["relu", "max_pool"]
    kinds += ["average", "rescale", "sum"] * fixed + ["clamp"] * (not isinstance(fmt, Minifloat)) + ["concat"]
    kind = draw_from(draw, kinds)
    if kind == "mac":
        return _mac(draw, wishes, source), [source]
    if kind in ("sum", "concat"):
        other = draw_from(draw, [tensor for tensor in tensors if _joins(tensor, source, kind == "sum")])
        return (_sum(draw, wishes, source, other) if kind == "sum" else Concat(fmt, 2)), [source, other]
    return _plain(draw, wishes, kind, source), [source]


def _plain(draw: DrawFn, wishes: Wishes, kind: str, source: Tensor) -> Layer:
    """Layers that neither multiply nor join."""
    fmt = source.format
    if kind == "relu":
        return ReLU(fmt)
    if kind == "clamp":
        low, high = sorted(draw(st.tuples(*[st.integers(fmt.low, fmt.high)] * 2)))
        return Clamp(fmt, low, high)
    if kind == "rescale":
        return Rescale(fmt, _near_output(draw, wishes, fmt.fl()))
    window = _window(draw, source.shape)
    if kind == "max_pool":
        return MaxPool(fmt, window)
    return AveragePool(fmt, window, draw_from(draw, CountRule), _near_output(draw, wishes, fmt.fl()))


def _taken(wishes: Wishes, fmt: Format) -> tuple[Product, ...]:
    """The products that take codes of a format."""
    if isinstance(fmt, Minifloat):
        return tuple(product for product in wishes.products if product is Product.FLOAT)
    if isinstance(fmt, Affine):
        return tuple(product for product in wishes.products if product is Product.AFFINE)
    return wishes.products


def _joins(tensor: Tensor, source: Tensor, added: bool) -> bool:
    """Whether two tensors can be added, or joined along the channels."""
    if (tensor.shape if added else tensor.shape[1:]) != (source.shape if added else source.shape[1:]):
        return False
    if tensor.format == source.format:
        return True
    both = isinstance(tensor.format, FixedPoint) and isinstance(source.format, FixedPoint)
    return both and abs(tensor.format.fl() - source.format.fl()) <= MAX_ALIGNED


def _near_output(draw: DrawFn, wishes: Wishes, length: int) -> Output:
    """An output stage a few bits finer or coarser."""
    fmt = FixedPoint(draw(some_bits(2, 16)), length + draw(st.integers(-3, 3)), draw(st.sampled_from((True, False))))
    overflows = [mode for mode in (Overflow.SATURATE, *wishes.overflow) if mode in wishes.overflow]
    return Output(fmt, draw_from(draw, wishes.roundings), draw_from(draw, overflows))


def _sum(draw: DrawFn, wishes: Wishes, source: Tensor, other: Tensor) -> EltwiseSum:
    output = _near_output(draw, wishes, max(source.format.fl(), other.format.fl()))
    return EltwiseSum((source.format, other.format), output)


def _window(draw: DrawFn, shape: Shape) -> Window:
    if draw(st.integers(0, 3)) == 3:
        return Window(None)
    kernel = tuple(draw(st.integers(1, min(3, extent))) for extent in shape[1:])
    stride = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    pad = tuple(draw(st.integers(0, (side - 1) // 2)) for side in kernel)
    return Window(kernel, stride, pad, draw(st.booleans()))  # type: ignore[arg-type]


def _mac(draw: DrawFn, wishes: Wishes, source: Tensor) -> Convolution | FullyConnected:
    """A convolution, depthwise now and then, or a fully connected layer."""
    kind, shape = draw(st.integers(0, 7)), source.shape
    mine, channels = replace(wishes, input=source.format, products=_taken(wishes, source.format)), wishes.channels or 1
    if kind == 7:
        taps = math.prod(shape)
        given = given_contract(draw, mine, channels, taps)
        return built(FullyConnected, given, draw_rows(draw, given, taps, channels, None), (taps,))
    groups = shape.c if kind == 6 else 1
    size = (shape.c // groups, *(draw(st.integers(1, min(3, extent))) for extent in shape[1:]))
    given = given_contract(draw, mine, channels if groups == 1 else None, math.prod(size))
    rows = draw_rows(draw, given, math.prod(size), channels if groups == 1 else 1, None) * groups
    stride, pad = ((draw(st.integers(low, high)), draw(st.integers(low, high))) for low, high in ((1, 2), (0, 1)))
    return built(lambda c, w, b: Convolution(c, w, b, stride, pad, groups=groups), given, rows, size)
