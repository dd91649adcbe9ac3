"""Certificates against brute force: every input of a small layer, every output."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import (
    Accumulator,
    Axis,
    BiasPoint,
    MacContract,
    Output,
    PaddedTaps,
    RoundAt,
    Schedule,
    Spill,
    Tail,
    Tree,
    ZeroSkip,
)
from hwsim.errors import ContractError
from hwsim.execute.single import Conv2d, Linear, run_layer
from hwsim.formats import FixedPoint
from hwsim.layers import Shape
from hwsim.proofs import skips
from hwsim.proofs.certificate import InputRange
from hwsim.proofs.narrow import with_width
from hwsim.proofs.prove import prove
from oracles import overflow as oracle
from oracles.generate import seeds
from oracles.overflow_cases import Small, Steps, small_layers


def of(small: Small):
    return prove(small.layer, small.shape, InputRange(np.array(small.low), np.array(small.high)))


def registers(proof):
    """(name, proven ends, register of brute force) by register."""
    yield "accumulator", proof.accumulator, lambda r: r.accumulator
    for level, ends in enumerate(proof.tree):
        yield f"tree {level}", ends, lambda r, level=level: r.tree[level]
    if proof.spill is not None:
        yield "spill", proof.spill, lambda r: r.spill


def agree(small: Small, proof, trees: bool = True) -> None:
    """The ends are those of brute force, at a place where some input reaches them first; or, where not tight, contain them."""
    found = oracle.brute_force(*small)
    for name, ends, chosen in registers(proof):
        for k, asked in enumerate(map(chosen, found)):
            proven = int(ends.low[k]), int(ends.high[k])
            assert proven[0] <= asked.low and asked.high <= proven[1], (name, k, proven, asked)
            if not proof.tight[k] or name.startswith("tree") and not trees:
                continue
            assert proven == (asked.low, asked.high), (name, k, proven, asked)
            assert tuple(ends.low_at[k].tolist()) in asked.low_at, (name, k, ends.low_at[k], asked)
            assert tuple(ends.high_at[k].tolist()) in asked.high_at, (name, k, ends.high_at[k], asked)


@settings(max_examples=150)
@given(small_layers(Steps.SKIPPING))
def test_the_ends_are_those_of_brute_force_where_what_is_read_decides_what_meets(small):
    agree(small, of(small))


def test_a_tap_that_delays_a_spill_does_not_read_zero():
    """Were a zero a step, 9 would wrap to 1 behind it, and 18 more would make 19; as it is, 1 less or more wraps to 0 or -2."""
    s8, spill = FixedPoint(8, 0), Spill(every=2, bits=2)
    acc = Accumulator(8, schedule=Schedule(skip_zeros=ZeroSkip.INPUT, spill=spill))
    contract = MacContract(FixedPoint(2, 0), s8, Output(s8), acc)
    small = Small(Linear().layer(np.array([[1, -9, -9, -9]]), contract), Shape(4, 1, 1), [-1] * 4, [1] * 4)
    proof = of(small)
    agree(small, proof)
    assert proof.accumulator.high.item() == 18


def test_an_output_at_the_border_may_ask_for_more_than_one_inside():
    """Inside, 1 + 5 is clipped to 3 before 5 more come; at the left border 5 + 5 end before any spill."""
    u1, s8, spill = FixedPoint(1, 0, signed=False), FixedPoint(8, 0), Spill(every=2, bits=3, overflow=Overflow.SATURATE)
    acc = Accumulator(8, schedule=Schedule(padded=PaddedTaps.SKIPPED, spill=spill))
    layer = Conv2d(pad=(0, 1)).layer(np.array([[[[1, 5, 5]]]]), MacContract(u1, s8, Output(s8), acc))
    small = Small(layer, Shape(1, 1, 3), [0], [1])
    proof = of(small)
    agree(small, proof)
    assert (proof.accumulator.high.item(), proof.accumulator.high_at.tolist()) == (10, [[0, 0, 1]])


@settings(max_examples=150)
@given(small_layers(Steps.SKIPPING))
def test_phases_reach_the_ends_of_brute_force_without_any_pattern(small):
    """As in a layer of more taps than patterns can be gone through."""
    ranges = InputRange(np.array(small.low), np.array(small.high))
    with mock.patch.object(skips, "PATTERNS", -1):
        agree(small, prove(small.layer, small.shape, ranges), trees=False)


def test_a_symmetric_register_lacks_the_lowest_code_and_every_register_holds_its_bias():
    """-8 needs five bits where four have -7..7; a bias of 9 that comes last is loaded by no step, and must fit all the same."""
    u1, s8 = FixedPoint(1, 0, signed=False), FixedPoint(8, 0)
    symmetric = Accumulator(8, overflow=Overflow.SATURATE_SYMMETRIC)
    last = Accumulator(8, schedule=Schedule(bias=BiasPoint.LAST))
    for acc, weight, bias, low, bits in ((symmetric, -8, 0, 0, 5), (symmetric, -7, 0, 0, 4), (last, -4, 9, 1, 5)):
        layer = Linear().layer(np.array([[weight]]), MacContract(u1, s8, Output(s8), acc), np.array([bias]))
        proof = of(Small(layer, Shape(1, 1, 1), [low], [1]))
        assert proof.bits.tolist() == [bits]
        x = np.ones((1, 1, 1, 1), dtype=np.uint8)
        assert events(with_width(layer, bits), x) == 0
        if bias:
            with pytest.raises(ContractError, match="bias: codes reach 9"):
                with_width(layer, bits - 1)
        else:
            assert events(with_width(layer, bits - 1), x) == 1


def test_a_buffer_that_is_made_narrower_clips_nothing():
    """-4 stands in a symmetric buffer of eight bits, and in one of three, as the accumulator has: then 7 more make 3."""
    u1, s8 = FixedPoint(1, 0, signed=False), FixedPoint(8, 0)
    acc = Accumulator(8, schedule=Schedule(spill=Spill(every=1, bits=8, overflow=Overflow.SATURATE_SYMMETRIC)))
    layer = Linear().layer(np.array([[-4, 7]]), MacContract(u1, s8, Output(s8), acc))
    proof = of(Small(layer, Shape(2, 1, 1), [1, 0], [1, 1]))
    assert proof.bits.tolist() == [3]
    assert events(with_width(layer, 3), np.ones((1, 2, 1, 1), dtype=np.uint8)) == 0


def test_sums_beyond_int64_are_proven_too():
    """Three products of 2**61 and the largest bias of 64 bits need 65; a buffer of 64 bits that wraps, and 2**61 more, too."""
    u1, s8, bias = FixedPoint(1, 0, signed=False), FixedPoint(8, 0), np.array([(1 << 63) - 1])
    plain = Linear().layer(np.array([[1, 1, 1]]), MacContract(u1, s8, Output(FixedPoint(8, 61)), Accumulator(64, 61)), bias)
    spill = Schedule(spill=Spill(every=1, bits=63, shift=1, rounding=Rounding.CEIL))
    wraps = MacContract(u1, s8, Output(FixedPoint(8, 61)), Accumulator(64, 61, schedule=spill))
    for layer in (plain, Linear().layer(np.array([[1, 1, -1]]), wraps, np.array([-1]))):
        small = Small(layer, Shape(3, 1, 1), [0] * 3, [1] * 3)
        agree(small, of(small))
    assert prove(plain, Shape(3, 1, 1)).bits.tolist() == [65]


def test_bounds_leave_room_for_every_rounding_and_for_what_wraps():
    """Pairs of ones, each a half rounded up, make 2 where all of them make 1; 1 + 1 wraps to -2 in a buffer of two bits."""
    u1, s8 = FixedPoint(1, 0, signed=False), FixedPoint(8, 0)
    packed = Schedule(lanes=2, lane_axis=Axis.S, tail=Tail.PACKED, skip_zeros=ZeroSkip.INPUT)
    halves = Accumulator(8, dropped_bits=2, rounding=Rounding.CEIL, round_at=RoundAt.STEP, schedule=packed)
    spilled = Accumulator(8, schedule=Schedule(skip_zeros=ZeroSkip.INPUT, spill=Spill(every=1, bits=2, last=True)))
    for acc, ends in ((halves, (0, 2)), (spilled, (-2, 2))):
        small = Small(Linear().layer(np.array([[1] * 4]), MacContract(u1, s8, Output(s8), acc)), Shape(1, 1, 4), [0], [1])
        proof = prove(small.layer, small.shape, enumerated=0)
        agree(small, proof)
        exact = of(small).accumulator
        assert not proof.tight.any() and (exact.low.item(), exact.high.item()) == ends


def test_bounds_hold_a_level_behind_one_that_wraps_and_a_sum_before_a_bias_that_comes_last():
    """3 leaves a level of two bits as -1, which the next one is asked for; 4 ones are 4 before -1 comes last."""
    u2, s8 = FixedPoint(2, 0, signed=False), FixedPoint(8, 0)
    packed = Schedule(lanes=3, lane_axis=Axis.S, tail=Tail.PACKED, bias=BiasPoint.LAST, skip_zeros=ZeroSkip.INPUT)
    wraps = replace(packed, tree=Tree(bits=(2, 2), overflow=Overflow.WRAP))
    for schedule, count, most in ((wraps, 1, 3), (packed, 4, 1)):
        contract = MacContract(u2, s8, Output(s8), Accumulator(8, schedule=schedule))
        layer = Linear().layer(np.array([[1] * count]), contract, np.array([-1]))
        small = Small(layer, Shape(1, 1, count), [0], [most])
        proof = prove(layer, small.shape, InputRange(np.array([0]), np.array([most])), enumerated=0)
        agree(small, proof)
        assert proof.tight.all() == (schedule is packed)


@settings(max_examples=300)
@given(small_layers())
def test_the_ends_of_every_register_are_those_of_brute_force(small):
    agree(small, of(small))


@settings(max_examples=30)
@given(small_layers(Steps.NONE))
def test_the_ends_of_a_sum_without_an_order_are_those_of_brute_force(small):
    agree(small, of(small))


@settings(max_examples=120)
@given(small_layers() | small_layers(Steps.SKIPPING))
def test_bounds_that_nothing_was_enumerated_for_contain_brute_force_and_are_it_where_said_so(small):
    ranges = InputRange(np.array(small.low), np.array(small.high))
    agree(small, prove(small.layer, small.shape, ranges, enumerated=0), trees=False)


def events(layer, *images):
    """Accumulator events of some inputs, in the specification and in what runs at full speed alike."""
    x = np.concatenate(images)
    counted = {backend: run_layer(layer, x, backend=backend).events for backend in ("spec", "auto")}
    assert counted["spec"] == counted["auto"]
    return counted["spec"].accumulator


@settings(max_examples=60)
@given(small_layers() | small_layers(Steps.NONE), seeds)
def test_no_input_overflows_the_width_and_one_overflows_a_bit_less(small, seed):
    layer, shape, low, high = small
    assume(not any_trap(layer))
    proof = of(small)
    found = oracle.brute_force(*small)
    assume(proof.tight.all() and proof.layer_bits <= 64)
    mode = layer.contract.accumulator.overflow
    ends = [oracle.image(shape, codes, low) for r in found for codes in (r.accumulator.low_codes, r.accumulator.high_codes)]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(np.array(low)[:, None, None], np.array(high)[:, None, None], (8, *shape), endpoint=True)
    assert events(with_width(layer, proof.layer_bits), *ends, drawn) == 0
    if proof.layer_bits == 2:
        return
    needs = max(oracle.width(min(b, 0), max(b, 0), mode) for k in range(layer.channels) for b in [oracle.bias_of(layer, k)])
    if needs == proof.layer_bits:
        with pytest.raises(ContractError, match="bias"):
            with_width(layer, proof.layer_bits - 1)
    else:
        assert events(with_width(layer, proof.layer_bits - 1), *ends) > 0


def any_trap(layer) -> bool:
    """Whether a run may stop before it has counted."""
    acc = layer.contract.accumulator
    modes = [acc.overflow]
    if acc.schedule is not None:
        modes += [acc.schedule.tree.overflow, acc.schedule.spill and acc.schedule.spill.overflow]
    return Overflow.TRAP in modes
