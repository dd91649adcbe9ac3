"""The tables of integer LRN: entries rounded once, segments that tile, errors that shrink as the theory says; refusals."""

from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.arith.lrn import UNIFORM, segment
from hwsim.arith.scale import Scaling
from hwsim.contract import Multiplier, Output
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import IntegerLRN, Region
from hwsim.layers.lrn_table import Power, SumLookup, TableDesign, design_table
from oracles.lrn import starts

S8 = FixedPoint(8, 4)
ACROSS, WITHIN = Region.ACROSS_CHANNELS, Region.WITHIN_CHANNEL


def at_most(value: Fraction, power: Power, total: Fraction) -> bool:
    """value <= gain * (k + slope * total)**-beta, by whole powers alone: value**q * base**p <= gain**q with beta = p / q."""
    base, p, q = power.k + power.slope * total, power.beta.numerator, power.beta.denominator
    return value <= 0 or value**q * base**p <= power.gain**q


@given(
    slope=st.fractions(0, 10, max_denominator=1000),
    beta=st.sampled_from([Fraction(1, 2), Fraction(3, 4), Fraction(1), Fraction(5, 4), Fraction(2)]),
    k=st.fractions(Fraction(1, 8), 8, max_denominator=100),
    gain=st.fractions(Fraction(1, 50), 50, max_denominator=100),
    largest=st.integers(1, 1 << 22),
    design=st.builds(TableDesign, st.integers(2, 70), st.integers(3, 20), st.integers(0, 9)),
)
def test_every_entry_is_the_power_rounded_once(slope, beta, k, gain, largest, design):
    power = Power(slope, beta, k, gain)
    lookup, table = design_table(power, largest, design)
    assert len(table) <= design.entries
    begins = starts(lookup, len(table))
    assert begins[len(table)] > largest or begins[len(table) - 1] >= largest
    unit = Fraction(1, 2) ** lookup.format.fl()
    for i, code in enumerate(table.tolist()):
        total = Fraction(begins[i]) if design.fraction_bits else Fraction(begins[i] + begins[i + 1], 2)
        assert at_most((code - Fraction(1, 2)) * unit, power, total)
        assert not at_most((code + Fraction(1, 2) + Fraction(1, 10**40)) * unit, power, total)


def test_an_exact_tie_goes_to_even():
    """16**-0.5 = 1/4: half a step of a grid of halves, and three halves of one with a gain of 3."""
    half = Power(Fraction(1), Fraction(1, 2), Fraction(1))
    assert half.code(15, FixedPoint(8, 1, False)) == 0
    assert replace(half, gain=Fraction(3)).code(15, FixedPoint(8, 1, False)) == 2


@given(shift=st.integers(0, 10), mantissa=st.none() | st.integers(0, 6), total=st.integers(0, 1 << 30))
def test_segments_tile_the_sums(shift, mantissa, total):
    lookup = SumLookup(FixedPoint(16, 15, False), shift, mantissa)
    index, drop = segment(total, shift, UNIFORM if mantissa is None else mantissa)
    if index > 1 << 16:
        return
    assert lookup.start(index) <= total < lookup.start(index + 1) == lookup.start(index) + (1 << drop)


def real_lrn(x: Fraction, total: Fraction, alpha: float, count: int, beta: float, k: float) -> Decimal:
    with localcontext() as context:
        context.prec = 50
        base = Fraction(k) + Fraction(alpha) / count * total
        power = (Decimal(base.numerator) / Decimal(base.denominator)) ** -Decimal(beta)
        return Decimal(x.numerator) / Decimal(x.denominator) * power


@pytest.mark.parametrize("interpolates", [True, False])
@pytest.mark.parametrize(("region", "size"), [(ACROSS, 5), (WITHIN, 3)])
def test_errors_shrink_with_the_table_as_the_theory_says(region, size, interpolates):
    """Twice the segments for each octave halve the error of a step and quarter that of a line, until the entries' grid shows."""
    f, count = FixedPoint(8, 4), size if region == ACROSS else size * size
    output = Output(FixedPoint(32, 28))
    worst = []
    for entries in (64, 128, 256, 512):
        design = TableDesign(entries, 24, 16 if interpolates else 0)
        layer = IntegerLRN.from_real(f, region, size, 1.0, 0.75, 1.0, output, design)
        errors = []
        for total in np.unique(np.geomspace(1, layer.largest_sum, 800).astype(int)).tolist():
            codes = layer_output(layer, total)
            want = real_lrn(Fraction(127, 16), Fraction(total, 256), 1.0, count, 0.75, 1.0)
            errors.append(abs(Decimal(codes) / (1 << 28) - want) / want)
        worst.append(float(max(errors)))
    ratio = 4 if interpolates else 2
    assert all(a / b > 0.6 * ratio for a, b in zip(worst, worst[1:], strict=False)), worst
    assert worst[0] < (0.75 * 1.75 / 8 / 4**3 if interpolates else 0.75 / 2 / 2**3) * 4


