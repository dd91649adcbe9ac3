"""Which codes of a format are its corners: where sign, carry, saturation and rounding of a datapath go wrong first.

Plain functions without Hypothesis; the strategies draw from what they return.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np

from hwsim.arith.minifloat import is_infinite, is_nan
from hwsim.formats import Affine, FixedPoint, Format, Minifloat, PowerOfTwo
from hwsim.formats.integer import IntegerFormat


@lru_cache(maxsize=512)
def corner_codes(fmt: Format, channel: int = 0, finite: bool = True) -> tuple[int, ...]:
    """corner_codes(format) = its extremes, its zero point, powers of two, alternating bits, and the neighbours of all of them.

    Simplest first: real 0, then +1 and -1 code, then the extremes, then the others.  channel: whose zero point it is.
    finite: False lets a minifloat's infinities and NaNs in.

    >>> from hwsim.formats import FixedPoint
    >>> corner_codes(FixedPoint(4, 0))
    (0, 1, -1, 7, -8, 6, -7, 2, -2, 3, -3, 4, -4, 5, -5, -6)
    """
    if isinstance(fmt, PowerOfTwo):
        return _first_of_each(_power_codes(fmt))
    if isinstance(fmt, Minifloat):
        return tuple(code for code in _first_of_each(_float_codes(fmt)) if not finite or stands_for_number(code, fmt))
    assert isinstance(fmt, IntegerFormat)
    return tuple(code for code in _first_of_each(_integer_codes(fmt, channel)) if fmt.low <= code <= fmt.high)


def _first_of_each(codes: Iterable[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(codes))


def _integer_codes(fmt: IntegerFormat, channel: int) -> Iterator[int]:
    """Carry chains begin and end beside the powers of two, counted from 0 and from the zero point."""
    zero = fmt.zero(channel)
    yield from (zero, zero + 1, zero - 1, fmt.high, fmt.low, fmt.high - 1, fmt.low + 1)
    for base in (zero, 0):
        for power in (1 << i for i in range(fmt.bits)):
            for code in (power - 1, power, power + 1):
                yield from (base + code, base - code)
    alternating = int("01" * fmt.bits, 2)
    for word in (alternating, 2 * alternating):
        word &= (1 << fmt.bits) - 1
        yield word - (fmt.signed and word >> (fmt.bits - 1) << fmt.bits)


def _power_codes(fmt: PowerOfTwo) -> Iterator[int]:
    """Zero where it has a code (either sign reads as 0), the smallest, the largest and their neighbours."""
    sign = 1 << fmt.index_bits
    zero = fmt.encode(0)
    yield from (zero, fmt.encode(fmt.smallest), fmt.encode(fmt.largest))
    for index in (0, fmt.index_count - 1, 1, fmt.index_count - 2):
        if 0 <= index < fmt.index_count:
            yield from (index, index | sign)


def _float_codes(fmt: Minifloat) -> Iterator[int]:
    """Both zeros, +-1 and its neighbours, the ends of the subnormal numbers, the largest, what is beyond it."""
    man, largest, sign = fmt.man_bits, fmt.layout.largest, 1 << fmt.layout.sign_shift
    one = min(max(int(fmt.bias or 0), 0) << man, largest)
    normal = 1 << man
    yield from (fmt.layout.zero, 0, one, one | sign, largest, largest | sign, sign)
    places = [1, normal, normal - 1, normal + 1, one + 1, one - 1, largest - 1, largest >> man << man, one + normal, one - normal]
    places += [one + (normal >> 1), one + normal - 1, largest + 1, largest + 2, sign - 1]
    for magnitude in places:
        if 0 <= magnitude < sign:
            yield from (magnitude, magnitude | sign)


def stands_for_number(code: int, fmt: Minifloat) -> bool:
    """Return whether a minifloat's code is finite.

    >>> from hwsim.formats.catalog import E4M3
    >>> stands_for_number(0x7E, E4M3), stands_for_number(0x7F, E4M3)
    (True, False)
    """
    return not (is_nan(code, fmt.layout) or is_infinite(code, fmt.layout))


def zero_codes(fmt: Format, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of real 0, or of the least magnitude where no code means 0; channels lie on the first axis.

    >>> from hwsim.formats import Affine
    >>> zero_codes(Affine(8, 0.5, (3, -4)), (2, 2)).tolist()
    [[3, 3], [-4, -4]]
    """
    if not isinstance(fmt, IntegerFormat):
        return np.full(shape, zero_code(fmt), dtype=fmt.dtype)
    zeros = [fmt.zero(k) for k in range(shape[0] if shape and fmt.per_channel else 1)]
    column = np.array(zeros, dtype=fmt.dtype).reshape(-1, *[1] * max(len(shape) - 1, 0))
    return np.broadcast_to(column if shape else column[0], shape).copy()


def zero_code(fmt: Format, channel: int = 0) -> int:
    """Return the code of real 0, or of the least magnitude where no code means 0."""
    if isinstance(fmt, Minifloat):
        return int(fmt.layout.zero)
    return fmt.encode(0) if isinstance(fmt, PowerOfTwo) else fmt.zero(channel)


def extremes(fmt: Format) -> tuple[int, int]:
    """Return the codes of the smallest and of the largest number.

    >>> from hwsim.formats.catalog import E4M3
    >>> [hex(code) for code in extremes(E4M3)]
    ['0xfe', '0x7e']
    """
    if isinstance(fmt, Minifloat):
        return fmt.layout.largest | 1 << fmt.layout.sign_shift, fmt.layout.largest
    if isinstance(fmt, PowerOfTwo):
        return fmt.encode(fmt.smallest), fmt.encode(fmt.largest)
    assert isinstance(fmt, (FixedPoint, Affine))
    return fmt.low, fmt.high


def unit_codes(fmt: Format, channel: int = 0) -> tuple[int, ...]:
    """Return the codes through which a sum is moved in the least steps, the positive one first.

    +-1 code of integers, the two least powers of two, +-1.0 of minifloats, or the number nearest to it.

    >>> from hwsim.formats import FixedPoint, PowerOfTwo
    >>> unit_codes(FixedPoint(8, 4)), unit_codes(FixedPoint(8, 4, signed=False)), unit_codes(PowerOfTwo(-3, 0))
    ((1, -1), (1,), (1, 9))
    """
    if isinstance(fmt, PowerOfTwo):
        first = fmt.encode(2.0**fmt.exp_min)
        return first, first | 1 << fmt.index_bits
    if isinstance(fmt, Minifloat):
        one = min(max(int(fmt.bias or 0), 1) << fmt.man_bits, fmt.layout.largest)
        return one, one | 1 << fmt.layout.sign_shift
    zero = fmt.zero(channel)
    return tuple(code for code in (zero + 1, zero - 1) if fmt.low <= code <= fmt.high)
