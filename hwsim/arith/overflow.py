"""Overflow: what becomes of an exact integer that does not fit its register.

Leaves: they validate nothing and run on Python ints and on int64. Domain in int64: bits 1..64; a 64-bit register is int64
itself. Rounding comes first, overflow second.
"""

from enum import IntEnum


class Overflow(IntEnum):
    """WRAP keeps the low bits; SATURATE clips; SATURATE_SYMMETRIC clips to +-(2**(bits-1) - 1); TRAP stops."""

    WRAP = 0
    SATURATE = 1
    SATURATE_SYMMETRIC = 2
    TRAP = 3


def code_min(bits, signed):
    """code_min = -2**(bits-1) if signed else 0.

    >>> code_min(8, True), code_min(8, False)
    (-128, 0)
    """
    if signed:
        return -(1 << (bits - 1))
    return 0


def code_max(bits, signed):
    """code_max = 2**(bits-1) - 1 if signed else 2**bits - 1 (unsigned: bits <= 62 in int64).

    >>> code_max(8, True), code_max(8, False)
    (127, 255)
    """
    if signed:
        return (1 << (bits - 1)) - 1
    return (1 << bits) - 1


def wrap_signed(x, bits):
    """wrap_signed(x) = the value in -2**(bits-1)..2**(bits-1)-1 that equals x modulo 2**bits.

    >>> wrap_signed(130, 8), wrap_signed(-129, 8), wrap_signed(1 << 63, 64) == -(1 << 63)
    (-126, 127, True)
    """
    low = -(1 << (bits - 1))  # in int64 at 64 bits too, where its negative is not
    return (x & ~low) + low * ((x >> (bits - 1)) & 1)


def wrap_unsigned(x, bits):
    """wrap_unsigned(x) = x modulo 2**bits (bits <= 62 in int64).

    >>> wrap_unsigned(-1, 8)
    255
    """
    return x & ((1 << bits) - 1)


def wrap(x, bits, signed):
    """Return x modulo 2**bits, read as a signed or an unsigned code."""
    if signed:
        return wrap_signed(x, bits)
    return wrap_unsigned(x, bits)


def fits(x, low, high):
    """Return whether low <= x <= high: the step is no event."""
    return (x >= low) & (x <= high)


def saturate(x, low, high):
    """saturate(x) = clip(x, low, high).

    >>> saturate(300, -128, 127), saturate(-300, -127, 127)
    (127, -127)
    """
    if x < low:
        return low
    if x > high:
        return high
    return x


def sum_fits(a, b, low, high):
    """Return whether low <= a + b <= high, without ever leaving int64: the room is tested before the add.

    Domain: a any int64; low <= b <= high; low <= 0 <= high; so accumulators of 63 and 64 bits are covered.

    >>> sum_fits(100, 27, -128, 127), sum_fits(100, 28, -128, 127), sum_fits((1 << 63) - 1, 1, -(1 << 63), (1 << 63) - 1)
    (True, False, False)
    """
    if b >= 0:
        if a > high - b:
            return False
        return (a >= low) | (a + b >= low)
    if a < low - b:
        return False
    return (a <= high) | (a + b <= high)
