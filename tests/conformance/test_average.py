"""Averages of affine codes and by reciprocals: every backend alike, and plain loops over padded arrays of Fractions."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import Activation, FloatOutput, Multiplier, Output, Scaling
from hwsim.contract.reciprocals import (
    Reciprocals,
    float32_reciprocal,
    folded_reciprocal,
    full_reciprocals,
    nearest_reciprocals,
    short_reciprocals,
)
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint, catalog
from hwsim.layers import AveragePool, CountRule, Shape, Window
from oracles import tflite_rules as rules
from oracles.able import conforms_or_refuses
from oracles.cases import Case, codes, generator
from oracles.compare import by_spec
from oracles.exact import fitted, limits, rounded

A8, U8, A16 = Affine(8, 0.5, -7), Affine(8, 0.5, 131, signed=False), Affine(16, 0.5, 300)
WINDOWS = [
    Window((2, 3), (1, 2), (1, 0)),
    Window((3, 2), (2, 1), (0, 1), False, (2, 0)),
    Window((3, 3), (2, 2), (1, 1), True),
    Window((2, 2), (2, 3), (0, 0), True, (1, 1)),
    Window(None),
]
SHAPE = (2, 3, 7, 5)


def seen(layer: AveragePool, x: np.ndarray):
    """Yield (output, sum of code - zero, pixels that count) of each window, cell by cell of the padded image."""
    n, c, h, w = x.shape
    window, real = layer.window, x.astype(object) - layer.format.zero()
    out = window.output_shape(Shape(c, h, w))
    kernel = (h, w) if window.kernel is None else window.kernel
    stride, pad = ((1, 1), (0, 0)) if window.kernel is None else (window.stride, window.pad)
    end = window.after
    for at in np.ndindex(n, *out):
        total = counted = 0
        for r, s in np.ndindex(*kernel):
            y, z = at[2] * stride[0] + r - pad[0], at[3] * stride[1] + s - pad[1]
            inside = 0 <= y < h and 0 <= z < w
            padded = -pad[0] <= y < h + end[0] and -pad[1] <= z < w + end[1]
            total += real[at[0], at[1], y, z] if inside else 0
            counted += (inside, True, padded)[layer.count]
        yield at, int(total), counted


def ended(value: Fraction | int, output: Output, zero: int) -> tuple[int, int]:
    """(code, event) of an exact value on the output's grid."""
    f = output.format
    if output.activation is Activation.RELU_BEFORE_REQUANTIZE:
        value = max(value, 0)
    code = rounded(value, output.rounding) + zero
    code = code if output.clamp_low is None else max(code, output.clamp_low)
    code = code if output.clamp_high is None else min(code, output.clamp_high)
    low, high = limits(f.bits, f.signed, output.overflow)
    return fitted(code, output.overflow, f.bits, f.signed), int(not low <= code <= high)


