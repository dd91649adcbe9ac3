"""Trains the demo network on the 8x8 handwritten digits: python -m hwsim.demo.train

    1x8x8 -> conv1 16 @ 3x3, ReLU -> max 2 -> conv2 24 @ 3x3, ReLU -> max 2 -> ip1 48, ReLU -> ip2 10    8,786 parameters

Plain numpy: Adam on the cross entropy, images shifted by up to one pixel, one fixed seed. It learns from the first 1,347
digits; width, ReLUs and seed were chosen on the last 347 of those, and the 450 behind them (other writers) only measure.
Writes digits.caffemodel beside this file; digits.prototxt is its architecture, written by hand. The weights that are
checked in are the truth: another BLAS sums in another order, and what it trains is as good but not the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Parameters = dict[str, Array]

SEED = 3
TRAINING = 1347
EPOCHS = 120
BATCH = 64
FOLDER = Path(__file__).parent


def initial(rng: np.random.Generator) -> Parameters:
    """He initialization; weights K C R S and K C, as Caffe stores them."""
    shapes = {"conv1": (16, 1, 3, 3), "conv2": (24, 16, 3, 3), "ip1": (48, 96), "ip2": (10, 48)}
    parameters: Parameters = {}
    for name, shape in shapes.items():
        fan_in = int(np.prod(shape[1:]))
        parameters[name + ".weight"] = rng.normal(0.0, np.sqrt(2.0 / fan_in), shape)
        parameters[name + ".bias"] = np.zeros(shape[0])
    return parameters


def im2col(x: Array) -> Array:
    """N C H W -> N, H, W, C*3*3: the 3x3 neighbourhood of each pixel, zeros outside."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(*x.shape[:1], *x.shape[2:], -1)


def conv(x: Array, weight: Array, bias: Array) -> tuple[Array, Array]:
    columns = im2col(x)
    y = columns @ weight.reshape(len(weight), -1).T + bias
    return y.transpose(0, 3, 1, 2), columns


