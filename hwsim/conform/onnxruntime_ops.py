"""Generated one-operator models: what onnxruntime computes on the CPU, and what hwsim's layers and formats do.

Shapes have axes of different length; scales are random, with ties made likely; biases put accumulators where float32 has no
room left. On a processor without instructions that sum byte products exactly (VNNI), onnxruntime may saturate a pair of
uint8 x int8 products at 16 bits: there int8 operands keep to -64..63, where no pair can, and the suite's title says so.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.conform.onnx_nodes import convolution, matrix_product
from hwsim.conform.report import Progress
from hwsim.conform.suite import Case, Suite
from hwsim.contract import Output
from hwsim.contract.operand import fused_sum, offset_product
from hwsim.errors import BackendError, InputError
from hwsim.execute.single import run_layer
from hwsim.layers import EltwiseProduct, EltwiseSum, Layer
from hwsim.network.lower.onnx_quantized_layers import affine, contract, dequantize_linear, quantize_linear, sum_contract

OPSET = 19
SHAPES = 40
"""Cases per pair of types: shapes and attributes differ in each."""

EXACT_FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8")

PAIRS = ((np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8))
"""Types of activations and weights that onnxruntime has integer convolutions for."""

CONTRIBUTED = "com.microsoft"
PAIRWISE = ("QLinearAdd", "QLinearMul")
"""onnxruntime's own operators that a quantized sum or product of two tensors becomes."""

Feeds = dict[str, np.ndarray]


@cache
def _flags() -> str:
    """What Linux says of the processor; "" elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def sums_exactly() -> bool:
    """Whether this processor multiplies uint8 by int8 without a saturating pair sum on the way; False where nobody knows."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return platform.machine().lower() in ("aarch64", "arm64")
    return any(flag in _flags() for flag in EXACT_FLAGS)


def fuses_adds() -> bool:
    """Whether onnxruntime's QLinearAdd runs as a fused multiply-add here, which is the rule that hwsim has."""
    return " fma " in _flags()


def open_suite(operators: Sequence[str] | None, progress: Progress | None) -> Suite:
    """The generated cases; InputError where onnx or onnxruntime is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        raise InputError(
            "suite onnxruntime: onnx and onnxruntime are not installed here; `pip install 'hwsim[models]'`."
        ) from None
    left: tuple[tuple[str, int, str], ...] = ()
    makers = dict(MAKERS)
    if not fuses_adds():
        count = len(makers.pop("QLinearAdd")("QLinearAdd"))
        left = (("QLinearAdd", count, "onnxruntime takes another kernel for it on a processor without fused multiply-add"),)
    cases = [case for name, make in makers.items() if operators is None or name in operators for case in make(name)]
    how = "full range" if sums_exactly() else "int8 operands within -64..63: no VNNI here"
    return Suite("onnxruntime", f"generated single operators ({how})", f"onnxruntime {onnxruntime.__version__}", cases, left)


def integers(rng: np.random.Generator, kind: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Random codes, the ends of the range made likely."""
    info = np.iinfo(kind)
    low, high = (-64, 63) if kind is np.int8 and not sums_exactly() else (info.min, info.max)
    codes = rng.integers(low, high + 1, shape)
    ends = rng.random(shape)
    return np.where(ends < 0.05, low, np.where(ends > 0.95, high, codes)).astype(kind)


def scale(rng: np.random.Generator) -> np.float32:
    """A random float32, often with few bits, so that ties come about."""
    if rng.random() < 0.4:
        return np.float32(rng.integers(1, 16) * 2.0 ** -rng.integers(2, 9))
    return np.float32(np.exp(rng.uniform(-6, 1)))


def ask(node: Any, feeds: Feeds, output_type: int) -> np.ndarray:
    """What onnxruntime computes, on one thread."""
    import onnxruntime
    from onnx import helper

    inputs = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for name, a in feeds.items()]
    output = helper.make_tensor_value_info("y", output_type, None)
    graph = helper.make_graph([node], "one", inputs, [output])
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIBUTED, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, feeds)[0]
    return found


def node_of(operator: str, feeds: Feeds, **attributes: Any) -> Any:
    """The one node."""
    from onnx import helper

    return helper.make_node(operator, list(feeds), ["y"], domain=CONTRIBUTED if operator in PAIRWISE else "", **attributes)


