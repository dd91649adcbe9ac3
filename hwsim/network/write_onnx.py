"""A network in integers -> an ONNX file in QDQ form, which onnxruntime runs: codes between QuantizeLinear and DequantizeLinear.

The input is the image in real numbers, (pixel - mean) * scale as the network's preprocessing has it.  A fixed point becomes
the scale 2**-fl with zero point 0; codes of fewer than 8 (16) bits are stored in 8 (16), between a Clip at their ends.
What onnxruntime then computes equals hwsim's codes where nothing in `differences` stands against it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.contract import MacContract, Output
from hwsim.contract.mac import Activation, real_step
from hwsim.contract.operand import FloatSteps
from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import (
    AveragePool,
    ChannelShuffle,
    Clamp,
    Concat,
    Convolution,
    CountRule,
    Deconvolution,
    EltwiseMax,
    EltwiseProduct,
    EltwiseSum,
    Flatten,
    FullyConnected,
    ImageEncoding,
    Layer,
    MaxPool,
    Pad,
    ReLU,
    Rescale,
    ResizeNearest,
    Slice,
    Softmax,
    Window,
)
from hwsim.layers.base import Unchanged
from hwsim.layers.integer_unit import IntegerUnit
from hwsim.layers.move import FlattenOrder
from hwsim.network.files import refuse_name, write_whole
from hwsim.network.lower.onnx_quantized_layers import requantizer
from hwsim.network.onnx_pixels import keep_preprocessing
from hwsim.network.onnx_wire import onnx_package
from hwsim.network.ops_mac import channels_first
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode

Grid = FixedPoint | Affine

OPSET, IR_VERSION = 21, 10
"""The first with 16-bit QuantizeLinear, and the file version that belongs to it."""

EXACT_BITS = 25
"""A signed register of this width holds the integers that float32 holds exactly, +-2**24."""


def write_onnx(network: QuantizedNetwork, path: str | os.PathLike[str], force: bool = False) -> Path:
    """Write the network as a QDQ file; return its path. The file appears whole under its name, or not at all.

    Errors: InputError for a layer or a format that ONNX has no operator or type for, and where the file exists (force
    replaces it) or the disk refuses.
    """
    refuse_name(path, ".onnx", force)
    return write_whole(path, to_qdq(network).SerializeToString(), force)


def to_qdq(network: QuantizedNetwork) -> Any:
    """Return the ModelProto. Its input is "image", N, C, H, W in float32; its output the last layer's real numbers."""
    onnx_package(f"network {network.name!r}")
    from onnx import TensorProto, helper

    graph = _Graph(network)
    for node in network.nodes:
        try:
            graph.take(node)
        except InputError as error:
            raise InputError(f"network {network.name!r}, layer {node.name!r}: {error}") from None
    last = network.nodes[-1].name
    entry = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *network.input_shape])
    result = helper.make_tensor_value_info(f"r:{last}", TensorProto.FLOAT, ["N", *network.shapes()[last]])
    body = helper.make_graph(graph.nodes, network.name, [entry], [result], graph.constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="hwsim")
    keep_preprocessing(model, network.preprocessing)
    model.doc_string = "\n".join([f"image: {network.preprocessing}", *differences(network)])
    return model