def conv_back(dy: Array, columns: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Gradients of (input, weight, bias). The input's is a convolution with the kernel turned by 180 degrees."""
    flat = dy.transpose(0, 2, 3, 1)
    d_weight = np.tensordot(flat, columns, axes=([0, 1, 2], [0, 1, 2])).reshape(weight.shape)
    turned = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    dx, _ = conv(dy, turned, np.zeros(len(turned)))
    return dx, d_weight, dy.sum(axis=(0, 2, 3))


def relu_max_pool(x: Array) -> tuple[Array, Array]:
    """2x2 maximum of max(x, 0), and the share that each element has in the gradient (ties share it)."""
    n, c, h, w = x.shape
    tiles = x.reshape(n, c, h // 2, 2, w // 2, 2)
    y = np.maximum(tiles.max(axis=(3, 5)), 0.0)
    mask = (tiles == y[:, :, :, None, :, None]) & (tiles > 0)
    return y, mask / np.maximum(mask.sum(axis=(3, 5), keepdims=True), 1)


def relu_max_pool_back(dy: Array, mask: Array) -> Array:
    n, c, h, _, w, _ = mask.shape
    return (mask * dy[:, :, :, None, :, None]).reshape(n, c, 2 * h, 2 * w)


def forward(p: Parameters, x: Array) -> tuple[Array, tuple[Array, ...]]:
    a1, columns1 = conv(x, p["conv1.weight"], p["conv1.bias"])
    p1, mask1 = relu_max_pool(a1)
    a2, columns2 = conv(p1, p["conv2.weight"], p["conv2.bias"])
    p2, mask2 = relu_max_pool(a2)
    flat = p2.reshape(len(x), -1)
    hidden = np.maximum(flat @ p["ip1.weight"].T + p["ip1.bias"], 0.0)
    logits = hidden @ p["ip2.weight"].T + p["ip2.bias"]
    return logits, (columns1, mask1, columns2, mask2, flat, hidden)


def gradients(p: Parameters, x: Array, labels: NDArray[np.int64]) -> Parameters:
    """Of the mean cross entropy with labels smoothed by 0.1, which keeps the logits' range small."""
    logits, (columns1, mask1, columns2, mask2, flat, hidden) = forward(p, x)
    probability = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    d_logits = (probability - (0.9 * np.eye(10)[labels] + 0.01)) / len(x)
    d_hidden = (d_logits @ p["ip2.weight"]) * (hidden > 0)
    d_p2 = (d_hidden @ p["ip1.weight"]).reshape(len(x), 24, 2, 2)
    d_p1, d_w2, d_b2 = conv_back(relu_max_pool_back(d_p2, mask2), columns2, p["conv2.weight"])
    _, d_w1, d_b1 = conv_back(relu_max_pool_back(d_p1, mask1), columns1, p["conv1.weight"])
    return {
        "conv1.weight": d_w1,
        "conv1.bias": d_b1,
        "conv2.weight": d_w2,
        "conv2.bias": d_b2,
        "ip1.weight": d_hidden.T @ flat,
        "ip1.bias": d_hidden.sum(axis=0),
        "ip2.weight": d_logits.T @ hidden,
        "ip2.bias": d_logits.sum(axis=0),
    }


def shifted(x: Array, rng: np.random.Generator) -> Array:
    """Each image moved by -1, 0 or 1 pixel along both axes."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    moved = np.empty_like(x)
    for i, (dy, dx) in enumerate(rng.integers(0, 3, (len(x), 2))):
        moved[i] = padded[i, :, dy : dy + 8, dx : dx + 8]
    return moved


def train(images: Array, labels: NDArray[np.int64]) -> Parameters:
    """Adam (0.9, 0.999) with a step that falls linearly from 4e-3 to zero, weight decay 1e-4."""
    rng = np.random.default_rng(SEED)
    p = initial(rng)
    mean = {name: np.zeros_like(v) for name, v in p.items()}
    square = {name: np.zeros_like(v) for name, v in p.items()}
    steps = EPOCHS * (len(images) // BATCH)
    for step in range(1, steps + 1):
        pick = rng.integers(0, len(images), BATCH)
        gradient = gradients(p, shifted(images[pick], rng), labels[pick])
        rate = 4e-3 * (1 - step / steps)
        for name, g in gradient.items():
            mean[name] = 0.9 * mean[name] + 0.1 * g
            square[name] = 0.999 * square[name] + 0.001 * g * g
            update = (mean[name] / (1 - 0.9**step)) / (np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8)
            p[name] -= rate * (update + 1e-4 * p[name] * (p[name].ndim > 1))
    return p


def accuracy(p: Parameters, images: Array, labels: NDArray[np.int64]) -> float:
    return float(np.mean(forward(p, images)[0].argmax(axis=1) == labels))


def caffemodel(p: Parameters) -> bytes:
    """The weights in Caffe's current layout, as float32.

    A LayerParameter is written in two parts, since concatenated protobuf messages are one merged message.
    """
    from hwsim.network.caffe_proto import message_class

    blob, part, file = (message_class(name) for name in ("BlobProto", "WeightsLayer", "WeightsFile"))
    layers = []
    for name, kind in (("conv1", "Convolution"), ("conv2", "Convolution"), ("ip1", "InnerProduct"), ("ip2", "InnerProduct")):
        blobs = []
        for values in (p[f"{name}.weight"], p[f"{name}.bias"]):
            message = blob(data=values.astype(np.float32).ravel().tolist())
            message.shape.dim.extend(values.shape)
            blobs.append(message.SerializeToString(deterministic=True))
        head = message_class("LayerParameter")(name=name, type=kind)
        weights = part(blobs=blobs)
        layers.append(head.SerializeToString(deterministic=True) + weights.SerializeToString(deterministic=True))
    return file(layer=layers).SerializeToString(deterministic=True)


def digits() -> tuple[Array, NDArray[np.int64]]:
    """The 1,797 embedded digits as real = pixel / 16, N C H W, and their labels."""
    from hwsim.images import images
    from hwsim.network.preprocessing import ChannelOrder, Preprocessing

    data = images("digits", Preprocessing(ChannelOrder.GRAY, (8, 8), scale=1 / 16))
    labels = data.labels
    assert labels is not None
    return np.concatenate(list(data.batches(100))).astype(np.float64), labels


def main() -> None:
    images, labels = digits()
    p = train(images[:TRAINING], labels[:TRAINING])
    (FOLDER / "digits.caffemodel").write_bytes(caffemodel(p))
    seen, unseen = accuracy(p, images[:TRAINING], labels[:TRAINING]), accuracy(p, images[TRAINING:], labels[TRAINING:])
    print(f"top-1 {seen:.2%} of the {TRAINING} training digits, {unseen:.2%} of the {len(images) - TRAINING} others")


if __name__ == "__main__":
    main()
