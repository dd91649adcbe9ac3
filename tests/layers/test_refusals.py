"""A layer that cannot be built, or does not fit its inputs, is refused in one sentence."""

import numpy as np
import pytest

from hwsim.contract import MacContract, Output
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint
from hwsim.layers import (
    AveragePool,
    Concat,
    Convolution,
    CountRule,
    EltwiseSum,
    FullyConnected,
    HostLRN,
    ImageEncoding,
    MaxPool,
    Region,
    ReLU,
    Rescale,
    Shape,
    Softmax,
    Window,
)

S8 = FixedPoint(8, 4)
MANY = FixedPoint(8, (4, 5))
WIDE = FixedPoint(50, 4)
OUT = Output(S8)
CONTRACT = MacContract(S8, S8, OUT)
ONES = np.ones((4, 3, 2, 5), dtype=np.int8)
CAFFE = CountRule.CAFFE


def conv(weight=ONES, **attributes):
    return Convolution(CONTRACT, weight, **attributes)


def average(window, output=OUT, f=S8, count=CAFFE):
    return AveragePool(f, window, count, output)


def lrn(f=S8, **changes):
    values = {"region": Region.ACROSS_CHANNELS, "local_size": 3, "alpha": 1.0, "beta": 0.75, "k": 1.0, "output": OUT, **changes}
    return HostLRN(f, **values)


def encoding(mean, scale=1.0):
    return ImageEncoding.from_real(mean, scale, OUT)


FORMATS = [
    lambda f: ReLU(f),
    lambda f: Concat(f, 2),
    lambda f: MaxPool(f, Window(None)),
    lambda f: AveragePool(f, Window(None), CAFFE, OUT),
    lambda f: Rescale(f, OUT),
    lambda f: EltwiseSum((S8, f), OUT),
    lambda f: lrn(f),
    lambda f: Softmax(f),
]


@pytest.mark.parametrize("build", FORMATS)
def test_only_weights_have_a_grid_per_channel(build):
    refused(lambda: build(MANY), ["format", "one fractional length per channel", "a single one"])


@pytest.mark.parametrize("build", FORMATS)
def test_codes_between_layers_have_at_most_48_bits(build):
    refused(lambda: build(WIDE), ["format", "found 50 bits", "at most"])


