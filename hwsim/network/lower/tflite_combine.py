"""TensorFlow Lite's operators that combine two tensors code by code: ADD and SUB round three times, MUL twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.contract.operand import Operand
from hwsim.errors import InputError
from hwsim.formats import Affine
from hwsim.layers import EltwiseMax, EltwiseMin, EltwiseProduct, EltwiseSum, Layer, Shape
from hwsim.network.lower import tflite_scales as scales
from hwsim.network.lower.tflite_site import Site, activation_format
from hwsim.network.tflite_schema import FusedOptions

WIDE_SHIFT = 15
"""How far 16-bit operands of a sum are shifted left before they are scaled; those of 8 bits: AffineRules.sum_shift."""


@dataclass(frozen=True)
class Pair:
    """What a combination reads, in the order in which the layer has it: tensors first, a constant last.

    places: which input of the operator each is.  shapes: of the tensors.  constant: codes C, H, W, of the last place.
    """

    places: tuple[int, ...]
    shapes: tuple[Shape, ...]
    constant: np.ndarray | None

    @property
    def stretch(self) -> bool:
        """Whether an operand stands for several positions."""
        own = () if self.constant is None else (Shape(*self.constant.shape),)
        return len({*self.shapes, *own}) > 1


def pair(site: Site, shapes: Sequence[Shape | None]) -> Pair:
    """Sort an operator's two inputs; shapes: of those that are computed, None for a constant."""
    computed = [i for i, shape in enumerate(shapes) if shape is not None]
    constant = [i for i, shape in enumerate(shapes) if shape is None]
    if len(shapes) != 2 or not computed:
        raise InputError(
            f"{site.where}: found {len(shapes)} inputs, {len(computed)} of them computed; allowed are two, one or both."
        )
    planes = _planes(site, constant[0]) if constant else None
    return Pair((*computed, *constant), tuple(shape for shape in shapes if shape is not None), planes)


def _planes(site: Site, i: int) -> np.ndarray:
    """A constant as codes C, H, W: TensorFlow aligns shapes at their last axis."""
    codes = site.constant(i, None)
    if codes.ndim > 4 or codes.ndim == 4 and len(codes) != 1:
        raise InputError(f"{site.where}: found a constant of shape {codes.shape}, allowed up to (1, H, W, C).")
    full = codes.reshape((1,) * (3 - codes.ndim) + codes.shape) if codes.ndim < 4 else codes[0]
    return np.ascontiguousarray(full.transpose(2, 0, 1))


def total(site: Site, read: Pair) -> list[Layer]:
    """ADD and SUB: each operand shifted left and scaled by s_i / (2 max s), the sum by 2 max s / (2**left s_out)."""
    options, out = site.options, site.output_format()
    assert isinstance(options, FusedOptions)
    formats, rule = [site.input_format(i) for i in read.places], site.rules.elementwise
    left = WIDE_SHIFT if out.bits == 16 else site.rules.sum_shift
    if left is None:
        raise InputError(f"{site.where}: these rules sum in floats; allowed are rules that shift and scale integers.")
    if out.bits == 16 and options.power_of_two:
        raise InputError(f"{site.where}: found 16-bit codes whose option pot_scale_int16 is set, allowed is a general scale.")
    twice = 2 * max(fmt.step() for fmt in formats)
    divisor = (1 << left) * out.step()
    if twice >= divisor:
        raise InputError(
            f"{site.where}: its output scale {out.step():g} is below 2**-{left} of its inputs'; the kernel refuses it."
        )
    operands = tuple(
        Operand(left, rule.ratio(fmt.step(), twice), rule.rounding, site.operator.name == "SUB" and i == 1)
        for i, fmt in zip(read.places, formats, strict=True)
    )
    stage = scales.stage(rule, twice, (1.0,), out, options.fused, divisor)
    inputs, fixed = (formats, None) if read.constant is None else (formats[:-1], formats[-1])
    return [EltwiseSum(tuple(inputs), stage, operands, read.stretch, read.constant, fixed)]


def product(site: Site, read: Pair) -> list[Layer]:
    """MUL: the exact product, scaled by s_1 * s_2 / s_out in float32 steps, in the operator's order."""
    options, out = site.options, site.output_format()
    assert isinstance(options, FusedOptions)
    formats = [site.input_format(i) for i in read.places]
    steps = site.input_format(0).step(), site.input_format(1).step()
    stage = scales.stage(site.product_rule, steps[0], steps[1:], out, options.fused)
    inputs, fixed = (formats, None) if read.constant is None else (formats[:-1], formats[-1])
    return [EltwiseProduct(tuple(inputs), stage, None, read.stretch, read.constant, fixed)]


def extreme(kind: type[EltwiseMax] | type[EltwiseMin]) -> Callable[[Site, Pair], list[Layer]]:
    """MAXIMUM or MINIMUM: of codes with one scale and zero point."""

    def make(site: Site, read: Pair) -> list[Layer]:
        fmt = same_formats(site, read)
        fixed = None if read.constant is None else fmt
        return [kind((fmt,) * len(read.shapes), read.stretch, read.constant, fixed)]

    return make


def same_formats(site: Site, read: Pair) -> Affine:
    """The one format of operands and output, of operators that compare codes."""
    formats = {site.input_format(i) for i in read.places} | {activation_format(site.output, site.where)}
    if len(formats) != 1:
        raise InputError(f"{site.where}: found {', '.join(map(str, formats))}; allowed is one scale and zero point for all.")
    return formats.pop()
