"""One file per kind of layer: attributes, output shape, bounds and the specification in plain Python ints."""

from hwsim.layers.average_pool import AveragePool
from hwsim.layers.base import Bounds, Cell, Events, Layer, Shape, Shares
from hwsim.layers.clamp import Clamp
from hwsim.layers.concat import Concat
from hwsim.layers.conv import Convolution
from hwsim.layers.deconv import Deconvolution
from hwsim.layers.elementwise import ReLU, Rescale
from hwsim.layers.eltwise_sum import EltwiseSum
from hwsim.layers.float_lrn import SteppedLRN
from hwsim.layers.fully_connected import FullyConnected
from hwsim.layers.host import HostLRN, Region, Softmax
from hwsim.layers.image import ImageEncoding
from hwsim.layers.lookup import LookupTable
from hwsim.layers.lrn import IntegerLRN
from hwsim.layers.mac import MacLayer
from hwsim.layers.maximum import EltwiseMax, EltwiseMin
from hwsim.layers.move import ChannelShuffle, Flatten, FlattenOrder, Pad, ResizeNearest, Sampling, Slice
from hwsim.layers.pool import CountRule, MaxPool, Window
from hwsim.layers.prelu import PReLU
from hwsim.layers.product import EltwiseProduct
from hwsim.layers.shift_right import ArithmeticShiftRight
from hwsim.layers.softmax_fixed import SoftmaxFixed

__all__ = [
    "ArithmeticShiftRight",
    "AveragePool",
    "Bounds",
    "Cell",
    "ChannelShuffle",
    "Clamp",
    "Concat",
    "Convolution",
    "CountRule",
    "Deconvolution",
    "EltwiseMax",
    "EltwiseMin",
    "EltwiseProduct",
    "EltwiseSum",
    "Events",
    "Flatten",
    "FlattenOrder",
    "FullyConnected",
    "HostLRN",
    "ImageEncoding",
    "IntegerLRN",
    "Layer",
    "LookupTable",
    "MacLayer",
    "MaxPool",
    "Pad",
    "PReLU",
    "ReLU",
    "Region",
    "Rescale",
    "ResizeNearest",
    "Sampling",
    "Shape",
    "Shares",
    "Slice",
    "Softmax",
    "SteppedLRN",
    "SoftmaxFixed",
    "Window",
]
