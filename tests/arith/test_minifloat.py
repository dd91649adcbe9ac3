"""Adds, multiplies, multiply-adds and casts: the exact result of Fraction, rounded once. Compiled leaves like the plain ones."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwsim.arith import minifloat as plain
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.formats import Minifloat, Specials, catalog
from oracles.exact import limits, rounded, stored
from oracles.minifloat import INFINITY, NAN, oracle_of

MODES = list(Rounding)
by_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
PAIRED = {
    "e4m3": catalog.E4M3,
    "e5m2": catalog.E5M2,
    "e4m3_saturating": replace(catalog.E4M3, saturate=True),
    "e5m2_saturating": replace(catalog.E5M2, saturate=True),
    "ristretto_e4m3": catalog.RISTRETTO_E4M3,
    "e4m3_fnuz": catalog.E4M3_FNUZ,
    "flush": Minifloat(4, 3, subnormals=False),
}
EIGHT = [*PAIRED.values(), catalog.E3M2, catalog.E2M3, catalog.E2M1, catalog.E3M4_IEEE, Minifloat(3, 0, specials=Specials.FN)]
SINGLE = ("multiply_add_floats", "cast_float", "float_from_fixed", "fixed_from_float")
by_paired = pytest.mark.parametrize("name", PAIRED)


@pytest.fixture(scope="session")
def compiled() -> SimpleNamespace:
    """The leaves compiled as they stand, and one loop over arrays of operands for each."""
    numba = pytest.importorskip("numba")
    import hwsim.backends.jit.leaves  # noqa: F401 - registers them

    def over_pairs(leaf):
        @numba.njit
        def loop(a, of_a, b, of_b, f, mode):
            codes, events = np.empty(a.size, np.int64), np.empty(a.size, np.int64)
            for i in range(a.size):
                codes[i], events[i] = leaf(a[i], of_a, b[i], of_b, f, mode)
            return codes, events

        return loop

    return SimpleNamespace(
        add=over_pairs(plain.add_floats),
        multiply=over_pairs(plain.multiply_floats),
        **{name: numba.njit(getattr(plain, name)) for name in SINGLE},
    )


def pairs(f: Minifloat) -> tuple[np.ndarray, np.ndarray]:
    count = 1 << f.bits
    return np.repeat(np.arange(count), count), np.tile(np.arange(count), count)


def exact_sum(x, y, mode):
    """(meaning, negative zero) of the sum of two meanings, by IEEE's table of specials."""
    (neg_x, x), (neg_y, y) = x, y
    if NAN in (x, y) or (x == y == INFINITY and neg_x != neg_y):
        return NAN, False
    if INFINITY in (x, y):
        return INFINITY, neg_x if x == INFINITY else neg_y
    total = (-x if neg_x else x) + (-y if neg_y else y)
    if x == y == 0 and neg_x == neg_y:
        return total, neg_x
    return total, mode == Rounding.FLOOR


def exact_product(x, y, mode):
    (neg_x, x), (neg_y, y) = x, y
    if NAN in (x, y) or {INFINITY, 0} == {x, y}:
        return NAN, False
    if INFINITY in (x, y):
        return INFINITY, neg_x != neg_y
    return (-1 if neg_x != neg_y else 1) * x * y, neg_x != neg_y


def delivered(f: Minifloat, value, negative: bool, mode) -> tuple[int, int]:
    """(code, event) that a format gives for an exact result."""
    if isinstance(value, str):
        return oracle_of(f).special(value, negative), 0
    return oracle_of(f).round(value, mode, negative)


def expected(f: Minifloat, exact, x, y, mode) -> tuple[int, int]:
    return delivered(f, *exact(x, y, mode), mode)


