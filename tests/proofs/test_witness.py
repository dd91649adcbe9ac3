"""Witnesses of layers that can be counted through by hand: entries, steps, kinds, outputs, and reasons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hwsim
from hwsim.arith.accumulate import Pairing, Place
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, BiasPoint, MacContract, Output, RoundAt, Schedule, Spill, Tree
from hwsim.errors import ContractError, OverflowTrap
from hwsim.execute.single import Conv2d, Linear
from hwsim.formats import FixedPoint
from hwsim.layers import MacLayer, Shape
from hwsim.proofs.certificate import InputRange
from hwsim.proofs.endings import BUDGET
from hwsim.proofs.fewest import fewest
from hwsim.proofs.machine import Machine
from hwsim.proofs.prove import prove
from hwsim.proofs.reference import with_room
from hwsim.proofs.search import search
from hwsim.proofs.site import sites
from hwsim.proofs.witness import find_witness, witnesses

S8 = FixedPoint(8, 0)


def linear(weights: list[int], acc: Accumulator, fl: int = 0, bias: list[int] | None = None, out: Overflow = Overflow.SATURATE):
    """A layer of one output, whose output drops -fl bits."""
    contract = MacContract(S8, S8, Output(FixedPoint(8, fl), overflow=out), acc)
    return Linear().layer(np.array([weights]), contract, None if bias is None else np.array(bias))


def of(layer: MacLayer, place: Place = Place.ACCUMULATOR):
    return find_witness(layer, Shape(layer.weight.shape[1], 1, 1), place=place)


SATURATE = Accumulator(15, overflow=Overflow.SATURATE)


def test_a_sum_that_only_meets_the_limit_is_no_overflow():
    unsigned = replace(linear([1], Accumulator(12)).contract, input=FixedPoint(8, 0, False), output=Output(FixedPoint(8, -3)))
    found = of(Linear().layer(np.ones((1, 60), dtype=np.int64), unsigned, np.array([2047 - 5 * 255])))
    assert (found.nonzeros, found.fewest, found.asked) == (6, True, 2047 + 255), "five of them fill the register"


def test_a_late_bias_makes_a_transient_step_and_a_last_one():
    late = Schedule(bias=BiasPoint.LAST)
    found = of(linear([100, 100], Accumulator(15, overflow=Overflow.SATURATE, schedule=late), bias=[-10000]))
    assert (found.step, found.asked, found.kind, found.nonzeros, found.fewest) == (2, -22800, "persistent", 1, True)
    other = found.transient
    assert (other.step, other.asked, other.kind, other.nonzeros) == (1, 25400, "transient", 2)
    found = of(linear([100, 1], Accumulator(15, overflow=Overflow.SATURATE, schedule=late), bias=[10000]))
    assert (found.step, found.asked, found.kind, found.nonzeros) == (2, 22700, "persistent", 1)


def test_a_wrap_on_the_way_is_forgotten():
    late = Schedule(bias=BiasPoint.LAST)
    unsigned = replace(linear([100, 100], Accumulator(16, schedule=late), bias=[-20000]).contract, input=FixedPoint(8, 0, False))
    found = of(replace(linear([100, 100], Accumulator(16, schedule=late)), contract=unsigned, bias=np.array([-20000])))
    assert found.kind == "transient" and found.visible is None
    assert "every end fits" in found.reason and found.acc == found.wide_acc and found.asked == 51000


def test_an_output_that_wraps_hides_what_wrapped_above_it():
    hidden = of(linear([100, 100], Accumulator(15), fl=-7, out=Overflow.WRAP))
    assert "keeps nothing but the lowest 15 bits" in hidden.reason and hidden.code == hidden.wide_code
    assert of(linear([100, 100], Accumulator(15), fl=-8, out=Overflow.WRAP)).visible.differs, "bit 15 is lost"
    assert of(linear([64] * 4, SATURATE, out=Overflow.WRAP)).visible.differs, "both ends, -32768 and 32512, make code 0"


def test_no_order_has_no_step_and_no_transient_event():
    found = of(linear([100, 100, -100], Accumulator(15)))
    assert found.step is None and found.persistent and found.other is None and found.transient is None


def test_a_peak_that_comes_back_shows_where_the_limit_alone_does_not():
    found = of(linear([100, 100, 100, -100, -100], SATURATE, fl=-6))
    assert not found.differs and found.code == found.wide_code == 127
    assert found.verdict == "the output code is 126, and 127 with room (3 non-zero entries)" == found.visible.verdict
    assert found.other.verdict == "the output code of this input is the same with room"
    assert found.visible.differs and found.visible.nonzeros == 3, "16383 >> 6 is beyond 127, until 8256 are taken back"
    assert found.other.kind == "transient"


def test_a_trap_leaves_no_output_to_compare():
    found = of(linear([100, 100], replace(SATURATE, overflow=Overflow.TRAP)))
    assert "TRAP" in found.reason and found.visible is None
    with pytest.raises(OverflowTrap, match=r"\(0, 0, 0, 0\), step 1"):
        hwsim.run_layer(found.layer, found.inputs)
    assert found.trace("spec").acc.item() == found.acc, "a trace goes on, and wraps"


def test_an_output_that_no_content_moves_is_a_reason():
    found = of(linear([100, 100], SATURATE, fl=-20))
    assert "every content that either accumulator can end with makes the same output code, 0" in found.reason
    assert "no output can differ" in found.verdict


def test_a_clip_that_nothing_follows_is_a_reason():
    found = of(linear([-1, 100, 100], SATURATE))
    assert "after a clip at 16383 the sum moves back by 0 at most" in found.reason


def test_levels_of_the_tree_and_the_spill_buffer_have_witnesses():
    tree = Schedule(lanes=4, tree=Tree(bits=(14, 17), overflow=Overflow.SATURATE))
    found = of(linear([20, 90, 90, 20, 20, 90, 90, 91], Accumulator(24, schedule=tree), fl=-8), Place.TREE)
    assert (found.place, found.step, found.nonzeros, found.inputs.ravel().nonzero()[0].tolist()) == ("tree", 0, 1, [1])
    assert (found.asked, found.acc, found.wide_acc, found.code, found.wide_code) == (11430, 8191, 11430, 32, 45)
    spill = Schedule(spill=Spill(2, 15))
    found = of(linear([100, 90, 90, 100, 100], Accumulator(24, schedule=spill), fl=-8), Place.SPILL)
    assert (found.place, found.step, found.asked, found.nonzeros, found.fewest) == ("spill", 3, 25400, 2, True)
    assert found.visible.wide_acc - found.visible.acc == 1 << 15
    coarse = Schedule(spill=Spill(2, 12, 3))
    found = of(linear([100, 90, 90, 100, 100], Accumulator(24, schedule=coarse), fl=-8), Place.SPILL)
    assert (found.step, found.asked, found.nonzeros) == (3, 3176, 2), "(1588 * 8 + 12700) / 8 on the buffer's grid"


def test_a_single_tap_and_a_late_bias_are_enumerated():
    acc = Accumulator(14, overflow=Overflow.SATURATE, schedule=Schedule(bias=BiasPoint.LAST))
    found = of(linear([50], acc, fl=-6, bias=[5000]))
    assert (found.step, found.asked, found.nonzeros, found.visible) == (1, 8200, 1, None), "64 * 50 + 5000, of which 8191 is held"
    assert "makes the same output code, 127" in found.reason


def test_halves_and_chains_meet_as_the_tree_pairs_them():
    halves = Tree(Pairing.HALVES, (15, 18), Overflow.WRAP)
    found = of(linear([90, 1, 90, 1], Accumulator(24, schedule=Schedule(lanes=4, tree=halves)), fl=-8), Place.TREE)
    assert found.inputs.ravel().nonzero()[0].tolist() == [0, 2] and found.fewest
    chain = Tree(Pairing.CHAIN, (20, 15, 20), Overflow.SATURATE)
    found = of(linear([90, 1, 90, 99], Accumulator(24, schedule=Schedule(lanes=4, tree=chain)), fl=-8), Place.TREE)
    assert found.inputs.ravel().nonzero()[0].tolist() == [0, 2] and found.fewest, "the second level adds the third lane"


def searched(layer: MacLayer, up: bool) -> tuple[int, int]:
    """(entries found, bound) of the accumulator's overflow on one side."""
    shape = Shape(layer.weight.shape[1], 1, 1)
    machine = Machine(next(sites(layer, shape, InputRange.of(layer, shape), 0)), layer.integer)
    found, bound = fewest(machine, Place.ACCUMULATOR, up)
    return found.taps, bound


