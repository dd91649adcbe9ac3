"""Sums, products and global averages in float32 as ONNX Runtime's quantized operators have them: an oracle that is not ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwsim.arith.rounding import Rounding
from hwsim.contract import Output
from hwsim.contract.operand import FloatSteps, fused_sum, offset_product
from hwsim.contract.reciprocals import float32_reciprocal
from hwsim.execute.single import run_layer
from hwsim.formats import Affine
from hwsim.layers import AveragePool, CountRule, EltwiseProduct, EltwiseSum, Window
from oracles.cases import generator

SEEDS = range(4)


def f32(value: float) -> float:
    return float(np.float32(value))


def formats(dtype: str, seed: int, product: bool) -> tuple[Affine, Affine, Affine]:
    rng, signed = generator(f"{dtype} {seed} {product}"), dtype == "int8"
    zeros = rng.integers(-128, 128, 3) + (0 if signed else 128)
    s1, s2 = (0.3, 0.1) if seed % 2 else (float(v) for v in np.exp(rng.uniform(-6, 0, 2)))
    so = s1 * s2 * 60 if product else 0.2 if seed % 4 == 1 else max(s1, s2) * 2 ** rng.uniform(-1, 2)
    if seed == 0:
        s1, s2, so = 0.5, 0.25, 8.0 if product else 1.0
    return tuple(Affine(8, f32(s), int(z), signed) for s, z in zip((s1, s2, so), zeros, strict=True))


def model(onnxruntime, nodes, inputs: dict, constants: dict, dtype: str):
    """Run nodes that read `inputs` (codes) and constants, and write y; without any fusing."""
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    given = [helper.make_tensor_value_info(name, kind, x.shape) for name, x in inputs.items()]
    made = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "case", given, [helper.make_tensor_value_info("y", kind, None)], made)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    built = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(built.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0].astype(np.int64)


def scales(found, dtype: str) -> dict:
    names = ("a", "b", "o")
    return {f"s{n}": np.float32(f.step()) for n, f in zip(names, found, strict=True)} | {
        f"z{n}": np.array(f.zero(), dtype) for n, f in zip(names, found, strict=True)
    }


def every_pair(f: Affine, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.meshgrid(np.arange(f.low, f.high + 1), np.arange(f.low, f.high + 1))
    return a.astype(dtype).reshape(1, 1, 256, 256), b.astype(dtype).reshape(1, 1, 256, 256)


def needs_fma() -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.exists() or " fma " not in flags.read_text():
        pytest.skip("this processor has no fused multiply-add: onnxruntime takes another kernel for QLinearAdd")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_every_pair_of_codes_through_the_quantized_operators(onnxruntime, op, dtype, seed):
    from onnx import helper

    if op == "QLinearAdd":
        needs_fma()
    found = formats(dtype, seed, op == "QLinearMul")
    a, b = every_pair(found[0], dtype)
    node = helper.make_node(op, ["a", "sa", "za", "b", "sb", "zb", "so", "zo"], ["y"], domain="com.microsoft")
    want = model(onnxruntime, [node], {"a": a, "b": b}, scales(found, dtype), dtype)
    kind, made = (EltwiseSum, fused_sum) if op == "QLinearAdd" else (EltwiseProduct, offset_product)
    layer = kind(found[:2], Output(found[2]), made(found[:2], found[2]))
    np.testing.assert_array_equal(run_layer(layer, a, b, backend="jit").codes, want)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_every_pair_of_codes_between_dequantize_and_quantize(onnxruntime, op, dtype, seed):
    from onnx import helper

    found = formats(dtype, seed, op == "Mul")
    a, b = every_pair(found[0], dtype)
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "sa", "za"], ["ra"]),
        helper.make_node("DequantizeLinear", ["b", "sb", "zb"], ["rb"]),
        helper.make_node(op, ["ra", "rb"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "so", "zo"], ["y"]),
    ]
    want = model(onnxruntime, nodes, {"a": a, "b": b}, scales(found, dtype), dtype)
    sign = -1 if op == "Sub" else 1
    steps = FloatSteps((found[0].step(), sign * found[1].step()), found[2].step())
    layer = (EltwiseProduct if op == "Mul" else EltwiseSum)(found[:2], Output(found[2]), steps)
    np.testing.assert_array_equal(run_layer(layer, a, b, backend="jit").codes, want)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_global_averages_of_codes(onnxruntime, dtype, seed):
    from onnx import helper

    x, _, out = formats(dtype, seed, False)
    rng, (h, w) = generator(f"global {dtype} {seed}"), ((7, 7), (5, 3), (2, 4), (1, 13))[seed % 4]
    codes = np.clip(rng.normal(rng.uniform(x.low, x.high, (2, 300, 1, 1)), 40, (2, 300, h, w)), x.low, x.high).astype(dtype)
    node = helper.make_node("QLinearGlobalAveragePool", ["a", "sa", "za", "so", "zo"], ["y"], domain="com.microsoft")
    want = model(onnxruntime, [node], {"a": codes}, scales((x, x, out), dtype), dtype)
    real = np.float32(x.step()) / (np.float32(out.step()) * np.float32(h * w))
    division = float32_reciprocal(h * w, float(real))
    layer = AveragePool(x, Window(None), CountRule.CAFFE, Output(out, Rounding.TIES_EVEN), division=division)
    np.testing.assert_array_equal(run_layer(layer, codes, backend="jit").codes, want)