@cache
def exact_results(f: Minifloat, exact, floor: bool) -> tuple[list, np.ndarray]:
    """(distinct exact results, which one each pair of codes has); both operations commute."""
    meanings = oracle_of(f).codes
    seen: dict = {}
    which = np.empty((len(meanings), len(meanings)), dtype=np.int64)
    for i, x in enumerate(meanings):
        for j, y in enumerate(meanings[: i + 1]):
            result = exact(x, y, Rounding.FLOOR if floor else Rounding.CEIL)
            which[i, j] = which[j, i] = seen.setdefault(result, len(seen))
    return list(seen), which.ravel()


@by_mode
@pytest.mark.parametrize("operation", ["add", "multiply"])
@pytest.mark.parametrize("name", ["e4m3", "e5m2"])
def test_every_pair_of_codes_in_every_mode(compiled, name, operation, mode):
    f = PAIRED[name]
    results, which = exact_results(f, exact_sum if operation == "add" else exact_product, mode == Rounding.FLOOR)
    want = np.array([delivered(f, *result, mode) for result in results])[which]
    a, b = pairs(f)
    codes, events = getattr(compiled, operation)(a, f.layout, b, f.layout, f.layout, mode)
    assert np.array_equal(codes, want[:, 0]) and np.array_equal(events, want[:, 1])


@pytest.mark.parametrize("operation", ["add", "multiply"])
@by_paired
def test_plain_and_compiled_leaves_on_pairs_of_every_row_a_mode_each(compiled, name, operation):
    f = PAIRED[name]
    exact = exact_sum if operation == "add" else exact_product
    leaf = plain.add_floats if operation == "add" else plain.multiply_floats
    meanings = oracle_of(f).codes
    a, b = pairs(f)
    for i in range(0, a.size, 31):
        mode = MODES[i % 10]
        x, y = int(a[i]), int(b[i])
        got = leaf(x, f.layout, y, f.layout, f.layout, mode)
        assert got == expected(f, exact, meanings[x], meanings[y], mode), (x, y, mode)
    for mode in MODES:
        codes, events = getattr(compiled, operation)(a[::197], f.layout, b[::197], f.layout, f.layout, mode)
        both = [leaf(int(x), f.layout, int(y), f.layout, f.layout, mode) for x, y in zip(a[::197], b[::197], strict=True)]
        assert list(zip(codes.tolist(), events.tolist(), strict=True)) == both


def same_numbers(ours: np.ndarray, theirs: np.ndarray, f: Minifloat) -> None:
    nan = np.isnan(theirs.astype(np.float64))
    assert np.array_equal(np.isnan(f.to_real(ours)), nan)
    assert np.array_equal(ours[~nan], theirs.view(f.dtype)[~nan].astype(np.int64))


@pytest.mark.parametrize(("name", "theirs"), [("e4m3", ml_dtypes.float8_e4m3fn), ("e5m2", ml_dtypes.float8_e5m2)])
def test_every_pair_as_ml_dtypes_ties_to_even(compiled, name, theirs):
    """They compute in float32: 24 bits are at least 2 * 4 + 2, so their second rounding is innocuous (Figueroa 1995)."""
    f = PAIRED[name]
    a, b = pairs(f)
    x, y = (codes.astype(np.uint8).view(theirs) for codes in (a, b))
    with np.errstate(all="ignore"):
        same_numbers(compiled.add(a, f.layout, b, f.layout, f.layout, Rounding.TIES_EVEN)[0], x + y, f)
        same_numbers(compiled.multiply(a, f.layout, b, f.layout, f.layout, Rounding.TIES_EVEN)[0], x * y, f)


def extremes(f: Minifloat, rng) -> np.ndarray:
    """Codes around every power of two, the ends of the range, and as many random ones, of either sign."""
    f_top = f.layout.largest + 1
    powers = np.arange(0, f_top + 1, 1 << f.man_bits)
    some = np.concatenate([powers[:, None] + np.arange(-2, 3), powers[:, None] + (1 << f.man_bits >> 1)], axis=1).ravel()
    some = np.concatenate([some, [f_top, f_top - 1, 1, 0], rng.integers(0, f_top, some.size)])
    some = some[(some >= 0) & (some <= f_top)]
    return np.concatenate([some, some + (1 << f.layout.sign_shift)])