class _Graph:
    """Nodes and constants as they are collected; codes of layer L are the tensor "q:L", their real numbers "r:L"."""

    def __init__(self, network: QuantizedNetwork) -> None:
        self.network, self.shapes = network, network.shapes()
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def take(self, node: QuantizedNode) -> None:
        """Add one layer: its operator, activation, clip, and the pair that quantizes it."""
        layer = node.layer
        kind = next((kind for kind in _EMIT if isinstance(layer, kind)), None)
        if kind is None:
            raise InputError(f"a {layer.kind} has no operator in ONNX's QDQ form.")
        inputs = ["image"] if isinstance(layer, ImageEncoding) else [f"r:{name}" for name in node.inputs]
        if isinstance(layer, Softmax):
            self.add("Softmax", inputs, f"r:{node.name}", axis=1, name=node.name)
            return
        made = _EMIT[kind](self, node, layer, inputs)
        self.quantize(node.name, made, layer)

    def add(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """Add one operator; return its output."""
        from onnx import helper

        output = output or f"x:{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, value: Any, dtype: Any) -> str:
        """Add one constant; return its name."""
        from onnx import numpy_helper

        name = f"c:{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def quantize(self, name: str, tensor: str, layer: Layer) -> None:
        """The layer's activation and clip, then QuantizeLinear and DequantizeLinear."""
        fmt = grid(layer.output_format)
        if not isinstance(layer, Unchanged):  # what only moves stays within its format
            tensor = self.clipped(tensor, layer, fmt)
        scale, zero = self.constant(step(fmt), np.float32), self.constant(fmt.zero(), stored_type(fmt))
        self.add("QuantizeLinear", [tensor, scale, zero], f"q:{name}", name=f"{name}:quantize")
        self.add("DequantizeLinear", [f"q:{name}", scale, zero], f"r:{name}", name=f"{name}:dequantize")

    def clipped(self, tensor: str, layer: Layer, fmt: Grid) -> str:
        """Clip at the real numbers of the first and last code, unless the stored type ends there anyhow.

        There Relu still stands, which changes no code: it tells a reader that what is cut off below zero is no overflow.
        """
        low, high, rectifies = fmt.low, fmt.high, False
        output = getattr(layer, "output", None) or getattr(getattr(layer, "contract", None), "output", None)
        if isinstance(output, Output):
            low = max(low, output.low, fmt.low if output.clamp_low is None else output.clamp_low)
            high = high if output.clamp_high is None else output.clamp_high
            rectifies = output.activation is not Activation.NONE or output.clamp_low == fmt.zero()
            if output.activation is not Activation.NONE:
                low = max(low, fmt.zero())
        ends = np.iinfo(stored_type(fmt))
        if (low, high) == (ends.min, ends.max):
            return self.add("Relu", [tensor]) if rectifies and low == fmt.zero() else tensor
        limits = (float((code - fmt.zero()) * real_step(fmt)) for code in (low, high))
        return self.add("Clip", [tensor, *(self.constant(limit, np.float32) for limit in limits)])

    def dequantized(self, codes: np.ndarray, fmt: Grid, axis: int) -> str:
        """Constant codes with their scales, one or one for each place along the axis."""
        kind = np.int8 if fmt.bits <= 8 and fmt.signed else np.uint8 if fmt.bits <= 8 else stored_type(fmt)
        names = [self.constant(codes, kind)]
        steps = [float(real_step(fmt, k)) for k in range(codes.shape[axis])] if fmt.per_channel else step(fmt)
        zeros = [fmt.zero(k) for k in range(codes.shape[axis])] if fmt.per_channel else fmt.zero()
        names += [self.constant(steps, np.float32), self.constant(zeros, kind)]
        return self.add("DequantizeLinear", names, axis=axis) if fmt.per_channel else self.add("DequantizeLinear", names)


def grid(fmt: Any) -> Grid:
    """A format of integers that ONNX has a type for; InputError for other formats."""
    if not isinstance(fmt, (FixedPoint, Affine)) or fmt.bits > 16:
        raise InputError(f"its codes are {fmt}; ONNX quantizes to integers of at most 16 bits.")
    return fmt


def step(fmt: Grid) -> float:
    """What a code is worth, which float32 must hold; InputError where it does not."""
    value = float(real_step(fmt))
    if float(np.float32(value)) != value or not 0 < np.float32(value) < np.inf:
        raise InputError(f"its scale {value!r} is no float32 number; choose a fractional_length nearer to 0.")
    return value


def stored_type(fmt: Grid) -> Any:
    """The type that holds the codes in the file."""
    return {(True, True): np.int8, (True, False): np.uint8, (False, True): np.int16, (False, False): np.uint16}[
        fmt.bits <= 8, fmt.signed
    ]


def _weights(graph: _Graph, layer: Any, codes: np.ndarray, axis: int) -> str:
    """The weights as stored codes; powers of two as multiples of the least one: onnxruntime rounds real weights to 8 bits."""
    fmt = layer.contract.weight
    if isinstance(fmt, (FixedPoint, Affine)) and fmt.bits <= 16:
        return graph.dequantized(codes, fmt, axis)
    multiples = np.ldexp(fmt.to_real(codes), -fmt.exp_min).astype(np.int64)
    span = int(np.abs(multiples).max())
    if span > np.iinfo(np.int16).max:
        raise InputError(f"its weights reach from 2**{fmt.exp_min} to {span} times as much; 16 bits hold 32,767.")
    return graph.dequantized(multiples, FixedPoint(8 if span < 128 else 16, -fmt.exp_min), axis)


def _bias(graph: _Graph, layer: Any) -> list[str]:
    """The bias: int32 with the products' scale where it is on their grid, else as real numbers."""
    if layer.bias is None:
        return []
    contract: MacContract = layer.contract
    on_grid, steps = bias_grid(contract, layer.channels)
    if on_grid and np.abs(layer.bias.astype(np.int64)).max() < 1 << 31:
        zeros = graph.constant(np.zeros(layer.channels), np.int32)
        return [
            graph.add(
                "DequantizeLinear", [graph.constant(layer.bias, np.int32), graph.constant(steps, np.float32), zeros], axis=0
            )
        ]
    return [graph.constant(layer.bias * steps, np.float32)]


def bias_grid(contract: MacContract, channels: int) -> tuple[bool, np.ndarray]:
    """(whether the bias lies on the products' grid, what one of its codes is worth in each channel)."""
    x, weight = contract.input, contract.weight
    if isinstance(weight, Affine) or isinstance(x, Affine) and isinstance(weight, FixedPoint):
        steps = [float(np.float32(float(real_step(x))) * np.float32(float(real_step(weight, k)))) for k in range(channels)]
        return contract.bias is None, np.array(steps)
    lengths = [contract.bias_length(k) for k in range(channels)]
    same = all(length == contract.product_length(k) for k, length in enumerate(lengths))
    return same and isinstance(weight, FixedPoint), np.ldexp(1.0, [-length for length in lengths])


def _check_mac(layer: Any) -> None:
    if not isinstance(layer.contract, MacContract):
        raise InputError(f"its operands are minifloats ({layer.contract.weight}); ONNX's QDQ form has integers.")


def _convolution(graph: _Graph, node: QuantizedNode, layer: Convolution, inputs: list[str]) -> str:
    _check_mac(layer)
    names = [*inputs, _weights(graph, layer, layer.weight, 0), *_bias(graph, layer)]
    return graph.add("Conv", names, name=node.name, **_steps(layer, layer.pad, layer.pad_end or layer.pad))


def _deconvolution(graph: _Graph, node: QuantizedNode, layer: Deconvolution, inputs: list[str]) -> str:
    _check_mac(layer)
    end = layer.pad if layer.pad_end is None else layer.pad_end
    if layer.groups > 1 and getattr(layer.contract.weight, "per_channel", False) or min(*layer.pad, *end) < 0:
        raise InputError("a transpose convolution with groups and scales per channel, or with negative padding, is not written.")
    names = [*inputs, _weights(graph, layer, channels_first(layer.weight, layer.groups), 1), *_bias(graph, layer)]
    return graph.add("ConvTranspose", names, name=node.name, **_steps(layer, layer.pad, end))


def _steps(layer: Any, pad: tuple[int, int], end: tuple[int, int]) -> dict[str, Any]:
    return {
        "kernel_shape": layer.weight.shape[2:],
        "strides": layer.stride,
        "pads": (*pad, *end),
        "dilations": layer.dilation,
        "group": layer.groups,
    }


def _fully_connected(graph: _Graph, node: QuantizedNode, layer: FullyConnected, inputs: list[str]) -> str:
    """The output keeps two axes, (N, K), until the next layer that needs four."""
    _check_mac(layer)
    flat = graph.add("Flatten", inputs, axis=1)
    product = graph.add("Gemm", [flat, _weights(graph, layer, layer.weight, 0), *_bias(graph, layer)], name=node.name, transB=1)
    return graph.add("Reshape", [product, graph.constant((0, layer.channels, 1, 1), np.int64)])


def _window(window: Window, shape: tuple[int, ...]) -> dict[str, Any]:
    kernel = tuple(shape[1:]) if window.kernel is None else window.kernel
    pads = (*window.pad, *window.after)
    return {"kernel_shape": kernel, "strides": window.stride, "pads": pads, "ceil_mode": int(window.ceil_mode)}


def _max_pool(graph: _Graph, node: QuantizedNode, layer: MaxPool, inputs: list[str]) -> str:
    return graph.add("MaxPool", inputs, name=node.name, **_window(layer.window, graph.shapes[node.inputs[0]]))


def _average_pool(graph: _Graph, node: QuantizedNode, layer: AveragePool, inputs: list[str]) -> str:
    if layer.window.kernel is None:
        return graph.add("GlobalAveragePool", inputs, name=node.name)
    attributes = _window(layer.window, graph.shapes[node.inputs[0]])
    if layer.count is CountRule.INCLUDE_PADDING and layer.window.ceil_mode:
        raise InputError("an average in ceil mode that divides by its whole kernel is none of ONNX's.")
    include = int(layer.count is not CountRule.EXCLUDE_PADDING)
    return graph.add("AveragePool", inputs, name=node.name, count_include_pad=include, **attributes)


def _sum(graph: _Graph, node: QuantizedNode, layer: EltwiseSum, inputs: list[str]) -> str:
    if layer.constant is not None or isinstance(layer.operands, tuple) or layer.stretch:
        raise InputError("a sum with a constant, stretched, or with operands scaled in integers is not written.")
    return _chained(graph, "Add", node, inputs)


def _product(graph: _Graph, node: QuantizedNode, layer: EltwiseProduct, inputs: list[str]) -> str:
    if layer.constant is not None or layer.output.scaling is not None:
        raise InputError("a product with a constant, or scaled in integers, is not written.")
    return _chained(graph, "Mul", node, inputs)


def _chained(graph: _Graph, kind: str, node: QuantizedNode, inputs: list[str]) -> str:
    """An operator of two inputs over several, from the first on."""
    total = inputs[0]
    for i, other in enumerate(inputs[1:]):
        total = graph.add(kind, [total, other], name=node.name if i == len(inputs) - 2 else "")
    return total


def _clamp(graph: _Graph, node: QuantizedNode, layer: Clamp, inputs: list[str]) -> str:
    fmt = grid(layer.format)
    limits = (float((code - fmt.zero()) * real_step(fmt)) for code in (layer.low, layer.high))
    return graph.add("Clip", [*inputs, *(graph.constant(limit, np.float32) for limit in limits)], name=node.name)


def _pad(graph: _Graph, node: QuantizedNode, layer: Pad, inputs: list[str]) -> str:
    fmt = grid(layer.format)
    pads = graph.constant((0, *layer.before, 0, *layer.after), np.int64)
    value = graph.constant(float((layer.fill - fmt.zero()) * real_step(fmt)), np.float32)
    return graph.add("Pad", [*inputs, pads, value], name=node.name, mode="constant")


def _slice(graph: _Graph, node: QuantizedNode, layer: Slice, inputs: list[str]) -> str:
    if min(layer.step) < 0:
        raise InputError("a slice that goes backwards is not written.")
    values = (layer.start, layer.stop, (1, 2, 3), layer.step)
    return graph.add("Slice", [*inputs, *(graph.constant(value, np.int64) for value in values)], name=node.name)


def _resize(graph: _Graph, node: QuantizedNode, layer: ResizeNearest, inputs: list[str]) -> str:
    rules = (layer.vertical, layer.horizontal)
    if layer.size is not None or any(rule.step != 1 or rule.offset or rule.rounding is not Rounding.FLOOR for rule in rules):
        raise InputError("a resizing that does not repeat each pixel is not written.")
    scales = graph.constant((1, 1, *(rule.unit for rule in rules)), np.float32)
    rule = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.add("Resize", [*inputs, "", scales], name=node.name, **rule)


def _shuffle(graph: _Graph, node: QuantizedNode, layer: ChannelShuffle, inputs: list[str]) -> str:
    channels, rows, columns = graph.shapes[node.name]
    split = graph.constant((0, layer.groups, channels // layer.groups, rows, columns), np.int64)
    dealt = graph.add("Transpose", [graph.add("Reshape", [*inputs, split])], perm=(0, 2, 1, 3, 4))
    return graph.add("Reshape", [dealt, graph.constant((0, channels, rows, columns), np.int64)], name=node.name)


def _flatten(graph: _Graph, node: QuantizedNode, layer: Flatten, inputs: list[str]) -> str:
    if layer.order is not FlattenOrder.CHW:
        raise InputError("a flatten that takes rows before channels is not written.")
    return graph.add("Reshape", [*inputs, graph.constant((0, *graph.shapes[node.name]), np.int64)], name=node.name)


def _plain(kind: str, **attributes: Any) -> Callable[[_Graph, QuantizedNode, Any, list[str]], str]:
    def emit(graph: _Graph, node: QuantizedNode, layer: Any, inputs: list[str]) -> str:
        return graph.add(kind, inputs, name=node.name, **attributes)

    return emit


_EMIT: dict[type, Callable[[_Graph, QuantizedNode, Any, list[str]], str]] = {
    AveragePool: _average_pool,
    ChannelShuffle: _shuffle,
    Clamp: _clamp,
    Concat: _plain("Concat", axis=1),
    Convolution: _convolution,
    Deconvolution: _deconvolution,
    EltwiseMax: _plain("Max"),
    EltwiseProduct: _product,
    EltwiseSum: _sum,
    Flatten: _flatten,
    FullyConnected: _fully_connected,
    ImageEncoding: lambda graph, node, layer, inputs: inputs[0],
    MaxPool: _max_pool,
    Pad: _pad,
    ReLU: _plain("Relu"),
    Rescale: lambda graph, node, layer, inputs: inputs[0],
    ResizeNearest: _resize,
    Slice: _slice,
    Softmax: _plain("Softmax"),
}


def differences(network: QuantizedNetwork) -> tuple[str, ...]:
    """What may make onnxruntime's codes differ from hwsim's: a sentence for each layer and reason; none: they are equal.

    Equal means: on the same codes of the image.  Real numbers for the image may round to other codes at a tie.
    """
    return tuple(f"{node.name}: {reason}" for node in network.nodes for reason in _reasons(node.layer, node.inputs))


def _reasons(layer: Layer, inputs: tuple[str, ...]) -> Iterator[str]:
    output = getattr(layer, "output", None) or getattr(getattr(layer, "contract", None), "output", None)
    if isinstance(output, Output):
        if output.rounding is not Rounding.TIES_EVEN:
            shown = output.rounding.name if isinstance(output.rounding, Rounding) else "stochastic rounding"
            yield f"rounds {shown}; QuantizeLinear sends ties to even."
        if output.overflow is Overflow.WRAP and output.format.bits < 32:
            yield "wraps at its output; QuantizeLinear saturates."
    if isinstance(layer, (Convolution, Deconvolution, FullyConnected)):
        yield from _mac_reasons(layer)
    if isinstance(layer, AveragePool) and not (layer.window.kernel is None and isinstance(layer.format, Affine)):
        yield "averages in integers; onnxruntime averages in float32, which may move a tie."
    elif isinstance(layer, AveragePool) and (layer.division is None or layer.division.rule is not Scaling.FLOAT32):
        yield "averages by another rule than onnxruntime's float32 scale."
    steps = layer.operands if isinstance(layer, EltwiseSum) else layer.steps if isinstance(layer, EltwiseProduct) else None
    if isinstance(steps, FloatSteps) and (steps.offset is None or len(set(inputs)) < len(inputs)):
        yield "combines in float32 step by step; onnxruntime's fused operator, if it takes one, rounds elsewhere."
    if isinstance(layer, EltwiseProduct) and steps is None and layer.width > EXACT_BITS:
        yield f"its products may reach {layer.width} bits; onnxruntime rounds them to float32's 24."


def _mac_reasons(layer: Any) -> Iterator[str]:
    contract = layer.contract
    if not isinstance(contract, MacContract) or not isinstance(layer.unit, IntegerUnit):
        return
    numbers, acc = layer.numbers, contract.accumulator
    if numbers.proven_bits > acc.bits:
        yield f"may leave its {acc.bits}-bit accumulator; onnxruntime's has 32 bits."
    if not numbers.exact or layer.unit.factors is None:
        yield "rounds between the multiplier and the accumulator; onnxruntime does not."
    scaling = contract.output.scaling
    if numbers.proven_bits > EXACT_BITS and (scaling is None or scaling.rule is not Scaling.FLOAT32):
        yield f"its sums may reach {numbers.proven_bits} bits; onnxruntime rounds them to float32's 24 before it scales them."
    if layer.bias is not None and any(contract.bias_length(k) > contract.product_length(k) for k in range(layer.channels)):
        yield "its bias is finer than its products; onnxruntime rounds it to their grid."
    formats = (contract.input, contract.weight, contract.output.format)
    if scaling is None or not all(isinstance(fmt, (FixedPoint, Affine)) for fmt in formats):
        return
    x, y = (float(real_step(fmt)) for fmt in (contract.input, contract.output.format))
    weights = {float(real_step(contract.weight, k)): None for k in range(layer.channels)}  # type: ignore[arg-type]
    ours = {scaling.real(k) for k in range(layer.channels)} if scaling.channels else {scaling.real()}
    if scaling.rule is not Scaling.FLOAT32 or ours != {requantizer(x, [w], y).real() for w in weights}:
        yield f"scales by {scaling.rule.name}; onnxruntime multiplies by a float32 scale."


class Export:
    """A file that was written, and what may make onnxruntime's codes differ from hwsim's."""

    def __init__(self, path: Path, reasons: tuple[str, ...]) -> None:
        self.path, self.differences = path, reasons

    def to_json(self) -> dict[str, Any]:
        """Return both as plain data."""
        return {"path": str(self.path), "differences": list(self.differences)}

    def __str__(self) -> str:
        told = "onnxruntime gives the same codes on the same codes of the image."
        listed = [f"  {reason}" for reason in self.differences]
        return "\n".join([f"{self.path}", *(["onnxruntime's codes may differ:", *listed] if listed else [told])])


def export(network: QuantizedNetwork, path: str | os.PathLike[str], force: bool = False) -> Export:
    """Write the file, and tell what may differ: what `hwsim export` prints."""
    return Export(write_onnx(network, path, force), differences(network))
