"""The declared order a second time: plain loops over one output's taps, on unbounded integers and Fractions.

Written from the contract's text alone. A datapath runs twice: with its registers, and with registers of endless width, whose
end tells whether the events were transient. Nothing here calls hwsim.arith, Schedule.table or the layers' taps.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.shift_add import SignOrder
from hwsim.contract import Axis, BiasPoint, MacContract, PaddedTaps, RoundAt, Tail, ZeroSkip
from hwsim.formats import PowerOfTwo
from hwsim.formats.pow2 import ZeroCode
from hwsim.layers import Convolution, Deconvolution, Events
from oracles.exact import fitted, limits, rounded, stored
from oracles.scatter import landed

Tap = tuple[int, int, int]


class Read(NamedTuple):
    """One tap of an output: the input's code, the weight's, and whether it lies in the padding."""

    x: int
    w: int
    padded: bool


class Found(NamedTuple):
    """One output. trap: (place, step) of the first event where the contract says TRAP, or None."""

    code: int
    acc: int
    events: Events
    trap: tuple[str, int | None] | None


class Register:
    """A register that can overflow and counts it; without `bits` it is endless."""

    def __init__(self, place: str, bits: int, overflow: Overflow, log: list, endless: bool) -> None:
        self.place, self.bits, self.overflow, self.log, self.endless = place, bits, overflow, log, endless

    def hold(self, exact: int, step: int) -> int:
        low, high = limits(self.bits, True, self.overflow)
        if self.endless or low <= exact <= high:
            return exact
        self.log.append((self.place, step, self.overflow))
        return fitted(exact, self.overflow, self.bits, True)


def expected_output(layer, x: np.ndarray, n: int, k: int, y: int, column: int) -> Found:
    """Compute one output of a convolution or a fully connected layer whose accumulator has a schedule."""
    reads = reads_of(layer, x[n], k, y, column)
    log: list = []
    acc = datapath(layer, reads, k, log, endless=False)
    low, high = limits(layer.contract.accumulator.bits, True, layer.contract.accumulator.overflow)
    transient = low <= datapath(layer, reads, k, [], endless=True) <= high
    places = [place for place, _, _ in log]
    counts = [places.count(place) for place in ("accumulator", "tree", "spill")]
    output, grid = layer.contract.output, grids(layer.contract, k)[2]
    f = output.format
    real = acc * Fraction(2) ** -grid
    code, event = stored(real, f.fractional_length, f.bits, f.signed, output.rounding, output.overflow, output.activation)
    traps = [(place, step) for place, step, overflow in log if overflow == Overflow.TRAP]
    traps += [("output", None)] * (event and output.overflow == Overflow.TRAP)
    events = Events(counts[0], event, counts[1], counts[2], *(counts if transient else (0, 0, 0)))
    return Found(code, acc, events, traps[0] if traps else None)


def reads_of(layer, image: np.ndarray, k: int, y: int, column: int) -> dict[Tap, Read]:
    """Return what an output reads, by (c, r, s); a fully connected layer's taps are its input's places."""
    if isinstance(layer, Deconvolution):
        where = landed(layer, image.shape, k, y, column)
        return {
            tap: Read(int(image[where[tap]]) if tap in where else 0, int(layer.weight[(k, *tap)]), tap not in where)
            for tap in np.ndindex(*layer.weight.shape[1:])
        }
    if not isinstance(layer, Convolution):
        weight = layer.weight[k].reshape(image.shape)
        return {tuple(at): Read(int(image[tuple(at)]), int(weight[tuple(at)]), False) for at in np.ndindex(*image.shape)}
    group = k * layer.groups // len(layer.weight)
    share, found = layer.weight.shape[1], {}
    for c, r, s in np.ndindex(*layer.weight.shape[1:]):
        row = y * layer.stride[0] + r * layer.dilation[0] - layer.pad[0]
        at = column * layer.stride[1] + s * layer.dilation[1] - layer.pad[1]
        outside = row < 0 or at < 0 or row >= image.shape[1] or at >= image.shape[2]
        code = 0 if outside else int(image[group * share + c, row, at])
        found[c, r, s] = Read(code, int(layer.weight[k, c, r, s]), outside)
    return found


def grids(contract: MacContract, k: int) -> tuple[int, int, int]:
    """Return the fractional lengths of products, of what the tree adds, and of the accumulator."""
    if isinstance(contract.weight, PowerOfTwo):
        product = contract.input.fractional_length + contract.product.guard_bits
    else:
        lengths = contract.weight.fractional_length
        product = contract.input.fractional_length + (lengths[k] if isinstance(lengths, tuple) else lengths)
    declared = contract.accumulator.fractional_length
    acc = product - contract.accumulator.dropped_bits if declared is None else declared
    acc = acc[k] if isinstance(acc, tuple) else acc
    early = acc < product and contract.accumulator.round_at is RoundAt.PRODUCT
    return product, acc if early else product, acc


def weight_of(fmt, code: int) -> Fraction:
    """Return a weight's real value, up to its fractional length: for powers of two the value itself."""
    if not isinstance(fmt, PowerOfTwo):
        return Fraction(code)
    values = [Fraction(2) ** e for e in range(fmt.exp_min, fmt.exp_max + 1)]
    values = {ZeroCode.FIRST: [0, *values], ZeroCode.LAST: [*values, 0], ZeroCode.NONE: values}[fmt.zero]
    size = 1
    while size < len(values):
        size *= 2
    return -values[code - size] if code >= size else Fraction(values[code])