@cache
def exact_cases() -> list[Case]:
    """Every rounding; affine formats on one scale, with the zero point in the sum or not; every count rule, uneven padding."""
    found = []
    for i, mode in enumerate(list(Rounding) * 3):
        window, rule = WINDOWS[i % 5], list(CountRule)[(i // 2) % 3]
        source = (A8, U8, A16)[i % 3]
        of_codes = (i + i // 10) % 2 == 1
        out = source if of_codes else Affine((8, 8, 12)[i % 3], 0.5, (5, -9, 0)[i % 3])
        relu = Activation.RELU_BEFORE_REQUANTIZE if i % 4 == 2 else Activation.NONE
        output = Output(out, mode, list(Overflow)[i % 3], relu, clamp_high=out.zero() + 40 if i % 5 == 4 else None)
        name = f"average {i} {mode.name} {rule.name} {'of codes' if of_codes else ''} {source} {window}"
        found.append(Case(name, AveragePool(source, window, rule, output, of_codes), (codes(generator(name), source, SHAPE),)))
    return found


def test_affine_averages_are_exact_ones():
    for case in exact_cases():
        layer, got, events = case.layer, by_spec(case), 0
        offset = layer.format.zero() if layer.of_codes else 0
        for at, total, counted in seen(layer, case.inputs[0]):
            if layer.output.activation is Activation.RELU_BEFORE_REQUANTIZE:
                total = max(total, 0)
            plain = replace(layer.output, activation=Activation.NONE)
            value = Fraction(total, counted) + offset
            code, event = ended(value, plain, 0 if layer.of_codes else layer.output.format.zero())
            assert got.codes[at] == code, (case.name, at)
            events += event
        assert got.events.output == events, case.name


def test_a_zero_point_in_the_sum_matters_for_roundings_that_know_zero_alone():
    """The claim of AveragePool: every other rounding commutes with the addition of an integer."""
    knows = {Rounding.TIES_AWAY, Rounding.TIES_TO_ZERO, Rounding.TIES_EVEN, Rounding.TIES_ODD}
    knows |= {Rounding.TOWARD_ZERO, Rounding.AWAY_FROM_ZERO}
    x = codes(generator("zero"), A8, (1, 5, 7, 9))
    for mode in Rounding:
        layer = AveragePool(A8, Window((2, 2)), CountRule.CAFFE, Output(A8, mode), True)
        pair = (by_spec(Case("", one, (x,))).codes for one in (layer, replace(layer, of_codes=False)))
        assert (next(pair) != next(pair)).any() == (mode in knows), mode


@pytest.mark.parametrize("fmt", [A8, U8], ids=str)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_averages_of_codes_are_tensorflow_lites(fmt, window):
    x = codes(generator(f"{fmt} {window}"), fmt, SHAPE)
    layer = AveragePool(fmt, window, CountRule.EXCLUDE_PADDING, Output(fmt, Rounding.TIES_AWAY), True)
    got = by_spec(Case("of codes", layer, (x,))).codes
    for at, total, counted in seen(layer, x):
        assert got[at] == rules.average(total + counted * fmt.zero(), counted)


# -- reciprocals ----------------------------------------------------------------------------------------------------


def multiplied(layer: AveragePool, total: int, counted: int) -> int:
    """The rules of scaling by their formulas, before the zero point."""
    m, shift = layer.division.entry(counted, "here")
    lift = layer.output.format.fl() - layer.format.fl()
    mode = layer.output.rounding
    if layer.division.rule is Scaling.HIGH_MULTIPLY:
        return int(rules.double_rounding(total, m, 31 - shift))
    if layer.division.rule is Scaling.FLOAT32:
        return int(np.rint(np.float32(total) * np.float32(math.ldexp(m, -shift))))
    return rounded(Fraction(total * m) * Fraction(2) ** (lift - shift), mode)


@cache
def reciprocal_cases() -> list[Case]:
    """Each derivation, fixed point and affine, another scale and zero point at the output, ReLU and clamps."""
    found = []
    fixed = (FixedPoint(8, 3), FixedPoint(16, 5, signed=False))
    for i, window in enumerate(WINDOWS * 2):
        for j, rule in enumerate(CountRule):
            counts = AveragePool(A8, window, rule, Output(A8)).counts(Shape(3, 7, 5))
            output = Output(Affine(8, 0.25, 3), Rounding.TIES_UP, clamp_low=-20 if i % 2 else None)
            layers = [AveragePool((A8, U8)[i % 2], window, rule, output, division=full_reciprocals(counts))]
            mode = list(Rounding)[(3 * i + j) % 10]
            relu = Activation((i + j) % 3)
            output = Output(FixedPoint(8, (3, 1, 6)[j]), mode, list(Overflow)[i % 3], relu)
            layers.append(AveragePool(fixed[i % 2], window, rule, output, division=nearest_reciprocals(counts, 12 + i)))
            if len(counts) == 1:
                n, real = counts[0], float(np.float32(0.5 / 0.3))
                output = Output(Affine(8, 0.3, -11), Rounding.TIES_AWAY)
                layers.append(AveragePool(A8, window, rule, output, division=folded_reciprocal(n, real)))
                division = float32_reciprocal(n, float(np.float32(real / n)))
                layers.append(AveragePool(U8, window, rule, replace(output, rounding=Rounding.TIES_EVEN), division=division))
            for layer in layers:
                name = f"average {window} {rule.name} {layer.division.rule.name} {layer.format} {i}"
                found.append(Case(name, layer, (codes(generator(name), layer.format, SHAPE),)))
    return found


def test_reciprocals_multiply_sums():
    for case in reciprocal_cases():
        layer, got, events = case.layer, by_spec(case), 0
        low, high = layer.bounds.output
        for at, total, counted in seen(layer, case.inputs[0]):
            if layer.output.activation is Activation.RELU_BEFORE_REQUANTIZE:
                total = max(total, 0)
            value = multiplied(layer, total, counted)
            code, event = ended(value, layer.output, layer.output.format.zero())
            if layer.output.activation is Activation.RELU_AFTER_REQUANTIZE:
                code = max(code, 0)
            assert got.codes[at] == code, (case.name, at)
            assert low <= value + layer.output.format.zero() <= high or layer.output.clamp_low is not None, case.name
            events += event
        assert got.events.output == events, case.name


def test_a_mean_is_tensorflow_lites():
    for n, real in ((49, 1.0), (12, 0.7), (35, 3.1), (1, 0.5), (64, 2.0)):
        x = codes(generator(f"mean {n}"), A8, (1, 400, n, 1))
        layer = AveragePool(
            A8, Window(None), CountRule.CAFFE, Output(A8, Rounding.TIES_AWAY), division=folded_reciprocal(n, real)
        )
        want = rules.mean((x.astype(np.int64) + 7).sum(axis=(2, 3)), n, *rules.quantize_multiplier(real))
        got = by_spec(Case("mean", layer, (x,))).codes[:, :, 0, 0]
        np.testing.assert_array_equal(got.astype(np.int64), np.clip(want - 7, -128, 127))


def test_reciprocals_are_the_sources_numbers():
    """TOSA's reciprocal_scale by its own steps; Vitis AI's published factors and its search."""
    for n in (*range(1, 70), 169, 1 << 20):
        k = 32 - (32 - (n - 1).bit_length())
        assert full_reciprocals((n,)).entry(n, "") == (((1 << 30) + 1 << k) // n, 30 + k)
    published = {(3, 3): 7 / 64, (5, 5): 10 / 256, (6, 6): 7 / 256, (7, 7): 21 / 1024, (14, 14): 21 / 4096}
    for kernel, real in published.items():
        m, shift = short_reciprocals(kernel).entry(kernel[0] * kernel[1], "")
        assert m / 2**shift == real
    for kernel in ((3, 6), (6, 3)):
        assert math.ldexp(short_reciprocals(kernel).multipliers[0], -short_reciprocals(kernel).shifts[0]) * 18 == 36 * 7 / 256
    for kernel in ((1, 1), (2, 2), (4, 4), (1, 7), (9, 9), (13, 13)):
        n = kernel[0] * kernel[1]
        best, chosen = 1.0, (0, 0)
        for t in range(math.ceil(math.log2(n * 128))):
            error = abs(round(2**t / n) / 2**t - 1 / n)
            if error < best:
                best, chosen = error, (round(2**t / n), t)
        assert short_reciprocals(kernel).entry(n, "") == chosen


@pytest.mark.parametrize("part", range(3))
def test_every_backend_averages_alike(target, part):
    for case in (exact_cases() + reciprocal_cases())[part::3]:
        conforms_or_refuses(target, case)


# -- refusals -------------------------------------------------------------------------------------------------------

NINE = full_reciprocals((9,))
S8, UP = FixedPoint(8, 3), Output(FixedPoint(8, 3), Rounding.TIES_UP)


def pool(source, output, **fields) -> AveragePool:
    return AveragePool(source, Window((3, 3)), CountRule.CAFFE, output, **fields)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: pool(A8, Output(Affine(8, 0.25))), "allowed with an exact division is its scale; give Reciprocals"),
        (lambda: pool(A8, Output(Affine(8, 0.5)), of_codes=True), "its scale and zero point"),
        (lambda: pool(A8, Output(A8, scaling=Multiplier(Scaling.MULTIPLY, 1, 0))), "its place is in the division"),
        (lambda: pool(A8, Output(A8), of_codes=1), "of_codes: found 1"),
        (lambda: pool(S8, UP, division=9), "division: found 9"),
        (lambda: pool(A8, Output(A8, Rounding.TIES_UP), of_codes=True, division=NINE), "found True with reciprocals"),
        (lambda: pool(A8, Output(A8, Rounding.FLOOR), division=float32_reciprocal(9, 0.125)), "found FLOOR with FLOAT32"),
        (
            lambda: pool(S8, UP, division=full_reciprocals((4, 6))).output_shape([Shape(1, 5, 5)]),
            "no reciprocal of 9, allowed 4, 6",
        ),
        (lambda: pool(FixedPoint(31, 0), Output(S8), division=folded_reciprocal(9, 1.0)), "lengths that differ by 3"),
        (
            lambda: pool(FixedPoint(31, 3), Output(S8), division=folded_reciprocal(9, 1.0)),
            "HIGH_MULTIPLY takes 32 bits, found 35",
        ),
        (lambda: pool(FixedPoint(36, 3), UP, division=NINE), "need 71 bits|allowed are 64"),
        (lambda: pool(catalog.E4M3, FloatOutput(catalog.E4M3), of_codes=True), "found a rule of integers beside a minifloat"),
        (lambda: pool(catalog.E4M3, FloatOutput(catalog.E4M3), division=NINE), "found a rule of integers beside a minifloat"),
        (lambda: Reciprocals(Scaling.MULTIPLY, (), (), ()), "counts: found"),
        (lambda: Reciprocals(Scaling.MULTIPLY, (4, 4), (1, 1), (2, 2)), "allowed ascending integers"),
        (lambda: Reciprocals(Scaling.MULTIPLY, (6, 4), (1, 1), (2, 2)), "allowed ascending integers"),
        (lambda: Reciprocals(Scaling.MULTIPLY, (0,), (1,), (2,)), "allowed ascending integers in 1"),
        (lambda: Reciprocals(Scaling.MULTIPLY, (4,), (1, 1), (2,)), "multipliers: found 2, and 1 shifts"),
        (lambda: Reciprocals(Scaling.SHIFT, (4,), (1,), (2,)), "a shift alone needs no Multiplier"),
        (lambda: Reciprocals(Scaling.MULTIPLY, (4,), (-1,), (2,)), "multiplier: found -1"),
    ],
)
def test_what_cannot_be_built_is_refused(build, said):
    with pytest.raises(ContractError, match=said):
        build()
