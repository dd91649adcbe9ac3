"""Kernels of the jit backend for layers that move codes: plain copies, laid out once. No number is computed here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.backends.base import Prepare, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit.kernels import JitKernel
from hwsim.layers import Clamp, Flatten, FlattenOrder, Layer, Shape
from hwsim.layers.move import Moved

Places = slice | np.ndarray
"""Places along one axis: a slice where they are evenly spaced, so that no index has to be read."""


def evenly(places: Sequence[int]) -> Places:
    """Return places as a slice where their distance is one, and not 0, throughout.

    >>> evenly([6, 4, 2, 0]), evenly([0, 0, 1])
    (slice(6, None, -2), array([0, 0, 1]))
    """
    steps = {b - a for a, b in zip(places, places[1:], strict=False)} or {1}
    if len(steps) > 1 or 0 in steps:
        return np.array(places, dtype=np.int64)
    step = steps.pop()
    stop = places[-1] + step
    return slice(places[0], None if stop < 0 else stop, step)


class MoveKernel(JitKernel):
    """Copies what each axis takes to where it goes, and the constant to the rest."""

    layer: Moved

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        self.taken: list[Places] = []
        self.placed: list[slice] = []
        self.filled = self.empty_input = False
        for axis in (1, 2, 0):  # as buffers have them: rows, columns, channels
            extent = shapes[0][axis]
            sources = [self.layer.source(axis, i, extent) for i in range(self.output_shape[axis])]
            inside = [i for i, source in enumerate(sources) if source is not None]
            self.filled |= len(inside) < len(sources)
            self.empty_input |= not inside
            if inside:
                self.taken.append(evenly([source for source in sources if source is not None]))
                self.placed.append(self._placed(inside))

    @staticmethod
    def _placed(inside: Sequence[int]) -> slice:
        places = evenly(inside)
        assert isinstance(places, slice)  # what moves constants in puts them around the input, or evenly between its codes
        return places

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        if self.filled:
            out.inner[...] = self.layer.fill
        if self.empty_input:
            return
        rows, columns, channels = self.taken
        target = out.inner[:, self.placed[0], self.placed[1], self.placed[2]]
        target[...] = inputs[0].inner[:, rows][:, :, columns][..., channels]


class FlattenKernel(JitKernel):
    """Copies the image in the declared order."""

    layer: Flatten

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        x = inputs[0].inner if self.layer.order is FlattenOrder.HWC else inputs[0].codes
        out.inner[:, 0, 0] = x.reshape(out.n, -1)


class ClampKernel(JitKernel):
    """min(max(code, low), high)."""

    layer: Clamp

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        limits = (out.inner.dtype.type(limit) for limit in (self.layer.low, self.layer.high))
        np.clip(inputs[0].inner, *limits, out=out.inner)


MOVE_TABLE: dict[str, Prepare] = {
    **dict.fromkeys(("pad", "slice", "resize_nearest", "channel_shuffle"), MoveKernel),
    "flatten": FlattenKernel,
    "clamp": ClampKernel,
}
