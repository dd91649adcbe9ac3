"""Hypothesis: small layers with a declared order, whose registers are about as wide as their sums need, mostly too narrow."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.shift_add import SignOrder
from hwsim.contract import (
    Accumulator,
    Axis,
    BiasPoint,
    MacContract,
    Order,
    Output,
    PaddedTaps,
    RoundAt,
    Schedule,
    ShiftAdd,
    Spill,
    Tail,
    Tree,
    ZeroSkip,
)
from hwsim.formats import FixedPoint, PowerOfTwo
from hwsim.formats.pow2 import ZeroCode
from hwsim.layers import Convolution, FullyConnected
from oracles.cases import Case, codes
from oracles.exact import PICKS, TIES
from oracles.generate import checked, refusing, seeds

roundings = st.sampled_from([*PICKS, *TIES])
overflows = st.sampled_from(list(Overflow))
operands = st.builds(FixedPoint, st.sampled_from([2, 3, 4, 8, 8, 16]), st.integers(-3, 9), st.booleans())


def clipped(value: int, low: int, high: int) -> int:
    return sorted((low, value, high))[1]


@st.composite
def trees(draw, lanes: int, product_bits: int, modes=overflows) -> Tree:
    """Trees whose levels are near the width of their sums; now and then as wide as needed."""
    pairing = draw(st.sampled_from(list(Pairing)))
    levels = Tree(pairing).levels(lanes)
    if draw(st.integers(0, 2)) == 0:
        return Tree(pairing)
    bits = tuple(clipped(product_bits + draw(st.integers(-3, 2)), 2, 62) for _ in range(levels))
    return Tree(pairing, bits, draw(modes))


@st.composite
def spills(draw, bits: int, modes=overflows) -> Spill:
    """Buffers at most as wide as the accumulator."""
    width = clipped(bits - draw(st.integers(0, 4)), 2, bits)
    shift = draw(st.integers(0, min(4, 64 - width)))
    return Spill(draw(st.integers(1, 4)), width, shift, draw(roundings), draw(modes), draw(st.booleans()))


@st.composite
def schedules(draw, product_bits: int, bits: int, modes=overflows) -> Schedule:
    """Orders, lanes, tails, trees, bias points, skips and spills."""
    order, lanes = draw(st.sampled_from(list(Order))), draw(st.sampled_from([1, 1, 2, 3, 4]) | st.integers(1, 9))
    axis = draw(st.sampled_from(list(Axis)))
    tail = draw(st.sampled_from(list(Tail)))
    if tail is Tail.PACKED:
        axis = Axis[order.name[-1]]
    return Schedule(
        order,
        lanes,
        axis,
        tail,
        draw(trees(lanes, product_bits, modes)),
        draw(st.sampled_from(list(BiasPoint))),
        draw(st.sampled_from(list(PaddedTaps))),
        draw(st.sampled_from([ZeroSkip.NONE, *ZeroSkip])),
        draw(st.none() | spills(bits, modes)),
    )


@st.composite
def accumulators(draw, product_bits: int, taps: int, grid: int, modes=overflows) -> Accumulator:
    """Registers around the width that the sums need; finer than the product's grid, coarser, or at it."""
    place = draw(st.sampled_from(["product", "product", "dropped", "declared", "top"]))
    need = product_bits + taps.bit_length() // 2
    dropped = draw(st.integers(1, 6)) if place == "dropped" else 0
    finer = draw(st.integers(-4, 6)) if place == "declared" else 0
    if place == "top":  # registers of 60 to 64 bits, and sums that reach their edge
        finer = clipped(draw(st.integers(60, 64)) - product_bits - taps.bit_length(), 0, 62)
    bits = clipped(need + finer - dropped + draw(st.integers(-5, 2)), 2, 64)
    if draw(st.integers(0, 6)) == 0:
        bits = draw(st.integers(2, 64))
    return Accumulator(
        bits,
        grid + finer if place in ("declared", "top") else None,
        overflow=draw(modes),
        dropped_bits=dropped,
        rounding=draw(roundings),
        round_at=draw(st.sampled_from(list(RoundAt))),
        schedule=draw(schedules(product_bits, bits, modes)),
    )


