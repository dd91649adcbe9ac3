"""Sums, products, maxima and shifts of several operands: every backend, an oracle of Fractions, and the schools' own rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import Activation, Multiplier, Output, Scaling
from hwsim.contract.operand import FloatSteps, Operand, fused_sum, offset_product
from hwsim.contract.scaling import float32_multiplier, quantized_multiplier
from hwsim.errors import ContractError
from hwsim.execute.single import run_layer
from hwsim.formats import Affine, FixedPoint, catalog
from hwsim.layers import ArithmeticShiftRight, EltwiseMax, EltwiseMin, EltwiseProduct, EltwiseSum, Shape
from oracles import tflite_rules as rules
from oracles.able import conforms_or_refuses
from oracles.cases import Case, codes, generator
from oracles.compare import by_spec
from oracles.exact import fitted, limits, rounded

SHAPE = (2, 3, 5, 7)
STRETCHED = ((2, 3, 5, 7), (2, 3, 1, 1), (2, 1, 1, 1), (2, 1, 5, 7))
CONSTANTS = ((3, 1, 1), (1, 1, 1), (3, 5, 7), (1, 5, 1))
A8, B8, U8 = Affine(8, 0.5, -3), Affine(8, 0.5, 17), Affine(8, 0.5, 131, signed=False)


def f32(value: float) -> float:
    return float(np.float32(value))


def plain(x: np.ndarray, fmt) -> np.ndarray:
    """code - zero_point as Python ints."""
    return np.array(x.tolist(), dtype=object).reshape(x.shape) - fmt.zero()


def ended(values: np.ndarray, output: Output) -> tuple[np.ndarray, int]:
    """Codes and events of exact values on the output's grid, by the meaning of each step."""
    out, events = np.zeros(values.shape, dtype=object), 0
    f = output.format
    low, high = limits(f.bits, f.signed, output.overflow)
    for at in np.ndindex(*values.shape):
        value = values[at]
        if output.activation is Activation.RELU_BEFORE_REQUANTIZE:
            value = max(value, 0)
        code = rounded(value, output.rounding) + f.zero()
        code = max(code, output.clamp_low) if output.clamp_low is not None else code
        code = min(code, output.clamp_high) if output.clamp_high is not None else code
        events += not low <= code <= high
        out[at] = fitted(code, output.overflow, f.bits, f.signed)
        if output.activation is Activation.RELU_AFTER_REQUANTIZE:
            out[at] = max(out[at], 0)
    return out, events


def operands_of(name: str, formats, shapes: Sequence[tuple[int, ...]]) -> tuple[np.ndarray, ...]:
    return tuple(codes(generator(f"{name} {i}"), f, shape) for i, (f, shape) in enumerate(zip(formats, shapes, strict=True)))


