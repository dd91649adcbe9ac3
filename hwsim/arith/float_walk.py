"""The multiply-accumulate loop of a float register: rounded at every add, in the declared order.

A term is what is added: (sign, significand, exponent, kind), the number (-1)**sign * significand * 2**exponent or none.
A product of terms is exact and a term again; only an add rounds. Rules beyond those of arith.minifloat:

* A fixed-point or power-of-two operand has no negative zero; a product's sign is that of both operands, zeros included.
* An idle lane and a skipped tap are +0, and so is a bias that is not there.
* A product that is rounded first is an event of the tree where it overflows.
* On each level of the tree an odd value passes a register, too: it is rounded, and keeps the sign of a zero.

Leaves: they validate nothing and run on Python ints and on int64; significands of operands are below 2**24.
"""

from enum import IntEnum
from typing import NamedTuple

from hwsim.arith.accumulate import Pairing
from hwsim.arith.minifloat import (
    add_exact,
    add_infinities,
    infinity_code,
    is_infinite,
    is_nan,
    nan_code,
    round_pack,
    unpack,
)


class Kind(IntEnum):
    """What a term is."""

    FINITE = 0
    INFINITE = 1
    NAN = 2


class FloatWalk(NamedTuple):
    """The declared order's rules as plain ints. bias_last: 1 if the bias is added at the end."""

    lanes: int
    pairing: int
    mode: int
    bias_last: int


def unpack_term(code, f):
    """Return the term that a code stands for."""
    sign, significand, exponent = unpack(code, f)
    if is_nan(code, f):
        return sign, significand, exponent, 2
    return sign, significand, exponent, int(is_infinite(code, f))


def multiply_terms(sign_x, x, exp_x, kind_x, sign_w, w, exp_w, kind_w):
    """Return the exact product of two terms; infinity times zero is NaN."""
    sign = sign_x ^ sign_w
    if (kind_x == Kind.NAN) | (kind_w == Kind.NAN):
        return sign, 0, 0, 2
    if (kind_x == Kind.INFINITE) | (kind_w == Kind.INFINITE):
        zero = (kind_x == Kind.FINITE) & (x == 0) | (kind_w == Kind.FINITE) & (w == 0)
        return sign, 0, 0, 2 if zero else 1
    return sign, x * w, exp_x + exp_w, 0


def round_term(sign, significand, exponent, kind, f, mode):
    """round_term = (code, event) of a term in format f."""
    if kind == Kind.NAN:
        return nan_code(f), 0
    if kind == Kind.INFINITE:
        return infinity_code(sign, f), 0
    return round_pack(sign, significand, exponent, mode, f)


def add_terms(sign_a, a, exp_a, kind_a, sign_b, b, exp_b, kind_b, f, mode):
    """add_terms = (code, event) of the sum of two terms, rounded once to format f."""
    if (kind_a == Kind.NAN) | (kind_b == Kind.NAN):
        return nan_code(f), 0
    if (kind_a == Kind.INFINITE) | (kind_b == Kind.INFINITE):
        return add_infinities(kind_a == Kind.INFINITE, sign_a, kind_b == Kind.INFINITE, sign_b, f), 0
    sign, significand, exponent = add_exact(sign_a, a, exp_a, sign_b, b, exp_b, mode)
    return round_pack(sign, significand, exponent, mode, f)


def add_term(code, sign, significand, exponent, kind, f, mode):
    """add_term = (code, event) of a register's content and a term, rounded once."""
    sign_a, a, exp_a, kind_a = unpack_term(code, f)
    return add_terms(sign_a, a, exp_a, kind_a, sign, significand, exponent, kind, f, mode)


def add_codes(a, b, f, mode):
    """add_codes = (code, event) of two registers' contents, rounded once."""
    sign, significand, exponent, kind = unpack_term(b, f)
    return add_term(a, sign, significand, exponent, kind, f, mode)


def float_tree(step, lanes, sign, significand, exponent, kind, held, w, f):
    """float_tree = (code, events) of a step's sum: each level adds pairs and rounds to the register's format f.

    step: where it begins in `lanes`, which holds a term's index by lane.  held: room for w.lanes codes.
    """
    events = 0
    if w.pairing == Pairing.CHAIN:
        i, j = lanes[step], lanes[step + 1]
        code, events = add_terms(
            sign[i], significand[i], exponent[i], kind[i], sign[j], significand[j], exponent[j], kind[j], f, w.mode
        )
        for lane in range(2, w.lanes):
            i = lanes[step + lane]
            code, event = add_term(code, sign[i], significand[i], exponent[i], kind[i], f, w.mode)
            events += event
        return code, events
    half = (w.lanes + 1) >> 1
    for lane in range(half):
        a = 2 * lane if w.pairing == Pairing.ADJACENT else lane
        b = a + 1 if w.pairing == Pairing.ADJACENT else lane + half
        i = lanes[step + a]
        if b < w.lanes:
            j = lanes[step + b]
            held[lane], event = add_terms(
                sign[i], significand[i], exponent[i], kind[i], sign[j], significand[j], exponent[j], kind[j], f, w.mode
            )
        else:
            held[lane], event = round_term(sign[i], significand[i], exponent[i], kind[i], f, w.mode)
        events += event
    return float_levels(held, half, w, f, events)


def float_levels(held, count, w, f, events):
    """The levels above the first: `count` codes in `held` become one, which is returned with the events so far."""
    while count > 1:
        half = (count + 1) >> 1
        for i in range(half):
            a = 2 * i if w.pairing == Pairing.ADJACENT else i
            b = a + 1 if w.pairing == Pairing.ADJACENT else i + half
            if b < count:
                held[i], event = add_codes(held[a], held[b], f, w.mode)
                events += event
            else:
                held[i] = held[a]  # it is a code of the format already
        count = half
    return held[0], events


def float_walk(lanes, count, sign, significand, exponent, kind, held, bias, w, f):
    """float_walk = (code, at_tree, at_accumulator): the register after `count` steps and the bias.

        acc = bias if it comes first, else +0
        each step: acc = round(acc + tree(products)); with one lane, acc = round(acc + product)
        acc = round(acc + bias) if it comes last

    lanes: index of a term by step and lane.  sign..kind: the terms; where a product is idle, a term +0.  bias: code in f.

    >>> from hwsim.formats.catalog import E4M3
    >>> w = FloatWalk(1, 0, 8, 0)
    >>> float_walk([0, 1], 2, [0, 0], [17, 15], [0, 4], [0, 0], [0], 0, w, E4M3.layout), E4M3.encode(256)
    ((120, 0, 0), 120)
    """
    acc = f.zero if w.bias_last else bias
    at_tree, at_accumulator = 0, 0
    for step in range(count):
        if w.lanes == 1:
            i = lanes[step]
            acc, event = add_term(acc, sign[i], significand[i], exponent[i], kind[i], f, w.mode)
        else:
            held_sum, events = float_tree(step * w.lanes, lanes, sign, significand, exponent, kind, held, w, f)
            at_tree += events
            acc, event = add_codes(acc, held_sum, f, w.mode)
        at_accumulator += event
    if w.bias_last:
        acc, event = add_codes(acc, bias, f, w.mode)
        at_accumulator += event
    return acc, at_tree, at_accumulator
