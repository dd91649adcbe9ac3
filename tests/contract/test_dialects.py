"""Each school of requantizing against a restatement from its documentation, apart from every other, on crafted accumulators.

The accumulators come in as biases: a fully connected layer whose products are all zero, one output channel for each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

import hwsim
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.contract import DIALECTS, Accumulator, MacContract, Output, Scheme
from hwsim.contract.dialects import Dialect
from hwsim.contract.requantizers import Requantizer, ScaleProduct
from hwsim.errors import ContractError
from hwsim.execute.single import run_layer
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import FullyConnected
from hwsim.network.lower.fold import fold
from hwsim.network.lower.layers import Widths, lower
from hwsim.network.lower.sites import measured_tensors, sites
from hwsim.network.ranges import Range, RangeRule, WeightRule
from support.float_networks import fire, pixels

SCALES = ((0.0235, 0.0039, 0.0117), (0.5, 2.0**-7, 0.25), (0.031, 0.0078, 0.0021), (0.05, 0.04, 0.0013))
"""Scales of input, weights and output: a small real multiplier, a power of two, one above 0.1, and one above 1.

Above 1 gemmlowp's rule shifts left first, within 32 bits, where TOSA has 64: below, these two are one function.
"""


def crafted(real: float, bits: int = 31) -> list[int]:
    """Accumulators of at most so many bits: at and beside ties of this multiplier, near powers of two, and beyond 24 bits."""
    step = 1 / Fraction(real)
    ties = [math.floor((k + Fraction(1, 2)) * step) + d for k in range(-200, 200) for d in (0, 1)]
    large = [math.floor((k * 4099 + Fraction(1, 2)) * step) + d for k in range(-100, 100) for d in (0, 1)]
    odd = [sign * ((1 << e) + 2654435761 * i % (1 << e)) | 1 for e in (24, 26, 28) for i in range(1, 60) for sign in (1, -1)]
    odd += [sign * ((1 << 30) + 2654435761 * i % (1 << 28)) | 1 for i in range(1, 80) for sign in (1, -1)]
    powers = [sign * (1 << e) + d for e in range(20, bits) for d in (-3, -1, 0, 1, 2, 3, 5) for sign in (1, -1)]
    return [acc for acc in ties + large + powers + odd if abs(acc) < 1 << bits]


def outputs(requantizer: Requantizer, scales: tuple[float, float, float], accumulators: list[int], width: int = 32) -> list[int]:
    """What a layer with this requantizer makes of accumulators, in output codes too wide to saturate."""
    first, second, out = scales
    output = Output(Affine(40, out), requantizer.rounding, scaling=requantizer.multiplier(first, (second,), out))
    contract = MacContract(Affine(8, first), Affine(8, second), output, Accumulator(width))
    layer = FullyConnected(contract, np.ones((len(accumulators), 1), dtype=np.int64), np.array(accumulators))
    codes: list[int] = run_layer(layer, np.zeros((1, 1, 1, 1), dtype=np.int8), backend="jit").codes.ravel().tolist()
    return codes


# ---- the schools, said again


def c_int32(x: int) -> int:
    return (x + (1 << 31)) % (1 << 32) - (1 << 31)


def quantize_multiplier(real: float) -> tuple[int, int]:
    mantissa, exponent = math.frexp(real)
    m = math.floor(mantissa * (1 << 31) + 0.5)
    return (m, exponent) if m < 1 << 31 else (m // 2, exponent + 1)


def real_of(scales: tuple[float, float, float]) -> float:
    return scales[0] * scales[1] / scales[2]


def arm_nn_requantize(acc: int, scales: tuple[float, float, float]) -> int:
    """CMSIS-NN's default: doubling high half with 2**30 added and an arithmetic shift, then a division that rounds away."""
    m, shift = quantize_multiplier(real_of(scales))
    high = (c_int32(acc << max(shift, 0)) * m + (1 << 30)) >> 31
    exponent = max(-shift, 0)
    mask = (1 << exponent) - 1
    result, remainder = high >> exponent, high & mask
    return result + (remainder > (mask >> 1) + (result < 0))


def arm_nn_requantize_s64(acc: int, scales: tuple[float, float, float]) -> int:
    """CMSIS-NN's for a 64-bit accumulator: 15 bits of the multiplier, a shift that leaves one bit, then one that rounds it."""
    m, shift = quantize_multiplier(real_of(scales))
    reduced = (m + (1 << 15)) >> 16 if m < 0x7FFF0000 else 0x7FFF
    return ((acc * reduced >> (14 - shift)) + 1) >> 1


def tflite_single(acc: int, scales: tuple[float, float, float]) -> int:
    m, shift = quantize_multiplier(real_of(scales))
    total = 31 - shift
    return (acc * m + (1 << (total - 1))) >> total


def tflite_dense(acc: int, scales: tuple[float, float, float]) -> int:
    """LiteRT's fully connected layers: a double product, rounded away from zero at ties as C's round is."""
    product = float(acc) * real_of(scales)
    return int(math.copysign(math.floor(abs(product) + 0.5), product))


