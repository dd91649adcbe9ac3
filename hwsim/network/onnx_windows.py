"""ONNX operators that slide a window: Conv, ConvTranspose, the pools, LRN, and what they do at the border."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.layers.pool import CountRule
from hwsim.network.graph import LRN, Convolution, Deconvolution, Op, Pooling, PoolMethod, Region
from hwsim.network.onnx_attributes import numbers, take
from hwsim.network.onnx_build import Build, OnnxNode, Padded, Tensor
from hwsim.network.ops_base import Pair
from hwsim.network.ops_mac import filters_first

LOWEST = -3.0e38
"""Padding at or below it never wins a maximum: the lowest float32, or -infinity."""


def convolution(build: Build, node: OnnxNode) -> Tensor:
    """Conv: 2 dimensions, constant weights and biases."""
    a = take(node, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, strides=None)
    weight, bias = filters(build, node, a)
    source, before, after = bordered(build, node, 0.0)
    kernel = (weight.shape[2], weight.shape[3])
    stride, dilation = numbers("strides", a["strides"], 2), numbers("dilations", a["dilations"], 2)
    pad, end = pads(a, source, kernel, stride, dilation, before, after)
    op = Convolution(weight, bias, stride, pad, dilation, a["group"], end)
    return build.emit(node.name, op, (source,))


def filters(build: Build, node: OnnxNode, a: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """(weights, biases) of a convolution; InputError where they are computed or of other dimensions."""
    weight, bias = build.constant(node, 1), build.constant(node, 2)
    if weight is None or weight.ndim != 4:
        found = "none" if weight is None else f"of shape {weight.shape}"
        raise InputError(f"its weights are {found}; constants with 4 axes are needed.")
    if a["kernel_shape"] not in (None, weight.shape[2:]):
        raise InputError(f"kernel_shape is {a['kernel_shape']}; its weights have {weight.shape[2:]}.")
    return weight, bias


def transpose_convolution(build: Build, node: OnnxNode) -> Tensor:
    """ConvTranspose: 2 dimensions, constant weights; the output's size follows from the pads."""
    a = take(
        node, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, output_padding=None, output_shape=None,
        pads=None, strides=None,
    )  # fmt: skip
    if a["output_shape"] is not None or a["auto_pad"] not in ("NOTSET", "VALID"):
        raise InputError("its padding follows from output_shape or auto_pad; export it with pads.")
    weight, bias = filters(build, node, a)
    padding = numbers("pads", a["pads"], 4, 0)
    more = numbers("output_padding", a["output_padding"], 2, 0)
    stride, dilation = numbers("strides", a["strides"], 2), numbers("dilations", a["dilations"], 2)
    top, left, bottom, right = padding
    op = Deconvolution(filters_first(weight, a["group"]), bias, stride, (top, left), dilation, a["group"], (bottom, right), more)
    return build.emit(node.name, op, (build.image(node.inputs[0]),))


def max_pool(build: Build, node: OnnxNode) -> Tensor:
    """MaxPool without indices."""
    a = take(node, auto_pad="NOTSET", ceil_mode=0, dilations=None, kernel_shape=None, pads=None, storage_order=0, strides=None)
    return _pool(build, node, a, PoolMethod.MAX, LOWEST, CountRule.EXCLUDE_PADDING)


def average_pool(build: Build, node: OnnxNode) -> Tensor:
    """AveragePool; with count_include_pad a window is clipped to the padded input, as onnxruntime divides it in ceil mode."""
    a = take(
        node, auto_pad="NOTSET", ceil_mode=0, count_include_pad=0, dilations=None, kernel_shape=None, pads=None, strides=None
    )
    return _pool(
        build, node, a, PoolMethod.AVERAGE, 0.0, CountRule.CAFFE if a["count_include_pad"] else CountRule.EXCLUDE_PADDING
    )


