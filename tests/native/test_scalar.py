"""The scalar leaves of the C core are the leaves of hwsim/arith."""

from __future__ import annotations

import itertools

import pytest

from hwsim.arith import overflow, requantize, rounding
from hwsim.arith.rounding import Rounding

BYTES = range(-300, 301)  # every 8-bit code and some beyond
# Where int64 ends: registers of 62, 63 and 64 bits.
AROUND = {s * (1 << b) + d for b in (61, 62, 63) for s in (-1, 1) for d in (-2, -1, 0, 1)}
EDGES = sorted(x for x in AROUND if -(1 << 63) <= x < 1 << 63)


@pytest.mark.parametrize("mode", Rounding)
def test_round_shift_is_the_leaf(library, mode):
    for x, shift in itertools.product(BYTES, range(-3, 11)):
        assert library.lib.hw_round_shift(x, shift, mode) == rounding.round_shift(x, shift, mode), (x, shift)
    for x, shift in itertools.product(EDGES, (1, 2, 30, 31, 32, 33, 61, 62, 63)):
        assert library.lib.hw_round_shift(x, shift, mode) == rounding.round_shift(x, shift, mode), (x, shift)


@pytest.mark.parametrize("mode", Rounding)
def test_round_ratio_is_the_leaf(library, mode):
    for x, unit in itertools.product(BYTES, (*range(1, 14), 49, 169, 300)):
        assert library.lib.hw_round_ratio(x, unit, mode) == rounding.round_ratio(x, unit, mode), (x, unit)
    for x, unit in itertools.product(EDGES, (1, 2, 3, (1 << 62) - 1, (1 << 63) - 1)):
        assert library.lib.hw_round_ratio(x, unit, mode) == rounding.round_ratio(x, unit, mode), (x, unit)


@pytest.mark.parametrize("signed", [False, True])
def test_wrap_is_the_leaf(library, signed):
    widths = range(1, 65 if signed else 63)
    for x, bits in itertools.product([*BYTES, *EDGES], widths):
        assert library.lib.hw_wrap(x, bits, signed) == overflow.wrap(x, bits, signed), (x, bits)


def test_saturate_and_fit_are_the_leaves(library):
    for x, (low, high) in itertools.product([*BYTES, *EDGES], ((-128, 127), (-127, 127), (0, 255), (0, 31), (-2, 1))):
        assert library.lib.hw_saturate(x, low, high) == overflow.saturate(x, low, high)
        bits, signed = (high - low).bit_length(), low < 0
        for mode in (overflow.Overflow.WRAP, overflow.Overflow.SATURATE):
            expected = requantize.fit(x, mode, bits, signed, low, high)
            assert library.lib.hw_fit(x, mode, bits, signed, low, high) == expected, (x, mode, low, high)


def test_sum_fits_is_the_leaf_up_to_64_bits(library):
    for bits in (8, 62, 63, 64):
        low, high = overflow.code_min(bits, True), overflow.code_max(bits, True)
        inside = [b for b in EDGES if low <= b <= high] + [low, high, 0, 1, -1]
        for a, b in itertools.product([*EDGES, 100, -100], inside):
            assert library.lib.hw_sum_fits(a, b, low, high) == overflow.sum_fits(a, b, low, high), (a, b, bits)


@pytest.mark.parametrize("mode", Rounding)
def test_requantize_is_the_leaf(library, mode):
    for x, shift in itertools.product(BYTES, range(-2, 10)):
        expected = requantize.requantize(x, shift, mode, -128, 127)
        assert library.lib.hw_requantize(x, shift, mode, -128, 127) == expected, (x, shift)
