"""The compiled loops of layers that combine operands position by position, piece by piece of the rows, as in loops.py."""

from __future__ import annotations

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loops
from hwsim.arith.float_steps import float_integer, float_term, fused_term, offset_term
from hwsim.arith.minifloat import add_floats, multiply_floats
from hwsim.arith.operand import term_value
from hwsim.arith.rounding import Rounding, round_shift
from hwsim.backends.jit.compile import compiled


@compiled
def add_terms(first, last, values, term, totals):
    """totals += the operand's terms; values, totals: int64 [N][H][W][C]."""
    _, height, width, channels = totals.shape
    for i in range(first, last):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                totals[n, y, x, k] += term_value(values[n, y, x, k], term)
    return 0


@compiled
def float_steps(first, last, values, scales, product, divisor, mode, f, totals):
    """totals = integers of the operands combined in float32; values: int64 [operand][N][H][W][C], scales: codes of each."""
    _, height, width, channels = totals.shape
    for i in range(first, last):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                total = float_term(values[0, n, y, x, k], scales[0], f)
                for operand in range(1, len(scales)):
                    term = float_term(values[operand, n, y, x, k], scales[operand], f)
                    if product:
                        total = multiply_floats(total, f, term, f, f, Rounding.TIES_EVEN)[0]
                    else:
                        total = add_floats(total, f, term, f, f, Rounding.TIES_EVEN)[0]
                totals[n, y, x, k] = float_integer(total, divisor, mode, f)
    return 0


@compiled
def fused_sums(first, last, values, scales, offset, divisor, mode, f, totals):
    """totals = integers of fused multiply-adds from the last operand to the first; values: codes as stored; see float_steps."""
    _, height, width, channels = totals.shape
    for i in range(first, last):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                total = np.int64(offset)
                for operand in range(len(scales) - 1, -1, -1):
                    total = fused_term(values[operand, n, y, x, k], scales[operand], total, f)
                totals[n, y, x, k] = float_integer(total, divisor, mode, f)
    return 0


@compiled
def offset_products(first, last, products, scale, offset, divisor, mode, f, totals):
    """totals = integers of exact products times a float32 scale, plus a float32 offset."""
    _, height, width, channels = totals.shape
    for i in range(first, last):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                totals[n, y, x, k] = float_integer(offset_term(products[n, y, x, k], scale, offset, f), divisor, mode, f)
    return 0


@compiled
def shift_codes(first, last, values, amounts, mode, codes):
    """codes = round(values / 2**amounts)."""
    _, height, width, channels = codes.shape
    for i in range(first, last):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                codes[n, y, x, k] = round_shift(values[n, y, x, k], np.int64(amounts[n, y, x, k]), mode)
    return 0
