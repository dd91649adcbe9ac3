"""PowerOfTwo: codes and reals against exact fractions; nearest in log2 by squares, nearest in value by distances."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hwsim.errors import ContractError
from hwsim.formats.pow2 import Nearest, PowerOfTwo, ZeroCode

RISTRETTO = PowerOfTwo(-8, -1, ZeroCode.NONE)
FORMATS = [
    PowerOfTwo(lo, hi, zero)
    for zero in ZeroCode
    for lo, hi in [(-8, -1), (-7, -1), (0, 0), (-3, 5), (4, 6), (-62, -55), (56, 62)]
]
by_format = pytest.mark.parametrize("f", FORMATS, ids=str)
by_rule = pytest.mark.parametrize("nearest", list(Nearest), ids=lambda rule: rule.name)


def power(e: int) -> Fraction:
    return Fraction(2) ** e


def oracle(real: Fraction | float, f: PowerOfTwo, nearest: Nearest) -> Fraction:
    """Return the real value of the nearest code: by products of magnitudes for LOG, by distances for the others."""
    real = Fraction(real)
    magnitude = abs(real)
    zero = [] if f.zero is ZeroCode.NONE else [Fraction(0)]
    if not real:
        return (zero or [power(f.exp_min)])[0]
    if nearest is Nearest.LOG:
        # e is round(log2 m) iff 2**(2e - 1) < m * m < 2**(2e + 1); the exponents span what doubles reach
        low = f.exp_min if f.zero is ZeroCode.NONE else f.exp_min - 1
        inner = [e for e in range(low, f.exp_max + 1) if power(2 * e - 1) < magnitude**2 < power(2 * e + 1)]
        if inner:
            chosen = power(inner[0]) if inner[0] >= f.exp_min else zero[0]
        else:
            chosen = power(f.exp_max) if magnitude > power(f.exp_max) else (zero or [power(f.exp_min)])[0]
    else:
        values = zero + [power(e) for e in range(f.exp_min, f.exp_max + 1)]
        away = -1 if nearest is Nearest.VALUE_TIES_AWAY else 1
        chosen = min(values, key=lambda v: (abs(v - magnitude), away * v))
    return -chosen if real < 0 else chosen


@by_format
def test_every_code_is_a_signed_power_or_zero_and_encodes_back(f):
    reals = [f.decode(code) for code in f.codes]
    want = [s * power(e) for s in (1, -1) for e in range(f.exp_min, f.exp_max + 1)]
    assert sorted(reals) == sorted(want + [0] * (f.zero is not ZeroCode.NONE))
    assert (f.smallest, f.largest) == (min(reals), max(reals))
    for nearest in Nearest:
        assert [f.encode(r, nearest) for r in reals] == list(f.codes)
        assert f.encode_array(np.array([float(r) for r in reals]), nearest).tolist() == list(f.codes)
    codes = np.array(f.codes, dtype=f.dtype)
    assert f.to_real(codes).tolist() == [float(r) for r in reals]
    assert max(f.codes) < 1 << f.bits <= 256


@by_format
def test_fields_are_what_a_shift_add_unit_reads(f):
    negative, exponent, nonzero = f.fields(np.array(f.codes, dtype=f.dtype))
    got = [n * (-1) ** int(s) * power(int(e)) for s, e, n in zip(negative, exponent, nonzero.tolist(), strict=True)]
    assert got == [f.decode(code) for code in f.codes]


@by_format
def test_codes_that_stand_for_nothing_are_refused_and_a_negative_zero_is_zero(f):
    for code in range(2 << f.bits):
        index = code % (1 << f.index_bits)
        if code >= 1 << f.bits or index >= f.index_count:
            with pytest.raises(ContractError, match=f"found code {code}, allowed are 0"):
                f.decode(code)
            with pytest.raises(ContractError, match=rf"found code {code} at \(1,\), allowed are 0"):
                f.fields(np.array([0, code]))
        elif code not in f.codes:
            assert f.decode(code) == 0 == f.to_real(np.array([code]))[0]


@by_rule
@by_format
def test_encode_around_every_boundary(f, nearest):
    reals = []
    for e in range(max(f.exp_min - 4, -66), min(f.exp_max + 4, 66)):
        for factor in (1.0, 1.25, math.sqrt(2), 1.5, 1.75):
            at = factor * 2.0**e
            reals += [at, np.nextafter(at, 0), np.nextafter(at, 1e99)]
    reals = [s * float(r) for r in reals for s in (1, -1)] + [0.0, -0.0, 5e-324, -5e-324, 1.7e308, -1.7e308]
    want = [oracle(r, f, nearest) for r in reals]
    codes = [f.encode(r, nearest) for r in reals]
    assert [f.decode(code) for code in codes] == want
    got = f.encode_array(np.array(reals), nearest)
    assert got.dtype == f.dtype and got.tolist() == codes


formats = st.builds(
    lambda lo, span, zero: PowerOfTwo(lo, min(lo + span, 62), zero),
    st.integers(-62, 62),
    st.integers(0, 20),
    st.sampled_from(list(ZeroCode)),
)
floats = st.floats(allow_nan=False, allow_infinity=False) | st.builds(
    lambda m, e: m * 2.0**e, st.integers(-64, 64), st.integers(-70, 60)
)


@given(formats, st.fractions() | floats, st.sampled_from(list(Nearest)))
def test_encode_is_exact_for_any_number(f, real, nearest):
    assert f.decode(f.encode(real, nearest)) == oracle(real, f, nearest)


@settings(max_examples=200)
@given(formats, arrays.arrays(np.float64, (2, 3, 5), elements=floats), st.sampled_from(list(Nearest)))
def test_encode_array_is_encode_of_each_element(f, reals, nearest):
    got = f.encode_array(reals, nearest)
    assert got.shape == reals.shape
    assert [f.decode(code) for code in got.ravel()] == [oracle(r, f, nearest) for r in reals.ravel().tolist()]


def test_ristretto_s_format_is_four_bits_and_has_no_zero():
    assert (RISTRETTO.bits, len(RISTRETTO.codes)) == (4, 16)
    for zero in (0, 0.0, -0.0):
        assert RISTRETTO.decode(RISTRETTO.encode(zero)) == Fraction(1, 256)
        assert RISTRETTO.decode(int(RISTRETTO.encode_array(np.array([zero]))[0])) == Fraction(1, 256)


def test_ristretto_s_own_float32_rule_differs_only_next_to_its_thresholds():
    """base_ristretto_layer.cpp: round(log2f(|w|)), half away from zero, clamped; a rounding of log2f may cross a half."""
    near = np.concatenate([np.float32(math.sqrt(2) * 2.0**e).view(np.int32) + np.arange(-50, 51) for e in range(-12, 3)])
    w = near.astype(np.int32).view(np.float32)
    logarithm = np.array([math.log2(float(v)) for v in w]).astype(np.float32)
    rounded = np.copysign(np.floor(np.abs(logarithm) + np.float32(0.5)), logarithm)
    theirs = 2.0 ** np.clip(rounded, -8, -1)
    mine = RISTRETTO.to_real(RISTRETTO.encode_array(w))
    differing = np.abs(np.abs(np.array([math.log2(float(v)) for v in w[mine != theirs]])) % 1 - 0.5)
    assert 0 < differing.size < 60 and differing.max() < 2.0**-22  # half an ulp of a float32 in 4..8


def test_a_zero_code_costs_a_bit_where_the_indices_are_used_up():
    assert [PowerOfTwo(-8, -1, zero).bits for zero in ZeroCode] == [4, 5, 5]
    assert [PowerOfTwo(-7, -1, zero).bits for zero in ZeroCode] == [4, 4, 4]
    assert [PowerOfTwo(3, 3, zero).bits for zero in ZeroCode] == [1, 2, 2]


@by_format
def test_repr_rebuilds_the_format(f):
    assert eval(repr(f)) == f


def test_numpy_integers_and_floats_count_as_python_s():
    f = PowerOfTwo(np.int8(-8), np.int64(-1), ZeroCode.NONE)
    assert f == RISTRETTO and "np." not in repr(f)
    assert f.encode(np.float32(0.3)) == f.encode(float(np.float32(0.3)))
    assert PowerOfTwo(0, 9).encode_array(np.array([1, -512, 100])).tolist() == [1, 26, 8]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: PowerOfTwo(-63, 0), "PowerOfTwo.exp_min: found -63, allowed an integer in -62..62"),
        (lambda: PowerOfTwo(-8, 63), "PowerOfTwo.exp_max: found 63, allowed an integer in -8..62"),
        (lambda: PowerOfTwo(-1, -8), "PowerOfTwo.exp_max: found -8, allowed an integer in -1..62"),
        (lambda: PowerOfTwo(-8.0, -1), "PowerOfTwo.exp_min: found -8.0"),
        (lambda: PowerOfTwo(False, 3), "PowerOfTwo.exp_min: found False"),
        (lambda: PowerOfTwo(-8, -1, None), "PowerOfTwo.zero: found None, allowed ZeroCode: NONE, FIRST, LAST"),
        (lambda: RISTRETTO.encode(float("nan")), "found nan; only finite values"),
        (lambda: RISTRETTO.encode(np.float32("-inf")), "found -inf; only finite values"),
        (lambda: RISTRETTO.encode_array(np.array([[1.0, 2.0], [np.nan, 0.0]])), "nan at position (1, 0)"),
        (lambda: RISTRETTO.encode_array(np.array([Fraction(1, 3)])), "found dtype object"),
        (lambda: RISTRETTO.encode_array(np.array([(1 << 53) + 1])), "found integers beyond 2**53"),
        (lambda: RISTRETTO.fields(np.array([1.0])), "found dtype float64, allowed integer codes"),
        (lambda: RISTRETTO.fields(np.array([[0], [-1]])), "found code -1 at (1, 0)"),
    ],
)
def test_a_format_refuses_in_one_sentence(build, said):
    with pytest.raises(ContractError) as caught:
        build()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
