"""Prove how wide a layer's registers must be: every rule of the datapath is monotone, so its extremes come from extreme inputs.

A product is monotone in its input, and sums, roundings, left shifts and saturation are monotone in what they are given. So
the largest content of a register after any step is the content that the largest products leave, and likewise the smallest.
Two rules are not monotone, and make a proof loose where they matter: a register before the accumulator that wraps, and taps
that are left out by what they read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwsim.arith.accumulate import Pairing, register_range
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import round_shift
from hwsim.contract.accumulator import BiasPoint, PaddedTaps, Schedule, Spill, ZeroSkip
from hwsim.contract.stochastic import Tail
from hwsim.errors import ContractError
from hwsim.layers import MacLayer, Shape
from hwsim.layers.integer_unit import IntegerUnit
from hwsim.proofs.certificate import Certificate, Ends, InputRange, merged
from hwsim.proofs.live import LiveSet, live_sets, tap_channels, widest

CHUNK = 1 << 22
"""Products held at a time."""

WRAPS = "a register before the accumulator wraps, and what it may hold was not enumerated"
SKIPS = "taps are left out by what they read, so that their grouping depends on the input"


@dataclass(frozen=True, eq=False)
class Interval:
    """Smallest and largest value of each of an array's elements, int64 [K]...; loose: bool [K], not all of it is reached."""

    low: np.ndarray
    high: np.ndarray
    loose: np.ndarray

    def map(self, low: np.ndarray, high: np.ndarray) -> Interval:
        """Return other ends, as loose as these."""
        return Interval(low, high, self.loose)


def prove(layer: MacLayer, shape: Shape, inputs: InputRange | None = None, name: str | None = None) -> Certificate:
    """certificate = the smallest registers that hold every sum of this layer, whatever codes of the range it reads.

    shape: of one input image.  inputs: the codes that it may hold; None for all of the format.  name: None for the kind.
    Errors: ContractError where the layer has no MacContract, or the range leaves the input's format.

    >>> from hwsim.contract import Accumulator, MacContract, Output
    >>> from hwsim.execute.single import Linear
    >>> from hwsim.formats import FixedPoint
    >>> s8 = FixedPoint(8, 0)
    >>> layer = Linear().layer(np.array([[1, -1]]), MacContract(s8, s8, Output(s8), Accumulator(16)))
    >>> proof = prove(layer, Shape(2, 1, 1))
    >>> proof.accumulator.low.item(), proof.accumulator.high.item(), proof.bits.item(), proof.rule_bits
    (-255, 255, 9, 17)
    """
    unit = layer.integer
    ranges = InputRange.of(layer, shape) if inputs is None else inputs
    _check_range(layer, shape, ranges)
    layer.output_shape([shape])
    schedule = unit.contract.accumulator.schedule
    found = [
        _of_outputs(unit, chunk, live, _products(layer, shape, ranges, chunk), layer.extents(shape))
        for chunk in _chunks(unit)
        for live in _live(layer, shape, ranges)
    ]
    accumulator, tree, spill, loose = _joined(found, len(_chunks(unit)))
    return Certificate(
        name=layer.kind if name is None else name,
        layer=layer,
        shape=shape,
        inputs=ranges,
        accumulator=accumulator,
        tree=tree,
        spill=spill if schedule is not None and schedule.spill is not None else None,
        tight=~loose,
        reason=None if not loose.any() else SKIPS if schedule is not None and _by_input(schedule) else WRAPS,
    )


def _check_range(layer: MacLayer, shape: Shape, ranges: InputRange) -> None:
    fmt = layer.input_formats[0]
    if ranges.low.shape != (shape.c,) or int(ranges.low.min()) < fmt.low or int(ranges.high.max()) > fmt.high:
        raise ContractError(
            f"{layer.kind}: found an input range of {len(ranges.low)} channels from {ranges.low.min()} to {ranges.high.max()}, "
            f"allowed {shape.c} channels within {fmt.low}..{fmt.high}."
        )


