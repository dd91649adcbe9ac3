"""Hypothesis strategies of formats and codes, in which corner values are likely and which shrink to plain ones.

Every strategy of hwsim.testing checks its arguments when it is called: what is impossible is an hwsim.InputError that names
the bounds, never an example that is silently left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint, Format, Minifloat, PowerOfTwo, Specials, ZeroCode, catalog
from hwsim.formats.fixed import MAX_BITS, MAX_FRACTIONAL_LENGTH
from hwsim.formats.integer import IntegerFormat
from hwsim.formats.minifloat import MAX_BIAS, MAX_MAN_BITS
from hwsim.formats.pow2 import MAX_EXPONENT
from hwsim.testing.bounds import check_bounds, check_int, chosen
from hwsim.testing.corners import corner_codes, extremes, stands_for_number, zero_code, zero_codes

MAX_CHANNELS = 4096
MAX_CODES = 1 << 28
"""Of one array, as of an image that a layer pads."""
LONG_TILE = 29
"""Entries of an array that are drawn one by one; a larger array repeats them. A prime, so that rows of it differ."""


MAX_APART = 3
"""By how many bits the fractional lengths of one format's channels differ at most."""


class Product(Enum):
    """What multiplies: FIXED integers, AFFINE ones less their zero points, SHIFT_ADD by powers of two, FLOAT minifloats."""

    FIXED = "fixed"
    AFFINE = "affine"
    SHIFT_ADD = "shift_add"
    FLOAT = "float"


def some_bits(low: int, high: int) -> SearchStrategy[int]:
    """Widths, half of them at most 8, and now and then 8 or 16 itself; they shrink to the least."""
    usual = [bits for bits in (8, 16) if low <= bits <= high]
    small = st.integers(low, max(low, min(high, 8)))
    return st.one_of(small, small, st.integers(low, high), *([st.sampled_from(usual)] if usual else []))


def fixed_formats(
    min_bits: int = 2,
    max_bits: int = 16,
    *,
    signed: bool | None = None,
    min_fractional_length: int = -4,
    max_fractional_length: int = 12,
    channels: int | None = None,
) -> SearchStrategy[FixedPoint]:
    """Dynamic fixed point of min_bits..max_bits; shrinks to few bits, signed, fractional length 0.

    signed: None for both.  channels: now and then one fractional length for each of so many output channels, within
    the bounds; None for a single one.  Errors: InputError, when it is called, for bounds that leave nothing.

    >>> fixed_formats(9, 8)
    Traceback (most recent call last):
    ...
    hwsim.errors.InputError: fixed_formats: found min_bits=9 above max_bits=8, so that nothing is left to draw; \
allowed is 1 <= min_bits <= max_bits <= 62.
    """
    where, most = "fixed_formats", MAX_BITS if signed is True else MAX_BITS - 2  # unsigned codes end there
    check_bounds(where, "bits", min_bits, max_bits, 1, most)
    reach = MAX_FRACTIONAL_LENGTH
    check_bounds(where, "fractional_length", min_fractional_length, max_fractional_length, -reach, reach)
    _check_channels(where, channels)
    signs = _signs(where, signed)
    lengths: SearchStrategy[Any] = st.integers(min_fractional_length, max_fractional_length)
    if channels is not None:
        near = st.integers(min_fractional_length, max(min_fractional_length, max_fractional_length - MAX_APART))
        apart = st.integers(0, min(MAX_APART, max_fractional_length - min_fractional_length))
        several = st.tuples(near, _per_channel(apart, channels)).map(lambda drawn: tuple(drawn[0] + more for more in drawn[1]))
        lengths = st.one_of(lengths, several)
    return st.builds(FixedPoint, some_bits(min_bits, max_bits), lengths, st.sampled_from(signs))


def _signs(where: str, signed: bool | None) -> tuple[bool, ...]:
    return chosen(f"{where}: signed", None if signed is None else (signed,), (True, False))


def _check_channels(where: str, channels: int | None) -> None:
    if channels is not None:
        check_int(f"{where}: channels", channels, 1, MAX_CHANNELS)


def _per_channel(values: SearchStrategy[Any], channels: int) -> SearchStrategy[tuple[Any, ...]]:
    """One value for every channel: at most 4 are drawn, and repeated."""
    drawn = st.lists(values, min_size=1, max_size=4)
    return drawn.map(lambda found: tuple(found[k % len(found)] for k in range(channels)))


