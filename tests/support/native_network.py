"""A small network of bound native steps: every kind of operator, a joint buffer, events at several places."""

from __future__ import annotations

import numpy as np

from hwsim.backends.base import Step, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.native import NATIVE
from hwsim.contract.mac import Accumulator, Activation, MacContract, Output
from hwsim.formats.fixed import FixedPoint
from hwsim.layers import (
    AveragePool,
    Concat,
    Convolution,
    CountRule,
    EltwiseSum,
    ImageEncoding,
    Layer,
    MaxPool,
    ReLU,
    Rescale,
    Shape,
    Window,
)

CODE = FixedPoint(8, 4)


def step(layer: Layer, *inputs: Buffer, out: Buffer | None = None, border: tuple[int, int] = (0, 0)) -> Step:
    """Bind a layer to its inputs and to a new output, or to the one given."""
    kernel = NATIVE.prepare(layer, [b.shape for b in inputs])
    if out is None:
        out = Buffer.allocate(inputs[0].n, kernel.output_shape, layer.output_format.dtype, border)
    return Step(kernel, tuple(inputs), out, Taps())


def convolution(rng: np.random.Generator, channels: int, inputs: int, size: int, bits: int = 32, pad: int = 0) -> Convolution:
    """A layer with random weights whose accumulator of few bits overflows now and then."""
    weight = rng.integers(-128, 128, (channels, inputs, size, size)).astype(np.int8)
    output = Output(CODE, activation=Activation.RELU_BEFORE_REQUANTIZE)
    return Convolution(MacContract(CODE, FixedPoint(8, 9), output, Accumulator(bits)), weight, None, pad=pad)


def small_network(batch: int = 2) -> list[Step]:
    """Build it: 3 x 21 x 19 pixels in, 20 averages out."""
    rng = np.random.default_rng(3)
    pixels = Buffer.allocate(batch, Shape(3, 21, 19), np.dtype(np.uint8))
    pixels.codes[...] = rng.integers(0, 256, pixels.codes.shape)
    steps = [step(ImageEncoding.from_real([100, 110, 120], 0.06, Output(CODE)), pixels)]
    steps.append(step(convolution(rng, 20, 3, 3), steps[-1].out))
    steps.append(step(MaxPool(CODE, Window((3, 3), (2, 2), ceil_mode=True)), steps[-1].out, border=(1, 1)))
    pooled = steps[-1].out
    joint = Buffer.allocate(batch, Shape(50, *pooled.shape[1:]), CODE.dtype)
    for layer, first in ((convolution(rng, 17, 20, 1), 0), (convolution(rng, 33, 20, 3, bits=16, pad=1), 17)):
        steps.append(step(layer, pooled, out=joint.channels(first, layer.channels)))
    steps.append(step(Concat(CODE, 2), steps[-2].out, steps[-1].out, out=joint))
    steps.append(step(Rescale(CODE, Output(FixedPoint(6, 3))), joint))
    steps.append(step(EltwiseSum((CODE, FixedPoint(6, 3)), Output(CODE)), joint, steps[-1].out))
    steps.append(step(ReLU(CODE), steps[-1].out))
    average = AveragePool(CODE, Window(None), CountRule.EXCLUDE_PADDING, Output(FixedPoint(16, 8)))
    return [*steps, step(average, steps[-1].out)]