def _chunks(unit: IntegerUnit) -> list[np.ndarray]:
    """Output channels, as many at a time as memory is spent on."""
    step = max(1, CHUNK // unit.weight.shape[1])
    return [np.arange(first, min(first + step, unit.channels)) for first in range(0, unit.channels, step)]


def _live(layer: MacLayer, shape: Shape, ranges: InputRange) -> list[LiveSet]:
    """Sets of taps that can matter: where padding adds nothing and moves nothing, only the widest."""
    schedule = layer.integer.contract.accumulator.schedule
    zero = layer.pad_code
    holds_zero = bool((ranges.low <= zero).all() and (ranges.high >= zero).all())
    moves = schedule is not None and schedule.padded is PaddedTaps.SKIPPED and (schedule.lanes > 1 or schedule.spill is not None)
    sets = live_sets(layer, shape)
    return widest(sets) if holds_zero and not moves else sets


def _products(layer: MacLayer, shape: Shape, ranges: InputRange, chunk: np.ndarray) -> Interval:
    """Smallest and largest product of each tap, [K][taps]."""
    unit = layer.integer
    low, high = np.empty((2, len(chunk), unit.weight.shape[1]), dtype=np.int64)
    for row, k in enumerate(chunk.tolist()):
        channels = tap_channels(layer, shape, k)
        ends = [_at(unit, k, codes[channels]) for codes in (ranges.low, ranges.high)]
        low[row], high[row] = np.minimum(*ends), np.maximum(*ends)
    return Interval(low, high, np.zeros(len(chunk), dtype=bool))


def _at(unit: IntegerUnit, k: int, codes: np.ndarray) -> np.ndarray:
    """Products of one output channel with a code for each tap."""
    made = np.empty(len(codes), dtype=np.int64)
    for code in np.unique(codes).tolist():
        chosen = codes == code
        made[chosen] = unit.products_at(code, k)[chosen]
    return made


@dataclass(frozen=True, eq=False)
class _Found:
    """Ends of all registers over the outputs of one live set."""

    accumulator: Ends
    tree: tuple[Ends, ...]
    spill: Ends
    loose: np.ndarray


def _joined(found: list[_Found], chunks: int) -> tuple[Ends, tuple[Ends, ...], Ends, np.ndarray]:
    """The widest over live sets, and the chunks one after the other."""
    sets = len(found) // chunks
    groups = [found[i * sets : (i + 1) * sets] for i in range(chunks)]
    levels = range(len(found[0].tree))
    accumulator = _concatenated([merged([f.accumulator for f in group]) for group in groups])
    tree = tuple(_concatenated([merged([f.tree[level] for f in group]) for group in groups]) for level in levels)
    spill = _concatenated([merged([f.spill for f in group]) for group in groups])
    return accumulator, tree, spill, np.concatenate([np.any([f.loose for f in group], axis=0) for group in groups])


def _concatenated(parts: list[Ends]) -> Ends:
    return Ends(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("low", "high", "low_at", "high_at")))


def _of_outputs(unit: IntegerUnit, chunk: np.ndarray, live: LiveSet, products: Interval, extents: tuple[int, int, int]) -> _Found:
    """Ends of the registers of a chunk of channels where these taps meet."""
    schedule = unit.contract.accumulator.schedule
    if schedule is None:
        return _unordered(unit, chunk, live, products)
    if _by_input(schedule) and _grouping_matters(unit, schedule):
        return _regrouped(unit, chunk, live, products, schedule)
    parts = []
    for rows, table in _tables(unit, chunk, live, schedule, extents):
        part = products.map(products.low[rows], products.high[rows])
        parts.append(_walked(unit, chunk[rows], live, _gathered(part, live, table), schedule))
    if len(parts) == 1:
        return parts[0]
    tree = tuple(_concatenated([p.tree[level] for p in parts]) for level in range(len(parts[0].tree)))
    accumulator, spill = (_concatenated([getattr(p, name) for p in parts]) for name in ("accumulator", "spill"))
    return _Found(accumulator, tree, spill, np.concatenate([p.loose for p in parts]))


def _by_input(schedule: Schedule) -> bool:
    return schedule.skip_zeros in (ZeroSkip.INPUT, ZeroSkip.EITHER)


def _grouping_matters(unit: IntegerUnit, schedule: Schedule) -> bool:
    """Whether leaving out a product that is 0 can change a register: lanes that close up, or spills that come later."""
    return schedule.spill is not None or schedule.lanes > 1 and schedule.tail is Tail.PACKED


