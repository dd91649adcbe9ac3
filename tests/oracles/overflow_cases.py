"""Hypothesis: layers of so few taps and codes that every input can be walked, over all that contracts can say."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from hwsim.arith.overflow import Overflow
from hwsim.arith.shift_add import SignOrder
from hwsim.contract import Accumulator, Axis, MacContract, Order, Output, PaddedTaps, RoundAt, Schedule, ShiftAdd, Tail, ZeroSkip
from hwsim.formats import Affine, FixedPoint, PowerOfTwo
from hwsim.formats.pow2 import ZeroCode
from hwsim.layers import Convolution, Deconvolution, FullyConnected, MacLayer, Shape
from oracles.generate import refusing, seeds
from oracles.ordered_cases import clipped, overflows, roundings, schedules, spills, trees, weights

MOST = 130
"""Inputs that one output may have."""


class Small(NamedTuple):
    """A layer, an input's shape, and the codes low[c]..high[c] of each input channel."""

    layer: MacLayer
    shape: Shape
    low: list[int]
    high: list[int]


@st.composite
def input_formats(draw) -> FixedPoint | Affine:
    bits, signed = draw(st.sampled_from([1, 2, 2, 3, 8])), draw(st.booleans())
    if draw(st.integers(0, 2)) or bits == 1:
        return FixedPoint(bits, draw(st.integers(-2, 3)), signed)
    zero = draw(st.integers(0, 2**bits - 1)) - signed * 2 ** (bits - 1)
    return refusing(Affine, bits, 1.0, zero, signed, draw(st.booleans()))


@st.composite
def weight_formats(draw, k: int, x: FixedPoint | Affine) -> tuple[FixedPoint | Affine | PowerOfTwo, ShiftAdd | None]:
    kind = draw(st.sampled_from(["fixed", "fixed", "lengths", "power", "affine"]))
    bits, signed = draw(st.sampled_from([1, 2, 3, 4, 8])), draw(st.booleans())
    if isinstance(x, Affine) or kind == "affine":
        zeros = tuple(draw(st.integers(0, 2**bits - 1)) - signed * 2 ** (bits - 1) for _ in range(k))
        return refusing(Affine, max(bits, 2), 1.0, zeros if draw(st.booleans()) else zeros[0], signed, draw(st.booleans())), None
    if kind == "power":
        low = draw(st.integers(-4, 1))
        w = PowerOfTwo(low, low + draw(st.integers(0, 3)), draw(st.sampled_from(list(ZeroCode))))
        return w, draw(st.none() | st.builds(ShiftAdd, st.integers(0, 4), roundings, st.sampled_from(list(SignOrder))))
    own = draw(st.integers(-1, 3))
    lengths = tuple(own + draw(st.integers(0, 2)) for _ in range(k)) if kind == "lengths" else own
    return FixedPoint(bits, lengths, signed), None


class Steps(Enum):
    """What sums are drawn: without an order, in any, or in orders where taps that are left out regroup the rest."""

    NONE = 0
    ANY = 1
    SKIPPING = 2


@st.composite
def orders(draw, product_bits: int, bits: int, extents: tuple[int, int, int], skipping: bool) -> Schedule:
    """Schedules whose lanes mostly lie along the axis with the most taps."""
    any_order = draw(schedules(product_bits, bits))
    if not skipping and draw(st.integers(0, 2)) == 0:
        return any_order
    axis = list(Axis)[extents.index(max(extents))]
    lanes = draw(st.integers(1, max(2, min(4, max(extents)))))
    packed = draw(st.booleans())
    order = draw(st.sampled_from([order for order in Order if not packed or order.value[-1] == axis.value]))
    skip = draw(st.sampled_from([ZeroSkip.INPUT, ZeroSkip.EITHER, ZeroSkip.WEIGHT] if skipping else [any_order.skip_zeros]))
    spill = draw(spills(bits)) if skipping and not (packed and lanes > 1) else any_order.spill
    if spill is not None and draw(st.booleans()):  # so narrow that most contents wrap
        spill = replace(spill, every=draw(st.integers(1, 2)), bits=min(bits, draw(st.integers(2, 4))), overflow=Overflow.WRAP)
    tail, tree = Tail.PACKED if packed else Tail.IDLE, draw(trees(lanes, draw(st.sampled_from([product_bits, 3]))))
    padded = PaddedTaps.SKIPPED if skipping else any_order.padded
    return Schedule(order, lanes, axis, tail, tree, any_order.bias, padded, skip, spill)


