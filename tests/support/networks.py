"""A small quantized network built by hand, with every shape of edge that a plan must handle."""

from __future__ import annotations

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.formats import FixedPoint
from hwsim.layers import Concat, Convolution, FullyConnected, ImageEncoding, MaxPool, Rescale, Shape, Softmax, Window
from hwsim.network.preprocessing import ChannelOrder, Preprocessing
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode, Source

S8 = FixedPoint(8, 0)
U8 = FixedPoint(8, -4, signed=False)


def convolution(
    rng: np.random.Generator,
    shape: tuple[int, int, int, int],
    fmt: FixedPoint,
    output: FixedPoint,
    pad: int = 0,
    overflow: Overflow = Overflow.SATURATE,
    bias_span: int = 2000,
) -> tuple[Convolution, Source]:
    """A convolution with random weights in FixedPoint(8, 7), and the floats these are."""
    weight_format = FixedPoint(8, 7)
    weight = rng.integers(-128, 128, shape)
    bias = rng.integers(-bias_span, bias_span, shape[0])
    out = Output(output, overflow=overflow, activation=Activation.RELU_BEFORE_REQUANTIZE)
    contract = MacContract(fmt, weight_format, out, Accumulator(32, require_proof=True))
    layer = Convolution(contract, weight, bias, pad=(pad, pad))
    grid = contract.bias_format(shape[0])
    return layer, Source(weight_format.to_real(weight).astype(np.float32), grid.to_real(bias).astype(np.float32))


def branching(seed: int = 7, overflow: Overflow = Overflow.SATURATE) -> QuantizedNetwork:
    """data -> conv1 -> {left 1x1, right 3x3 -> rescale} -> concat -> {pool, pad-2 convolution} -> concat -> fc -> softmax.

    The inner concat is a branch of the outer one, and is read by a padded convolution too.
    """
    rng = np.random.default_rng(seed)
    conv1, source1 = convolution(rng, (5, 3, 3, 3), S8, U8, pad=1)
    left, source_left = convolution(rng, (3, 5, 1, 1), U8, U8, overflow=overflow, bias_span=60000)
    right, source_right = convolution(rng, (7, 5, 3, 3), U8, FixedPoint(8, -3), pad=1)
    wide, source_wide = convolution(rng, (2, 10, 5, 5), U8, U8, pad=2)
    weight = rng.integers(-128, 128, (4, 12 * 6 * 11))
    fc = FullyConnected(MacContract(U8, FixedPoint(8, 7), Output(FixedPoint(16, -5))), weight)
    nodes = (
        QuantizedNode("data", (), ImageEncoding.from_real((104.0, 117.0, 123.5), 1.0, Output(S8))),
        QuantizedNode("conv1", ("data",), conv1, source1),
        QuantizedNode("left", ("conv1",), left, source_left),
        QuantizedNode("right", ("conv1",), right, source_right),
        QuantizedNode("right:rescale", ("right",), Rescale(FixedPoint(8, -3), Output(U8))),
        QuantizedNode("joint", ("left", "right:rescale"), Concat(U8, 2)),
        QuantizedNode("wide", ("joint",), wide, source_wide),
        QuantizedNode("outer", ("joint", "wide"), Concat(U8, 2)),
        QuantizedNode("pool", ("outer",), MaxPool(U8, Window((2, 1), (1, 1)))),
        QuantizedNode("fc", ("pool",), fc, Source(FixedPoint(8, 7).to_real(weight).astype(np.float32), None)),
        QuantizedNode("prob", ("fc",), Softmax(FixedPoint(16, -5))),
    )
    preprocessing = Preprocessing(ChannelOrder.BGR, (7, 11), (104.0, 117.0, 123.5))
    return QuantizedNetwork("branching", nodes, Shape(3, 7, 11), preprocessing, "by hand")


def pixels(n: int = 1, seed: int = 3, shape: tuple[int, int, int] = (3, 7, 11)) -> np.ndarray:
    """Random images, uint8 [N][C][H][W]."""
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
