"""The compiled loops: sums of products, windows, and the epilogue. All arithmetic on results is in the leaves.

Arrays are N H W C. Each loop over (image, row) may run on any thread: rows are independent and events are added up at the
end, so that the result is the same for any number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import prange

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loops
from hwsim.arith.accumulate import accumulate
from hwsim.arith.requantize import Activation, finish, finish_rounded
from hwsim.arith.rounding import round_ratio
from hwsim.backends.jit.compile import compiled

PIXELS = 8  # output pixels that share one read of the weights: their sums stay in the first-level cache


@compiled
def product_sums(x, w, stride, dilation, origin, groups, totals):
    """totals[n,y,x,k] = sum over r,s,c of x * w, exact: the weights' type (int32 or int64) is proven to hold every sum.

    x: int32 [N][H + border][W + border][C].  w: [R][S][C/groups][K].  origin: bordered position of tap (0, 0) of output (0, 0).
    """
    images, height, width, channels = totals.shape
    rows, columns, per_group, _ = w.shape
    share = channels // groups
    for i in prange(images * height):
        n, y = i // height, i % height
        block = np.zeros((PIXELS, channels), w.dtype)
        for x0 in range(0, width, PIXELS):
            pixels = min(PIXELS, width - x0)
            block[:pixels] = 0
            for r in range(rows):
                row = origin[0] + y * stride[0] + r * dilation[0]
                for s in range(columns):
                    column = origin[1] + x0 * stride[1] + s * dilation[1]
                    for g in range(groups):
                        for c in range(per_group):
                            for p in range(pixels):
                                code = x[n, row, column + p * stride[1], g * per_group + c]
                                if code != 0:
                                    for k in range(g * share, (g + 1) * share):
                                        block[p, k] += code * w[r, s, c, k]
            totals[n, y, x0 : x0 + pixels] = block[:pixels]


@compiled
def finish_sums(totals, product_shift, bias, acc_bits, acc_low, acc_high, shift, modes, codes, acc):
    """Accumulator's end and epilogue for all outputs; returns the events (accumulator, output).

    modes: int64 (rounding, overflow, activation, bits, signed, low, high).  acc: filled unless it is empty.
    """
    images, height, width, channels = totals.shape
    at_acc = np.zeros(images * height, np.int64)
    at_output = np.zeros(images * height, np.int64)
    rounding, overflow, activation, bits, signed, low, high = modes
    for i in prange(images * height):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                value, left = accumulate(np.int64(totals[n, y, x, k]), product_shift[k], bias[k], acc_bits, acc_low, acc_high)
                if acc.size:
                    acc[n, y, x, k] = value
                code, event = finish(value, shift[k], rounding, overflow, activation, bits, signed != 0, low, high)
                codes[n, y, x, k] = code
                at_acc[i] += left
                at_output[i] += event
    return at_acc.sum(), at_output.sum()


@compiled
def finish_values(values, shift, modes, codes):
    """Epilogue of exact values [N][H][W][C] that share one shift; returns the output events."""
    images, height, width, channels = values.shape
    events = np.zeros(images * height, np.int64)
    rounding, overflow, activation, bits, signed, low, high = modes
    for i in prange(images * height):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                code, event = finish(values[n, y, x, k], shift, rounding, overflow, activation, bits, signed != 0, low, high)
                codes[n, y, x, k] = code
                events[i] += event
    return events.sum()


@compiled
def max_windows(x, top, bottom, left, right, codes):
    """codes = max over each window; top..bottom by output row, left..right by output column, all within the image."""
    images, height, width, channels = codes.shape
    for i in prange(images * height):
        n, y = i // height, i % height
        for column in range(width):
            for k in range(channels):
                best = x[n, top[y], left[column], k]
                for row in range(top[y], bottom[y]):
                    for col in range(left[column], right[column]):
                        best = max(best, x[n, row, col, k])
                codes[n, y, column, k] = best


@compiled
def average_windows(x, top, bottom, left, right, rows, columns, lift, modes, codes):
    """codes = epilogue of (sum << lift) / (rows * columns), or of sum / (rows * columns << -lift); returns the events."""
    images, height, width, channels = codes.shape
    events = np.zeros(images * height, np.int64)
    rounding, overflow, activation, bits, signed, low, high = modes
    for i in prange(images * height):
        n, y = i // height, i % height
        for column in range(width):
            unit = (rows[y] * columns[column]) << max(-lift, 0)
            for k in range(channels):
                total = np.int64(0)
                for row in range(top[y], bottom[y]):
                    for col in range(left[column], right[column]):
                        total += x[n, row, col, k]
                if activation == Activation.RELU_BEFORE_REQUANTIZE:
                    total = max(total, 0)
                rounded = round_ratio(total << max(lift, 0), unit, rounding)
                code, event = finish_rounded(rounded, overflow, activation, bits, signed != 0, low, high)
                codes[n, y, column, k] = code
                events[i] += event
    return events.sum()