def _type(kind: Any) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(kind)))


Compute = Callable[[Any, Feeds, str], np.ndarray]


def _case(operator: str, name: str, feeds: Feeds, kind: Any, compute: Compute, work: int, **attributes: Any) -> Case:
    node = node_of(operator, feeds, **attributes)
    expected = partial(ask, node, feeds, _type(kind))
    return Case(operator, f"{operator} {name}", lambda backend: compute(node, feeds, backend), expected, work=work)


def _window(rng: np.random.Generator, groups: int) -> tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]:
    """(attributes, shape of x, shape of w) of one convolution."""
    channels, filters = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    kernel = tuple(int(k) for k in rng.integers(1, 4, 2))
    height, width = (int(side) for side in rng.choice([7, 8, 9, 11, 13], 2, replace=False))
    attributes = {
        "strides": [int(v) for v in rng.integers(1, 4, 2)],
        "dilations": [int(v) for v in rng.integers(1, 3, 2)],
        "pads": [int(v) for v in rng.integers(0, 3, 4)],
        "group": groups,
    }
    return attributes, (2, channels * groups, height, width), (filters * groups, channels, *kernel)


def _convolutions(operator: str) -> list[Case]:
    shaped = [_convolution(operator, pair, index) for pair in PAIRS for index in range(SHAPES)]
    return shaped + [_crafted(operator, index) for index in range(CRAFTED)]


def _convolution(operator: str, pair: tuple[Any, Any], index: int) -> Case:
    """Every third has weights per channel, every second a bias, every fifth accumulators made by the bias alone."""
    rng = np.random.default_rng([1, PAIRS.index(pair), index])
    attributes, x_shape, w_shape = _window(rng, int(rng.choice([1, 1, 2, 3])))
    x, w = integers(rng, pair[0], x_shape), integers(rng, pair[1], w_shape)
    per_channel, filters = index % 3 == 0, w_shape[0]
    w_scale = np.array([scale(rng) for _ in range(filters if per_channel else 1)], np.float32)
    w_zero = np.zeros(len(w_scale), pair[1]) if per_channel else integers(rng, pair[1], (1,))
    bits = int(rng.integers(8, 31)) if index % 5 == 0 else 12
    bias = rng.integers(-(1 << bits), 1 << bits, filters).astype(np.int32)
    if index % 5 == 0:
        w = np.broadcast_to(w_zero.reshape(-1, 1, 1, 1), w_shape).astype(pair[1])
    y_scale = np.float32(2.0 ** (bits - 7)) * scale(rng) if index % 5 == 0 else np.float32(40) * scale(rng)
    feeds = {"x": x, "xs": np.asarray(scale(rng)), "xz": integers(rng, pair[0], ()), "w": w, "ws": w_scale, "wz": w_zero}
    feeds |= {"ys": np.asarray(y_scale), "yz": integers(rng, pair[0], ())}
    if index % 2 or index % 5 == 0:
        feeds["b"] = bias
    name = f"{pair[0].__name__} x {pair[1].__name__} {index}"
    return _case(operator, name, feeds, pair[0], _qlinear_conv, x.size * int(np.prod(w_shape)), **attributes)


CRAFTED = 30
"""QLinearConv cases of 128 accumulators each at ties, beside ties, and where float32 cannot tell the two apart."""


def _crafted(operator: str, index: int) -> Case:
    """Weights of 0: each output channel's accumulator is its bias, at (n + 1/2) / scale, one more, or one less."""
    rng, filters = np.random.default_rng([5, index]), 128
    kind = (np.uint8, np.int8)[index % 2]
    low, places = np.iinfo(kind).min, rng.integers(0, 255, filters)
    shift = int(rng.integers(1, 23))
    step = np.float32(2.0**-shift) if index % 3 else np.float32(rng.uniform(0.5, 1) * 2.0**-shift)
    exact = (places + 0.5) / np.float64(step)
    bias = np.rint(exact).astype(np.int64) + rng.integers(-1, 2, filters) * (index % 3 != 1)
    zero = low + 10  # so that codes on both sides of real 0 are met
    bias -= np.int64(np.rint(10 / np.float64(step)))
    feeds = {"x": np.full((1, 1, 1, 1), zero, kind), "xs": np.asarray(np.float32(1)), "xz": np.asarray(kind(zero))}
    feeds |= {"w": np.zeros((filters, 1, 1, 1), np.int8), "ws": np.asarray(step), "wz": np.asarray(np.int8(0))}
    feeds |= {"ys": np.asarray(np.float32(1)), "yz": np.asarray(kind(zero)), "b": bias.astype(np.int32)}
    return _case(operator, f"crafted {kind.__name__} {index}", feeds, kind, _qlinear_conv, filters)


