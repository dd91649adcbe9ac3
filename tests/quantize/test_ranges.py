"""Formats from ranges against brute force on fractions; a tally is what numpy says of all values at once."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.contract import RangeRule
from hwsim.errors import ContractError, InputError
from hwsim.formats.fixed import FixedPoint
from hwsim.network.ranges import Calibration, Range, WeightRule, ceil_log2, covering_length, ristretto_length, squared_error
from hwsim.quantize.ranges import Tally

WIDTHS = tuple(range(2, 17))
finite = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)


def saturation_costs_no_more_than_rounding(value: Fraction, fmt: FixedPoint) -> bool:
    """|value - nearest representable value| <= half a step."""
    nearest = min(max(value, fmt.smallest), fmt.largest)
    return abs(value - nearest) <= Fraction(1, 2) * Fraction(2) ** -fmt.fl()


@given(finite, finite, st.sampled_from(WIDTHS), st.booleans())
def test_covering_length_is_the_largest_that_holds_both_ends(a, b, bits, signed):
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    if not signed:
        low = 0.0
    if low == high == 0:
        return
    fl = covering_length(low, high, bits, signed)

    def holds(length: int) -> bool:
        fmt = FixedPoint(bits, length, signed)
        return all(saturation_costs_no_more_than_rounding(Fraction(end), fmt) for end in (low, high))

    candidates = [length for length in range(max(fl - 3, -250), min(fl + 12, 250)) if holds(length)]
    assert max(candidates) == fl


@given(st.floats(2.0**-100, 2.0**100, width=32))
def test_ceil_log2_is_exact(x):
    e = ceil_log2(x)
    assert Fraction(2) ** (e - 1) < Fraction(x) <= Fraction(2) ** e


@pytest.mark.parametrize(
    ("largest", "weights", "layers"),
    # il by hand, ceil(log2 max + 1) and ceil(log2 max): a power of two keeps its own exponent
    [(0.3, 8, 9), (0.5, 8, 9), (0.51, 7, 8), (1.0, 7, 8), (151.0, -1, 0), (128.0, 0, 1), (0.0, 7, 8)],
)
def test_ristretto_leaves_layers_one_bit_short(largest, weights, layers):
    assert (ristretto_length(largest, 8, 1), ristretto_length(largest, 8, 0)) == (weights, layers)


batches_of_values = st.lists(st.lists(finite, min_size=1, max_size=9), min_size=1, max_size=5)


@given(batches_of_values)
def test_a_tally_counts_every_value_once_however_they_come(batches):
    tally = Tally()
    for batch in batches:
        tally.add(np.array(batch, np.float32))
    values = np.concatenate([np.array(b, np.float32) for b in batches]).astype(np.float64)
    assert (tally.low, tally.high) == (min(values.min(), 0), max(values.max(), 0))
    assert tally.counts.sum() + tally.zeros == values.size
    if tally.exponent is not None:
        edges = np.ldexp(np.arange(-2048, 2049) / 2048, tally.exponent)
        assert values.min() >= edges[0] and values.max() <= edges[-1]


def test_widening_a_tally_gives_the_histogram_of_all_values_at_once():
    rng = np.random.default_rng(5)
    small, large = rng.normal(size=500).astype(np.float32), (rng.normal(size=300) * 40).astype(np.float32)
    stepwise, together = Tally(), Tally()
    stepwise.add(small)
    stepwise.add(large)
    together.add(np.concatenate([small, large]))
    assert stepwise.exponent == together.exponent
    np.testing.assert_array_equal(stepwise.counts, together.counts)
    first, second = Tally(), Tally()
    first.add(large)
    second.add(small)
    union = Tally.union([second, first, Tally()])
    np.testing.assert_array_equal(union.counts, together.counts)
    assert (union.low, union.high, union.zeros) == (together.low, together.high, 0)


def test_percentile_covers_the_share_it_says_and_no_more_than_a_bin_beyond():
    values = np.random.default_rng(6).normal(size=20_000).astype(np.float32)
    tally = Tally()
    tally.add(values)
    for percent in (50.0, 99.0, 99.9, 100.0):
        t = tally.percentile(percent)
        bin_width = 2.0 ** (tally.exponent - 11)
        assert (np.abs(values) <= t).mean() >= percent / 100
        assert (np.abs(values) <= t - 2 * bin_width).mean() < percent / 100


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_least_squares_is_the_best_length_by_brute_force(bits, signed):
    rng = np.random.default_rng(bits)
    values = rng.laplace(size=30_000).astype(np.float32)
    if not signed:
        values = np.maximum(values, 0)
    tally = Tally()
    tally.add(values)
    errors = {fl: squared_error(values, FixedPoint(bits, fl, signed)) for fl in range(-8, 14)}
    assert tally.least_squares(bits, signed) == min(errors, key=errors.get)
    best = min(errors.values())
    found = tally.squared_error(FixedPoint(bits, tally.least_squares(bits, signed), signed))
    assert abs(found - best) < 0.02 * best  # bins of 2**-11 of the range blur steps that are 8 times as wide or more


def test_not_a_number_in_a_tensor_is_refused_by_name():
    with pytest.raises(InputError, match="conv7.*not finite"):
        Tally().add(np.array([1.0, np.nan], np.float32), "conv7")
    with pytest.raises(InputError, match="not finite"):
        Tally().add(np.array([np.inf], np.float32))


def seen(low, high, method, rule=RangeRule.COVER, clip=None):
    clip = high if clip is None else clip
    return Range(low, high, max(low, -clip), min(high, clip), tuple(range(15)), tuple(range(15)), rule, method)


def test_each_method_reads_its_own_part_of_a_range():
    assert seen(-3.0, 100.0, Calibration.MAXIMUM).format(8, True) == FixedPoint(8, 0)
    assert seen(-3.0, 100.0, Calibration.PERCENTILE, clip=7.9).format(8, True) == FixedPoint(8, 4)
    assert seen(-3.0, 100.0, Calibration.LEAST_SQUARES).format(5, False) == FixedPoint(5, 3, False)
    assert seen(-3.0, 100.0, Calibration.LEAST_SQUARES).format(20, True) == FixedPoint(20, 18), "as 16 bits, four more"
    assert seen(-3.0, 100.0, Calibration.LEAST_SQUARES, RangeRule.RISTRETTO).format(8, True) == FixedPoint(8, 1)


def test_a_range_that_contradicts_itself_is_refused():
    with pytest.raises(ContractError, match="clip_low"):
        Range(-1.0, 2.0, -3.0, 2.0, (0,) * 15, (0,) * 15)
    with pytest.raises(ContractError, match="2..16"):
        Range(-1.0, 2.0, -1.0, 2.0, (0,) * 14, (0,) * 15)


def test_weights_of_almost_nothing_get_a_bounded_length():
    weight = np.array([[0.5, -0.7], [1e-30, 0.0], [0.0, 0.0]], np.float32)
    whole = WeightRule().format(weight, 8)
    assert whole == FixedPoint(8, 7)
    lengths = WeightRule(per_channel=True).format(weight, 8).fractional_length
    assert lengths == (7, 7 + 16, 7)
    most = np.array([3, 9, 256])
    assert WeightRule(per_channel=True).format(weight, 8, most).fractional_length == (3, 9, 7)
    assert WeightRule().format(weight, 8, most).fractional_length == 3


@given(st.lists(finite, min_size=1, max_size=40), st.sampled_from(WIDTHS))
def test_least_squares_of_weights_is_never_worse_than_the_maximum(values, bits):
    weight = np.array([values], np.float32)
    by_maximum = WeightRule().format(weight, bits)
    by_squares = WeightRule(method=Calibration.LEAST_SQUARES).format(weight, bits)
    assert squared_error(weight, by_squares) <= squared_error(weight, by_maximum)
