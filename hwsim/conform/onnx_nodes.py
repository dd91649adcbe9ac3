"""The onnx package's own node tests of integer operators and of casts to narrow formats, computed by hwsim.

An operator on tensors of any rank is a layer on [N][C][H][W]: a matrix product is a FullyConnected with its rows as images.
QuantizeLinear, DequantizeLinear and Cast are no layers: they are what formats do at a network's edges.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from hwsim.arith.minifloat import Specials
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.conform.report import Progress
from hwsim.conform.suite import Case, Suite
from hwsim.contract import MacContract
from hwsim.errors import BackendError, InputError
from hwsim.execute.single import run_layer
from hwsim.formats import Affine, Minifloat, catalog
from hwsim.layers import Convolution, FullyConnected, Layer
from hwsim.network.lower.onnx_quantized_layers import affine, contract, dequantize_linear, quantize_linear, sum_contract

MODULES = {
    "qlinearconv": "QLinearConv",
    "qlinearmatmul": "QLinearMatMul",
    "convinteger": "ConvInteger",
    "matmulinteger": "MatMulInteger",
    "quantizelinear": "QuantizeLinear",
    "dequantizelinear": "DequantizeLinear",
    "cast": "Cast",
}
"""Module of the package's tests -> the operator that it tests."""

FLOATS: dict[int, Minifloat] = {
    10: catalog.BINARY16,
    16: catalog.BFLOAT16,
    17: catalog.E4M3,
    18: catalog.E4M3_FNUZ,
    19: catalog.E5M2,
    20: catalog.E5M2_FNUZ,
    23: catalog.E2M1,
    27: catalog.E2M3,
    28: catalog.E3M2,
    1: catalog.BINARY32,
}
"""TensorProto's float types that hwsim has as formats."""

INTEGERS = {2: (8, False), 3: (8, True), 4: (16, False), 5: (16, True)}
INTEGERS |= {21: (4, False), 22: (4, True), 25: (2, False), 26: (2, True)}
"""TensorProto's integer types of at most 16 bits: (bits, signed)."""

FP8 = (17, 18, 19, 20)
"""Types for which Cast and QuantizeLinear have the attribute saturate, by default true."""


def open_suite(operators: Sequence[str] | None, progress: Progress | None) -> Suite:
    """The node tests of the installed onnx; InputError where it is not installed."""
    try:
        import onnx
        import onnx.backend.test.case.node as node_tests
    except ImportError:
        raise InputError("suite onnx: the onnx package is not installed here; `pip install 'hwsim[models]'`.") from None
    with warnings.catch_warnings():  # the package computes its own expectations with infinities
        warnings.simplefilter("ignore")
        for module in MODULES:
            import_module(f"onnx.backend.test.case.node.{module}")
    found = [case for case in node_tests._NodeTestCases if case.model.graph.node[0].op_type in MODULES.values()]
    chosen = [case for case in found if operators is None or case.model.graph.node[0].op_type in operators]
    cases, left = [], dict[tuple[str, str], int]()
    for case in chosen:
        operator, why = case.model.graph.node[0].op_type, _no_business(case)
        if why:
            left[operator, why] = left.get((operator, why), 0) + 1
        else:
            cases.append(_case(case))
    omitted = tuple((operator, count, why) for (operator, why), count in left.items())
    return Suite("onnx", "node tests of the onnx package", f"onnx {onnx.__version__}", cases, omitted)


def _types(case: Any) -> tuple[int, int]:
    """Element types of the first input and of the output."""
    graph = case.model.graph
    return graph.input[0].type.tensor_type.elem_type, graph.output[0].type.tensor_type.elem_type


def _no_business(case: Any) -> str:
    """Why a test is none of hwsim's; "" where it is."""
    operator, (source, target) = case.model.graph.node[0].op_type, _types(case)
    if operator == "Cast":
        if 24 in (source, target):
            return "E8M0 is a scale without a sign, no format of hwsim"
        if 11 in (source, target) or (source not in FLOATS and target not in FLOATS):
            return "no cast to or from a narrow float or integer format"
    if not {source, target} <= {*FLOATS, *INTEGERS, 6, 7}:
        return "an element type that hwsim has no format for"
    if "float16" in case.name and operator.startswith("QLinear"):
        return "float16 scales: onnxruntime's kernels take float32"
    return ""


def _case(case: Any) -> Case:
    node = case.model.graph.node[0]
    inputs, outputs = case.data_sets[0]
    compute = _COMPUTE[node.op_type]
    target = _types(case)[1]

    def run(backend: str) -> np.ndarray:
        return compute(node, [_plain(value) for value in inputs], (case, backend))

    def expected() -> np.ndarray:
        found = _expected(outputs[0], target)
        return _one_zero(found, target) if node.op_type == "QuantizeLinear" else found

    return Case(node.op_type, case.name, run, expected, work=_work(node, inputs))