def tosa(acc: int, scales: tuple[float, float, float]) -> int:
    m, shift = quantize_multiplier(real_of(scales))
    total = 31 - shift
    nudge = (1 << (total - 1)) + ((1 << 30) * (1 if acc >= 0 else -1) if total > 31 else 0)
    return (acc * m + nudge) >> total


def onnxruntime(acc: int, scales: tuple[float, float, float]) -> int:
    first, second, out = map(np.float32, scales)
    return int(np.rint(np.float32(acc) * (first * second / out)))


PLAIN: dict[tuple[str, str], Callable[[int, tuple[float, float, float]], int]] = {
    ("tflite", "convolution"): arm_nn_requantize,  # bit for bit the same, as CMSIS-NN promises
    ("tflite", "fully_connected"): tflite_dense,
    ("tflite_single", "convolution"): tflite_single,
    ("tflite_single", "fully_connected"): tflite_single,
    ("tosa", "convolution"): tosa,
    ("tosa", "fully_connected"): tosa,
    ("cmsis_nn", "convolution"): arm_nn_requantize,
    ("cmsis_nn", "fully_connected"): arm_nn_requantize,
    ("onnxruntime", "convolution"): onnxruntime,
    ("onnxruntime", "fully_connected"): onnxruntime,
}
AFFINE = [name for name, dialect in DIALECTS.items() if dialect.affine is not None]


@cache
def made(name: str, operator: str) -> list[int]:
    """All outputs of a dialect's operator over all scales."""
    rules = DIALECTS[name].affine
    return [code for s in SCALES for code in outputs(getattr(rules, operator), s, crafted(real_of(s)))]


@cache
def wanted(name: str, operator: str) -> list[int]:
    return [PLAIN[name, operator](acc, s) for s in SCALES for acc in crafted(real_of(s))]


@pytest.mark.parametrize(("name", "operator"), PLAIN)
def test_a_dialect_is_its_documentation(name: str, operator: str) -> None:
    assert made(name, operator) == wanted(name, operator)


@pytest.mark.parametrize("name", [name for name in AFFINE if name != "onnxruntime"])
def test_sixteen_bit_codes_with_a_wide_bias_take_the_reduced_multiplier(name: str) -> None:
    for scales in SCALES:
        accumulators = crafted(real_of(scales), 38)
        plain = [arm_nn_requantize_s64(acc, scales) for acc in accumulators]
        assert outputs(DIALECTS[name].affine.wide, scales, accumulators, 48) == plain
        narrow = [acc for acc in accumulators if abs(acc) < 1 << 29]
        whole = outputs(DIALECTS[name].affine.convolution, scales, narrow)
        assert whole != outputs(DIALECTS[name].affine.wide, scales, narrow, 48) or math.frexp(real_of(scales))[0] == 0.5


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(AFFINE, 2)))
def test_every_pair_of_affine_dialects_is_apart_in_a_hundred_outputs(one: str, other: str) -> None:
    differ = [a != b for op in ("convolution", "fully_connected") for a, b in zip(made(one, op), made(other, op), strict=True)]
    assert sum(differ) >= 100


def shifted(dialect: Dialect, shift: int, accumulators: list[int]) -> list[int]:
    """What a dialect of powers of two makes of accumulators."""
    contract = MacContract(FixedPoint(8, 4), FixedPoint(8, shift), Output(FixedPoint(40, 4), dialect.rounding), Accumulator(32))
    layer = FullyConnected(contract, np.ones((len(accumulators), 1), dtype=np.int64), np.array(accumulators))
    codes: list[int] = run_layer(layer, np.zeros((1, 1, 1, 1), dtype=np.int8), backend="jit").codes.ravel().tolist()
    return codes


POWERS = [name for name in DIALECTS if name not in AFFINE and name != "ristretto_gpu"]


@pytest.mark.parametrize("one", POWERS)
@pytest.mark.parametrize("other", list(DIALECTS))
def test_dialects_of_powers_of_two_are_apart_from_each_other_and_from_the_affine_ones(one: str, other: str) -> None:
    """RISTRETTO_GPU rounds as EXACT32 does: the test below tells them apart."""
    if one == other or {one, other} == {"exact32", "ristretto_gpu"}:
        return
    accumulators = crafted(2.0**-7)
    mine, dialect = shifted(DIALECTS[one], 7, accumulators), DIALECTS[other]
    if dialect.affine is None:
        theirs = [shifted(dialect, 7, accumulators)]
    else:
        scales = SCALES[0]  # 1 / 128 nearly: powers of two have none nearer
        theirs = [outputs(getattr(dialect.affine, op), scales, accumulators) for op in ("convolution", "fully_connected")]
    assert max(sum(a != b for a, b in zip(mine, codes, strict=True)) for codes in theirs) >= 100


def test_dpu_rounds_half_up() -> None:
    accumulators = crafted(2.0**-7)
    assert shifted(DIALECTS["dpu"], 7, accumulators) == [math.floor(Fraction(acc, 128) + Fraction(1, 2)) for acc in accumulators]


