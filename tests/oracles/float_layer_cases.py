"""Small layers that do not multiply, with minifloats, drawn by number: every kind of layer, format, rounding and window."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.contract.float_mac import FloatOutput
from hwsim.formats import FixedPoint, Minifloat, catalog
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
    Window,
)
from oracles.cases import Case, generator
from oracles.float_cases import FIXED, FLOATS, output_of, pick, words

FORMATS = [*dict.fromkeys([*FLOATS, *catalog.FORMATS.values()])]
WINDOWS = [
    Window((2, 3), (1, 2)),
    Window((3, 2), (2, 1), (1, 1)),
    Window((3, 3), (2, 2), (0, 1), ceil_mode=True),
    Window((1, 2), (2, 3)),
    Window((2, 2), (4, 3), (1, 1), ceil_mode=True),
    Window(None),
]


def codes_of(rng: np.random.Generator, fmt, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers near 1, over the whole range, or of any code at all, NaN and infinities and both zeros among them."""
    made = words(rng, fmt, shape, finite=False)
    if isinstance(fmt, Minifloat) and rng.random() < 0.4:
        anything = rng.integers(0, 1 << fmt.bits, size=shape)
        zeros = rng.choice([0, 1 << (fmt.bits - 1)], size=shape)
        top = fmt.layout.largest + rng.integers(0, 2, size=shape)
        share = rng.random(shape)
        anything = np.where(share < 0.3, zeros, np.where(share > 0.9, np.minimum(top, fmt.high), anything))
        made = np.where(rng.random(shape) < rng.choice([0.1, 0.5, 1.0]), anything, made)
    return made.astype(fmt.dtype)


def mixed(rng: np.random.Generator) -> tuple[object, object]:
    """Return an input format and an output stage with a minifloat in one of them at least."""
    fmt = pick(rng, [*FORMATS, *FORMATS, *FIXED])
    output = output_of(rng)
    if isinstance(fmt, FixedPoint) and not isinstance(output, FloatOutput):
        output = FloatOutput(pick(rng, FORMATS), pick(rng, list(Rounding)), pick(rng, list(Activation)))
    return fmt, output


def shape_of(rng: np.random.Generator) -> tuple[int, ...]:
    return pick(rng, [(2, 3, 5, 7), (1, 2, 7, 5), (3, 1, 4, 6), (2, 19, 3, 5)])


def relu(rng):
    fmt = pick(rng, FORMATS)
    return ReLU(fmt), (codes_of(rng, fmt, shape_of(rng)),)


def max_pool(rng):
    fmt = pick(rng, FORMATS)
    return MaxPool(fmt, pick(rng, WINDOWS)), (codes_of(rng, fmt, shape_of(rng)),)


def average_pool(rng):
    fmt, output = mixed(rng)
    return AveragePool(fmt, pick(rng, WINDOWS), pick(rng, list(CountRule)), output), (codes_of(rng, fmt, shape_of(rng)),)


def rescale(rng):
    fmt, output = mixed(rng)
    return Rescale(fmt, output), (codes_of(rng, fmt, shape_of(rng)),)


def eltwise_sum(rng):
    shape = shape_of(rng)
    fmt, output = mixed(rng)
    more = [pick(rng, [fmt, fmt, *FORMATS, *FIXED]) for _ in range(int(rng.choice([1, 1, 2, 4])))]
    formats = (fmt, *more)
    return EltwiseSum(formats, output), tuple(codes_of(rng, f, shape) for f in formats)


def concat(rng):
    fmt, (n, _, h, w) = pick(rng, FORMATS), shape_of(rng)
    channels = [int(c) for c in rng.integers(1, 6, size=int(rng.integers(1, 4)))]
    return Concat(fmt, len(channels)), tuple(codes_of(rng, fmt, (n, c, h, w)) for c in channels)


def softmax(rng):
    fmt = pick(rng, FORMATS)
    return Softmax(fmt), (codes_of(rng, fmt, (2, 7, 1, 3)),)


def image_encoding(rng):
    n, c, h, w = shape_of(rng)
    full = rng.integers(0, 2)
    mean = rng.integers(-(256 << 16), 256 << 16, size=(c, h, w) if full else (c, 1, 1), endpoint=True)
    if rng.random() < 0.5:
        mean = mean >> 16 << 16  # on the pixels' grid, so that some differences are 0
    output = FloatOutput(pick(rng, FORMATS), pick(rng, list(Rounding)), pick(rng, list(Activation)))
    pixels = rng.integers(0, 256, size=(n, c, h, w)).astype(np.uint8)
    mantissa = int(pick(rng, [1, 1, 3, 16711935, int(rng.integers(1, 1 << 24))]))
    return ImageEncoding(mean, mantissa, int(rng.integers(-4, 40)), output), (pixels,)


def host_lrn(rng):
    fmt, output = mixed(rng)
    output = replace(output, activation=Activation.NONE)  # the layer has none
    constants = (float(pick(rng, [1e-4, 0.7, 2.0])), float(pick(rng, [0.75, 0.5, 0.6])), float(pick(rng, [1.0, 2.0])))
    layer = HostLRN(fmt, pick(rng, list(Region)), int(pick(rng, [1, 3, 5])), *constants, output)
    return layer, (codes_of(rng, fmt, (2, 7, 3, 5)),)


KINDS = {
    "image_encoding": image_encoding,
    "max_pool": max_pool,
    "relu": relu,
    "average_pool": average_pool,
    "concat": concat,
    "rescale": rescale,
    "softmax": softmax,
    "eltwise_sum": eltwise_sum,
    "host_lrn": host_lrn,
}


@cache
def float_layer_case(kind: str, number: int) -> Case:
    """Return the case of that kind and number: the same in every run."""
    name = f"float {kind} {number}"
    layer, inputs = KINDS[kind](generator(name))
    return Case(name, layer, inputs)
