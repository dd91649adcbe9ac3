"""Layers with a minifloat in them a second time: plain loops over numbers that are Fractions, infinities or NaN.

A number is (negative, magnitude), the magnitude a Fraction or INFINITY or NAN, so that zeros have signs. Formats are read off
their declared fields, taps are sorted by what a schedule says, and nothing is shared with hwsim but the contracts themselves.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from hwsim.arith.accumulate import Pairing
from hwsim.arith.minifloat import Specials
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.contract.accumulator import BiasPoint, PaddedTaps, Schedule, ZeroSkip
from hwsim.contract.float_mac import ExactSum, FloatOutput
from hwsim.contract.stochastic import Tail
from hwsim.formats import FixedPoint, Minifloat, PowerOfTwo
from hwsim.formats.pow2 import ZeroCode
from hwsim.layers import Deconvolution
from oracles.exact import limits, rounded, stored
from oracles.minifloat import INFINITY, NAN, OUTWARD, FloatOracle
from oracles.scatter import landed

Number = tuple[bool, "Fraction | str"]
ZERO: Number = (False, Fraction(0))


def number(code: int, fmt, channel: int = 0) -> Number:
    """Return what a code stands for."""
    if isinstance(fmt, Minifloat):
        negative, value = FloatOracle(fmt).meaning(code) if fmt.bits > 16 else _oracle(fmt).codes[code]
        if value == 0 and (fmt.specials == Specials.FNUZ or fmt.zero_code is not None):
            negative = False
        return negative, value
    if isinstance(fmt, FixedPoint):
        fl = fmt.fractional_length[channel] if isinstance(fmt.fractional_length, tuple) else fmt.fractional_length
        return code < 0, abs(code) * Fraction(1, 2) ** fl
    return power(code, fmt)


def power(code: int, fmt: PowerOfTwo) -> Number:
    """A sign and an index: the list of exponents, with the zero where it is declared."""
    values = [Fraction(2) ** e for e in range(fmt.exp_min, fmt.exp_max + 1)]
    if fmt.zero is ZeroCode.FIRST:
        values = [Fraction(0), *values]
    if fmt.zero is ZeroCode.LAST:
        values = [*values, Fraction(0)]
    half = 1
    while half < len(values):
        half *= 2
    value = values[code % half]
    return bool(value) and code >= half, value


ORACLES: dict[Minifloat, FloatOracle] = {}


def _oracle(f: Minifloat) -> FloatOracle:
    if f not in ORACLES:
        ORACLES[f] = FloatOracle(f)
    return ORACLES[f]


def times(x: Number, w: Number) -> Number:
    """The exact product."""
    negative = x[0] != w[0]
    if NAN in (x[1], w[1]) or {INFINITY, Fraction(0)} == {x[1], w[1]}:
        return False, NAN
    return negative, INFINITY if INFINITY in (x[1], w[1]) else x[1] * w[1]


def plus(x: Number, y: Number, mode: Rounding) -> Number:
    """The exact sum, by IEEE's table of specials; x - x is +0, under FLOOR -0."""
    if NAN in (x[1], y[1]) or (x[1] == y[1] == INFINITY and x[0] != y[0]):
        return False, NAN
    if INFINITY in (x[1], y[1]):
        return (x[0] if x[1] == INFINITY else y[0]), INFINITY
    total = real(x) + real(y)
    if total == 0:
        return (x[0] if x[1] == y[1] == 0 and x[0] == y[0] else mode == Rounding.FLOOR), Fraction(0)
    return total < 0, abs(total)


def real(x: Number) -> Fraction:
    return -x[1] if x[0] else x[1]


def binade(magnitude: Fraction) -> int:
    """Return e with 2**e <= magnitude < 2**(e + 1), by doubling and halving."""
    e = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    while Fraction(2) ** e > magnitude:
        e -= 1
    while Fraction(2) ** (e + 1) <= magnitude:
        e += 1
    return e