def _qlinear_conv(node: Any, f: Feeds, backend: str) -> np.ndarray:
    formats = (
        affine(f["xs"], f["xz"], f["x"].dtype),
        affine(f["ws"], f["wz"], f["w"].dtype),
        affine(f["ys"], f["yz"], f["yz"].dtype),
    )
    layer = convolution(node, contract(*formats), f["w"], f.get("b"))
    return run_layer(layer, f["x"], backend=backend, acc=False).codes


def _integer_convolutions(operator: str) -> list[Case]:
    cases = []
    for at, pair in enumerate(PAIRS[:2]):
        for index in range(SHAPES):
            rng = np.random.default_rng([2, at, index])
            attributes, x_shape, w_shape = _window(rng, int(rng.choice([1, 1, 2, 3])))
            feeds = {"x": integers(rng, pair[0], x_shape), "w": integers(rng, pair[1], w_shape)}
            feeds |= {"xz": integers(rng, pair[0], ()), "wz": integers(rng, pair[1], ())}
            name = f"{pair[0].__name__} x {pair[1].__name__} {index}"
            work = feeds["x"].size * int(np.prod(w_shape))
            cases.append(_case(operator, name, feeds, np.int32, _conv_integer, work, **attributes))
    return cases


def _integer_formats(f: Feeds, a: str, b: str) -> Any:
    one = np.float32(1)
    return sum_contract(affine(one, f[f"{a}z"], f[a].dtype), affine(one, f[f"{b}z"], f[b].dtype))


def _conv_integer(node: Any, f: Feeds, backend: str) -> np.ndarray:
    layer = convolution(node, _integer_formats(f, "x", "w"), f["w"], None)
    return run_layer(layer, f["x"], backend=backend, acc=False).codes


def _matrices(rng: np.random.Generator, pair: tuple[Any, Any]) -> Feeds:
    rows, inner, columns = (int(v) for v in rng.choice([1, 2, 3, 5, 7, 16, 33], 3, replace=False))
    stack = (2,) if rng.random() < 0.3 else ()
    feeds = {"a": integers(rng, pair[0], (*stack, rows, inner)), "b": integers(rng, pair[1], (*stack, inner, columns))}
    return feeds


def _products(operator: str) -> list[Case]:
    cases = []
    pairs = (*PAIRS, (np.int8, np.uint8)) if operator == "MatMulInteger" else PAIRS
    for at, pair in enumerate(pairs):
        for index in range(SHAPES):
            rng = np.random.default_rng([3, at, index])
            f = _matrices(rng, pair)
            work = f["a"].size * f["b"].shape[-1]
            name = f"{pair[0].__name__} x {pair[1].__name__} {index}"
            zeros = {"az": integers(rng, pair[0], ()), "bz": integers(rng, pair[1], ())}
            if operator == "MatMulInteger":
                cases.append(_case(operator, name, f | zeros, np.int32, _matmul_integer, work))
                continue
            a_scale, b_scale, y_scale = (np.asarray(np.float32(factor) * scale(rng)) for factor in (1.0, 1.0, 200.0))
            feeds = {"a": f["a"], "as": a_scale, "az": zeros["az"], "b": f["b"], "bs": b_scale, "bz": zeros["bz"]}
            feeds |= {"ys": y_scale, "yz": integers(rng, pair[0], ())}
            cases.append(_case(operator, name, feeds, pair[0], _qlinear_matmul, work))
    return cases


def _qlinear_matmul(node: Any, f: Feeds, backend: str) -> np.ndarray:
    formats = (
        affine(f["as"], f["az"], f["a"].dtype),
        affine(f["bs"], f["bz"], f["b"].dtype),
        affine(f["ys"], f["yz"], f["yz"].dtype),
    )
    return matrix_product(contract(*formats), f["a"], f["b"], backend)


