"""What registers are asked to hold in the worst case, walked in plain Python ints: what `verify` believes, and nothing else.

Read from the contract's declared fields and from the codes of weights and biases; nothing of contract/resolve.py or prove.py.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import nlargest, nsmallest
from itertools import accumulate, product
from math import prod

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.shift_add import SignOrder
from hwsim.contract.accumulator import BiasPoint, PaddedTaps, RoundAt, Spill, Tree, ZeroSkip
from hwsim.contract.mac import MacContract
from hwsim.contract.stochastic import Tail
from hwsim.formats.pow2 import PowerOfTwo
from hwsim.layers import Convolution, Deconvolution, MacLayer, Shape
from hwsim.proofs.states import Choice, States, TooMany, rounded

Span = tuple[list[int], list[int]]
"""Smallest and largest value, step by step."""
End = tuple[int, int | None]
"""A smallest or largest value, and the step at which it comes first; None where states were followed, not steps."""
Live = tuple[tuple[int, ...], tuple[int, ...]]
"""Kernel rows and columns that do not lie in the padding."""

WRAPS = "a register before the accumulator wraps"
CLOSES_UP = "taps are left out by what they read"
NOWHERE = (-(1 << 100), 0), (1 << 100, 0)
"""Ends of a register of which nothing is known."""
PATIENCE = 1 << 18
"""Sums of states that one certificate may ask for: about a second."""
MOST_CODES = 1 << 10
"""Codes of one tap that are tried one by one."""


@dataclass
class Walk:
    """Ends of the accumulator, of each tree level and of the spill buffer; doubt: why they may be wider than what is reached."""

    registers: list[tuple[End, End]]
    doubt: str | None = None


class Unit:
    """A layer of integers that reads an input of this shape, with codes low[c]..high[c] in channel c."""

    def __init__(self, layer: MacLayer, shape: Shape, low: Sequence[int], high: Sequence[int]) -> None:
        assert isinstance(layer.contract, MacContract)
        self.layer, self.contract, self.shape = layer, layer.contract, shape
        self.acc, self.schedule = layer.contract.accumulator, layer.contract.accumulator.schedule
        self.extents = tuple(layer.weight.shape[1:]) if layer.weight.ndim == 4 else tuple(shape)
        zero = self.contract.input.zero()
        self.ranges = [(a - zero, b - zero) for a, b in zip(low, high, strict=True)]
        skips = ZeroSkip.NONE if self.schedule is None else self.schedule.skip_zeros
        self.skips_weights = skips in (ZeroSkip.WEIGHT, ZeroSkip.EITHER)
        self.skips_inputs = skips in (ZeroSkip.INPUT, ZeroSkip.EITHER) and any(a <= 0 <= b for a, b in self.ranges)
        skipped = self.schedule is not None and self.schedule.padded is PaddedTaps.SKIPPED
        self.skips_padding = skipped or skips in (ZeroSkip.INPUT, ZeroSkip.EITHER)  # padding reads zeros
        packed = self.schedule is not None and self.schedule.tail is Tail.PACKED and self.schedule.lanes > 1
        self.closes_up = self.skips_inputs and packed
        self.patience = PATIENCE
        self._inside: dict[Live, list[int]] = {}
        self._steps: dict[Live, list[list[int]]] = {}

    @property
    def spill(self) -> Spill | None:
        """The declared buffer."""
        return None if self.schedule is None else self.schedule.spill

    def fits(self, k: int, low: int, high: int, bits: int) -> bool:
        """Return whether an accumulator of so many bits holds low..high, and the bias of channel k."""
        return holds(bits, self.acc.overflow, min(low, self.bias(k)), max(high, self.bias(k)))

    def grids(self, k: int) -> tuple[int, int]:
        """Fractional lengths of the product and of the accumulator."""
        weight, made, declared = self.contract.weight, self.contract.product, self.acc.fractional_length
        fine = self.contract.input.fl() + (made.guard_bits if isinstance(weight, PowerOfTwo) else weight.fl(k))  # type: ignore
        coarse = declared[k] if isinstance(declared, tuple) else declared
        return fine, fine - self.acc.dropped_bits if coarse is None else coarse

    def bias(self, k: int) -> int:
        """The bias on the accumulator's grid."""
        if self.layer.bias is None:
            return 0
        code, own = int(self.layer.bias[k]), self.contract.bias
        return code if own is None else rounded(code, own.fl(k) - self.grids(k)[1], self.contract.bias_rounding)

    def products(self, k: int) -> Span:
        """Smallest and largest product of each tap, and a 0 behind the last."""
        fine, coarse = self.grids(k)
        drop = max(fine - coarse, 0) if self.acc.round_at is RoundAt.PRODUCT else 0
        made: dict[tuple[tuple[int, int], int], tuple[int, int]] = {}
        ends = list(zip(self.inputs(k), self.layer.weight[k].ravel().tolist(), strict=True))
        for both in set(ends):
            found = [rounded(self.product(x, both[1], k), drop, self.acc.rounding) for x in both[0]]
            made[both] = min(found), max(found)
        return [made[both][0] for both in ends] + [0], [made[both][1] for both in ends] + [0]

    def inputs(self, k: int) -> list[tuple[int, int]]:
        """Range of what each tap of an output channel reads, less the zero point."""
        first = k // (self.layer.channels // getattr(self.layer, "groups", 1)) * self.extents[0]
        return [ends for ends in self.ranges[first : first + self.extents[0]] for _ in range(prod(self.extents[1:]))]

    def product(self, x: int, code: int, k: int) -> int:
        """What the multiplier, or the shift-add unit, makes of an operand and a weight's code."""
        weight, unit = self.contract.weight, self.contract.product
        if not isinstance(weight, PowerOfTwo):
            return x * (code - weight.zero(k))
        assert unit is not None
        real = weight.decode(code)
        if not real:
            return 0
        sign = -1 if real < 0 else 1
        right = real.denominator.bit_length() - abs(real.numerator).bit_length() - unit.guard_bits
        if unit.sign_order is SignOrder.BEFORE_ROUNDING:
            return rounded(sign * x, right, unit.rounding)
        return sign * rounded(x, right, unit.rounding)

    def live(self, y: int, x: int) -> Live:
        """Return the kernel rows and columns that bring an input to output (y, x)."""
        return self._alive(0, y), self._alive(1, x)

    def _alive(self, axis: int, at: int) -> tuple[int, ...]:
        layer, extent, taps = self.layer, self.shape[1 + axis], range(self.extents[1 + axis])
        if isinstance(layer, Deconvolution):
            stride, places = layer.stride[axis], [at + layer.pad[axis] - t * layer.dilation[axis] for t in taps]
            return tuple(t for t in taps if places[t] % stride == 0 and 0 <= places[t] // stride < extent)
        if isinstance(layer, Convolution):
            first = at * layer.stride[axis] - layer.pad[axis]
            return tuple(t for t in taps if 0 <= first + t * layer.dilation[axis] < extent)
        return tuple(taps)

    @cached_property
    def lives(self) -> list[Live]:
        """Combinations of live rows and columns that outputs have, but for those that can do nothing that another cannot."""
        outputs = self.layer.output_shape([self.shape])
        found = [{self._alive(axis, at) for at in self._unlike(axis, outputs[1 + axis])} for axis in (0, 1)]
        if self.padding_reads_zero and all(a <= 0 <= b for a, b in self.ranges):
            found = [{taps for taps in side if not any(set(taps) < set(more) for more in side)} for side in found]
        return [(rows, columns) for rows in sorted(found[0]) for columns in sorted(found[1])]

    @property
    def padding_reads_zero(self) -> bool:
        """Whether a tap in the padding does what one that reads real 0 does."""
        s = self.schedule
        return s is None or s.padded is PaddedTaps.STEPS or s.spill is None and (s.tail is Tail.IDLE or s.lanes == 1)

    def _unlike(self, axis: int, count: int) -> Iterable[int]:
        """Outputs along an axis among which every live set is found: those near an edge, and a stride of what lies between."""
        if not isinstance(self.layer, (Convolution, Deconvolution)):
            return range(count)
        layer, reach = self.layer, (self.extents[1 + axis] - 1) * self.layer.dilation[axis]
        end = layer.pad if layer.pad_end is None else layer.pad_end
        edge = reach + layer.stride[axis] + abs(layer.pad[axis]) + abs(end[axis]) + 1
        return {*range(min(edge, count)), *range(max(count - edge, 0), count)}

    def walks(self, k: int, follow: bool) -> dict[Live, Walk]:
        """Walk an output of channel k for each live set, in an accumulator without end.

        follow: state by state where intervals are bounds only.
        """
        ends = self.products(k)
        found = {live: self.walk(k, ends, live) for live in self.lives}
        if not follow:
            return found
        return {live: walk.doubt and self._followed(k, live) or walk for live, walk in found.items()}

    def _followed(self, k: int, live: Live) -> Walk | None:
        """Follow every state; None where there are too many."""
        assert self.schedule is not None
        if self.patience <= 0 or any(b - a >= MOST_CODES for a, b in self.ranges):
            return None
        (fine, coarse), bias, lanes = self.grids(k), self.bias(k), self.schedule.lanes
        left = coarse - fine if coarse > fine or self.acc.round_at is RoundAt.STEP else 0
        inputs, weight = self.inputs(k), self.layer.weight[k].ravel().tolist()
        first, levels = self.schedule.bias is BiasPoint.FIRST, levels_of(self.schedule.tree, lanes)
        states = States(self.schedule, (left, self.acc.rounding), bias if first else 0, levels, self.patience)
        try:
            for row in self._rows(k, live, 1 if self.closes_up else lanes):
                choices = [self._choices(k, inputs[tap], weight[tap]) if tap >= 0 else [(0, self.skips_inputs)] for tap in row]
                if self.closes_up:
                    states.take_tap(choices[0], lanes)
                else:
                    states.take_row(choices)
            held = states.end(lanes, 0 if first else bias)
        except TooMany:
            held = None
        self.patience = states.patience
        return None if held is None else Walk([((low, None), (high, None)) for low, high in held])

    def _choices(self, k: int, ends: tuple[int, int], code: int) -> list[Choice]:
        """Every product of a tap with this weight, and whether what it reads leaves it out."""
        fine, coarse = self.grids(k)
        drop = max(fine - coarse, 0) if self.acc.round_at is RoundAt.PRODUCT else 0
        read = range(ends[0], ends[1] + 1)
        found = {(rounded(self.product(x, code, k), drop, self.acc.rounding), self.leaves_out(x, code, k)) for x in read}
        return sorted(found)

    def leaves_out(self, x: int, code: int, k: int) -> bool:
        """Return whether a tap is none with this operand."""
        return self.skips_inputs and (x == 0 or self.skips_weights and self.is_zero(code, k))

    def walk(self, k: int, ends: Span, live: Live) -> Walk:
        """Walk an output whose products have these ends, on intervals."""
        (fine, coarse), bias = self.grids(k), self.bias(k)
        left = coarse - fine if coarse > fine or self.acc.round_at is RoundAt.STEP else 0
        if self.schedule is None:
            taps = self._taps(live)
            low, high = (sum([end[tap] for tap in taps]) << left for end in ends)
            return Walk([((low + bias, 0), (high + bias, 0))])
        if self.closes_up:
            return self._closed_up(k, ends, live, left)
        lanes = [([ends[0][tap] for tap in lane], [ends[1][tap] for tap in lane]) for lane in self._lanes(k, live)]
        total, registers, doubt = self._tree(lanes)
        sums = [rounded(v, -left, self.acc.rounding) for v in total[0]], [rounded(v, -left, self.acc.rounding) for v in total[1]]
        content, buffer, wraps = self._content(sums, bias)
        return Walk([content, *registers, *buffer], doubt or wraps)

    def _closed_up(self, k: int, ends: Span, live: Live, left: int) -> Walk:
        """Bounds where any tap may be left out, so that a step may end behind any: sums up to each tap, and of any n products."""
        assert self.schedule is not None
        line = [row[0] for row in self._rows(k, live, 1)]
        sums = [ends[0][tap] << max(left, 0) for tap in line], [ends[1][tap] << max(left, 0) for tap in line]
        content, buffer, wraps = self._content(sums, self.bias(k))
        tree, lanes, registers, doubt = self.schedule.tree, self.schedule.lanes, [], wraps or CLOSES_UP
        for level in range(levels_of(tree, lanes)):
            n = level + 2 if tree.pairing is Pairing.CHAIN else min(2 << level, lanes)
            low, high = sum(nsmallest(n, (min(v, 0) for v in ends[0]))), sum(nlargest(n, (max(v, 0) for v in ends[1])))
            registers.append(((low, 0), (high, 0)))
            if tree.bits is not None and tree.overflow is not None and not holds(tree.bits[level], tree.overflow, low, high):
                content = NOWHERE
        return Walk([content if left >= 0 else NOWHERE, *registers, *buffer], doubt)

    def _taps(self, live: Live) -> list[int]:
        """Taps that do not lie in the padding."""
        if live not in self._inside:
            channels, rows, columns = self.extents
            self._inside[live] = [(c * rows + r) * columns + s for c in range(channels) for r in live[0] for s in live[1]]
        return self._inside[live]

    def _lanes(self, k: int, live: Live) -> list[list[int]]:
        """lanes[lane][step] = the tap that is taken there, -1 (the 0 behind the last) where none is."""
        assert self.schedule is not None
        if self.skips_weights or live not in self._steps:
            rows = self._rows(k, live, self.schedule.lanes)
            self._steps[live] = [[row[lane] for row in rows] for lane in range(self.schedule.lanes)]
        return self._steps[live]

    def _rows(self, k: int, live: Live, lanes: int) -> list[list[int]]:
        """rows[step][lane], in the declared order, without the steps that the contract leaves out whatever they read."""
        assert self.schedule is not None
        here, every = set(self._taps(live)), range(prod(self.extents))
        out = set(every) - here if self.skips_padding else set()
        if self.skips_weights:
            out |= {tap for tap, code in enumerate(self.layer.weight[k].ravel().tolist()) if self.is_zero(code, k)}
        if self.schedule.tail is Tail.PACKED:
            line = [tap for tap in self._ordered(1) if tap not in out]
            line += [-1] * (-len(line) % lanes)
            rows = [line[i : i + lanes] for i in range(0, len(line), lanes)]
        else:
            line = list(self._ordered(lanes))
            rows = [line[i : i + lanes] for i in range(0, len(line), lanes)]
            rows = [row for row in rows if any(tap >= 0 and tap not in out for tap in row)]
        return [[tap if tap in here else -1 for tap in row] for row in rows]

    def _ordered(self, lanes: int) -> Iterator[int]:
        """Taps in the order of the axes, slowest first; `lanes` at each place of the lane axis, -1 beyond its end."""
        assert self.schedule is not None
        (_, rows, columns), axes, along = self.extents, self.schedule.order.value, self.schedule.lane_axis.value
        sizes = [-(-size // lanes) if axis == along else size for axis, size in enumerate(self.extents)]
        for place in product(*(range(sizes[axis]) for axis in axes)):
            at = [place[axes.index(axis)] for axis in range(3)]
            block = at[along] * lanes
            for at[along] in range(block, block + lanes):
                yield (at[0] * rows + at[1]) * columns + at[2] if at[along] < self.extents[along] else -1

    def is_zero(self, code: int, k: int) -> bool:
        """Return whether a weight stands for real 0."""
        weight = self.contract.weight
        return weight.decode(code) == 0 if isinstance(weight, PowerOfTwo) else code == weight.zero(k)

    def _tree(self, lanes: list[Span]) -> tuple[Span, list[tuple[End, End]], str | None]:
        """Add the lanes level by level; every sum is held by a register of its level."""
        assert self.schedule is not None
        tree, registers, doubt = self.schedule.tree, [], None
        for level in range(levels_of(tree, len(lanes))):
            half, rest = (len(lanes) + 1) // 2, lanes[2:]
            pairs = [(i, i + half) if tree.pairing is Pairing.HALVES else (2 * i, 2 * i + 1) for i in range(half)]
            if tree.pairing is Pairing.CHAIN:
                pairs = pairs[:1]
            sums = [added(lanes[a], lanes[b]) if b < len(lanes) else lanes[a] for a, b in pairs]
            registers.append(with_zero(ends_of(sums)))
            if tree.bits is not None and tree.overflow is not None:
                fitted = [fit(span, tree.bits[level], tree.overflow) for span in sums]
                sums, doubt = [span for span, _ in fitted], doubt or next((why for _, why in fitted if why), None)
            lanes = sums + rest if tree.pairing is Pairing.CHAIN else sums
        return lanes[0], registers, doubt

    def _content(self, sums: Span, bias: int) -> tuple[tuple[End, End], list[tuple[End, End]], str | None]:
        """Return the ends of the accumulator and of the buffer, and why they are bounds only."""
        assert self.schedule is not None
        last, doubt, buffer = self.schedule.bias is BiasPoint.LAST, None, []
        start, count = 0 if last else bias, len(sums[0])
        held: Span = (list(accumulate(sums[0], initial=start)), list(accumulate(sums[1], initial=start)))
        at = [0, *range(count)]
        if self.spill is not None:
            held, at, spilled, doubt = self._spilled(sums, start, self.spill)
            buffer = [spilled]
        if last:
            held[0].append(held[0][-1] + bias)
            held[1].append(held[1][-1] + bias)
            at.append(count)
        return ends_of([held], at), buffer, doubt

    def _spilled(self, sums: Span, start: int, spill: Spill) -> tuple[Span, list[int], tuple[End, End], str | None]:
        """Where steps may be left out by what they read, the partial sum may or may not go to the buffer behind each."""
        low, high, count = start, start, len(sums[0])
        doubt = CLOSES_UP if self.skips_inputs else None
        held: list[tuple[int, int, int]] = [(low, high, 0)]
        kept: list[tuple[int, int, int]] = []
        for step, (a, b) in enumerate(zip(*sums, strict=True)):
            low, high = low + a, high + b
            held.append((low, high, step))
            due = spill.last if step + 1 == count else (step + 1) % spill.every == 0
            if not due and not self.skips_inputs:
                continue
            kept.append((rounded(low, spill.shift, spill.rounding), rounded(high, spill.shift, spill.rounding), step))
            back, wraps = fit(([kept[-1][0]], [kept[-1][1]]), spill.bits, spill.overflow)
            ends, doubt = (back[0][0] << spill.shift, back[1][0] << spill.shift), doubt or wraps
            low, high = (min(low, ends[0]), max(high, ends[1])) if self.skips_inputs else ends
            held.append((low, high, step))
        (lows, highs, at), kept_columns = columns(held), columns(kept)
        return (lows, highs), at, with_zero(ends_of([kept_columns[:2]], kept_columns[2])), doubt


def levels_of(tree: Tree, lanes: int) -> int:
    """Number of levels that add so many lanes."""
    return lanes - 1 if tree.pairing is Pairing.CHAIN else (lanes - 1).bit_length()


def added(a: Span, b: Span) -> Span:
    """Add step by step."""
    return list(map(operator.add, a[0], b[0])), list(map(operator.add, a[1], b[1]))


def ends_of(spans: Sequence[Span], at: Sequence[int] | None = None) -> tuple[End, End]:
    """Return the smallest and the largest value of all, each with its first step; at: the steps' numbers, 0, 1, ... if None."""
    if not spans[0][0]:
        return (0, 0), (0, 0)
    low = min((min(low), low.index(min(low))) for low, _ in spans)
    high = min((-max(high), high.index(max(high))) for _, high in spans)
    return (low[0], at[low[1]] if at else low[1]), (-high[0], at[high[1]] if at else high[1])


def with_zero(ends: tuple[End, End]) -> tuple[End, End]:
    """Return the ends of a register that holds 0 before its first step."""
    return min(ends[0], (0, 0)), ends[1] if ends[1][0] > 0 else (0, 0)


def columns(rows: list[tuple[int, int, int]]) -> tuple[list[int], list[int], list[int]]:
    """Return low, high and step of each row."""
    return [low for low, _, _ in rows], [high for _, high, _ in rows], [step for _, _, step in rows]


def holds(bits: int, overflow: Overflow, low: int, high: int) -> bool:
    """Return whether low..high lies within a signed register."""
    top = 1 << (bits - 1)
    return (low > -top if overflow is Overflow.SATURATE_SYMMETRIC else low >= -top) and high < top


def fit(span: Span, bits: int, overflow: Overflow) -> tuple[Span, str | None]:
    """Return what a register holds of values, and why that is no more than a bound: where it wraps, anything is possible."""
    low, high = -(1 << (bits - 1)) + (overflow is Overflow.SATURATE_SYMMETRIC), (1 << (bits - 1)) - 1
    if not span[0] or (min(span[0]) >= low and max(span[1]) <= high):
        return span, None
    if overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
        return ([min(max(v, low), high) for v in span[0]], [min(max(v, low), high) for v in span[1]]), None
    pairs = [(a, b) if low <= a and b <= high else (low, high) for a, b in zip(*span, strict=True)]
    return ([a for a, _ in pairs], [b for _, b in pairs]), WRAPS
