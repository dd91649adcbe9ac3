"""The compiled loops of layers that a minifloat enters or leaves: casts, and one rounding of an exact sum or quotient.

As in loops.py, each takes a piece first..last of the rows of all images and returns its events. o: a FloatFinish.
"""

from __future__ import annotations

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loops
from hwsim.arith.float_finish import finish_code, finish_exact
from hwsim.arith.minifloat import bit_length, relu_float
from hwsim.backends.jit.compile import compiled


@compiled
def relu_codes(first, last, x, f, codes):
    """codes = max(x, +0), as numbers."""
    _, height, width, channels = codes.shape
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            for k in range(channels):
                codes[n, y, column, k] = relu_float(x[n, y, column, k], f)
    return 0


@compiled
def cast_codes(first, last, x, f, o, codes):
    """codes = x of format f in another format; returns the events."""
    _, height, width, channels = codes.shape
    events = 0
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            for k in range(channels):
                code, event = finish_code(x[n, y, column, k], f, o)
                codes[n, y, column, k] = code
                events += event
    return events


@compiled
def finish_quotients(first, last, totals, rows, columns, exponent, flags, f, o, codes):
    """codes = round(totals * 2**exponent / (rows[y] * columns[x])), rounded once; returns the events.

    totals: below 2**61 in magnitude.  flags: codes of format f where NaN or an infinity decides, else 0; empty without any.
    A quotient has 41 bits or more and a sticky last one, which is enough for a minifloat; towards fixed point the divisor
    must be 1.
    """
    _, height, width, channels = codes.shape
    events = 0
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            divisor = rows[y] * columns[column]
            for k in range(channels):
                total = totals[n, y, column, k]
                if flags.size and flags[n, y, column, k] != 0:
                    code, event = finish_code(flags[n, y, column, k], f, o)
                else:
                    size, left = abs(total), 0
                    if divisor > 1:
                        left = 61 - bit_length(size)
                        size <<= left
                        quotient = size // divisor
                        size = quotient | np.int64(quotient * divisor != size)
                    code, event = finish_exact(np.int64(total < 0), size, exponent - left, 0, o)
                codes[n, y, column, k] = code
                events += event
    return events
