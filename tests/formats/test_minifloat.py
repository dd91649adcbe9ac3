"""Minifloat: every code of every named format against ml_dtypes, every rounding against exact fractions."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.arith.rounding import Rounding
from hwsim.errors import ContractError
from hwsim.formats import Minifloat, Specials, catalog
from oracles.exact import rounded
from oracles.minifloat import INFINITY, NAN, oracle_of, ties_and_neighbours

MODES = list(Rounding)
by_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
THEIRS = {
    "binary16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "e5m2": ml_dtypes.float8_e5m2,
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e2m1": ml_dtypes.float4_e2m1fn,
    "e4m3_ieee": ml_dtypes.float8_e4m3,
    "e3m4_ieee": ml_dtypes.float8_e3m4,
    "e4m3_fnuz": ml_dtypes.float8_e4m3fnuz,
    "e5m2_fnuz": ml_dtypes.float8_e5m2fnuz,
    "e4m3_b11_fnuz": ml_dtypes.float8_e4m3b11fnuz,
}
SMALL = [name for name, f in catalog.FORMATS.items() if f.bits <= 8]
FLUSHING = Minifloat(4, 3, subnormals=False)
VARIANTS = {
    **{name: catalog.FORMATS[name] for name in SMALL},
    "e4m3_saturating": replace(catalog.E4M3, saturate=True),
    "e5m2_saturating": replace(catalog.E5M2, saturate=True),
    "fnuz_saturating": replace(catalog.E4M3_FNUZ, saturate=True),
    "flush": FLUSHING,
    "flush_fnuz": Minifloat(3, 2, subnormals=False, specials=Specials.FNUZ),
    "ristretto_negative_zero_code": catalog.ristretto(3, 2, zero_code=32),
    "ristretto_no_fraction": catalog.ristretto(4, 0),
    "no_fraction": Minifloat(3, 0, specials=Specials.FN),
}
by_theirs = pytest.mark.parametrize("name", THEIRS)
by_variant = pytest.mark.parametrize("f", VARIANTS.values(), ids=VARIANTS)

@st.composite
def minifloats(draw) -> Minifloat:
    """Any format of 8 bits or so."""
    man_bits, specials = draw(st.integers(0, 4)), draw(st.sampled_from(Specials))
    if man_bits == 0 and specials == Specials.IEEE:
        specials = Specials.FN
    bias = draw(st.none() | st.integers(-40, 40))
    saturate = specials == Specials.NONE or draw(st.booleans())
    return Minifloat(draw(st.integers(2, 4)), man_bits, bias, draw(st.booleans()), specials, saturate)


def same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether two float64 arrays have the same bits, all NaN taken for one."""
    nan = np.isnan(ours)
    if not np.array_equal(nan, np.isnan(theirs)):
        return False
    return np.array_equal(ours[~nan].view(np.int64), theirs[~nan].view(np.int64))


@by_theirs
def test_every_code_means_what_ml_dtypes_says_both_ways(name):
    f, theirs = catalog.named(name), np.dtype(THEIRS[name])
    codes = np.arange(1 << f.bits).astype(f.dtype)
    with np.errstate(invalid="ignore"):  # signalling NaN
        reals = codes.view(theirs).astype(np.float64)
    assert same(f.to_real(codes), reals)
    number = ~np.isnan(reals)
    for mode in (Rounding.TIES_EVEN, Rounding.FLOOR, Rounding.AWAY_FROM_ZERO):
        assert np.array_equal(f.encode_array(reals[number], mode), codes[number])
    assert np.array_equal(reals[number].astype(theirs).view(codes.dtype), codes[number])
    if f.has_nan:
        assert np.isnan(f.encode_array(reals[~number]).view(theirs).astype(np.float64)).all()


@by_theirs
def test_the_limits_are_those_of_ml_dtypes(name):
    f, info = catalog.named(name), ml_dtypes.finfo(THEIRS[name])
    assert f.bits == info.bits
    assert (f.largest, f.smallest) == (Fraction(float(info.max)), Fraction(float(info.min)))
    assert f.smallest_normal == Fraction(float(info.smallest_normal))
    assert f.smallest_subnormal == Fraction(float(info.smallest_subnormal))


