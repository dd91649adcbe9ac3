"""TensorFlow Lite's operators that look at codes as they are, or scale them: pools, rectifiers, requantizing, moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hwsim.arith.rounding import Rounding
from hwsim.contract import Output
from hwsim.contract.reciprocals import folded_reciprocal
from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import AveragePool, Clamp, CountRule, Layer, MaxPool, Pad, PReLU, Rescale, ResizeNearest, Window
from hwsim.layers.move import tflite_sampling
from hwsim.layers.softmax_fixed import SoftmaxFixed
from hwsim.network.lower import tflite_scales as scales
from hwsim.network.lower.tflite_mac import pads
from hwsim.network.lower.tflite_site import Site
from hwsim.network.tflite_schema import Fused, LeakyOptions, PoolOptions, ReduceOptions, ResizeOptions, SoftmaxOptions


def clamped(fmt: Affine, fused: Fused) -> list[Layer]:
    """A fused activation behind an operator that computes nothing; no layer where it clips nothing."""
    low, high = scales.clamp(fmt, fused)
    low, high = fmt.low if low is None else low, fmt.high if high is None else high
    return [] if (low, high) == (fmt.low, fmt.high) else [Clamp(fmt, low, high)]


def _window(site: Site, options: PoolOptions) -> Window:
    kernel, stride = (options.filter_h, options.filter_w), (options.stride_h, options.stride_w)
    site.check_pair("window", kernel)
    site.check_pair("stride", stride)
    (top, bottom), (left, right) = (
        pads(options.padding, *numbers) for numbers in zip(site.shape[1:], kernel, stride, strict=True)
    )
    return Window(kernel, stride, (top, left), False, (bottom, right))


def average_pool(site: Site) -> list[Layer]:
    """AVERAGE_POOL_2D: codes are added as they are, zero points included, and divided by how many; ties away from code 0."""
    assert isinstance(site.options, PoolOptions)
    fmt = site.unchanged_format()
    low, high = scales.clamp(fmt, site.options.fused)
    output = Output(fmt, Rounding.TIES_AWAY, clamp_low=low, clamp_high=high)
    return [AveragePool(fmt, _window(site, site.options), CountRule.EXCLUDE_PADDING, output, of_codes=True)]


def max_pool(site: Site) -> list[Layer]:
    """MAX_POOL_2D: of codes; a fused activation is a layer of its own."""
    assert isinstance(site.options, PoolOptions)
    fmt = site.unchanged_format()
    return [MaxPool(fmt, _window(site, site.options)), *clamped(fmt, site.options.fused)]


def requantize(site: Site) -> list[Layer]:
    """QUANTIZE of codes: from one scale and zero point to another."""
    x, out = site.input_format(0), site.output_format()
    return [Rescale(x, scales.stage(site.rules.elementwise, x.step(), (1.0,), out))]


def rectifier(fused: Fused) -> Callable[[Site], list[Layer]]:
    """RELU, RELU6 or RELU_N1_TO_1 as an operator: requantized, then clamped on the output's scale."""

    def make(site: Site) -> list[Layer]:
        x, out = site.input_format(0), site.output_format()
        return [Rescale(x, scales.stage(site.product_rule, x.step(), (1.0,), out, fused))]

    return make


def leaky(site: Site) -> list[Layer]:
    """LEAKY_RELU: one multiplier for what is not negative, another with alpha in it for what is; both of float32 steps."""
    assert isinstance(site.options, LeakyOptions)
    x, out, alpha = site.input_format(0), site.output_format(), float(np.float32(site.options.alpha))
    if not 0 < alpha < np.inf:
        raise InputError(f"{site.where}: found alpha {alpha!r}, allowed a finite number above 0.")
    below = site.product_rule.multiplier(x.step(), (alpha,), out.step())
    return [PReLU(x, FixedPoint(2, 0), np.array([1]), scales.stage(site.product_rule, x.step(), (1.0,), out), below)]