def two(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


# -- exact sums and products ----------------------------------------------------------------------------------------


@cache
def exact_cases() -> list[tuple[Case, tuple]]:
    """(case, its operands' formats): every rounding with every overflow, formats, shapes and constants in turn."""
    found = []
    for i, (mode, overflow) in enumerate((m, o) for m in Rounding for o in Overflow):
        affine = i % 3 == 2
        one = (A8, B8, U8) if affine else (FixedPoint(8, 3), FixedPoint(16, 5), FixedPoint(5, -2, signed=False))
        formats = (one[i % 3], one[(i + 1) % 3]) if i % 4 else one
        activation = Activation((0, 1, 0 if affine else 2)[i % 3])
        shift = (3, 0, -2, 5)[i % 4]
        out = Affine(8, 0.5, 9) if affine else FixedPoint((8, 16, 5)[i % 3], max(f.fl() for f in formats) - shift)
        output = Output(out, mode, overflow, activation, clamp_low=-4 if i % 5 == 0 else None)
        constant = dict(constant=codes(generator(f"constant {i}"), one[0], CONSTANTS[i % 4]), constant_format=one[0])
        extra = constant if i % 2 else {}
        shapes = [STRETCHED[(i + j) % 4 if j else 0] if i % 3 == 0 else SHAPE for j in range(len(formats))]
        every = (*formats, one[0]) if extra else formats
        signs = tuple(Operand(negate=bool((i + j) % 3 == 0)) for j in range(len(every))) if i % 2 else None
        name = f"sum {i} {mode.name} {overflow.name}"
        layer = EltwiseSum(formats, output, signs, stretch=i % 3 == 0, **extra)
        found.append((Case(name, layer, operands_of(name, formats, shapes)), every))
        if not affine:
            scale = sum(f.fl() for f in every)
            output = replace(output, format=FixedPoint(out.bits, scale - 4 * shift), rounding=mode)
        else:
            output = replace(output, format=Affine(8, 0.5 ** len(every), 9))
        layer = EltwiseProduct(formats, output, stretch=i % 3 == 0, **extra)
        name = f"product {i} {mode.name} {overflow.name}"
        found.append((Case(name, layer, operands_of(name, formats, shapes)), every))
    return found


def expected(case: Case, formats) -> tuple[np.ndarray, int]:
    layer = case.layer
    arrays = [*case.inputs] if layer.constant is None else [*case.inputs, layer.constant[None]]
    out = layer.output.format
    reals = [plain(x, f) * two(-f.fl()) for x, f in zip(arrays, formats, strict=True)]
    if isinstance(layer, EltwiseProduct):
        whole = reals[0]
        for real in reals[1:]:
            whole = whole * real
    else:
        signs = [-1 if o.negate else 1 for o in layer.operands] if layer.operands else [1] * len(reals)
        whole = sum(real * sign for real, sign in zip(reals, signs, strict=True))
    return ended(whole * two(out.fl()), layer.output)


def test_exact_sums_and_products_are_those_of_fractions():
    for case, formats in exact_cases():
        want, events = expected(case, formats)
        got = by_spec(case)
        assert want.shape == got.codes.shape and (want == got.codes).all(), f"{case.name}\n{case.layer!r}"
        assert got.events.output == events, case.name


def test_where_the_bounds_fit_nothing_overflows():
    proven = 0
    for case, _ in exact_cases():
        wide = replace(case.layer.output, overflow=Overflow.WRAP)
        low, high = replace(case.layer, output=wide).bounds.output
        f = case.layer.output.format
        seen = by_spec(case)
        if f.low <= low and high <= f.high:
            assert not seen.events.output
            assert low <= seen.codes.min() and seen.codes.max() <= high, case.name
            proven += 1
    assert proven >= 5


def test_a_constant_bounds_the_sum_by_its_own_codes():
    """Real codes of the input, -125..130, with the constant's -47..11 and its 0; then the output's zero point."""
    constant = np.array([-50, 8], np.int8).reshape(2, 1, 1)
    layer = EltwiseSum((A8,), Output(Affine(8, 0.5, 9)), constant=constant, constant_format=A8)
    assert layer.bounds.output == (-125 - 47 + 9, 130 + 11 + 9)
    above = EltwiseSum((A8,), layer.output, constant=np.maximum(constant, 8), constant_format=A8)
    assert above.bounds.output == (-125 + 9, 130 + 11 + 9)


@pytest.mark.parametrize("part", range(4))
def test_every_backend_combines_alike(target, part):
    for case, _ in exact_cases()[part::4]:
        conforms_or_refuses(target, case)


# -- operands scaled on their own -----------------------------------------------------------------------------------


def high(real: float) -> Multiplier:
    return Multiplier(Scaling.HIGH_MULTIPLY, *quantized_multiplier(real))


def thrice_rounded(formats, out, left: int, subtract: bool) -> EltwiseSum:
    """TensorFlow Lite's ADD and SUB."""
    s1, s2 = (f.step() for f in formats)
    twice = 2 * max(s1, s2)
    output = Output(out, Rounding.TIES_AWAY, scaling=high(twice / ((1 << left) * out.step())))
    terms = (Operand(left, high(s1 / twice)), Operand(left, high(s2 / twice), negate=subtract))
    return EltwiseSum(formats, output, terms)


@cache
def scaled_cases() -> list[Case]:
    """8-bit, unsigned and 16-bit sums of the three-rounding kind, and others that only hwsim can say."""
    found = []
    for i in range(12):
        rng = generator(f"scaled {i}")
        s1, s2, so = (f32(np.exp(rng.uniform(-6, 0))) for _ in range(3))
        if i % 4 < 2:  # float32 scales near which many sums lie beside a tie
            s1, s2, so = f32(0.3), f32(0.1), f32(0.2)
        bits, signed, left = ((8, True, 20), (8, False, 20), (16, True, 15))[i % 3]
        zeros = (0, 0, 0) if bits == 16 else tuple(int(z) for z in rng.integers(-128, 128, 3) + (0 if signed else 128))
        formats = tuple(Affine(bits, s, z, signed) for s, z in zip((s1, s2), zeros, strict=False))
        layer = thrice_rounded(formats, Affine(bits, so, zeros[2], signed), left, i % 2 == 1)
        found.append(Case(f"thrice rounded {i}", layer, operands_of(f"scaled {i}", formats, (SHAPE, SHAPE))))
    every = (A8, Affine(8, 0.3, 5), U8)
    terms = (
        Operand(3, Multiplier(Scaling.MULTIPLY, 77, 9), Rounding.FLOOR),
        Operand(None, Multiplier(Scaling.DOUBLE_ROUND, 1 << 30, 33), Rounding.TIES_UP, negate=True),
        Operand(7, Multiplier(Scaling.FLOAT32, *float32_multiplier(f32(0.013))), Rounding.TIES_EVEN),
    )
    layer = EltwiseSum(every, Output(Affine(16, 0.3)), terms)
    found.append(Case("three schools in one sum", layer, operands_of("schools", every, (SHAPE,) * 3)))
    return found


def test_three_roundings_are_tensorflow_lites():
    separated = 0
    for case in scaled_cases()[:12]:
        layer, (a, b) = case.layer, case.inputs
        fa, fb, out = *layer.formats, layer.output.format
        scales, zeros = (fa.step(), fb.step(), out.step()), (fa.zero(), fb.zero(), out.zero())
        sign, left = -1 if layer.operands[1].negate else 1, layer.operands[0].left_shift
        want = rules.add(a, b, scales, zeros, out.low, out.high, sign, left)
        np.testing.assert_array_equal(by_spec(case).codes.astype(np.int64), want, case.name)
        exact = (plain(a, fa) * Fraction(fa.step()) + sign * plain(b, fb) * Fraction(fb.step())) / Fraction(out.step())
        separated += int((ended(exact, Output(out, Rounding.TIES_AWAY))[0] != want).sum())
    assert separated > 20  # from one exact rounding


def test_each_operands_school_is_its_own():
    case = scaled_cases()[-1]
    a, b, c = (plain(x, f) for x, f in zip(case.inputs, case.layer.formats, strict=True))
    first = (a * 8 * 77) // 512
    second = np.array([(int(v) * (1 << 30) + (1 << 32) + (1 << 30 if v >= 0 else -(1 << 30))) >> 33 for v in b.ravel()])
    third = np.rint((c * 128).astype(np.float32) * np.float32(0.013)).astype(np.int64)
    want = first.astype(np.int64) - second.reshape(b.shape) + third
    np.testing.assert_array_equal(by_spec(case).codes.astype(np.int64), want)


def test_every_backend_scales_operands_alike(target):
    for case in scaled_cases():
        conforms_or_refuses(target, case)


# -- products and the schools ---------------------------------------------------------------------------------------


@cache
def school_products() -> list[tuple[Case, np.ndarray]]:
    """TensorFlow Lite's MUL, and TOSA's of int32 with its shift."""
    found = []
    for i in range(8):
        rng = generator(f"mul {i}")
        s1, s2 = (f32(np.exp(rng.uniform(-6, 0))) for _ in range(2))
        so, signed = f32(s1 * s2 * 2 ** rng.uniform(0, 9)), i % 2 == 0
        zeros = [int(z) for z in rng.integers(-128, 128, 3) + (0 if signed else 128)]
        f, g, out = (Affine(8, s, z, signed) for s, z in zip((s1, s2, so), zeros, strict=True))
        m, shift = rules.float32_multiplier(s1, s2, so)
        output = Output(out, Rounding.TIES_AWAY, scaling=Multiplier(Scaling.HIGH_MULTIPLY, m, 31 - shift))
        a, b = operands_of(f"mul {i}", (f, g), (SHAPE, SHAPE))
        wide = (a.astype(np.int64) - f.zero()) * (b.astype(np.int64) - g.zero())
        want = np.clip(rules.double_rounding(wide, m, shift) + out.zero(), out.low, out.high)
        found.append((Case(f"mul {i}", EltwiseProduct((f, g), output), (a, b)), want))
    word = FixedPoint(32, 0)
    for shift in (0, 1, 17, 31, 62):
        a, b = operands_of(f"tosa {shift}", (word, word), (SHAPE, SHAPE))
        a[0, 0], b[0, 0] = -(1 << 31), -(1 << 31)
        big = a.astype(object) * b.astype(object)
        scaled = (big + (1 << shift >> 1)) >> shift
        want = (scaled + (1 << 31)) % (1 << 32) - (1 << 31)
        layer = EltwiseProduct((word, word), Output(FixedPoint(32, -shift), Rounding.TIES_UP, Overflow.WRAP))
        found.append((Case(f"int32 product shifted by {shift}", layer, (a, b)), want))
    return found


def test_products_are_the_schools():
    for case, want in school_products():
        np.testing.assert_array_equal(by_spec(case).codes, want, case.name)


def test_every_backend_multiplies_alike(target):
    for case, _ in school_products():
        conforms_or_refuses(target, case)


# -- float32 steps --------------------------------------------------------------------------------------------------


@cache
def float_cases() -> list[tuple[Case, np.ndarray]]:
    """Real float32 arithmetic of numpy, which rounds each operation once, beside the layer's integers."""
    found, F = [], np.float32
    for i in range(10):
        rng = generator(f"steps {i}")
        scales = [f32(np.exp(rng.uniform(-12, 6))) for _ in range(3)]
        scales[1] = scales[0] * (1, 2, 0.75)[i % 3] if i < 6 else scales[1]
        signed = i % 2 == 0
        zeros = [int(z) for z in rng.integers(-128, 128, 3) + (0 if signed else 128)]
        formats = tuple(Affine(8, s, z, signed) for s, z in zip(scales[:2], zeros, strict=False))
        out = Affine(8, f32(scales[0] * 2 ** rng.uniform(-1, 8)), zeros[2], signed)
        mode = (Rounding.TIES_EVEN, Rounding.TIES_AWAY)[i % 5 == 4]
        sign = -1 if i % 3 == 2 else 1
        a, b = operands_of(f"steps {i}", formats, (SHAPE, SHAPE))
        x, y = (F(s) * plain(v, f).astype(F) for s, v, f in zip(scales, (a, b), formats, strict=False))
        steps = FloatSteps((scales[0], sign * scales[1]), out.step())
        for kind, whole in ((EltwiseSum, x + sign * y), (EltwiseProduct, x * (sign * y))):
            quotient = (whole / F(out.step())).astype(np.float64)
            integer = np.rint(quotient) if mode is Rounding.TIES_EVEN else rules.round_away(quotient)
            want = np.clip(integer + out.zero(), out.low, out.high).astype(np.int64)
            found.append((Case(f"steps {i} {kind.__name__}", kind(formats, Output(out, mode), steps), (a, b)), want))
    return found


def test_float_steps_are_numpys_float32():
    for case, want in float_cases():
        np.testing.assert_array_equal(by_spec(case).codes.astype(np.int64), want, f"{case.name}\n{case.layer!r}")
        low, high = case.layer.bounds.output
        assert low <= want.min() and (want.max() <= high), case.name


def round32(exact: Fraction) -> Fraction:
    """The nearest number of 24 bits, ties to even: no exponent here leaves float32's."""
    if exact == 0:
        return exact
    grid = Fraction(1)
    while abs(exact) / grid >= 1 << 24:
        grid *= 2
    while abs(exact) / grid < 1 << 23:
        grid /= 2
    return rounded(exact / grid, Rounding.TIES_EVEN) * grid


@cache
def offset_cases() -> list[tuple[Case, list[int]]]:
    """Fused multiply-adds and products with an offset, by Fractions that are rounded after each operation."""
    found = []
    for i in range(8):
        rng, signed = generator(f"offset {i}"), i % 2 == 0
        s1, s2, so = (f32(v) for v in ((0.3, 0.1, 0.2) if i % 4 == 0 else np.exp(rng.uniform(-3, 0, 3))))
        zeros = [int(z) for z in rng.integers(-128, 128, 3) + (0 if signed else 128)]
        f, g, out = (Affine(8, s, z, signed) for s, z in zip((s1, s2, so), zeros, strict=True))
        a, b = operands_of(f"offset {i}", (f, g), (SHAPE, SHAPE))
        steps = fused_sum((f, g), out)
        ra, rb = Fraction(f32(np.float32(s1) / np.float32(so))), Fraction(f32(np.float32(s2) / np.float32(so)))
        offset = round32(zeros[2] - round32(ra * zeros[0] + round32(rb * zeros[1])))
        assert (steps.scales, steps.offset) == ((float(ra), float(rb)), float(offset))
        pairs = list(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
        want = [round32(x * ra + round32(y * rb + offset)) for x, y in pairs]
        found.append((Case(f"fused sum {i}", EltwiseSum((f, g), Output(out), steps), (a, b)), want))
        out = Affine(8, f32(s1 * s2 * 60), zeros[2], signed)
        steps = offset_product((f, g), out)
        scale = Fraction(f32(np.float32(s1) * np.float32(s2) / np.float32(out.step())))
        want = [round32(round32((x - zeros[0]) * (y - zeros[1]) * scale) + zeros[2]) for x, y in pairs]
        assert (steps.scales, steps.offset) == ((float(scale),), float(zeros[2]))
        found.append((Case(f"offset product {i}", EltwiseProduct((f, g), Output(out), steps), (a, b)), want))
    return found


def test_offsets_are_rounded_with_the_rest():
    for case, want in offset_cases():
        out = case.layer.output.format
        clipped = [min(max(rounded(value, Rounding.TIES_EVEN), out.low), out.high) for value in want]
        assert by_spec(case).codes.ravel().tolist() == clipped, case.name
        low, high = case.layer.bounds.output
        assert low <= min(want) + Fraction(1, 2) and max(want) - Fraction(1, 2) <= high, case.name


def test_fused_operands_begin_with_the_last():
    """1 * 2**-20 - 101.5 loses the 1, so that 100 more is a tie, -1.5; taken first, 100 - 101.5 would have kept it: -1."""
    case = lossy_case()
    assert by_spec(case).codes.ravel().tolist() == [-2]


def lossy_case() -> Case:
    f, steps = Affine(8, 1.0), FloatSteps((1.0, 2.0**-20), offset=-101.5)
    x = tuple(np.array(code, np.int8).reshape(1, 1, 1, 1) for code in (100, 1))
    return Case("a lossy offset", EltwiseSum((f, f), Output(f), steps), x)


def test_every_backend_takes_the_same_float_steps(target):
    conforms_or_refuses(target, lossy_case())
    for case, _ in (*float_cases(), *offset_cases()):
        conforms_or_refuses(target, case)


# -- maxima, minima, shifts -----------------------------------------------------------------------------------------


@cache
def plain_cases() -> list[tuple[Case, np.ndarray | None]]:
    found: list[tuple[Case, np.ndarray | None]] = []
    for f in (FixedPoint(8, 3), FixedPoint(16, 2, signed=False), A8, U8, FixedPoint(32, 0)):
        for kind, pick in ((EltwiseMax, np.maximum), (EltwiseMin, np.minimum)):
            x = operands_of(f"{kind.__name__} {f}", (f,) * 3, (SHAPE,) * 3)
            found.append((Case(f"{kind.__name__} {f}", kind((f,) * 3), x), pick(pick(*x[:2]), x[2])))
            x = operands_of(f"{kind.__name__} {f} stretched", (f,) * 2, STRETCHED[:2])
            constant = codes(generator(f"{f} constant"), f, CONSTANTS[3])
            layer = kind((f, f), True, constant, f)
            found.append((Case(f"{kind.__name__} {f} stretched", layer, x), pick(pick(*x), constant[None])))
    e4m3 = catalog.E4M3
    x = operands_of("max of minifloats", (e4m3,) * 2, (SHAPE,) * 2)
    found.append((Case("max of minifloats", EltwiseMax((e4m3, e4m3)), x), None))
    amount = FixedPoint(5, 0, signed=False)
    for f in (FixedPoint(8, 3), FixedPoint(32, 0), A8):
        for mode in (Rounding.FLOOR, Rounding.TIES_UP, Rounding.TIES_EVEN):
            a, b = operands_of(f"shift {f} {mode}", (f, amount), (SHAPE, STRETCHED[1]))
            want = [rounded(Fraction(int(v), 2 ** int(s)), mode) for v, s in np.broadcast(a, b)]
            layer = ArithmeticShiftRight((f, amount), mode, stretch=True)
            found.append((Case(f"shift {f} {mode.name}", layer, (a, b)), np.array(want).reshape(a.shape)))
    return found


def test_maxima_minima_and_shifts_are_their_meaning():
    for case, want in plain_cases():
        got = by_spec(case).codes
        if want is None:
            real = np.maximum(*(catalog.E4M3.to_real(x) for x in case.inputs))
            np.testing.assert_array_equal(catalog.E4M3.to_real(got.astype(np.uint8)), real)
        else:
            np.testing.assert_array_equal(got.astype(np.int64), want, case.name)


def test_every_backend_picks_and_shifts_alike(target):
    for case, _ in plain_cases():
        conforms_or_refuses(target, case)


# -- refusals -------------------------------------------------------------------------------------------------------

S8, S16, S32 = FixedPoint(8, 3), FixedPoint(16, 3), FixedPoint(32, 0)
OUT = Output(S8)
ONE = np.zeros((3, 1, 1), np.int8)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: EltwiseSum((S8,), OUT), "found 1 inputs, allowed two or more"),
        (lambda: EltwiseProduct((), OUT), "found 0 inputs, allowed two or more"),
        (lambda: EltwiseSum((S8,), OUT, constant=ONE), "give both or none"),
        (lambda: EltwiseSum((S8, S8), OUT, constant_format=S8), "give both or none"),
        (lambda: EltwiseSum((S8,), OUT, constant=ONE[0], constant_format=S8), "allowed axes C H W"),
        (lambda: EltwiseSum((S8,), OUT, constant=ONE + 9, constant_format=FixedPoint(4, 0)), "codes reach 9..9"),
        (lambda: EltwiseSum((catalog.E4M3,), OUT, constant=ONE, constant_format=S8), "found one beside a minifloat"),
        (lambda: EltwiseSum((S8, S8), OUT, stretch=1), "stretch: found 1"),
        (lambda: EltwiseSum((S8, catalog.E4M3), OUT, stretch=True), "stretch: found one beside a minifloat"),
        (lambda: EltwiseSum((A8, Affine(8, 0.25)), Output(A8)), "found scales 0.5, 0.25, allowed one for all"),
        (lambda: EltwiseSum((A8, S8), Output(A8)), "found scales 0.5, 1, allowed one for all"),
        (lambda: EltwiseSum((A8, A8), Output(Affine(8, 0.25))), "found no scaling from values of 0.5"),
        (lambda: EltwiseProduct((A8, A8), Output(A8)), "found no scaling from values of 0.25"),
        (lambda: EltwiseSum((A8, A8), Output(A8), (Operand(),)), "found 1, allowed an Operand for each of the 2"),
        (lambda: EltwiseSum((S8, catalog.E4M3), OUT, (Operand(), Operand())), "operands: found one beside a minifloat"),
        (lambda: EltwiseSum((S32, S8), OUT, (Operand(9, high(0.5)), Operand())), "HIGH_MULTIPLY takes 32 bits, found 41"),
        (lambda: EltwiseSum((FixedPoint(48, 0), S8), OUT, (Operand(14), Operand())), "63 bits wide, allowed 62"),
        (lambda: EltwiseSum((S8, S8), OUT, FloatSteps((0.5,), 1.0)), "FloatSteps with 1 scales, allowed 2"),
        (lambda: EltwiseProduct((A8, A8), Output(A8), FloatSteps((0.5, 0.5), 1.0, 3.0)), "FloatSteps with 2 scales, allowed 1"),
        (
            lambda: EltwiseProduct((S32, S32), Output(A8), FloatSteps((0.5,), 1.0, 3.0)),
            "64 bits wide, allowed 62 before an offset",
        ),
        (
            lambda: EltwiseSum(
                (A8, A8), Output(A8, activation=Activation.RELU_BEFORE_REQUANTIZE), FloatSteps((0.5, 0.5), 1.0, 3.0)
            ),
            "with an offset, allowed is a clamp",
        ),
        (lambda: FloatSteps((0.5,), 2.0, 3.0), "found 2.0 with an offset"),
        (lambda: FloatSteps((0.5,), 1.0, 0.1), "offset: found 0.1"),
        (lambda: EltwiseProduct((A8, A8), Output(A8, scaling=high(0.1)), FloatSteps((0.5, 0.5), 1.0)), "behind FloatSteps"),
        (lambda: EltwiseProduct((S8, S8), Output(S8, Rounding.FLOOR), FloatSteps((0.5, 0.5), 1.0)), "behind FloatSteps"),
        (lambda: EltwiseProduct((S32, S32, S8), OUT), "the exact product is 70 bits wide, allowed 64"),
        (lambda: EltwiseProduct((S8, catalog.E4M3), OUT), "found the format"),
        (lambda: EltwiseMax((S8, S16)), "allowed one format for all"),
        (lambda: EltwiseMin((catalog.E4M3, catalog.E4M3)), "found the format"),
        (lambda: ArithmeticShiftRight((S8, S8)), "found amounts"),
        (lambda: ArithmeticShiftRight((S8, FixedPoint(6, 0, signed=False))), "found amounts"),
        (lambda: ArithmeticShiftRight((S8, FixedPoint(5, 1, signed=False))), "found amounts"),
        (lambda: ArithmeticShiftRight((S8, S8, S8)), "found 3 operands, allowed two"),
        (lambda: Operand(32), "left_shift: found 32"),
        (lambda: Operand(scaling=Multiplier(Scaling.MULTIPLY, (1, 2), 0)), "found 2 multipliers, allowed one"),
        (lambda: Operand(0, Multiplier(Scaling.DOUBLE_ROUND, 1, 2), Rounding.FLOOR), "found FLOOR with DOUBLE_ROUND"),
        (lambda: FloatSteps((0.1,), 1.0), "found 0.1, allowed a finite float32 number"),
        (lambda: FloatSteps((0.5, 0.0), 1.0), "found 0.0"),
        (lambda: FloatSteps((0.5, 0.5), -1.0), "divisor: found -1.0"),
        (lambda: FloatSteps((0.5, float("inf")), 1.0), "found inf"),
    ],
)
def test_what_cannot_be_built_is_refused(build, said):
    with pytest.raises(ContractError, match=said.replace("(", r"\(")):
        build()


def test_shapes_that_do_not_broadcast_are_refused():
    free, equal = EltwiseMax((S8, S8), stretch=True), EltwiseMax((S8, S8))
    assert free.output_shape([Shape(3, 1, 1), Shape(1, 5, 7)]) == Shape(3, 5, 7)
    for layer, shapes in ((equal, [Shape(3, 5, 7), Shape(3, 1, 1)]), (free, [Shape(3, 5, 7), Shape(2, 5, 7)])):
        with pytest.raises(ContractError, match="eltwise_max: found"):
            layer.output_shape(shapes)
    wide = EltwiseMax((S8,), constant=ONE, constant_format=S8)
    assert wide.output_shape([Shape(3, 5, 7)]) == Shape(3, 5, 7)
    for shape in (Shape(2, 5, 7), Shape(1, 5, 7)):
        with pytest.raises(ContractError, match="allowed along each axis is one extent for all, or 1"):
            wide.output_shape([shape])


def test_a_constant_is_its_own():
    given = ONE.copy()
    layer = EltwiseSum((S8,), OUT, constant=given, constant_format=S8)
    given[...] = 100
    assert not layer.constant.any() and run_layer(layer, np.ones((1, 3, 2, 5), np.int8), backend="jit").codes.max() == 1