@pytest.mark.parametrize(("f", "theirs"), [(catalog.BINARY16, np.float16), (catalog.BINARY32, np.float32)], ids=["16", "32"])
def test_binary16_and_binary32_as_numpy_ties_to_even(compiled, f, theirs):
    rng = np.random.default_rng(11)
    some = extremes(f, rng)
    a, b = rng.choice(some, 200_000), rng.choice(some, 200_000)
    near = rng.integers(-40, 40, a.size)  # exponents close enough for the smaller term to reach the rounding
    b[::2] = np.clip((a + (near << f.man_bits) + rng.integers(-9, 9, a.size)), 0, (1 << f.bits) - 1)[::2]
    x, y = (codes.astype(f.dtype).view(theirs) for codes in (a, b))
    with np.errstate(all="ignore"):
        same_numbers(compiled.add(a, f.layout, b, f.layout, f.layout, Rounding.TIES_EVEN)[0], x + y, f)
        same_numbers(compiled.multiply(a, f.layout, b, f.layout, f.layout, Rounding.TIES_EVEN)[0], x * y, f)


@by_mode
def test_binary16_at_ties_and_extremes_in_every_mode(compiled, mode):
    f = catalog.BINARY16
    rng = np.random.default_rng(13)
    some = extremes(f, rng)
    a, b = rng.choice(some, 1200), rng.choice(some, 1200)
    # the half of an ulp of a, and its neighbours: sums that are ties or just beside one
    fields = (a & 0x7FFF) >> 10
    half = np.where(fields > 11, (fields - 11) << 10, 1) + rng.integers(0, 2, a.size)
    b[::2] = (half | rng.integers(0, 2, a.size) << 15)[::2]
    meanings = oracle_of(f).codes
    for operation, exact in (("add", exact_sum), ("multiply", exact_product)):
        codes, events = getattr(compiled, operation)(a, f.layout, b, f.layout, f.layout, mode)
        want = [expected(f, exact, meanings[x], meanings[y], mode) for x, y in zip(a, b, strict=True)]
        assert list(zip(codes.tolist(), events.tolist(), strict=True)) == want


wide = st.builds(Minifloat, st.integers(2, 8), st.integers(1, 23), st.none() | st.integers(-512, 512), st.booleans())


def ulp_at_the_top(f: Minifloat) -> Fraction:
    return f.largest - f.decode(f.layout.largest - 1)


def draw_code(data, f: Minifloat) -> int:
    magnitude = data.draw(st.integers(0, f.layout.largest) | st.sampled_from([0, 1, f.layout.largest, 1 << f.man_bits]))
    return magnitude | data.draw(st.integers(0, 1)) << f.layout.sign_shift


@settings(max_examples=400)
@given(formats=st.tuples(wide, wide, wide, wide), mode=st.sampled_from(MODES), data=st.data())
def test_multiply_add_of_any_formats_rounds_the_exact_result_once(compiled, formats, mode, data):
    a_f, b_f, c_f, f = formats
    a, b, c = (draw_code(data, g) for g in (a_f, b_f, c_f))
    exact = a_f.decode(a) * b_f.decode(b) + c_f.decode(c)
    args = (a, a_f.layout, b, b_f.layout, c, c_f.layout, f.layout, mode)
    code, event = plain.multiply_add_floats(*args)
    assert compiled.multiply_add_floats(*args) == (code, event)
    if exact != 0:
        assert code == f.encode(exact, mode)  # the codec is held to the oracle in tests/formats
        assert event == 1 or abs(exact) < f.largest + ulp_at_the_top(f)
        assert event == 0 or abs(exact) > f.largest
    else:
        assert code & ~(1 << f.layout.sign_shift) == 0 and event == 0


