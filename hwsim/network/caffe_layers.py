"""One Caffe layer -> one operation: a function for each type of layer that hwsim knows.

`p` is a layer's message (current or V1: the parameter fields have the same names), `blobs` its learned numbers.
Errors say what does not fit; read_caffe.py adds the file and the layer's name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.layers.pool import CountRule
from hwsim.network.caffe_proto import enum_name
from hwsim.network.ops import (
    LRN,
    BatchNorm,
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
    Op,
    Pair,
    Pooling,
    PoolMethod,
    PReLU,
    Region,
    ReLU,
    Scale,
    Shape,
    Sigmoid,
    Slice,
    Softmax,
    Tanh,
)
from hwsim.network.ops_mac import filters_first

Blobs = tuple[np.ndarray, ...]


def _allow(field: str, found: Any, *allowed: Any) -> None:
    if found not in allowed:
        raise InputError(f"{field} is {found}; hwsim allows {' or '.join(map(str, allowed))}.")


def _blobs(blobs: Blobs, count: int) -> Blobs:
    if len(blobs) != count:
        raise InputError(
            f"the caffemodel has {len(blobs)} blobs for it and {count} are needed; use the weights of this network."
        )
    return blobs


def _shaped(blob: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    """The blob in this shape; leading axes of 1 (the 2014 layout) may come or go, nothing else."""
    bare = blob.shape[len(blob.shape) - len(shape) :] if len(blob.shape) > len(shape) else blob.shape
    if bare != shape or blob.size != np.prod(shape, dtype=object):
        raise InputError(f"the {what} in the caffemodel have shape {blob.shape}; the prototxt needs {shape}.")
    return blob.reshape(shape)


def _pair(p: Any, name: str, default: int | None, short: str | None = None) -> Pair:
    """(vertical, horizontal) of a field given once, twice, or as NAME_h and NAME_w."""
    high, wide = f"{short or name}_h", f"{short or name}_w"
    if short != "" and (p.HasField(high) or p.HasField(wide)):
        return getattr(p, high), getattr(p, wide)
    values = list(getattr(p, name)) or ([default] if default is not None else [])
    if len(values) not in (1, 2):
        raise InputError(f"{name} is given {len(values)} times; 1 (both axes) or 2 (vertical, horizontal) are allowed.")
    return values[0], values[-1]


def _convolution(p: Any, blobs: Blobs) -> Op:
    c = p.convolution_param
    kernel, weight, bias = _filters(c, blobs)
    channels = weight.shape[1] if weight.ndim == 4 else 1
    return Convolution(_shaped(weight, (c.num_output, channels, *kernel), "weights"), bias, **_steps(c))


def _deconvolution(p: Any, blobs: Blobs) -> Op:
    c = p.convolution_param
    kernel, weight, bias = _filters(c, blobs)
    if c.num_output % c.group:
        raise InputError(f"convolution_param.group is {c.group}; it must divide num_output, {c.num_output}.")
    weight = _shaped(weight, (weight.shape[0] if weight.ndim == 4 else 1, c.num_output // c.group, *kernel), "weights")
    return Deconvolution(filters_first(weight, c.group), bias, **_steps(c))


def _filters(c: Any, blobs: Blobs) -> tuple[Pair, np.ndarray, np.ndarray | None]:
    """(kernel, weights as the file has them, biases) of a convolution or its transpose."""
    _allow("convolution_param.axis", c.axis, 1)
    kernel = _pair(c, "kernel_size", None, "kernel")
    if not c.num_output or not c.group:
        raise InputError("convolution_param needs num_output and group of at least 1.")
    weight, *bias = _blobs(blobs, 1 + c.bias_term)
    return kernel, weight, _shaped(bias[0], (c.num_output,), "biases") if bias else None


def _steps(c: Any) -> dict[str, Any]:
    """Stride, padding, dilation and groups of a convolution or its transpose."""
    pairs = {"stride": _pair(c, "stride", 1), "pad": _pair(c, "pad", 0), "dilation": _pair(c, "dilation", 1, "")}
    return pairs | {"groups": c.group}


def _inner_product(p: Any, blobs: Blobs) -> Op:
    c = p.inner_product_param
    _allow("inner_product_param.axis", c.axis, 1)
    weight, *bias = _blobs(blobs, 1 + c.bias_term)
    weight = np.atleast_1d(weight)
    inputs = weight.shape[-2 if c.transpose and weight.ndim > 1 else -1]
    shape = (inputs, c.num_output) if c.transpose else (c.num_output, inputs)
    weight = _shaped(weight, shape, "weights")
    return InnerProduct(
        weight.T if c.transpose else weight, _shaped(bias[0], (c.num_output,), "biases") if bias else None
    )


def _pooling(p: Any, blobs: Blobs) -> Op:
    c = p.pooling_param
    method = enum_name("PoolMethod", c.pool)
    _allow("pooling_param.pool", method, "MAX", "AVE")
    kind = PoolMethod.MAX if method == "MAX" else PoolMethod.AVERAGE
    if c.global_pooling:
        if _pair(c, "pad", 0) != (0, 0) or _pair(c, "stride", 1) != (1, 1):
            raise InputError("global_pooling goes with stride 1 and without pad; remove them.")
        return Pooling(kind, count=CountRule.CAFFE, global_pooling=True)
    return Pooling(
        kind,
        kernel=_pair(c, "kernel_size", None, "kernel"),
        stride=_pair(c, "stride", 1),
        pad=_pair(c, "pad", 0),
        ceil_mode=enum_name("RoundMode", c.round_mode) == "CEIL",
        count=CountRule.CAFFE,
    )


def _lrn(p: Any, blobs: Blobs, stepped: bool = False) -> Op:
    c = p.lrn_param
    within = enum_name("NormRegion", c.norm_region) == "WITHIN_CHANNEL"
    # Caffe's within-channel layer is built from others and has no k: 1 stands where k would.
    return LRN(Region.WITHIN if within else Region.ACROSS, c.local_size, c.alpha, c.beta, 1.0 if within else c.k, stepped)


def _stepped_lrn(p: Any, blobs: Blobs) -> Op:
    return _lrn(p, blobs, stepped=True)


def _batch_norm(p: Any, blobs: Blobs) -> Op:
    c = p.batch_norm_param
    if c.HasField("use_global_stats"):
        _allow("batch_norm_param.use_global_stats", c.use_global_stats, True)
    mean, variance, count = _blobs(blobs, 3)
    if count.size != 1:
        raise InputError(f"the third blob has {count.size} elements; 1, the weight of the sums, is needed.")
    with np.errstate(all="ignore"):  # what is not finite then is refused by BatchNorm
        factor = np.float32(0) if count.flat[0] == 0 else np.float32(1) / np.float32(count.flat[0])
        return BatchNorm(mean.reshape(-1) * factor, variance.reshape(-1) * factor, c.eps)


def _scale(p: Any, blobs: Blobs) -> Op:
    c = p.scale_param
    _allow("scale_param.axis", c.axis, 1, -3)
    _allow("scale_param.num_axes", c.num_axes, 1)
    factor, *bias = _blobs(blobs, 1 + c.bias_term)
    return Scale(factor.reshape(-1), bias[0].reshape(-1) if bias else None)


def _eltwise(p: Any, blobs: Blobs) -> Op:
    operation = enum_name("EltwiseOp", p.eltwise_param.operation)
    _allow("eltwise_param.coeff", [v for v in p.eltwise_param.coeff if v != 1], [])
    return {"PROD": EltwiseProduct, "SUM": EltwiseSum, "MAX": EltwiseMax}[operation]()


def _prelu(p: Any, blobs: Blobs) -> Op:
    (slope,) = _blobs(blobs, 1)
    slope = slope.reshape(-1)
    if p.prelu_param.channel_shared:
        slope = _shaped(slope, (1,), "slopes")
    return PReLU(slope)


def _concat(p: Any, blobs: Blobs) -> Op:
    _allow("concat_param.axis", p.concat_param.axis, 1, -3)
    _allow("concat_param.concat_dim", p.concat_param.concat_dim, 1)
    return Concat()


def _softmax(p: Any, blobs: Blobs) -> Op:
    _allow("softmax_param.axis", p.softmax_param.axis, 1, -3)
    return Softmax()


def _flatten(p: Any, blobs: Blobs) -> Op:
    if hasattr(p, "flatten_param"):
        _allow("flatten_param.axis", p.flatten_param.axis, 1, -3)
        _allow("flatten_param.end_axis", p.flatten_param.end_axis, -1, 3)
    return Flatten()


def slices(p: Any, shape: Shape, count: int) -> tuple[Slice, ...]:
    """The operations of a Slice layer, one for each of its `count` tops, for a bottom of this shape (C, H, W)."""
    c = p.slice_param
    axis = c.slice_dim if c.HasField("slice_dim") else c.axis
    _allow("slice_param.axis", axis, 1, 2, 3, -1, -2, -3)
    at = axis - 1 if axis > 0 else axis + 3
    points = [0, *c.slice_point, shape[at]]
    if not c.slice_point:
        if shape[at] % count:
            raise InputError(f"its bottom {shape} cannot be cut into {count} equal parts; give slice_point.")
        points = [i * shape[at] // count for i in range(count + 1)]
    if len(points) != count + 1 or any(a >= b for a, b in zip(points, points[1:], strict=False)):
        given, needed = list(c.slice_point)[:8], count - 1
        raise InputError(f"slice_param.slice_point is {given}; {count} tops need {needed} points that rise within {shape[at]}.")
    parts = []
    for begin, end in zip(points, points[1:], strict=False):
        low, high = [0, 0, 0], list(shape)
        low[at], high[at] = begin, end
        parts.append(Slice((low[0], low[1], low[2]), (high[0], high[1], high[2])))
    return tuple(parts)


CONVERTERS: dict[str, Callable[[Any, Blobs], Op]] = {
    "BatchNorm": _batch_norm,
    "Concat": _concat,
    "Convolution": _convolution,
    "ConvolutionRistretto": _convolution,
    "Deconvolution": _deconvolution,
    "DeconvolutionRistretto": _deconvolution,
    "Dropout": lambda p, blobs: Dropout(),
    "Eltwise": _eltwise,
    "FcRistretto": _inner_product,
    "Flatten": _flatten,
    "InnerProduct": _inner_product,
    "LRN": _lrn,
    "LRNRistretto": _stepped_lrn,
    "PReLU": _prelu,
    "Pooling": _pooling,
    "ReLU": lambda p, blobs: ReLU(p.relu_param.negative_slope),
    "ReLU6": lambda p, blobs: Clip(0.0, 6.0),
    "Scale": _scale,
    "Sigmoid": lambda p, blobs: Sigmoid(),
    "Softmax": _softmax,
    "TanH": lambda p, blobs: Tanh(),
}
"""Type of a layer -> what makes its operation."""

SLICE = "Slice"
"""The type of layer that has several tops, and for which the shape of its bottom must be known: slices()."""

LEARNED = {
    "BatchNorm",
    "Convolution",
    "ConvolutionRistretto",
    "Deconvolution",
    "DeconvolutionRistretto",
    "FcRistretto",
    "InnerProduct",
    "PReLU",
    "Scale",
}
"""Types of layers that need blobs from the caffemodel."""

DATA_TYPES = {"Data", "ImageData", "MemoryData", "HDF5Data", "WindowData", "DummyData", "Input"}
"""Types of layers through which images enter."""

DROPPED_TYPES = {
    "Accuracy",
    "ArgMax",
    "ContrastiveLoss",
    "EuclideanLoss",
    "HingeLoss",
    "InfogainLoss",
    "MultinomialLogisticLoss",
    "SigmoidCrossEntropyLoss",
    "Silence",
    "SoftmaxWithLoss",
}
"""Types of layers that measure or swallow: inference ends before them."""

_V1_NAMES = {
    "HDF5_DATA": "HDF5Data",
    "LRN": "LRN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
    "MVN": "MVN",
    "BNLL": "BNLL",
    "ARGMAX": "ArgMax",
    "ABSVAL": "AbsVal",
}


def current_type(v1_type: str) -> str:
    """The current name of a type of the 2014 layout.

    >>> current_type("INNER_PRODUCT"), current_type("RELU")
    ('InnerProduct', 'ReLU')
    """
    return _V1_NAMES.get(v1_type) or v1_type.title().replace("_", "")


def supported() -> str:
    """The types of layers that hwsim reads, for an error's sentence."""
    return ", ".join(sorted([*CONVERTERS, SLICE]))


def make_op(kind: str, params: Any, blobs: Sequence[np.ndarray]) -> Op:
    """The operation of a layer of this type; InputError where a parameter or a blob does not fit."""
    return CONVERTERS[kind](params, tuple(blobs))
