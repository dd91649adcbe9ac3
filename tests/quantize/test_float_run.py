"""Float execution is Caffe's: against sums written out by hand from Caffe's definitions, and against Caffe's own blobs."""

import itertools
import math

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.layers.pool import CountRule
from hwsim.network import read
from hwsim.network.graph import (
    LRN,
    BatchNorm,
    ChannelOrder,
    Concat,
    Convolution,
    EltwiseSum,
    Flatten,
    InnerProduct,
    Input,
    Network,
    Node,
    Pooling,
    PoolMethod,
    Region,
    ReLU,
    Scale,
    Softmax,
)

pytestmark = pytest.mark.usefixtures("onnxruntime")
RNG = np.random.default_rng(5)
IMAGES = RNG.normal(size=(2, 3, 5, 7)).astype(np.float32)  # axes of different length: a wrong axis shows


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def one(op, inputs=("data",)):
    from hwsim.quantize.float_run import FloatRun

    network = Network("one", (Node("data", Input((3, 5, 7))), Node("it", op, inputs)))
    return FloatRun(network, ["it"]).run(IMAGES)["it"]


def caffe_pool(op, x):
    """PoolingLayer::Reshape and Forward_cpu of BVLC/caffe, loop by loop, and the two other rules of counting."""
    sides = []
    for side, k, s, p in zip(x.shape[2:], op.kernel, op.stride, op.pad, strict=True):
        exact = (side + 2 * p - k) / s
        windows = (math.ceil(exact) if op.ceil_mode else math.floor(exact)) + 1
        sides.append(windows - 1 if (windows - 1) * s >= side + p else windows)
    y = np.zeros((*x.shape[:2], *sides))
    for i, j in itertools.product(*map(range, sides)):
        starts = [i * op.stride[0] - op.pad[0], j * op.stride[1] - op.pad[1]]
        ends = [min(a + k, side + p) for a, k, side, p in zip(starts, op.kernel, x.shape[2:], op.pad, strict=True)]
        area = math.prod(e - a for a, e in zip(starts, ends, strict=True))
        window = x[:, :, max(starts[0], 0) : min(ends[0], x.shape[2]), max(starts[1], 0) : min(ends[1], x.shape[3])]
        divisor = {
            CountRule.CAFFE: area,
            CountRule.INCLUDE_PADDING: math.prod(op.kernel),
            CountRule.EXCLUDE_PADDING: window[0, 0].size,
        }[op.count]
        is_max = op.method is PoolMethod.MAX
        y[:, :, i, j] = window.max((2, 3)) if is_max else window.sum((2, 3), dtype=np.float64) / divisor
    return y


