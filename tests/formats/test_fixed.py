"""FixedPoint: encode and decode against exact fractions, exhaustively at 8 bits and less; arrays like their elements."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint
from oracles.exact import fitted, limits, rounded

QUIET = [Overflow.WRAP, Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC]
by_mode = pytest.mark.parametrize("mode", list(Rounding), ids=lambda mode: mode.name)
signs = pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
EXTREMES = [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308, 1e-40]


def oracle(real, f: FixedPoint, mode: Rounding, overflow: Overflow, channel: int = 0) -> int:
    fl = f.fractional_length[channel] if isinstance(f.fractional_length, tuple) else f.fractional_length
    return fitted(rounded(Fraction(real) * Fraction(2) ** fl, mode), overflow, f.bits, f.signed)


@signs
@pytest.mark.parametrize("bits", range(1, 9))
def test_every_code_decodes_to_its_multiple_and_back(bits, signed):
    for fl in (-3, 0, bits - 1, bits + 4):
        f = FixedPoint(bits, fl, signed)
        low, high = limits(bits, signed)
        assert (f.low, f.high) == (low, high)
        codes = np.arange(low, high + 1)
        reals = [Fraction(int(c)) / Fraction(2) ** fl for c in codes]
        assert [f.decode(int(c)) for c in codes] == reals
        assert (f.smallest, f.largest) == (reals[0], reals[-1])
        assert f.to_real(codes).tolist() == [float(r) for r in reals]
        for mode in Rounding:
            assert [f.encode(r, mode) for r in reals] == codes.tolist()
            assert f.encode_array(f.to_real(codes), mode).tolist() == codes.tolist()


@signs
@by_mode
@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8])
def test_encode_of_a_dense_grid_with_every_tie(bits, mode, signed):
    for fl in (-2, 3):
        f = FixedPoint(bits, fl, signed)
        eighth = 2.0 ** -(fl + 3)
        span = range(-(10 << bits), (10 << bits) + 1, 1 if bits < 8 else 2)
        reals = [i * eighth for i in span]
        for overflow in QUIET:
            want = [oracle(r, f, mode, overflow) for r in reals]
            assert [f.encode(r, mode, overflow) for r in reals] == want, overflow
            assert f.encode_array(np.array(reals), mode, overflow).tolist() == want, overflow


@by_mode
@pytest.mark.parametrize("overflow", QUIET, ids=lambda overflow: overflow.name)
@pytest.mark.parametrize("fl", [-256, -20, 0, 7, 60, 256])
def test_subnormals_huge_values_and_both_zeros(fl, overflow, mode):
    for f in (FixedPoint(8, fl), FixedPoint(16, fl, signed=False), FixedPoint(64, fl)):
        want = [oracle(r, f, mode, overflow) for r in EXTREMES]
        assert [f.encode(r, mode, overflow) for r in EXTREMES] == want
        got = f.encode_array(np.array(EXTREMES), mode, overflow)
        assert got.dtype == f.dtype and got.tolist() == want


fixed_points = st.builds(
    FixedPoint, st.integers(1, 62), st.integers(-40, 70) | st.integers(-256, 256), st.booleans()
) | st.builds(FixedPoint, st.integers(63, 64), st.integers(-40, 70))
near_ties = st.builds(lambda m, e: m * 2.0**e, st.integers(-(1 << 20), 1 << 20), st.integers(-40, 30))
floats = st.floats(allow_nan=False, allow_infinity=False) | near_ties
float32s = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(max_examples=300)
@given(fixed_points, floats, st.sampled_from(list(Rounding)), st.sampled_from(QUIET))
def test_encode_is_exact_for_any_float(f, real, mode, overflow):
    assert f.encode(real, mode, overflow) == oracle(real, f, mode, overflow)


@given(fixed_points, st.fractions(), st.sampled_from(list(Rounding)), st.sampled_from(QUIET))
def test_encode_is_exact_for_any_fraction(f, real, mode, overflow):
    assert f.encode(real, mode, overflow) == oracle(real, f, mode, overflow)


@settings(max_examples=300)
@given(
    fixed_points,
    arrays.arrays(np.float64, st.integers(0, 30), elements=floats)
    | arrays.arrays(np.float32, st.integers(0, 30), elements=float32s),
    st.sampled_from(list(Rounding)),
    st.sampled_from(QUIET),
)
def test_encode_array_is_encode_of_each_element(f, reals, mode, overflow):
    got = f.encode_array(reals, mode, overflow)
    assert (got.dtype, got.shape) == (f.dtype, reals.shape)
    assert got.tolist() == [oracle(r, f, mode, overflow) for r in reals.tolist()]


@given(st.data(), st.sampled_from(list(Rounding)), st.sampled_from(QUIET), st.sampled_from([0, 1, 2, -1]))
def test_channels_of_encode_array_lie_on_the_axis(data, mode, overflow, axis):
    shape = (2, 3, 5)
    reals = data.draw(arrays.arrays(np.float32, shape, elements=float32s))
    lengths = data.draw(st.lists(st.integers(-30, 40), min_size=shape[axis], max_size=shape[axis]))
    f = FixedPoint(8, tuple(lengths))
    got = f.encode_array(reals, mode, overflow, axis=axis)
    back = f.to_real(got, axis=axis)
    for index in np.ndindex(*shape):
        channel = index[axis]
        want = oracle(float(reals[index]), f, mode, overflow, channel)
        assert got[index] == want == f.encode(float(reals[index]), mode, overflow, channel)
        assert Fraction(float(back[index])) == f.decode(want, channel) == Fraction(want) / Fraction(2) ** lengths[channel]


@pytest.mark.parametrize("name", ["int2", "int4", "uint2", "uint4"])
def test_ml_dtypes_has_the_same_codes(name):
    other = ml_dtypes.iinfo(getattr(ml_dtypes, name))
    f = FixedPoint(other.bits, 0, signed=name.startswith("int"))
    assert (f.low, f.high) == (other.min, other.max)
    exact = np.arange(f.low, f.high + 1).astype(np.float32)
    assert f.encode_array(exact).tolist() == exact.astype(getattr(ml_dtypes, name)).astype(np.int32).tolist()


@pytest.mark.parametrize(
    ("mode", "reference"),
    [
        (Rounding.TIES_EVEN, np.rint),
        (Rounding.FLOOR, np.floor),
        (Rounding.CEIL, np.ceil),
        (Rounding.TOWARD_ZERO, np.trunc),
        (Rounding.TIES_AWAY, lambda v: np.copysign(np.floor(np.abs(v) + 0.5), v)),
    ],
)
def test_modes_that_numpy_has_agree_where_float64_is_exact(mode, reference):
    reals = np.arange(-4000, 4001) / 16.0
    want = np.clip(reference(reals), -128, 127).astype(np.int64)
    assert FixedPoint(8, 0).encode_array(reals, mode).tolist() == want.tolist()
    assert FixedPoint(8, 5).encode_array(reals / 32, mode).tolist() == want.tolist()


@signs
@pytest.mark.parametrize("bits", range(1, 63))
def test_dtype_is_the_narrowest_that_holds_every_code(bits, signed):
    f = FixedPoint(bits, 0, signed)
    info = np.iinfo(f.dtype)
    assert info.min <= f.low and f.high <= info.max
    assert f.dtype.itemsize == 1 or np.iinfo(f"{'i' if signed else 'u'}{f.dtype.itemsize // 2}").max < f.high


def test_repr_rebuilds_the_format():
    for f in (FixedPoint(8, -3), FixedPoint(5, (1, -2, 7), signed=False), FixedPoint(np.int64(64), np.int16(2))):
        assert eval(repr(f)) == f
        assert "np." not in repr(f)


def test_numpy_integers_count_as_integers_at_every_width():
    f = FixedPoint(np.int64(64), np.int8(3))
    assert (f.low, f.high) == (-(1 << 63), (1 << 63) - 1)
    assert f.encode(1e30) == f.high


def test_numpy_floats_encode_like_python_floats():
    f = FixedPoint(8, 4)
    assert f.encode(np.float32(0.3)) == f.encode(float(np.float32(0.3)))
    with pytest.raises(ContractError, match="only finite values"):
        f.encode(np.float32("nan"))


def test_encode_array_takes_integers_exactly_or_not_at_all():
    big = 1 << 53
    assert FixedPoint(62, 0).encode_array(np.array([big, -big, 3])).tolist() == [big, -big, 3]
    with pytest.raises(ContractError, match=r"found integers beyond 2\*\*53"):
        FixedPoint(62, 0).encode_array(np.array([big + 1]))
    with pytest.raises(ContractError, match="found dtype object"):
        FixedPoint(8, 0).encode_array(np.array([Fraction(1, 3)]))


def test_with_bits_keeps_the_integer_part():
    f = FixedPoint(8, 5).with_bits(16)
    assert f == FixedPoint(16, 13) and f.smallest == FixedPoint(8, 5).smallest
    assert FixedPoint(8, (5, 6)).with_bits(6) == FixedPoint(6, (3, 4))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: FixedPoint(0, 0), "FixedPoint.bits: found 0, allowed an integer in 1..64"),
        (lambda: FixedPoint(65, 0), "FixedPoint.bits: found 65, allowed an integer in 1..64"),
        (lambda: FixedPoint(63, 0, signed=False), "FixedPoint.bits: found 63, allowed an integer in 1..62"),
        (lambda: FixedPoint(8.0, 0), "FixedPoint.bits: found 8.0"),
        (lambda: FixedPoint(True, 0), "FixedPoint.bits: found True"),
        (lambda: FixedPoint(8, 257), "FixedPoint.fractional_length: found 257, allowed an integer in -256..256"),
        (lambda: FixedPoint(8, (1, -300)), "FixedPoint.fractional_length: found -300"),
        (lambda: FixedPoint(8, ()), "FixedPoint.fractional_length: found no channel"),
        (lambda: FixedPoint(8, "3"), "FixedPoint.fractional_length: found '3'"),
        (lambda: FixedPoint(8, 0, signed=1), "FixedPoint.signed: found 1, allowed True or False"),
        (lambda: FixedPoint(8, (1, 2)).lengths(3), "found 2 lengths for 3 output channels"),
        (lambda: FixedPoint(8, 0).encode(float("nan")), "found nan; only finite values"),
        (lambda: FixedPoint(8, 0).encode(float("-inf")), "found -inf; only finite values"),
        (lambda: FixedPoint(8, 0).encode_array(np.array([[1.0, 2.0], [np.inf, 0.0]])), r"inf at position (1, 0)"),
        (lambda: FixedPoint(8, 0).encode(128.0, overflow=Overflow.TRAP), "code 128 does not fit -128..127"),
        (lambda: FixedPoint(8, 0).encode_array([1.0, -129.0], overflow=Overflow.TRAP), "code -129 does not fit -128..127"),
    ],
)
def test_a_format_refuses_in_one_sentence(build, said):
    with pytest.raises(ContractError) as caught:
        build()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