def test_the_bound_rounds_every_share_away_from_zero():
    up = Accumulator(3, None, False, Overflow.SATURATE, 10, Rounding.CEIL, RoundAt.STEP, Schedule(lanes=2))
    assert searched(linear([1] * 8, up, fl=-10), True) == (4, 4), "a step of one entry is rounded up to 1, and 3 fit"


@pytest.mark.parametrize("point", BiasPoint)
def test_the_bound_starts_from_the_bias_and_ends_at_its_own_limit(point):
    acc = Accumulator(16, schedule=Schedule(bias=point))
    assert searched(linear([100] * 4, acc, bias=[20000]), True) == (2, 2)
    assert searched(linear([100] * 9, acc, bias=[20000]), False) == ((5, 5) if point is BiasPoint.FIRST else (3, 3))
    low = linear([100] * 20, Accumulator(17, schedule=Schedule(bias=point)), bias=[4 * 12800 - 65536])
    assert searched(low, False) == (5, 5), "four of them reach -65536, which fits; 4845 sets of four are too many to try"


def test_the_best_output_may_be_the_last_and_lie_at_the_border():
    weight = np.array([[[[1, 1, 1], [1, 90, 90], [1, 90, 1]]]])
    contract = linear([1], Accumulator(16)).contract
    for flipped in (weight, weight[:, :, ::-1], weight[:, :, :, ::-1], weight[:, :, ::-1, ::-1]):
        layer = Conv2d(pad=1).layer(flipped, contract)
        found = find_witness(layer, Shape(1, 2, 2))
        heavy = np.argwhere(flipped[0, 0] == 90).mean(axis=0) > 1
        assert found.at == (0, 0, int(not heavy[0]), int(not heavy[1])), "where the heavy taps read pixels"
        assert found.nonzeros == 3 and found.trace("spec").acc[found.at] == found.acc


