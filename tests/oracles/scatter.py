"""Deconvolution a second time: every input pixel is scattered over the output, in plain loops. Nothing of hwsim computes here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

Tap = tuple[int, int, int]


class Hit(NamedTuple):
    """One product: input (c, i, j) times weight (k, tap) falls on output (k, y, x)."""

    source: tuple[int, int, int]
    k: int
    tap: Tap
    y: int
    x: int


def size(layer, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Rows and columns of the output: what the scattered kernels cover, less what is cut off."""
    ends = layer.pad if layer.pad_end is None else layer.pad_end
    sides = []
    for axis in range(2):
        last = (shape[1 + axis] - 1) * layer.stride[axis] + (layer.weight.shape[2 + axis] - 1) * layer.dilation[axis]
        sides.append(last + 1 - layer.pad[axis] - ends[axis])
    return sides[0], sides[1]


def hits(layer, shape: tuple[int, int, int]) -> Iterator[Hit]:
    """Every product of a deconvolution of an input (C, H, W) that falls on its output."""
    k_all, share, r_all, s_all = layer.weight.shape
    height, width = size(layer, shape)
    for c, i, j in np.ndindex(*shape):
        for k, r, s in np.ndindex(k_all, r_all, s_all):
            if k * layer.groups // k_all != c // share:
                continue
            y = i * layer.stride[0] - layer.pad[0] + r * layer.dilation[0]
            x = j * layer.stride[1] - layer.pad[1] + s * layer.dilation[1]
            if 0 <= y < height and 0 <= x < width:
                yield Hit((c, i, j), k, (c % share, r, s), y, x)


def sums(layer, x: np.ndarray, x_zero: int, w_zeros: list[int]) -> np.ndarray:
    """Exact sums of (x - x_zero) * (w - w_zero[k]), object [N][K][H][W]."""
    shape = x.shape[1:]
    total = np.zeros((len(x), len(layer.weight), *size(layer, shape)), dtype=object)
    for hit in hits(layer, shape):
        factor = int(layer.weight[(hit.k, *hit.tap)]) - w_zeros[hit.k]
        for n in range(len(x)):
            total[n, hit.k, hit.y, hit.x] += (int(x[(n, *hit.source)]) - x_zero) * factor
    return total


@lru_cache(maxsize=8)
def _by_output(layer, shape: tuple[int, int, int]) -> dict[tuple[int, int, int], dict[Tap, tuple[int, int, int]]]:
    found: dict[tuple[int, int, int], dict[Tap, tuple[int, int, int]]] = {}
    for hit in hits(layer, shape):
        taps = found.setdefault((hit.k, hit.y, hit.x), {})
        assert hit.tap not in taps
        taps[hit.tap] = hit.source
    return found


def landed(layer, shape: tuple[int, int, int], k: int, y: int, x: int) -> dict[Tap, tuple[int, int, int]]:
    """Return which input pixel (c, i, j) each tap of one output brings; the other taps bring none."""
    return _by_output(layer, tuple(shape)).get((k, y, x), {})
