"""The lookup table and PReLU: every target gives what plain loops give, over formats of integers and of table words."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.contract import Output
from hwsim.contract.scaling import Multiplier
from hwsim.formats import Affine, FixedPoint, catalog
from hwsim.layers import LookupTable, PReLU
from oracles import tflite_rules
from oracles.able import conforms_or_refuses
from oracles.cases import Case, codes, generator
from oracles.compare import Outcome, assert_same, by_spec
from oracles.exact import limits, rounded, stored

SIZE = (2, 6, 5, 7)
S8, U8 = FixedPoint(8, 3), Affine(8, 0.1, 131, signed=False)

DIRECT = [
    (S8, FixedPoint(8, 7)),
    (FixedPoint(5, 2, signed=False), FixedPoint(16, 3)),
    (FixedPoint(16, 3), FixedPoint(8, 0, signed=False)),
    (FixedPoint(1, 0), FixedPoint(48, 0)),
    (U8, Affine(8, 0.2, -5)),
    (Affine(16, 0.2, 9, narrow=True), U8),
    (catalog.E4M3, FixedPoint(8, 3)),
    (S8, catalog.E5M2),
]
LINES = [
    (FixedPoint(16, 3), FixedPoint(16, 3), 7, 7, Rounding.TIES_UP),
    (FixedPoint(16, 3), FixedPoint(32, 10), 7, 0, Rounding.FLOOR),
    (FixedPoint(16, 3, signed=False), FixedPoint(20, 3), 9, 4, Rounding.TIES_EVEN),
    (FixedPoint(8, 3), FixedPoint(8, 3), 1, 1, Rounding.TIES_AWAY),
    (Affine(16, 0.2, 9, narrow=True), U8, 5, 5, Rounding.CEIL),
    (FixedPoint(12, 0), FixedPoint(48, 0), 11, 3, Rounding.TIES_TO_ZERO),
]


def ends(f) -> list[int]:
    """Both ends of a format and what is next to them."""
    return [f.low, min(f.low + 1, f.high), f.high, max(f.high - 1, f.low)]


@cache
def direct_case(i: int) -> tuple[Case, Outcome]:
    x_format, out = DIRECT[i]
    rng = generator(f"table {i}")
    table = rng.integers(out.low, out.high, size=x_format.high - x_format.low + 1, endpoint=True)
    x = codes(rng, x_format, SIZE)
    x[0, 0, 0, :4] = ends(x_format)
    by_code = dict(zip(range(x_format.low, x_format.high + 1), table.tolist(), strict=True))
    want = np.array([by_code[int(c)] for c in x.ravel()], dtype=object).reshape(SIZE)
    return Case(f"table {i}", LookupTable(x_format, out, table), (x,)), Outcome(want, None, (0, 0))


@cache
def line_case(i: int) -> tuple[Case, Outcome]:
    """The line between two entries at its exact point, rounded once."""
    x_format, out, bits, dropped, mode = LINES[i]
    rng, kept, step = generator(f"line {i}"), bits - dropped, 1 << bits
    count = (x_format.high - x_format.low) // step + 2
    table = rng.integers(out.low >> kept, (out.high >> kept) + 1, size=count)
    x = codes(rng, x_format, SIZE)
    x[0, 0, 0, :4] = ends(x_format)
    want = np.empty(SIZE, dtype=object)
    for at in np.ndindex(*SIZE):
        where = Fraction(int(x[at]) - x_format.low, step)
        left = int(where)
        point = int(table[left]) + (int(table[left + 1]) - int(table[left])) * (where - left)
        want[at] = rounded(point * 2**kept, mode)
    layer = LookupTable(x_format, out, table, bits, dropped, mode)
    return Case(f"line {i}", layer, (x,)), Outcome(want, None, (0, 0))


@pytest.mark.parametrize("i", range(len(DIRECT)), ids=lambda i: " to ".join(map(str, DIRECT[i])))
def test_a_table_of_every_code(target, i):
    case, want = direct_case(i)
    assert_same(case, "spec", want, by_spec(case))
    conforms_or_refuses(target, case)


@pytest.mark.parametrize("i", range(len(LINES)), ids=lambda i: " ".join(map(str, LINES[i])))
def test_a_line_between_two_entries(target, i):
    case, want = line_case(i)
    assert_same(case, "spec", want, by_spec(case))
    conforms_or_refuses(target, case)


PRELUS = [
    (S8, FixedPoint(2, 3), [1], Output(S8, Rounding.FLOOR)),
    (S8, FixedPoint(6, 8), [26], Output(S8, Rounding.TIES_UP)),
    (S8, FixedPoint(8, 6), [-128, 127, 3, 0, -1, 64], Output(FixedPoint(8, 2), Rounding.TIES_EVEN)),
    (FixedPoint(16, 5), FixedPoint(16, 12), [-9999, 32767, 5], Output(FixedPoint(8, 3), Rounding.TIES_AWAY, Overflow.WRAP)),
    (FixedPoint(7, -3), FixedPoint(8, 2, signed=False), [255, 7], Output(FixedPoint(16, 4), Rounding.CEIL)),
    (FixedPoint(8, 3, signed=False), FixedPoint(4, 1), [5], Output(FixedPoint(6, 3), overflow=Overflow.SATURATE_SYMMETRIC)),
    (FixedPoint(32, 7), FixedPoint(16, 9), [-31111, 2], Output(FixedPoint(32, 6), Rounding.TIES_ODD)),
    (S8, FixedPoint(8, 6), [100], Output(FixedPoint(8, 5), Rounding.TIES_EVEN, clamp_low=-20, clamp_high=90)),
]


@cache
def prelu_case(i: int) -> tuple[Case, Outcome]:
    f, slope_format, slopes, output = PRELUS[i]
    rng, out = generator(f"prelu {i}"), output.format
    channels = 6 if len(slopes) == 1 else len(slopes)
    x = codes(rng, f, (2, channels, 5, 7))
    want, events = np.empty(x.shape, dtype=object), 0
    for at in np.ndindex(*x.shape):
        slope = Fraction(slopes[at[1] % len(slopes)], 1) / Fraction(2) ** slope_format.fractional_length
        real = int(x[at]) / Fraction(2) ** f.fractional_length
        real = real if real >= 0 else real * slope
        if output.clamp_low is not None:  # on a grid of codes, clamping before rounding is clamping behind it
            step = Fraction(2) ** -out.fractional_length
            real = min(max(real, output.clamp_low * step), output.clamp_high * step)
        want[at], event = stored(
            real, out.fractional_length, out.bits, out.signed, output.rounding, output.overflow, Activation.NONE
        )
        events += event
    layer = PReLU(f, slope_format, np.array(slopes), output)
    return Case(f"prelu {i}", layer, (x,)), Outcome(want, None, (0, events))


@pytest.mark.parametrize("i", range(len(PRELUS)), ids=str)
def test_slopes_of_fixed_point(target, i):
    case, want = prelu_case(i)
    assert_same(case, "spec", want, by_spec(case))
    conforms_or_refuses(target, case)


AFFINES = [
    (U8, Affine(8, 0.01, 7), list(range(-3, 15, 3)), Affine(8, 0.2, -9)),
    (Affine(8, 0.1, 5), FixedPoint(2, 0), [1], Affine(8, 0.2, 77, signed=False)),
]


@cache
def affine_case(i: int) -> tuple[Case, Outcome]:
    """Two multipliers of two roundings each, as TensorFlow Lite's PRELU and LEAKY_RELU have them."""
    f, slope_format, slopes, out = AFFINES[i]
    rng = generator(f"affine prelu {i}")
    x = codes(rng, FixedPoint(8, 0, f.signed), SIZE)
    above, below = ((int(rng.integers(1 << 30, 1 << 31)), int(s)) for s in rng.integers(30, 36, 2))
    value = x.astype(np.int64) - f.zero()
    slope = np.array(slopes) - slope_format.zero()
    sides = [tflite_rules.double_rounding(v, m, 31 - s) for v, (m, s) in ((value, above), (value * slope[:, None, None], below))]
    exact = np.where(value >= 0, *sides) + out.zero()
    low, high = limits(8, out.signed)
    output = Output(out, Rounding.TIES_AWAY, scaling=Multiplier(Scaling.HIGH_MULTIPLY, *above))
    layer = PReLU(f, slope_format, np.array(slopes), output, Multiplier(Scaling.HIGH_MULTIPLY, *below))
    events = int(((exact < low) | (exact > high)).sum())
    return Case(f"affine prelu {i}", layer, (x,)), Outcome(np.clip(exact, low, high), None, (0, events))