def _unordered(unit: IntegerUnit, chunk: np.ndarray, live: LiveSet, products: Interval) -> _Found:
    """The exact sum at the end."""
    shift, bias = _per_channel(unit.numbers.product_shift, chunk), _per_channel(unit.numbers.bias, chunk)
    low = (products.low[:, live.taps].sum(axis=1) << shift) + bias
    high = (products.high[:, live.taps].sum(axis=1) << shift) + bias
    at = np.tile([live.y, live.x, 0], (len(chunk), 1))
    ends = Ends(low, high, at, at)
    return _Found(ends, (), ends, np.zeros(len(chunk), dtype=bool))


def _per_channel(values: tuple[int, ...], chunk: np.ndarray) -> np.ndarray:
    return np.array([values[k] for k in chunk.tolist()], dtype=np.int64)


def _tables(
    unit: IntegerUnit, chunk: np.ndarray, live: LiveSet, schedule: Schedule, extents: tuple[int, int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows of the chunk, their table[step, lane] of taps, -1 for none), as padding and zero weights leave it."""
    table = schedule.table(*extents)
    kept = live.taps if schedule.padded is PaddedTaps.SKIPPED else np.ones(live.taps.shape, dtype=bool)
    if schedule.skip_zeros is not ZeroSkip.WEIGHT:
        yield np.arange(len(chunk)), _arranged(table, kept, schedule)
        return
    for row, k in enumerate(chunk.tolist()):
        yield np.array([row]), _arranged(table, kept & ~unit.zero_weights[k], schedule)


def _arranged(table: np.ndarray, kept: np.ndarray, schedule: Schedule) -> np.ndarray:
    """The table without the taps that are left out: closed up where lanes are packed, else without steps of none."""
    alive = (table >= 0) & kept[table]
    if schedule.tail is not Tail.PACKED:
        return table[alive.any(axis=1)]
    taps = table[alive]
    return np.concatenate([taps, np.full(-len(taps) % schedule.lanes, -1)]).reshape(-1, schedule.lanes)


def _gathered(products: Interval, live: LiveSet, table: np.ndarray) -> Interval:
    """Products by [K][step][lane]; 0 in idle lanes and for padding."""
    zero = ~((table >= 0) & live.taps[table])
    low, high = products.low[:, table], products.high[:, table]
    low[:, zero] = high[:, zero] = 0
    return products.map(low, high)


def _walked(unit: IntegerUnit, chunk: np.ndarray, live: LiveSet, products: Interval, schedule: Schedule) -> _Found:
    """All registers along the declared order."""
    added, tree = _through_tree(unit, products, schedule)
    shift = _per_channel(unit.numbers.step_shift, chunk)
    rounding = unit.contract.accumulator.rounding
    steps = added.map(_shifted(added.low, shift, rounding), _shifted(added.high, shift, rounding))
    bias = _per_channel(unit.numbers.bias, chunk)
    contents, buffered, spilled_at, loose = _accumulated(unit, steps, bias, schedule)
    count = steps.low.shape[1]
    after = np.concatenate([[0], np.arange(count + 1)])
    levels = tuple(_ends(_with_idle(level), live, after) for level in tree)
    return _Found(_ends(contents, live, after), levels, _ends(buffered, live, spilled_at), loose)


def _with_idle(level: Interval) -> Interval:
    """A level's values before the first step, when it holds 0, and at every step."""
    return level.map(*(np.pad(end, ((0, 0), (1, 0))) for end in (level.low, level.high)))


def _shifted(values: np.ndarray, shift: np.ndarray, rounding: int) -> np.ndarray:
    """round(values * 2**shift), a shift for each channel."""
    made = np.empty_like(values)
    for s in np.unique(shift).tolist():
        made[shift == s] = round_shift(values[shift == s], -s, rounding)
    return made


def _through_tree(unit: IntegerUnit, products: Interval, schedule: Schedule) -> tuple[Interval, list[Interval]]:
    """(what the tree adds to the accumulator [K][step], what each level is asked to hold [K][step])."""
    if schedule.lanes == 1:
        return products.map(products.low[:, :, 0], products.high[:, :, 0]), []
    overflow = schedule.tree.overflow or Overflow.WRAP
    levels, nodes = [], products
    for bits in unit.numbers.level_bits:
        asked, passed = _one_level(nodes, schedule.tree.pairing)
        levels.append(asked.map(_least(asked.low), _most(asked.high)))
        held = _held(asked, bits, overflow)
        nodes = held if passed is None else _with_first(held, passed)
    return nodes.map(nodes.low[:, :, 0], nodes.high[:, :, 0]), levels


def _least(nodes: np.ndarray) -> np.ndarray:
    return nodes.min(axis=2) if nodes.size else nodes[:, :, 0]


def _most(nodes: np.ndarray) -> np.ndarray:
    return nodes.max(axis=2) if nodes.size else nodes[:, :, 0]


def _one_level(nodes: Interval, pairing: Pairing) -> tuple[Interval, Interval | None]:
    """(sums that this level's registers are asked to hold, lanes that wait for a later level of a chain)."""
    low, high = nodes.low, nodes.high
    if pairing is Pairing.CHAIN:
        first = nodes.map(low[:, :, :1] + low[:, :, 1:2], high[:, :, :1] + high[:, :, 1:2])
        return first, nodes.map(low[:, :, 2:], high[:, :, 2:])
    count = low.shape[2]
    half = (count + 1) // 2
    if pairing is Pairing.ADJACENT:
        a, b = (slice(0, None, 2), slice(1, None, 2))
    else:
        a, b = (slice(0, half), slice(half, None))
    sums = []
    for values in (low, high):
        total = values[:, :, a].copy()
        total[:, :, : count - half] += values[:, :, b]
        sums.append(total)
    return nodes.map(*sums), None


def _with_first(held: Interval, waiting: Interval) -> Interval:
    ends = (np.concatenate(both, axis=2) for both in ((held.low, waiting.low), (held.high, waiting.high)))
    return held.map(*ends)


def _held(asked: Interval, bits: int, overflow: int) -> Interval:
    """What a register of so many bits holds of what it is asked to: clipped, or anything at all where it may wrap."""
    low, high = register_range(bits, overflow)
    if overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
        return asked.map(asked.low.clip(low, high), asked.high.clip(low, high))
    beyond = (asked.low < low) | (asked.high > high)
    loose = asked.loose | beyond.reshape(len(beyond), -1).any(axis=1)
    return Interval(np.where(beyond, low, asked.low), np.where(beyond, high, asked.high), loose)


def _accumulated(
    unit: IntegerUnit, steps: Interval, bias: np.ndarray, schedule: Schedule
) -> tuple[Interval, Interval, np.ndarray, np.ndarray]:
    """(contents asked of the accumulator [K][1 + steps + 1], of the spill buffer [K][spills], step of each spill, loose [K]).

    The first content is what the register starts from, the last what a bias that comes last makes of it.
    """
    start = np.zeros_like(bias) if schedule.bias is BiasPoint.LAST else bias
    if schedule.spill is None:
        low, high = (start[:, None] + np.cumsum(end, axis=1) for end in (steps.low, steps.high))
        contents, nothing = steps.map(low, high), steps.map(start[:, None], start[:, None])
        return _bracketed(contents, start, bias, schedule), nothing, np.zeros(1, dtype=np.int64), steps.loose
    return _spilled(steps, start, bias, schedule, schedule.spill)


def _bracketed(contents: Interval, start: np.ndarray, bias: np.ndarray, schedule: Schedule) -> Interval:
    """The contents after each step, between the start and what the bias makes of the end."""
    ends = []
    for values in (contents.low, contents.high):
        before = np.concatenate([start[:, None], values], axis=1)
        last = before[:, -1] + (bias if schedule.bias is BiasPoint.LAST else 0)
        ends.append(np.concatenate([before, last[:, None]], axis=1))
    return contents.map(*ends)


def _spilled(
    steps: Interval, start: np.ndarray, bias: np.ndarray, schedule: Schedule, spill: Spill
) -> tuple[Interval, Interval, np.ndarray, np.ndarray]:
    """The same, where every so many steps the content goes to a buffer and back."""
    count = steps.low.shape[1]
    now = Interval(start, start, steps.loose)
    empty = np.zeros_like(start)
    held, buffered, at = [], [now.map(empty, empty)], [0]
    for step in range(count):
        now = now.map(now.low + steps.low[:, step], now.high + steps.high[:, step])
        asked = now
        if spill.last if step + 1 == count else (step + 1) % spill.every == 0:
            rounded = now.map(*(round_shift(end, spill.shift, spill.rounding) for end in (now.low, now.high)))
            buffered.append(rounded)
            at.append(step)
            kept = _held(rounded, spill.bits, spill.overflow)
            now = Interval(kept.low << spill.shift, kept.high << spill.shift, kept.loose)
            asked = now.map(np.minimum(asked.low, now.low), np.maximum(asked.high, now.high))
        held.append((asked.low, asked.high))
    lows, highs = [start, *(h[0] for h in held)], [start, *(h[1] for h in held)]
    last = bias if schedule.bias is BiasPoint.LAST else 0
    lows.append(now.low + last)
    highs.append(now.high + last)
    contents = now.map(np.stack(lows, axis=1), np.stack(highs, axis=1))
    buffers = now.map(np.stack([b.low for b in buffered], axis=1), np.stack([b.high for b in buffered], axis=1))
    return contents, buffers, np.array(at), now.loose


def _ends(contents: Interval, live: LiveSet, steps: np.ndarray) -> Ends:
    """The extremes over all columns [K][columns], and where each is reached first; steps: of each column."""
    at = []
    for first in (contents.low.argmin(axis=1), contents.high.argmax(axis=1)):
        at.append(np.stack([np.full(len(first), live.y), np.full(len(first), live.x), steps[first]], axis=1))
    return Ends(contents.low.min(axis=1), contents.high.max(axis=1), *at)


def _regrouped(unit: IntegerUnit, chunk: np.ndarray, live: LiveSet, products: Interval, schedule: Schedule) -> _Found:
    """Bounds whatever taps are left out: any of them may meet in a tree, and each rounding may go either way.

    Clipping leaves a value between 0 and what it was, so sums of the negative and of the positive products still bound it.
    """
    low, high = products.low[:, live.taps].clip(None, 0), products.high[:, live.taps].clip(0, None)
    count = low.shape[1]
    tree = _any_tree(unit, low, high, schedule)
    shift, rounding = _per_channel(unit.numbers.step_shift, chunk), unit.contract.accumulator.rounding
    ends = [_shifted(end.sum(axis=1), shift, rounding) for end in (low, high)]
    slack = np.where(shift < 0, count, 0)
    overflow = schedule.tree.overflow or Overflow.WRAP
    if overflow in (Overflow.WRAP, Overflow.TRAP) and _beyond(tree, unit.numbers.level_bits):
        slack = slack + count * (_shifted(np.full_like(shift, 1 << (unit.numbers.level_bits[-1] - 1)), shift, rounding) + 1)
    spill, bias = schedule.spill, _per_channel(unit.numbers.bias, chunk)
    if spill is not None:
        slack = slack + ((count // spill.every + 1) << spill.shift if spill.shift else 0)
    low_end, high_end = ends[0] - slack + np.minimum(bias, 0), ends[1] + slack + np.maximum(bias, 0)
    at = np.tile([live.y, live.x, 0], (len(chunk), 1))
    buffered = Ends(low_end, high_end, at, at)
    if spill is not None:
        edge = (1 << (spill.bits - 1)) << spill.shift
        if spill.overflow in (Overflow.WRAP, Overflow.TRAP) and bool((low_end < -edge).any() or (high_end >= edge).any()):
            low_end, high_end = low_end - edge, high_end + edge
        buffered = Ends(low_end >> spill.shift, -(-high_end >> spill.shift), at, at)
    levels = tuple(Ends(level.low, level.high, at, at) for level in tree)
    return _Found(Ends(low_end, high_end, at, at), levels, buffered, np.ones(len(chunk), dtype=bool))


def _any_tree(unit: IntegerUnit, low: np.ndarray, high: np.ndarray, schedule: Schedule) -> list[Interval]:
    """What each level is asked to hold, whichever products meet: the most extreme of as many as a node adds."""
    if schedule.lanes == 1:
        return []
    low, high = np.sort(low, axis=1), np.sort(high, axis=1)[:, ::-1]
    chain = schedule.tree.pairing is Pairing.CHAIN
    terms = [level + 2 if chain else min(2 << level, schedule.lanes) for level in range(len(unit.numbers.level_bits))]
    none = np.zeros(len(low), dtype=bool)
    return [Interval(low[:, :n].sum(axis=1), high[:, :n].sum(axis=1), none) for n in terms]


def _beyond(tree: list[Interval], level_bits: tuple[int, ...]) -> bool:
    """Whether some level of the tree may be asked for more than it holds."""
    return any(
        bool((level.low < -(1 << (bits - 1))).any() or (level.high >= 1 << (bits - 1)).any())
        for level, bits in zip(tree, level_bits, strict=True)
    )
