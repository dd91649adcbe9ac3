"""A float Network as an ONNX model in memory, Caffe's definitions kept to the letter.

Tensors are named "in", "t:NODE", "x:INDEX" and "c:INDEX", so that no layer's name can clash with another tensor's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hwsim.layers.pool import CountRule
from hwsim.network.graph import (
    LRN,
    BatchNorm,
    ChannelShuffle,
    Clip,
    Concat,
    Convolution,
    Deconvolution,
    Dropout,
    EltwiseMax,
    EltwiseProduct,
    EltwiseSum,
    Flatten,
    InnerProduct,
    Network,
    Node,
    Op,
    Pad,
    Pooling,
    PoolMethod,
    PReLU,
    Region,
    ReLU,
    ResizeNearest,
    Scale,
    Shape,
    Sigmoid,
    Slice,
    Softmax,
    Tanh,
)
from hwsim.network.ops_mac import channels_first

OPSET = 17
"""Fixed, so that an upgrade of onnx does not change what runs."""

LOWEST = float(np.finfo(np.float32).min)


def to_onnx(network: Network, outputs: Iterable[str]) -> onnx.ModelProto:
    """The model with one input "in" (N, C, H, W) and one output "t:NODE" for each named node.

    The tensors themselves are the outputs: behind an Identity, onnxruntime 1.31 loses a Relu that a fused Pad reads.
    """
    graph = _Graph(network.shapes())
    graph.add("Identity", ["in"], f"t:{network.input.name}")
    for node in network.nodes:
        if node is not network.input:
            _EMIT[type(node.op)](graph, node, node.op)
    results = []
    for name in outputs:
        results.append(helper.make_tensor_value_info(f"t:{name}", TensorProto.FLOAT, ["N", *graph.shapes[name]]))
    entry = helper.make_tensor_value_info("in", TensorProto.FLOAT, ["N", *graph.shapes[network.input.name]])
    body = helper.make_graph(graph.nodes, network.name, [entry], results, graph.constants)
    # ir_version 8 belongs to opset 17: the newest onnx writes a newer one, which an older onnxruntime refuses
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


class _Graph:
    """ONNX nodes and constants as they are collected."""

    def __init__(self, shapes: dict[str, Shape]) -> None:
        self.shapes = shapes
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c:{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        output = output or f"x:{len(self.nodes)}"
        name = attributes.pop("name", output[2:] if output.startswith("t:") else None)
        self.nodes.append(helper.make_node(kind, inputs, [output], name, **attributes))
        return output


def _inputs(node: Node) -> list[str]:
    return [f"t:{name}" for name in node.inputs]


def _out(node: Node) -> str:
    return f"t:{node.name}"


def _convolution(graph: _Graph, node: Node, op: Convolution) -> None:
    constants = [graph.constant(array) for array in (op.weight, op.bias) if array is not None]
    graph.add("Conv", _inputs(node) + constants, _out(node), **_kernel(op))


def _deconvolution(graph: _Graph, node: Node, op: Deconvolution) -> None:
    weight = channels_first(op.weight, op.groups)
    constants = [graph.constant(array) for array in (weight, op.bias) if array is not None]
    graph.add("ConvTranspose", _inputs(node) + constants, _out(node), output_padding=op.output_padding, **_kernel(op))


def _kernel(op: Convolution | Deconvolution) -> dict[str, Any]:
    pads = (*op.pad, *(op.pad_end or op.pad))
    attributes = {"strides": op.stride, "pads": pads, "dilations": op.dilation, "group": op.groups}
    return attributes | {"kernel_shape": op.weight.shape[2:]}


def _inner_product(graph: _Graph, node: Node, op: InnerProduct) -> None:
    bias = op.bias if op.bias is not None else np.zeros(len(op.weight), np.float32)
    flat = graph.add("Flatten", _inputs(node), axis=1)
    product = graph.add("Gemm", [flat, graph.constant(op.weight), graph.constant(bias)], name=node.name, transB=1)
    _reshape(graph, node, product, name="")  # the product has the node's name


def _reshape(graph: _Graph, node: Node, tensor: str, **attributes: str) -> None:
    graph.add("Reshape", [tensor, graph.constant((0, *graph.shapes[node.name]), np.int64)], _out(node), **attributes)


def _pooling(graph: _Graph, node: Node, op: Pooling) -> None:
    """Windows of equal size over an input padded by hand: what ONNX does at the border is not asked."""
    if op.global_pooling:
        graph.add("GlobalMaxPool" if op.method is PoolMethod.MAX else "GlobalAveragePool", _inputs(node), _out(node))
        return
    sides, windows = graph.shapes[node.inputs[0]][1:], graph.shapes[node.name][1:]
    spans = [(w - 1) * s + k for w, s, k in zip(windows, op.stride, op.kernel, strict=True)]
    after = [max(span - p - side, 0) for span, p, side in zip(spans, op.pad, sides, strict=True)]
    fill = LOWEST if op.method is PoolMethod.MAX else 0.0
    padded = _inputs(node)[0]
    if any((*op.pad, *after)):
        pads = graph.constant((0, 0, *op.pad, 0, 0, *after), np.int64)
        padded = graph.add("Pad", [padded, pads, graph.constant(fill)], mode="constant")
    if op.method is PoolMethod.MAX:
        graph.add("MaxPool", [padded], _out(node), kernel_shape=op.kernel, strides=op.stride)
        return
    correction = _correction(op, sides, windows)
    plain = bool((correction == 1).all())
    averaged = graph.add("AveragePool", [padded], _out(node) if plain else None, kernel_shape=op.kernel, strides=op.stride)
    if not plain:
        graph.add("Mul", [averaged, graph.constant(correction)], _out(node))


def _correction(op: Pooling, sides: tuple[int, ...], windows: tuple[int, ...]) -> np.ndarray:
    """kernel area / divisor at each window, of shape H, W."""
    counts = []
    ends = op.pad_end or op.pad
    for side, kernel, stride, pad, end, number in zip(sides, op.kernel, op.stride, op.pad, ends, windows, strict=True):
        start = np.arange(number) * stride - pad
        if op.count is CountRule.INCLUDE_PADDING:
            counts.append(np.full(number, kernel))
        elif op.count is CountRule.CAFFE:
            counts.append(np.minimum(start + kernel, side + end) - start)
        else:
            counts.append(np.minimum(start + kernel, side) - np.maximum(start, 0))
    return op.kernel[0] * op.kernel[1] / np.outer(*counts).astype(np.float64)


def _relu(graph: _Graph, node: Node, op: ReLU) -> None:
    if op.negative_slope:
        graph.add("LeakyRelu", _inputs(node), _out(node), alpha=op.negative_slope)
    else:
        graph.add("Relu", _inputs(node), _out(node))


def _prelu(graph: _Graph, node: Node, op: PReLU) -> None:
    graph.add("PRelu", [*_inputs(node), graph.constant(op.slope.reshape(-1, 1, 1))], _out(node))


def _clip(graph: _Graph, node: Node, op: Clip) -> None:
    limits = ["" if limit is None else graph.constant(limit) for limit in (op.low, op.high)]
    graph.add("Clip", _inputs(node) + limits, _out(node))


def _product(graph: _Graph, node: Node, op: EltwiseProduct) -> None:
    first, *others, last = _inputs(node)
    for other in others:
        first = graph.add("Mul", [first, other])
    graph.add("Mul", [first, last], _out(node))


def _slice(graph: _Graph, node: Node, op: Slice) -> None:
    numbers = [graph.constant(values, np.int64) for values in (op.begin, op.end, (1, 2, 3), op.step)]
    graph.add("Slice", _inputs(node) + numbers, _out(node))


def _pad(graph: _Graph, node: Node, op: Pad) -> None:
    pads = graph.constant((0, *op.before, 0, *op.after), np.int64)
    graph.add("Pad", [*_inputs(node), pads, graph.constant(op.value)], _out(node), mode="constant")


def _resize(graph: _Graph, node: Node, op: ResizeNearest) -> None:
    scales = graph.constant((1, 1, *op.factors))
    rule = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    graph.add("Resize", [*_inputs(node), "", scales], _out(node), **rule)


def _shuffle(graph: _Graph, node: Node, op: ChannelShuffle) -> None:
    channels, rows, columns = graph.shapes[node.name]
    split = graph.constant((0, op.groups, channels // op.groups, rows, columns), np.int64)
    dealt = graph.add("Transpose", [graph.add("Reshape", [*_inputs(node), split])], perm=(0, 2, 1, 3, 4))
    _reshape(graph, node, dealt)


def _lrn(graph: _Graph, node: Node, op: LRN) -> None:
    source = _inputs(node)
    if op.region is Region.ACROSS and op.k > 0:
        graph.add("LRN", source, _out(node), size=op.local_size, alpha=op.alpha, beta=op.beta, bias=op.k)
        return
    squares = graph.add("Mul", source * 2)
    half = (op.local_size - 1) // 2
    if op.region is Region.WITHIN:
        window, pads = (op.local_size,) * 2, (half,) * 4
        mean = graph.add("AveragePool", [squares], count_include_pad=1, kernel_shape=window, pads=pads)
    else:  # channels as the rows of one image
        rows = graph.add("Reshape", [squares, graph.constant((0, 1, graph.shapes[node.name][0], -1), np.int64)])
        window, pads = (op.local_size, 1), (half, 0, half, 0)
        mean = graph.add("AveragePool", [rows], count_include_pad=1, kernel_shape=window, pads=pads)
        mean = graph.add("Reshape", [mean, graph.constant((0, *graph.shapes[node.name]), np.int64)])
    base = graph.add("Add", [graph.add("Mul", [mean, graph.constant(op.alpha)]), graph.constant(op.k)])
    power = graph.add("Pow", [base, graph.constant(-op.beta)])
    graph.add("Mul", [*source, power], _out(node))


def _batch_norm(graph: _Graph, node: Node, op: BatchNorm) -> None:
    factor = 1 / np.sqrt(op.variance.astype(np.float64) + op.epsilon)
    _affine(graph, node, factor, -op.mean * factor)


def _scale(graph: _Graph, node: Node, op: Scale) -> None:
    _affine(graph, node, op.factor, op.bias)


def _affine(graph: _Graph, node: Node, factor: np.ndarray, bias: np.ndarray | None) -> None:
    product = graph.add("Mul", [*_inputs(node), graph.constant(np.reshape(factor, (-1, 1, 1)))])
    graph.add("Add", [product, graph.constant(0.0 if bias is None else np.reshape(bias, (-1, 1, 1)))], _out(node))


def _plain(kind: str, **attributes: Any) -> Callable[[_Graph, Node, Any], None]:
    def emit(graph: _Graph, node: Node, op: Op) -> None:
        graph.add(kind, _inputs(node), _out(node), **attributes)

    return emit


def _flatten(graph: _Graph, node: Node, op: Flatten) -> None:
    _reshape(graph, node, _inputs(node)[0])


_EMIT: dict[type[Op], Callable[[_Graph, Node, Any], None]] = {
    BatchNorm: _batch_norm,
    ChannelShuffle: _shuffle,
    Clip: _clip,
    Concat: _plain("Concat", axis=1),
    Convolution: _convolution,
    Deconvolution: _deconvolution,
    Dropout: _plain("Identity"),
    EltwiseMax: _plain("Max"),
    EltwiseProduct: _product,
    EltwiseSum: _plain("Sum"),
    Flatten: _flatten,
    InnerProduct: _inner_product,
    LRN: _lrn,
    PReLU: _prelu,
    Pad: _pad,
    Pooling: _pooling,
    ReLU: _relu,
    ResizeNearest: _resize,
    Scale: _scale,
    Sigmoid: _plain("Sigmoid"),
    Slice: _slice,
    Softmax: _plain("Softmax", axis=1),
    Tanh: _plain("Tanh"),
}
