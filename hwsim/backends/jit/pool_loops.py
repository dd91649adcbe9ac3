"""The compiled loops of pooling in integers, piece by piece of the rows of all images, as in loops.py."""

from __future__ import annotations

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loops
from hwsim.arith.requantize import Activation, finish_scaled
from hwsim.arith.rounding import round_ratio
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
def average_windows(first, last, x, top, bottom, left, right, rows, columns, lift, stage, codes):
    """codes = epilogue of (sum << lift) / (rows * columns), or of sum / (rows * columns << -lift); returns the events."""
    _, height, width, channels = codes.shape
    events = 0
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            unit = (rows[y] * columns[column]) << max(-lift, 0)
            for k in range(channels):
                total = np.int64(0)
                for row in range(top[y], bottom[y]):
                    for col in range(left[column], right[column]):
                        total += x[n, row, col, k]
                if stage.activation == Activation.RELU_BEFORE_REQUANTIZE:
                    total = max(total, 0)
                rounded = round_ratio(total << max(lift, 0), unit, stage.rounding)
                code, event = finish_scaled(rounded, stage)
                codes[n, y, column, k] = code
                events += event
    return events