def _pool(build: Build, node: OnnxNode, a: dict[str, Any], method: PoolMethod, fill: float, count: CountRule) -> Tensor:
    if numbers("dilations", a["dilations"], 2) != (1, 1):
        raise InputError(f"dilations are {a['dilations']}; pooling windows without holes are needed.")
    if a["kernel_shape"] is None:
        raise InputError("it has no kernel_shape; give it.")
    kernel, stride = numbers("kernel_shape", a["kernel_shape"], 2), numbers("strides", a["strides"], 2)
    own = any(a["pads"] or ()) or a["auto_pad"] != "NOTSET"
    average = method is PoolMethod.AVERAGE
    if average and own and count is CountRule.EXCLUDE_PADDING:
        source, before, after = build.image(node.inputs[0]), (0, 0), (0, 0)
    else:
        source, before, after = bordered(build, node, fill, kernel)
    if average and (any(before) or any(after)):
        count = CountRule.CAFFE  # the zeros around it are pixels like others
    pad, end = pads(a, source, kernel, stride, (1, 1), before, after)
    return build.emit(node.name, Pooling(method, kernel, stride, pad, bool(a["ceil_mode"]), count, pad_end=end), (source,))


def bordered(build: Build, node: OnnxNode, fill: float, kernel: Pair | None = None) -> tuple[Tensor, Pair, Pair]:
    """(source, padding above and left, below and right): what a Pad before the layer does, where the layer can do it.

    fill: what the layer's own padding is worth.  kernel: of a pool, which no padding may cover.
    """
    value = build.value(node.inputs[0])
    if isinstance(value, Padded) and value.before[0] == value.after[0] == 0:
        fits = value.value <= LOWEST if fill <= LOWEST else value.value == fill
        (top, left), (bottom, right) = value.before[1:], value.after[1:]
        if fits and (kernel is None or max(top, bottom) < kernel[0] and max(left, right) < kernel[1]):
            return value.source, (top, left), (bottom, right)
    return build.image(node.inputs[0]), (0, 0), (0, 0)


def pads(
    a: dict[str, Any], source: Tensor, kernel: Pair, stride: Pair, dilation: Pair, before: Pair, after: Pair
) -> tuple[Pair, Pair]:
    """(above and left, below and right): a layer's own padding by pads or auto_pad, and what stands around it already."""
    kind = a["auto_pad"]
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        begin, end = [], []
        for axis in range(2):
            side = source.shape[1 + axis] + before[axis] + after[axis]
            reach = dilation[axis] * (kernel[axis] - 1) + 1
            total = max((-(-side // stride[axis]) - 1) * stride[axis] + reach - side, 0)
            small, large = total // 2, total - total // 2
            begin.append(small if kind == "SAME_UPPER" else large)
            end.append(large if kind == "SAME_UPPER" else small)
    elif kind in ("NOTSET", "VALID"):
        given = numbers("pads", a["pads"] if kind == "NOTSET" else None, 4, 0)
        begin, end = list(given[:2]), list(given[2:])
    else:
        raise InputError(f"auto_pad is {kind!r}; NOTSET, VALID, SAME_UPPER or SAME_LOWER is allowed.")
    return (begin[0] + before[0], begin[1] + before[1]), (end[0] + after[0], end[1] + after[1])


def global_pool(build: Build, node: OnnxNode) -> Tensor:
    """GlobalAveragePool, GlobalMaxPool."""
    take(node)
    method = PoolMethod.MAX if node.kind == "GlobalMaxPool" else PoolMethod.AVERAGE
    return build.emit(node.name, Pooling(method, global_pooling=True), (build.image(node.inputs[0]),))


def reduce_mean(build: Build, node: OnnxNode) -> Tensor:
    """ReduceMean over height and width: a global average."""
    a = take(node, axes=None, keepdims=1, noop_with_empty_axes=0)
    axes = build.integers(node, 1, "axes")
    source = build.image(node.inputs[0])
    if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise InputError(f"axes are {axes}; (2, 3), height and width, are needed.")
    return build.emit(node.name, Pooling(PoolMethod.AVERAGE, global_pooling=True), (source,), not a["keepdims"])


def lrn(build: Build, node: OnnxNode) -> Tensor:
    """LRN across channels."""
    a = take(node, alpha=1e-4, beta=0.75, bias=1.0, size=None)
    if a["size"] is None:
        raise InputError("it has no size; give it.")
    op: Op = LRN(Region.ACROSS, a["size"], float(a["alpha"]), float(a["beta"]), float(a["bias"]))
    return build.emit(node.name, op, (build.image(node.inputs[0]),))


WINDOWS = {
    "AveragePool": average_pool,
    "Conv": convolution,
    "ConvTranspose": transpose_convolution,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "LRN": lrn,
    "MaxPool": max_pool,
    "ReduceMean": reduce_mean,
}
