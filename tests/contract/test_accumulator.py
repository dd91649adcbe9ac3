"""An accumulator that cannot be built is refused where it is constructed: the field, what was found, what is allowed."""

import numpy as np
import pytest

from hwsim import contract
from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.arith.shift_add import SignOrder
from hwsim.contract import (
    Accumulator,
    Axis,
    BiasPoint,
    MacContract,
    Order,
    Output,
    RoundAt,
    Schedule,
    ShiftAdd,
    Spill,
    Tail,
    Tree,
)
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint, PowerOfTwo
from hwsim.layers import FullyConnected

S8, SATURATE = FixedPoint(8, 4), Overflow.SATURATE
POW2 = PowerOfTwo(-8, -1)


def mac(acc: Accumulator, weight=S8, product=None) -> MacContract:
    return MacContract(S8, weight, Output(S8), acc, product=product)


def fc(acc: Accumulator, codes=(1, 1, 0, 0), weight=S8, bias=None) -> FullyConnected:
    return FullyConnected(mac(acc, weight), np.array([codes]), None if bias is None else np.array([bias]))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Accumulator(16, overflow=1), ["Accumulator.overflow", "found 1", "WRAP, SATURATE, SATURATE_SYMMETRIC, TRAP"]),
        (lambda: Accumulator(16, overflow="wrap"), ["Accumulator.overflow", "'wrap'", "SATURATE"]),
        (lambda: Accumulator(True), ["Accumulator.bits", "found True", "2..64"]),
        (lambda: Accumulator(16, dropped_bits=-1), ["Accumulator.dropped_bits", "found -1", "0..62"]),
        (lambda: Accumulator(16, dropped_bits=63), ["Accumulator.dropped_bits", "found 63", "0..62"]),
        (
            lambda: Accumulator(16, 4, dropped_bits=1),
            ["Accumulator.dropped_bits", "found 1", "fractional_length", "one of the two"],
        ),
        (lambda: Accumulator(16, rounding=8), ["Accumulator.rounding", "found 8", "TIES_EVEN"]),
        (lambda: Accumulator(16, round_at="step"), ["Accumulator.round_at", "'step'", "PRODUCT, STEP"]),
        (lambda: Accumulator(16, schedule=Order.CRS), ["Accumulator.schedule", "Order.CRS", "allowed Schedule"]),
        (lambda: Schedule("CRS"), ["Schedule.order", "'CRS'", "CRS, CSR, RCS, RSC, SCR, SRC"]),
        (lambda: Schedule(lanes=0), ["Schedule.lanes", "found 0", "1..4096"]),
        (lambda: Schedule(lanes=4097), ["Schedule.lanes", "found 4097", "1..4096"]),
        (lambda: Schedule(lanes=2.0), ["Schedule.lanes", "found 2.0", "1..4096"]),
        (lambda: Schedule(lane_axis="C"), ["Schedule.lane_axis", "'C'", "Axis: C, R, S"]),
        (lambda: Schedule(tail="idle"), ["Schedule.tail", "'idle'", "PACKED, IDLE"]),
        (lambda: Schedule(tree=Pairing.CHAIN), ["Schedule.tree", "Pairing.CHAIN", "allowed Tree"]),
        (lambda: Schedule(bias=1), ["Schedule.bias", "found 1", "FIRST, LAST"]),
        (lambda: Schedule(padded=True), ["Schedule.padded", "found True", "STEPS, SKIPPED"]),
        (lambda: Schedule(skip_zeros=True), ["Schedule.skip_zeros", "found True", "NONE, INPUT, WEIGHT, EITHER"]),
        (lambda: Schedule(spill=4), ["Schedule.spill", "found 4", "allowed Spill"]),
        (
            lambda: Schedule(Order.CRS, 2, Axis.C, Tail.PACKED),
            [
                "Schedule.tail",
                "found PACKED",
                "lanes along C in order CRS",
                "allowed where the lane axis is the last",
                "lane_axis S",
            ],
        ),
        (lambda: Schedule(lanes=4, tree=Tree(bits=(16,))), ["Schedule.tree.bits", "found 1 widths for 4 lanes", "allowed 2"]),
        (
            lambda: Schedule(lanes=4, tree=Tree(Pairing.CHAIN, (16, 16))),
            ["Schedule.tree.bits", "found 2 widths for 4 lanes", "allowed 3"],
        ),
        (lambda: Tree(1), ["Tree.pairing", "found 1", "ADJACENT, HALVES, CHAIN"]),
        (lambda: Tree(bits=16), ["Tree.bits", "found 16", "a width for each level, or None"]),
        (lambda: Tree(bits=(16, 1)), ["Tree.bits[1]", "found 1", "2..62"]),
        (lambda: Tree(bits=(63,)), ["Tree.bits[0]", "found 63", "2..62"]),
        (lambda: Tree(overflow=3), ["Tree.overflow", "found 3", "TRAP"]),
        (lambda: Spill(0, 8), ["Spill.every", "found 0", "1..16777216"]),
        (lambda: Spill(1, 1), ["Spill.bits", "found 1", "2..64"]),
        (lambda: Spill(1, 65), ["Spill.bits", "found 65", "2..64"]),
        (lambda: Spill(1, 8, -1), ["Spill.shift", "found -1", "0..62"]),
        (lambda: Spill(1, 8, 57), ["Spill.shift", "found 57 with 8 bits", "allowed at most 56"]),
        (lambda: Spill(1, 8, rounding="even"), ["Spill.rounding", "'even'", "TIES_EVEN"]),
        (lambda: Spill(1, 8, overflow=1), ["Spill.overflow", "found 1", "SATURATE"]),
        (lambda: Spill(1, 8, last=1), ["Spill.last", "found 1", "True or False"]),
        (
            lambda: Accumulator(16, schedule=Schedule(spill=Spill(4, 17))),
            ["Spill.bits", "found 17", "wider than the accumulator", "allowed 2..16"],
        ),
        (lambda: mac(Accumulator(), product=ShiftAdd(1)), ["MacContract.product", "ShiftAdd", "allowed None"]),
        (
            lambda: mac(Accumulator(), POW2, SignOrder.AFTER_ROUNDING),
            ["MacContract.product", "AFTER_ROUNDING", "allowed ShiftAdd"],
        ),
        (
            lambda: mac(Accumulator(), PowerOfTwo(0, 50), ShiftAdd(6)),
            ["ShiftAdd.guard_bits", "found 6", "8 bits and 2**50", "at most 5"],
        ),
        (
            lambda: mac(Accumulator(schedule=Schedule(lanes=4, tree=Tree(bits=(17, 17))))),
            ["Schedule.tree.bits[1]", "found 17 without an overflow mode", "allowed from 18", "Tree.overflow"],
        ),
        (
            lambda: mac(Accumulator(schedule=Schedule(lanes=2, tree=Tree(bits=(15,))), dropped_bits=1)),
            ["Schedule.tree.bits[0]", "found 15 without an overflow mode", "allowed from 16"],
        ),
        (lambda: fc(Accumulator(16, 12, schedule=Schedule()), bias=1 << 15), ["bias", "32768", "-32768..32767"]),
        (
            lambda: fc(Accumulator(8, overflow=Overflow.SATURATE_SYMMETRIC), bias=-128),
            ["bias 0 is -128", "8 bits do not hold"],
        ),
        (
            lambda: fc(Accumulator(64, 8 + 55, schedule=Schedule(lanes=4, tree=Tree(bits=(8, 9), overflow=Overflow.WRAP)))),
            ["Schedule.tree.bits", "9 bits leave 64 bits after a left shift of 55", "nearer to 8"],
        ),
        (
            lambda: fc(Accumulator(64, schedule=Schedule(lanes=3)), (54, 54, 54), PowerOfTwo(0, 53)),
            ["Schedule.tree", "need 63 bits", "allowed are 62", "take one lane"],
        ),
    ],
)
def test_an_accumulator_refuses_in_one_sentence(build, said):
    with pytest.raises(ContractError) as caught:
        build()
    message = str(caught.value)
    for part in said:
        assert part in message
    assert "\n" not in message and message.endswith(".")


