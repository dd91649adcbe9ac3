"""Ranges through the network: which codes can reach a layer at all, from the pixels onwards, proven for every image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.contract.mac import Activation, MacContract, Output
from hwsim.formats import Minifloat
from hwsim.layers import Clamp, Concat, ImageEncoding, Layer, MacLayer, MaxPool, ReLU, Rescale
from hwsim.layers.base import Range, rounded_range
from hwsim.layers.image import MEAN_LENGTH, PIXEL
from hwsim.network.lower.settle import output_stage
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from hwsim.proofs.certificate import Certificate, InputRange
from hwsim.proofs.prove import prove

SATURATES = (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC)


def network_certificates(network: QuantizedNetwork) -> dict[str, Certificate]:
    """certificate = of each integer multiply-accumulate layer, for the codes that some image could send to it, and no others."""
    return _forward(network)[1]


def network_ranges(network: QuantizedNetwork) -> dict[str, InputRange]:
    """low[c]..high[c] = codes that a layer could give on some image, for every layer whose codes are integers.

    Ranges go forward from pixels of 0..255, channel by channel: a layer gives what its worst-case content makes, through
    requantize, overflow and activation. Only ends are kept, so a range may hold codes that no image gives; never fewer.
    """
    return _forward(network)[0]


def _forward(network: QuantizedNetwork) -> tuple[dict[str, InputRange], dict[str, Certificate]]:
    """(codes that each node may give, certificates on the way)."""
    shapes = network.shapes()
    codes: dict[str, InputRange] = {}
    found: dict[str, Certificate] = {}
    for node in network.nodes:
        inputs = [codes[name] for name in node.inputs if name in codes]
        if isinstance(node.layer, MacLayer) and isinstance(node.layer.contract, MacContract):
            found[node.name] = prove(node.layer, shapes[node.inputs[0]], inputs[0], node.name)
        if not isinstance(node.layer.output_format, Minifloat):
            codes[node.name] = _given(node, inputs, found.get(node.name), shapes[node.name].c)
    return codes, found


def _given(node: QuantizedNode, inputs: Sequence[InputRange], proof: Certificate | None, channels: int) -> InputRange:
    """Codes that a node may give, by channel."""
    layer = node.layer
    if proof is not None:
        return _of_contents(proof)
    if isinstance(layer, ImageEncoding):
        return _of_pixels(layer, channels)
    if isinstance(layer, Concat):
        return InputRange(*(np.concatenate([getattr(each, end) for each in inputs]) for end in ("low", "high")))
    if isinstance(layer, MaxPool) and inputs:
        return inputs[0]
    if isinstance(layer, (ReLU, Clamp)) and inputs:
        low, high = layer.bounds.output
        return InputRange(inputs[0].low.clip(low, high), inputs[0].high.clip(low, high))
    if isinstance(layer, Rescale) and inputs:
        return _rescaled(layer, inputs[0])
    return _any_code(layer, channels)


def _any_code(layer: Layer, channels: int) -> InputRange:
    """What a layer may give with inputs free in their formats, alike in all channels."""
    fmt, stage = layer.output_format, output_stage(layer)
    ends = layer.bounds.output
    if not isinstance(stage, Output):
        ends = max(ends[0], fmt.low), min(ends[1], fmt.high)
        low, high = ends if ends[0] <= ends[1] else (fmt.low, fmt.high)
    else:
        low, high = _stored(ends, stage)
    return InputRange(np.full(channels, low), np.full(channels, high))


def _stored(rounded: Range, output: Output) -> Range:
    """Codes of values low..high that are scaled and rounded: the output's overflow, then a ReLU that stands behind it."""
    low, high = rounded
    if low < output.low or high > output.high:
        clips = output.overflow in SATURATES
        low, high = (max(low, output.low), min(high, output.high)) if clips else (output.format.low, output.format.high)
        low, high = min(low, output.high), max(high, output.low)
    if output.activation is Activation.RELU_AFTER_REQUANTIZE:
        low, high = max(low, 0), max(high, 0)
    return low, high


def _of_contents(proof: Certificate) -> InputRange:
    """Codes that a layer makes of what its accumulator may hold."""
    acc, epilogue, output = proof.contract.accumulator, proof.layer.numbers.epilogue, proof.contract.output
    ends = []
    for k, (low, high) in enumerate(zip(proof.accumulator.low.tolist(), proof.accumulator.high.tolist(), strict=True)):
        if low < acc.low or high > acc.high:
            low, high = (max(low, acc.low), min(high, acc.high)) if acc.overflow in SATURATES else (acc.low, acc.high)
        ends.append(_stored(rounded_range((low, high), k, epilogue), output))
    return InputRange(*np.array(ends).T)


def _of_pixels(layer: ImageEncoding, channels: int) -> InputRange:
    """Pixel 0 under a channel's largest mean, to pixel 255 under its smallest."""
    output, ends = layer.output, []
    assert isinstance(output, Output)
    for mean in layer.mean:
        low = ((PIXEL.low << MEAN_LENGTH) - int(mean.max())) * layer.scale_mantissa
        high = ((PIXEL.high << MEAN_LENGTH) - int(mean.min())) * layer.scale_mantissa
        ends.append(_stored(rounded_range((low, high), 0, layer.epilogue), output))
    return InputRange(*np.array(ends).T)


def _rescaled(layer: Rescale, given: InputRange) -> InputRange:
    """The ends, rescaled: scaling is monotone."""
    assert isinstance(layer.output, Output) and not isinstance(layer.format, Minifloat)
    zero, ends = layer.format.zero(), []
    for c, (low, high) in enumerate(zip(given.low.tolist(), given.high.tolist(), strict=True)):
        rounded = rounded_range((low - zero, high - zero), c if layer.per_channel else 0, layer.epilogue)
        ends.append(_stored(rounded, layer.output))
    return InputRange(*np.array(ends).T)