def largest(f: Minifloat) -> Fraction:
    """The largest number: one step below the next binade, or the top of the last binade that is left to numbers."""
    fields, fractions = 2**f.exp_bits, 2**f.man_bits
    field, fraction = fields - 1, fractions - 1
    if f.specials == Specials.IEEE:
        field -= 1
    elif f.specials == Specials.FN:
        fraction -= 1
        if fraction < 0:
            field, fraction = field - 1, fractions - 1
    return (1 + Fraction(fraction, fractions)) * Fraction(2) ** (field - f.bias)


def round_to(x: Number, f: Minifloat, mode: Rounding) -> tuple[Number, int]:
    """Return (number, event) of a number in a format."""
    negative, value = x
    one_zero = f.specials == Specials.FNUZ or f.zero_code is not None
    if value == NAN:
        return (ZERO if f.specials == Specials.NONE else (False, NAN)), 0
    if value == INFINITY:
        return _infinite(negative, f), 0
    least = 0 if f.zero_code is not None else 1
    if value == 0 or (not f.subnormals and value < Fraction(2) ** (least - f.bias)):
        return (negative and not one_zero, Fraction(0)), 0
    ulp = Fraction(2) ** (max(binade(value), least - f.bias) - f.man_bits)
    picked = abs(rounded((-value if negative else value) / ulp, mode) * ulp)
    if f.zero_code is not None and (picked, negative) == (Fraction(2) ** -f.bias, f.zero_code > 0):
        picked = Fraction(0)  # its code was given up
    if picked > largest(f):
        outward = OUTWARD.get(mode, {}).get(negative, True)
        return (_infinite(negative, f) if outward else (negative, largest(f))), 1
    return (negative and not (picked == 0 and one_zero), picked), 0


def _infinite(negative: bool, f: Minifloat) -> Number:
    if f.saturate:
        return negative, largest(f)
    return (negative, INFINITY) if f.specials == Specials.IEEE else (f.specials == Specials.FN and negative, NAN)


def code_of(x: Number, f: Minifloat) -> int:
    """Return the code of a number that the format has; NaN keeps its sign where the format has two."""
    negative, value = x
    sign = "1" if negative else "0"
    if value == 0:
        return f.zero_code or int(sign + "0" * (f.bits - 1), 2)
    if value == NAN:
        if f.specials == Specials.FNUZ:
            return int("1" + "0" * (f.bits - 1), 2)
        fraction = "1" * f.man_bits if f.specials == Specials.FN else "1" + "0" * (f.man_bits - 1)
        return int(sign + "1" * f.exp_bits + fraction, 2)
    if value == INFINITY:
        return int(sign + "1" * f.exp_bits + "0" * f.man_bits, 2)
    e = binade(value)
    if f.zero_code is None and e < 1 - f.bias:
        field, fraction = 0, value / Fraction(2) ** (1 - f.bias)
    else:
        field, fraction = e + f.bias, value / Fraction(2) ** e - 1
    digits = fraction * 2**f.man_bits
    assert digits.denominator == 1
    return (negative << (f.bits - 1)) + (field << f.man_bits) + digits.numerator


def finished(x: Number, output) -> tuple[int, int]:
    """(code, event) of a number behind the output stage."""
    before = output.activation == Activation.RELU_BEFORE_REQUANTIZE
    if before and x[0] and x[1] != NAN:
        x = ZERO
    if isinstance(output, FloatOutput):
        y, event = round_to(x, output.format, output.rounding)
        if output.activation == Activation.RELU_AFTER_REQUANTIZE and y[0] and y[1] != NAN:
            y = ZERO
        return code_of(y, output.format), event
    f = output.format
    low, high = limits(f.bits, f.signed, output.overflow)
    if isinstance(x[1], str):
        code = 0 if x[1] == NAN else low if x[0] else high
        return (max(code, 0) if output.activation else code), 1
    return stored(real(x), f.fractional_length, f.bits, f.signed, output.rounding, output.overflow, output.activation)