def prelu(site: Site) -> list[Layer]:
    """PRELU with a slope for each channel, or one."""
    x, out, slopes, codes = site.input_format(0), site.output_format(), site.input_format(1), site.constant(1, None)
    if codes.size != codes.shape[-1] or codes.size not in (1, site.shape.c):
        raise InputError(
            f"{site.where}: found slopes of shape {codes.shape}, allowed one for each of {site.shape.c} channels, or one."
        )
    below = site.product_rule.multiplier(x.step(), (slopes.step(),), out.step())
    return [PReLU(x, slopes, codes.ravel(), scales.stage(site.product_rule, x.step(), (1.0,), out), below)]


def pad(site: Site) -> list[Layer]:
    """PAD with the input's zero point, PADV2 with a code."""
    fmt, pads = site.unchanged_format(), site.constant(1, 2)
    if pads.shape != (4, 2) or pads[0].any() or (pads < 0).any():
        raise InputError(f"{site.where}: found pads {pads.tolist()}, allowed four pairs from 0, none of them for images.")
    _, rows, columns, channels = ((int(a), int(b)) for a, b in pads)
    before, after = zip(channels, rows, columns, strict=True)
    code = None
    if site.operator.name == "PADV2":
        value = site.constant(2, None)
        if value.size != 1 or site.input_format(2) != fmt:
            raise InputError(
                f"{site.where}: found {value.size} codes to pad with; allowed is one of the input's scale and zero point."
            )
        code = int(value.ravel()[0])
    return [Pad(fmt, before, after, code)]


def resize(site: Site) -> list[Layer]:
    """RESIZE_NEAREST_NEIGHBOR: the place of a pixel in float32."""
    options, fmt, size = site.options, site.unchanged_format(), site.constant(1, 1)
    assert isinstance(options, ResizeOptions)
    if len(size) != 2 or not all(1 <= n <= 1 << 16 for n in size):
        raise InputError(f"{site.where}: found the size {size.tolist()}, allowed rows and columns from 1 to 65536.")
    rows, columns = (int(n) for n in size)
    rules = [
        tflite_sampling(inputs, outputs, options.align_corners, options.half_pixel_centers)
        for inputs, outputs in zip(site.shape[1:], (rows, columns), strict=True)
    ]
    return [ResizeNearest(fmt, rules[0], rules[1], (rows, columns))]


def mean(site: Site) -> list[Layer]:
    """MEAN over rows and columns: the sum of code - zero point, its multiplier divided by their number and cut off."""
    assert isinstance(site.options, ReduceOptions)
    axes = sorted(int(axis) % 4 for axis in site.constant(1, None).ravel())
    if site.tensor(0).shape != (1, *site.shape[1:], site.shape.c) or axes != [1, 2]:
        raise InputError(
            f"{site.where}: found a mean of shape {site.tensor(0).shape} over axes {axes}, allowed N H W C over 1, 2."
        )
    x, out = site.input_format(0), site.output_format()
    rule = site.rules.elementwise
    division = folded_reciprocal(site.shape.h * site.shape.w, rule.scales.real(x.step(), 1.0, out.step()))
    output = Output(out, rule.rounding)
    return [AveragePool(x, Window(None), CountRule.EXCLUDE_PADDING, output, division=replace(division, rule=rule.rule))]


def softmax(site: Site) -> list[Layer]:
    """SOFTMAX over the channels: gemmlowp's fixed-point exponentials and reciprocal; shares of 1/256 from the lowest code on."""
    assert isinstance(site.options, SoftmaxOptions)
    x, out = site.input_format(0), site.output_format()
    if x.bits != 8 or out.step() != 1 / 256 or out.zero() != out.low:
        raise InputError(f"{site.where}: gives {out} of {x}; allowed are 8 bits of scale 1/256 with the lowest code for zero.")
    return [SoftmaxFixed.from_scale(x, float(np.float32(site.options.beta)) * x.step(), Output(out, Rounding.TIES_AWAY))]


def unsupported(site: Site) -> list[Layer]:
    """An operator that the file may hold and hwsim cannot run yet."""
    raise InputError(f"{site.where}: hwsim cannot run this operator quantized; take a network without it.")
