"""Hypothesis: any small layer with codes for it. Contracts that hwsim refuses are not drawn."""

from __future__ import annotations

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint
from hwsim.layers import (
    AveragePool,
    Concat,
    Convolution,
    CountRule,
    EltwiseSum,
    FullyConnected,
    ImageEncoding,
    MaxPool,
    ReLU,
    Rescale,
    Window,
)
from oracles.cases import Case, codes

seeds = st.integers(0, (1 << 32) - 1)
roundings = st.sampled_from(list(Rounding))
overflows = st.sampled_from([Overflow.WRAP, Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC])
activations = st.sampled_from(list(Activation))
widths = st.sampled_from([8, 8, 16, 16]) | st.integers(1, 16)
usual_lengths = st.integers(-4, 12)
extents = st.sampled_from([1, 2, 3, 5, 7])
channels = st.sampled_from([1, 2, 3, 4, 5, 8, 15, 16, 17, 20, 33])


def formats(bits=widths, lengths=usual_lengths) -> st.SearchStrategy[FixedPoint]:
    return st.builds(FixedPoint, bits, lengths, st.booleans())


def outputs(around: int) -> st.SearchStrategy[Output]:
    """Outputs whose fractional length lies near `around`."""
    near = formats(st.sampled_from([8, 16, 8, 16]) | st.integers(1, 32), st.integers(around - 14, around + 4))
    return st.builds(Output, near, roundings, overflows, activations)


@st.composite
def mac_contracts(draw, k: int) -> MacContract:
    x, w = draw(formats()), draw(formats())
    if draw(st.booleans()):
        lengths = draw(st.lists(st.integers(w.fl() - 3, w.fl() + 3), min_size=k, max_size=k))
        w = FixedPoint(w.bits, tuple(lengths), w.signed)
    finest = x.fl() + max(w.lengths(k))
    grid = draw(st.none() | st.integers(finest, finest + 12))
    acc = Accumulator(draw(st.sampled_from([16, 24, 32, 32, 48, 64]) | st.integers(2, 64)), grid)
    bias = draw(st.none() | formats(st.integers(2, 16), st.integers(finest - 6, finest + 6)))
    return MacContract(x, w, draw(outputs(x.fl() + w.fl())), acc, bias, draw(roundings))


@st.composite
def mac_cases(draw) -> Case:
    k = draw(channels)
    connected, n = draw(st.integers(0, 3)) == 0, draw(st.sampled_from([1, 1, 2, 3]))
    rng = np.random.default_rng(draw(seeds))
    groups = draw(st.sampled_from([g for g in (1, 1, 1, 2, 3, 5, k) if k % g == 0]))
    share = draw(st.sampled_from([1, 2, 3, 5, 16, 17, 33]) if groups < 4 else st.sampled_from([1, 2]))
    c = share if connected else share * groups
    h, w = draw(st.permutations([1, 2, 3, 4, 5, 7]))[:2]
    if draw(st.integers(0, 5)) == 0 and not connected:
        w = draw(st.sampled_from([15, 16, 17, 33]))
    contract = draw(mac_contracts(k))
    rs = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    pads = st.tuples(st.integers(0, 3), st.integers(0, 3))
    window = {"stride": draw(pair), "dilation": draw(pair), "pad": draw(pads)}
    ends = draw(st.sampled_from([0.0, 0.3, 1.0]))
    weight = codes(rng, contract.weight, (k, c * h * w) if connected else (k, share, *rs), ends)
    bias = codes(rng, contract.bias_format(k), (k,), ends).astype(np.int64) if draw(st.booleans()) else None
    x = codes(rng, contract.input, (n, c, h, w), ends)
    if connected:
        layer = refusing(FullyConnected, contract, weight, bias)
    else:
        layer = refusing(Convolution, contract, weight, bias, groups=groups, **window)
    return checked(layer, (x,))


def refusing(build, *arguments, **named):
    try:
        return build(*arguments, **named)
    except ContractError:
        assume(False)


def checked(layer, inputs: tuple[np.ndarray, ...]) -> Case:
    """Return the case; shapes that the layer refuses are not drawn."""
    from hwsim.layers import Shape

    shape = refusing(layer.output_shape, [Shape(*x.shape[1:]) for x in inputs])
    assume(len(inputs[0]) * shape.c * shape.h * shape.w <= 4000)
    return Case("generated", layer, inputs)


@st.composite
def window_cases(draw) -> Case:
    f = draw(formats())
    rng = np.random.default_rng(draw(seeds))
    kernel = draw(st.none() | st.tuples(st.integers(1, 4), st.integers(1, 4)))
    pad = (0, 0) if kernel is None else tuple(draw(st.integers(0, size - 1)) for size in kernel)
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    window = Window(kernel, stride, pad, draw(st.booleans()))
    x = codes(rng, f, (draw(st.integers(1, 3)), draw(channels), draw(extents), draw(extents)))
    if draw(st.booleans()):
        return checked(MaxPool(f, window), (x,))
    output = draw(outputs(f.fl() + 4))
    return checked(refusing(AveragePool, f, window, draw(st.sampled_from(list(CountRule))), output), (x,))


@st.composite
def elementwise_cases(draw) -> Case:
    rng = np.random.default_rng(draw(seeds))
    shape = (draw(st.integers(1, 2)), draw(channels), draw(extents), draw(extents))
    fs = draw(st.lists(formats(), min_size=2, max_size=3))
    kind = draw(st.sampled_from(["rescale", "sum", "relu", "concat", "image"]))
    if kind == "sum":
        output = draw(outputs(max(f.fl() for f in fs) + 4))
        return checked(refusing(EltwiseSum, tuple(fs), output), tuple(codes(rng, f, shape) for f in fs))
    if kind == "relu":
        return checked(ReLU(fs[0]), (codes(rng, fs[0], shape),))
    if kind == "concat":
        sizes = draw(st.lists(channels, min_size=1, max_size=3))
        parts = tuple(codes(rng, fs[0], (shape[0], c, *shape[2:])) for c in sizes)
        return checked(Concat(fs[0], len(parts)), parts)
    if kind == "image":
        mean = rng.uniform(-256, 256, size=draw(st.sampled_from([(shape[1],), shape[1:]])))
        scale = draw(st.floats(2.0**-12, 4.0, width=32))
        output = draw(outputs(6))
        x = rng.integers(0, 256, size=shape).astype(np.uint8)
        return checked(refusing(ImageEncoding.from_real, mean, scale, output), (x,))
    f = draw(formats(st.integers(1, 32)))
    return checked(refusing(Rescale, f, draw(outputs(f.fl() + 4))), (codes(rng, f, shape),))


def cases() -> st.SearchStrategy[Case]:
    """Any layer that computes."""
    return mac_cases() | mac_cases() | window_cases() | elementwise_cases()