@by_theirs
def test_a_dense_grid_casts_as_ml_dtypes_does_ties_to_even(name):
    """All their ties lie on the float32 grid that walks 12 bits of significand through every exponent."""
    f, theirs = catalog.named(name), np.dtype(THEIRS[name])
    low = int(np.floor(np.log2(float(f.smallest_subnormal)))) - 3
    high = min(int(np.floor(np.log2(float(f.largest)))) + 3, 128)
    significands = np.arange(4096, 8192, 1 if f.bits <= 8 else 7) / 4096
    grid = np.concatenate([significands * 2.0**e for e in range(max(low, -149), high)])
    grid = np.concatenate([grid, -grid, [0.0, -0.0, np.inf, -np.inf]]).astype(np.float32)
    if f.specials not in (Specials.IEEE, Specials.NONE):
        grid = grid[np.isfinite(grid)]  # refused: see below
    with np.errstate(over="ignore"):
        want = grid.astype(theirs).view(f.dtype)
    assert np.array_equal(f.encode_array(grid), want)


@by_variant
def test_every_code_decodes_to_what_its_digits_say(f):
    for code, (negative, value) in enumerate(oracle_of(f).codes):
        got = f.decode(code)
        real = f.to_real(np.array([code]))[0]
        if value == NAN:
            assert got != got and np.isnan(real)
        elif value == INFINITY:
            assert got == real == (-np.inf if negative else np.inf)
        else:
            assert got == Fraction(real) == (-value if negative else value)
            assert np.signbit(real) == (negative and (value != 0 or f.layout.signed_zero == 1))


@by_mode
@by_variant
def test_encode_of_every_tie_and_its_neighbours(f, mode):
    oracle = oracle_of(f)
    reals = ties_and_neighbours(f)
    want = [oracle.round(real, mode)[0] for real in reals]
    assert [f.encode(real, mode) for real in reals] == want
    assert f.encode_array(np.array([float(real) for real in reals]), mode).tolist() == want


@settings(max_examples=300)
@given(f=minifloats(), mode=st.sampled_from(MODES), data=st.data())
def test_any_format_encodes_any_fraction(f, mode, data):
    near = data.draw(st.sampled_from(oracle_of(f).grid)) * data.draw(st.sampled_from([-1, 1]))
    real = near * data.draw(st.fractions(Fraction(7, 8), Fraction(9, 8), max_denominator=10**9))
    assert f.encode(real, mode) == oracle_of(f).round(real, mode)[0]
    shown = float(real)
    assert f.encode_array([shown], mode).tolist() == [oracle_of(f).round(Fraction(shown), mode)[0]]


@given(f=minifloats())
def test_any_format_decodes_and_encodes_its_codes(f):
    for code, (negative, value) in enumerate(oracle_of(f).codes):
        if isinstance(value, Fraction):
            assert f.decode(code) == (-value if negative else value)
            if value != 0:
                assert f.encode(f.decode(code), Rounding.TIES_EVEN) == code
                assert f.encode_array(f.to_real(np.array([code])), Rounding.CEIL).tolist() == [code]


def expected_between(low: np.ndarray, mode: Rounding) -> dict[tuple[bool, int], np.ndarray]:
    """(negative, quarters) -> the magnitude code that a value so far above `low` rounds to, by rounding 2 and 3 plus it."""
    table = {}
    for negative in (False, True):
        for quarters in (1, 2, 3):
            sign = -1 if negative else 1
            up_from_even, up_from_odd = (abs(rounded(sign * (n + Fraction(quarters, 4)), mode)) - n for n in (2, 3))
            table[negative, quarters] = low + np.where(low % 2 == 0, up_from_even, up_from_odd)
    return table