@st.composite
def products(draw, k: int, formats=operands) -> tuple[FixedPoint, FixedPoint | PowerOfTwo, ShiftAdd | None]:
    """Operands of exact multipliers, and of shift-add units that may round."""
    x = draw(formats)
    if draw(st.integers(0, 2)):
        w = draw(formats)
        if draw(st.integers(0, 3)) == 0:
            w = FixedPoint(w.bits, tuple(w.fl() + draw(st.integers(0, 2)) for _ in range(k)), w.signed)
        return x, w, None
    low = draw(st.integers(-8, 2))
    w = PowerOfTwo(low, low + draw(st.integers(0, 7)), draw(st.sampled_from(list(ZeroCode))))
    unit = st.builds(ShiftAdd, st.integers(0, 8), roundings, st.sampled_from(list(SignOrder)))
    return x, w, draw(st.none() | unit)


def width_of(x: FixedPoint, w: FixedPoint | PowerOfTwo, unit: ShiftAdd | None) -> tuple[int, int]:
    """Return about how many bits a product has, and its fractional length (of channel 0)."""
    if not isinstance(w, PowerOfTwo):
        return x.bits + w.bits - 1, x.fl() + w.lengths(1)[0] if not w.per_channel else x.fl() + w.fractional_length[0]
    guard = max(0, -w.exp_min) if unit is None else unit.guard_bits
    return max(2, x.bits + w.exp_max + guard), x.fl() + guard


@st.composite
def contracts(draw, k: int, taps: int, biased: bool, modes=overflows, formats=operands) -> MacContract:
    """Contracts with a declared order; modes: of every register and the output; formats: of the operands."""
    x, w, unit = draw(products(k, formats))
    product_bits, grid = width_of(x, w, unit)
    acc = draw(accumulators(product_bits, taps, grid, modes))
    at = grid - acc.dropped_bits if acc.fractional_length is None else acc.fractional_length
    out = FixedPoint(draw(st.sampled_from([4, 8, 16])), at - draw(st.integers(-2, 12)), draw(st.booleans()))
    output = Output(out, draw(roundings), draw(modes), draw(st.sampled_from(list(Activation))))
    bias = None
    if biased and draw(st.booleans()):  # on a finer grid, so that it fits when it is rounded
        bias = FixedPoint(draw(st.integers(2, acc.bits)), at + draw(st.integers(0, 6)))
    return refusing(MacContract, x, w, output, acc, bias, draw(roundings), unit)


def weights(rng: np.random.Generator, f: FixedPoint | PowerOfTwo, shape: tuple[int, ...], ends: float) -> np.ndarray:
    """Return weight codes; of a power of two, a sign and an index in use."""
    if not isinstance(f, PowerOfTwo):
        return codes(rng, f, shape, ends)
    index = rng.integers(0, f.index_count, size=shape)
    index = np.where(rng.random(shape) < ends, f.index_count - 1, index)
    return (index + (rng.integers(0, 2, size=shape) << f.index_bits)).astype(f.dtype)


def bias_codes(rng: np.random.Generator, contract: MacContract, k: int, ends: float) -> np.ndarray:
    """Return biases within +-(2**(bits-1) - 1), which every mode holds, or near zero."""
    f = contract.bias_format(k)
    high = f.high - (contract.bias is not None)  # rounding up to the next code must fit, too
    drawn = [int(rng.integers(-high, high, endpoint=True)) for _ in range(k)]
    drawn = [high if rng.random() < ends else value >> int(rng.integers(0, f.bits)) for value in drawn]
    return np.array(drawn, dtype=np.int64)


@st.composite
def ordered_cases(draw, modes=overflows) -> Case:
    """A convolution or a fully connected layer with a schedule, and codes for it."""
    connected = draw(st.integers(0, 3)) == 0
    groups, k = draw(st.sampled_from([(1, 1), (1, 2), (1, 3), (2, 2), (2, 4), (1, 19)]))
    share, r, s = draw(st.sampled_from([1, 2, 3, 5, 7])), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    h, w = draw(st.permutations([2, 3, 4]))[:2]
    taps = share * (h * w if connected else r * s)
    biased, ends = draw(st.booleans()), draw(st.sampled_from([0.0, 0.3, 0.9]))
    contract = draw(contracts(k, taps, biased, modes))
    rng = np.random.default_rng(draw(seeds))
    shape = (k, taps) if connected else (k, share, r, s)
    weight = weights(rng, contract.weight, shape, ends)
    bias = bias_codes(rng, contract, k, ends) if biased else None
    x = codes(rng, contract.input, (draw(st.integers(1, 2)), share if connected else share * groups, h, w), ends)
    if connected:
        return checked(refusing(FullyConnected, contract, weight, bias), (x,))
    pair = st.tuples(st.integers(1, 2), st.integers(1, 2))
    pad = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    layer = refusing(Convolution, contract, weight, bias, draw(pair), pad, draw(pair), groups)
    return checked(layer, (x,))
