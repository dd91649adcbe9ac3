"""Which taps of a layer meet at one output: all of them inside, fewer at the border and between a deconvolution's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.layers import Convolution, Deconvolution, MacLayer, Shape


@dataclass(frozen=True, eq=False)
class LiveSet:
    """Taps that read a pixel at output row y and column x, bool [taps] in the order (c, r, s); the others are padding."""

    y: int
    x: int
    taps: np.ndarray


def live_sets(layer: MacLayer, shape: Shape) -> list[LiveSet]:
    """Return every set of taps that some output reads, once each, at its first output in row-major order."""
    if not isinstance(layer, (Convolution, Deconvolution)):
        return [LiveSet(0, 0, np.ones(layer.weight[0].size, dtype=bool))]
    out = layer.output_shape([shape])
    rows = _distinct([_reached(layer, 0, y, shape.h) for y in range(out.h)])
    columns = _distinct([_reached(layer, 1, x, shape.w) for x in range(out.w)])
    found = []
    for y, row in rows:
        for x, column in columns:
            window = np.array(row)[:, None] & np.array(column)[None, :]
            found.append(LiveSet(y, x, np.broadcast_to(window, layer.weight.shape[1:]).ravel()))
    return found


def widest(sets: list[LiveSet]) -> list[LiveSet]:
    """Leave out every set that lies within another one."""
    kept: list[LiveSet] = []
    for live in sorted(sets, key=lambda s: -int(s.taps.sum())):
        if not any((live.taps <= other.taps).all() for other in kept):
            kept.append(live)
    return kept


def _reached(layer: Convolution | Deconvolution, axis: int, output: int, extent: int) -> tuple[bool, ...]:
    """Which kernel rows (axis 0) or columns (1) of one output row or column read a pixel."""
    kernel = range(layer.kernel[axis])
    if isinstance(layer, Deconvolution):
        return tuple(layer.source(axis, output, tap, extent) is not None for tap in kernel)
    first = output * layer.stride[axis] - layer.pad[axis]
    return tuple(0 <= first + tap * layer.dilation[axis] < extent for tap in kernel)


def _distinct(masks: list[tuple[bool, ...]]) -> list[tuple[int, tuple[bool, ...]]]:
    """Each mask once, with its first place."""
    return [(masks.index(mask), mask) for mask in dict.fromkeys(masks)]


def tap_channels(layer: MacLayer, shape: Shape, k: int) -> np.ndarray:
    """tap_channels[tap] = the input channel that a tap of output channel k reads, int64."""
    if not isinstance(layer, (Convolution, Deconvolution)):
        return np.repeat(np.arange(shape.c), shape.h * shape.w)
    per_group, (rows, columns) = layer.weight.shape[1], layer.kernel
    first = k // (layer.channels // layer.groups) * per_group
    return np.repeat(np.arange(first, first + per_group), rows * columns)