def _work(node: Any, inputs: Sequence[Any]) -> int:
    """Products, for the operators that are layers."""
    if node.op_type not in ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"):
        return 0
    return int(np.prod(np.shape(inputs[0]), dtype=np.int64)) * 9


def _plain(value: Any) -> np.ndarray:
    """An array of a test; narrow types stay as ml_dtypes has them."""
    if hasattr(value, "dims"):
        from onnx import numpy_helper

        return numpy_helper.to_array(value)
    return np.asarray(value)


def _expected(value: Any, target: int) -> np.ndarray:
    """What the package expects: integers, float32, or the codes of narrower floats."""
    array = _plain(value)
    if target in INTEGERS:
        return array.astype(np.int64)
    fmt = FLOATS.get(target)
    return _codes(array, fmt) if fmt is not None and target != 1 else array


def _codes(array: np.ndarray, fmt: Minifloat) -> np.ndarray:
    """The bits of numbers of a narrow float; every NaN as the format's own."""
    raw = np.ascontiguousarray(array).view(np.uint8 if array.dtype.itemsize == 1 else np.uint16)
    return _one_nan(raw.astype(np.int64), fmt)


def _one_nan(codes: np.ndarray, fmt: Minifloat) -> np.ndarray:
    if not fmt.has_nan:
        return codes
    return np.where(np.isnan(fmt.to_real(codes.astype(fmt.dtype))), fmt.encode(float("nan")), codes)


def _one_zero(codes: np.ndarray, target: int) -> np.ndarray:
    """Codes with -0 as +0: QuantizeLinear's tests, compared as numbers, do not tell the two apart."""
    fmt = FLOATS.get(target)
    return codes if fmt is None or fmt.specials is Specials.FNUZ else np.where(codes == 1 << (fmt.bits - 1), 0, codes)


def _attribute(node: Any, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return list(attribute.ints) if attribute.type == 7 else attribute.i
    return default


def convolution(node: Any, mac: MacContract, weight: np.ndarray, bias: np.ndarray | None) -> Convolution:
    """The Convolution of a QLinearConv's or ConvInteger's attributes."""
    top, left, bottom, right = _attribute(node, "pads", [0] * 4)
    stride, dilation = _attribute(node, "strides", [1, 1]), _attribute(node, "dilations", [1, 1])
    groups = _attribute(node, "group", 1)
    return Convolution(mac, weight, bias, tuple(stride), (top, left), tuple(dilation), groups, (bottom, right))


def _run(layer: Layer, codes: np.ndarray, backend: str) -> np.ndarray:
    return run_layer(layer, codes, backend=backend, acc=False).codes


def _qlinear_conv(node: Any, inputs: Sequence[np.ndarray], at: tuple[Any, str]) -> np.ndarray:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = inputs
    formats = (affine(x_scale, x_zero, x.dtype), affine(w_scale, w_zero, w.dtype), affine(y_scale, y_zero, y_zero.dtype))
    return _run(convolution(node, contract(*formats), w, bias[0] if bias else None), x, at[1])


def _conv_integer(node: Any, inputs: Sequence[np.ndarray], at: tuple[Any, str]) -> np.ndarray:
    x, w, *zeros = inputs
    formats = [affine(np.float32(1), zeros[i] if i < len(zeros) else None, array.dtype) for i, array in enumerate((x, w))]
    return _run(convolution(node, sum_contract(formats[0], formats[1]), w, None), x, at[1])


def matrix_product(mac: MacContract, a: np.ndarray, b: np.ndarray, backend: str) -> np.ndarray:
    """a [..., M, I] times b [..., I, K], each matrix of b a FullyConnected, the rows of a its images."""
    if b.ndim == 2:
        b = np.broadcast_to(b, (*a.shape[:-2], *b.shape))
    matrices = zip(a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:]), strict=True)
    found = [_run(FullyConnected(mac, right.T.copy()), left[:, :, None, None], backend)[:, :, 0, 0] for left, right in matrices]
    return np.stack(found).reshape(*a.shape[:-1], b.shape[-1])


def _qlinear_matmul(node: Any, inputs: Sequence[np.ndarray], at: tuple[Any, str]) -> np.ndarray:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = inputs
    formats = (affine(a_scale, a_zero, a.dtype), affine(b_scale, b_zero, b.dtype), affine(y_scale, y_zero, y_zero.dtype))
    return matrix_product(contract(*formats), a, b, at[1])


def _matmul_integer(node: Any, inputs: Sequence[np.ndarray], at: tuple[Any, str]) -> np.ndarray:
    a, b, *zeros = inputs
    formats = [affine(np.float32(1), zeros[i] if i < len(zeros) else None, array.dtype) for i, array in enumerate((a, b))]
    return matrix_product(sum_contract(formats[0], formats[1]), a, b, at[1])


