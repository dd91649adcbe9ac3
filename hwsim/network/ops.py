"""What a node of a float Network computes: attributes, weights, output shape. Shapes are (C, H, W), without the batch.

An operation has no name and no edges; its errors say what does not fit, and Network adds the layer's name.

ops_base.py   what every operation is, and the image that enters
ops_mac.py    convolution, transpose convolution, inner product
ops_window.py pooling, local response normalization
ops_values.py activations, sums, products, batch norm: each number where it is
ops_places.py concatenation, slice, pad, resize, shuffle: numbers move
"""

from __future__ import annotations

from hwsim.network.ops_base import MAX_ELEMENTS, Input, Op, Pair, Shape
from hwsim.network.ops_mac import Convolution, Deconvolution, InnerProduct
from hwsim.network.ops_places import ChannelShuffle, Concat, Flatten, Pad, ResizeNearest, Slice
from hwsim.network.ops_values import (
    BatchNorm,
    Clip,
    Dropout,
    EltwiseMax,
    EltwiseProduct,
    EltwiseSum,
    PReLU,
    ReLU,
    Scale,
    Sigmoid,
    Softmax,
    Tanh,
)
from hwsim.network.ops_window import LRN, Pooling, PoolMethod, Region

__all__ = [
    "LRN",
    "MAX_ELEMENTS",
    "BatchNorm",
    "ChannelShuffle",
    "Clip",
    "Concat",
    "Convolution",
    "Deconvolution",
    "Dropout",
    "EltwiseMax",
    "EltwiseProduct",
    "EltwiseSum",
    "Flatten",
    "InnerProduct",
    "Input",
    "Op",
    "PReLU",
    "Pad",
    "Pair",
    "PoolMethod",
    "Pooling",
    "ReLU",
    "Region",
    "ResizeNearest",
    "Scale",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Tanh",
]
