"""Which codes a layer may give, from those that it reads: sound for every kind of layer, channel by channel.

Most layers are monotone in each operand, up or down, whatever the others are: their ends lie at corners of the operands'
ranges, where the layer's own specification is asked. A layer that nothing is known of gives any code of its format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from hwsim.arith.average import average
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import finish
from hwsim.arith.scale import HIGH, Scaling
from hwsim.contract.mac import Activation, Output
from hwsim.formats import Minifloat
from hwsim.layers import (
    ArithmeticShiftRight,
    AveragePool,
    ChannelShuffle,
    Clamp,
    Concat,
    Deconvolution,
    EltwiseMax,
    EltwiseMin,
    EltwiseProduct,
    EltwiseSum,
    Flatten,
    FlattenOrder,
    ImageEncoding,
    IntegerLRN,
    Layer,
    LookupTable,
    MaxPool,
    Pad,
    PReLU,
    ReLU,
    Rescale,
    ResizeNearest,
    Shape,
    Slice,
)
from hwsim.layers.base import Range, rounded_range
from hwsim.layers.image import MEAN_LENGTH, PIXEL
from hwsim.layers.lrn import look_up
from hwsim.network.lower.settle import output_stage
from hwsim.proofs.certificate import Certificate, InputRange

SATURATES = (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC)
MOST_OPERANDS = 6
"""Corners double with each operand."""


def given(layer: Layer, inputs: Sequence[InputRange], shapes: Sequence[Shape], output: Shape) -> InputRange:
    """Codes that a layer other than a multiply-accumulate one may give, by channel of its output.

    inputs: codes that may come, [C] each; empty where a minifloat comes in.  shapes: of the inputs.
    """
    rule = RULES.get(type(layer))
    if rule is None or len(inputs) != len(shapes):
        return of_pixels(layer) if isinstance(layer, ImageEncoding) else any_code(layer, output.c)
    return rule(layer, inputs, shapes, output)


def any_code(layer: Layer, channels: int) -> InputRange:
    """What a layer may give with inputs free in their formats, alike in all channels."""
    fmt, stage = layer.output_format, output_stage(layer)
    ends = layer.bounds.output
    if isinstance(stage, Output):
        low, high = stored(ends, stage)
    else:
        low, high = max(ends[0], fmt.low), min(ends[1], fmt.high)
        low, high = (low, high) if low <= high else (fmt.low, fmt.high)
    return InputRange(np.full(channels, low), np.full(channels, high))


def stored(rounded: Range, output: Output) -> Range:
    """Codes of values low..high that are scaled and rounded: the output's overflow, then a ReLU that stands behind it."""
    low, high = rounded
    if low < output.low or high > output.high:
        clips = output.overflow in SATURATES
        ends = (min(max(end, output.low), output.high) for end in rounded)
        low, high = ends if clips else (output.format.low, output.format.high)
    if output.activation is Activation.RELU_AFTER_REQUANTIZE:
        low, high = max(low, 0), max(high, 0)
    return low, high


def of_contents(proof: Certificate) -> InputRange:
    """Codes that a multiply-accumulate layer makes of what its accumulator may hold at the end."""
    epilogue, output = proof.layer.numbers.epilogue, proof.contract.output
    ends = [stored(rounded_range(content, k, epilogue), output) for k, content in enumerate(final_contents(proof))]
    return InputRange(*np.array(ends).T)


def final_contents(proof: Certificate) -> list[Range]:
    """What the accumulator may hold at the end, by channel: the exact sum where no register ever overflows and no bit is lost.

    Elsewhere anything that it is ever asked to hold, as far as it holds it.
    """
    acc, numbers = proof.contract.accumulator, proof.layer.numbers
    exact, found = _sums(proof) if numbers.exact else [], []
    quiet = _quiet(proof)
    for k, (low, high) in enumerate(zip(proof.accumulator.low.tolist(), proof.accumulator.high.tolist(), strict=True)):
        if low < acc.low or high > acc.high:
            clips = acc.overflow in SATURATES
            low, high = (max(low, acc.low), min(high, acc.high)) if clips else (acc.low, acc.high)
        elif numbers.exact and quiet[k]:
            low, high = max(low, exact[k][0]), min(high, exact[k][1])
        found.append((low, high))
    return found


