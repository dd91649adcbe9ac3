"""Float registers in float64, where that provably rounds as the leaves do: each add in float64, then to the register's bits.

Proof that the double rounding is innocuous, for ties to even, a register of p bits and exact products: either every sum that
does not overflow is exact in 53 bits; or products have at most p bits on the register's own grid and 53 >= 2p + 2 (Figueroa
1995). An output in which any sum goes beyond the largest number is left to the leaves.
"""

from __future__ import annotations

import math

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loops
from hwsim.arith.float_finish import finish_code
from hwsim.arith.minifloat import round_pack
from hwsim.arith.rounding import Rounding
from hwsim.backends.jit.compile import compiled
from hwsim.contract.float_mac import FloatAccumulator
from hwsim.formats import FixedPoint, Format, Minifloat
from hwsim.layers.float_unit import FloatUnit, span_of

DOUBLE = 53
FAR = 400  # products of operands on grids from 2**-400 on are normal numbers of float64


def precision(fmt: Format) -> int:
    """Return the bits that a significand of this format has at most."""
    if isinstance(fmt, Minifloat):
        return fmt.man_bits + 1
    return fmt.bits if isinstance(fmt, FixedPoint) else 1


def rounds_alike(unit: FloatUnit, register: FloatAccumulator) -> bool:
    """Return whether float64 provably gives the register's sums; see the head of this file."""
    f, schedule = register.format, register.schedule
    plain = schedule.lanes == 1 and not schedule.skips and register.product is None
    if not plain or register.rounding != Rounding.TIES_EVEN or not f.subnormals:
        return False
    operands, span = (unit.contract.input, unit.contract.weight), span_of(f)
    grids = [span_of(operands[0]).exponent, *(span_of(operands[1], k).exponent for k in range(unit.channels))]
    widths = [span_of(operand).largest.bit_length() for operand in operands]
    if max(map(abs, (*grids, span.exponent))) + max(widths) > FAR:
        return False
    grid, top = grids[0] + min(grids[1:]), span.exponent + span.largest.bit_length()
    exact = top + 2 - min(grid, span.exponent) <= DOUBLE
    p = precision(f)
    return exact or sum(map(precision, operands)) <= p and grid >= span.exponent and 2 * p + 2 <= DOUBLE


def constants(register: FloatAccumulator) -> tuple[int, float, float, float]:
    """(bits that a float64 drops, smallest normal number, what rounds below it when added, largest number)."""
    f, least = register.format, span_of(register.format).exponent
    return 52 - f.man_bits, float(f.smallest_normal), 1.5 * 2.0 ** (52 + least), float(f.largest)


@compiled
def round_doubles(values, words, drop, normal, magic):
    """Round each float64 to even at `drop` bits above its last, or on the grid of the numbers below `normal`.

    words: the same memory as int64. A carry into the exponent is the right one.
    """
    half = (np.int64(1) << (drop - 1)) - 1
    mask = ~((np.int64(1) << drop) - 1)
    for k in range(values.size):
        value = values[k]
        if abs(value) < normal:
            values[k] = math.copysign((value + magic) - magic, value)
        else:
            words[k] = (words[k] + half + ((words[k] >> drop) & 1)) & mask


@compiled
def double_sums(first, last, x, w, taps, steps, bias, bias_last, rounding, f, rule, codes, acc, todo):
    """Sums in order, lanes of output channels side by side; returns the output events.

    x: float64 [N][H][W][C], +0 in the padding.  w: [taps][K].  taps: (c, r, s) of each step.  bias: numbers.
    rounding: `constants`.  todo: set to 1 where a sum left the register; such an output is not finished here.
    """
    _, height, width, channels = codes.shape
    groups = steps[4]
    share, per_group = channels // groups, x.shape[3] // groups
    drop, normal, magic, largest = rounding
    values, peak = np.empty(channels), np.empty(channels)
    words = values.view(np.int64)
    events = 0
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            if bias_last:
                values[:] = 0.0
            else:
                values[:] = bias
            peak[:] = 0.0
            for t in range(len(taps)):
                c, r, s = taps[t]
                pixel = x[n, y * steps[0] + r * steps[2], column * steps[1] + s * steps[3]]
                for g in range(groups):
                    number = pixel[g * per_group + c]
                    for k in range(g * share, (g + 1) * share):
                        values[k] += number * w[t, k]
                round_doubles(values, words, drop, normal, magic)
                for k in range(channels):
                    peak[k] = max(peak[k], abs(values[k]))
            if bias_last:
                values += bias
                round_doubles(values, words, drop, normal, magic)
                for k in range(channels):
                    peak[k] = max(peak[k], abs(values[k]))
            for k in range(channels):
                if peak[k] > largest:
                    todo[n, y, column, k] = 1
                    continue
                todo[n, y, column, k] = 0
                mantissa, exponent = math.frexp(abs(values[k]))
                sign = np.int64(math.copysign(1.0, values[k]) < 0)
                code = round_pack(sign, np.int64(mantissa * 9007199254740992.0), exponent - 53, 8, f)[0]
                if acc.size:
                    acc[n, y, column, k] = code
                codes[n, y, column, k], event = finish_code(code, f, rule)
                events += event
    return events
