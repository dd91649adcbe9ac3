"""What each operation between two Quantize nodes becomes: the layer, in onnxruntime's arithmetic or in shifts.

Fused as onnxruntime fuses with its optimizations on: Conv, Gemm and MatMul are QLinearConv and QLinearMatMul, a sum or
product of two tensors is QLinearAdd or QLinearMul, a global average is QLinearGlobalAveragePool.  What it leaves in floats,
a sum of three or one with an activation behind it, is computed step by step in float32, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.contract import Accumulator, MacContract, Output
from hwsim.contract.operand import FloatSteps, fused_sum, offset_product
from hwsim.contract.reciprocals import float32_reciprocal
from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import (
    AveragePool,
    ChannelShuffle,
    Clamp,
    Convolution,
    CountRule,
    Deconvolution,
    EltwiseMax,
    EltwiseProduct,
    EltwiseSum,
    Flatten,
    FullyConnected,
    Layer,
    LookupTable,
    MaxPool,
    Pad,
    Rescale,
    ResizeNearest,
    Slice,
    Window,
)
from hwsim.layers.move import whole_factors
from hwsim.network import ops
from hwsim.network.graph import Node
from hwsim.network.lower.onnx_quantized_layers import WIDE_BITS, contract, dequantize_linear, quantize_linear
from hwsim.network.onnx_integers import Grid, Quantize, nearest

if TYPE_CHECKING:
    from hwsim.network.lower.onnx_quantized import Walk

MULTIPLYING = (ops.Convolution, ops.InnerProduct, ops.Deconvolution)
"""Operations with weights."""

Clamps = tuple[int | None, int | None]
"""Codes at which an activation clips, None where it does not."""


@dataclass(frozen=True, eq=False)
class Codes:
    """A node of the result and the format of its codes."""

    node: str
    format: Grid


@dataclass(frozen=True, eq=False)
class Waiting:
    """An operation whose result nobody has quantized yet. low, high: of the activations behind it."""

    node: Node
    inputs: tuple[Codes, ...]
    low: float | None = None
    high: float | None = None
    bias: np.ndarray | None = None


def as_affine(fmt: Grid) -> Affine:
    """The format as an Affine: a fixed point's step is a scale.

    >>> as_affine(FixedPoint(8, 2)).scale
    0.25
    """
    if isinstance(fmt, Affine):
        return fmt
    lengths = fmt.fractional_length
    scale = tuple(2.0**-fl for fl in lengths) if isinstance(lengths, tuple) else 2.0**-lengths
    return Affine(fmt.bits, scale, 0, fmt.signed)


def all_fixed(*formats: Grid) -> bool:
    """Whether shifts are enough between these formats."""
    return all(isinstance(fmt, FixedPoint) for fmt in formats)


def weights(op: Any) -> np.ndarray:
    """The weights of an operation that has them."""
    weight: np.ndarray = op.weight
    return weight


def stage(op: Quantize, clamp: Clamps) -> Output:
    """The output stage of a layer that scales by itself."""
    return Output(op.format, op.rounding, op.overflow, clamp_low=clamp[0], clamp_high=clamp[1])


def multiplying(op: Any, mac: MacContract, codes: np.ndarray, bias: np.ndarray | None) -> Layer:
    """The layer of an operation with weights."""
    if isinstance(op, ops.InnerProduct):
        return FullyConnected(mac, codes, bias)
    if isinstance(op, ops.Deconvolution):
        ends = tuple(e - o for e, o in zip(op.pad_end or op.pad, op.output_padding, strict=True))
        return Deconvolution(mac, codes, bias, op.stride, op.pad, op.dilation, op.groups, (ends[0], ends[1]))
    return Convolution(mac, codes, bias, op.stride, op.pad, op.dilation, op.groups, op.pad_end)


def shifted(x: FixedPoint, weight: FixedPoint, op: Quantize, clamp: Clamps) -> MacContract:
    """The datapath between fixed points: an exact sum and a shift."""
    return MacContract(x, weight, stage(op, clamp), Accumulator(32 if max(x.bits, weight.bits) <= 8 else WIDE_BITS))


def _sum_of_products(walk: Walk, value: Waiting, op: Quantize, clamp: Clamps) -> Layer:
    x, weight = value.inputs[0].format, walk.stored_weight(value)
    bias, real = walk.stored_bias(value, x, weight), weights(value.node.op)
    if all_fixed(x, weight, op.format):
        assert isinstance(x, FixedPoint) and isinstance(weight, FixedPoint)
        return multiplying(value.node.op, shifted(x, weight, op, clamp), weight.encode_array(real), bias)
    if isinstance(x, FixedPoint):
        raise InputError(f"it reads {x} with weights or outputs of other scales; hwsim runs one kind of scales in a layer.")
    mac = contract(x, as_affine(weight), as_affine(op.format), clamp)
    return multiplying(value.node.op, mac, quantize_linear(real, as_affine(weight), 0), bias)


def _clipped(walk: Walk, value: Waiting, op: Quantize, clamp: Clamps) -> Layer:
    fmt = value.inputs[0].format
    if isinstance(value.node.op, ops.ReLU) and value.node.op.negative_slope:
        return _tabled(walk, value, op, clamp)
    if fmt == op.format:
        return Clamp(fmt, fmt.low if clamp[0] is None else clamp[0], fmt.high if clamp[1] is None else clamp[1])
    return Rescale(fmt, walk.rescale(fmt, op, clamp))


def _summed(walk: Walk, value: Waiting, op: Quantize, clamp: Clamps) -> Layer:
    formats = tuple(each.format for each in value.inputs)
    if all_fixed(*formats, op.format):
        return EltwiseSum(formats, stage(op, clamp))
    scales, y = [as_affine(fmt) for fmt in formats], as_affine(op.format)
    steps = fused_sum(scales, y) if _fuses(value, op, clamp) else FloatSteps(_steps(scales), _steps([y])[0])
    return EltwiseSum(formats, stage(op, clamp), steps)


def _multiplied(walk: Walk, value: Waiting, op: Quantize, clamp: Clamps) -> Layer:
    formats = tuple(each.format for each in value.inputs)
    shapes = {walk.shapes[name] for name in value.node.inputs}
    if all_fixed(*formats, op.format):
        return EltwiseProduct(formats, stage(op, clamp), stretch=len(shapes) > 1)
    scales, y = [as_affine(fmt) for fmt in formats], as_affine(op.format)
    steps = offset_product(scales, y) if _fuses(value, op, clamp) else FloatSteps(_steps(scales), _steps([y])[0])
    return EltwiseProduct(formats, stage(op, clamp), steps, stretch=len(shapes) > 1)


def _fuses(value: Waiting, op: Quantize, clamp: Clamps) -> bool:
    """Whether onnxruntime has one operator for it: two tensors of 8 bits, nothing between it and the QuantizeLinear."""
    distinct = {each.node for each in value.inputs}
    return (
        len(distinct) == len(value.inputs) == 2
        and clamp[0] in (None, op.format.low)
        and clamp[1] in (None, op.format.high)
        and all(f.bits == 8 for f in (*_formats(value), op.format))
    )


def _formats(value: Waiting) -> tuple[Grid, ...]:
    return tuple(each.format for each in value.inputs)


def _steps(formats: list[Affine]) -> tuple[float, ...]:
    with np.errstate(over="ignore"):  # what became infinite is refused by what takes it
        return tuple(float(np.float32(fmt.step())) for fmt in formats)


def _largest(walk: Walk, value: Waiting, op: Quantize, clamp: Clamps) -> Layer:
    formats = _formats(value)
    if set(formats) != {op.format} or clamp != (None, None):
        raise InputError("a maximum of tensors is taken in one format; quantize inputs and output with one scale and zero point.")
    return EltwiseMax(formats)


CURVES: dict[type, Callable[[np.ndarray, Any], np.ndarray]] = {
    ops.Sigmoid: lambda x, op: 1 / (1 + np.exp(-x)),
    ops.Tanh: lambda x, op: np.tanh(x),
    ops.ReLU: lambda x, op: np.where(x >= 0, x, x * np.float32(op.negative_slope)),
}
"""Functions of one number, in float32: what a table holds."""


def _tabled(walk: Walk, value: Waiting, op: Quantize, clamp: Clamps) -> Layer:
    """A table of what each code becomes: dequantized, the function in float32, quantized, as onnxruntime makes its own."""
    x = value.inputs[0].format
    if x.bits > 16 or clamp != (None, None):
        raise InputError(f"a table of {x.bits}-bit codes with an activation behind it is not made; quantize between them.")
    codes = np.arange(x.low, x.high + 1)
    with np.errstate(all="ignore"):
        real = CURVES[type(value.node.op)](dequantize_linear(codes, as_affine(x)), value.node.op)
    if isinstance(op.format, FixedPoint):
        return LookupTable(x, op.format, op.format.encode_array(real.astype(np.float64), op.rounding, op.overflow))
    return LookupTable(x, op.format, quantize_linear(real, op.format))


def _averaged(walk: Walk, value: Waiting, op: Quantize, clamp: Clamps) -> Layer:
    """An average: of whole windows by one float32 scale, x_scale / (y_scale * pixels), else by an exact division."""
    pool, x = value.node.op, value.inputs[0].format
    assert isinstance(pool, ops.Pooling)
    window = Window(None) if pool.global_pooling else Window(pool.kernel, pool.stride, pool.pad, pool.ceil_mode, pool.pad_end)
    kernel = walk.shapes[value.node.inputs[0]][1:] if pool.global_pooling else pool.kernel
    padded = not pool.global_pooling and (any((*pool.pad, *(pool.pad_end or pool.pad))) or pool.ceil_mode)
    if isinstance(x, Affine) and isinstance(op.format, Affine) and not padded:
        pixels = np.float32(kernel[0] * kernel[1])
        with np.errstate(all="ignore"):  # as above
            real = float(np.float32(x.step()) / (np.float32(op.format.step()) * pixels))
        division = float32_reciprocal(int(pixels), real)
        return AveragePool(x, window, CountRule.INCLUDE_PADDING, stage(op, clamp), division=division)
    if x != op.format and not all_fixed(x, op.format):
        raise InputError("a padded average goes into another format; quantize it with its input's scale and zero point.")
    return AveragePool(x, window, pool.count, stage(op, clamp))


MAKERS: dict[type | tuple[type, ...], Callable[[Any, Waiting, Quantize, Clamps], Layer]] = {
    MULTIPLYING: _sum_of_products,
    (ops.ReLU, ops.Clip): _clipped,
    (ops.Sigmoid, ops.Tanh): _tabled,
    ops.EltwiseMax: _largest,
    ops.EltwiseProduct: _multiplied,
    ops.EltwiseSum: _summed,
    ops.Pooling: _averaged,
}
"""Operation that waits to be quantized -> what makes its layer."""


def _pad(op: ops.Pad, fmt: Grid) -> Layer:
    code = nearest(op.value, as_affine(fmt).step(), fmt.zero())
    if not fmt.low <= code <= fmt.high:
        raise InputError(f"it pads with {op.value:g}, which {fmt} cannot hold.")
    return Pad(fmt, op.before, op.after, code)


def _max_pool(op: ops.Pooling, fmt: Grid) -> Layer:
    return MaxPool(fmt, Window(None) if op.global_pooling else Window(op.kernel, op.stride, op.pad, op.ceil_mode, op.pad_end))


MOVES: dict[type, Callable[[Any, Grid], Layer]] = {
    ops.ChannelShuffle: lambda op, fmt: ChannelShuffle(fmt, op.groups),
    ops.Flatten: lambda op, fmt: Flatten(fmt),
    ops.Pad: _pad,
    ops.Pooling: _max_pool,
    ops.ResizeNearest: lambda op, fmt: ResizeNearest(fmt, *whole_factors(op.factors)),
    ops.Slice: lambda op, fmt: Slice(fmt, op.begin, op.end, op.step),
}
"""Operation that takes codes as they are -> its layer."""
