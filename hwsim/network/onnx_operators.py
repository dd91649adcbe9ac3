"""One ONNX operator of the default domain -> operations of a Network: a function for each operator that hwsim knows.

Errors say what does not fit; read_onnx.py adds the file, the node's name and its operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hwsim.errors import InputError
from hwsim.network.graph import (
    BatchNorm,
    Clip,
    Concat,
    Dropout,
    EltwiseMax,
    EltwiseProduct,
    EltwiseSum,
    InnerProduct,
    Op,
    PReLU,
    ReLU,
    Scale,
    Sigmoid,
    Softmax,
    Tanh,
)
from hwsim.network.onnx_attributes import allow, take
from hwsim.network.onnx_build import Build, OnnxNode, Tensor, Value
from hwsim.network.onnx_moves import MOVES
from hwsim.network.onnx_windows import WINDOWS

Converter = Callable[[Build, OnnxNode], "Value | tuple[Value, ...]"]

LARGEST = float(np.finfo(np.float32).max)


def unary(build: Build, node: OnnxNode, op: Op) -> Tensor:
    """An operation on each number, or on each channel, of one tensor."""
    source = build.plain(node.inputs[0])
    return build.emit(node.name, op, (source,), source.flat)


def _plain(op: Op) -> Converter:
    def convert(build: Build, node: OnnxNode) -> Tensor:
        take(node)
        return unary(build, node, op)

    return convert


def _leaky(build: Build, node: OnnxNode) -> Tensor:
    return unary(build, node, ReLU(take(node, alpha=0.01)["alpha"]))


def _prelu(build: Build, node: OnnxNode) -> Tensor:
    take(node)
    slope = build.constant(node, 1)
    if slope is None:
        raise InputError("it has no slope; give it.")
    return unary(build, node, PReLU(per_channel(slope, build.plain(node.inputs[0]))))


def per_channel(value: np.ndarray, tensor: Tensor) -> np.ndarray:
    """One number, or one per channel, from a constant that ONNX would broadcast against the tensor."""
    axes = len(tensor.dims)
    dims = (1,) * (axes - value.ndim) + value.shape
    if value.size == 1:
        return value.reshape(1)
    if len(dims) != axes or dims != (1, tensor.dims[1]) + (1,) * (axes - 2):
        raise InputError(
            f"a constant of shape {value.shape} meets a tensor of {tensor.dims}; one number, or one per channel, is needed."
        )
    return value.reshape(-1)


def _clip(build: Build, node: OnnxNode) -> Tensor:
    a = take(node, min=-LARGEST, max=LARGEST)
    limits: list[float | None] = []
    for index, (name, none) in enumerate((("min", -LARGEST), ("max", LARGEST)), 1):
        given = build.constant(node, index)
        if given is not None and given.size != 1:
            raise InputError(f"its {name} has {given.size} numbers; 1 is needed.")
        limit = a[name] if given is None else float(given.reshape(-1)[0])
        limits.append(None if limit == none or limit == math.copysign(math.inf, none) else limit)
    return unary(build, node, Clip(*limits))


def _softmax(build: Build, node: OnnxNode) -> Tensor:
    source = build.plain(node.inputs[0])
    before = build.opset < 13  # there, all axes from `axis` on were one
    axis = take(node, axis=1 if before else -1)["axis"]
    if axis % len(source.dims) != 1 and source.shape[1:] != (1, 1) or before and source.shape[1:] != (1, 1):
        raise InputError(f"axis is {axis} of {source.dims}; hwsim computes softmax over the channels.")
    allow("axis", axis % len(source.dims), 1, *((2, 3) if source.shape[0] == 1 else ()))
    return unary(build, node, Softmax())


def _dropout(build: Build, node: OnnxNode) -> Tensor:
    take(node, ratio=0.5, seed=0, is_test=1)
    training = build.constant(node, 2)
    if training is not None and training.any():
        raise InputError("its training_mode is true; save the network for inference.")
    return unary(build, node, Dropout())


def _batch_norm(build: Build, node: OnnxNode) -> Tensor:
    a = take(node, epsilon=1e-5, momentum=0.9, spatial=1, training_mode=0)
    allow("spatial", a["spatial"], 1)
    allow("training_mode", a["training_mode"], 0)
    found = [build.constant(node, index) for index in range(1, 5)]
    if any(each is None for each in found):
        raise InputError("scale, bias, mean and variance are needed, all constants.")
    factor, bias, mean, variance = (np.asarray(each).reshape(-1) for each in found)
    source = build.plain(node.inputs[0])
    normal = build.emit(node.name, BatchNorm(mean, variance, a["epsilon"]), (source,), source.flat)
    if (factor == 1).all() and (bias == 0).all():
        return normal
    return build.emit(f"{node.name}:scale", Scale(factor, bias), (normal,), source.flat)


def per_channel_axis(node: OnnxNode) -> int:
    """Where the output channels lie in the weights of an operator that multiplies and accumulates."""
    if node.kind == "Gemm":
        return 0 if node.attributes.get("transB") else 1
    return 1 if node.kind in ("MatMul", "ConvTranspose") else 0


def _gemm(build: Build, node: OnnxNode) -> Tensor:
    a = take(node, alpha=1.0, beta=1.0, transA=0, transB=0, broadcast=1)
    allow("transA", a["transA"], 0)
    weight = build.constant(node, 1)
    if weight is None or weight.ndim != 2:
        raise InputError("its weights must be a constant with 2 axes.")
    weight = weight if a["transB"] else weight.T
    bias = build.constant(node, 2)
    if bias is not None and a["beta"] != 0:
        if bias.size not in (1, len(weight)) or bias.ndim > 2:
            raise InputError(f"its biases have shape {bias.shape}; 1 or {len(weight)} numbers are needed.")
        bias = np.broadcast_to(bias.reshape(-1) * np.float32(a["beta"]), (len(weight),))
    else:
        bias = None
    return _product(build, node, weight if a["alpha"] == 1 else weight * np.float32(a["alpha"]), bias)


def _matmul(build: Build, node: OnnxNode) -> Tensor:
    take(node)
    weight = build.constant(node, 1)
    if weight is None or weight.ndim != 2:
        raise InputError("its second input must be a constant with 2 axes: hwsim reads it as a fully connected layer.")
    return _product(build, node, weight.T, None)


def _product(build: Build, node: OnnxNode, weight: np.ndarray, bias: np.ndarray | None) -> Tensor:
    source = build.tensor(node.inputs[0])
    if not source.flat:
        raise InputError(f"its input has dimensions {source.dims}; 2 axes are needed: flatten it.")
    with np.errstate(over="ignore"):  # what became infinite is refused by the operation
        return build.emit(node.name, InnerProduct(weight, bias), (source,), True)


def _binary(build: Build, node: OnnxNode) -> Value:
    """Add, Sub, Mul, Div: of two tensors, or of a tensor and a constant, which is a Scale."""
    take(node, broadcast=1, axis=1)
    if len(node.inputs) != 2:
        raise InputError(f"it has {len(node.inputs)} inputs; 2 are needed.")
    values = [build.value(name) for name in node.inputs]
    constants = [i for i, value in enumerate(values) if isinstance(value, np.ndarray)]
    if not constants:
        if node.kind not in ("Add", "Mul"):
            raise InputError("both of its inputs are computed; hwsim runs that for Add and Mul.")
        return combine(build, node, EltwiseSum() if node.kind == "Add" else EltwiseProduct())
    at = constants[0]
    if at == 0 and node.kind == "Div":
        raise InputError("it divides a constant by a tensor; hwsim does not run that.")
    source = build.plain(node.inputs[1 - at])
    with np.errstate(all="ignore"):  # the operation refuses what is not finite
        factor, bias = _factors(node.kind, at, per_channel(np.asarray(values[at]), source).astype(np.float64))
        spread = np.broadcast_to(factor, (source.shape[0],)).astype(np.float32)
        moved = np.broadcast_to(bias, (source.shape[0],)).astype(np.float32)
    if (spread == 1).all() and (moved == 0).all():
        return source
    return build.emit(node.name, Scale(spread, moved if moved.any() else None), (source,), source.flat)


def _factors(kind: str, at: int, constant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(factor, bias) of an operator with a constant as its first (0) or second input."""
    one, zero = np.ones_like(constant), np.zeros_like(constant)
    if kind == "Add":
        return one, constant
    if kind == "Sub":
        return (-one, constant) if at == 0 else (one, -constant)
    return (constant, zero) if kind == "Mul" else (1 / constant, zero)


