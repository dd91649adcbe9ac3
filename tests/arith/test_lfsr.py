"""Registers against one that moves stage by stage, jumps against steps, and noise against the fraction that it rounds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import max_len_seq

from hwsim.arith import lfsr as leaves
from hwsim.arith.lfsr import Alignment, LfsrForm, lfsr_jump, lfsr_step, noise_bits, round_shift_stochastic
from hwsim.contract.polynomials import MAXIMAL, mask_of

by_form = pytest.mark.parametrize("form", list(LfsrForm), ids=lambda form: form.name)
by_width = pytest.mark.parametrize("width", sorted(MAXIMAL))


def signed(state: int, width: int) -> int:
    """Return a state as the leaves carry it."""
    return state - (1 << 64) if width == 64 and state >> 63 else state


def moved(stages: dict[int, int], polynomial: tuple[int, ...], form: LfsrForm) -> dict[int, int]:
    """Return stages 1..n one clock later, as the block diagrams draw them."""
    width = polynomial[0]
    if form == LfsrForm.FIBONACCI:
        fed_back = sum(stages[tap] for tap in polynomial) % 2
        return {1: fed_back} | {i: stages[i - 1] for i in range(2, width + 1)}
    out = stages[1]
    after = {i: stages[i + 1] for i in range(1, width)} | {width: 0}
    return {i: (after[i] + out * (i in polynomial)) % 2 for i in after}


def stages_of(state: int, width: int) -> dict[int, int]:
    return {i: int(digit) for i, digit in enumerate(reversed(f"{state:0{width}b}"), 1)}


def state_of(stages: dict[int, int]) -> int:
    return int("".join(str(stages[i]) for i in sorted(stages, reverse=True)), 2)


widths = st.integers(2, 64) | st.sampled_from([62, 63, 64])  # the sign bit of int64 is a state's only at 64
polynomials = widths.flatmap(
    lambda width: st.sets(st.integers(1, width - 1)).map(lambda rest: (width, *sorted(rest, reverse=True)))
)


@by_form
@by_width
def test_a_register_moves_as_its_block_diagram(form, width):
    polynomial, seed = MAXIMAL[width], (0xD1CE5EED0FACADE5 >> (64 - width)) | 1
    stages, state = stages_of(seed, width), signed(seed, width)
    for _ in range(150):
        stages = moved(stages, polynomial, form)
        state = lfsr_step(state, mask_of(polynomial), width, form)
        assert state == signed(state_of(stages), width)


@by_form
@given(polynomial=polynomials, data=st.data())
def test_any_polynomial_moves_as_its_block_diagram(form, polynomial, data):
    width = polynomial[0]
    seed = data.draw(st.integers(0, (1 << width) - 1))
    after = state_of(moved(stages_of(seed, width), polynomial, form))
    assert lfsr_step(signed(seed, width), mask_of(polynomial), width, form) == signed(after, width)


def test_the_published_16_bit_example():
    # x^16 + x^14 + x^13 + x^11 + 1 from 0xACE1, mask 0xB400: the usual textbook register, by hand: 0x5670 ^ 0xB400
    taps = mask_of((16, 14, 13, 11))
    assert taps == 0xB400
    assert lfsr_step(0xACE1, taps, 16, LfsrForm.GALOIS) == 0xE270
    assert lfsr_step(0xE270, taps, 16, LfsrForm.GALOIS) == 0x7138


@by_width
def test_scipy_s_maximal_length_sequence(width):
    # u[t + n] = u[t] + sum u[t + tap] there, u[t] = u[t - n] + sum u[t - a] here: a = n - tap
    start = np.arange(width) % 3 == 0
    theirs, _ = max_len_seq(width, state=start, length=200, taps=[width - a for a in MAXIMAL[width][1:]])
    state = signed(sum(int(bit) << (width - 1 - i) for i, bit in enumerate(start)), width)
    mine = []
    for _ in range(200):
        mine.append(state >> (width - 1) & 1)
        state = lfsr_step(state, mask_of(MAXIMAL[width]), width, LfsrForm.FIBONACCI)
    assert mine == theirs.tolist()


@by_form
@given(polynomial=polynomials, steps=st.integers(0, 300), data=st.data())
def test_a_jump_is_its_steps(form, polynomial, steps, data):
    width = polynomial[0]
    state = seed = signed(data.draw(st.integers(0, (1 << width) - 1)), width)
    for _ in range(steps):
        state = lfsr_step(state, mask_of(polynomial), width, form)
    assert lfsr_jump(seed, steps, mask_of(polynomial), width, form) == state


@by_form
@settings(max_examples=50)
@given(width=widths, first=st.integers(0, 1 << 80), second=st.integers(0, 1 << 63), data=st.data())
def test_two_jumps_are_one(form, width, first, second, data):
    taps, seed = mask_of(MAXIMAL[width]), signed(data.draw(st.integers(1, (1 << width) - 1)), width)
    halfway = lfsr_jump(seed, first, taps, width, form)
    assert lfsr_jump(halfway, second, taps, width, form) == lfsr_jump(seed, first + second, taps, width, form)
    assert lfsr_jump(seed, (1 << width) - 1, taps, width, form) == seed


@given(widths, st.data())
def test_products_of_residues_are_schoolbook(width, data):
    numbers = st.integers(0, (1 << width) - 1)
    a, b, low = data.draw(numbers), data.draw(numbers), data.draw(numbers)
    product = 0
    for i in range(width):
        product ^= (a << i) * ((b >> i) & 1)
    for i in reversed(range(width, 2 * width)):
        product ^= ((1 << width | low) << (i - width)) * ((product >> i) & 1)
    assert leaves.multiply_residues(signed(a, width), signed(b, width), signed(low, width), width) == signed(product, width)


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_parity_counts_the_64_bits(x):
    assert leaves.parity(x) == f"{x % (1 << 64):064b}".count("1") % 2
    assert leaves.parity(np.array([x])).tolist() == [leaves.parity(x)]


@pytest.mark.parametrize("alignment", list(Alignment), ids=lambda alignment: alignment.name)
@by_width
def test_noise_is_the_state_laid_against_the_fraction(width, alignment):
    seed = 0xD1CE5EED0FACADE5 >> (64 - width)
    states = [seed, 1, (1 << width) - 1, 1 << (width - 1), (1 << (width - 1)) - 1]
    for shift in range(-3, 63):
        fraction, want = max(shift, 0), []
        for state in states:
            digits = f"{state:0{width}b}"
            laid = digits.ljust(fraction, "0")[:fraction] if alignment == Alignment.HIGH else digits.rjust(fraction, "0")
            want.append(int("0" + laid[len(laid) - fraction :], 2))
        carried = [signed(state, width) for state in states]
        assert [noise_bits(state, width, shift, alignment) for state in carried] == want
        assert noise_bits(np.array(carried), width, shift, alignment).tolist() == want


@pytest.mark.parametrize("shift", range(-2, 7))
def test_stochastic_rounding_is_the_floor_of_the_sum(shift):
    for x in range(-200, 201):
        real = x / Fraction(2) ** shift
        for noise in range(1 << max(shift, 0)):
            got = round_shift_stochastic(x, shift, noise)
            assert got == (real + Fraction(noise, 1 << max(shift, 0))).__floor__()
            assert abs(got - real) < 1


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 62), st.data())
def test_stochastic_rounding_stays_within_int64(x, shift, data):
    noise = data.draw(st.integers(0, (1 << shift) - 1) | st.just((1 << shift) - 1))
    assert round_shift_stochastic(x, shift, noise) == (x + noise) >> shift
    got = round_shift_stochastic(np.array([x]), shift, np.array([noise]))
    assert got.dtype == np.int64 and got.tolist() == [(x + noise) >> shift]


@by_form
@pytest.mark.parametrize("width", [4, 6, 8])
def test_the_mean_over_a_full_period_is_the_fraction_but_for_the_missing_zero(form, width):
    """f of 2**s rounds up in f * 2**(width - s) of 2**width - 1 draws: unbiased, had the register a state of zeros."""
    period, taps = (1 << width) - 1, mask_of(MAXIMAL[width])
    states = [1]
    while len(states) < period:
        states.append(lfsr_step(states[-1], taps, width, form))
    for alignment in Alignment:
        for shift in range(1, width + 1):
            noises = [noise_bits(state, width, shift, alignment) for state in states]
            for x in range(-(2 << shift), (2 << shift) + 1):
                total = sum(round_shift_stochastic(x, shift, noise) for noise in noises)
                below = x // (1 << shift)  # what the state of zeros would have given
                assert Fraction(total + below, period + 1) == Fraction(x, 1 << shift)


def test_a_short_register_in_the_high_bits_is_coarse_and_in_the_low_bits_biased():
    # 4 bits of noise for a fraction of 6: HIGH draws multiples of 4; LOW 0..15, which lifts no fraction below 49 / 64
    high = {noise_bits(state, 4, 6, Alignment.HIGH) for state in range(1, 16)}
    low = {noise_bits(state, 4, 6, Alignment.LOW) for state in range(1, 16)}
    assert (high, low) == (set(range(4, 64, 4)), set(range(1, 16)))
    assert {round_shift_stochastic(48, 6, noise) for noise in low} == {0}
    assert {round_shift_stochastic(48, 6, noise) for noise in high} == {0, 1}
