"""Layers that move codes: every target moves them as plain numpy does, over formats of integers and minifloats."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from hwsim.formats import Affine, FixedPoint, catalog
from hwsim.layers import ChannelShuffle, Clamp, Flatten, FlattenOrder, Pad, ResizeNearest, Sampling, Slice
from hwsim.layers.move import whole_factors
from oracles.able import conforms_or_refuses
from oracles.cases import Case, codes, generator
from oracles.compare import Outcome, assert_same, by_spec

FORMATS = [
    FixedPoint(8, 3),
    FixedPoint(5, 2, signed=False),
    FixedPoint(16, 3),
    FixedPoint(32, 0),
    Affine(8, 0.5, 3),
    Affine(8, 0.1, 131, signed=False),
    Affine(16, 0.25, -7),
    catalog.E4M3,
]
SIZE = (2, 6, 5, 7)


def pads(f, x):
    for before, after in (((0, 1, 2), (0, 3, 0)), ((2, 0, 0), (1, 0, 0)), ((0, 0, 0), (0, 0, 0)), ((1, 2, 3), (3, 2, 1))):
        for code in (None, f.low, f.high):
            zero = 0 if f is catalog.E4M3 else f.zero()
            around = [(0, 0), *zip(before, after, strict=True)]
            yield Pad(f, before, after, code), np.pad(x, around, constant_values=zero if code is None else code)


def slices(f, x):
    yield Slice(f, (0, 0, 0), (6, 5, 7)), x
    yield Slice(f, (1, 0, 2), (4, 5, 7), (1, 2, 3)), x[:, 1:4, 0:5:2, 2:7:3]
    yield Slice(f, (5, 4, 6), (-1, -1, -1), (-1, -1, -1)), x[:, ::-1, ::-1, ::-1]
    yield Slice(f, (4, 3, 5), (0, 0, -1), (-2, -3, -5)), x[:, 4:0:-2, 3:0:-3, 5::-5]
    yield Slice(f, (2, 4, 6), (3, 5, 7)), x[:, 2:3, 4:5, 6:7]


def resizes(f, x):
    yield ResizeNearest(f, *whole_factors((2, 3))), x.repeat(2, axis=2).repeat(3, axis=3)
    yield ResizeNearest(f, *whole_factors((1, 1))), x
    yield ResizeNearest(f, Sampling(3, 1), Sampling(2, 1, 1), (2, 3)), x[:, :, ::3, 1::2]
    rows, columns = np.minimum(np.arange(9) * 3 // 5, 4), np.minimum(np.arange(4) * 9 // 4, 6)
    yield ResizeNearest(f, Sampling(3, 5), Sampling(9, 4), (9, 4)), x[:, :, rows][:, :, :, columns]


def others(f, x):
    for groups in (1, 2, 3, 6):
        n, c, h, w = x.shape
        yield ChannelShuffle(f, groups), x.reshape(n, groups, c // groups, h, w).transpose(0, 2, 1, 3, 4).reshape(x.shape)
    yield Flatten(f), x.reshape(len(x), -1, 1, 1)
    yield Flatten(f, FlattenOrder.HWC), x.transpose(0, 2, 3, 1).reshape(len(x), -1, 1, 1)


def clamps(f, x):
    if f is catalog.E4M3:
        return
    middle = (f.low + f.high) // 2
    for low, high in ((f.low, f.high), (middle, f.high), (f.low, middle), (middle, middle), (f.zero(), f.high - 1)):
        yield Clamp(f, low, high), np.clip(x.astype(object), low, high)


CASES = {"pad": pads, "slice": slices, "resize": resizes, "others": others, "clamp": clamps}


@cache
def cases(kind):
    """The cases of a kind, their wanted codes beside them: made once, for all targets."""
    made = []
    for f in FORMATS:
        x = codes(generator(f"{kind} {f}"), f, SIZE)
        made += [(Case(f"{kind} {f}", layer, (x,)), want.astype(object)) for layer, want in CASES[kind](f, x)]
    return made


@pytest.mark.parametrize("kind", CASES)
def test_codes_are_moved_as_numpy_moves_them(target, kind):
    for case, want in cases(kind):
        assert case.layer.output_format is case.layer.format
        assert_same(case, "spec", Outcome(want, None, (0, 0)), by_spec(case))
        conforms_or_refuses(target, case)
