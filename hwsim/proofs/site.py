"""One output of a layer, and what each of its taps may read: where a witness is looked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hwsim.contract.accumulator import PaddedTaps, ZeroSkip
from hwsim.contract.stochastic import Tail
from hwsim.layers import MacLayer, Shape
from hwsim.layers.integer_unit import IntegerUnit
from hwsim.proofs.certificate import InputRange
from hwsim.proofs.live import live_sets, tap_channels, widest


@dataclass(frozen=True, eq=False)
class Site:
    """Output (k, y, x) of a layer on one image of a shape, with the codes that its input may hold.

    pixels: int64 [taps] in the order (c, r, s), the place of each tap's code in the flat image; -1 in the padding.
    low, high: int64 [taps], the codes that a tap may read; the zero point alone in the padding.
    """

    layer: MacLayer
    shape: Shape
    inputs: InputRange
    k: int
    y: int
    x: int
    pixels: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, layer: MacLayer, shape: Shape, inputs: InputRange, k: int, y: int, x: int) -> Site:
        """Return the site: the layer itself says which pixels its taps read."""
        numbered: Any = np.arange(shape.c * shape.h * shape.w).reshape(shape)  # indexed as nested lists are
        places, padded = layer.taps(numbered, k, y, x)
        pixels = np.where(padded, -1, places)
        channels = tap_channels(layer, shape, k)
        low, high = (np.where(pixels < 0, layer.pad_code, end[channels]) for end in (inputs.low, inputs.high))
        return cls(layer, shape, inputs, k, y, x, pixels, low, high)

    @property
    def unit(self) -> IntegerUnit:
        """The layer's multiply-accumulate unit."""
        return self.layer.integer

    @property
    def zero(self) -> int:
        """The code that stands for nothing: the zero point."""
        return self.layer.pad_code

    @cached_property
    def padded(self) -> np.ndarray:
        """Which taps lie in the padding, bool [taps]."""
        return self.pixels < 0

    @cached_property
    def base(self) -> np.ndarray:
        """The code of a tap that is left alone: the zero point, or the nearest that it may read."""
        return np.clip(self.zero, self.low, self.high)

    @cached_property
    def forced(self) -> np.ndarray:
        """Taps that can never read the zero point, so that another code of theirs costs nothing."""
        return self.base != self.zero

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """(codes of the smallest products, codes of the largest), int64 [taps]: a product is monotone in its code."""
        at_low, at_high = self.products(self.low), self.products(self.high)
        up = at_high >= at_low
        return np.where(up, self.low, self.high), np.where(up, self.high, self.low)

    @cached_property
    def grouped_by_input(self) -> bool:
        """Whether the codes themselves decide which products share a step, or when a sum is spilled."""
        schedule = self.unit.contract.accumulator.schedule
        if schedule is None or schedule.skip_zeros in (ZeroSkip.NONE, ZeroSkip.WEIGHT):
            return False
        return schedule.spill is not None or schedule.lanes > 1 and schedule.tail is Tail.PACKED

    def products(self, codes: np.ndarray) -> np.ndarray:
        """Return the products of one code per tap, int64 [taps]."""
        made = np.empty(len(codes), dtype=np.int64)
        for code in np.unique(codes).tolist():
            chosen = codes == code
            made[chosen] = self.unit.products_at(code, self.k)[chosen]
        return made

    def skipped(self, codes: np.ndarray) -> list[int]:
        """Return which taps the contract leaves out, as 0 and 1."""
        schedule = self.unit.contract.accumulator.schedule
        if schedule is None or not schedule.skips:
            return [0] * len(codes)
        read = zip(codes.tolist(), self.padded.tolist(), strict=True)
        return [int(self.unit.skips(x, pad, self.k, tap)) for tap, (x, pad) in enumerate(read)]

    def image(self, codes: np.ndarray) -> np.ndarray:
        """Return the whole input [1][C][H][W] in which this output reads the codes, and no other pixel is used."""
        low, high = self.inputs.low, self.inputs.high
        flat = np.repeat(np.clip(self.zero, low, high), self.shape.h * self.shape.w)
        flat[self.pixels[~self.padded]] = codes[~self.padded]
        return flat.astype(self.layer.input_formats[0].dtype).reshape(1, *self.shape)

    def nonzeros(self, codes: np.ndarray) -> int:
        """Return how many entries of the whole input are not the zero point."""
        return int((self.image(codes) != self.zero).sum())

    @property
    def unread(self) -> int:
        """Entries that this output does not read and that can never hold the zero point."""
        return self.nonzeros(self.base) - int((self.base != self.zero).sum())


def sites(layer: MacLayer, shape: Shape, inputs: InputRange, k: int) -> Iterator[Site]:
    """Yield one output for each set of taps that can matter, the largest first.

    Where padding adds nothing and moves nothing, only sets that lie within no other.
    """
    schedule, zero = layer.integer.contract.accumulator.schedule, layer.pad_code
    holds_zero = bool((inputs.low <= zero).all() and (inputs.high >= zero).all())
    moves = schedule is not None and schedule.padded is PaddedTaps.SKIPPED and (schedule.lanes > 1 or schedule.spill is not None)
    found = live_sets(layer, shape)
    chosen = widest(found) if holds_zero and not moves else found
    for live in sorted(chosen, key=lambda live: -int(live.taps.sum())):
        yield Site.of(layer, shape, inputs, k, live.y, live.x)
