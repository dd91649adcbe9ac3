"""Prove how wide a layer's registers must be: every rule of the datapath is monotone, so its extremes come from extreme inputs.

A product is monotone in its input, and sums, roundings, left shifts and saturation are monotone in what they are given. So
the largest content of a register after any step is the content that the largest products leave, and likewise the smallest.
Two rules are not monotone: a register before the accumulator that wraps (reachable.py enumerates what it can hold), and taps
that are left out by what they read (skips.py goes through the patterns, phases.py through the places between two spills).
Where that is too much, proven bounds are left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwsim.contract.accumulator import PaddedTaps, Schedule, ZeroSkip
from hwsim.errors import ContractError
from hwsim.layers import MacLayer, Shape
from hwsim.layers.integer_unit import IntegerUnit
from hwsim.proofs.arranged import arrangements
from hwsim.proofs.certificate import Certificate, Ends, InputRange
from hwsim.proofs.found import Found, Numbering, concatenated, ends_of, joined
from hwsim.proofs.intervals import SAFE, Path, largest_content, per_channel, walked
from hwsim.proofs.live import LiveSet, live_sets, tap_channels, widest
from hwsim.proofs.phases import extremes, phases_of
from hwsim.proofs.reachable import ENUMERATED, Budget, Exhausted, refined
from hwsim.proofs.skips import Skips, by_input
from hwsim.proofs.taps import Taps

CHUNK = 1 << 20
"""Products held at a time."""
SHARE = 4
"""Phases of a tap that cost as much as a sum that is formed."""

WRAPS = "a register before the accumulator wraps, and what it may hold was not enumerated"
SKIPS = "taps are left out by what they read, so that their grouping depends on the input"


def prove(
    layer: MacLayer, shape: Shape, inputs: InputRange | None = None, name: str | None = None, enumerated: int = ENUMERATED
) -> Certificate:
    """certificate = the smallest registers that hold every sum of this layer, whatever codes of the range it reads.

    shape: of one input image.  inputs: the codes that it may hold; None for all of the format.  name: None for the kind.
    enumerated: sums that may be formed one by one where no extreme input settles it; with 0, bounds alone do.
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
    prover = _Prover(layer, shape, ranges, Budget(enumerated))
    sets = prover.sets()
    chunks = []
    for channels in _chunks(unit):
        taps = prover.taps(channels)
        chunks.append(joined([prover.of_outputs(taps, live) for live in sets]))
    found = concatenated(chunks)
    schedule = unit.contract.accumulator.schedule
    return Certificate(
        name=layer.kind if name is None else name,
        layer=layer,
        shape=shape,
        inputs=ranges,
        accumulator=found.accumulator,
        tree=found.tree,
        spill=found.spill if schedule is not None and schedule.spill is not None else None,
        tight=~found.loose,
        reason=None if not found.loose.any() else SKIPS if schedule is not None and by_input(schedule) else WRAPS,
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


@dataclass(frozen=True, eq=False)
class _Prover:
    """One layer's proof; budget: of what it may enumerate."""

    layer: MacLayer
    shape: Shape
    ranges: InputRange
    budget: Budget

    @cached_property
    def path(self) -> Path:
        return Path.of(self.layer.integer)

    @property
    def schedule(self) -> Schedule | None:
        return self.layer.integer.contract.accumulator.schedule

    def sets(self) -> list[LiveSet]:
        """Sets of taps that can matter: where padding adds nothing and moves nothing, only the widest."""
        zero, schedule = self.layer.pad_code, self.schedule
        holds_zero = bool((self.ranges.low <= zero).all() and (self.ranges.high >= zero).all())
        skipped = schedule is not None and schedule.padded is PaddedTaps.SKIPPED and not by_input(schedule)
        moves = skipped and schedule is not None and (schedule.lanes > 1 or schedule.spill is not None)
        sets = live_sets(self.layer, self.shape)
        return widest(sets) if holds_zero and not moves else sets

    def taps(self, channels: np.ndarray) -> Taps:
        """Return the taps of these output channels."""
        read = np.stack([tap_channels(self.layer, self.shape, k) for k in channels.tolist()])
        return Taps.between(self.layer.integer, channels, self.ranges.low[read], self.ranges.high[read])

    def of_outputs(self, taps: Taps, live: LiveSet) -> Found:
        """Return the ends of the registers of these channels where these taps meet."""
        schedule = self.schedule
        if schedule is None:
            return _unordered(taps, live)
        table = schedule.table(*self.layer.extents(self.shape))
        if by_input(schedule):
            return self._by_input(taps, live, Skips(schedule, table, taps, live))
        return self._static(taps, live, schedule, table)

    def _by_input(self, taps: Taps, live: LiveSet, skips: Skips) -> Found:
        """The same where taps are left out by what they read: by patterns, else with bounds whatever the grouping."""
        chosen = skips.enumerable(self.budget)
        rest = np.flatnonzero(~chosen)
        parts = [self._patterned(skips, row, live) for row in np.flatnonzero(chosen).tolist()]
        if len(rest):
            some = Skips(skips.schedule, skips.table, taps.rows(rest), live)
            if some.regroups:
                parts.append(self._regrouped(some))
            else:
                table = skips.table[(skips.table >= 0).any(axis=1)]
                parts.append(self._along(some.taps, live, table[None], some.numbering(table)))
        return concatenated(parts, np.argsort(np.concatenate([np.flatnonzero(chosen), rest])))

    def _regrouped(self, skips: Skips) -> Found:
        """The same where taps that are left out move the others: by phases where these tell all, else bounds."""
        bounds, path = skips.bounds(), self.path.rows(skips.taps.channels)
        phased = bounds.loose & skips.phased(path.shift)
        if not phased.any() or not self.budget.affords(phases_of(skips) * skips.taps.low.size // SHARE):
            return bounds
        accumulator, spill = extremes(skips, path)
        return bounds.replaced(phased & ~skips.wraps(spill), accumulator, spill)

    def _patterned(self, skips: Skips, row: int, live: LiveSet) -> Found:
        """One channel: the widest over all patterns of taps that are left out."""
        alone = skips.nonzero.rows(np.array([row]))
        found = [self._along(alone.rows(np.zeros(len(tables), dtype=np.int64)), live, tables) for tables in skips.patterns(row)]
        return joined([f.widest_row() for f in found])

    def _static(self, taps: Taps, live: LiveSet, schedule: Schedule, table: np.ndarray) -> Found:
        """The same where padding and zero weights alone are left out."""
        kept = live.taps if schedule.padded is PaddedTaps.SKIPPED else np.ones(live.taps.shape, dtype=bool)
        if schedule.skip_zeros is not ZeroSkip.WEIGHT:
            ((_, tables),) = arrangements(schedule, table, kept[None])
            return self._along(taps, live, tables)
        parts, places = [], []
        for rows, tables in arrangements(schedule, table, kept & ~taps.unit.zero_weights[taps.channels]):
            parts.append(self._along(taps.rows(rows), live, tables))
            places.append(rows)
        return concatenated(parts, np.argsort(np.concatenate(places)))

    def _along(self, taps: Taps, live: LiveSet, tables: np.ndarray, numbering: Numbering | None = None) -> Found:
        """All registers along tables [rows][steps][lanes], or one for all rows: on intervals, and on sets where one wraps.

        numbering: of the steps, where not all of them are taken.
        """
        path = self.path.rows(taps.channels)
        tables = np.where(live.taps[tables], tables, -1)
        trail = walked(path, taps.gathered(tables))
        for row in np.flatnonzero(trail.loose).tolist():
            if numbering is not None:  # the step of what wraps is not that of an extreme input
                break
            try:
                values = taps.values(row, tables[row if len(tables) > 1 else 0], self.budget)
                trail.put(row, refined(path, row, values, trail, self.budget))
            except Exhausted:
                break
        return ends_of(trail, live, numbering)


def _unordered(taps: Taps, live: LiveSet) -> Found:
    """The exact sum at the end."""
    numbers = taps.unit.numbers
    kind = object if largest_content(taps.unit) >= SAFE else np.int64
    shift, bias = (per_channel(values, taps.channels).astype(kind) for values in (numbers.product_shift, numbers.bias))
    low, high = ((end[:, live.taps].sum(axis=1).astype(kind) << shift) + bias for end in (taps.low, taps.high))
    at = np.tile([live.y, live.x, 0], (len(low), 1))
    ends = Ends(low, high, at, at)
    return Found(ends, (), ends, np.zeros(len(low), dtype=bool))
