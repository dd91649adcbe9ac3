"""A float Network refuses what does not fit, and says where."""

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.network.graph import (
    ChannelOrder,
    Concat,
    Convolution,
    EltwiseSum,
    InnerProduct,
    Input,
    Network,
    Node,
    Pooling,
    PoolMethod,
    Preprocessing,
    ReLU,
    Softmax,
)

DATA = Node("data", Input((2, 5, 7)))


def conv(k, c, r=3, s=3, **attributes):
    return Convolution(np.ones((k, c, r, s), np.float32), np.zeros(k, np.float32), **attributes)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ((), "has 0 inputs"),
        ((DATA, DATA), "has 2 inputs"),
        ((DATA, Node("data", ReLU(), ("data",))), "'data': this name is empty or taken"),
        ((DATA, Node("a", ReLU(), ("b",)), Node("b", ReLU(), ("data",))), "its input 'b' is no earlier layer"),
        ((DATA, Node("a", ReLU(), ())), "layer 'a': ReLU has 0 inputs; 1 allowed"),
        ((DATA, Node("a", EltwiseSum(), ("data",))), "EltwiseSum has 1 inputs; 2 or more allowed"),
        ((DATA, Node("c", conv(3, 4), ("data",))), "layer 'c': the input has 2 channels"),
        ((DATA, Node("c", conv(3, 2, 6, 3), ("data",))), "the padded input is smaller"),
        ((DATA, Node("c", conv(3, 2), ("data",)), Node("j", Concat(), ("c", "data"))), "differ in height or width"),
        ((DATA, Node("f", InnerProduct(np.ones((3, 71)), None), ("data",))), "has 70 elements; the weights take 71"),
        ((DATA, Node("p", Pooling(PoolMethod.MAX, (6, 2)), ("data",))), "a kernel of 6 does not fit"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_with_its_layer(nodes, said):
    with pytest.raises(InputError, match="network 'net'") as caught:
        Network("net", nodes)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: conv(5, 2, groups=2),
        lambda: conv(2, 2, stride=(0, 1)),
        lambda: conv(2, 2, pad=(-1, 1)),
        lambda: Convolution(np.full((1, 1, 1, 1), np.nan), None),
        lambda: Convolution(np.ones((2, 1, 1, 1)), np.ones(3)),
        lambda: Pooling(PoolMethod.MAX, (2, 2), pad=(0, 2)),
        lambda: Preprocessing(ChannelOrder.RGB, (4, 4), mean=(1.0, 2.0)),
        lambda: Preprocessing(ChannelOrder.RGB, (0, 4)),
        lambda: Preprocessing(ChannelOrder.RGB, (4, 4), scale=float("nan")),
    ],
)
def test_an_operation_that_cannot_be_is_refused(build):
    with pytest.raises(InputError):
        build()


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "pad", "ceil_mode", "windows"),
    [
        (13, 3, 2, 0, True, 6),
        (14, 3, 2, 0, True, 7),
        (14, 3, 2, 0, False, 6),
        (5, 2, 2, 1, True, 3),  # ceil((5 + 2 - 2) / 2) + 1 = 4, but the fourth would start at 6 >= 5 + 1
        (4, 2, 2, 1, True, 3),
    ],
)
def test_pooling_counts_windows_as_caffe_does(side, kernel, stride, pad, ceil_mode, windows):
    pool = Pooling(PoolMethod.MAX, (kernel, 2), (stride, 1), (pad, 0), ceil_mode=ceil_mode)
    assert pool.output_shape(((3, side, 11),)) == (3, windows, 10)


def test_weights_are_a_copy_that_nobody_can_write():
    weight = np.ones((2, 2, 1, 1), np.float32)
    op = Convolution(weight, None)
    weight[:] = 7
    assert (op.weight == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        op.weight[0] = 3


def test_the_tables_name_each_layer_with_shape_parameters_and_macs():
    net = Network("net", (DATA, Node("c<1>", conv(3, 2), ("data",)), Node("prob", Softmax(), ("c<1>",))))
    assert net.macs()["c<1>"] == 3 * 3 * 5 * 2 * 9
    assert net.logits == "c<1>"
    assert net.outputs == ("prob",)
    assert "c<1>   Convolution  data   3x3x5          57   810" in str(net)
    assert "<td>c&lt;1&gt;</td>" in net._repr_html_()
