"""An oracle of the worked example's MAC unit, read off the header of its Verilog: fractions and plain comparisons, no hwsim."""

from __future__ import annotations

import math
from fractions import Fraction


def clip(value: int, bits: int) -> int:
    """The nearest number of so many bits, two's complement."""
    return sorted((-(2 ** (bits - 1)), value, 2 ** (bits - 1) - 1))[1]


def nearest(value: Fraction) -> int:
    """The nearest integer, of two the even one."""
    below = math.floor(value)
    candidates = [(abs(value - n), n % 2, n) for n in (below, below + 1)]
    return min(candidates)[2]


def code(pairs: list[tuple[int, int]], bias: int, shift: int, relu: bool, acc_bits: int, out_bits: int) -> int:
    """One output of the unit for its pairs (x, w) in order."""
    acc = bias
    for x, w in pairs:
        acc = clip(acc + x * w, acc_bits)
    rounded = nearest(Fraction(acc, 2**shift))
    return clip(max(rounded, 0) if relu else rounded, out_bits)