@by_mode
@pytest.mark.parametrize("name", ["binary16", "bfloat16"])
def test_every_tie_of_16_bits_in_every_mode(name, mode):
    f = catalog.named(name)
    low = np.arange(f.layout.largest)
    a, b = f.to_real(low), f.to_real(low + 1)
    for (negative, quarters), want in expected_between(low, mode).items():
        real = a + (b - a) * (quarters / 4)
        got = f.encode_array(-real if negative else real, mode)
        assert np.array_equal(got.astype(np.int64), want + (negative << 15)), (negative, quarters)


def test_binary32_is_numpys_float32():
    rng = np.random.default_rng(7)
    codes = np.concatenate([rng.integers(0, 1 << 32, 20000), [0, 1 << 31, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000]])
    codes = codes.astype(np.uint32)
    with np.errstate(invalid="ignore"):  # signalling NaN
        reals = codes.view(np.float32).astype(np.float64)
    assert same(catalog.BINARY32.to_real(codes), reals)
    wide = rng.standard_normal(20000) * 2.0 ** rng.integers(-160, 132, 20000)
    with np.errstate(over="ignore"):
        assert np.array_equal(catalog.BINARY32.encode_array(wide), wide.astype(np.float32).view(np.uint32))


def bits_of_float32(real):
    word = f"{struct.unpack('>I', struct.pack('>f', real))[0]:032b}"
    return word[0] == "1", int(word[1:9], 2), int(word[9:], 2)


def trimmed(real, exp_bits, man_bits, mode):
    """Ristretto's published procedure on the fields of a float32."""
    negative, exponent, mantissa = bits_of_float32(real)
    bias = 2 ** (exp_bits - 1) - 1
    if exponent == 0 or exponent - 127 + bias < 0:
        return Fraction(0)
    exponent += bias - 127
    if exponent > 2**exp_bits - 1:
        exponent, mantissa = 2**exp_bits - 1, 2**man_bits - 1
    else:
        mantissa = rounded(Fraction(mantissa, 2 ** (23 - man_bits)), mode)
    value = (1 + Fraction(mantissa, 2**man_bits)) * Fraction(2) ** (exponent - bias)
    return -value if negative else value


def ristretto_grid(exp_bits):
    bias = 2 ** (exp_bits - 1) - 1
    reals = [m / 64 * 2.0**e for m in range(64, 128) for e in range(-bias - 2, 2**exp_bits - bias + 2)]
    return [s * r for r in reals for s in (1, -1)] + [0.0, 1e-40]


@pytest.mark.parametrize("mode", [Rounding.TIES_AWAY, Rounding.TIES_EVEN], ids=["cpu", "gpu"])
@pytest.mark.parametrize(("exp_bits", "man_bits"), [(4, 3), (4, 1), (5, 2), (6, 4)])
def test_ristretto_real_is_its_published_procedure(exp_bits, man_bits, mode):
    for real in ristretto_grid(exp_bits):
        assert catalog.ristretto_real(real, exp_bits, man_bits, mode) == trimmed(real, exp_bits, man_bits, mode), real


@pytest.mark.parametrize("mode", [Rounding.TIES_AWAY, Rounding.TIES_EVEN], ids=["cpu", "gpu"])
def test_hardware_departs_from_ristretto_in_two_places_only(mode):
    f = catalog.RISTRETTO_E4M3
    seen = set()
    for real in ristretto_grid(4):
        software, hardware = catalog.ristretto_real(real, 4, 3, mode), f.decode(f.encode(real, mode))
        if software == hardware:
            continue
        seen.add(software)
        assert (software, hardware) in {(512, 480), (-512, -480), (Fraction(1, 128), 0)}
    assert len(seen) == 3
    values = {catalog.ristretto_real(real, 4, 3, mode) for real in ristretto_grid(4)}
    assert len(values - {512, -512}) == 257  # one more than 8 bits have codes


