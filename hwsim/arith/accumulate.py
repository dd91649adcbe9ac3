"""The multiply-accumulate loop: step by step as a declared order has it, or the exact sum where no order is declared.

The only MAC loop of the specification. Leaves: they validate nothing and run on Python ints and on int64, where no exact
sum of an output leaves int64 (contract/resolve.py proves it) and tree levels have at most 62 bits.
"""

from enum import IntEnum
from typing import NamedTuple

from hwsim.arith.overflow import Overflow, fits, sum_fits, wrap_signed
from hwsim.arith.requantize import fit
from hwsim.arith.rounding import round_shift


class Pairing(IntEnum):
    """Which values one level of an adder tree adds: neighbours, those half the width apart, or one after the other."""

    ADJACENT = 0
    HALVES = 1
    CHAIN = 2


class Place(IntEnum):
    """A register that can overflow."""

    TREE = 0
    ACCUMULATOR = 1
    SPILL = 2
    OUTPUT = 3


class Walk(NamedTuple):
    """What the walk over an output's steps must know, as plain ints (contract/resolve.py makes it).

    bits, low, high, overflow: the accumulator.  rounding: of each step's sum on its way to the accumulator's grid.
    bias_last: 1 if the bias is added at the end, else it is loaded first.  spill_every: 0 where nothing is spilled.
    """

    lanes: int
    pairing: int
    tree_overflow: int
    bits: int
    low: int
    high: int
    overflow: int
    rounding: int
    bias_last: int
    spill_every: int
    spill_bits: int
    spill_low: int
    spill_high: int
    spill_overflow: int
    spill_shift: int
    spill_rounding: int
    spill_last: int


def accumulate(total, product_shift, bias, bits, low, high):
    """(acc, event): acc = (total * 2**product_shift + bias) mod 2**bits, signed; event = 1 if the exact sum left low..high.

    total: exact sum of products.  product_shift [bits] = fl_acc - fl_product >= 0.  bias: on the accumulator's grid.
    low, high: the register's range.  Modulo 2**bits the order of the sum is of no account, so codes need only the end.
    int64: total << product_shift fits.

    >>> accumulate(100, 0, 30, 8, -128, 127)
    (-126, 1)
    """
    shifted = total << product_shift
    event = 1 - sum_fits(shifted, bias, low, high)
    return wrap_signed(shifted + bias, bits), event


def add_to(acc, x, bits, low, high, overflow):
    """add_to(acc, x) = (content, event): what a register holds of acc + x, without ever leaving int64.

    acc: its content, low..high.  x: any int64.  event = 1 if acc + x leaves low..high.  TRAP leaves what WRAP does.

    >>> add_to(100, 30, 8, -128, 127, Overflow.SATURATE), add_to(100, 30, 8, -128, 127, Overflow.WRAP)
    ((127, 1), (-126, 1))
    """
    if sum_fits(x, acc, low, high):
        return acc + x, 0
    if (overflow == Overflow.WRAP) | (overflow == Overflow.TRAP):
        return wrap_signed(acc + x, bits), 1
    return (high if x > 0 else low), 1  # acc fits, so x alone decides on which side the sum left


def register_range(bits, overflow):
    """register_range(bits) = (low, high) of a signed register.

    >>> register_range(8, Overflow.SATURATE), register_range(8, Overflow.SATURATE_SYMMETRIC)
    ((-128, 127), (-127, 127))
    """
    high = (1 << (bits - 1)) - 1
    return (-high if overflow == Overflow.SATURATE_SYMMETRIC else -high - 1), high


def add_tree(values, level_bits, pairing, overflow):
    """add_tree(values) = (sum, events): each level adds pairs, and every sum is held by a register of the level's width.

    values: of the lanes; they are overwritten.  An odd value passes through a register, too.

    >>> add_tree([100, 100, -100, 5, 1], (8, 8, 8), Pairing.ADJACENT, Overflow.SATURATE)
    (33, 1)
    """
    count, events = len(values), 0
    for level in range(len(level_bits)):
        bits = level_bits[level]
        low, high = register_range(bits, overflow)
        if pairing == Pairing.CHAIN:
            total = values[0] + values[level + 1]
            events += 1 - fits(total, low, high)
            values[0] = fit(total, overflow, bits, True, low, high)
            continue
        half = (count + 1) >> 1
        for i in range(half):
            a = 2 * i if pairing == Pairing.ADJACENT else i
            b = a + 1 if pairing == Pairing.ADJACENT else i + half
            total = values[a] + values[b] if b < count else values[a]
            events += 1 - fits(total, low, high)
            values[i] = fit(total, overflow, bits, True, low, high)
        count = half
    return values[0], events