MUTANTS = {
    "one rounding instead of two": lambda r: replace(r, rule=Scaling.MULTIPLY),
    "two roundings instead of one": lambda r: replace(r, rule=Scaling.HIGH_MULTIPLY, reduced=False),
    "ties away": lambda r: replace(r, rounding=Rounding.TIES_AWAY),
    "ties to even": lambda r: replace(r, rounding=Rounding.TIES_EVEN),
}


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize(("name", "operator"), PLAIN)
def test_mutants_fail(name: str, operator: str, mutant: str) -> None:
    """A requantizer with one rule changed differs from the documentation in a hundred outputs, or is none."""
    true = getattr(DIALECTS[name].affine, operator)
    changed = MUTANTS[mutant](true)
    if changed == true:
        return
    try:
        found = [code for s in SCALES for code in outputs(changed, s, crafted(real_of(s)))]
    except ContractError:
        assert true.rule is Scaling.DOUBLE_ROUND  # its rounding is part of the rule
        return
    assert sum(a != b for a, b in zip(found, wanted(name, operator), strict=True)) >= 100


def test_float32_products_differ_from_doubles() -> None:
    """A uint8 convolution of TensorFlow Lite rounds the product of the scales to float32 first: other multipliers follow."""
    rng = np.random.default_rng(1)
    scales = rng.uniform(0.001, 0.1, (400, 3)).astype(np.float32).astype(np.float64).tolist()
    doubles = [quantize_multiplier(a * b / c) for a, b, c in scales]
    mixed = [quantize_multiplier(float(np.float32(a) * np.float32(b)) / c) for a, b, c in scales]
    pair = {kind: [Requantizer(Scaling.HIGH_MULTIPLY, Rounding.TIES_AWAY, kind).multiplier(a, (b,), c) for a, b, c in scales]
            for kind in ScaleProduct}  # fmt: skip
    for kind, plain in ((ScaleProduct.DOUBLES, doubles), (ScaleProduct.FLOAT32_PRODUCT, mixed)):
        assert [(found.multiplier, 31 - found.shift) for found in pair[kind]] == plain
    assert sum(a != b for a, b in zip(doubles, mixed, strict=True)) > 100


def test_ristretto_on_its_gpu_is_apart_from_the_default_by_its_bias_and_its_ranges() -> None:
    """They round alike; the bias in the weights' format saturates, and activations have one bit less of integer."""
    network, found = fold(fire()), []
    for name in ("exact32", "ristretto_gpu"):
        dialect = DIALECTS[name]
        keys = measured_tensors(sites(network), not dialect.requantize_inputs)
        ranges = {key: Range(-3.0, 3.0, -3.0, 3.0, (0,) * 15, (0,) * 15, dialect.ranges) for key in keys}
        q = lower(network, ranges, Widths(), dialect, WeightRule(dialect.ranges, per_channel=dialect.ranges is RangeRule.COVER))
        trace = hwsim.run(q, pixels(1), backend="spec")
        found.append(q["conv1"].layer.output_format.to_real(trace["conv1"].codes))
    assert (found[0] != found[1]).sum() >= 100


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Requantizer(Scaling.SHIFT, Rounding.TIES_UP), "Requantizer.rule: found"),
        (lambda: Requantizer(Scaling.FLOAT32, Rounding.TIES_EVEN, reduced=True), "allowed with MULTIPLY"),
        (lambda: Requantizer(Scaling.MULTIPLY, 3), "Requantizer.rounding"),
        (lambda: Requantizer(Scaling.FLOAT32, Rounding.TIES_EVEN, ScaleProduct.FLOAT32).ratio(1e-40, 1e30), "found 0.0 in"),
        (lambda: Requantizer(Scaling.MULTIPLY, Rounding.TIES_UP).ratio(1e300, 1e-300), "found inf"),
    ],
)
def test_what_has_no_multiplier_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        make()


def test_scheme_affine_has_rules_in_these_dialects_alone() -> None:
    assert set(AFFINE) == {"tflite", "tflite_single", "tosa", "cmsis_nn", "onnxruntime"} and Scheme.AFFINE


def test_dpu_keeps_its_shifts_and_gives_the_bias_a_grid_of_its_own() -> None:
    network, dialect = fold(fire()), DIALECTS["dpu"]
    for seen in (3.0, 1e-3, 1e4):  # activations far apart from weights would need other shifts
        keys = measured_tensors(sites(network), True)
        ranges = {key: Range(-seen, seen, -seen, seen, (0,) * 15, (0,) * 15) for key in keys}
        q = lower(network, ranges, Widths(), dialect, WeightRule())
        for node in q.mac_nodes:
            contract = node.layer.contract
            cut = contract.product_length(0) - contract.output.format.fl()
            assert 0 <= cut <= 16
            assert contract.bias.bits == 8 and min(0, cut - 16) <= contract.product_length(0) - contract.bias.fl() <= 15
