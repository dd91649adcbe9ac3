"""Every layer a second time, from its real-valued meaning: slow, exact, and without hwsim's shifts, bounds or loops.

Formats are read as real numbers (code * 2**-fl as a Fraction); sums run over padded arrays of Python ints, windows over
every cell of the kernel. Only the data classes of the contract are shared with hwsim.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from typing import NamedTuple

import numpy as np

from hwsim.contract import MacContract, Output
from hwsim.layers import (
    AveragePool,
    Concat,
    Convolution,
    CountRule,
    EltwiseSum,
    Events,
    FullyConnected,
    ImageEncoding,
    MaxPool,
    ReLU,
    Rescale,
    Window,
)
from oracles.exact import limits, rounded, stored, wrapped


class Result(NamedTuple):
    """Codes [N][K][H][W]; accumulators likewise or None; events."""

    codes: np.ndarray
    acc: np.ndarray | None
    events: Events


def two(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def expected(layer, inputs: Sequence[np.ndarray]) -> Result:
    """Compute a layer on arrays of codes [N][C][H][W]."""
    plain = [np.array(x.tolist(), dtype=object).reshape(x.shape) for x in inputs]
    return RULES[type(layer)](layer, *plain)


def product_sums(layer: Convolution, x: np.ndarray) -> np.ndarray:
    """Exact sums of products, by shifting the whole padded image once for each tap."""
    (r, s), (sy, sx), (py, px), (dy, dx) = layer.weight.shape[2:], layer.stride, layer.pad, layer.dilation
    weight = np.array(layer.weight.tolist(), dtype=object).reshape(layer.weight.shape)
    padded = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)), constant_values=0)
    height = len(range(0, padded.shape[2] - dy * (r - 1), sy))
    width = len(range(0, padded.shape[3] - dx * (s - 1), sx))
    k, share = len(weight), weight.shape[1]
    total = np.zeros((len(x), k, height, width), dtype=object)
    for tap_y, tap_x in product(range(r), range(s)):
        seen = padded[:, :, tap_y * dy :: sy, tap_x * dx :: sx][:, :, :height, :width]
        for out in range(k):
            group = out * layer.groups // k
            for c in range(share):
                total[:, out] += seen[:, group * share + c] * weight[out, c, tap_y, tap_x]
    return total


def end_of_mac(contract: MacContract, bias: np.ndarray | None, total: np.ndarray) -> Result:
    """From exact sums of products to accumulators, codes and events, all through real numbers."""
    channels = total.shape[1]
    acc, codes = np.zeros_like(total), np.zeros_like(total)
    events = [0, 0]
    low, high = limits(contract.accumulator.bits, True)
    for k in range(channels):
        product_grid = contract.input.fractional_length + contract.weight.lengths(channels)[k]
        declared = contract.accumulator.fractional_length
        grid = product_grid if declared is None else declared[k] if isinstance(declared, tuple) else declared
        start = 0
        if bias is not None:
            bias_grid = grid if contract.bias is None else contract.bias.lengths(channels)[k]
            start = rounded(int(bias[k]) * two(grid - bias_grid), contract.bias_rounding)
        known: dict[int, tuple[int, int, int]] = {}
        for at in np.ndindex(*total[:, k].shape):
            where = (at[0], k, *at[1:])
            if total[where] not in known:
                exact = total[where] * two(grid - product_grid) + start
                assert exact.denominator == 1
                content = wrapped(int(exact), contract.accumulator.bits, True)
                code, event = leave(content * two(-grid), contract.output)
                known[total[where]] = (content, code, 2 * (not low <= exact <= high) + event)
            acc[where], codes[where], both = known[total[where]]
            events[0] += both // 2
            events[1] += both % 2
    return Result(codes, acc, Events(events[0], events[1]))


def leave(real: Fraction, output: Output) -> tuple[int, int]:
    f = output.format
    return stored(real, f.fractional_length, f.bits, f.signed, output.rounding, output.overflow, output.activation)


def convolution(layer: Convolution, x: np.ndarray) -> Result:
    return end_of_mac(layer.contract, layer.bias, product_sums(layer, x))


def fully_connected(layer: FullyConnected, x: np.ndarray) -> Result:
    weight = np.array(layer.weight.tolist(), dtype=object).reshape(layer.weight.shape)
    total = np.array([[sum(a * b for a, b in zip(row, w, strict=True)) for w in weight] for row in x.reshape(len(x), -1)])
    return end_of_mac(layer.contract, layer.bias, total.astype(object)[:, :, None, None])


def pooled(extent: int, kernel: int, stride: int, pad: int, ceil_mode: bool) -> int:
    """Count the windows: those that end within the padding, and in ceil mode one more that only starts within the image."""
    origins = [i * stride - pad for i in range(extent + 2 * pad + 1)]
    whole = [o for o in origins if o + kernel <= extent + pad]
    if not ceil_mode or whole[-1] + kernel == extent + pad:
        return len(whole)
    return len(whole) + (whole[-1] + stride < extent)


def windows(window: Window, x: np.ndarray):
    """Yield (place in the output's plane, positions in the image, cells in image + padding) of every window."""
    height, width = x.shape[2:]
    if window.kernel is None:
        yield (0, 0), list(product(range(height), range(width))), height * width, height * width
        return
    (kh, kw), (sy, sx), (py, px) = window.kernel, window.stride, window.pad
    for oy, ox in product(
        range(pooled(height, kh, sy, py, window.ceil_mode)), range(pooled(width, kw, sx, px, window.ceil_mode))
    ):
        cells = [(oy * sy - py + r, ox * sx - px + s) for r in range(kh) for s in range(kw)]
        inside = [(y, x) for y, x in cells if 0 <= y < height and 0 <= x < width]
        in_padding = sum(-py <= y < height + py and -px <= x < width + px for y, x in cells)
        yield (oy, ox), inside, in_padding, len(cells)


def plane_of(places: list[tuple[int, int]]) -> tuple[int, int]:
    return places[-1][0] + 1, places[-1][1] + 1


def max_pool(layer: MaxPool, x: np.ndarray) -> Result:
    seen = list(windows(layer.window, x))
    codes = np.zeros((*x.shape[:2], *plane_of([s[0] for s in seen])), dtype=object)
    for (oy, ox), inside, _, _ in seen:
        codes[:, :, oy, ox] = np.max([x[:, :, row, column] for row, column in inside], axis=0)
    return Result(codes, None, (0, 0))


def average_pool(layer: AveragePool, x: np.ndarray) -> Result:
    seen = list(windows(layer.window, x))
    codes = np.zeros((*x.shape[:2], *plane_of([s[0] for s in seen])), dtype=object)
    events = 0
    for (oy, ox), inside, in_padding, cells in seen:
        count = {
            CountRule.EXCLUDE_PADDING: len(inside),
            CountRule.INCLUDE_PADDING: cells,
            CountRule.CAFFE: in_padding,
        }[layer.count]
        for n, c in np.ndindex(*x.shape[:2]):
            total = sum(x[n, c, row, column] for row, column in inside)
            real = Fraction(int(total), count) * two(-layer.format.fractional_length)
            codes[n, c, oy, ox], event = leave(real, layer.output)
            events += event
    return Result(codes, None, Events(0, events))


def elementwise(output: Output, reals: np.ndarray) -> Result:
    codes = np.zeros_like(reals)
    events = 0
    for at in np.ndindex(*reals.shape):
        codes[at], event = leave(reals[at], output)
        events += event
    return Result(codes, None, Events(0, events))


def image_encoding(layer: ImageEncoding, x: np.ndarray) -> Result:
    mean = np.array(layer.mean.tolist(), dtype=object) * Fraction(1, 65536)
    return elementwise(layer.output, (x - mean) * (layer.scale_mantissa * two(-layer.scale_length)))


def rescale(layer: Rescale, x: np.ndarray) -> Result:
    return elementwise(layer.output, x * two(-layer.format.fractional_length))


def eltwise_sum(layer: EltwiseSum, *inputs: np.ndarray) -> Result:
    return elementwise(layer.output, sum(x * two(-f.fractional_length) for x, f in zip(inputs, layer.formats, strict=True)))


def relu(layer: ReLU, x: np.ndarray) -> Result:
    return Result(np.where(x > 0, x, 0), None, (0, 0))


def concat(layer: Concat, *inputs: np.ndarray) -> Result:
    return Result(np.concatenate(inputs, axis=1), None, (0, 0))


RULES = {
    Convolution: convolution,
    FullyConnected: fully_connected,
    MaxPool: max_pool,
    AveragePool: average_pool,
    ImageEncoding: image_encoding,
    Rescale: rescale,
    EltwiseSum: eltwise_sum,
    ReLU: relu,
    Concat: concat,
}