S3 = FixedPoint(3, 0)


@pytest.mark.parametrize("budget", [BUDGET, 0])
def test_an_input_that_stops_the_run_elsewhere_shows_nothing(budget):
    trapping = Schedule(bias=BiasPoint.LAST, spill=Spill(2, 8, overflow=Overflow.TRAP))
    layer = linear([50, 0, 39], Accumulator(9, overflow=Overflow.SATURATE, schedule=trapping), bias=[35])
    layer = replace(layer, contract=replace(layer.contract, input=S3, output=Output(FixedPoint(16, 0))))
    proof = prove(layer, Shape(3, 1, 1))
    found = search(layer, with_room(proof, Place.ACCUMULATOR), proof, 0, Place.ACCUMULATOR, budget)
    assert found.visible is None, "only what wraps in the buffer, where it stops, goes beyond 100 + 117 + 35"
    assert found.first is not None and (found.reason or "").startswith("every input was tried") == (budget > 0)


def test_a_buffer_is_enumerated():
    held = Schedule(spill=Spill(2, 6, overflow=Overflow.SATURATE))
    layer = linear([10, 10, 10, 10], Accumulator(8, schedule=held))
    found = of(replace(layer, contract=replace(layer.contract, input=S3)), Place.SPILL)
    assert (found.step, found.nonzeros, found.fewest, found.code, found.wide_code) == (1, 1, True, -32, -40)


def test_a_buffer_that_clips_what_a_wide_accumulator_brings_is_no_order_free_sum():
    clips = Schedule(spill=Spill(2, 15, overflow=Overflow.SATURATE))
    found = of(linear([100, 100, 1], Accumulator(15, schedule=clips), out=Overflow.WRAP))
    assert found.visible.differs, "25400 wraps to -7368 without an event there, and a wide accumulator has it clipped to 16383"