def combine(build: Build, node: OnnxNode, op: Op) -> Value:
    """An operation on several tensors of one kind."""
    sources = tuple(build.plain(name) for name in node.inputs)
    if not sources or len({source.flat for source in sources}) != 1:
        raise InputError("its inputs have different numbers of axes; reshape them to one.")
    return sources[0] if len(sources) == 1 else build.emit(node.name, op, sources, sources[0].flat)


def _several(op: Op) -> Converter:
    def convert(build: Build, node: OnnxNode) -> Value:
        take(node)
        return combine(build, node, op)

    return convert


def _concat(build: Build, node: OnnxNode) -> Value:
    axis = take(node, axis=1)["axis"]
    sources = [build.plain(name) for name in node.inputs]
    if not sources or axis % len(sources[0].dims) != 1:
        raise InputError(f"axis is {axis}; hwsim joins channels, axis 1.")
    return combine(build, node, Concat())


OPERATORS: dict[str, Converter] = {
    "Add": _binary,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Div": _binary,
    "Dropout": _dropout,
    "Gemm": _gemm,
    "LeakyRelu": _leaky,
    "MatMul": _matmul,
    "Max": _several(EltwiseMax()),
    "Mul": _binary,
    "PRelu": _prelu,
    "Relu": _plain(ReLU()),
    "Sigmoid": _plain(Sigmoid()),
    "Softmax": _softmax,
    "Sub": _binary,
    "Sum": _several(EltwiseSum()),
    "Tanh": _plain(Tanh()),
    **WINDOWS,
    **MOVES,
}
"""Operator of the default domain -> what makes its operations."""
