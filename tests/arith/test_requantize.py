"""The epilogue: rounding first, overflow second, ReLU where it stands; every mode with every overflow at 8 bits."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation, finish_rounded, finish_stochastic, requantize
from hwsim.arith.rounding import Rounding
from oracles.exact import fitted, limits, rounded, stored
from support.stages import finish_by_shift

by_mode = pytest.mark.parametrize("mode", list(Rounding), ids=lambda mode: mode.name)
by_overflow = pytest.mark.parametrize("overflow", list(Overflow), ids=lambda overflow: overflow.name)
REGISTERS = [(1, True), (1, False), (3, True), (3, False), (4, True), (4, False)]


@by_mode
def test_requantize_rounds_then_clips(mode):
    for shift in range(-3, 7):
        for acc in range(-300, 301):
            value = rounded(acc / Fraction(2) ** shift, mode)
            assert requantize(acc, shift, mode, -8, 7) == fitted(value, Overflow.SATURATE, 4, True), (acc, shift)


@by_overflow
@by_mode
def test_finish_over_every_register_shift_and_activation(mode, overflow):
    for bits, signed in REGISTERS:
        low, high = limits(bits, signed, overflow)
        for activation in Activation:
            for shift in (-2, 0, 1, 3):
                for value in range(-70, 71):
                    got = finish_by_shift(value, shift, mode, overflow, activation, bits, signed, low, high)
                    want = stored(value / Fraction(2) ** shift, 0, bits, signed, mode, overflow, activation)
                    assert got == want, (value, shift, bits, signed, activation)


@by_overflow
@by_mode
def test_every_code_of_10_bits_into_4(mode, overflow):
    for signed in (True, False):
        low, high = limits(4, signed, overflow)
        wide_low, wide_high = limits(10, signed)
        for value in range(wide_low, wide_high + 1):
            for shift in (1, 2, 4, 6, 8):
                got = finish_by_shift(value, shift, mode, overflow, Activation.NONE, 4, signed, low, high)
                want = stored(Fraction(value, 2**shift), 0, 4, signed, mode, overflow, Activation.NONE)
                assert got == want, (value, shift, signed)


@by_overflow
@pytest.mark.parametrize("activation", list(Activation), ids=lambda activation: activation.name)
def test_a_rounded_value_meets_overflow_and_the_activation_behind_it(overflow, activation):
    for bits, signed in REGISTERS:
        low, high = limits(bits, signed, overflow)
        for value in range(-40, 41):
            code, event = finish_rounded(value, overflow, activation, bits, signed, low, high)
            want = fitted(value, overflow, bits, signed)
            assert code == (abs(want) + want) // 2 if activation == Activation.RELU_AFTER_REQUANTIZE else code == want
            assert event == (value not in range(low, high + 1))


def test_relu_gives_the_same_codes_on_both_sides_and_other_events():
    both = [
        [finish_by_shift(v, 1, Rounding.TIES_EVEN, Overflow.SATURATE, side, 8, True, -128, 127) for v in range(-600, 600)]
        for side in (Activation.RELU_BEFORE_REQUANTIZE, Activation.RELU_AFTER_REQUANTIZE)
    ]
    assert [code for code, _ in both[0]] == [code for code, _ in both[1]]
    # r(v / 2) < -128 for v / 2 < -128.5, ties even: v = -257 is the tie -128.5, which goes to -128
    assert sum(e for _, e in both[1]) - sum(e for _, e in both[0]) == 600 - 257


@given(
    value=st.integers(-(1 << 63), (1 << 63) - 1),
    shift=st.integers(0, 62),
    mode=st.sampled_from(list(Rounding)),
    overflow=st.sampled_from(list(Overflow)),
    activation=st.sampled_from(list(Activation)),
    bits=st.integers(1, 32),
    signed=st.booleans(),
)
def test_finish_of_64_bit_values(value, shift, mode, overflow, activation, bits, signed):
    low, high = limits(bits, signed, overflow)
    got = finish_by_shift(value, shift, mode, overflow, activation, bits, signed, low, high)
    assert got == stored(value / Fraction(2) ** shift, 0, bits, signed, mode, overflow, activation)


@by_overflow
@pytest.mark.parametrize("activation", list(Activation), ids=lambda activation: activation.name)
def test_noise_is_added_behind_a_relu_and_before_the_overflow(overflow, activation):
    for bits, signed in REGISTERS:
        low, high = limits(bits, signed, overflow)
        for shift in (-2, 0, 1, 3):
            unit = Fraction(2) ** shift
            for value in range(-70, 71):
                seen = value if value > 0 or activation != Activation.RELU_BEFORE_REQUANTIZE else 0
                for noise in range(max(int(unit), 1)):
                    got = finish_stochastic(value, shift, noise, overflow, activation, bits, signed, low, high)
                    real = (seen + noise) / unit
                    want = stored(real, 0, bits, signed, Rounding.FLOOR, overflow, activation)
                    assert got == want, (value, shift, noise, bits, signed)
