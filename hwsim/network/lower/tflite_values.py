"""TensorFlow Lite's operators that look at codes as they are, or scale them: pools, rectifiers, requantizing, moves."""

from __future__ import annotations

from collections.abc import Callable

from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.contract import Multiplier, Output
from hwsim.errors import InputError
from hwsim.formats import Affine
from hwsim.layers import AveragePool, CountRule, Layer, MaxPool, Rescale, Window
from hwsim.network.lower import tflite_scales as scales
from hwsim.network.lower.tflite_mac import pads
from hwsim.network.lower.tflite_site import Site
from hwsim.network.tflite_schema import Fused, PoolOptions

UNCHANGED = Multiplier(Scaling.MULTIPLY, 1, 0)


def clamped(fmt: Affine, fused: Fused) -> list[Layer]:
    """A fused activation behind an operator that rounds nothing: a rescale by one with the clamp; none where it clips nothing."""
    low, high = scales.clamp(fmt, fused)
    if low in (None, fmt.low) and high in (None, fmt.high):
        return []
    return [Rescale(fmt, Output(fmt, Rounding.TIES_AWAY, scaling=UNCHANGED, clamp_low=low, clamp_high=high))]


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
    return [AveragePool(fmt, _window(site, site.options), CountRule.EXCLUDE_PADDING, output)]


def max_pool(site: Site) -> list[Layer]:
    """MAX_POOL_2D: of codes; a fused activation is a layer of its own."""
    assert isinstance(site.options, PoolOptions)
    fmt = site.unchanged_format()
    return [MaxPool(fmt, _window(site, site.options)), *clamped(fmt, site.options.fused)]


def requantize(site: Site) -> list[Layer]:
    """QUANTIZE of codes: from one scale and zero point to another."""
    x, out = site.input_format(0), site.output_format()
    return [Rescale(x, scales.stage(out, scales.twice_rounded([scales.double_real(x.step(), out.step())]), Fused.NONE))]


def rectifier(fused: Fused) -> Callable[[Site], list[Layer]]:
    """RELU, RELU6 or RELU_N1_TO_1 as an operator: requantized, then clamped on the output's scale."""

    def make(site: Site) -> list[Layer]:
        x, out = site.input_format(0), site.output_format()
        return [Rescale(x, scales.stage(out, scales.twice_rounded([scales.float32_real(x.step(), out.step())]), fused))]

    return make


def unsupported(site: Site) -> list[Layer]:
    """An operator that the file may hold and hwsim cannot run yet."""
    raise InputError(f"{site.where}: hwsim cannot run this operator quantized; take a network without it.")
