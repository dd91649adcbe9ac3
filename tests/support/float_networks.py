"""Float networks with random weights, small and with every kind of edge that lowering must see."""

from __future__ import annotations

import numpy as np

from hwsim.network import ops
from hwsim.network.graph import Network, Node
from hwsim.network.preprocessing import ChannelOrder, Preprocessing

IMAGE = Preprocessing(ChannelOrder.BGR, (11, 13), (104.0, 117.0, 123.0), 1 / 64)


def conv(rng: np.random.Generator, shape: tuple[int, int, int, int], gain: float = 1.0, pad: int = 0) -> ops.Convolution:
    """Random weights of about unit gain, and a bias."""
    scale = gain / np.sqrt(np.prod(shape[1:]))
    weight = rng.normal(size=shape) * scale
    return ops.Convolution(weight.astype(np.float32), rng.normal(size=shape[0]).astype(np.float32) * 0.1, pad=(pad, pad))


def fire(seed: int = 1, preprocessing: Preprocessing | None = IMAGE) -> Network:
    """data -> conv1 -> relu -> max pool -> {left, right + relu} -> concat -> {conv5, conv6} -> sum -> average -> softmax."""
    rng = np.random.default_rng(seed)
    relu = ops.ReLU()
    size = (2, 2), (2, 2)
    nodes = (
        Node("data", ops.Input((3, 11, 13), preprocessing)),
        Node("conv1", conv(rng, (5, 3, 3, 3)), ("data",)),
        Node("relu1", relu, ("conv1",)),
        Node("pool1", ops.Pooling(ops.PoolMethod.MAX, *size, ceil_mode=True), ("relu1",)),
        Node("left", conv(rng, (4, 5, 1, 1), 1.0), ("pool1",)),
        Node("left/relu", relu, ("left",)),
        Node("right", conv(rng, (7, 5, 3, 3), 20.0, 1), ("pool1",)),
        Node("right/relu", relu, ("right",)),
        Node("joint", ops.Concat(), ("left/relu", "right/relu")),
        Node("conv5", conv(rng, (6, 11, 1, 1)), ("joint",)),
        Node("conv6", conv(rng, (6, 11, 3, 3), 1.0, 1), ("joint",)),
        Node("sum", ops.EltwiseSum(), ("conv5", "conv6")),
        Node("sum/relu", relu, ("sum",)),
        Node("average", ops.Pooling(ops.PoolMethod.AVERAGE, global_pooling=True), ("sum/relu",)),
        Node("prob", ops.Softmax(), ("average",)),
    )
    return Network("fire", nodes)


def pixels(n: int, seed: int = 2) -> np.ndarray:
    """Random images for IMAGE, uint8 [N][C][H][W]."""
    return np.random.default_rng(seed).integers(0, 256, (n, 3, 11, 13), dtype=np.uint8)