def refused(build, said):
    with pytest.raises(ContractError) as caught:
        build()
    message = str(caught.value)
    for part in said:
        assert part in message, message
    assert "\n" not in message and message.endswith(".")


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: conv(stride=0), ["convolution.stride", "found 0", "from 1"]),
        (lambda: conv(stride=(1, 2, 3)), ["convolution.stride", "(1, 2, 3)", "pair"]),
        (lambda: conv(pad=-1), ["convolution.pad", "found -1", "from 0"]),
        (lambda: conv(dilation=(1, 0)), ["convolution.dilation", "(1, 0)", "from 1"]),
        (lambda: conv(dilation=True), ["convolution.dilation", "True"]),
        (lambda: conv(pad=1 << 16), ["convolution.pad", "65536", "65535"]),
        (lambda: conv(groups=3), ["convolution.groups", "found 3", "4 output channels", "a divisor"]),
        (lambda: conv(groups=0), ["convolution.groups", "found 0"]),
        (lambda: conv(groups=2.0), ["convolution.groups", "found 2.0"]),
        (lambda: conv(np.ones((2, 3, 5))), ["convolution.weight", "float64"]),
        (lambda: conv(np.ones((2, 3, 5), int)), ["convolution.weight", "shape (2, 3, 5)", "K C R S"]),
        (lambda: conv(np.full((1, 1, 1, 1), 200)), ["convolution.weight", "200..200", "-128..127"]),
        (lambda: conv(np.full((1, 1, 1, 1), 1 << 63, np.uint64)), ["convolution.weight", "-128..127"]),
        (lambda: conv().output_shape([Shape(2, 5, 7)]), ["convolution", "2 input channels", "allowed 3"]),
        (lambda: conv().output_shape([Shape(3, 5, 4)]), ["kernel of extent 5", "does not fit 4"]),
        (
            lambda: conv(pad=60000, stride=60000).output_shape([Shape(3, 5, 7)]),
            ["convolution.pad", "(60000, 60000)", "codes large", "allowed 268435456"],
        ),
        (lambda: conv().output_shape([Shape(3, 5, 7)] * 2), ["convolution", "2 inputs", "exactly one"]),
        (
            lambda: FullyConnected(CONTRACT, np.ones((2, 7), int)).output_shape([Shape(2, 3, 1)]),
            ["fully_connected", "2 x 3 x 1 = 6", "allowed 7"],
        ),
        (lambda: Window((2, 2), pad=(2, 0)), ["pooling.pad", "(2, 0)", "less than the kernel (2, 2)"]),
        (lambda: Window(None, pad=(1, 1)), ["pooling.pad", "(1, 1)", "global", "(0, 0)"]),
        (lambda: Window((0, 2)), ["pooling.kernel", "(0, 2)", "from 1"]),
        (lambda: Window((3, 2)).output_shape(Shape(1, 2, 5)), ["kernel of 3", "does not fit 2"]),
        (lambda: average(Window(None), count=2), ["average_pool.count", "found 2", "EXCLUDE_PADDING"]),
        (lambda: average(Window(None), Output(FixedPoint(8, 30))), ["average_pool", "differs by 26", "at most 24"]),
        (
            lambda: average(Window((1025, 1024))).output_shape([Shape(1, 2000, 2000)]),
            ["average_pool.kernel", "(1025, 1024)", "2**20"],
        ),
        (
            lambda: average(Window((64, 64)), Output(FixedPoint(8, 28)), FixedPoint(32, 4)).output_shape([Shape(1, 64, 64)]),
            ["average_pool", "64 x 64 codes of 32 bits", "allowed 62"],
        ),
        (lambda: Rescale(S8, Output(FixedPoint(8, 70))), ["rescale", "-66 bits", "within 64 bits"]),
        (lambda: Rescale(S8, Output(FixedPoint(8, -59))), ["rescale", "63 bits", "up to 62"]),
        (lambda: EltwiseSum((S8,), OUT), ["eltwise_sum.formats", "1 inputs", "two or more"]),
        (lambda: EltwiseSum((S8, FixedPoint(8, 60)), OUT), ["eltwise_sum", "bits wide", "allowed 62"]),
        (lambda: EltwiseSum((S8, S8), OUT).output_shape([Shape(2, 3, 5), Shape(2, 5, 3)]), ["eltwise_sum", "of one shape"]),
        (lambda: Concat(S8, 0), ["concat.count", "found 0", "1..65536"]),
        (lambda: Concat(S8, 1 << 31), ["concat.count", "found 2147483648", "1..65536"]),
        (lambda: Concat(S8, 2).output_shape([Shape(2, 3, 5), Shape(2, 5, 3)]), ["concat", "one height and width"]),
        (lambda: Concat(S8, 3).output_shape([Shape(2, 3, 5)] * 2), ["concat", "allowed 3"]),
        (lambda: encoding(float("nan")), ["image_encoding", "nan", "-256..256"]),
        (lambda: encoding(1e300), ["image_encoding", "1e+300", "-256..256"]),
        (lambda: encoding(0.0, 1e39), ["image_encoding", "1e+39", "scales"]),
        (lambda: encoding(0.0, 1e-60), ["image_encoding.scale_mantissa", "found 0", "1..2**24 - 1"]),
        (lambda: encoding(0.0, -1.0), ["image_encoding", "-1.0", "above 0"]),
        (lambda: ImageEncoding(np.full((1, 1, 1), 0.5), 1, 0, OUT), ["image_encoding.mean", "float64", "codes"]),
        (lambda: ImageEncoding(np.full((1, 1, 1), -(1 << 63)), 1, 0, OUT), ["image_encoding.mean", "within +-256"]),
        (lambda: ImageEncoding(np.zeros((1, 1), int), 1, 0, OUT), ["image_encoding.mean", "(1, 1)", "[C][1][1]"]),
        (lambda: encoding((1.0, 2.0)).output_shape([Shape(3, 5, 7)]), ["image_encoding.mean", "(2, 1, 1)", "(3, 5, 7)"]),
        (lambda: lrn(local_size=4), ["host_lrn.local_size", "found 4", "odd"]),
        (lambda: lrn(k=0.0), ["host_lrn", "k 0.0", "k in 2**-32..2**32"]),
        (lambda: lrn(beta=17.0), ["host_lrn", "beta 17.0", "beta in 0..16"]),
        (lambda: lrn(beta=float("nan")), ["host_lrn", "beta nan"]),
        (lambda: lrn(alpha=float("inf")), ["host_lrn", "alpha inf", "alpha in 0..2**32"]),
    ],
)
def test_a_layer_refuses_in_one_sentence(build, said):
    refused(build, said)


def test_weights_are_copied_and_cannot_be_written():
    weight = ONES.copy()
    layer = conv(weight)
    weight[...] = 7
    assert (layer.weight == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[0] = 2
