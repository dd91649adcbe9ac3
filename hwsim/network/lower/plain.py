"""Layers without weights: what each float operation becomes, by its kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.contract import Output, RangeRule
from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint, Minifloat
from hwsim.layers import (
    AveragePool,
    ChannelShuffle,
    Clamp,
    Concat,
    EltwiseMax,
    EltwiseProduct,
    EltwiseSum,
    HostLRN,
    ImageEncoding,
    IntegerLRN,
    Layer,
    MaxPool,
    Pad,
    PReLU,
    Region,
    ReLU,
    ResizeNearest,
    Slice,
    Softmax,
    SteppedLRN,
    Window,
)
from hwsim.layers.lookup import TableFunction
from hwsim.layers.move import whole_factors
from hwsim.network import ops
from hwsim.network.lower.clip import clamp_codes, real_code
from hwsim.network.lower.curves import function_table
from hwsim.network.lower.settle import AnyOutput, Real
from hwsim.network.lower.sites import Site
from hwsim.network.ranges import covering_length, covering_minifloat

if TYPE_CHECKING:
    from hwsim.network.lower.layers import Lowering

Formats = tuple[Real, ...]

Build = Callable[[Any, Site, Any, Formats], Layer]

MAX_SLOPE_LENGTH = 24
"""Binary places of a slope: a finer one is 0 to any input, and would need shifts that leave int64."""

MAX_LIFT = 24
"""AveragePool: most bits between the grids of its input and its output."""


def _image(lowering: Lowering, site: Site, op: ops.Input, formats: Formats) -> Layer:
    assert op.preprocessing is not None
    return encoding(op.preprocessing.mean, op.preprocessing.scale, lowering.output(site))


def _pooling(lowering: Lowering, site: Site, op: ops.Pooling, formats: Formats) -> Layer:
    window = Window(None) if op.global_pooling else Window(op.kernel, op.stride, op.pad, op.ceil_mode, op.pad_end)
    if op.method is ops.PoolMethod.MAX:
        return MaxPool(formats[0], window)
    fmt, read = lowering.output_format(site), formats[0]
    if isinstance(fmt, FixedPoint) and isinstance(read, FixedPoint):
        fmt = replace(fmt, fractional_length=min(max(fmt.fl(), read.fl() - MAX_LIFT), read.fl() + MAX_LIFT))
    return AveragePool(read, window, op.count, lowering.output(site, fmt))


def _relu(lowering: Lowering, site: Site, op: ops.ReLU, formats: Formats) -> Layer:
    if op.negative_slope:
        return _prelu(lowering, site, ops.PReLU(np.array([op.negative_slope])), formats)
    return ReLU(formats[0])


def _clip(lowering: Lowering, site: Site, op: ops.Clip, formats: Formats) -> Layer:
    fmt = _integers(op, formats[0])
    low, high = clamp_codes(fmt, op)
    return Clamp(fmt, fmt.low if low is None else low, fmt.high if high is None else high)


def _concat(lowering: Lowering, site: Site, op: ops.Concat, formats: Formats) -> Layer:
    return Concat(lowering.joint_format(formats), len(formats))


def _sum(lowering: Lowering, site: Site, op: ops.EltwiseSum, formats: Formats) -> Layer:
    return EltwiseSum(formats, lowering.output(site))


def _prelu(lowering: Lowering, site: Site, op: ops.PReLU, formats: Formats) -> Layer:
    """Slopes as wide as weights, on the finest grid that holds them."""
    fmt, output, bits = _integers(op, formats[0]), lowering.output(site), lowering.widths.weights
    assert isinstance(output, Output)
    low, high = min(float(op.slope.min()), 0.0), max(float(op.slope.max()), 0.0)
    slopes = FixedPoint(bits, min(covering_length(low, high, bits, True), MAX_SLOPE_LENGTH))
    return PReLU(fmt, slopes, slopes.encode_array(op.slope, lowering.dialect.rounding), output)


def _curve(function: TableFunction) -> Build:
    def build(lowering: Lowering, site: Site, op: ops.Op, formats: Formats) -> Layer:
        fmt, output = _integers(op, formats[0]), lowering.output(site)
        assert isinstance(output, Output) and isinstance(output.format, FixedPoint)
        return function_table(function, fmt, output.format, lowering.dialect.rounding)

    return build


def _max(lowering: Lowering, site: Site, op: ops.EltwiseMax, formats: Formats) -> Layer:
    return EltwiseMax((lowering.joint_format(formats),) * len(formats))


def _product(lowering: Lowering, site: Site, op: ops.EltwiseProduct, formats: Formats) -> Layer:
    fixed, output, shapes = tuple(_integers(op, f) for f in formats), lowering.output(site), lowering.network.shapes()
    assert isinstance(output, Output)
    return EltwiseProduct(fixed, output, stretch=len({shapes[name] for name in site.inputs}) > 1)


def _lrn(lowering: Lowering, site: Site, op: ops.LRN, formats: Formats) -> Layer:
    """In integers; among minifloats in steps where the network says so; else in float on the host, as Ristretto leaves it."""
    region = Region.WITHIN_CHANNEL if op.region is ops.Region.WITHIN else Region.ACROSS_CHANNELS
    output, design, fmt = lowering.output(site), lowering.widths.lrn, formats[0]
    constants = (region, op.local_size, op.alpha, op.beta, op.k)
    if op.stepped and region is Region.ACROSS_CHANNELS and lowering.in_floats and isinstance(fmt, Minifloat):
        steps = lowering.minifloat or covering_minifloat(lowering.ranges[site.name].largest)
        return SteppedLRN.from_real(steps, *constants[1:], lowering.dialect.rounding, format=fmt)
    in_float = lowering.dialect.ranges == RangeRule.RISTRETTO or not isinstance(fmt, FixedPoint)
    if design is None or in_float or not isinstance(output, Output):
        return HostLRN(fmt, *constants, output)
    return IntegerLRN.from_real(fmt, *constants, output, design)  # type: ignore[arg-type]


def _softmax(lowering: Lowering, site: Site, op: ops.Softmax, formats: Formats) -> Layer:
    return Softmax(formats[0])


def _pad(lowering: Lowering, site: Site, op: ops.Pad, formats: Formats) -> Layer:
    fmt = formats[0]
    return Pad(fmt, op.before, op.after, None if op.value == 0 else real_code(fmt, op.value))


def _slice(lowering: Lowering, site: Site, op: ops.Slice, formats: Formats) -> Layer:
    return Slice(formats[0], op.begin, op.end, op.step)


def _resize(lowering: Lowering, site: Site, op: ops.ResizeNearest, formats: Formats) -> Layer:
    return ResizeNearest(formats[0], *whole_factors(op.factors))


def _shuffle(lowering: Lowering, site: Site, op: ops.ChannelShuffle, formats: Formats) -> Layer:
    return ChannelShuffle(formats[0], op.groups)


def _integers(op: ops.Op, fmt: Real) -> FixedPoint:
    """The format, which must be one of integers."""
    if isinstance(fmt, Minifloat):
        raise InputError(f"a {type(op).__name__} has no minifloats yet; choose a scheme of integers.")
    assert isinstance(fmt, FixedPoint)
    return fmt


PLAIN: dict[type[ops.Op], Build] = {
    ops.Input: _image,
    ops.Pooling: _pooling,
    ops.ReLU: _relu,
    ops.PReLU: _prelu,
    ops.Sigmoid: _curve(TableFunction.SIGMOID),
    ops.Tanh: _curve(TableFunction.TANH),
    ops.Clip: _clip,
    ops.Concat: _concat,
    ops.EltwiseSum: _sum,
    ops.EltwiseMax: _max,
    ops.EltwiseProduct: _product,
    ops.LRN: _lrn,
    ops.Softmax: _softmax,
    ops.Pad: _pad,
    ops.Slice: _slice,
    ops.ResizeNearest: _resize,
    ops.ChannelShuffle: _shuffle,
}
"""What each operation becomes; those with weights are in mac_layers.py."""


def encoding(mean: float | Sequence[float] | np.ndarray, scale: float, output: AnyOutput) -> ImageEncoding:
    """Return the layer that encodes the image; InputError for a scale that is not positive.

    To affine codes without a multiplier, the real scale is divided by the format's.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"scale {scale} cannot be encoded in integers; a positive one is needed.")
    if isinstance(output, Output) and isinstance(output.format, Affine) and output.scaling is None:
        scale = scale / output.format.step()
    return ImageEncoding.from_real(mean, scale, output)