@pytest.mark.parametrize("method", PoolMethod)
@pytest.mark.parametrize("count", CountRule)
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad"),
    [
        ((2, 2), (2, 2), (0, 0)),
        ((2, 3), (2, 2), (1, 1)),
        ((3, 3), (2, 2), (1, 0)),
        ((3, 2), (3, 4), (1, 1)),
        ((4, 3), (2, 3), (3, 2)),
        ((5, 7), (1, 1), (0, 0)),
        ((2, 2), (3, 2), (1, 1)),
    ],
)
def test_pooling_is_caffes_at_every_border(method, count, ceil_mode, kernel, stride, pad):
    op = Pooling(method, kernel, stride, pad, ceil_mode, count)
    np.testing.assert_allclose(one(op), caffe_pool(op, IMAGES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("method", "numpy_name"), [(PoolMethod.MAX, "max"), (PoolMethod.AVERAGE, "mean")])
def test_global_pooling_is_one_window(method, numpy_name):
    expected = getattr(IMAGES, numpy_name)(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(one(Pooling(method, global_pooling=True)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [2.0, 0.0])
def test_lrn_across_channels_divides_by_the_neighbours_squares(k):
    x = IMAGES.astype(np.float64)
    scale = np.stack([k + 0.6 / 3 * (x[:, max(c - 1, 0) : c + 2] ** 2).sum(1) for c in range(3)], 1)
    got = one(LRN(Region.ACROSS, 3, alpha=0.6, beta=0.75, k=k))
    np.testing.assert_allclose(got, x / scale**0.75, rtol=1e-4)


def test_lrn_within_channel_is_caffes_chain_of_layers():
    """Square, AVE pooling of local_size with pad (local_size - 1) / 2, (1 + alpha * it)^-beta, product."""
    pool = Pooling(PoolMethod.AVERAGE, (3, 3), (1, 1), (1, 1), True, CountRule.CAFFE)
    average = caffe_pool(pool, IMAGES.astype(np.float64) ** 2)
    got = one(LRN(Region.WITHIN, 3, alpha=0.6, beta=0.75))
    np.testing.assert_allclose(got, IMAGES * (1 + 0.6 * average) ** -0.75, rtol=1e-4)


def test_convolution_has_stride_pad_dilation_and_groups():
    weight, bias = normal(4, 3, 2, 3), normal(4)
    op = Convolution(weight, bias, stride=(2, 1), pad=(1, 2), dilation=(1, 2))
    x = np.pad(IMAGES, ((0, 0), (0, 0), (1, 1), (2, 2))).astype(np.float64)
    rows, columns = op.output_shape(((3, 5, 7),))[1:]
    expected = np.zeros((2, 4, rows, columns))
    for k, i, j in np.ndindex(4, rows, columns):
        expected[:, k, i, j] = (x[:, :, 2 * i : 2 * i + 2, j : j + 5 : 2] * weight[k]).sum((1, 2, 3)) + bias[k]
    np.testing.assert_allclose(one(op), expected, rtol=1e-4, atol=1e-5)
    depthwise = normal(6, 1, 1, 1)
    expected = np.repeat(IMAGES, 2, axis=1) * depthwise.reshape(1, 6, 1, 1)
    np.testing.assert_allclose(one(Convolution(depthwise, None, groups=3)), expected, rtol=1e-5)


def test_the_small_layers_do_what_their_names_say():
    flat = IMAGES.reshape(2, -1)
    weight, bias, factor = normal(4, 105), normal(4), normal(3)
    per_channel = factor.reshape(1, 3, 1, 1)
    exp = np.exp(IMAGES)
    variance = np.abs(factor) + 1
    for op, expected in (
        (InnerProduct(weight, bias), (flat @ weight.T + bias).reshape(2, 4, 1, 1)),
        (InnerProduct(weight, None), (flat @ weight.T).reshape(2, 4, 1, 1)),
        (ReLU(), np.maximum(IMAGES, 0)),
        (ReLU(0.25), np.where(IMAGES > 0, IMAGES, IMAGES / 4)),
        (Softmax(), exp / exp.sum(1, keepdims=True)),
        (Flatten(), flat.reshape(2, 105, 1, 1)),
        (Scale(factor, factor), IMAGES * per_channel + per_channel),
        (BatchNorm(factor, variance, 0.5), (IMAGES - per_channel) / np.sqrt(variance.reshape(1, 3, 1, 1) + 0.5)),
    ):
        np.testing.assert_allclose(one(op), expected, rtol=1e-4, atol=1e-5, err_msg=repr(type(op)))
    np.testing.assert_array_equal(one(Concat(), ("data", "data")), np.concatenate([IMAGES, IMAGES], 1))
    np.testing.assert_array_equal(one(EltwiseSum(), ("data", "data")), IMAGES + IMAGES)


def test_only_outputs_asked_for_are_given_and_images_must_fit():
    from hwsim.quantize.float_run import FloatRun

    nodes = (Node("data", Input((3, 5, 7))), Node("a", ReLU(), ("data",)), Node("prob", Softmax(), ("a",)))
    run = FloatRun(Network("net", nodes), ["data"])
    assert list(run.run(IMAGES)) == ["data", "a"]
    assert run.logits(IMAGES).shape == (2, 105)
    with pytest.raises(InputError, match="'prob' is not among the outputs"):
        run.run(IMAGES, ["prob"])
    with pytest.raises(InputError, match=r"images of shape \(2, 3, 7, 5\)"):
        run.run(IMAGES.transpose(0, 1, 3, 2))
    with pytest.raises(InputError, match="has no layer 'b'"):
        FloatRun(Network("net", nodes), ["b"])


def test_squeezenet_meets_caffes_own_blobs(data_dir):
    from hwsim.quantize.float_run import FloatRun

    folder = data_dir / "squeezenet_v1.0"
    network = read(folder / "deploy.prototxt", folder / "squeezenet_v1.0.caffemodel")
    with np.load(folder / "caffe_blobs_one_image.npz", allow_pickle=False) as blobs:
        expected = {name: blobs[name] for name in blobs.files}
    # A blob is what the last layer that writes it left there: in-place ReLU comes after its convolution.
    written = {node.name.replace("/", "_"): node.name for node in network}
    for node in network:
        if isinstance(node.op, ReLU):
            written[node.inputs[0].replace("/", "_")] = node.name
    names = {blob: written[blob] for blob in expected}
    found = FloatRun(network, names.values()).run(expected["data"][None])
    for blob, name in names.items():
        reach = expected[blob].max() - expected[blob].min()
        assert np.abs(found[name][0] - expected[blob]).max() <= 1e-4 * reach, blob


def top1(network, data):
    from hwsim.images import images
    from hwsim.quantize.float_run import FloatRun

    chosen = images(data, network.preprocessing)
    run = FloatRun(network)
    answers = np.concatenate([run.logits(batch).argmax(1) for batch in chosen.batches(50)])
    return 100 * (answers == chosen.labels).mean()


@pytest.mark.parametrize("weights", ["lenet.caffemodel", "lenet_v1format.caffemodel"])
def test_lenet_reads_handwriting(data_dir, weights):
    network = read(data_dir / "lenet" / "lenet.prototxt", data_dir / "lenet" / weights, scale=1 / 256)
    assert top1(network, data_dir / "mnist" / "t10k-first5000-images-idx3-ubyte.gz") > 98.5


def test_cifar10_full_with_its_within_channel_lrn(data_dir):
    folder = data_dir / "cifar10"
    for prototxt in ("cifar10_full.prototxt", "cifar10_full_train_test.prototxt"):
        network = read(
            folder / prototxt,
            folder / "cifar10_full_v1format.caffemodel",
            mean=folder / "train_mean_rgb_chw.npy",
            channel_order=ChannelOrder.RGB,
        )
        assert top1(network, folder / "test_first500.npz") > 82


@pytest.mark.slow
def test_squeezenet_classifies_imagenet(data_dir):
    folder = data_dir / "squeezenet_v1.0"
    network = read(folder / "train_val.prototxt", folder / "squeezenet_v1.0.caffemodel")
    assert 70 < top1(network, data_dir / "imagenet_val" / "scoring.txt") < 72