def test_a_wrap_of_the_accumulator_may_hide_the_buffers_event():
    late = Schedule(spill=Spill(2, 14, overflow=Overflow.SATURATE))
    layer = linear([60] * 4, Accumulator(15, schedule=late))
    found = of(replace(layer, contract=replace(layer.contract, input=FixedPoint(8, 0, False))), Place.SPILL)
    assert (found.nonzeros, found.asked, found.fewest) == (1, 15300, True), "all four wrap past the buffer, to -2168"


def test_each_side_of_a_clip_needs_its_own_reason():
    layer = linear([100, 100], SATURATE)
    contract = replace(layer.contract, output=Output(FixedPoint(8, -8), clamp_high=50))
    found = of(replace(layer, contract=contract))
    assert found.visible.asked == -25600, "above 50 the output is clamped, below it moves"
    layer = linear([100, 100, 100, -50, -50], Accumulator(16, overflow=Overflow.SATURATE), fl=-7)
    found = of(replace(layer, contract=replace(layer.contract, input=FixedPoint(8, 0, False))))
    assert found.visible.nonzeros == 4, "no sum is clipped below, but what is clipped above may fall by 25500"


def test_a_tree_shows_by_its_own_events():
    tree = Schedule(lanes=2, tree=Tree(bits=(15,), overflow=Overflow.SATURATE))
    found = of(linear([100, 100], Accumulator(14, overflow=Overflow.SATURATE, schedule=tree), fl=-8), Place.TREE)
    assert found.visible.nonzeros == 2, "one entry overflows the accumulator alone"


def test_the_zero_point_costs_nothing_wherever_it_lies():
    from hwsim.formats import Affine

    contract = linear([100, 100, 3], Accumulator(16)).contract
    layer = Linear().layer(np.array([[100, 100, 3]]), replace(contract, input=Affine(8, 1.0, -128)))
    found = of(layer)
    assert found.nonzeros == 2 and found.inputs.ravel().tolist() == [127, 127, -128]


def test_every_register_and_every_channel_on_request():
    contract = replace(linear([1], SATURATE).contract, output=Output(FixedPoint(8, -8)))
    layer = Conv2d(pad=1).layer(np.full((3, 2, 3, 3), 50) * np.array([1, 0, -1])[:, None, None, None], contract)
    proof = prove(layer, Shape(2, 4, 5), name="conv")
    assert [w.at[1] for w in witnesses([proof], every_channel=True)] == [0, 2]
    (worst,) = witnesses([proof])
    assert worst.name == "conv" and worst.at == (0, 2, 1, 1), "the first output without padding; -128 * -50 is the larger product"
    assert find_witness(layer, Shape(2, 4, 5), proof, 1) is None
    with pytest.raises(ContractError, match="found output channel 3, allowed 0..2"):
        find_witness(layer, Shape(2, 4, 5), proof, 3)


def test_a_requantizer_that_takes_no_wider_register_is_named():
    from hwsim.arith.scale import Scaling
    from hwsim.contract import Multiplier

    scaling = Multiplier(Scaling.HIGH_MULTIPLY, 1 << 30, 40)
    s16 = FixedPoint(16, 0)
    contract = MacContract(s16, s16, Output(S8, hwsim.Rounding.TIES_AWAY, scaling=scaling), Accumulator(32))
    found = of(Linear().layer(np.array([[32767, 32767, 32767]]), contract))
    assert found.wide_acc is None and not found.differs
    assert found.reason is None and "32 bits" in found.refusal and "no wider register can be built" in found.verdict


def test_a_channel_that_shows_it_stands_for_the_layer() -> None:
    """Channel 0 asks for most, but its bias and ReLU make it 0 whatever it reads; channel 1 tells a narrow register."""
    s8 = FixedPoint(8, 0)
    output = Output(FixedPoint(16, -2, signed=False), activation=Activation.RELU_BEFORE_REQUANTIZE)
    contract = MacContract(s8, s8, output, Accumulator(14, overflow=Overflow.SATURATE))
    layer = Linear().layer(np.array([[-30, -30], [60, 10]]), contract, bias=np.array([-8000, 500]))
    found = find_witness(layer, Shape(2, 1, 1))
    assert found is not None and found.at[1] == 1 and found.visible is not None
    dead = find_witness(layer, Shape(2, 1, 1), channel=0)
    assert dead is not None and dead.visible is None and dead.reason is not None
