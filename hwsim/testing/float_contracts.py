"""Contracts with a minifloat among their operands, or a register of minifloats."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.contract import (
    Activation,
    Axis,
    BiasPoint,
    ExactSum,
    FloatAccumulator,
    FloatMacContract,
    FloatOutput,
    Order,
    Output,
    PaddedTaps,
    Schedule,
    Tail,
    Tree,
    ZeroSkip,
)
from hwsim.formats import FixedPoint, Minifloat, catalog
from hwsim.testing.strategies import fixed_formats, minifloat_formats, pow2_formats
from hwsim.testing.wishes import Wishes, clipped, draw_from


def float_contract(draw: DrawFn, wishes: Wishes) -> FloatMacContract:
    """At least one operand is a minifloat, or the register is."""
    floats = minifloat_formats(clipped(wishes.min_bits, 4, 16), clipped(wishes.max_bits, 4, 16))
    fixed = fixed_formats(wishes.min_bits, wishes.max_bits)
    which = draw(st.integers(0, 7))
    x: Any = wishes.input or draw(fixed if which == 6 else floats)
    others = {5: fixed_formats(wishes.min_bits, wishes.max_bits, channels=wishes.channels), 7: pow2_formats()}
    weight: Any = draw(others.get(which, floats))
    accumulator = ExactSum() if draw(st.integers(0, 2)) == 0 else _float_accumulator(draw, wishes, floats)
    if draw(st.integers(0, 2)) < 2:
        output: Any = FloatOutput(draw(floats), draw_from(draw, wishes.roundings), draw_from(draw, Activation))
    else:
        output = _staged_fixed(draw, wishes)
    bias = draw_from(draw, (None, None, catalog.BINARY16, FixedPoint(16, 7))) if wishes.own_bias else None
    return FloatMacContract(x, weight, output, accumulator, bias, draw_from(draw, wishes.roundings))


def _staged_fixed(draw: DrawFn, wishes: Wishes) -> Output:
    fmt = draw(fixed_formats(2, 16))
    overflows = [mode for mode in (Overflow.SATURATE, *wishes.overflow) if mode in wishes.overflow]
    return Output(fmt, draw_from(draw, wishes.roundings), draw_from(draw, overflows), draw_from(draw, Activation))


def _float_accumulator(draw: DrawFn, wishes: Wishes, floats: SearchStrategy[Minifloat]) -> FloatAccumulator:
    named = (catalog.BINARY16, catalog.BFLOAT16, catalog.BINARY32, catalog.E5M2, catalog.E4M3)
    register, product = draw(st.sampled_from(named) | floats), draw(st.none() | st.sampled_from(named[:1]) | floats)
    order, lanes, tail = draw_from(draw, Order), draw(st.integers(1, wishes.max_lanes)), draw_from(draw, (Tail.IDLE, Tail.PACKED))
    axis = draw_from(draw, Axis) if tail is Tail.IDLE else Axis[order.name[-1]]
    rules = (draw_from(draw, BiasPoint), draw_from(draw, PaddedTaps), draw_from(draw, ZeroSkip))
    schedule = Schedule(order, lanes, axis, tail, Tree(draw_from(draw, Pairing)), *rules)
    roundings = draw_from(draw, wishes.roundings), draw_from(draw, wishes.roundings)
    return FloatAccumulator(register, roundings[0], product, roundings[1], schedule)