@pytest.mark.parametrize("i", range(len(AFFINES)), ids=str)
def test_slopes_of_affine_codes(target, i):
    case, want = affine_case(i)
    assert_same(case, "spec", want, by_spec(case))
    conforms_or_refuses(target, case)


@cache
def scaled_case(rule: Scaling) -> Case:
    """Every rule of scaling on both sides, a zero point, a clamp, and slopes of either sign for each channel."""
    rng, f = generator(f"prelu {rule.name}"), Affine(16, 0.1, 999)
    numbers = {Scaling.FLOAT32: (11259375, 31), Scaling.FLOAT64: (6755399441055744, 60)}.get(rule, (1431655765, 38))
    rounding = Rounding.TIES_EVEN if rule in (Scaling.FLOAT32, Scaling.FLOAT64) else Rounding.TIES_UP
    below = (numbers[0] - 77, numbers[1] + 7)
    output = Output(Affine(8, 0.2, -9), rounding, scaling=Multiplier(rule, *numbers), clamp_low=-100)
    slopes = np.array([-128, -3, 0, 1, 90, 127])
    layer = PReLU(f, FixedPoint(8, 0), slopes, output, Multiplier(rule, *below))
    return Case(f"prelu {rule.name}", layer, (codes(rng, FixedPoint(16, 0), SIZE),))


@pytest.mark.parametrize("rule", [rule for rule in Scaling if rule is not Scaling.SHIFT], ids=lambda rule: rule.name)
def test_slopes_under_every_rule_of_scaling(target, rule):
    case = scaled_case(rule)
    assert len(np.unique(by_spec(case).codes)) > 40 and by_spec(case).events.output > 0
    conforms_or_refuses(target, case)
