"""Tables of curves, exactly rounded; TensorFlow Lite's, and TOSA's lines; what a table refuses."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest

import hwsim
from hwsim.arith.rounding import Rounding
from hwsim.errors import ContractError
from hwsim.execute.single import run_layer
from hwsim.formats import Affine, FixedPoint, catalog
from hwsim.layers import LookupTable
from hwsim.layers.tables import (
    exact,
    exponential,
    hard_sigmoid,
    hard_swish,
    logistic_float32,
    round_entry,
    sigmoid,
    swish,
    table_layer,
    tanh,
    tanh_float32,
    tflite_table,
)
from oracles import tosa_rules
from oracles.cases import generator
from oracles.exact import PICKS, TIES, rounded
from oracles.litert import Reference, T, single

S8 = FixedPoint(8, 4)
LONG = np.longdouble
CURVES = {
    "sigmoid": (sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "tanh": (tanh, np.tanh),
    "swish": (swish, lambda x: x / (1 + np.exp(-x))),
    "exponential": (exponential, np.exp),
}
FORMATS = [
    (FixedPoint(8, 4), FixedPoint(8, 7)),
    (FixedPoint(10, 6), FixedPoint(16, 12)),
    (Affine(8, 0.037, 11), Affine(8, 1 / 256, -128)),
    (Affine(8, 0.1, 200, signed=False), Affine(8, 0.02, 3, signed=False)),
]


@pytest.mark.parametrize("formats", FORMATS, ids=str)
@pytest.mark.parametrize("name", CURVES)
def test_entries_are_the_curve_rounded_once(name, formats):
    """Held to long doubles, whose error of 1e-17 or so cannot carry a value over a tie that is 1e-12 away."""
    curve, function = CURVES[name]
    f, out = formats
    places = np.arange(f.low, f.high + 1)
    step = LONG(f.scale) if isinstance(f, Affine) else LONG(2.0) ** -f.fl()
    unit = LONG(out.scale) if isinstance(out, Affine) else LONG(2.0) ** -out.fl()
    scaled = function((places - f.zero()) * step) / unit
    tie = np.abs(np.abs(scaled - np.floor(scaled)) - 0.5)
    assert (tie[places != f.zero()] > 1e-12).all()
    nearest = np.where(places == f.zero(), 0, np.rint(scaled)).astype(np.float64)
    want = np.clip(nearest, -(1 << 40), 1 << 40).astype(np.int64) + out.zero()
    want = np.clip(want, out.low, out.high)
    got = table_layer(curve, f, out).table
    elsewhere = places != f.zero()
    np.testing.assert_array_equal(got[elsewhere], want[elsewhere])


@pytest.mark.parametrize("mode", [*PICKS, *TIES], ids=lambda m: m.name)
def test_an_exact_tie_goes_where_the_mode_sends_it(mode):
    """sigmoid(0) = 1/2 lies between 0 and 1 of a format without fraction bits; its neighbours do not."""
    table = table_layer(sigmoid, FixedPoint(3, 0), FixedPoint(3, 0), mode).table.tolist()
    assert table[4] == rounded(Fraction(1, 2), mode)
    if mode in TIES:
        assert table[:4] == [0] * 4 and table[5:] == [1] * 3


def test_directed_modes_see_how_far_from_one_a_sigmoid_is():
    up = table_layer(sigmoid, FixedPoint(8, -12), FixedPoint(8, 6), Rounding.CEIL).table
    down = table_layer(sigmoid, FixedPoint(8, -12), FixedPoint(8, 6), Rounding.FLOOR).table
    assert up[0] == 1 and down[0] == 0 and up[-1] == 64 and down[-1] == 63
    assert table_layer(tanh, FixedPoint(8, -12), FixedPoint(8, 6), Rounding.FLOOR).table.tolist()[::255] == [-64, 63]


@pytest.mark.parametrize("x", [Fraction(-7, 3), Fraction(1, 1 << 40), Fraction(12345, 997), Fraction(1400)])
def test_the_ends_of_a_range_close_in(x):
    for curve in (sigmoid, tanh, swish, exponential):
        widths = []
        for digits in (20, 40, 80):
            low, high = curve(x, digits)
            assert low < high
            widths.append(high - low)
        near, far = curve(x, 20), curve(x, 80)
        assert near[0] <= far[0] <= far[1] <= near[1]
        assert widths[1] < widths[0] / 10**15 and widths[2] < widths[1] / 10**35


def test_curves_of_fractions_are_exact():
    hard = table_layer(hard_sigmoid(), FixedPoint(8, 4), FixedPoint(8, 7)).table
    swished = table_layer(hard_swish, FixedPoint(8, 4), FixedPoint(8, 4), Rounding.TIES_UP).table
    for code in range(-128, 128):
        gate = min(max(Fraction(code, 96) + Fraction(1, 2), 0), 1)
        assert hard[code + 128] == min(rounded(gate * 128, Rounding.TIES_EVEN), 127)
        assert swished[code + 128] == rounded(code * gate, Rounding.TIES_UP)


def test_a_curve_that_never_leaves_a_tie_is_refused():
    def stuck(x, digits):
        return Fraction(1, 2) - Fraction(1, 10**digits), Fraction(1, 2) + Fraction(1, 10**digits)

    with pytest.raises(ContractError, match="is not told from a tie by 5000 digits"):
        round_entry(stuck, Fraction(0), FixedPoint(8, 0), Rounding.TIES_EVEN, hwsim.Overflow.SATURATE)
    with pytest.raises(ContractError, match=r"exponential: found x = 4096, allowed -3000..3000"):
        exponential(Fraction(4096), 20)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("op", ["LOGISTIC", "TANH"])
def test_tflite_s_tables_are_litert_s(op, dtype):
    rng, signed = generator(f"{op} {dtype}"), dtype == "int8"
    low = -128 if signed else 0
    codes = np.arange(low, low + 256).astype(dtype)
    for _ in range(12):
        scale, zero = float(np.float32(rng.uniform(0.005, 0.2))), int(rng.integers(low, low + 256))
        out_scale, out_zero = (1 / 256, low) if op == "LOGISTIC" else (1 / 128, low + 128)
        source, output = T((1, 256), dtype, (scale,), (zero,)), T((1, 256), dtype, (out_scale,), (out_zero,))
        want = Reference(single(op, "", {}, [source], output)).run(codes[None])[0]
        formats = Affine(8, scale, zero, signed), Affine(8, out_scale, out_zero, signed)
        layer = tflite_table(logistic_float32 if op == "LOGISTIC" else tanh_float32, *formats)
        np.testing.assert_array_equal(run_layer(layer, codes.reshape(1, 1, 16, 16), backend="jit").codes.ravel(), want)


def test_a_line_is_tosa_s_table_and_tflite_s_lookup():
    rng = generator("lines")
    table = rng.integers(-(1 << 15), 1 << 15, 513)
    x = np.arange(-(1 << 15), 1 << 15).reshape(1, 1, 256, 256)
    layer = LookupTable(FixedPoint(16, 0), FixedPoint(32, 7), table, 7)
    want = tosa_rules.table({}, [x, table], ["INT16"], "INT32")
    np.testing.assert_array_equal(run_layer(layer, x, backend="jit").codes, want)
    rounded_line = LookupTable(FixedPoint(16, 0), FixedPoint(16, 0), table, 7, 7)
    index, part = (x >> 7) + 256, x & 127
    tflite = table[index] + (((table[index + 1] - table[index]) * part + 64) >> 7)
    np.testing.assert_array_equal(run_layer(rounded_line, x, backend="jit").codes, tflite)


def test_lines_come_near_the_curve_and_meet_it_at_their_ends():
    f, out = FixedPoint(16, 12), FixedPoint(16, 15)
    fine, line = table_layer(tanh, f, out).table, table_layer(tanh, f, out, fraction_bits=7)
    assert len(line.table) == 513
    x = np.arange(f.low, f.high + 1).reshape(1, 1, 256, 256)
    got = run_layer(line, x, backend="jit").codes.ravel()
    np.testing.assert_array_equal(got[::128], fine[::128])
    assert 0 < np.abs(got.astype(int) - fine).max() < 8
    wide = table_layer(tanh, f, FixedPoint(23, 22), fraction_bits=7, dropped_bits=0)
    np.testing.assert_array_equal(run_layer(wide, x, backend="jit").codes.ravel()[::128], fine[::128].astype(int) << 7)


def test_one_layer_runs_without_a_network():
    layer = hwsim.LookupTable(S8, S8, np.arange(127, -129, -1))
    assert run_layer(layer, np.array([[[-128, 0, 127]]]), backend="spec").codes.ravel().tolist() == [127, -1, -128]
    assert layer.bounds.output == (-128, 127)


WHOLE = np.zeros(256, int)
REFUSED = [
    (lambda: LookupTable(FixedPoint(17, 0), S8, WHOLE), "lookup_table.format: found 17 bits, allowed at most 16"),
    (lambda: LookupTable(S8, S8, WHOLE[:255]), "found int64 of shape (255,), allowed 256 integers, for the codes -128..127"),
    (lambda: LookupTable(S8, S8, WHOLE.astype(float)), "found float64 of shape (256,), allowed 256 integers"),
    (lambda: LookupTable(S8, S8, WHOLE + 128), "the entries make codes 128..128, allowed -128..127"),
    (lambda: LookupTable(S8, S8, WHOLE[:17] + 10, 4), "the entries make codes 160..160, allowed -128..127"),
    (lambda: LookupTable(S8, S8, WHOLE, 8), "lookup_table.fraction_bits: found 8, allowed an integer in 0..7"),
    (lambda: LookupTable(S8, S8, WHOLE[:17], 4, 5), "lookup_table.dropped_bits: found 5, allowed an integer in 0..4"),
    (lambda: LookupTable(S8, S8, WHOLE[:17], 4, 4, 4), "lookup_table.rounding: found 4, allowed FLOOR"),
    (lambda: LookupTable(catalog.E4M3, S8, WHOLE[:17], 4), "lookup_table.fraction_bits: found 4, allowed an integer in 0..0"),
    (lambda: LookupTable(catalog.BINARY32, S8, WHOLE), "lookup_table.format: found"),
    (lambda: table_layer(sigmoid, FixedPoint(8, (1, 2)), S8), "table_layer: found the format"),
    (lambda: table_layer(sigmoid, S8, Affine(8, 0.1), fraction_bits=4, dropped_bits=2), "with 2 bits of the line kept"),
    (lambda: tflite_table(tanh_float32, S8, Affine(8, 0.1)), "tflite_table: found the format s8 fl 4, allowed an Affine"),
    (lambda: table_layer(exact(lambda x: x), S8, FixedPoint(4, 4), overflow=hwsim.Overflow.TRAP), "does not fit -8..7"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_what_makes_no_table_is_refused(make, said):
    with pytest.raises(ContractError, match=re.escape(said)) as caught:
        make()
    assert str(caught.value).endswith(".")