@settings(max_examples=300)
@given(f=wide, g=wide, mode=st.sampled_from(MODES), data=st.data())
def test_an_add_across_far_exponents_rounds_the_exact_sum(compiled, f, g, mode, data):
    a, b = draw_code(data, f), draw_code(data, g)
    exact = f.decode(a) + g.decode(b)
    one = np.array([a]), f.layout, np.array([b]), g.layout, f.layout, mode
    codes, events = compiled.add(*one)
    assert (codes[0], events[0]) == plain.add_floats(a, f.layout, b, g.layout, f.layout, mode)
    if exact != 0:
        assert codes[0] == f.encode(exact, mode)


SUM_EDGES = st.integers(0, (1 << 48) - 1) | st.sampled_from([1, (1 << 47) - 1, 1 << 47, (1 << 48) - 1])


# A tie of the upper bits, and one bit below all that fits: in units of the sum's last bit, 2**60 + 2**36 + 2**-11
@example(a=1 << 47, b=(1 << 47) + 1, signs=0, gap=-24, mode=Rounding.TIES_EVEN)
@example(a=1 << 47, b=(1 << 47) + 1, signs=2, gap=-25, mode=Rounding.TIES_ODD)
@settings(max_examples=400)
@given(a=SUM_EDGES, b=SUM_EDGES, signs=st.integers(0, 3), gap=st.integers(-140, 140), mode=st.sampled_from(MODES))
def test_add_exact_stays_in_int64_and_rounds_as_the_exact_sum(a, b, signs, gap, mode):
    f = catalog.BINARY32.layout
    sign, significand, exponent = plain.add_exact(signs & 1, a, 0, signs >> 1, b, gap, mode)
    exact = (-a if signs & 1 else a) + (-b if signs >> 1 else b) * Fraction(2) ** gap
    assert significand < 1 << 62
    if exact == 0:
        assert significand == 0 and sign == (signs & 1 if a == 0 and signs in (0, 3) else mode == Rounding.FLOOR)
    else:
        scale = (exact.denominator.bit_length() - 1) if exact.denominator > 1 else 0
        want = plain.round_pack(int(exact < 0), abs(exact.numerator), -scale, mode, f)
        assert plain.round_pack(sign, significand, exponent, mode, f) == want


def test_every_code_casts_to_every_format_of_8_bits_or_fewer(compiled):
    for f in EIGHT:
        for g in EIGHT:
            for code, (negative, value) in enumerate(oracle_of(f).codes):
                mode = MODES[code % 10]
                if isinstance(value, str):
                    want = oracle_of(g).special(value, negative and value == INFINITY), 0
                else:
                    want = oracle_of(g).round(-value if negative else value, mode, negative)
                assert plain.cast_float(code, f.layout, g.layout, mode) == want, (f, g, code, mode)
                assert compiled.cast_float(code, f.layout, g.layout, mode) == want, (f, g, code, mode)


@by_mode
def test_every_8_bit_fixed_point_code_becomes_a_float(compiled, mode):
    for f in EIGHT:
        for fl in (-3, 4, 9):
            for code in range(-128, 128):
                want = oracle_of(f).round(Fraction(code) / Fraction(2) ** fl, mode)
                assert plain.float_from_fixed(code, fl, f.layout, mode) == want, (f, fl, code)
    for code in (-(1 << 62) + 1, (1 << 62) - 1, 12345):
        for fl in (-30, 0, 62, 300):
            args = (code, fl, catalog.BINARY16.layout, mode)
            assert compiled.float_from_fixed(*args) == plain.float_from_fixed(*args)


@by_mode
@pytest.mark.parametrize("overflow", list(Overflow), ids=lambda overflow: overflow.name)
def test_every_code_becomes_a_fixed_point_code(overflow, mode):
    for f in (catalog.E4M3, catalog.E5M2, catalog.RISTRETTO_E4M3):
        for bits, signed, fl in ((8, True, 3), (5, False, -2), (12, True, 20)):
            low, high = limits(bits, signed, overflow)
            for code, (negative, value) in enumerate(oracle_of(f).codes):
                got = plain.fixed_from_float(code, f.layout, fl, mode, overflow, bits, signed, low, high)
                if value == NAN:
                    assert got == (0, 1)
                elif value == INFINITY:
                    assert got == (low if negative else high, 1)
                else:
                    assert got == stored(-value if negative else value, fl, bits, signed, mode, overflow, Activation.NONE)


