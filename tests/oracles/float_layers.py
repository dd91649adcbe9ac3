"""Layers that do not multiply a second time, with minifloats: one cell at a time, on numbers that are Fractions or specials.

A number is (negative, magnitude), as in oracles.floats; formats, exact sums, roundings and windows are the oracles' own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import reduce

import numpy as np

from hwsim.arith.rounding import Rounding
from hwsim.layers import (
    AveragePool,
    Concat,
    CountRule,
    EltwiseSum,
    HostLRN,
    ImageEncoding,
    MaxPool,
    Region,
    ReLU,
    Rescale,
    Softmax,
)
from oracles.floats import ZERO, Number, code_of, finished, number, plus
from oracles.layers import windows
from oracles.minifloat import INFINITY, NAN


def expected(layer, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """Codes [N][K][H][W] (Python ints) and output events of a layer on arrays of codes."""
    return RULES[type(layer)](layer, *inputs)


def each(fmt, finish, *inputs: np.ndarray) -> tuple[np.ndarray, int]:
    """finish(codes of one position) everywhere."""
    codes, events = np.zeros(inputs[0].shape, dtype=object), 0
    for at in np.ndindex(*codes.shape):
        codes[at], event = finish([int(x[at]) for x in inputs])
        events += event
    return codes, events


def sum_of(numbers: Sequence[Number]) -> Number:
    """The exact sum: specials by IEEE's table; a zero is +0, whatever the terms' signs."""
    total = reduce(lambda a, b: plus(a, b, Rounding.TIES_EVEN), numbers, ZERO)
    return ZERO if total[1] == 0 else total


def over(x: Number, divisor: int) -> Number:
    return x if isinstance(x[1], str) else (x[0], x[1] / divisor)


def relu(layer: ReLU, x: np.ndarray):
    def one(codes):
        negative, value = number(codes[0], layer.format)
        gone = negative and value != NAN
        return (code_of(ZERO, layer.format) if gone else codes[0]), 0

    return each(layer.format, one, x)


def rescale(layer: Rescale, x: np.ndarray):
    return each(layer.format, lambda codes: finished(number(codes[0], layer.format), layer.output), x)


def eltwise_sum(layer: EltwiseSum, *inputs: np.ndarray):
    def one(codes):
        return finished(sum_of([number(c, f) for c, f in zip(codes, layer.formats, strict=True)]), layer.output)

    return each(None, one, *inputs)


def image_encoding(layer: ImageEncoding, x: np.ndarray):
    mean = np.broadcast_to(layer.mean, x.shape[1:])
    scale = layer.scale_mantissa * Fraction(1, 2) ** layer.scale_length

    def one(codes):
        exact = (codes[0] - Fraction(codes[1], 1 << 16)) * scale
        return finished((exact < 0, abs(exact)), layer.output)

    return each(None, one, x, np.broadcast_to(mean, x.shape))


def pooled(layer, x: np.ndarray, finish):
    """finish(codes of the window, cells in image and padding, cells of the kernel) of every window of every plane."""
    places = list(windows(layer.window, x))
    shape = (*x.shape[:2], places[-1][0][0] + 1, places[-1][0][1] + 1)
    codes, events = np.zeros(shape, dtype=object), 0
    for n, k in np.ndindex(*x.shape[:2]):
        for (oy, ox), inside, in_padding, cells in places:
            codes[n, k, oy, ox], event = finish([int(x[n, k, r, s]) for r, s in inside], in_padding, cells)
            events += event
    return codes, events


def max_pool(layer: MaxPool, x: np.ndarray):
    f = layer.format

    def place(code: int) -> tuple:
        """By number, and among codes of one number (zeros) as words of sign and magnitude."""
        negative, value = number(code, f)
        magnitude = math.inf if value == INFINITY else value
        digits = f"{code:0{f.bits}b}"
        word = int(digits[1:], 2)
        return (-magnitude if negative else magnitude), (-1 - word if digits[0] == "1" else word)

    def one(codes, _, __):
        if any(number(code, f)[1] == NAN for code in codes):
            return code_of((False, NAN), f), 0
        return max(codes, key=place), 0

    return pooled(layer, x, one)


def average_pool(layer: AveragePool, x: np.ndarray):
    def one(codes, in_padding, cells):
        counts = {
            CountRule.INCLUDE_PADDING: cells,
            CountRule.EXCLUDE_PADDING: len(codes),
            CountRule.CAFFE: in_padding,
        }
        total = sum_of([number(code, layer.format) for code in codes])
        return finished(over(total, counts[layer.count]), layer.output)

    return pooled(layer, x, one)


def concat(layer: Concat, *inputs: np.ndarray):
    return np.concatenate([x.astype(object) for x in inputs], axis=1), 0


def softmax(layer: Softmax, x: np.ndarray):
    return x.astype(object), 0


def double(code: int, fmt) -> float:
    negative, value = number(code, fmt)
    magnitude = math.nan if value == NAN else math.inf if value == INFINITY else float(value)
    return -magnitude if negative else magnitude


def host_lrn(layer: HostLRN, x: np.ndarray):
    """In Python floats, each one IEEE's: squares first to last, roots, one encoding."""
    codes, events = np.zeros(x.shape, dtype=object), 0
    reach = layer.local_size // 2
    count = layer.local_size if layer.region == Region.ACROSS_CHANNELS else layer.local_size**2
    for at in np.ndindex(*x.shape):
        n, k, row, column = at
        if layer.region == Region.ACROSS_CHANNELS:
            around = [(n, c, row, column) for c in range(k - reach, k + reach + 1)]
        else:
            span = range(-reach, reach + 1)
            around = [(n, k, row + dy, column + dx) for dy in span for dx in span]
        total = 0.0
        for place in around:
            if all(0 <= i < size for i, size in zip(place, x.shape, strict=True)):
                value = double(int(x[place]), layer.format)
                total += value * value
        base = layer.k + layer.alpha / count * total
        value = double(int(x[at]), layer.format) * inverse(base, layer.beta)
        codes[at], event = finished(of_double(value), layer.output)
        events += event
    return codes, events


def inverse(base: float, beta: float) -> float:
    if beta == 0.75:
        return 1.0 / (math.sqrt(base) * math.sqrt(math.sqrt(base)))
    if beta == 0.5:
        return 1.0 / math.sqrt(base)
    return base**-beta


def of_double(value: float) -> Number:
    negative = math.copysign(1.0, value) < 0
    if math.isnan(value):
        return False, NAN
    return (negative, INFINITY) if math.isinf(value) else (negative, abs(Fraction(value)))


RULES = {
    ReLU: relu,
    Rescale: rescale,
    EltwiseSum: eltwise_sum,
    ImageEncoding: image_encoding,
    MaxPool: max_pool,
    AveragePool: average_pool,
    Concat: concat,
    Softmax: softmax,
    HostLRN: host_lrn,
}
