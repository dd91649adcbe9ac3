"""Small layers with a minifloat in them, drawn by number: every kind of operand, accumulation, order and output stage."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.contract.accumulator import Axis, BiasPoint, Order, PaddedTaps, Schedule, Tree, ZeroSkip
from hwsim.contract.float_mac import ExactSum, FloatAccumulator, FloatMacContract, FloatOutput
from hwsim.contract.mac import Output
from hwsim.contract.stochastic import Tail
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint, Minifloat, PowerOfTwo, Specials, ZeroCode, catalog
from hwsim.layers import Convolution, FullyConnected
from oracles.cases import Case, generator

TINY = Minifloat(2, 1, specials=Specials.IEEE)  # largest 3: nearly every sum overflows
FLOATS = [
    catalog.E4M3,
    catalog.E5M2,
    replace(catalog.E5M2, saturate=True),
    catalog.E4M3_FNUZ,
    catalog.E2M1,
    catalog.ristretto(4, 3),
    catalog.ristretto(3, 4, zero_code=0x80),
    Minifloat(4, 3, subnormals=False),
    Minifloat(3, 0, specials=Specials.FN),
    catalog.BINARY16,
    catalog.BFLOAT16,
    catalog.BINARY32,
    Minifloat(8, 23, bias=-500),
]
REGISTERS = [catalog.E4M3, catalog.E5M2, catalog.BINARY16, catalog.BFLOAT16, catalog.BINARY32, TINY, *FLOATS[2:8]]
FIXED = [FixedPoint(8, 5), FixedPoint(8, 3, signed=False), FixedPoint(16, -2), FixedPoint(3, 9)]
POWERS = [PowerOfTwo(-7, -1), PowerOfTwo(-8, -1, ZeroCode.NONE), PowerOfTwo(-3, 20, ZeroCode.LAST)]


def pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def words(rng: np.random.Generator, fmt, shape: tuple[int, ...], finite: bool) -> np.ndarray:
    """Codes near 1 and over the whole range in turn; with NaN and infinities in one draw of eight, unless `finite`."""
    if isinstance(fmt, PowerOfTwo):
        return rng.choice(np.array(fmt.codes), size=shape)
    if isinstance(fmt, FixedPoint):
        return rng.integers(fmt.low, fmt.high, size=shape, endpoint=True)
    top = fmt.layout.largest
    spread = int(rng.choice([1, 2, 1 << fmt.exp_bits]))
    one = min(top, max(0, fmt.layout.bias) << fmt.man_bits)
    magnitude = np.clip(one + rng.integers(-(spread << fmt.man_bits), spread << fmt.man_bits, size=shape), 0, top)
    magnitude = np.where(rng.random(shape) < 0.1, rng.choice([0, 1, top], size=shape), magnitude)
    codes = magnitude | rng.integers(0, 2, size=shape) << fmt.layout.sign_shift
    if not finite and rng.random() < 0.125:
        codes = np.where(rng.random(shape) < 0.05, rng.integers(0, 1 << fmt.bits, size=shape), codes)
    return np.where(fmt.specials == Specials.FNUZ and finite, np.where(codes == 1 << fmt.layout.sign_shift, 0, codes), codes)


def schedule_of(rng: np.random.Generator) -> Schedule:
    order = pick(rng, list(Order))
    tail = pick(rng, list(Tail))
    axis = list(Axis)[order.value[-1]] if tail is Tail.PACKED else pick(rng, list(Axis))
    return Schedule(
        order,
        lanes=int(rng.choice([1, 1, 2, 3, 5])),
        lane_axis=axis,
        tail=tail,
        tree=Tree(pick(rng, list(Pairing))),
        bias=pick(rng, list(BiasPoint)),
        padded=pick(rng, list(PaddedTaps)),
        skip_zeros=pick(rng, list(ZeroSkip)),
    )


def accumulation(rng: np.random.Generator) -> ExactSum | FloatAccumulator:
    if rng.random() < 0.4:
        return ExactSum()
    product = pick(rng, [None, None, catalog.E5M2, catalog.E4M3, catalog.BINARY16, TINY])
    return FloatAccumulator(pick(rng, REGISTERS), pick(rng, list(Rounding)), product, pick(rng, list(Rounding)), schedule_of(rng))


def output_of(rng: np.random.Generator) -> Output | FloatOutput:
    rounding, activation = pick(rng, list(Rounding)), pick(rng, list(Activation))
    if rng.random() < 0.6:
        return FloatOutput(pick(rng, FLOATS), rounding, activation)
    fmt = FixedPoint(int(rng.choice([1, 5, 8, 16, 32])), int(rng.integers(-6, 12)), bool(rng.integers(2)))
    return Output(fmt, rounding, pick(rng, [Overflow.WRAP, Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC]), activation)


def layer_of(rng: np.random.Generator, contract: FloatMacContract, connected: bool):
    groups = 1 if connected else int(rng.choice([1, 1, 3]))
    channels, kernel = 3 if groups == 3 else 2, ((3, 2), (2, 1), (1, 1))[int(rng.integers(3))]
    shape = (channels, 3 * 5 * 2) if connected else (channels, 3 // groups, *kernel)
    if isinstance(contract.weight, FixedPoint) and rng.random() < 0.5:
        lengths = tuple(int(contract.weight.fl()) + int(i) for i in rng.integers(-4, 4, size=channels))
        contract = replace(contract, weight=replace(contract.weight, fractional_length=lengths))
    weight = words(rng, contract.weight, shape, finite=True)
    bias = words(rng, contract.bias_format(channels), (channels,), finite=True) if rng.random() < 0.8 else None
    if connected:
        return FullyConnected(contract, weight, bias), (2, 3, 5, 2)
    stride, pad, dilation = (pick(rng, [(1, 1), (2, 1), (1, 3)]), pick(rng, [(0, 0), (1, 2)]), pick(rng, [(1, 1), (1, 2)]))
    return Convolution(contract, weight, bias, stride, pad, dilation, groups), (2, 3, 4, 5)


@cache
def float_case(number: int, plain: bool = False) -> Case:
    """Return the case of that number; biases that a register's format cannot hold are drawn again.

    plain: a register that rounds ties to even, one product after the other: what a processor's own floats may compute.
    """
    name = f"{'plain ' if plain else ''}float case {number}"
    rng = generator(name)
    while True:
        x = pick(rng, FLOATS + FIXED)
        w = pick(rng, FLOATS + (POWERS + FIXED if rng.random() < 0.5 else []))
        bias = pick(rng, [None, None, catalog.BINARY32, catalog.E4M3, catalog.BINARY16, FixedPoint(16, 7), FixedPoint(32, 40)])
        accumulator = accumulation(rng)
        if plain:
            schedule = Schedule(pick(rng, list(Order)), bias=pick(rng, list(BiasPoint)))
            accumulator = FloatAccumulator(pick(rng, REGISTERS), schedule=schedule)
        contract = FloatMacContract(x, w, output_of(rng), accumulator, bias, pick(rng, list(Rounding)))
        try:
            layer, shape = layer_of(rng, contract, connected=rng.random() < 0.2)
        except ContractError as refused:
            assert "beyond the largest number" in str(refused)
            continue
        return Case(name, layer, (words(rng, x, shape, finite=False).astype(x.dtype),))
