"""The compiled loops of pooling in integers, piece by piece of the rows of all images, as in loops.py."""

from __future__ import annotations

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loops
from hwsim.arith.average import average
from hwsim.arith.requantize import finish
from hwsim.backends.jit.compile import compiled


@compiled
def max_windows(first, last, x, top, bottom, left, right, codes):
    """codes = max over each window; top..bottom by output row, left..right by output column, all within the image."""
    _, height, width, channels = codes.shape
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            for k in range(channels):
                best = x[n, top[y], left[column], k]
                for row in range(top[y], bottom[y]):
                    for col in range(left[column], right[column]):
                        best = max(best, x[n, row, col, k])
                codes[n, y, column, k] = best
    return 0


@compiled
def sum_windows(first, last, x, top, bottom, left, right, totals):
    """totals = sum over each window; see max_windows."""
    _, height, width, channels = totals.shape
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            totals[n, y, column] = 0
            for row in range(top[y], bottom[y]):
                for col in range(left[column], right[column]):
                    for k in range(channels):
                        totals[n, y, column, k] += x[n, row, col, k]
    return 0


@compiled
def divide_sums(first, last, totals, rows, columns, lift, offset, stage, codes):
    """codes = average of totals over rows * columns positions, exactly divided; returns the events."""
    _, height, width, channels = codes.shape
    events = 0
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            count = rows[y] * columns[column]
            for k in range(channels):
                code, event = average(totals[n, y, column, k], count, lift, offset, stage)
                codes[n, y, column, k] = code
                events += event
    return events


@compiled
def multiply_sums(first, last, totals, multiplier, shift, stage, codes):
    """codes = totals scaled by the reciprocal of each output's window; multiplier, shift: int64 [H][W]; returns the events."""
    _, height, width, channels = codes.shape
    events = 0
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            for k in range(channels):
                code, event = finish(totals[n, y, column, k], multiplier[y, column], shift[y, column], stage)
                codes[n, y, column, k] = code
                events += event
    return events
