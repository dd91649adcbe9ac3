"""Affine codes against Fraction, and against what TensorFlow Lite and ONNX say of the same operation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.errors import ContractError
from hwsim.formats import Affine
from hwsim.formats.affine import from_range, symmetric

NEAREST = {  # the rule of each mode, of a fraction's floor and of what is left
    Rounding.FLOOR: lambda q, r: q,
    Rounding.CEIL: lambda q, r: q + (r > 0),
    Rounding.TOWARD_ZERO: lambda q, r: q + (r > 0 and q < 0),
    Rounding.AWAY_FROM_ZERO: lambda q, r: q + (r > 0 and q >= 0),
    Rounding.TIES_UP: lambda q, r: q + (2 * r >= 1),
    Rounding.TIES_DOWN: lambda q, r: q + (2 * r > 1),
    Rounding.TIES_AWAY: lambda q, r: q + (2 * r > 1 or 2 * r == 1 and q >= 0),
    Rounding.TIES_TO_ZERO: lambda q, r: q + (2 * r > 1 or 2 * r == 1 and q < 0),
    Rounding.TIES_EVEN: lambda q, r: q + (2 * r > 1 or 2 * r == 1 and q % 2 == 1),
    Rounding.TIES_ODD: lambda q, r: q + (2 * r > 1 or 2 * r == 1 and q % 2 == 0),
}


def encoded(real: float, fmt: Affine, rounding: Rounding, channel: int = 0) -> int:
    """The definition: divide as fractions, round, add the zero point, saturate."""
    scale = fmt.scale[channel] if isinstance(fmt.scale, tuple) else fmt.scale
    zero = fmt.zero_point[channel] if isinstance(fmt.zero_point, tuple) else fmt.zero_point
    quotient = Fraction(real) / Fraction(scale)
    floor = math.floor(quotient)
    return min(max(NEAREST[rounding](floor, quotient - floor) + zero, fmt.low), fmt.high)


scales = st.floats(2.0**-40, 2.0**40, width=32) | st.floats(1e-300, 1e300)
reals = st.floats(-1e6, 1e6) | st.floats(allow_nan=False, allow_infinity=False)


@given(scales, st.integers(-128, 127), st.sampled_from(Rounding), st.lists(reals, min_size=1, max_size=20), st.integers(8, 64))
def test_encode_is_its_definition_in_fractions(scale, zero, rounding, values, bits):
    fmt = Affine(bits, scale, zero)
    wanted = [encoded(v, fmt, rounding) for v in values]
    assert [fmt.encode(v, rounding) for v in values] == wanted
    assert fmt.encode_array(np.array(values), rounding).tolist() == wanted


@given(scales, st.sampled_from(Rounding), st.lists(st.tuples(st.integers(-300, 300), st.integers(-2, 2)), min_size=1))
def test_what_lies_at_an_integer_or_a_half_or_an_ulp_beside_is_exact(scale, rounding, places):
    """Where a quotient in floats lies: each of these reals is k / 2 codes, rounded to float64, or a neighbour or two of it."""
    fmt, values = Affine(16, scale, 5), []
    for k, steps in places:
        value = float(Fraction(k, 2) * Fraction(scale)) if scale < 1e300 else 0.0
        for _ in range(abs(steps)):
            value = math.nextafter(value, math.copysign(math.inf, steps))
        values.append(value)
    assert fmt.encode_array(np.array(values), rounding).tolist() == [encoded(v, fmt, rounding) for v in values]


@given(st.lists(scales, min_size=3, max_size=3), st.lists(st.integers(-9, 9), min_size=3, max_size=3), st.integers(0, 1))
def test_channels_lie_along_the_axis(scale, zeros, axis):
    fmt = Affine(8, tuple(scale), tuple(zeros))
    real = np.outer(np.array(scale), [-3.5, -1.0, 0.0, 0.5, 2.0])
    real = real if axis == 0 else real.T
    codes = fmt.encode_array(real, axis=axis)
    for at in np.ndindex(real.shape):
        assert codes[at] == encoded(float(real[at]), fmt, Rounding.TIES_AWAY, at[axis])
    back = fmt.to_real(codes, axis=axis)
    for at in np.ndindex(real.shape):
        assert back[at] == float(codes[at] - zeros[at[axis]]) * scale[at[axis]]


def test_one_entry_beside_several_stands_for_all():
    assert Affine(8, (0.5,), (1, 2, 3)) == Affine(8, 0.5, (1, 2, 3)) and Affine(8, (1.0, 2.0), (7,)) == Affine(8, (1.0, 2.0), 7)
    assert Affine(8, (0.5,), (7,)).channels == 1  # of a single channel


def test_overflow_modes_past_the_ends():
    fmt = Affine(8, 1.0, 100)
    real = np.array([27.0, 28.0, -228.0, -229.0, 1e30])
    assert fmt.encode_array(real).tolist() == [127, 127, -128, -128, 127]
    assert fmt.encode_array(real, overflow=Overflow.SATURATE_SYMMETRIC).tolist() == [127, 127, -127, -127, 127]
    assert fmt.encode_array(real, overflow=Overflow.WRAP).tolist()[:4] == [127, -128, -128, 127]
    with pytest.raises(ContractError, match="128 does not fit"):
        fmt.encode_array(real, overflow=Overflow.TRAP)


def test_float32_quotients_of_files_differ_only_beside_a_tie():
    """TensorFlow Lite and ONNX divide in float32: the same code wherever the true quotient is no hair's breadth from a tie."""
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, 60000).astype(np.float32)
    for scale, zero in ((np.float32(0.0235294), 7), (np.float32(0.05), -3), (np.float32(0.0078125), 0)):
        fmt = Affine(8, float(scale), zero)
        quotient = (x / scale).astype(np.float32)
        tflite = np.clip(np.trunc(quotient + np.copysign(np.float32(0.5), quotient)) + zero, -128, 127)  # round half away
        onnx = np.clip(np.rint(quotient) + zero, -128, 127)
        exact = x.astype(np.float64) / float(scale)
        near = np.abs(np.abs(exact - np.floor(exact)) - 0.5) < 128 * 2.0**-23
        for mode, wanted in ((Rounding.TIES_AWAY, tflite), (Rounding.TIES_EVEN, onnx)):
            codes = fmt.encode_array(x, mode)
            assert np.array_equal(codes[~near], wanted[~near])
            assert near.sum() < 100
        if scale == np.float32(0.0078125):  # a power of two divides exactly, ties too
            assert np.array_equal(fmt.encode_array(x, Rounding.TIES_EVEN), onnx)