def test_infinity_and_nan_enter_only_where_they_have_a_code():
    assert catalog.E5M2.encode(float("inf")) == 0x7C and catalog.E5M2.encode(float("-inf")) == 0xFC
    assert catalog.E5M2.encode(float("nan")) == 0x7E and catalog.E4M3.encode(np.float32("nan")) == 0x7F
    assert replace(catalog.E5M2, saturate=True).encode(float("-inf")) == 0xFB
    assert catalog.E2M1.encode(float("inf")) == 7 and catalog.E4M3_FNUZ.encode(float("nan")) == 0x80
    assert catalog.E5M2.encode_array([1.0, np.inf, np.nan]).tolist() == [0x3C, 0x7C, 0x7E]


@by_variant
def test_the_repr_rebuilds_the_format(f):
    assert eval(repr(f)) == f and hash(eval(repr(f))) == hash(f)
    assert f.dtype == np.uint8 and f.encode_array(np.zeros((2, 0, 3))).shape == (2, 0, 3)


NONE = {"specials": Specials.NONE, "saturate": True}


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Minifloat(1, 3), "Minifloat.exp_bits: found 1, allowed an integer in 2..8"),
        (lambda: Minifloat(9, 3), "Minifloat.exp_bits: found 9, allowed an integer in 2..8"),
        (lambda: Minifloat(4, -1), "Minifloat.man_bits: found -1, allowed an integer in 0..23"),
        (lambda: Minifloat(4, 24), "Minifloat.man_bits: found 24, allowed an integer in 0..23"),
        (lambda: Minifloat(4, True), "Minifloat.man_bits: found True"),
        (lambda: Minifloat(4, 3, bias=513), "Minifloat.bias: found 513, allowed an integer in -512..512"),
        (lambda: Minifloat(4, 3, subnormals=1), "Minifloat.subnormals: found 1, allowed True or False"),
        (lambda: Minifloat(4, 3, saturate=None), "Minifloat.saturate: found None, allowed True or False"),
        (lambda: Minifloat(4, 3, specials="IEEE"), "Minifloat.specials: found 'IEEE', allowed Specials.IEEE, Specials.FN"),
        (lambda: Minifloat(4, 3, specials=0), "Minifloat.specials: found 0, allowed Specials.IEEE"),
        (lambda: Minifloat(4, 0), "no code is left for NaN"),
        (lambda: Minifloat(4, 3, specials=Specials.NONE), "found False with Specials.NONE"),
        (lambda: Minifloat(4, 3, subnormals=False, zero_code=1, **NONE), "zero_code: found 1, allowed None, 0 or 128"),
        (lambda: Minifloat(4, 3, subnormals=False, zero_code=False, **NONE), "zero_code: found False"),
        (lambda: Minifloat(4, 3, zero_code=0, **NONE), "zero_code: found 0 with subnormals=True and Specials.NONE"),
        (lambda: Minifloat(4, 3, subnormals=False, zero_code=0), "with subnormals=False and Specials.IEEE"),
        (lambda: catalog.E5M2.decode(256), "found code 256, allowed 0..255"),
        (lambda: catalog.E5M2.decode(1.0), "found code 1.0"),
        (lambda: catalog.E5M2.to_real(np.array([-1])), "found codes -1..-1, allowed 0..255"),
        (lambda: catalog.E5M2.to_real(np.array([1.0])), "found dtype float64, allowed integers"),
        (lambda: catalog.E2M1.encode(float("nan")), "found nan; Minifloat("),
        (lambda: catalog.E4M3.encode(float("-inf")), "has no code for it"),
        (lambda: catalog.E4M3.encode_array(np.array([[1.0, 2.0], [np.inf, 0.0]])), "found inf at position (1, 0)"),
        (lambda: catalog.E4M3.encode_array(np.array(["a"])), "Minifloat.encode_array: found dtype <U1"),
        (lambda: catalog.E4M3.encode_array(np.array([1 << 60])), "found integers beyond 2**53"),
        (lambda: catalog.named("e9m9"), "found 'e9m9', allowed binary32, binary16"),
        (lambda: catalog.ristretto_real(float("nan"), 4, 3), "found nan; only finite"),
    ],
)
def test_a_format_refuses_in_one_sentence(build, said):
    with pytest.raises(ContractError) as caught:
        build()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