@settings(max_examples=300)
@given(f=wide, fl=st.integers(-256, 256), bits=st.integers(1, 62), mode=st.sampled_from(MODES), data=st.data())
def test_a_float_of_any_range_becomes_a_fixed_point_code_within_int64(compiled, f, fl, bits, mode, data):
    code, overflow = draw_code(data, f), data.draw(st.sampled_from(list(Overflow)))
    low, high = limits(bits, True, overflow)
    args = (code, f.layout, fl, mode, overflow, bits, True, low, high)
    want = stored(f.decode(code), fl, bits, True, mode, overflow, Activation.NONE)
    assert plain.fixed_from_float(*args) == want
    assert compiled.fixed_from_float(*args) == want


@pytest.mark.parametrize("overflow", list(Overflow), ids=lambda overflow: overflow.name)
def test_the_widest_register_at_the_edge_of_int64(compiled, overflow):
    f = catalog.BINARY32  # 1.11..1 * 2**0: its code is all fraction, its significand 2**24 - 1
    low, high = limits(62, True, overflow)
    for code in (0x3FFFFFFF, 0xBFFFFFFF, 0x3F800001, 0xBF800000):
        for fl in range(55, 92):
            args = (code, f.layout, fl, Rounding.FLOOR, overflow, 62, True, low, high)
            want = stored(f.decode(code), fl, 62, True, Rounding.FLOOR, overflow, Activation.NONE)
            assert plain.fixed_from_float(*args) == compiled.fixed_from_float(*args) == want, (code, fl)


def test_the_signs_of_exact_zeros_are_ieees():
    f = catalog.E5M2.layout
    one, minus_one, minus_zero = 0x3C, 0xBC, 0x80
    for mode in MODES:
        down = mode == Rounding.FLOOR
        assert plain.add_floats(one, f, minus_one, f, f, mode) == (minus_zero if down else 0, 0)
        assert plain.add_floats(0, f, minus_zero, f, f, mode) == (minus_zero if down else 0, 0)
        assert plain.add_floats(minus_zero, f, minus_zero, f, f, mode) == (minus_zero, 0)
        assert plain.multiply_floats(minus_one, f, 0, f, f, mode) == (minus_zero, 0)
        assert plain.multiply_add_floats(one, f, one, f, minus_one, f, f, mode) == (minus_zero if down else 0, 0)


def test_specials_of_a_multiply_add():
    f = catalog.E5M2.layout
    one, infinity, minus_infinity, nan = 0x3C, 0x7C, 0xFC, 0x7E
    for (a, b, c), want in {
        (infinity, one, one): infinity,
        (infinity, one, minus_infinity): nan,
        (infinity, 0, one): nan,
        (one, one, minus_infinity): minus_infinity,
        (minus_infinity, one, minus_infinity): minus_infinity,
        (0x7D, one, one): nan,
        (one, one, 0xFF): nan,
    }.items():
        assert plain.multiply_add_floats(a, f, b, f, c, f, f, Rounding.TIES_EVEN) == (want, 0), (a, b, c)


def test_a_sum_of_91_bits_rounds_as_its_fraction():
    """Python ints have no bound: what an exact accumulator of binary16 ends with."""
    f = catalog.BINARY16
    for total in ((1 << 90) + (1 << 79), (1 << 90) + (1 << 79) + 1, (1 << 91) - 1):
        for mode in MODES:
            want = oracle_of(f).round(Fraction(total, 1 << 80), mode)
            assert plain.round_pack(0, total, -80, mode, f.layout) == want
            assert rounded(Fraction(total, 1 << 80), mode) > 0