def tflite_params(low: float, high: float, qmin: int, qmax: int) -> tuple[float, int]:
    """TensorFlow Lite's ChooseQuantizationParams, said again: doubles, the end of less error, the nearest code."""
    scale = (high - low) / (qmax - qmin)
    by_low, by_high = qmin - low / scale, qmax - high / scale
    chosen = by_low if abs(qmin) + abs(low / scale) < abs(qmax) + abs(high / scale) else by_high
    zero = qmin if chosen < qmin else qmax if chosen > qmax else math.floor(abs(chosen) + 0.5) * (1 if chosen >= 0 else -1)
    return scale, zero


ends = st.floats(0, 1e4, width=32).filter(lambda v: v == 0 or v > 1e-6)


@given(ends, ends, st.integers(2, 16), st.booleans())
def test_a_range_becomes_scale_and_zero_point_as_tensorflow_lite_has_it(below, above, bits, signed):
    fmt = from_range(-below, above, bits, signed)
    assert fmt.decode(fmt.zero_point) == 0
    if below or above:
        scale, zero = tflite_params(-below, above, fmt.low, fmt.high)
        assert (fmt.scale, fmt.zero_point) == (float(np.float32(scale)), zero)
        reach = (Fraction(below) + Fraction(above)) * Fraction(1 + 2.0**-20)
        assert fmt.decode(fmt.low) >= -reach and fmt.decode(fmt.high) <= reach
    else:
        assert fmt.scale == 1.0


def test_ranges_without_a_zero_are_widened_to_it():
    assert from_range(2.0, 6.0, signed=False) == from_range(0.0, 6.0, signed=False)
    assert from_range(-6.0, -2.0).zero_point == 127


def test_symmetric_weights_reach_their_largest_and_leave_out_one_code():
    fmt = symmetric((0.5, 2.0, 0.0))
    assert [fmt.encode(v, channel=k) for k, v in enumerate((0.5, -2.0, 0.0))] == [127, -127, 0]
    assert fmt.low == -127 and fmt.zero_point == 0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"bits": 1}, "Affine.bits: found 1, allowed an integer in 2..64"),
        ({"scale": 0.0}, "Affine.scale: found 0.0, allowed a finite number above 0"),
        ({"scale": math.inf}, "Affine.scale: found inf"),
        ({"scale": (0.5, -1.0)}, "Affine.scale: found -1.0"),
        ({"scale": ()}, "found no channel at all"),
        ({"scale": True}, "Affine.scale: found True"),
        ({"zero_point": 128}, "Affine.zero_point: found 128, allowed an integer in -128..127"),
        ({"zero_point": -128, "narrow": True}, "allowed an integer in -127..127"),
        ({"scale": (1.0, 2.0), "zero_point": (1, 2, 3)}, "found 3 for 2 scales"),
        ({"signed": 1}, "Affine.signed: found 1"),
    ],
)
def test_what_is_no_affine_format_is_refused(values, sentence):
    with pytest.raises(ContractError, match=sentence):
        Affine(**{"bits": 8, "scale": 0.5} | values)


def test_what_is_not_finite_has_no_code():
    with pytest.raises(ContractError, match="only finite"):
        Affine(8, 1.0).encode_array(np.array([0.0, np.nan]))
    with pytest.raises(ContractError, match="only finite"):
        Affine(8, 1.0).encode(math.inf)
    with pytest.raises(ContractError, match="finite ends"):
        from_range(-1.0, math.inf)