def affine_formats(
    min_bits: int = 2,
    max_bits: int = 16,
    *,
    signed: bool | None = None,
    narrow: bool | None = False,
    channels: int | None = None,
) -> SearchStrategy[Affine]:
    """Affine formats of min_bits..max_bits; scales are powers of two or any float; zero points often 0 or at an end.

    narrow: whether the smallest code is left out, None for both.  channels: now and then one scale and zero point for each.
    Shrinks to few bits, signed, scale 1, zero point 0.
    """
    where, most = "affine_formats", MAX_BITS if signed is True else MAX_BITS - 2  # unsigned codes end there
    check_bounds(where, "bits", min_bits, max_bits, 2, most)
    _check_channels(where, channels)
    signs = _signs(where, signed)
    narrows = chosen(f"{where}: narrow", None if narrow is None else (narrow,), (False, True))
    return _affine_formats(min_bits, max_bits, signs, narrows, channels)


@st.composite
def _affine_formats(draw: DrawFn, low: int, high: int, signs: tuple, narrows: tuple, channels: int | None) -> Affine:
    plain = Affine(draw(some_bits(low, high)), 1.0, 0, draw(st.sampled_from(signs)), False)
    narrow = draw(st.sampled_from(narrows))
    zeros = zero_points(plain, narrow)
    if channels is None or draw(st.integers(0, 2)) < 2:
        return Affine(plain.bits, draw(SCALES), draw(zeros), plain.signed, narrow)
    scales, points = draw(_per_channel(SCALES, channels)), draw(_per_channel(zeros, channels))
    return Affine(plain.bits, scales, points, plain.signed, narrow)


SCALES = st.one_of(
    st.integers(0, 12).map(lambda power: 2.0**-power), st.floats(2.0**-16, 4.0, width=32, exclude_min=True, exclude_max=True)
)


