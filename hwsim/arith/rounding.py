"""Rounding: what becomes of the bits that are dropped. Names say where ties go.

Every rule takes the quotient and the remainder first, then one line per mode, so `x >> 0` is exact in all of them.
The functions are leaves: they validate nothing. The same text runs on Python ints (no bound), on int64 in numba and on
int64 numpy arrays (hence `|` and `&` in place of `or` and `and`). Domain in int64: 0 <= shift <= 62, 1 <= unit <= 2**62.
"""

from enum import IntEnum


class Rounding(IntEnum):
    """Where x / unit goes when it is not an integer: FLOOR..AWAY_FROM_ZERO always, TIES_* only at one half."""

    FLOOR = 0
    CEIL = 1
    TOWARD_ZERO = 2
    AWAY_FROM_ZERO = 3
    TIES_UP = 4
    TIES_DOWN = 5
    TIES_AWAY = 6
    TIES_TO_ZERO = 7
    TIES_EVEN = 8
    TIES_ODD = 9


def increment(q, r, unit, mode):
    """Return whether (q*unit + r) / unit rounds to q + 1 instead of q, for 0 <= r < unit.

    The sign of the exact value is the sign of q: q < 0 means below zero, since q is the floor.

    >>> [int(increment(2, 1, 2, mode)) for mode in Rounding]  # 2.5
    [0, 1, 0, 1, 1, 0, 1, 0, 0, 1]
    """
    twice = r + r  # shift-add units round here, and they own no multiplier
    if mode == Rounding.FLOOR:
        return r < 0  # never: the remainder is not negative
    if mode == Rounding.CEIL:
        return r > 0
    if mode == Rounding.TOWARD_ZERO:
        return (r > 0) & (q < 0)
    if mode == Rounding.AWAY_FROM_ZERO:
        return (r > 0) & (q >= 0)
    if mode == Rounding.TIES_UP:
        return twice >= unit
    if mode == Rounding.TIES_DOWN:
        return twice > unit
    if mode == Rounding.TIES_AWAY:
        return (twice > unit) | ((twice == unit) & (q >= 0))
    if mode == Rounding.TIES_TO_ZERO:
        return (twice > unit) | ((twice == unit) & (q < 0))
    if mode == Rounding.TIES_EVEN:
        return (twice > unit) | ((twice == unit) & (q & 1 == 1))
    return (twice > unit) | ((twice == unit) & (q & 1 == 0))


def round_shift(x, shift, mode):
    """round_shift(x, s) = round(x / 2**s); a negative shift is the exact left shift x * 2**-s.

    x: int.  shift [bits]: -62..62 in int64, and a left shift must fit.  mode: Rounding.

    >>> round_shift(11, 2, Rounding.TIES_EVEN), round_shift(10, 2, Rounding.TIES_EVEN), round_shift(3, -2, 0)
    (3, 2, 12)
    """
    if shift <= 0:
        return x << -shift
    q = x >> shift
    return q + increment(q, x - (q << shift), 1 << shift, mode)


def round_ratio(x, unit, mode):
    """round_ratio(x, u) = round(x / u) for u >= 1: exact division, the same rule as round_shift for any unit.

    >>> round_ratio(-7, 2, Rounding.TIES_AWAY), round_ratio(-7, 3, Rounding.TIES_AWAY)
    (-4, -2)
    """
    q = x // unit
    return q + increment(q, x - q * unit, unit, mode)
