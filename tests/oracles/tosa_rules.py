"""TOSA's integer operators in plain Python ints and loops, from the public specification (1.0); nothing of hwsim is in here.

rule(operator)(attributes, arrays) -> array, tensors in TOSA's own layouts (N H W C, weights K R S C). Held to Arm's
reference model by tests/conform/test_tosa.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

Attributes = Mapping[str, Any]
Arrays = Sequence[np.ndarray]


def apply_scale_32(value: int, multiplier: int, shift: int, double_round: bool = False) -> int:
    """floor((value * multiplier + round) / 2**shift), round = 2**(shift - 1), and in double rounding ± 2**30 where shift > 31."""
    rounding = 1 << (shift - 1)
    if double_round and shift > 31:
        rounding += 1 << 30 if value >= 0 else -(1 << 30)
    return (value * multiplier + rounding) >> shift


def apply_scale_16(value: int, multiplier: int, shift: int) -> int:
    """The same for a value of 48 bits and a multiplier of 16; there is no double rounding."""
    return (value * multiplier + (1 << (shift - 1))) >> shift


def reciprocal_scale(count: int) -> tuple[int, int]:
    """(multiplier, shift) that divide by count: (2**30 + 1) * 2**k // count, 30 + k, with k = ceil(log2(count))."""
    k = (count - 1).bit_length()
    return ((1 << 30) + 1 << k) // count, 30 + k


LIMITS = {"INT8": (-128, 127), "INT16": (-32768, 32767), "INT32": (-(1 << 31), (1 << 31) - 1)}


