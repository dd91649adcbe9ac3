"""Float execution of transpose convolution, uneven padding, activations and moves, against loops written by hand."""

import itertools

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.layers.pool import CountRule
from hwsim.network.graph import (
    ChannelShuffle,
    Clip,
    Convolution,
    Deconvolution,
    EltwiseMax,
    EltwiseProduct,
    Input,
    Network,
    Node,
    Pad,
    Pooling,
    PoolMethod,
    PReLU,
    ReLU,
    ResizeNearest,
    Sigmoid,
    Slice,
    Tanh,
)
from hwsim.network.ops_mac import filters_first

RNG = np.random.default_rng(11)
SHAPE = (6, 5, 7)
IMAGES = RNG.normal(size=(2, *SHAPE)).astype(np.float32)  # axes of different length: a wrong axis shows


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def one(op, inputs=("data",), before=()):
    from hwsim.quantize.float_run import FloatRun

    network = Network("one", (Node("data", Input(SHAPE)), *before, Node("it", op, inputs)))
    got = FloatRun(network, ["it"]).run(IMAGES)["it"]
    assert got.shape[1:] == network.shapes()["it"]
    return got


def scattered(op, x):
    """Every input pixel adds its kernel to the output: the definition of the transpose, in float64."""
    filters, inputs = op.weight.shape[:2]
    full = np.zeros((len(x), filters, 200, 200))
    for i, k, c, y, z in np.ndindex(len(x), filters, inputs, *x.shape[2:]):
        channel = k // (filters // op.groups) * inputs + c
        for r, s in np.ndindex(*op.weight.shape[2:]):
            row, column = y * op.stride[0] + r * op.dilation[0], z * op.stride[1] + s * op.dilation[1]
            full[i, k, row, column] += float(x[i, channel, y, z]) * float(op.weight[k, c, r, s])
    rows, columns = op.output_shape(((x.shape[1], *x.shape[2:]),))[1:]
    top, left = op.pad
    bias = 0 if op.bias is None else op.bias.reshape(-1, 1, 1)
    return full[:, :, top : top + rows, left : left + columns] + bias


