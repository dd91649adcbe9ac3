"""PReLU and leaky ReLU as LiteRT and ONNX Runtime have them; what they refuse."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.contract import Output
from hwsim.contract.scaling import Multiplier, quantized_multiplier
from hwsim.errors import ContractError, OverflowTrap
from hwsim.execute.single import run_layer
from hwsim.formats import Affine, FixedPoint, catalog
from hwsim.layers import PReLU, Shape
from oracles.cases import generator
from oracles.litert import Reference, T, constant, single
from oracles.onnx_oracle import run_node

S8, S6 = FixedPoint(8, 0), FixedPoint(6, 8)
F = np.float32


def high(real: float) -> Multiplier:
    return Multiplier(Scaling.HIGH_MULTIPLY, *quantized_multiplier(float(real)))


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_tflite_s_prelu_and_leaky_relu_are_litert_s(dtype):
    rng, signed = generator(f"prelu {dtype}"), dtype == "int8"
    low = -128 if signed else 0
    separated = 0
    for seed in range(20):
        s_in, s_slope, s_out = (F(v) for v in rng.uniform(0.01, 0.1, 3))
        z_in, z_slope, z_out = (int(v) for v in rng.integers(low, low + 256, 3))
        x = np.arange(low, low + 256).astype(dtype).reshape(1, 16, 16, 1).repeat(5, axis=3)
        slopes, alpha = rng.integers(low, low + 256, (1, 1, 5)).astype(dtype), float(F(rng.uniform(0.01, 0.9)))
        source, output = T(x.shape, dtype, (float(s_in),), (z_in,)), T(x.shape, dtype, (float(s_out),), (z_out,))
        formats = Affine(8, float(s_in), z_in, signed), Affine(8, float(s_out), z_out, signed)
        stage = Output(formats[1], Rounding.TIES_AWAY, scaling=high(s_in / s_out))
        weights = constant(slopes, (float(s_slope),), (z_slope,))
        want = Reference(single("PRELU", "", {}, [source, weights], output)).run(x)
        layer = PReLU(
            formats[0], Affine(8, float(s_slope), z_slope, signed), slopes.ravel(), stage, high(F(s_in * s_slope) / s_out)
        )
        planes = x.transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(run_layer(layer, planes, backend="jit").codes, want.transpose(0, 3, 1, 2), str(seed))
        want = Reference(single("LEAKY_RELU", "LeakyReluOptions", {"alpha": alpha}, [source], output)).run(x)
        leaky = PReLU(formats[0], FixedPoint(2, 0), np.array([1]), stage, high(F(s_in * F(alpha)) / s_out))
        got = run_layer(leaky, planes, backend="jit").codes
        np.testing.assert_array_equal(got, want.transpose(0, 3, 1, 2), str(seed))
        single_rounding = Multiplier(Scaling.MULTIPLY, leaky.negative.multiplier, leaky.negative.shift)
        other = Output(formats[1], Rounding.TIES_UP, scaling=Multiplier(Scaling.MULTIPLY, *stage_numbers(stage)))
        once = PReLU(formats[0], FixedPoint(2, 0), np.array([1]), other, single_rounding)
        separated += int((run_layer(once, planes, backend="jit").codes != got).sum())
    assert separated >= 100  # a leaky ReLU that rounds once is another


def stage_numbers(stage: Output) -> tuple[int, int]:
    return stage.scaling.multiplier, stage.scaling.shift


def test_exact_products_are_onnxruntime_s(onnxruntime):
    from onnx import TensorProto, helper

    rng = generator("onnx prelu")
    x, slopes = rng.integers(-128, 128, (2, 6, 5, 7)), rng.integers(-128, 128, 6)
    feeds = {"x": x.astype(F), "slope": (slopes / 16).astype(F).reshape(6, 1, 1)}
    want = run_node(onnxruntime, helper.make_node("PRelu", ["x", "slope"], ["y"]), feeds, TensorProto.FLOAT)
    layer = PReLU(S8, FixedPoint(8, 4), slopes, Output(FixedPoint(16, 4)))
    np.testing.assert_array_equal(run_layer(layer, x, backend="jit").codes, want * 16)


def test_the_bounds_are_reached():
    layer = PReLU(S8, FixedPoint(8, 4), np.array([-40, 90]), Output(FixedPoint(16, 4)))
    x = np.arange(-128, 128).reshape(1, 1, 16, 16).repeat(2, axis=1)
    codes = run_layer(layer, x, backend="spec").codes
    assert (codes.min(), codes.max()) == layer.bounds.output


def test_a_trap_stops_at_the_first_output_in_row_major_order():
    layer = PReLU(S8, FixedPoint(8, 0), np.array([2]), Output(S8, overflow=Overflow.TRAP))
    for backend in ("spec", "jit"):
        with pytest.raises(OverflowTrap, match=r"prelu: first overflow at output \(n, k, y, x\) = \(0, 0, 1, 0\)"):
            run_layer(layer, np.array([[[127, -64], [-65, -65]]]), backend=backend)


ONE = Multiplier(Scaling.HIGH_MULTIPLY, 1 << 30, 31)
AFFINE = Affine(8, 0.5)
REFUSED = [
    (lambda: PReLU(catalog.E4M3, S6, np.array([1]), Output(S8)), "prelu.format: found"),
    (lambda: PReLU(S8, FixedPoint(17, 0), np.array([1]), Output(S8)), "prelu.slope_format: found 17 bits, allowed at most 16"),
    (lambda: PReLU(S8, S6, np.array([32]), Output(S8)), "prelu.slope: codes reach 32..32, allowed -32..31"),
    (lambda: PReLU(S8, S6, np.ones((2, 2), int), Output(S8)), "prelu.slope: found shape (2, 2), allowed axes C"),
    (lambda: PReLU(S8, S6, np.array([1]), S8), "prelu.output: found FixedPoint"),
    (
        lambda: PReLU(S8, S6, np.array([1]), Output(S8, activation=Activation.RELU_AFTER_REQUANTIZE)),
        "prelu.output.activation: found RELU_AFTER_REQUANTIZE, allowed NONE",
    ),
    (lambda: PReLU(S8, S6, np.array([1]), Output(S8, scaling=ONE)), "prelu.negative: found None beside Multiplier"),
    (lambda: PReLU(S8, S6, np.array([1]), Output(S8), ONE), "beside None; allowed are two of one rule, or none"),
    (lambda: PReLU(S8, S6, np.array([1]), Output(S8), 3), "prelu.negative: found 3, allowed None or a Multiplier"),
    (
        lambda: PReLU(S8, S6, np.array([1]), Output(S8, scaling=ONE), Multiplier(Scaling.HIGH_MULTIPLY, (1, 2), 31)),
        "prelu.negative: found 2 entries, allowed a single one",
    ),
    (lambda: PReLU(AFFINE, S6, np.array([1]), Output(Affine(8, 0.25))), "prelu.output: found no scaling from s8 scale 0.5"),
    (lambda: PReLU(S8, AFFINE, np.array([1]), Output(S8)), "prelu.output: found no scaling from s8 fl 0"),
    (
        lambda: PReLU(FixedPoint(48, 0), FixedPoint(16, 0), np.array([-32768]), Output(S8)),
        "prelu: the product with a slope needs 64 bits, allowed 62",
    ),
    (
        lambda: PReLU(S8, S6, np.array([1, 2]), Output(S8)).output_shape([Shape(3, 5, 7)]),
        "prelu.slope: found 2 for 3 channels; give one, or one for each.",
    ),
]


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_what_makes_no_sense_is_refused(make, said):
    with pytest.raises(ContractError, match=re.escape(said)) as caught:
        make()
    assert str(caught.value).endswith(".")
