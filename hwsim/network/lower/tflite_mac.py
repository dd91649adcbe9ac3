"""TensorFlow Lite's operators that multiply and accumulate, as layers: convolutions and fully connected layers."""

from __future__ import annotations

import math

import numpy as np

from hwsim.arith.scale import Scaling
from hwsim.contract import Accumulator, MacContract
from hwsim.errors import InputError
from hwsim.formats import Affine
from hwsim.layers import Convolution, Deconvolution, FullyConnected, Layer
from hwsim.network.lower import tflite_scales as scales
from hwsim.network.lower.tflite_site import INT64_CODE, Site, plane_shape
from hwsim.network.tflite_file import Tensor
from hwsim.network.tflite_schema import ConvOptions, DenseOptions, DepthwiseOptions, Fused, Padding, TransposeConvOptions


def pads(padding: Padding, extent: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """(before, behind): SAME gives ceil(extent / stride) outputs, the odd padding behind; VALID none.

    >>> pads(Padding.SAME, 224, 3, 2), pads(Padding.SAME, 5, 3, 1), pads(Padding.VALID, 5, 3, 1)
    ((0, 1), (1, 1), (0, 0))
    """
    if padding is Padding.VALID:
        return 0, 0
    total = max((-(-extent // stride) - 1) * stride + (kernel - 1) * dilation + 1 - extent, 0)
    return total // 2, total - total // 2


def convolution(site: Site) -> Layer:
    """CONV_2D: weights [K][R][S][C / groups]."""
    options = site.options
    assert isinstance(options, ConvOptions)
    weight = site.constant(1, 4)
    return _convolved(site, options, weight, weight.transpose(0, 3, 1, 2), 0)


def depthwise(site: Site) -> Layer:
    """DEPTHWISE_CONV_2D: weights [1][R][S][C * multiplier], output channel c * multiplier + m."""
    options = site.options
    assert isinstance(options, DepthwiseOptions)
    weight = site.constant(1, 4)
    if len(weight) != 1 or weight.shape[3] != site.shape.c * options.multiplier:
        raise InputError(
            f"{site.where}: found weights of shape {weight.shape} with depth multiplier {options.multiplier} and {site.shape.c} "
            f"input channels, allowed (1, R, S, {site.shape.c * options.multiplier})."
        )
    return _convolved(site, options, weight, weight[0].transpose(2, 0, 1)[:, None], 3)


def _convolved(site: Site, options: ConvOptions | DepthwiseOptions, raw: np.ndarray, weight: np.ndarray, axis: int) -> Layer:
    """A convolution with weights [K][C / groups][R][S]; axis: of the file's weights, on which its channels lie."""
    if not weight.shape[1] or site.shape.c % weight.shape[1]:
        raise InputError(
            f"{site.where}: found weights of shape {raw.shape} for {site.shape.c} input channels; allowed is a divisor of these."
        )
    stride, dilation = (options.stride_h, options.stride_w), (options.dilation_h, options.dilation_w)
    for name, values in (("stride", stride), ("dilation", dilation)):
        site.check_pair(name, values)
    ends = [pads(options.padding, *numbers) for numbers in zip(site.shape[1:], weight.shape[2:], stride, dilation, strict=True)]
    declared = options.bias_type if isinstance(options, ConvOptions) else INT64_CODE
    bias = site.bias(len(weight), declared)
    return Convolution(
        _contract(site, axis, options.fused, declared), weight, bias, stride, (ends[0][0], ends[1][0]), dilation,
        site.shape.c // weight.shape[1], (ends[0][1], ends[1][1]),
    )  # fmt: skip


def transposed(site: Site) -> Layer:
    """TRANSPOSE_CONV: weights [K][R][S][C]; padded as the convolution that it transposes; site: input, weights, bias."""
    options = site.options
    assert isinstance(options, TransposeConvOptions)
    weight, stride = site.constant(1, 4).transpose(0, 3, 1, 2), (options.stride_h, options.stride_w)
    site.check_pair("stride", stride)
    outputs = plane_shape(site.output, site.where)[1:]
    cuts = []
    for inputs, made, kernel, step in zip(site.shape[1:], outputs, weight.shape[2:], stride, strict=True):
        before = pads(options.padding, made, kernel, step)[0]
        cuts.append((before, (inputs - 1) * step + kernel - before - made))
    bias = site.bias(len(weight), options.bias_type)
    contract = _contract(site, 0, options.fused, options.bias_type)
    return Deconvolution(contract, weight, bias, stride, (cuts[0][0], cuts[1][0]), pad_end=(cuts[0][1], cuts[1][1]))


def _contract(site: Site, axis: int, fused: Fused, declared: int) -> MacContract:
    """Products (x - zx)(w - zw) summed in the type of the bias, then the operator's multiplier."""
    x, out = site.input_format(0), site.output_format()
    w = weights_format(site.tensor(1), axis, site.where)
    if not x.signed and w.per_channel:
        raise InputError(f"{site.where}: found one scale per channel with uint8; allowed is a single one.")
    wide = site.wide(declared)
    rule = site.rules.wide if wide else site.rules.convolution if x.signed else site.rules.unsigned or site.rules.convolution
    return MacContract(x, w, scales.stage(rule, x.step(), _steps(w), out, fused), Accumulator(64 if wide else 32))


def weights_format(tensor: Tensor, axis: int, where: str) -> Affine:
    """The format of weights, one scale or one for each output channel on `axis`; signed ones have no zero point."""
    signed = tensor.dtype == "int8"
    if tensor.dtype not in ("int8", "uint8") or not tensor.scales:
        raise InputError(
            f"{where}: found weights of {tensor.dtype} with {len(tensor.scales)} scales; allowed are int8 or uint8, quantized."
        )
    if signed and any(tensor.zero_points):
        raise InputError(f"{where}: found int8 weights with a zero point; allowed is 0, as TensorFlow Lite has it.")
    if len(tensor.scales) == 1:
        return Affine(8, tensor.scales[0], tensor.zero_points[0], signed)
    if tensor.quantized_dimension != axis:
        raise InputError(f"{where}: found scales on axis {tensor.quantized_dimension} of the weights, allowed {axis}.")
    return Affine(8, tensor.scales, 0 if signed else tensor.zero_points, signed)


def _steps(weight: Affine) -> list[float]:
    return list(weight.scale) if isinstance(weight.scale, tuple) else [weight.scale]


def fully_connected(site: Site) -> Layer:
    """FULLY_CONNECTED: weights [K][H * W * C] of an input flattened row by row, here [K][C * H * W]."""
    options = site.options
    assert isinstance(options, DenseOptions)
    if options.weights_format:
        raise InputError(f"{site.where}: found shuffled weights (format {options.weights_format}), allowed the default order.")
    weight, shape = site.constant(1, 2), site.shape
    if weight.shape[1] != math.prod(shape):
        raise InputError(f"{site.where}: found weights of shape {weight.shape} for an input of {math.prod(shape)} numbers.")
    ours = weight.reshape(-1, shape.h, shape.w, shape.c).transpose(0, 3, 1, 2).reshape(weight.shape)
    bias = site.bias(len(weight), options.bias_type)
    x, out, w = site.input_format(0), site.output_format(), weights_format(site.tensor(1), 0, site.where)
    rule, accumulator = site.rules.fully_connected, Accumulator(64 if site.wide(options.bias_type) else 32)
    contract = MacContract(x, w, scales.stage(rule, x.step(), _steps(w), out, options.fused), accumulator)
    layer = FullyConnected(contract, ours, bias)
    reach = max(abs(layer.numbers.exact_low), abs(layer.numbers.exact_high)) * x.step() * max(_steps(w)) / out.step()
    if rule.rule is Scaling.FLOAT64 and reach >= (1 << 31) - 1:
        raise InputError(
            f"{site.where}: its sums reach {reach:.3g} output steps; TensorFlow Lite's kernel gives nothing sensible beyond "
            "2**31: choose a larger output scale."
        )
    return layer