def _blocks(node: Any, scale: np.ndarray, zero: np.ndarray | None, shape: tuple[int, ...]) -> Any:
    """(scale, zero point, axis) with one entry per number along the axis where they are given for blocks."""
    axis, size = _attribute(node, "axis", 1), _attribute(node, "block_size", 0)
    if size:
        scale = scale.repeat(size, axis)[tuple(slice(side) for side in shape)]
        zero = None if zero is None else zero.repeat(size, axis)[tuple(slice(side) for side in shape)]
    return scale, zero, axis % max(len(shape), 1)


def _edge(at: tuple[Any, str]) -> None:
    """Formats are no layers: Python computes them, whatever the backend."""
    if at[1] != "spec":
        raise BackendError(f"{at[1]}: quantizing and casting real numbers is no layer; formats do it in Python.")


def _quantize(node: Any, inputs: Sequence[np.ndarray], at: tuple[Any, str]) -> np.ndarray:
    _edge(at)
    x, scale, *zero = inputs
    target = _types(at[0])[1]
    spread, zeros, axis = _blocks(node, scale, zero[0] if zero else None, x.shape)
    if target in FLOATS:
        ratio = x / (spread if spread.ndim in (0, x.ndim) else spread.reshape([-1 if i == axis else 1 for i in range(x.ndim)]))
        return _one_zero(_to_minifloat(ratio.astype(np.float32), target, _attribute(node, "saturate", 1)), target)
    return _by_number(x, spread, zeros, axis, lambda v, fmt, along: quantize_linear(v, fmt, along), target).astype(np.int64)


def _dequantize(node: Any, inputs: Sequence[np.ndarray], at: tuple[Any, str]) -> np.ndarray:
    _edge(at)
    x, scale, *zero = inputs
    source, target = _types(at[0])
    spread, zeros, axis = _blocks(node, scale, zero[0] if zero else None, x.shape)
    if source in FLOATS:
        fmt = FLOATS[source]
        real = fmt.to_real(_codes(x, fmt).astype(fmt.dtype)).astype(np.float32) * spread.astype(np.float32)
    else:
        real = _by_number(x.astype(np.int64), spread, zeros, axis, dequantize_linear, source)
    return _codes(real.astype(np.float16), FLOATS[10]) if target == 10 else real.astype(np.float32)


Rule = Callable[[np.ndarray, Affine, int], np.ndarray]


def _by_number(x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, axis: int, rule: Rule, kind: int) -> np.ndarray:
    """Apply a format per tensor or per channel; where blocks give each number its own, number by number."""
    bits, signed = INTEGERS.get(kind, (32, True))
    dtype = np.int64 if signed else np.uint64
    zeros = None if zero is None else np.asarray(zero).astype(np.int64)
    if scale.ndim <= 1:
        return rule(x, affine(scale.reshape(-1), zeros if zeros is None else zeros.reshape(-1), dtype, bits), axis)
    zeros = np.zeros(scale.shape, np.int64) if zeros is None else zeros
    formats = affine(scale.reshape(-1), zeros.reshape(-1), dtype, bits)
    return rule(x.reshape(-1), formats, 0).reshape(x.shape)


def _to_minifloat(real: np.ndarray, target: int, saturate: int) -> np.ndarray:
    fmt = FLOATS[target]
    if target in FP8:
        fmt = replace(fmt, saturate=bool(saturate))
    codes = [_narrowed(float(value), fmt) for value in real.reshape(-1)]
    return _one_nan(np.array(codes, np.int64), fmt).reshape(real.shape)


def _narrowed(real: float, fmt: Minifloat) -> int:
    """The code of a number; of what a format has no code for, what ONNX puts there: infinity becomes NaN, NaN becomes -0."""
    if math.isinf(real) and not fmt.saturate and fmt.specials is not Specials.IEEE:
        return fmt.encode(math.nan)
    if math.isnan(real) and not fmt.has_nan:
        return 1 << (fmt.bits - 1)
    return fmt.encode(real, Rounding.TIES_EVEN)


def _cast(node: Any, inputs: Sequence[np.ndarray], at: tuple[Any, str]) -> np.ndarray:
    _edge(at)
    (x,), (source, target) = inputs, _types(at[0])
    if source in INTEGERS:
        real: np.ndarray = x.astype(np.int64).astype(np.float64)
    elif source == 1:
        real = x.astype(np.float64)
    else:
        fmt = FLOATS[source]
        real = fmt.to_real(_codes(x, fmt).astype(fmt.dtype))
    if target == 1:
        return real.astype(np.float32)
    if target in INTEGERS:
        bits, signed = INTEGERS[target]
        # ONNX cuts the fraction off, and beyond the range discards the upper bits
        return Affine(bits, 1.0, 0, signed).encode_array(real, Rounding.TOWARD_ZERO, Overflow.WRAP).astype(np.int64)
    return _to_minifloat(real, target, _attribute(node, "saturate", 1))


_COMPUTE: dict[str, Callable[[Any, Sequence[np.ndarray], tuple[Any, str]], np.ndarray]] = {
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "ConvInteger": _conv_integer,
    "MatMulInteger": _matmul_integer,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Cast": _cast,
}