def _matmul_integer(node: Any, f: Feeds, backend: str) -> np.ndarray:
    return matrix_product(_integer_formats(f, "a", "b"), f["a"], f["b"], backend)


def _pairs(operator: str) -> list[Case]:
    """Sums and products of two tensors, of sizes with any tail behind the vectors; ties made likely."""
    cases = []
    for at, kind in enumerate((np.uint8, np.int8)):
        for index in range(SHAPES):
            rng = np.random.default_rng([6, at, index])
            shape = (1, 3, 5, int(rng.integers(1, 70)))
            a_scale, b_scale = scale(rng), scale(rng)
            widest = a_scale * b_scale * np.float32(60) if operator == "QLinearMul" else max(a_scale, b_scale)
            y_scale = widest * np.float32(rng.choice([1.0, 0.5, rng.uniform(0.5, 2)]))
            feeds = {"a": integers(rng, kind, shape), "as": np.asarray(a_scale), "az": integers(rng, kind, ())}
            feeds |= {"b": integers(rng, kind, shape), "bs": np.asarray(b_scale), "bz": integers(rng, kind, ())}
            feeds |= {"ys": np.asarray(y_scale), "yz": integers(rng, kind, ())}
            cases.append(_case(operator, f"{kind.__name__} {index}", feeds, kind, _combine, feeds["a"].size))
    return cases


def _combine(node: Any, f: Feeds, backend: str) -> np.ndarray:
    a, b, y = (affine(f[f"{name}s"], f[f"{name}z"], f["a"].dtype) for name in "aby")
    layer: Layer
    if node.op_type == "QLinearAdd":
        layer = EltwiseSum((a, b), Output(y), fused_sum((a, b), y))
    else:
        layer = EltwiseProduct((a, b), Output(y), offset_product((a, b), y))
    return run_layer(layer, f["a"], f["b"], backend=backend, acc=False).codes


EDGE_KINDS = (np.uint8, np.int8)


def _edges(operator: str) -> list[Case]:
    """QuantizeLinear and DequantizeLinear, per tensor and per channel: ties, near ties, and what saturates."""
    cases = []
    for at, kind in enumerate(EDGE_KINDS):
        for index in range(SHAPES):
            rng = np.random.default_rng([4, at, index])
            channels = 5 if index % 2 else 1
            scales = np.array([scale(rng) for _ in range(channels)], np.float32)
            zeros = integers(rng, kind, (channels,))
            step = scales.reshape(-1, 1, 1) if channels > 1 else scales[0]
            real = (rng.integers(-600, 600, (3, 5, 7, 2)) / 2).astype(np.float32) * step
            moved = np.where(rng.random(real.shape) < 0.5, real, np.nextafter(real, np.float32(rng.choice([-1e9, 1e9]))))
            feeds = {"x": moved.astype(np.float32), "s": scales, "z": zeros}
            if operator == "DequantizeLinear":
                feeds["x"] = integers(rng, kind, (3, 5, 7, 2))
            if channels == 1:
                feeds |= {"s": feeds["s"].reshape(()), "z": feeds["z"].reshape(())}
            result = kind if operator == "QuantizeLinear" else np.float32
            compute = _quantize if operator == "QuantizeLinear" else _dequantize
            cases.append(_case(operator, f"{kind.__name__} {index}", feeds, result, compute, 0))
    return cases


def _formats_only(backend: str) -> None:
    if backend != "spec":
        raise BackendError(f"{backend}: quantizing real numbers is no layer; formats do it in Python.")


def _quantize(node: Any, f: Feeds, backend: str) -> np.ndarray:
    _formats_only(backend)
    return quantize_linear(f["x"], affine(f["s"], f["z"], f["z"].dtype), 1)


def _dequantize(node: Any, f: Feeds, backend: str) -> np.ndarray:
    _formats_only(backend)
    return dequantize_linear(f["x"], affine(f["s"], f["z"], f["z"].dtype), 1)


MAKERS: dict[str, Callable[[str], list[Case]]] = {
    "QLinearConv": _convolutions,
    "QLinearMatMul": _products,
    "ConvInteger": _integer_convolutions,
    "MatMulInteger": _products,
    "QLinearAdd": _pairs,
    "QLinearMul": _pairs,
    "QuantizeLinear": _edges,
    "DequantizeLinear": _edges,
}
