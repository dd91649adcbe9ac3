"""The declared order in compiled code: outputs that are proven free of events take the exact sum, the others are walked.

The walk, and all that it calls, are the leaves of the specification; here are the loops around them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loops
from hwsim.arith.accumulate import Place, Walk, arrange, walk
from hwsim.arith.requantize import finish
from hwsim.arith.rounding import round_shift
from hwsim.arith.shift_add import shift_add_product
from hwsim.backends.jit.compile import compiled

AT_TREE, AT_ACCUMULATOR = 1 << Place.TREE, 1 << Place.ACCUMULATOR
AT_SPILL, AT_OUTPUT = 1 << Place.SPILL, 1 << Place.OUTPUT
COUNTERS = 10  # Events, then Shares


class Reads(NamedTuple):
    """Where an output's codes lie. x: int32 [N][H + border][W + border][C].

    kernel: (channels of a group, rows, columns).  origin: bordered position of tap (0, 0) of output (0, 0).
    inside: bordered positions (top, bottom, left, right) of the image itself, bottom and right excluded.
    apart: how far its pixels lie apart, 1 but behind a deconvolution's spread; between them is padding.
    """

    x: np.ndarray
    stride: tuple[int, int]
    dilation: tuple[int, int]
    origin: tuple[int, int]
    inside: tuple[int, int, int, int]
    apart: tuple[int, int]
    kernel: tuple[int, int, int]
    groups: int


class Products(NamedTuple):
    """What multiplies. factors: [K][taps], or empty where a shift-add unit rounds; then its fields, uint8 and int64 [K][taps].

    unit: (guard bits, rounding, sign order).  drop: bits that each product loses, by channel, and the mode.
    """

    factors: np.ndarray
    negative: np.ndarray
    exponent: np.ndarray
    nonzero: np.ndarray
    unit: tuple[int, int, int]
    drop: np.ndarray
    rounding: int


class Path(NamedTuple):
    """The steps and the registers. table: taps, `lanes` to a step; skips: (padded, zero inputs, zero weights) are left out.

    zero_weights: uint8 [K][taps], read where skips say so.  node_low, node_high: range of the narrowest register, by channel.
    static: uint8 by channel, proven by its bounds.  by_sums: 1 where sums of products can prove an output.
    """

    table: np.ndarray
    packed: int
    skips: tuple[int, int, int]
    zero_weights: np.ndarray
    level_bits: np.ndarray
    step_shift: np.ndarray
    bias: np.ndarray
    node_low: np.ndarray
    node_high: np.ndarray
    static: np.ndarray
    by_sums: int
    walk: Walk


@compiled
def gather(reads, n, y, x, group, codes, padded):
    """codes[tap], padded[tap] of one pixel and group, in the order (c, r, s)."""
    per_group, rows, columns = reads.kernel
    top, bottom, left, right = reads.inside
    spread = (reads.apart[0] > 1) | (reads.apart[1] > 1)
    first_row = reads.origin[0] + y * reads.stride[0]
    first_column = reads.origin[1] + x * reads.stride[1]
    tap = 0
    for c in range(group * per_group, (group + 1) * per_group):
        for r in range(rows):
            row = first_row + r * reads.dilation[0]
            for s in range(columns):
                column = first_column + s * reads.dilation[1]
                codes[tap] = reads.x[n, row, column, c]
                padded[tap] = (row < top) | (row >= bottom) | (column < left) | (column >= right)
                if spread:
                    padded[tap] |= ((row - top) % reads.apart[0] != 0) | ((column - left) % reads.apart[1] != 0)
                tap += 1


@compiled
def multiply(codes, k, p, products):
    """products[tap] of channel k: exact, or as the shift-add unit rounds; then rounded, if bits are dropped."""
    if p.factors.size:
        for tap in range(len(codes)):
            products[tap] = codes[tap] * np.int64(p.factors[k, tap])
    else:
        guard, mode, order = p.unit
        for tap in range(len(codes)):
            products[tap] = 0
            if p.nonzero[k, tap]:
                negative, exponent = np.int64(p.negative[k, tap]), p.exponent[k, tap]
                products[tap] = shift_add_product(codes[tap], negative, exponent, guard, mode, order)
    drop = p.drop[k]
    if drop:
        for tap in range(len(codes)):
            products[tap] = round_shift(products[tap], drop, p.rounding)


@compiled
def rounded_sums(first, last, reads, p, totals):
    """totals[n,y,x,k] = sum of the products of the output, each as multiply() rounds it; returns nothing to count."""
    _, height, width, channels = totals.shape
    share, taps = channels // reads.groups, reads.kernel[0] * reads.kernel[1] * reads.kernel[2]
    x, padded, products = np.empty(taps, np.int64), np.empty(taps, np.uint8), np.empty(taps, np.int64)
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            for k in range(channels):
                if k % share == 0:
                    gather(reads, n, y, column, k // share, x, padded)
                multiply(x, k, p, products)
                totals[n, y, column, k] = products.sum()
    return 0


@compiled
def leave_out(codes, padded, k, path, skipped):
    """skipped[tap] = 1 where the contract takes no step for it."""
    by_padding, by_input, by_weight = path.skips
    for tap in range(len(codes)):
        skip = by_padding & padded[tap] | by_input & (codes[tap] == 0)
        skipped[tap] = skip | (by_weight and path.zero_weights[k, tap])


@compiled
def proven(k, total, size, path):
    """Return whether no register can overflow in an output with sum(w * x) = total and sum(|w * x|) = size."""
    bias, shift = path.bias[k], path.step_shift[k]
    low = (((total - size) >> 1) << shift) + min(bias, 0)
    high = (((total + size) >> 1) << shift) + max(bias, 0)
    return (low >= path.node_low[k]) & (high <= path.node_high[k])


@compiled
def walk_output(k, codes, padded, room, p, path):
    """walk() of channel k over gathered taps. room: products, skipped and steps, to be overwritten."""
    products, skipped, steps = room
    multiply(codes, k, p, products)
    if path.skips[0] | path.skips[1] | path.skips[2]:
        leave_out(codes, padded, k, path, skipped)
    count = arrange(products, skipped, path.table, path.walk.lanes, path.packed, steps)
    return walk(steps, count, path.level_bits, path.step_shift[k], path.bias[k], path.walk)


@compiled
def count_walk(found, counters):
    """Add what a walk found to the counters of Events and Shares; return its flags."""
    _, persistent, tree, accumulator, spill, _ = found
    counters[0] += accumulator
    counters[2] += tree
    counters[3] += spill
    if not persistent:
        counters[4] += accumulator
        counters[5] += tree
        counters[6] += spill
    counters[9] += 1
    return AT_TREE * (tree > 0) | AT_ACCUMULATOR * (accumulator > 0) | AT_SPILL * (spill > 0)


@compiled
def walk_rows(first, last, reads, p, path, totals, sizes, multiplier, shift, stage, codes, acc, flags):
    """All outputs of a piece of the rows, from taps to codes; returns the counters of Events, then those of Shares.

    totals, sizes: sum(w * x) and sum(|w * x|) of each output [N][H][W][K], empty where nothing is to be proven by them.
    acc, flags: filled unless they are empty.
    """
    _, height, width, channels = codes.shape
    share, taps = channels // reads.groups, reads.kernel[0] * reads.kernel[1] * reads.kernel[2]
    x, padded, counters = np.empty(taps, np.int64), np.empty(taps, np.uint8), np.zeros(COUNTERS, np.int64)
    room = np.empty(taps, np.int64), np.zeros(taps, np.uint8), np.empty(len(path.table), np.int64)
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            gathered = -1
            for k in range(channels):
                flagged = 0
                if path.by_sums and (path.static[k] or proven(k, totals[n, y, column, k], sizes[n, y, column, k], path)):
                    content = (np.int64(totals[n, y, column, k]) << path.step_shift[k]) + path.bias[k]
                    counters[7 if path.static[k] else 8] += 1
                else:
                    if gathered != k // share:
                        gathered = k // share
                        gather(reads, n, y, column, gathered, x, padded)
                    found = walk_output(k, x, padded, room, p, path)
                    content = found[0]
                    flagged = count_walk(found, counters)
                code, event = finish(content, multiplier[k], shift[k], stage)
                codes[n, y, column, k] = code
                counters[1] += event
                if acc.size:
                    acc[n, y, column, k] = content
                if flags.size:
                    flags[n, y, column, k] = flagged | AT_OUTPUT * event
    return counters