def total_of(values):
    """total_of(values) = their exact sum."""
    total = 0
    for i in range(len(values)):
        total += values[i]
    return total


def arrange(products, skipped, taps, lanes, packed, steps):
    """arrange(products) = number of steps; steps[step * lanes + lane] = the product that is taken there, 0 in an idle lane.

    products, skipped: by tap; a skipped tap's product is 0.  taps: in the declared order, `lanes` to a step, -1 for none.
    packed: the taps that are left close up; else a step is left out if all its taps are.

    >>> steps = [None] * 6
    >>> arrange([5, 0, 7, 9], [0, 1, 0, 0], [0, 1, 2, 3], 2, 1, steps), steps
    (2, [5, 7, 9, 0, None, None])
    """
    count = 0
    if packed:
        for i in range(len(taps)):
            if taps[i] >= 0 and not skipped[taps[i]]:
                steps[count] = products[taps[i]]
                count += 1
        taken = (count + lanes - 1) // lanes
        for i in range(count, taken * lanes):
            steps[i] = 0
        return taken
    for first in range(0, len(taps), lanes):
        live = 0
        for lane in range(lanes):
            tap = taps[first + lane]
            steps[count * lanes + lane] = products[tap] if tap >= 0 else 0
            if tap >= 0 and not skipped[tap]:
                live = 1
        count += live
    return count


def walk(steps, count, level_bits, step_shift, bias, w):
    """walk(steps) = (acc, persistent, at_tree, at_accumulator, at_spill, first) of one output.

        acc = bias if it comes first, else 0
        each step: acc = overflow(acc + round(tree(products) * 2**step_shift)); every T steps: acc = spill(acc)
        acc = overflow(acc + bias) if it comes last

    steps: as arrange() leaves them; overwritten.  count: of the steps.  step_shift [bits] = fl_acc - fl of the tree's sum.
    persistent: 1 if what the same path ends with when no register overflows does not fit the accumulator.
    at_*: events by place.  first: 4 * step + Place of the first event at a register that says TRAP, -1 if none; a bias that
    comes last is step `count`.

    >>> saturating = Walk(1, 0, 0, 8, -128, 127, Overflow.SATURATE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    >>> walk([100, 100, -50, -50], 4, (), 0, 0, saturating)
    (27, 0, 0, 1, 0, -1)
    """
    acc = 0 if w.bias_last else bias
    exact = acc
    at_tree, at_accumulator, at_spill, first = 0, 0, 0, -1
    for step in range(count):
        total = held = steps[step * w.lanes]  # of a single lane, which has no tree
        events = 0
        if w.lanes > 1:
            lanes = steps[step * w.lanes : (step + 1) * w.lanes]
            total = total_of(lanes)
            held, events = add_tree(lanes, level_bits, w.pairing, w.tree_overflow)
        exact += round_shift(total, -step_shift, w.rounding)
        at_tree += events
        if first < 0 and events and w.tree_overflow == Overflow.TRAP:
            first = 4 * step + Place.TREE
        acc, event = add_to(acc, round_shift(held, -step_shift, w.rounding), w.bits, w.low, w.high, w.overflow)
        at_accumulator += event
        if first < 0 and event and w.overflow == Overflow.TRAP:
            first = 4 * step + Place.ACCUMULATOR
        if w.spill_every and (w.spill_last if step + 1 == count else (step + 1) % w.spill_every == 0):
            acc, spilled, reloaded = spill(acc, w)
            exact = round_shift(exact, w.spill_shift, w.spill_rounding) << w.spill_shift
            at_spill += spilled
            at_accumulator += reloaded
            if first < 0 and spilled and w.spill_overflow == Overflow.TRAP:
                first = 4 * step + Place.SPILL
            if first < 0 and reloaded and w.overflow == Overflow.TRAP:
                first = 4 * step + Place.ACCUMULATOR
    if w.bias_last:
        exact += bias
        acc, event = add_to(acc, bias, w.bits, w.low, w.high, w.overflow)
        at_accumulator += event
        if first < 0 and event and w.overflow == Overflow.TRAP:
            first = 4 * count + Place.ACCUMULATOR
    return acc, 1 - fits(exact, w.low, w.high), at_tree, at_accumulator, at_spill, first


def spill(acc, w):
    """spill(acc) = (acc, spilled, reloaded): to the buffer's grid and width and back; an event on either way."""
    rounded = round_shift(acc, w.spill_shift, w.spill_rounding)
    kept = fit(rounded, w.spill_overflow, w.spill_bits, True, w.spill_low, w.spill_high)
    back = kept << w.spill_shift
    spilled = 1 - fits(rounded, w.spill_low, w.spill_high)
    return fit(back, w.overflow, w.bits, True, w.low, w.high), spilled, 1 - fits(back, w.low, w.high)
