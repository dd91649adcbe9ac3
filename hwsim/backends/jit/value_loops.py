"""The compiled loops of layers that a minifloat enters or leaves: casts, and one rounding of an exact sum or average.

As in loops.py, each takes a piece first..last of the rows of all images and returns its events. o: a FloatFinish.
"""

from __future__ import annotations

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loops
from hwsim.arith.exact_sum import add_to_limbs, carry_limbs, divide_limbs, magnitude_limbs, round_limbs
from hwsim.arith.float_finish import finish_code, finish_exact
from hwsim.arith.minifloat import relu_float
from hwsim.backends.jit.compile import compiled
from hwsim.backends.jit.float_loops import finish_special


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
def finish_exacts(first, last, totals, exponent, flags, f, o, codes):
    """codes = round(totals * 2**exponent); returns the events.

    totals: below 2**62 in magnitude.  flags: codes of format f where NaN or an infinity decides, else 0; empty without any.
    """
    _, height, width, channels = codes.shape
    events = 0
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            for k in range(channels):
                total = totals[n, y, column, k]
                if flags.size and flags[n, y, column, k] != 0:
                    code, event = finish_code(flags[n, y, column, k], f, o)
                else:
                    code, event = finish_exact(np.int64(total < 0), abs(total), exponent, 0, o)
                codes[n, y, column, k] = code
                events += event
    return events


@compiled
def limb_windows(first, last, terms, top, bottom, left, right, rows, columns, grid, room, f, o, codes):
    """codes = round(exact sum of a window's terms / (rows[y] * columns[x])), rounded once; returns the events.

    terms: (sign, significand, exponent, kind), each [N][H][W][C].  room: limbs of a register on the grid 2**grid, which must
    lie so low that a quotient's last bit may be sticky: see arith.float_finish.  f: a format with NaN and infinities.
    """
    sign, significand, exponent, kind = terms
    _, height, width, channels = codes.shape
    limbs, events = np.empty(room, np.int64), 0
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            for k in range(channels):
                limbs[:], special = 0, 0
                for row in range(top[y], bottom[y]):
                    for col in range(left[column], right[column]):
                        at = (n, row, col, k)
                        if kind[at]:
                            special |= 3 if kind[at] == 2 else 1 << sign[at]
                        elif significand[at]:
                            add_to_limbs(limbs, sign[at], significand[at], exponent[at] - grid)
                if special:
                    code, event = finish_special(special, f, o)
                else:
                    carry_limbs(limbs)
                    negative = magnitude_limbs(limbs)
                    divide_limbs(limbs, rows[y] * columns[column])
                    _, size, at_bit, beyond = round_limbs(limbs, grid, o.is_float, o.fractional_length)
                    code, event = finish_exact(negative, size, at_bit, beyond, o)
                codes[n, y, column, k] = code
                events += event
    return events