def rescale(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """clip(scale(value - input_zp) + output_zp), multiplier and shift of the last axis's index where per channel."""
    data, multiplier, shift, input_zp, output_zp = arrays
    bits = {"INT8": 8, "INT16": 16, "INT32": 32}
    zp_in, zp_out = int(input_zp[0]), int(output_zp[0])
    low, high = LIMITS[output]
    if attributes["input_unsigned"]:
        zp_in %= 1 << bits[types[0]]
    if attributes["output_unsigned"]:
        zp_out, low, high = zp_out % (1 << bits[output]), 0, (1 << bits[output]) - 1
    out = np.zeros(data.shape, np.int64)
    for at in np.ndindex(data.shape):
        c = at[-1] if attributes["per_channel"] else 0
        value = int(data[at])
        value = (value % (1 << bits[types[0]]) if attributes["input_unsigned"] else value) - zp_in
        m, s = int(multiplier[c]), int(shift[c])
        if attributes["scale32"]:
            scaled = apply_scale_32(value, m, s, attributes["rounding_mode"] == "DOUBLE_ROUND")
        else:
            scaled = apply_scale_16(value, m, s)
        code = min(max(scaled + zp_out, low), high)
        out[at] = code - (1 << bits[output]) if code > LIMITS[output][1] else code  # stored in a signed type
    return out


def _windows(extent: int, out: int, k: int, stride: int, pad: int, dilation: int) -> list[list[tuple[int, int]]]:
    """For each output index along one axis: (kernel index, input index) of the taps inside the image."""
    taps = []
    for o in range(out):
        places = ((r, o * stride - pad + r * dilation) for r in range(k))
        taps.append([(r, i) for r, i in places if 0 <= i < extent])
    return taps


def conv2d(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """acc = bias + sum over taps inside the image of (x - input_zp) * (w - weight_zp)."""
    x, weight, bias, input_zp, weight_zp = arrays
    return _conv(attributes, x, weight, bias, int(input_zp[0]), int(weight_zp[0]), False)


def depthwise_conv2d(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """The same for each input channel alone; weights [R][S][C][M], output channel c * M + m."""
    x, weight, bias, input_zp, weight_zp = arrays
    r, s, c, m = weight.shape
    per_channel = weight.reshape(r, s, c * m).transpose(2, 0, 1)[..., None]
    return _conv(attributes, x, per_channel, bias, int(input_zp[0]), int(weight_zp[0]), True)


def _conv(
    attributes: Mapping[str, Any], x: np.ndarray, weight: np.ndarray, bias: np.ndarray, zx: int, zw: int, depthwise: bool
) -> np.ndarray:
    (top, bottom, left, right), stride, dilation = attributes["pad"], attributes["stride"], attributes["dilation"]
    n, h, w, c = x.shape
    k, r, s, _ = weight.shape
    oh = (h + top + bottom - (r - 1) * dilation[0] - 1) // stride[0] + 1
    ow = (w + left + right - (s - 1) * dilation[1] - 1) // stride[1] + 1
    rows, columns = (
        _windows(h, oh, r, stride[0], top, dilation[0]),
        _windows(w, ow, s, stride[1], left, dilation[1]),
    )
    wide_x, wide_w = x.astype(np.int64) - zx, weight.astype(np.int64) - zw
    out = np.zeros((n, oh, ow, k), np.int64) + bias.astype(np.int64)
    per = k // c if depthwise else 0
    for y, xx in product(range(oh), range(ow)):
        for (i, row), (j, column) in product(rows[y], columns[xx]):
            pixels = wide_x[:, row, column, :]
            if depthwise:
                out[:, y, xx, :] += np.repeat(pixels, per, axis=1) * wide_w[:, i, j, 0]
            else:
                out[:, y, xx, :] += pixels @ wide_w[:, i, j, :].T
    return out


def transpose_conv2d(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """out[i * stride + out_pad + r] += (x[i] - input_zp) * (w[r] - weight_zp), from the bias on; what falls outside is lost."""
    x, weight, bias, input_zp, weight_zp = arrays
    top, bottom, left, right = attributes["out_pad"]
    sy, sx = attributes["stride"]
    n, h, w, _ = x.shape
    k, r, s, _ = weight.shape
    oh, ow = (h - 1) * sy + top + bottom + r, (w - 1) * sx + left + right + s
    out = np.zeros((n, oh, ow, k), np.int64) + bias.astype(np.int64)
    wide_x, wide_w = x.astype(np.int64) - int(input_zp[0]), weight.astype(np.int64) - int(weight_zp[0])
    for y, xx, i, j in product(range(h), range(w), range(r), range(s)):
        row, column = y * sy + top + i, xx * sx + left + j
        if 0 <= row < oh and 0 <= column < ow:
            out[:, row, column, :] += wide_x[:, y, xx, :] @ wide_w[:, i, j, :].T
    return out


def matmul(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """out[n, h, w] = sum over c of (a[n, h, c] - a_zp) * (b[n, c, w] - b_zp)."""
    a, b, a_zp, b_zp = arrays
    return (a.astype(np.int64) - int(a_zp[0])) @ (b.astype(np.int64) - int(b_zp[0]))


def avg_pool2d(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """clip(apply_scale_32(sum of (x - input_zp), *reciprocal_scale(pixels inside the image)) + output_zp)."""
    x, input_zp, output_zp = arrays
    low, high = LIMITS[output]

    def mean(codes: np.ndarray) -> int:
        multiplier, shift = reciprocal_scale(codes.size)
        total = int(codes.astype(np.int64).sum()) - codes.size * int(input_zp[0])
        return min(max(apply_scale_32(total, multiplier, shift) + int(output_zp[0]), low), high)

    return _pool(attributes, x, mean)


def max_pool2d(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """The largest pixel of the window that lies inside the image."""
    return _pool(attributes, arrays[0], lambda codes: int(codes.max()))


def _pool(attributes: Mapping[str, Any], x: np.ndarray, of_window: Callable[[np.ndarray], int]) -> np.ndarray:
    (top, bottom, left, right), stride, kernel = attributes["pad"], attributes["stride"], attributes["kernel"]
    n, h, w, c = x.shape
    oh, ow = (h + top + bottom - kernel[0]) // stride[0] + 1, (w + left + right - kernel[1]) // stride[1] + 1
    out = np.zeros((n, oh, ow, c), np.int64)
    for y, xx in product(range(oh), range(ow)):
        first_row, first_column = y * stride[0] - top, xx * stride[1] - left
        rows = slice(max(first_row, 0), min(first_row + kernel[0], h))
        columns = slice(max(first_column, 0), min(first_column + kernel[1], w))
        for b, k in product(range(n), range(c)):
            out[b, y, xx, k] = of_window(x[b, rows, columns, k])
    return out


def add(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """a + b."""
    return arrays[0].astype(np.int64) + arrays[1].astype(np.int64)


def sub(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """a - b."""
    return arrays[0].astype(np.int64) - arrays[1].astype(np.int64)


def maximum(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """The larger one."""
    return np.maximum(arrays[0], arrays[1])


def minimum(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """The smaller one."""
    return np.minimum(arrays[0], arrays[1])


def mul(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """a * b; of int32, rounded half up behind the shift."""
    shift = int(arrays[2][0])
    total = arrays[0].astype(object) * arrays[1].astype(object)
    return np.asarray((total + (1 << shift - 1)) >> shift if shift else total).astype(np.int64)


def arithmetic_right_shift(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """a >> b, and with `round` one more where the last bit that was dropped is 1."""
    a, b = np.broadcast_arrays(arrays[0].astype(np.int64), arrays[1].astype(np.int64))
    last = np.where(b > 0, (a >> np.maximum(b - 1, 0)) & 1, 0) if attributes["round"] else 0
    return (a >> b) + last


def clamp(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """min(max(x, min_val), max_val); the limits are bytes of the tensor's type."""
    dtype = {"INT8": "i1", "INT16": "<i2"}[types[0]]
    low, high = (int(np.frombuffer(bytes(attributes[name]), dtype)[0]) for name in ("min_val", "max_val"))
    return np.clip(arrays[0].astype(np.int64), low, high)


def negate(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """clip(-(x - input_zp) + output_zp)."""
    x, input_zp, output_zp = arrays
    return np.clip(int(input_zp[0]) + int(output_zp[0]) - x.astype(np.int64), *LIMITS[output])


def table(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """int8: table[x + 128].  int16: 513 entries 128 codes apart, joined by lines, the result 7 bits finer."""
    x, entries = arrays[0].astype(np.int64), arrays[1].astype(np.int64)
    if types[0] == "INT8":
        return entries[x + 128]
    index, fraction = (x >> 7) + 256, x & 127
    return (entries[index] << 7) + (entries[index + 1] - entries[index]) * fraction


def pad(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """The constant before and behind each axis."""
    x, padding, value = arrays
    pairs = padding.reshape(-1, 2).tolist() if padding.size else []
    return np.pad(x, pairs, constant_values=value.reshape(-1)[0]) if pairs else x


def concat(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """One behind the other."""
    return np.concatenate(arrays, axis=attributes["axis"])


def slice_(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """A box out of the tensor."""
    x, start, size = arrays
    return x[tuple(slice(int(a), int(a + b)) for a, b in zip(start, size, strict=True))]


def resize(attributes: Attributes, arrays: Arrays, types: Sequence[str], output: str) -> np.ndarray:
    """Nearest: the pixel whose index is round_half_up((o * scale_d + offset) / scale_n), or floor, clipped to the image."""
    x, scale, offset, border = arrays
    scale_y_n, scale_y_d, scale_x_n, scale_x_d = (int(v) for v in scale)
    n, h, w, c = x.shape
    oh = ((h - 1) * scale_y_n - int(offset[0]) + int(border[0])) // scale_y_d + 1
    ow = ((w - 1) * scale_x_n - int(offset[1]) + int(border[1])) // scale_x_d + 1
    out = np.zeros((n, oh, ow, c), np.int64)
    for oy, ox in product(range(oh), range(ow)):
        y, x_ = oy * scale_y_d + int(offset[0]), ox * scale_x_d + int(offset[1])
        iy, ix, ry, rx = y // scale_y_n, x_ // scale_x_n, y % scale_y_n, x_ % scale_x_n
        y0, y1 = min(max(iy, 0), h - 1), min(max(iy + 1, 0), h - 1)
        x0, x1 = min(max(ix, 0), w - 1), min(max(ix + 1, 0), w - 1)
        if attributes["mode"] == "NEAREST":
            out[:, oy, ox] = x[:, y1 if 2 * ry >= scale_y_n else y0, x1 if 2 * rx >= scale_x_n else x0]
            continue
        wide = x.astype(np.int64)
        upper = wide[:, y0, x0] * (scale_x_n - rx) + wide[:, y0, x1] * rx
        lower = wide[:, y1, x0] * (scale_x_n - rx) + wide[:, y1, x1] * rx
        out[:, oy, ox] = upper * (scale_y_n - ry) + lower * ry
    return out


Rule = Callable[[Attributes, Arrays, Sequence[str], str], np.ndarray]

RULES: dict[str, Rule] = {
    "ADD": add,
    "ARITHMETIC_RIGHT_SHIFT": arithmetic_right_shift,
    "AVG_POOL2D": avg_pool2d,
    "CLAMP": clamp,
    "CONCAT": concat,
    "CONV2D": conv2d,
    "DEPTHWISE_CONV2D": depthwise_conv2d,
    "MATMUL": matmul,
    "MAXIMUM": maximum,
    "MAX_POOL2D": max_pool2d,
    "MINIMUM": minimum,
    "MUL": mul,
    "NEGATE": negate,
    "PAD": pad,
    "RESCALE": rescale,
    "RESIZE": resize,
    "SLICE": slice_,
    "SUB": sub,
    "TABLE": table,
    "TRANSPOSE_CONV2D": transpose_conv2d,
}