def _quiet(proof: Certificate) -> np.ndarray:
    """Channels in which neither the tree nor the spill buffer can overflow, bool [K]."""
    schedule, quiet = proof.contract.accumulator.schedule, np.ones(proof.layer.channels, dtype=bool)
    if schedule is not None and schedule.tree.bits is not None and schedule.tree.overflow is not None:
        for bits, level in zip(schedule.tree.bits, proof.tree, strict=True):
            quiet &= level.widths(schedule.tree.overflow) <= bits
    if schedule is not None and schedule.spill is not None and proof.spill is not None:
        quiet &= proof.spill.widths(schedule.spill.overflow) <= schedule.spill.bits
    return quiet


def _sums(proof: Certificate) -> list[Range]:
    """bias + sum of each tap's smallest product, and of each largest; where taps may lie in the padding, of 0 besides."""
    layer, numbers, factors = proof.layer, proof.layer.numbers, proof.layer.integer.factors
    assert factors is not None
    zero, taps = proof.contract.input.zero(), factors.shape[1]
    groups = getattr(layer, "groups", 1)
    each = proof.shape.c // groups
    low, high = (
        np.repeat((end - zero).reshape(groups, each), taps // each, axis=1) for end in (proof.inputs.low, proof.inputs.high)
    )
    of_group = np.arange(layer.channels) // (layer.channels // groups)
    products = factors * low[of_group], factors * high[of_group]
    smallest, largest = np.minimum(*products), np.maximum(*products)
    if isinstance(layer, Deconvolution) or any(getattr(layer, "pad", ())) or any(getattr(layer, "pad_end", None) or ()):
        smallest, largest = smallest.clip(None, 0), largest.clip(0, None)
    sums = zip(smallest.sum(axis=1).tolist(), largest.sum(axis=1).tolist(), numbers.step_shift, numbers.bias, strict=True)
    return [((a << shift) + bias, (b << shift) + bias) for a, b, shift, bias in sums]


def of_pixels(layer: ImageEncoding) -> InputRange:
    """Pixel 0 under a channel's largest mean, to pixel 255 under its smallest."""
    output, ends = layer.output, []
    assert isinstance(output, Output)
    for mean in layer.mean:
        low = ((PIXEL.low << MEAN_LENGTH) - int(mean.max())) * layer.scale_mantissa
        high = ((PIXEL.high << MEAN_LENGTH) - int(mean.min())) * layer.scale_mantissa
        ends.append(stored(rounded_range((low, high), 0, layer.epilogue), output))
    return InputRange(*np.array(ends).T)


def _at_corners(layer: Layer, inputs: Sequence[InputRange], shapes: Sequence[Shape], output: Shape) -> InputRange:
    """A layer that works position by position and is monotone in each operand, whatever the others are."""
    if len(inputs) > MOST_OPERANDS:
        return any_code(layer, output.c)
    return _at_points(layer, list(product(*((each.low, each.high) for each in inputs))), output.c)


def _at_points(layer: Layer, points: Sequence[Sequence[np.ndarray]], channels: int) -> InputRange:
    """The smallest and the largest code that the specification makes of these operands, codes [C] each."""
    stage, codes, events = output_stage(layer), [], 0
    if _turns_over(layer):
        return any_code(layer, channels)
    for point in points:
        operands = [[[[[code]] for code in operand]] for operand in (each.tolist() for each in point)]
        cells = [layer.spec(operands, 0, k, 0, 0) for k in range(channels)]
        codes.append([cell.code for cell in cells])
        events += sum(cell.events.output for cell in cells)
    if events and isinstance(stage, Output) and stage.overflow not in SATURATES:
        return any_code(layer, channels)
    return InputRange(np.min(codes, axis=0), np.max(codes, axis=0))


def _turns_over(layer: Layer) -> bool:
    """Whether a multiplier may shift left within 32 bits, which is not monotone."""
    stages = [stage for name in ("epilogue", "below") if (stage := getattr(layer, name, None)) is not None]
    scalings = [(stage.scaling, shift) for stage in stages for shift in stage.shift]
    scalings += [(term.scaling, term.shift) for term in getattr(layer, "terms", ())]
    return any(rule == Scaling.HIGH_MULTIPLY and shift < HIGH for rule, shift in scalings)


def _combined(layer: Any, inputs: Sequence[InputRange], shapes: Sequence[Shape], output: Shape) -> InputRange:
    """A constant is an operand like the others, of which the ends are known."""
    if getattr(layer, "in_floats", False):
        return any_code(layer, output.c)
    if layer.constant is not None:
        constant = layer.constant.reshape(len(layer.constant), -1)
        inputs = [*inputs, InputRange(constant.min(axis=1), constant.max(axis=1))]
        formats = (*layer.formats, layer.constant_format)
        layer = replace(layer, formats=formats, constant=None, constant_format=None, stretch=True)
    return _at_corners(layer, inputs, shapes, output)


def _prelu(layer: PReLU, inputs: Sequence[InputRange], shapes: Sequence[Shape], output: Shape) -> InputRange:
    """Monotone on either side of the zero point."""
    (codes,), zero = inputs, layer.format.zero()
    inner = [np.clip(point, codes.low, codes.high) for point in (zero - 1, zero)]
    return _at_points(layer, [[point] for point in (codes.low, codes.high, *inner)], output.c)


def _rescaled(layer: Rescale, inputs: Sequence[InputRange], shapes: Sequence[Shape], output: Shape) -> InputRange:
    """Scaling is monotone; noise rounds either way."""
    if layer.in_floats:
        return any_code(layer, output.c)
    assert isinstance(layer.output, Output) and not isinstance(layer.format, Minifloat)
    zero, ends = layer.format.zero(), []
    for c, (low, high) in enumerate(zip(inputs[0].low.tolist(), inputs[0].high.tolist(), strict=True)):
        rounded = rounded_range((low - zero, high - zero), c if layer.per_channel else 0, layer.epilogue)
        ends.append(stored(rounded, layer.output))
    return InputRange(*np.array(ends).T)


def _averaged(layer: AveragePool, inputs: Sequence[InputRange], shapes: Sequence[Shape], output: Shape) -> InputRange:
    """An average is smallest where each pixel is: asked of each kind of window, by pixels on the image and by divisor."""
    if layer.in_floats:
        return any_code(layer, output.c)
    window, shape = layer.window, shapes[0]
    sides = []
    for axis in (0, 1):
        spans = [window.span(axis, shape, i) for i in range(output[1 + axis])]
        counted = [window.counted(axis, shape, i, layer.count) for i in range(output[1 + axis])]
        sides.append({(stop - start, count) for (start, stop, _), count in zip(spans, counted, strict=True)})
    ends, stage = [], layer.epilogue.stage
    for side in (inputs[0].low, inputs[0].high):
        for (rows, high), (columns, wide) in product(*sides):
            totals, unit = ((side - layer.zero) * (rows * columns)).tolist(), high * wide
            if layer.division is not None:
                if layer.division.rule is Scaling.HIGH_MULTIPLY and layer.reciprocal(unit)[1] < HIGH:
                    return any_code(layer, output.c)
                cells = [finish(total, *layer.reciprocal(unit), stage) for total in totals]
            else:
                cells = [average(total, unit, layer.lift, layer.offset, stage) for total in totals]
            if stage.overflow not in SATURATES and any(event for _, event in cells):
                return any_code(layer, output.c)
            ends.append([code for code, _ in cells])
    return InputRange(np.min(ends, axis=0), np.max(ends, axis=0))


def _joined(layer: Layer, inputs: Sequence[InputRange], shapes: Sequence[Shape], output: Shape) -> InputRange:
    """The channels of all."""
    return InputRange(np.concatenate([each.low for each in inputs]), np.concatenate([each.high for each in inputs]))


def _kept(layer: Layer, inputs: Sequence[InputRange], shapes: Sequence[Shape], output: Shape) -> InputRange:
    """Codes pass."""
    return inputs[0]


def _moved(layer: Any, inputs: Sequence[InputRange], shapes: Sequence[Shape], output: Shape) -> InputRange:
    """Each channel's codes where it goes, and the filling where something is filled."""
    source = [layer.source(0, k, shapes[0].c) for k in range(output.c)]
    fills = any(layer.source(axis, i, shapes[0][axis]) is None for axis in (1, 2) for i in range(output[axis]))
    low, high = np.full(output.c, layer.fill), np.full(output.c, layer.fill)
    for k, c in enumerate(source):
        if c is not None:
            ends = int(inputs[0].low[c]), int(inputs[0].high[c])
            low[k], high[k] = (min(layer.fill, ends[0]), max(layer.fill, ends[1])) if fills else ends
    return InputRange(low, high)


def _flattened(layer: Flatten, inputs: Sequence[InputRange], shapes: Sequence[Shape], output: Shape) -> InputRange:
    """Each channel's codes, once for each of its pixels."""
    channel = np.arange(output.c)
    c = channel // (shapes[0].h * shapes[0].w) if layer.order is FlattenOrder.CHW else channel % shapes[0].c
    return InputRange(inputs[0].low[c], inputs[0].high[c])


def _looked_up(layer: LookupTable, inputs: Sequence[InputRange], shapes: Sequence[Shape], output: Shape) -> InputRange:
    """Entries between the ends, those included at which lines end that begin there."""
    ends, first = [], layer.format.low
    for low, high in zip(inputs[0].low.tolist(), inputs[0].high.tolist(), strict=True):
        last = -((first - high) >> layer.fraction_bits)  # rounded up
        entries = layer.table[(low - first) >> layer.fraction_bits : last + 1].astype(np.int64) << layer.kept_bits
        ends.append((entries.min(), entries.max()))
    return InputRange(*np.array(ends).T)


def _normalized(layer: IntegerLRN, inputs: Sequence[InputRange], shapes: Sequence[Shape], output: Shape) -> InputRange:
    """A code times any factor of the table; a line between two entries leaves neither."""
    rule = layer.lookup.rule
    factors = [look_up(0, [int(entry)], 0, rule) for entry in (layer.table.min(), layer.table.max())]
    zero, ends = layer.format.zero(), []
    for low, high in zip(inputs[0].low.tolist(), inputs[0].high.tolist(), strict=True):
        products = [(code - zero) * factor for code in (low, high) for factor in factors]
        ends.append(stored(rounded_range((min(products), max(products)), 0, layer.epilogue), layer.output))
    return InputRange(*np.array(ends).T)


Rule = Callable[[Any, Sequence[InputRange], Sequence[Shape], Shape], InputRange]
RULES: dict[type, Rule] = {
    ReLU: _at_corners,
    Clamp: _at_corners,
    Rescale: _rescaled,
    PReLU: _prelu,
    LookupTable: _looked_up,
    IntegerLRN: _normalized,
    MaxPool: _kept,
    AveragePool: _averaged,
    Concat: _joined,
    Flatten: _flattened,
    **dict.fromkeys((Pad, Slice, ResizeNearest, ChannelShuffle), _moved),
    **dict.fromkeys((ArithmeticShiftRight, EltwiseMax, EltwiseMin, EltwiseProduct, EltwiseSum), _combined),
}
"""Kinds of layers of which more is known than their format."""
