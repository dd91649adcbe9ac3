"""The table of steps: every tap once, as many steps as told, and no table out of proportion."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, Axis, MacContract, Order, Output, Schedule, Tail, Tree
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint

extents = st.integers(1, 7)


@given(st.sampled_from(Order), st.integers(1, 9), st.sampled_from(Axis), st.sampled_from(Tail), extents, extents, extents)
def test_every_tap_is_taken_once_in_the_steps_that_are_told(order, lanes, axis, tail, c, r, s):
    assume(tail is Tail.IDLE or lanes == 1 or axis.value == order.value[-1])
    schedule = Schedule(order, lanes, axis, tail)
    table = schedule.table(c, r, s)
    assert table.shape == (schedule.steps(c, r, s), lanes)
    assert sorted(tap for tap in table.ravel().tolist() if tap >= 0) == list(range(c * r * s))


def test_idle_lanes_out_of_proportion_are_refused_before_the_table_is_made():
    with pytest.raises(ContractError, match="found 4096 along R with 25088 x 1 x 1 taps, most of them idle"):
        Schedule(lanes=4096, lane_axis=Axis.R).table(25088, 1, 1)


def test_a_derived_tree_level_is_a_register_of_two_bits_at_least():
    """Products that all round to zero need one bit, and no register is that narrow."""
    s2 = FixedPoint(2, 0)
    acc = Accumulator(4, dropped_bits=3, rounding=Rounding.TOWARD_ZERO, schedule=Schedule(lanes=2))
    assert MacContract(s2, s2, Output(FixedPoint(8, 0)), acc).exact_level_bits == (2,)


def test_a_derived_tree_level_without_the_lowest_code_is_as_wide_as_its_sums_need():
    """-1 - 1 is the code that a symmetric register of two bits lacks, so that it would clip what is derived never to clip."""
    s1, u1 = FixedPoint(1, 0), FixedPoint(1, 0, signed=False)
    for overflow, bits in ((Overflow.SATURATE, 2), (Overflow.SATURATE_SYMMETRIC, 3)):
        acc = Accumulator(16, schedule=Schedule(lanes=2, tree=Tree(overflow=overflow)))
        assert MacContract(s1, u1, Output(FixedPoint(8, 0)), acc).exact_level_bits == (bits,)