def test_what_lies_just_within_is_taken():
    Accumulator(2, overflow=SATURATE, dropped_bits=62)
    Accumulator(16, schedule=Schedule(spill=Spill(1 << 24, 16, 48)))
    Schedule(Order.CRS, 2, Axis.S, Tail.PACKED)
    Schedule(Order.CRS, 1, Axis.C, Tail.PACKED)  # a single lane has no tail
    mac(Accumulator(schedule=Schedule(lanes=4, tree=Tree(bits=(17, 18)))))
    mac(Accumulator(schedule=Schedule(lanes=4, tree=Tree(bits=(2, 2), overflow=SATURATE))))
    mac(Accumulator(schedule=Schedule(lanes=2, tree=Tree(bits=(16,))), dropped_bits=1))
    mac(Accumulator(), PowerOfTwo(0, 50), ShiftAdd(5))
    fc(Accumulator(64, 8 + 54, schedule=Schedule(lanes=4, tree=Tree(bits=(8, 9), overflow=Overflow.WRAP))))
    fc(Accumulator(64, schedule=Schedule(lanes=2)), (54, 1), PowerOfTwo(0, 53))
    fc(Accumulator(64, schedule=Schedule()), (54, 54, 54), PowerOfTwo(0, 53))  # one lane has no tree


@pytest.mark.parametrize(
    "acc",
    [
        Accumulator(16, overflow=SATURATE),
        Accumulator(16, overflow=SATURATE, dropped_bits=3, rounding=Rounding.FLOOR, round_at=RoundAt.STEP),
        Accumulator(
            20,
            5,
            schedule=Schedule(
                Order.RSC, 4, Axis.C, Tail.PACKED, Tree(Pairing.HALVES, (17, 18), SATURATE), BiasPoint.LAST, spill=Spill(9, 12, 2)
            ),
        ),
    ],
)
def test_a_repr_rebuilds_the_accumulator(acc):
    text = repr(acc)
    for kind in (Overflow, Rounding, Pairing):
        for value in kind:
            text = text.replace(repr(value), f"{kind.__name__}({int(value)})")
    assert eval(text, {**vars(contract), "Overflow": Overflow, "Rounding": Rounding, "Pairing": Pairing}) == acc


def test_a_mode_that_needs_an_order_gets_one_and_wrap_alone_does_not():
    assert Accumulator(16).schedule is None
    assert Accumulator(16, overflow=SATURATE).schedule == Accumulator(16, dropped_bits=1).schedule == Schedule()