def steps_of(schedule: Schedule, extents, left_out) -> list[list[int | None]]:
    """Taps by step and lane, None where a lane adds nothing. left_out[tap]: skipped."""
    c, r, s = extents
    taps = [(i, j, k) for i in range(c) for j in range(r) for k in range(s)]
    order, axis = ["CRS".index(letter) for letter in schedule.order.name], schedule.lane_axis.value
    place = {tap: at for at, tap in enumerate(taps)}
    if schedule.tail is Tail.PACKED:
        row = [place[tap] for tap in sorted(taps, key=lambda tap: [tap[a] for a in order]) if not left_out[place[tap]]]
        chunks = [row[i : i + schedule.lanes] for i in range(0, len(row), schedule.lanes)]
        return [chunk + [None] * (schedule.lanes - len(chunk)) for chunk in chunks]
    found: dict[tuple, list[int | None]] = {}
    for tap in taps:
        key = tuple(tap[a] // schedule.lanes if a == axis else tap[a] for a in order)
        found.setdefault(key, [None] * schedule.lanes)[tap[axis] % schedule.lanes] = place[tap]
    steps = [found[key] for key in sorted(found)]
    steps = [step for step in steps if any(tap is not None and not left_out[tap] for tap in step)]
    return [[None if tap is None or left_out[tap] else tap for tap in step] for step in steps]


def tree_sum(values: list[Number], pairing: Pairing, f: Minifloat, mode: Rounding) -> tuple[Number, int]:
    """One lane after the other, neighbours, or halves; every value of a level passes a register."""
    events = 0
    if len(values) == 1:
        return values[0], 0
    if pairing == Pairing.CHAIN:
        total = values[0]
        for value in values[1:]:
            total, event = round_to(plus(total, value, mode), f, mode)
            events += event
        return total, events
    while len(values) > 1:
        half = (len(values) + 1) // 2
        if pairing == Pairing.ADJACENT:
            groups = [values[i : i + 2] for i in range(0, len(values), 2)]
        else:
            groups = [[values[i], *values[i + half : i + half + 1]] for i in range(half)]
        level = [round_to(plus(*group, mode) if len(group) == 2 else group[0], f, mode) for group in groups]
        values, events = [value for value, _ in level], events + sum(event for _, event in level)
    return values[0], events


def register_sum(products, left_out, extents, bias: Number, acc) -> tuple[Number, int, int]:
    """(number, accumulator events, tree events) of a float register in the declared order."""
    f, mode, at_acc, at_tree = acc.format, acc.rounding, 0, 0
    entering = products
    if acc.product is not None:
        made = [round_to(p, acc.product, acc.product_rounding) for p, left in zip(products, left_out, strict=True) if not left]
        at_tree += sum(event for _, event in made)
        values = iter(value for value, _ in made)
        entering = [ZERO if left else next(values) for left in left_out]
    last = acc.schedule.bias is BiasPoint.LAST
    total = ZERO if last else bias
    for step in steps_of(acc.schedule, extents, left_out):
        value, events = tree_sum([ZERO if t is None else entering[t] for t in step], acc.schedule.tree.pairing, f, mode)
        total, event = round_to(plus(total, value, mode), f, mode)
        at_tree, at_acc = at_tree + events, at_acc + event
    if last:
        total, event = round_to(plus(total, bias, mode), f, mode)
        at_acc += event
    return total, at_acc, at_tree


def aligned(bias: Number, grid: Fraction, mode: Rounding) -> Fraction:
    """A bias on a fixed-point grid."""
    return rounded(real(bias) / grid, mode) * grid


def least(fmt, channel: int = 0) -> Fraction:
    """The step of the grid on which all of a format's numbers lie."""
    if isinstance(fmt, Minifloat):
        return Fraction(2) ** ((0 if fmt.zero_code is not None else 1) - fmt.bias - fmt.man_bits)
    if isinstance(fmt, PowerOfTwo):
        return Fraction(2) ** fmt.exp_min
    fl = fmt.fractional_length[channel] if isinstance(fmt.fractional_length, tuple) else fmt.fractional_length
    return Fraction(1, 2) ** fl


def gathered(layer, x: np.ndarray, n: int, k: int, y: int, column: int):
    """(inputs, weights, padded) of one output in the order (c, r, s)."""
    weight, contract = layer.weight, layer.contract
    if weight.ndim == 2:
        codes = x[n].ravel().tolist()
        inputs = [number(code, contract.input) for code in codes]
        return inputs, [number(int(w), contract.weight, k) for w in weight[k]], [False] * len(codes)
    if isinstance(layer, Deconvolution):
        where = landed(layer, x.shape[1:], k, y, column)
        taps = list(np.ndindex(*weight.shape[1:]))
        inputs = [number(int(x[(n, *where[tap])]), contract.input) if tap in where else ZERO for tap in taps]
        return inputs, [number(int(weight[(k, *tap)]), contract.weight, k) for tap in taps], [tap not in where for tap in taps]
    per_group = weight.shape[1]
    first = k // (len(weight) // layer.groups) * per_group
    inputs, weights, padded = [], [], []
    for c in range(per_group):
        for r in range(weight.shape[2]):
            for s in range(weight.shape[3]):
                i = y * layer.stride[0] + r * layer.dilation[0] - layer.pad[0]
                j = column * layer.stride[1] + s * layer.dilation[1] - layer.pad[1]
                inside = 0 <= i < x.shape[2] and 0 <= j < x.shape[3]
                padded.append(not inside)
                inputs.append(number(int(x[n, first + c, i, j]), contract.input) if inside else ZERO)
                weights.append(number(int(weight[k, c, r, s]), contract.weight, k))
    return inputs, weights, padded


def skipped(schedule: Schedule, x: Number, w: Number, padded: bool) -> bool:
    zeros = {ZeroSkip.NONE: (), ZeroSkip.INPUT: (x,), ZeroSkip.WEIGHT: (w,), ZeroSkip.EITHER: (x, w)}[schedule.skip_zeros]
    return padded and schedule.padded is PaddedTaps.SKIPPED or any(operand[1] == 0 for operand in zeros)


def bias_of(layer, k: int) -> Number:
    if layer.bias is None:
        return ZERO
    return number(int(layer.bias[k]), layer.contract.bias_format(len(layer.weight)), k)


def output_at(layer, x: np.ndarray, at: tuple[int, int, int, int]):
    """(code, acc, (accumulator, output, tree, spill, transient accumulator, tree, spill)) of one output (n, k, y, x).

    acc: an integer on the product's grid, or the code of the float register.
    """
    contract, k = layer.contract, at[1]
    inputs, weights, padded = gathered(layer, x, *at)
    bias = bias_of(layer, k)
    if isinstance(contract.accumulator, ExactSum):
        products = [times(a, b) for a, b in zip(inputs, weights, strict=True)]
        grid = least(contract.input) * least(contract.weight, k)
        finite = [real(p) for p in products if not isinstance(p[1], str)]
        exact = sum(finite, aligned(bias, grid, contract.bias_rounding))
        signs = {p[0] for p in products if p[1] == INFINITY}
        total: Number = (exact < 0, abs(exact))
        if len(signs) == 2 or any(p[1] == NAN for p in products):
            total = (False, NAN)
        elif signs:
            total = (signs.pop(), INFINITY)
        code, event = finished(total, contract.output)
        assert (exact / grid).denominator == 1
        return code, int(exact / grid), (0, event, 0, 0, 0, 0, 0)
    acc = contract.accumulator
    left_out = [skipped(acc.schedule, a, b, p) for a, b, p in zip(inputs, weights, padded, strict=True)]
    products = [ZERO if left else times(a, b) for a, b, left in zip(inputs, weights, left_out, strict=True)]
    start = round_to(bias, acc.format, contract.bias_rounding)[0]
    extents = x.shape[1:] if layer.weight.ndim == 2 else layer.weight.shape[1:]
    total, at_acc, at_tree = register_sum(products, left_out, extents, start, acc)
    code, event = finished(total, contract.output)
    transient = 0
    if all(not isinstance(p[1], str) for p in products):
        exact = sum((real(p) for p in products), real(start))
        transient = 1 - round_to((exact < 0, abs(exact)), acc.format, acc.rounding)[1]
    return code, code_of(total, acc.format), (at_acc, event, at_tree, 0, at_acc * transient, at_tree * transient, 0)