def layer_output(layer: IntegerLRN, total: int) -> int:
    """The output code of the largest input code where the squares sum to `total`: what stands behind the sum."""
    from hwsim.arith.lrn import look_up
    from hwsim.layers.base import finish

    factor = look_up(total, layer.entries, len(layer.entries) - 1, layer.lookup.rule)
    return finish(127 * factor, 0, layer.epilogue)[0]


def test_the_widths_are_just_enough():
    layer = IntegerLRN.from_real(FixedPoint(8, 4), WITHIN, 3, 1.0, 0.75, 1.0, Output(S8))
    assert layer.sum_bits == (9 * 128 * 128).bit_length() == 18
    affine = IntegerLRN.from_real(Affine(8, 0.1, 100), ACROSS, 5, 1.0, 0.75, 1.0, Output(Affine(8, 0.1, 0)))
    assert affine.sum_bits == (5 * 228 * 228).bit_length()


def test_scales_that_are_no_powers_of_two_are_in_the_entries():
    read, write = Affine(8, 0.3, 10), Affine(8, 0.07, -20)
    layer = IntegerLRN.from_real(read, ACROSS, 1, 0.0, 0.75, 1.0, Output(write), TableDesign(2, 16))
    cell = layer.spec([[[[[20]]]]], 0, 0, 0, 0)
    assert cell.code == round(Fraction(0.3) * 10 / Fraction(0.07)) - 20


def test_a_table_is_built_again_only_where_its_meaning_changes():
    layer = IntegerLRN.from_real(S8, ACROSS, 3, 1.0, 0.75, 1.0, Output(S8), TableDesign(64))
    odd = replace(layer, table=np.minimum(layer.table, 17))
    assert (odd.rebuilt(FixedPoint(7, 4)).table <= 17).all()
    assert (odd.rebuilt(output=Output(FixedPoint(12, 9))).table <= 17).all()
    fresh = IntegerLRN.from_real(FixedPoint(8, 6), ACROSS, 3, 1.0, 0.75, 1.0, Output(S8), layer.design)
    again = odd.rebuilt(FixedPoint(8, 6))
    np.testing.assert_array_equal(again.table, fresh.table)
    assert again.lookup == fresh.lookup


LOOKUP = SumLookup(FixedPoint(16, 15, False), 4, 3)


def build(**changes):
    values = dict(format=S8, region=ACROSS, local_size=3, alpha=1.0, beta=0.75, k=1.0, lookup=LOOKUP, table=np.arange(9),
                  output=Output(S8))  # fmt: skip
    return IntegerLRN(**{**values, **changes})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build(format=FixedPoint(17, 4)), ["lrn.format", "at most 16"]),
        (lambda: build(table=np.arange(0)), ["lrn.table", "none of them empty"]),
        (lambda: build(table=np.array([1 << 16])), ["lrn.table", "0..65535"]),
        (lambda: build(local_size=2), ["lrn.local_size", "odd"]),
        (lambda: build(local_size=99999, region=WITHIN, format=FixedPoint(16, 0)), ["lrn.local_size", "62"]),
        (lambda: build(k=0.0), ["lrn", "k 0.0"]),
        (
            lambda: build(lookup=SumLookup(FixedPoint(32, 31), 0, 3, 16, 0), format=FixedPoint(16, 0)),
            ["lrn.lookup", "48 bits", "drop more bits"],
        ),
        (lambda: SumLookup(FixedPoint(33, 0), 0), ["SumLookup.format", "32"]),
        (lambda: SumLookup(FixedPoint(16, 0), 63), ["SumLookup.shift", "0..62"]),
        (lambda: SumLookup(FixedPoint(16, 0), 0, 17), ["SumLookup.mantissa_bits", "0..16"]),
        (lambda: SumLookup(FixedPoint(16, 0), 0, 3, 4, 5), ["SumLookup.dropped_bits", "0..4"]),
        (lambda: SumLookup(FixedPoint(16, 0), 0, 3, rounding="up"), ["SumLookup.rounding"]),
        (lambda: TableDesign(1), ["TableDesign.entries", "2..65536"]),
        (
            lambda: IntegerLRN.from_real(S8, ACROSS, 3, 1.0, 0.75, 1.0, Output(S8, scaling=Multiplier(Scaling.MULTIPLY, 1, 1))),
            ["lrn.output.scaling", "allowed None"],
        ),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(make, words):
    with pytest.raises(ContractError) as error:
        make()
    for word in words:
        assert word in str(error.value)