@st.composite
def contracts(draw, k: int, product_bits: int, extents: tuple[int, int, int], steps: Steps) -> MacContract:
    scheduled = steps is not Steps.NONE
    x = draw(input_formats())
    w, unit = draw(weight_formats(k, x))
    affine = isinstance(x, Affine) or isinstance(w, Affine)
    if affine and isinstance(x, FixedPoint):
        x = FixedPoint(x.bits, 0, x.signed)
    guard = (max(0, -w.exp_min) if unit is None else unit.guard_bits) if isinstance(w, PowerOfTwo) else 0
    grid = x.fl() + (guard if isinstance(w, PowerOfTwo) else min(w.lengths(k)))
    dropped, declared = 0, None
    place = draw(st.sampled_from(["product", "product", "product", "dropped", "declared", "each", "top"]))
    if scheduled and place == "dropped":
        dropped = draw(st.integers(1, 4))
    if place in ("declared", "top"):
        declared = grid + (draw(st.integers(-3 * scheduled, 6)) if place == "declared" else draw(st.integers(52, 62)))
    if place == "each":
        declared = tuple(grid + draw(st.integers(-3 * scheduled, 5)) for _ in range(k))
    finer = (max(declared) if isinstance(declared, tuple) else declared or grid) - grid - dropped
    bits = clipped(product_bits + finer + draw(st.integers(-4, 4)), 2, 64)
    acc = refusing(
        Accumulator,
        bits,
        declared,
        overflow=draw(overflows) if scheduled else Overflow.WRAP,
        dropped_bits=dropped,
        rounding=draw(roundings),
        round_at=draw(st.sampled_from(list(RoundAt))),
        schedule=draw(orders(product_bits, bits, extents, steps is Steps.SKIPPING)) if scheduled else None,
    )
    at = min(declared) if isinstance(declared, tuple) else grid - dropped if declared is None else declared
    bias = FixedPoint(draw(st.integers(2, bits)), at + draw(st.integers(-1, 4))) if draw(st.booleans()) else None
    output = Output(Affine(8, 1.0) if affine else FixedPoint(8, at))
    return refusing(MacContract, x, w, output, acc, bias, draw(roundings), unit)


@st.composite
def ranges(draw, fmt, channels: int, pixels: int) -> tuple[list[int], list[int]]:
    """Codes of each channel, so few that an output of `pixels` taps in each has at most MOST inputs."""
    low, high, left = [], [], MOST
    for c in range(channels):
        most = max(1, int(left ** (1 / pixels / (channels - c)) + 1e-9))
        width = clipped(draw(st.sampled_from([most, most, 1, 2, 3])), 1, min(most, fmt.high - fmt.low + 1))
        first = draw(
            st.sampled_from([fmt.low, fmt.high - width + 1, fmt.zero(), fmt.zero() - 1]) | st.integers(fmt.low, fmt.high)
        )
        first = clipped(first, fmt.low, fmt.high - width + 1)
        low, high, left = [*low, first], [*high, first + width - 1], left // width**pixels
    return low, high


@st.composite
def small_layers(draw, steps: Steps = Steps.ANY) -> Small:
    """A fully connected layer, a convolution or a deconvolution of at most six taps, and the codes that it may read."""
    kind = draw(st.sampled_from(["connected", "convolution", "convolution", "deconvolution"]))
    k, groups = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (2, 2)]))
    share, r, s = draw(
        st.sampled_from([(1, 1, 1), (2, 1, 1), (3, 1, 1), (1, 2, 1), (1, 1, 3), (1, 2, 2), (2, 1, 2), (5, 1, 1), (2, 3, 1)])
    )
    contract = draw(contracts(k, draw(st.integers(1, 8)), (share, r, s), steps))
    rng = np.random.default_rng(draw(seeds))
    if kind == "connected":
        shape = Shape(share, r, s)
        weight = weights(rng, contract.weight, (k, share * r * s), draw(st.sampled_from([0.0, 0.5])))
        build = (FullyConnected, contract, weight)
    else:
        shape = Shape(share * groups, draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        weight = weights(rng, contract.weight, (k, share, r, s), draw(st.sampled_from([0.0, 0.5])))
        build = (Convolution if kind == "convolution" else Deconvolution, contract, weight)
    weight[rng.random(weight.shape) < draw(st.sampled_from([0.0, 0.3]))] = zero_weight(contract.weight, weight.dtype)
    layer = refusing(
        *build[:3], draw(biases(contract, k, rng)), **(draw(places(kind)) | {"groups": groups} if kind != "connected" else {})
    )
    refusing(layer.output_shape, [shape])
    low, high = draw(ranges(contract.input, shape.c, r * s))
    return Small(layer, shape, low, high)


def zero_weight(fmt, dtype) -> int:
    """A code that is real 0, where the format has one for all channels."""
    if isinstance(fmt, PowerOfTwo):
        return 0  # the index that ZeroCode.FIRST declares
    return fmt.zero(0)


@st.composite
def biases(draw, contract: MacContract, k: int, rng: np.random.Generator) -> np.ndarray | None:
    if contract.bias is None and draw(st.booleans()):
        return None
    f = contract.bias_format(k)
    drawn = [int(rng.integers(f.low, f.high, endpoint=True)) >> int(rng.integers(0, f.bits)) for _ in range(k)]
    drawn = [f.low if rng.random() < 0.1 else v for v in drawn]
    return np.array(drawn, dtype=np.int64)


@st.composite
def places(draw, kind: str) -> dict:
    """Stride, padding and dilation."""
    pair = st.tuples(st.integers(1, 2), st.integers(1, 2))
    pads = st.tuples(st.integers(0, 1), st.integers(0, 2))
    return {"stride": draw(pair), "pad": draw(pads), "dilation": draw(pair), "pad_end": draw(st.none() | pads)}
