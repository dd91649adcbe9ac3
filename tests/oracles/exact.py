"""The rules of rounding and overflow a second time, on fractions.Fraction, by their meaning and not by any formula.

A rounding mode picks one of the two integers next to a value. Directed modes pick by order or by distance from zero; the
others pick the nearer one, and at equal distance by the word in their name. Overflow picks the one integer that is
congruent, or the nearest one inside. Nothing here shares code, quotients or remainders with hwsim.arith.
"""

from __future__ import annotations

from fractions import Fraction

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding

PICKS = {
    Rounding.FLOOR: min,
    Rounding.CEIL: max,
    Rounding.TOWARD_ZERO: lambda two: min(two, key=abs),
    Rounding.AWAY_FROM_ZERO: lambda two: max(two, key=abs),
}
TIES = {
    Rounding.TIES_UP: max,
    Rounding.TIES_DOWN: min,
    Rounding.TIES_AWAY: lambda two: max(two, key=abs),
    Rounding.TIES_TO_ZERO: lambda two: min(two, key=abs),
    Rounding.TIES_EVEN: lambda two: next(v for v in two if str(v)[-1] in "02468"),
    Rounding.TIES_ODD: lambda two: next(v for v in two if str(v)[-1] in "13579"),
}


def neighbours(value: Fraction) -> tuple[int, int]:
    """Return the integers just below and just above a value that is none: truncation, put right by comparison."""
    below = int(value)
    while below > value:
        below -= 1
    assert below < value < below + 1
    return below, below + 1


def rounded(value: Fraction | int, mode: Rounding) -> int:
    """Return the integer that a mode picks for a value."""
    value = Fraction(value)
    if value.denominator == 1:
        return value.numerator
    two = neighbours(value)
    if mode in PICKS:
        return PICKS[mode](two)
    distance = [abs(value - v) for v in two]
    if distance[0] != distance[1]:
        return two[distance.index(min(distance))]
    return TIES[mode](two)


def limits(bits: int, signed: bool, mode: Overflow = Overflow.SATURATE) -> tuple[int, int]:
    """Return the smallest and largest code that an overflow mode lets through, by counting the codes."""
    codes = 2**bits
    low = -(codes // 2) if signed else 0
    high = low + codes - 1
    return (-high if signed and mode == Overflow.SATURATE_SYMMETRIC else low), high


def wrapped(value: int, bits: int, signed: bool) -> int:
    """Return the one code that differs from the value by a multiple of 2**bits: read off its two's complement digits."""
    width = max(bits, value.bit_length() + 1)
    width = -(-width // 8) * 8
    digits = "".join(f"{byte:08b}" for byte in value.to_bytes(width // 8, "big", signed=True))[-bits:]
    code = sum(2**i for i, digit in enumerate(reversed(digits)) if digit == "1")
    return code - 2**bits if signed and digits[0] == "1" else code


def fitted(value: int, mode: Overflow, bits: int, signed: bool) -> int:
    """Return what becomes of an exact integer in a register (TRAP leaves what WRAP leaves)."""
    low, high = limits(bits, signed, mode)
    if mode in (Overflow.WRAP, Overflow.TRAP):
        return wrapped(value, bits, signed)
    return sorted((low, value, high))[1]


def stored(
    real: Fraction, fl: int, bits: int, signed: bool, rounding: Rounding, overflow: Overflow, activation: Activation
) -> tuple[int, int]:
    """Return (code, event) of a real value that leaves a datapath into a register of that format."""
    if activation == Activation.RELU_BEFORE_REQUANTIZE and real < 0:
        real = Fraction(0)
    value = rounded(real / Fraction(2) ** -fl, rounding)
    low, high = limits(bits, signed, overflow)
    code = fitted(value, overflow, bits, signed)
    if activation == Activation.RELU_AFTER_REQUANTIZE and code < 0:
        code = 0
    return code, int(value < low or value > high)