def product_of(contract: MacContract, read: Read, k: int) -> int:
    """Return the code that enters the tree."""
    w = weight_of(contract.weight, read.w)
    made = read.x * w
    if isinstance(contract.weight, PowerOfTwo):
        unit = contract.product
        finer = made * 2**unit.guard_bits
        if unit.sign_order == SignOrder.BEFORE_ROUNDING:
            made = rounded(finer, unit.rounding)
        else:
            size = rounded(finer if w >= 0 else -finer, unit.rounding)
            made = size if w >= 0 else -size
    product, tree, _ = grids(contract, k)
    return rounded(made * Fraction(2) ** (tree - product), contract.accumulator.rounding)


def left_out(contract: MacContract, read: Read) -> bool:
    """Return whether a tap is none."""
    schedule = contract.accumulator.schedule
    if read.padded and schedule.padded is PaddedTaps.SKIPPED:
        return True
    zero_x, zero_w = read.x == 0, weight_of(contract.weight, read.w) == 0
    return {
        ZeroSkip.NONE: False,
        ZeroSkip.INPUT: zero_x,
        ZeroSkip.WEIGHT: zero_w,
        ZeroSkip.EITHER: zero_x or zero_w,
    }[schedule.skip_zeros]


def in_order(order, extents: dict[Axis, int]) -> Iterator[dict[Axis, int]]:
    """Yield positions along the axes that an order's name spells, slowest first."""
    first, second, third = (Axis[letter] for letter in order.name)
    for a in range(extents[first]):
        for b in range(extents[second]):
            for c in range(extents[third]):
                yield {first: a, second: b, third: c}


def steps_of(contract: MacContract, reads: dict[Tap, Read]) -> list[list[Tap | None]]:
    """Return the taps of each step that is taken, None in an idle lane."""
    schedule = contract.accumulator.schedule
    extents = {axis: max(at[i] for at in reads) + 1 for i, axis in enumerate((Axis.C, Axis.R, Axis.S))}
    if schedule.tail is Tail.PACKED:
        line = [(at[Axis.C], at[Axis.R], at[Axis.S]) for at in in_order(schedule.order, extents)]
        line = [tap for tap in line if not left_out(contract, reads[tap])]
        steps = []
        while line:
            step, line = line[: schedule.lanes], line[schedule.lanes :]
            steps.append(step + [None] * (schedule.lanes - len(step)))
        return steps
    blocks = {**extents, schedule.lane_axis: -(-extents[schedule.lane_axis] // schedule.lanes)}
    steps = []
    for at in in_order(schedule.order, blocks):
        step = []
        for lane in range(schedule.lanes):
            here = {**at, schedule.lane_axis: at[schedule.lane_axis] * schedule.lanes + lane}
            step.append((here[Axis.C], here[Axis.R], here[Axis.S]))
        step = [tap if tap in reads else None for tap in step]
        if any(tap is not None and not left_out(contract, reads[tap]) for tap in step):
            steps.append(step)
    return steps


def tree_sum(values: list[int], tree, step: int, log: list, endless: bool) -> int:
    """Return what a step's adder tree makes of its lanes, level by level, every sum in a register of its level."""
    level = 0
    while len(values) > 1:
        if tree.pairing == Pairing.CHAIN:
            groups = [values[:2], *([v] for v in values[2:])]
        elif tree.pairing == Pairing.ADJACENT:
            groups = [values[i : i + 2] for i in range(0, len(values), 2)]
        else:
            half = -(-len(values) // 2)
            groups = [[values[i], *values[i + half : i + half + 1]] for i in range(half)]
        sums = [sum(group) for group in groups]
        if tree.bits is not None and tree.overflow is not None:
            register = Register("tree", tree.bits[level], tree.overflow, log, endless)
            held = 1 if tree.pairing == Pairing.CHAIN else len(sums)  # a chain's later lanes wait outside
            sums[:held] = [register.hold(value, step) for value in sums[:held]]
        values, level = sums, level + 1
    return values[0]


def datapath(layer, reads: dict[Tap, Read], k: int, log: list, endless: bool) -> int:
    """acc = bias; for each step: acc = overflow(acc + round(tree(products))), spilled as declared; the bias, if it is last."""
    contract = layer.contract
    unit, schedule = contract.accumulator, contract.accumulator.schedule
    _, tree_grid, grid = grids(contract, k)
    acc_register = Register("accumulator", unit.bits, unit.overflow, log, endless)
    bias, steps = bias_of(layer, k), steps_of(contract, reads)
    acc = bias if schedule.bias is BiasPoint.FIRST else 0
    for i, step in enumerate(steps):
        products = [0 if tap is None else product_of(contract, reads[tap], k) for tap in step]
        total = tree_sum(products, schedule.tree, i, log, endless)
        acc = acc_register.hold(acc + rounded(total * Fraction(2) ** (grid - tree_grid), unit.rounding), i)
        spill = schedule.spill
        if spill is None or not (spill.last if i == len(steps) - 1 else (i + 1) % spill.every == 0):
            continue
        buffer = Register("spill", spill.bits, spill.overflow, log, endless)
        stored_part = buffer.hold(rounded(Fraction(acc, 2**spill.shift), spill.rounding), i)
        acc = acc_register.hold(stored_part * 2**spill.shift, i)
    if schedule.bias is BiasPoint.LAST:
        acc = acc_register.hold(acc + bias, len(steps))
    return acc


def bias_of(layer, k: int) -> int:
    """Return the bias on the accumulator's grid."""
    if layer.bias is None:
        return 0
    grid, fmt = grids(layer.contract, k)[2], layer.contract.bias
    own = grid if fmt is None else fmt.fractional_length
    own = own[k] if isinstance(own, tuple) else own
    return rounded(int(layer.bias[k]) * Fraction(2) ** (grid - own), layer.contract.bias_rounding)