@pytest.mark.usefixtures("onnxruntime")
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"stride": (2, 3)},
        {"stride": (2, 3), "pad": (1, 0), "dilation": (1, 2)},
        {"stride": (3, 2), "pad": (1, 2), "pad_end": (0, 1)},
        {"stride": (3, 2), "pad": (0, 1), "output_padding": (2, 1)},
        {"stride": (2, 2), "groups": 2},
        {"groups": 6, "pad": (1, 1), "pad_end": (2, 0)},
    ],
)
def test_deconvolution_scatters_each_pixel(attributes):
    op = Deconvolution(normal(12, 6 // attributes.get("groups", 1), 3, 4), normal(12), **attributes)
    np.testing.assert_allclose(one(op), scattered(op, IMAGES), rtol=1e-4, atol=1e-5)


def test_deconvolution_counts_its_products():
    op = Deconvolution(normal(4, 3, 2, 5), None, stride=(2, 1), groups=2)
    assert op.macs((SHAPE,)) == 5 * 7 * 6 * 2 * 10  # each input number meets 4 / 2 filters of 2 x 5
    assert op.output_shape((SHAPE,)) == (4, 10, 11)


def test_filters_first_keeps_each_group_together():
    weight = np.arange(6 * 2).reshape(6, 2, 1, 1)  # 3 groups of 2 channels, 2 filters each
    assert filters_first(weight, 3)[:, :, 0, 0].tolist() == [[0, 2], [1, 3], [4, 6], [5, 7], [8, 10], [9, 11]]
    np.testing.assert_array_equal(filters_first(filters_first(weight, 3), 3), weight)


@pytest.mark.usefixtures("onnxruntime")
@pytest.mark.parametrize(("pad", "pad_end"), [((0, 1), (1, 0)), ((2, 0), (0, 3)), ((1, 1), (1, 1))])
def test_convolution_pads_each_edge_by_itself(pad, pad_end):
    weight = normal(4, 6, 3, 2)
    op = Convolution(weight, None, stride=(2, 1), pad=pad, pad_end=pad_end)
    x = np.pad(IMAGES, ((0, 0), (0, 0), (pad[0], pad_end[0]), (pad[1], pad_end[1]))).astype(np.float64)
    expected = np.zeros((2, *op.output_shape((SHAPE,))))
    for k, i, j in np.ndindex(*expected.shape[1:]):
        expected[:, k, i, j] = (x[:, :, 2 * i : 2 * i + 3, j : j + 2] * weight[k]).sum((1, 2, 3))
    np.testing.assert_allclose(one(op), expected, rtol=1e-4, atol=1e-5)


def test_equal_padding_at_the_end_is_stored_as_none():
    assert Convolution(normal(1, 6, 3, 3), None, pad=(1, 2), pad_end=(1, 2)).pad_end is None
    assert Pooling(PoolMethod.MAX, (3, 3), pad=(1, 2), pad_end=(1, 2)).pad_end is None
    assert Deconvolution(normal(1, 6, 3, 3), None, pad=(1, 2), pad_end=(2, 1)).pad_end == (2, 1)


def pooled(op, x):
    """Window by window; in ceil mode the last one starts on the image or in the padding above and to the left."""
    ends = op.pad_end or op.pad
    starts = []
    for side, k, s, p, e in zip(x.shape[2:], op.kernel, op.stride, op.pad, ends, strict=True):
        fits = [a for a in range(-p, side + e, s) if a + k <= side + e]
        if op.ceil_mode and fits[-1] + k < side + e and fits[-1] + s < side:
            fits.append(fits[-1] + s)
        starts.append(fits)
    y = np.zeros((*x.shape[:2], len(starts[0]), len(starts[1])))
    for (i, a), (j, b) in itertools.product(enumerate(starts[0]), enumerate(starts[1])):
        window = x[:, :, max(a, 0) : a + op.kernel[0], max(b, 0) : b + op.kernel[1]].astype(np.float64)
        clipped = [min(u + k, side + e) - u for u, k, side, e in zip((a, b), op.kernel, x.shape[2:], ends, strict=True)]
        divisor = {
            CountRule.CAFFE: clipped[0] * clipped[1],
            CountRule.INCLUDE_PADDING: op.kernel[0] * op.kernel[1],
            CountRule.EXCLUDE_PADDING: window[0, 0].size,
        }[op.count]
        y[:, :, i, j] = window.max((2, 3)) if op.method is PoolMethod.MAX else window.sum((2, 3)) / divisor
    return y


@pytest.mark.usefixtures("onnxruntime")
@pytest.mark.parametrize("method", PoolMethod)
@pytest.mark.parametrize("count", CountRule)
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("pad", "pad_end"), [((0, 0), (1, 1)), ((1, 0), (0, 1)), ((0, 1), (2, 0)), ((2, 2), (0, 1))])
def test_pooling_pads_each_edge_by_itself(method, count, ceil_mode, pad, pad_end):
    op = Pooling(method, (3, 3), (2, 3), pad, ceil_mode, count, pad_end=pad_end)
    np.testing.assert_allclose(one(op), pooled(op, IMAGES), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("onnxruntime")
def test_activations_do_what_their_names_say():
    slope = normal(6)
    negative = IMAGES * slope.reshape(6, 1, 1)
    for op, expected in (
        (PReLU(slope), np.where(IMAGES > 0, IMAGES, negative)),
        (PReLU(slope[:1]), np.where(IMAGES > 0, IMAGES, IMAGES * slope[0])),
        (Clip(0.0, 0.5), np.clip(IMAGES, 0, 0.5)),
        (Clip(low=-0.25), np.maximum(IMAGES, -0.25)),
        (Clip(high=0.25), np.minimum(IMAGES, 0.25)),
        (Clip(), IMAGES),
        (Sigmoid(), 1 / (1 + np.exp(-IMAGES))),
        (Tanh(), np.tanh(IMAGES)),
    ):
        np.testing.assert_allclose(one(op), expected, rtol=1e-5, atol=1e-6, err_msg=repr(op))


@pytest.mark.usefixtures("onnxruntime")
def test_products_and_maxima_take_several_inputs():
    rectified = (Node("r", ReLU(0.5), ("data",)),)
    halved = np.where(IMAGES > 0, IMAGES, IMAGES / 2)
    got = one(EltwiseProduct(), ("data", "r", "data"), rectified)
    np.testing.assert_allclose(got, IMAGES * halved * IMAGES, rtol=1e-5)
    np.testing.assert_array_equal(one(EltwiseMax(), ("data", "r"), rectified), np.maximum(IMAGES, halved))
    pool = (Node("p", Pooling(PoolMethod.MAX, global_pooling=True), ("data",)),)
    by_channel = IMAGES * IMAGES.max((2, 3), keepdims=True)
    for inputs in (("data", "p"), ("p", "data")):
        np.testing.assert_array_equal(one(EltwiseProduct(), inputs, pool), by_channel)


@pytest.mark.usefixtures("onnxruntime")
def test_moves_are_exact():
    dealt = [0, 3, 1, 4, 2, 5]
    padded = np.pad(IMAGES, ((0, 0), (1, 2), (0, 3), (2, 1)), constant_values=0.5)
    for op, expected in (
        (Pad((1, 0, 2), (2, 3, 1), 0.5), padded),
        (ResizeNearest((2, 3)), IMAGES.repeat(2, 2).repeat(3, 3)),
        (Slice((1, 0, 2), (4, 5, 6)), IMAGES[:, 1:4, :5, 2:6]),
        (Slice((0, 1, 0), (6, 5, 7), (2, 3, 4)), IMAGES[:, ::2, 1::3, ::4]),
        (ChannelShuffle(2), IMAGES[:, dealt]),
        (ChannelShuffle(3), IMAGES[:, [0, 2, 4, 1, 3, 5]]),
    ):
        np.testing.assert_array_equal(one(op), expected, err_msg=repr(op))


@pytest.mark.parametrize(
    ("op", "said"),
    [
        (lambda: Deconvolution(normal(4, 3, 2, 2), None), "takes? 3"),
        (lambda: Deconvolution(normal(4, 6, 2, 2), None, pad=(3, 3)), "cuts away the whole output"),
        (lambda: Deconvolution(normal(4, 6, 2, 2), None, output_padding=(1, 0)), "smaller than the stride"),
        (lambda: Convolution(normal(4, 6, 2, 2), None, pad_end=(-1, 0)), "pad_end is"),
        (lambda: Pooling(PoolMethod.MAX, (2, 2), pad_end=(2, 0)), "smaller than the kernel"),
        (lambda: PReLU(normal(5)), "numbers for 5"),
        (lambda: PReLU(np.array([np.nan])), "not finite"),
        (lambda: ReLU(float("inf")), "must be finite"),
        (lambda: Clip(1.0, 0.0), "in order"),
        (lambda: Clip(float("nan"), 1.0), "finite"),
        (lambda: Slice((0, 0, 0), (6, 5, 8)), "lies outside"),
        (lambda: Slice((0, 5, 0), (6, 5, 7)), "must lie before"),
        (lambda: Slice((0, 0, 0), (6, 5, 7), (1, 0, 1)), "step is"),
        (lambda: Pad((0, 0, -1), (0, 0, 0)), "before is"),
        (lambda: Pad((0, 0, 0), (0, 0, 0), float("inf")), "must be finite"),
        (lambda: ResizeNearest((0, 1)), "factors is"),
        (lambda: ChannelShuffle(4), "must divide the input's 6"),
        (lambda: ChannelShuffle(0), "at least 1"),
    ],
)
def test_what_cannot_be_is_refused(op, said):
    with pytest.raises(InputError, match=said):
        Network("one", (Node("data", Input(SHAPE)), Node("it", op(), ("data",))))


def test_shapes_of_several_inputs_must_agree():
    for op in (EltwiseMax(), EltwiseProduct()):
        with pytest.raises(InputError, match="differ in shape"):
            op.output_shape((SHAPE, (6, 5, 1)))
    with pytest.raises(InputError, match="differ in shape"):
        EltwiseMax().output_shape((SHAPE, (6, 1, 1)))
    with pytest.raises(InputError, match="differ in shape"):
        EltwiseProduct().output_shape((SHAPE, (5, 1, 1)))
