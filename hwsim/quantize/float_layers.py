"""The float layers between those that multiply, in numpy: for runs that quantize one layer at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.layers.base import Shape
from hwsim.layers.pool import Window
from hwsim.network import ops


def windows(x: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> np.ndarray:
    """Return a view [C][Y][X][R][S] of the windows of x [C][H][W] that lie wholly within it.

    >>> windows(np.arange(12).reshape(1, 3, 4), (2, 2), (1, 2))[0, :, :, 0, 0].tolist()
    [[0, 2], [4, 6]]
    """
    spread = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, spread, axis=(1, 2))
    return view[:, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _pooling(name: str, op: ops.Pooling, inputs: list[np.ndarray]) -> np.ndarray:
    x, shape = inputs[0], Shape(*inputs[0].shape)
    window = Window(None) if op.global_pooling else Window(op.kernel, op.stride, op.pad, op.ceil_mode, op.pad_end)
    rows = [window.span(0, shape, y) for y in range(window.output_shape(shape).h)]
    columns = [window.span(1, shape, i) for i in range(window.output_shape(shape).w)]
    out = np.empty((shape.c, len(rows), len(columns)), dtype=np.float32)
    for y, (top, bottom, _) in enumerate(rows):
        for i, (left, right, _) in enumerate(columns):
            part = x[:, top:bottom, left:right]
            if op.method is ops.PoolMethod.MAX:
                out[:, y, i] = part.max(axis=(1, 2))
            else:
                out[:, y, i] = part.sum(axis=(1, 2), dtype=np.float32) / np.float32(window.divisor(shape, y, i, op.count))
    return out


def _relu(name: str, op: ops.ReLU, inputs: list[np.ndarray]) -> np.ndarray:
    return np.where(inputs[0] > 0, inputs[0], inputs[0] * np.float32(op.negative_slope))


def _softmax(name: str, op: ops.Softmax, inputs: list[np.ndarray]) -> np.ndarray:
    power = np.exp(inputs[0] - inputs[0].max(axis=0))
    return np.asarray(power / power.sum(axis=0))


LAYERS: dict[type[ops.Op], Callable[[str, Any, list[np.ndarray]], Any]] = {
    ops.Pooling: _pooling,
    ops.ReLU: _relu,
    ops.Softmax: _softmax,
    ops.Concat: lambda name, op, inputs: np.concatenate(inputs),
    ops.EltwiseSum: lambda name, op, inputs: np.sum(inputs, axis=0, dtype=np.float32),
    ops.EltwiseMax: lambda name, op, inputs: np.max(inputs, axis=0),
    ops.Clip: lambda name, op, inputs: np.clip(inputs[0], op.low, op.high),
}


def float_layer(name: str, op: ops.Op, inputs: list[np.ndarray]) -> np.ndarray:
    """Return what a layer without weights makes of float32 tensors [C][H][W]; InputError for a kind that is not here."""
    if type(op) not in LAYERS:
        known = ", ".join(kind.__name__ for kind in LAYERS)
        raise InputError(f"layer {name!r}: a {type(op).__name__} does not run between quantized layers; allowed are {known}.")
    return np.asarray(LAYERS[type(op)](name, op, inputs), dtype=np.float32)
