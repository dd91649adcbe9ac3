"""The compiled loops of sums with a minifloat in them. All arithmetic is in the leaves.

Arrays are N H W C, inputs with their padding in place. Each loop takes a piece first..last of the rows of all outputs, writes
what belongs to them and returns its events; pieces may run on any thread, in any order.
"""

from __future__ import annotations

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loops
from hwsim.arith.accumulate import arrange
from hwsim.arith.exact_sum import add_to_limbs, carry_limbs, pack_words, round_limbs
from hwsim.arith.float_finish import finish_code, finish_exact
from hwsim.arith.float_walk import float_walk, multiply_terms, round_term, unpack_term
from hwsim.arith.minifloat import infinity_code, nan_code, round_pack
from hwsim.backends.jit.compile import compiled


@compiled
def special_sums(first, last, sign, kind, zero, w_sign, w_zero, steps, flags):
    """flags = what NaN and infinite products make of each output: 0 nothing, 1 and 2 an infinity (2 below zero), 3 NaN.

    sign, kind, zero: of the inputs.  w_sign, w_zero: of the weights [K][C/groups][R][S].
    steps: stride and dilation, each vertical and horizontal, then groups.
    """
    _, height, width, channels = flags.shape
    _, per_group, rows, columns = w_sign.shape
    share = channels // steps[4]
    for i in range(first, last):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                found, base = 0, k // share * per_group
                for c in range(per_group):
                    for r in range(rows):
                        for s in range(columns):
                            at = (n, y * steps[0] + r * steps[2], x * steps[1] + s * steps[3], base + c)
                            if kind[at] == 2 or kind[at] == 1 and w_zero[k, c, r, s]:
                                found |= 3
                            elif kind[at] == 1:
                                found |= 1 << (sign[at] ^ w_sign[k, c, r, s])
                flags[n, y, x, k] = found
    return 0


@compiled
def finish_special(flag, f, rule):
    """(code, event) of NaN or an infinity, as format f has them, through the output stage."""
    return finish_code(nan_code(f) if flag == 3 else infinity_code(flag - 1, f), f, rule)


@compiled
def finish_totals(first, last, totals, bias, exponents, flags, f, rule, codes, acc):
    """Bias and output stage of exact sums in int64; returns the output events. flags: empty where all is finite."""
    _, height, width, channels = totals.shape
    events = 0
    for i in range(first, last):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                total = np.int64(totals[n, y, x, k]) + bias[k]
                if acc.size:
                    acc[n, y, x, k] = total
                if flags.size and flags[n, y, x, k]:
                    code, event = finish_special(flags[n, y, x, k], f, rule)
                else:
                    code, event = finish_exact(np.int64(total < 0), abs(total), exponents[k], 0, rule)
                codes[n, y, x, k] = code
                events += event
    return events


@compiled
def limb_sums(first, last, value, exponent, w_value, w_exponent, steps, bias, exponents, flags, f, rule, codes, acc):
    """Exact sums of any width and their output stage; returns the output events.

    value, exponent: of the inputs, signed significands.  w_value, w_exponent: of the weights [K][C/groups][R][S].
    bias: limbs of each channel [K][limbs].  acc: words [N][H][W][K][words], or empty.
    """
    _, height, width, channels = codes.shape
    _, per_group, rows, columns = w_value.shape
    share = channels // steps[4]
    limbs = np.empty(bias.shape[1], np.int64)
    events = 0
    for i in range(first, last):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                limbs[:] = bias[k]
                base = k // share * per_group
                for c in range(per_group):
                    for r in range(rows):
                        for s in range(columns):
                            at = (n, y * steps[0] + r * steps[2], x * steps[1] + s * steps[3], base + c)
                            product = value[at] * w_value[k, c, r, s]
                            if product:
                                shift = exponent[at] + w_exponent[k, c, r, s] - exponents[k]
                                add_to_limbs(limbs, product < 0, abs(product), shift)
                carry_limbs(limbs)
                if acc.size:
                    pack_words(limbs, acc[n, y, x, k])
                if flags.size and flags[n, y, x, k]:
                    code, event = finish_special(flags[n, y, x, k], f, rule)
                else:
                    sign, significand, at_bit, beyond = round_limbs(limbs, exponents[k], rule.is_float, rule.fractional_length)
                    code, event = finish_exact(sign, significand, at_bit, beyond, rule)
                codes[n, y, x, k] = code
                events += event
    return events


@compiled
def exact_sum_fits(sign, significand, exponent, kind, count, bias, limbs, grid, f, mode):
    """Return 1 if the terms 1..count and a bias code sum to what rounds to a finite number of format f."""
    limbs[:] = 0
    for i in range(1, count + 1):
        if kind[i]:
            return 0
        if significand[i]:
            add_to_limbs(limbs, sign[i], significand[i], exponent[i] - grid)
    sign_b, significand_b, exponent_b, _ = unpack_term(bias, f)
    if significand_b:
        add_to_limbs(limbs, sign_b, significand_b, exponent_b - grid)
    carry_limbs(limbs)
    whole, top, at_bit, _ = round_limbs(limbs, grid, 1, 0)
    return 1 - round_pack(whole, top, at_bit, mode, f)[1]


