"""The compiled loops: sums of products, and the epilogue. All arithmetic on results is in the leaves.

Arrays are N H W C. Each loop takes a piece first..last of the rows of all images, writes what belongs to them and returns its
events; pieces may run on any thread, in any order.
"""

from __future__ import annotations

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loops
from hwsim.arith.accumulate import Place, accumulate
from hwsim.arith.requantize import finish
from hwsim.backends.jit.compile import compiled


@compiled
def product_sums(first, last, x, w, stride, dilation, origin, groups, totals):
    """totals[n,y,x,k] = sum over r,s,c of x * w, exact: the weights' type (int32 or int64) is proven to hold every sum.

    x: int32 [N][H + border][W + border][C].  w: [R][S][C/groups][K].  origin: bordered position of tap (0, 0) of output (0, 0).
    Four pixels share one read of the weights, along contiguous channels k; where fewer are left in the row, the last one is
    computed again in the idle places and not stored.
    """
    _, height, width, channels = totals.shape
    rows, columns, per_group, _ = w.shape
    share = channels // groups
    for i in range(first, last):
        n, y = i // height, i % height
        block = np.zeros((4, channels), w.dtype)
        for x0 in range(0, width, 4):
            pixels = min(4, width - x0)
            at1, at2, at3 = min(1, pixels - 1) * stride[1], min(2, pixels - 1) * stride[1], (pixels - 1) * stride[1]
            block[:] = 0
            for r in range(rows):
                row = x[n, origin[0] + y * stride[0] + r * dilation[0]]
                for s in range(columns):
                    left = origin[1] + x0 * stride[1] + s * dilation[1]
                    for g in range(groups):
                        ks = slice(g * share, (g + 1) * share)
                        sum0, sum1, sum2, sum3 = block[0, ks], block[1, ks], block[2, ks], block[3, ks]
                        for c in range(g * per_group, (g + 1) * per_group):
                            weights = w[r, s, c - g * per_group, ks]
                            code0, code1, code2, code3 = (
                                row[left, c],
                                row[left + at1, c],
                                row[left + at2, c],
                                row[left + at3, c],
                            )
                            for k in range(share):
                                sum0[k] += code0 * weights[k]
                                sum1[k] += code1 * weights[k]
                                sum2[k] += code2 * weights[k]
                                sum3[k] += code3 * weights[k]
            totals[n, y, x0 : x0 + pixels] = block[:pixels]
    return 0


@compiled
def finish_sums(first, last, totals, product_shift, bias, register, multiplier, shift, stage, codes, acc, flags):
    """Accumulator's end and epilogue for all outputs; returns the events (accumulator, output).

    register: (bits, low, high) of the accumulator.  multiplier, shift: int64, by channel.
    acc, flags: filled unless they are empty.
    """
    _, height, width, channels = totals.shape
    at_acc, at_output = 0, 0
    acc_bits, acc_low, acc_high = register
    for i in range(first, last):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                value, left = accumulate(np.int64(totals[n, y, x, k]), product_shift[k], bias[k], acc_bits, acc_low, acc_high)
                if acc.size:
                    acc[n, y, x, k] = value
                code, event = finish(value, multiplier[k], shift[k], stage)
                codes[n, y, x, k] = code
                if flags.size:
                    flags[n, y, x, k] = left << Place.ACCUMULATOR | event << Place.OUTPUT
                at_acc += left
                at_output += event
    return at_acc, at_output


@compiled
def finish_values(first, last, values, multiplier, shift, stage, codes):
    """Epilogue of exact values [N][H][W][C], with int64 multipliers and shifts by channel; returns the output events."""
    _, height, width, channels = values.shape
    events = 0
    for i in range(first, last):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                code, event = finish(values[n, y, x, k], multiplier[k], shift[k], stage)
                codes[n, y, x, k] = code
                events += event
    return events