def zero_points(fmt: Affine, narrow: bool) -> SearchStrategy[int]:
    """Zero points of a format: 0, its ends, its middle, any."""
    low, high = fmt.low + narrow, fmt.high
    corners = [min(max(0, low), high), low, high, (low + high + 1) // 2]
    return st.sampled_from(corners) | st.integers(low, high)


def minifloat_formats(
    min_bits: int = 4,
    max_bits: int = 16,
    *,
    subnormals: bool | None = None,
    specials: Iterable[Specials] | None = None,
    saturate: bool | None = None,
) -> SearchStrategy[Minifloat]:
    """Minifloats of min_bits..max_bits (3..32), sign included: the catalog's, and any split of the bits with any bias.

    subnormals, specials, saturate: None for all.  Specials.NONE always saturates, and some such formats without subnormals
    give up a code for zero.  Shrinks to few bits, IEEE.
    """
    where = "minifloat_formats"
    check_bounds(where, "bits", min_bits, max_bits, 3, 9 + MAX_MAN_BITS)
    kinds = chosen(f"{where}: specials", specials, Specials)
    below = chosen(f"{where}: subnormals", None if subnormals is None else (subnormals,), (True, False))
    beyond = chosen(f"{where}: saturate", None if saturate is None else (saturate,), (False, True))
    kinds = tuple(kind for kind in kinds if (True in beyond or kind != Specials.NONE) and (max_bits > 3 or kind != Specials.IEEE))
    if not kinds:
        raise InputError(
            f"{where}: found specials={specials!r} with saturate={saturate} and max_bits={max_bits}, allowed is Specials.NONE "
            "with saturate=True, and Specials.IEEE from 4 bits on, which leave a code for each special."
        )
    named = [
        fmt
        for fmt in catalog.FORMATS.values()
        if min_bits <= fmt.bits <= max_bits and fmt.specials in kinds and fmt.subnormals in below and fmt.saturate in beyond
    ]
    drawn = _minifloats(min_bits, max_bits, kinds, below, beyond)
    return st.one_of(drawn, st.sampled_from(named)) if named else drawn


@st.composite
def _minifloats(draw: DrawFn, low: int, high: int, kinds: tuple, below: tuple, beyond: tuple) -> Minifloat:
    specials = draw(st.sampled_from(kinds))
    least_man = int(specials == Specials.IEEE)
    bits = draw(st.integers(max(low, 3 + least_man), high))
    exp_bits = draw(st.integers(max(2, bits - 1 - MAX_MAN_BITS), min(8, bits - 1 - least_man)))
    subnormals = draw(st.sampled_from(below))
    saturate = True if specials == Specials.NONE else draw(st.sampled_from(beyond))
    usual = (1 << (exp_bits - 1)) - 1
    bias = draw(st.one_of(st.none(), st.none(), st.integers(usual - 8, usual + 8), st.integers(-MAX_BIAS, MAX_BIAS)))
    zero = None
    if specials == Specials.NONE and not subnormals:
        zero = draw(st.sampled_from([None, 0, 1 << (bits - 1)]))
    return Minifloat(exp_bits, bits - 1 - exp_bits, bias, subnormals, specials, saturate, zero)


def pow2_formats(
    min_exponent: int = -8, max_exponent: int = 8, *, max_bits: int = 8, zero: Iterable[ZeroCode] | None = None
) -> SearchStrategy[PowerOfTwo]:
    """Signed powers of two whose exponents lie in min_exponent..max_exponent; zero: which codes may mean 0, None for all.

    max_bits: of a code, 1..8.  Shrinks to the single exponent nearest to 0, with code 0 for zero.
    """
    where = "pow2_formats"
    check_bounds(where, "exponent", min_exponent, max_exponent, -MAX_EXPONENT, MAX_EXPONENT)
    check_int(f"{where}: max_bits", max_bits, 1, 8)
    kinds = chosen(f"{where}: zero", zero, (ZeroCode.FIRST, ZeroCode.LAST, ZeroCode.NONE))
    kinds = tuple(kind for kind in kinds if max_bits > 1 or kind is ZeroCode.NONE)
    if not kinds:
        raise InputError(f"{where}: found max_bits={max_bits} with zero={zero!r}, allowed from 2 bits on: a sign, a power or 0.")
    return _pow2_formats(min_exponent, max_exponent, 1 << (max_bits - 1), kinds)


@st.composite
def _pow2_formats(draw: DrawFn, low: int, high: int, indices: int, kinds: tuple) -> PowerOfTwo:
    zero = draw(st.sampled_from(kinds))
    top = draw(st.integers(low, high))
    most = min(top - low, indices - 1 - (zero is not ZeroCode.NONE))
    return PowerOfTwo(top - draw(st.integers(0, most)), top, zero)


def codes(fmt: Format, shape: int | tuple[int, ...] | None = None, *, finite: bool = True) -> SearchStrategy[Any]:
    """Codes of a format, its corners likely: one int, or an array of this shape in the format's dtype.

    A third of the codes are real 0, its neighbours and the extremes; a third are corners: powers of two (carry chains),
    alternating bits, and the neighbours of all of them; the others are any.  Arrays are sparse, constant, all at the ends, or
    mixed, and repeat the up to 29 codes that were drawn; or they are random.  Channels that differ in their zero points lie on
    the first axis.  finite: False for minifloats' NaN and infinities, too.  Shrinks to real 0 everywhere.

    >>> from hypothesis import find
    >>> find(codes(FixedPoint(8, 0)), lambda code: code > 100)
    127
    >>> find(codes(FixedPoint(8, 0), (2, 3)), lambda array: (array < 0).any())
    array([[-1,  0,  0],
           [ 0,  0,  0]], dtype=int8)
    """
    if not isinstance(fmt, (FixedPoint, Affine, PowerOfTwo, Minifloat)):
        raise InputError(f"codes: found the format {fmt!r}, allowed FixedPoint, Affine, PowerOfTwo and Minifloat.")
    if shape is None:
        return one_code(fmt, 0, finite)
    sides = (shape,) if isinstance(shape, int) else shape
    if not isinstance(sides, tuple) or not all(type(side) is int and side >= 1 for side in sides):
        raise InputError(f"codes: found shape {shape!r}, allowed an integer or a tuple of integers from 1 on, or None for one.")
    if math.prod(sides) > MAX_CODES:
        raise InputError(f"codes: found shape {shape!r}, which is {math.prod(sides)} codes, allowed at most {MAX_CODES}.")
    return _arrays(fmt, sides, finite)


def one_code(fmt: Format, channel: int, finite: bool) -> SearchStrategy[int]:
    """Zero, its neighbours and the ends; any corner; any code."""
    corners = corner_codes(fmt, channel, finite)
    return st.one_of(st.sampled_from(corners[:5]), st.sampled_from(corners), any_code(fmt, channel, finite))


def any_code(fmt: Format, channel: int, finite: bool) -> SearchStrategy[int]:
    """Any code, each as likely; shrinks to real 0 where the format has no words of sign and fields."""
    if isinstance(fmt, PowerOfTwo):
        signs = st.sampled_from((0, 1 << fmt.index_bits))
        return st.builds(int.__or__, st.integers(0, fmt.index_count - 1), signs)
    if isinstance(fmt, Minifloat) and finite:
        signs, most, zero = st.sampled_from((0, 1 << fmt.layout.sign_shift)), fmt.layout.largest, zero_code(fmt)
        drawn = st.builds(int.__or__, st.integers(0, most), signs)
        return drawn.map(lambda code: code if stands_for_number(code, fmt) else zero)  # FNUZ has a NaN for -0
    if isinstance(fmt, IntegerFormat) and fmt.zero(channel):
        zero = fmt.zero(channel)  # integers() shrinks towards 0, and this towards the zero point
        return st.integers(fmt.low - zero, fmt.high - zero).map(lambda value: value + zero)
    return st.integers(fmt.low, fmt.high)


class Pattern(Enum):
    """What an array looks like, the simplest first. MIXED: corners and others.  ANY: all codes alike, from a drawn seed."""

    SPARSE = "sparse"
    CONSTANT = "constant"
    ENDS = "ends"
    MIXED = "mixed"
    ANY = "any"


PATTERNS = (*Pattern, Pattern.ENDS, Pattern.ANY, Pattern.ANY)


@st.composite
def _arrays(draw: DrawFn, fmt: Format, shape: tuple[int, ...], finite: bool) -> np.ndarray:
    return draw_array(draw, fmt, shape, draw(st.sampled_from(PATTERNS)), finite)


def draw_array(draw: DrawFn, fmt: Format, shape: tuple[int, ...], pattern: Pattern, finite: bool = True) -> np.ndarray:
    """Draw an array of this pattern."""
    if pattern is Pattern.ANY:
        return any_codes(fmt, shape, draw(st.integers(0, (1 << 32) - 1)), finite)
    entries = one_code(fmt, 0, finite)
    if pattern is Pattern.SPARSE:
        return scattered(draw, fmt, shape, entries)
    if pattern is Pattern.CONSTANT:
        return laid_out(fmt, shape, [draw(entries)])
    ends = st.sampled_from((zero_code(fmt), *extremes(fmt)))
    return laid_out(fmt, shape, draw_tile(draw, ends if pattern is Pattern.ENDS else entries))


def any_codes(fmt: Format, shape: tuple[int, ...], seed: int, finite: bool = True) -> np.ndarray:
    """Return codes that are all alike likely, the same ones for a seed.

    >>> any_codes(FixedPoint(8, 0), (4,), 1).tolist()
    [-7, 3, 65, 115]
    """
    rng = np.random.default_rng(seed)
    if isinstance(fmt, PowerOfTwo):
        return rng.choice(np.array(fmt.codes), shape).astype(fmt.dtype)
    found = rng.integers(fmt.low, fmt.high, shape, endpoint=True)
    if isinstance(fmt, Minifloat) and finite:
        numbers = np.isfinite(fmt.to_real(found))
        found = np.where(numbers, found, zero_code(fmt))
    return np.asarray(found.astype(fmt.dtype))


def scattered(draw: DrawFn, fmt: Format, shape: tuple[int, ...], entries: SearchStrategy[int]) -> np.ndarray:
    """Draw an array that is real 0 but for a few entries: a list, so that shrinking can drop each of them alone."""
    size, found = math.prod(shape), []
    for at in draw(st.lists(st.integers(0, size - 1), max_size=4)):
        found.append((at, draw(entries)))
    tile = [zero_code(fmt)] * size
    for at, code in found:
        tile[at] = code
    return laid_out(fmt, shape, tile)


def draw_tile(draw: DrawFn, entries: SearchStrategy[int]) -> list[int]:
    """Draw a few entries or some more, whatever the shape, so that they stay what they are while the shape shrinks."""
    return draw(st.one_of(st.lists(entries, min_size=1, max_size=8), st.lists(entries, min_size=LONG_TILE, max_size=LONG_TILE)))


def laid_out(fmt: Format, shape: tuple[int, ...], tile: list[int]) -> np.ndarray:
    """Repeat codes of channel 0 over an array; in channels of another zero point they keep their distance from it.

    >>> laid_out(Affine(4, 1.0, (0, 7)), (2, 3), [-1, 2]).tolist()
    [[-1, 2, -1], [7, 6, 7]]
    """
    if not (isinstance(fmt, IntegerFormat) and fmt.per_channel):
        return np.resize(np.array(tile, dtype=fmt.dtype), shape)
    zeros = zero_codes(fmt, shape).astype(np.int64)
    apart = np.resize(np.array(tile, dtype=np.int64) - fmt.zero(0), shape)
    return np.asarray(np.clip(zeros + apart, fmt.low, fmt.high).astype(fmt.dtype))