@compiled
def gather_products(at, x_terms, inside, w_terms, steps, share, skip, terms, index, skipped):
    """Fill terms[:, 1 + tap] with the products of output at = (n, y, x, k), +0 for a skipped tap; index, skipped: for arrange."""
    x_sign, x_significand, x_exponent, x_kind = x_terms
    w_sign, w_significand, w_exponent, _ = w_terms
    n, y, x, k = at
    _, per_group, rows, columns = w_sign.shape
    t, base = 0, k // share * per_group
    for c in range(per_group):
        for r in range(rows):
            row = y * steps[0] + r * steps[2]
            for s in range(columns):
                column = x * steps[1] + s * steps[3]
                read, w_at = (n, row, column, base + c), (k, c, r, s)
                t += 1
                zero = (x_significand[read] == 0) & (x_kind[read] == 0)
                leave = skip[1] & (inside[row, column] == 0) | skip[2] & zero | skip[3] & (w_significand[w_at] == 0)
                skipped[t - 1], index[t - 1] = leave, 0 if leave else t
                terms[0, t], terms[1, t], terms[2, t], terms[3, t] = multiply_terms(
                    x_sign[read], x_significand[read], x_exponent[read], x_kind[read],
                    w_sign[w_at], w_significand[w_at], w_exponent[w_at], 0,
                )  # fmt: skip
                if leave:
                    terms[:, t] = 0


@compiled
def round_products(terms, f, mode, entering):
    """entering = the products rounded to format f, as terms; returns the events."""
    events = 0
    for t in range(1, terms.shape[1]):
        code, event = round_term(terms[0, t], terms[1, t], terms[2, t], terms[3, t], f, mode)
        entering[0, t], entering[1, t], entering[2, t], entering[3, t] = unpack_term(code, f)
        events += event
    return events


@compiled
def walk_sums(
    first, last, x_terms, inside, w_terms, steps, order, skip, walk, product, bias, grid, limbs, f, rule, codes, acc, todo
):
    """Float registers in the declared order and their output stage; returns the seven events.

    x_terms, w_terms: (sign, significand, exponent, kind) of inputs and weights [K][C/groups][R][S].  inside: 0 where an input
    is padding [H][W].  order: taps by step and lane.  skip: (packed, padding, zero inputs, zero weights are left out).
    product: (1 if products are rounded first, its layout, its mode).  bias: codes.  grid, limbs: of the exact sum's register.
    todo: outputs to be computed, or empty for all.
    """
    rounds, product_f, product_mode = product
    _, height, width, channels = codes.shape
    share, taps = channels // steps[4], w_terms[0][0].size
    terms, rounded = np.zeros((4, taps + 1), np.int64), np.zeros((4, taps + 1), np.int64)
    index, skipped = np.arange(1, taps + 1), np.zeros(taps, np.int64)
    lanes, held, room = np.zeros(order.size, np.int64), np.zeros(walk.lanes, np.int64), np.zeros(limbs, np.int64)
    count = arrange(index, skipped, order, walk.lanes, skip[0], lanes)
    skips = skip[1] + skip[2] + skip[3] > 0
    entering = rounded if rounds else terms
    at_accumulator, at_output, at_tree, transient_accumulator, transient_tree = 0, 0, 0, 0, 0
    for i in range(first, last):
        n, y = i // height, i % height
        for x in range(width):
            for k in range(channels):
                if todo.size and not todo[n, y, x, k]:
                    continue
                gather_products((n, y, x, k), x_terms, inside, w_terms, steps, share, skip, terms, index, skipped)
                if skips:
                    count = arrange(index, skipped, order, walk.lanes, skip[0], lanes)
                in_tree = round_products(terms, product_f, product_mode, rounded) if rounds else 0
                total, levels, added = float_walk(
                    lanes, count, entering[0], entering[1], entering[2], entering[3], held, bias[k], walk, f
                )
                in_tree += levels
                if acc.size:
                    acc[n, y, x, k] = total
                codes[n, y, x, k], event = finish_code(total, f, rule)
                at_accumulator, at_tree, at_output = at_accumulator + added, at_tree + in_tree, at_output + event
                if added + in_tree:
                    finite = exact_sum_fits(terms[0], terms[1], terms[2], terms[3], taps, bias[k], room, grid, f, walk.mode)
                    transient_accumulator += added * finite
                    transient_tree += in_tree * finite
    return at_accumulator, at_output, at_tree, 0, transient_accumulator, transient_tree, 0
