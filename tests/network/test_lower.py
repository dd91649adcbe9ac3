"""Folding keeps the function: the folded network gives what the whole one gives in onnxruntime."""

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.network.graph import (
    BatchNorm,
    Clip,
    Concat,
    Convolution,
    Deconvolution,
    Dropout,
    Flatten,
    InnerProduct,
    Input,
    Network,
    Node,
    Pooling,
    PoolMethod,
    ReLU,
    Scale,
)
from hwsim.network.lower import fold
from hwsim.network.lower.settle import naming

RNG = np.random.default_rng(3)
DATA = Node("data", Input((2, 5, 7)))


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def conv(bias=True):
    return Convolution(normal(3, 2, 3, 3), normal(3) if bias else None, pad=(1, 1))


def conv3():
    return Convolution(normal(4, 3, 1, 1), normal(4))


def norm(channels):
    return BatchNorm(normal(channels), RNG.uniform(0.1, 3, channels).astype(np.float32), 0.01)


def chain(*ops):
    nodes = [DATA]
    for index, op in enumerate(ops):
        nodes.append(Node(f"n{index}", op, (nodes[-1].name,)))
    return Network("chain", tuple(nodes))


FOLDED = {
    "batch norm into convolution": (chain(conv(), norm(3), ReLU()), ["data", "n0", "n2"]),
    "batch norm into convolution without bias": (chain(conv(bias=False), norm(3)), ["data", "n0"]),
    "scale with bias": (chain(conv(), Scale(normal(3), normal(3))), ["data", "n0"]),
    "scale without bias, no bias before": (chain(conv(bias=False), Scale(normal(3))), ["data", "n0"]),
    "batch norm, dropout, scale": (chain(conv(), norm(3), Dropout(), Scale(normal(3), normal(3))), ["data", "n0"]),
    "batch norm into transpose convolution": (
        chain(Deconvolution(normal(6, 1, 3, 2), None, (2, 1), groups=2), norm(6), ReLU()),
        ["data", "n0", "n2"],
    ),
    "inner product": (chain(InnerProduct(normal(4, 70), normal(4)), norm(4), Scale(normal(4))), ["data", "n0"]),
    "flatten": (chain(conv(), Flatten(), ReLU(), Dropout(), InnerProduct(normal(4, 105), None)), ["data", "n0", "n2", "n4"]),
    "flatten of one pixel": (chain(InnerProduct(normal(4, 70), None), Flatten(), Scale(normal(4))), ["data", "n0"]),
    "batch norm behind a pool, as in DenseNet": (
        chain(conv(), Pooling(PoolMethod.MAX, (2, 2)), norm(3), Scale(normal(3), normal(3)), ReLU(), conv3()),
        ["data", "n0", "n1", "n2", "n4", "n5"],
    ),
    "scale of the image": (chain(Scale(normal(2), normal(2)), conv()), ["data", "n0", "n1"]),
    "batch norm that not everybody reads": (
        Network("fork", (DATA, Node("c", conv(), ("data",)), Node("s", norm(3), ("c",)), Node("j", Concat(), ("c", "s")))),
        ["data", "c", "s", "j"],
    ),
    "batch norm behind a dropout that not everybody reads": (
        Network(
            "fork",
            (
                DATA,
                Node("c", conv(), ("data",)),
                Node("d", Dropout(), ("c",)),
                Node("s", norm(3), ("d",)),
                Node("j", Concat(), ("c", "s")),
            ),
        ),
        ["data", "c", "s", "j"],
    ),
    "dropout at the end": (chain(conv(), Dropout()), ["data", "n0"]),
}


@pytest.mark.parametrize("case", FOLDED)
def test_folding_keeps_the_function(onnxruntime, case):
    from hwsim.quantize.float_run import FloatRun

    network, names = FOLDED[case]
    folded = fold(network)
    assert [node.name for node in folded] == names
    images = normal(4, 2, 5, 7)
    before, after = FloatRun(network).logits(images), FloatRun(folded).logits(images)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5 * np.abs(before).max())
    assert np.abs(before).max() > 0.1


def test_folded_weights_are_rounded_once():
    weight, bias, norm3, factor, shift = normal(3, 2, 3, 3), normal(3), norm(3), normal(3), normal(3)
    folded = fold(chain(Convolution(weight, bias), norm3, Scale(factor, shift)))["n0"].op
    by = factor / np.sqrt(norm3.variance.astype(np.float64) + 0.01)
    np.testing.assert_array_equal(folded.weight, (weight * by[:, None, None, None]).astype(np.float32))
    np.testing.assert_allclose(folded.bias, (bias - norm3.mean.astype(np.float64)) * by + shift, rtol=1e-7)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (chain(conv(), Flatten(), Scale(normal(105))), "layer 'n2': Scale reads a flattened tensor"),
        (chain(conv(), Flatten()), "its output 'n1' is flattened"),
        (
            chain(Convolution(np.full((3, 2, 1, 1), 1e38), None), Scale(np.full(3, 100.0))),
            "layer 'n0', after folding batch norm: weight holds a number that is not finite",
        ),
    ],
)
def test_what_cannot_be_folded_is_refused_with_its_layer(network, said):
    with pytest.raises(InputError) as caught:
        fold(network)
    assert said in str(caught.value)


def test_a_place_that_an_error_names_already_is_not_named_again():
    for inner, outer in (
        ("found 3.", "net: layer 'a': found 3."),
        ("net: layer 'a', pad: found 3.", "net: layer 'a', pad: found 3."),
    ):
        with pytest.raises(InputError) as raised, naming("net: layer 'a'"):
            raise InputError(inner)
        assert str(raised.value) == outer


def pool(method=PoolMethod.MAX):
    return Pooling(method, (2, 2), (2, 2), ceil_mode=True)


COMMUTED = {
    "ReLU behind a maximum": (chain(conv(), pool(), ReLU(), conv3()), ["data", "n0", "n2", "n1", "n3"]),
    "ReLU behind two": (chain(conv(), pool(), pool(), ReLU(), conv3()), ["data", "n0", "n3", "n1", "n2", "n4"]),
    "clip": (chain(conv(), pool(), Clip(-0.5, 0.75), conv3()), ["data", "n0", "n2", "n1", "n3"]),
    "batch norm before": (chain(conv(), norm(3), pool(), ReLU(), conv3()), ["data", "n0", "n3", "n2", "n4"]),
    "an average stays": (chain(conv(), pool(PoolMethod.AVERAGE), ReLU(), conv3()), ["data", "n0", "n1", "n2", "n3"]),
    "a leaky ReLU stays": (chain(conv(), pool(), ReLU(0.1), conv3()), ["data", "n0", "n1", "n2", "n3"]),
    "the last layer keeps its name": (chain(conv(), pool(), ReLU()), ["data", "n0", "n1", "n2"]),
    "others read the maximum": (
        Network(
            "fork",
            (
                DATA,
                Node("c", conv(), ("data",)),
                Node("p", pool(), ("c",)),
                Node("r", ReLU(), ("p",)),
                Node("j", Concat(), ("p", "r")),
            ),
        ),
        ["data", "c", "p", "r", "j"],
    ),
}


@pytest.mark.parametrize("case", COMMUTED)
def test_a_relu_goes_before_a_maximum_and_the_function_stays(onnxruntime, case):
    from hwsim.quantize.float_run import FloatRun

    network, names = COMMUTED[case]
    folded = fold(network)
    assert [node.name for node in folded] == names
    images = normal(4, 2, 5, 7)
    np.testing.assert_allclose(FloatRun(folded).logits(images), FloatRun(network).logits(images), rtol=1e-4, atol=1e-5)
