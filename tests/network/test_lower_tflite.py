"""The numbers of lowered .tflite operators are those of the kernels' rules, to the last bit: multipliers, shifts, tables, clamps.

A multiplier whose last bit is wrong changes one code in a hundred thousand; here it is seen at once.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.formats import Affine
from hwsim.layers import (
    AveragePool,
    Clamp,
    Convolution,
    Deconvolution,
    EltwiseProduct,
    EltwiseSum,
    FullyConnected,
    LookupTable,
    PReLU,
    Rescale,
    SoftmaxFixed,
)
from hwsim.network.lower.tflite_scales import clamp
from hwsim.network.lower.tflite_tables import joined
from hwsim.network.read_tflite import network_of
from hwsim.network.tflite_file import Operator, TfliteModel, parse_tflite
from hwsim.network.tflite_schema import Fused, LeakyOptions, SoftmaxOptions
from oracles import tflite_rules as rules

models = pytest.importorskip("oracles.tflite_models", exc_type=ImportError)

Pairs = list[tuple[int, int]]


def entries(scaling: Any, count: int = 1) -> Pairs:
    """(multiplier, shift) for each channel, shifts as the published kernels count them."""
    return [(m, 31 - s) for m, s in zip(*scaling.entries(count, "test"), strict=True)]


def twice_rounded(output: Any) -> Pairs:
    """The multiplier of a stage that must round twice, the second time with ties away from zero."""
    assert (output.scaling.rule, output.rounding) == (Scaling.HIGH_MULTIPLY, Rounding.TIES_AWAY)
    return entries(output.scaling)


def convolution(layer: Any, x: Any, w: Any, out: Any) -> None:
    steps = w.scales if len(w.scales) > 1 else w.scales * len(layer.weight)
    derive = rules.conv_multiplier_uint8 if x.dtype == "uint8" else rules.conv_multiplier_per_channel
    wanted = [derive(x.scales[0], step, out.scales[0]) for step in steps]
    wide, stage = layer.contract.accumulator.bits == 64, layer.contract.output
    rule = (Scaling.MULTIPLY, Rounding.TIES_UP) if wide else (Scaling.HIGH_MULTIPLY, Rounding.TIES_AWAY)
    assert (stage.scaling.rule, stage.rounding) == rule
    if wide:
        wanted = [((m + (1 << 15)) >> 16 if m < 0x7FFF0000 else 0x7FFF, shift + 16) for m, shift in wanted]
    assert entries(stage.scaling, len(steps)) == wanted


def dense(layer: Any, x: Any, w: Any, out: Any) -> None:
    steps = w.scales if len(w.scales) > 1 else w.scales * len(layer.weight)
    assert (layer.contract.output.scaling.rule, layer.contract.output.rounding) == (Scaling.FLOAT64, Rounding.TIES_AWAY)
    found = [
        Fraction(m, 1) / Fraction(2) ** s for m, s in zip(*layer.contract.output.scaling.entries(len(steps), "test"), strict=True)
    ]
    assert found == [Fraction(x.scales[0] * step / out.scales[0]) for step in steps]


def total(layer: EltwiseSum, first: Any, second: Any, out: Any) -> None:
    left = 15 if first.dtype == "int16" else 20
    twice = 2 * max(first.scales[0], second.scales[0])
    assert all(operand.left_shift == left for operand in layer.operands)
    wanted = sorted(rules.quantize_multiplier(scale / twice) for scale in (first.scales[0], second.scales[0]))
    assert sorted(twice_rounded(operand)[0] for operand in layer.operands) == wanted
    assert twice_rounded(layer.output) == [rules.quantize_multiplier(twice / ((1 << left) * out.scales[0]))]


def check(model: TfliteModel, operator: Operator, layer: Any) -> str | None:
    """Compare one layer with the rules of its operator; return the operator's name, or None where there is nothing to compare."""
    inputs = [model.tensors[i] for i in operator.inputs if i >= 0]
    out, name = model.tensors[operator.outputs[0]], operator.name
    if isinstance(layer, Convolution):
        convolution(layer, inputs[0], inputs[1], out)
    elif isinstance(layer, Deconvolution):
        convolution(layer, inputs[2], inputs[1], out)
    elif isinstance(layer, FullyConnected):
        dense(layer, inputs[0], inputs[1], out)
    elif isinstance(layer, EltwiseSum):
        total(layer, inputs[0], inputs[1], out)
    elif isinstance(layer, EltwiseProduct):
        wanted = rules.float32_multiplier(inputs[0].scales[0], inputs[1].scales[0], out.scales[0])
        assert twice_rounded(layer.output) == [wanted]
    elif isinstance(layer, Rescale):
        derive = rules.double_multiplier if name == "QUANTIZE" else rules.float32_multiplier
        assert twice_rounded(layer.output) == [derive(inputs[0].scales[0], out.scales[0])]
    elif isinstance(layer, PReLU):
        slope = operator.options.alpha if isinstance(operator.options, LeakyOptions) else inputs[1].scales[0]
        assert twice_rounded(layer.output) == [rules.float32_multiplier(inputs[0].scales[0], out.scales[0])]
        assert entries(layer.negative) == [rules.float32_multiplier(inputs[0].scales[0], slope, out.scales[0])]
    elif isinstance(layer, AveragePool) and name == "MEAN":
        m, shift = rules.double_multiplier(inputs[0].scales[0], out.scales[0])
        count = int(np.prod(inputs[0].shape[1:3]))
        k = min(count.bit_length() - 1, 32, 31 + shift)
        assert layer.division is not None
        assert layer.division.entry(count, "test") == ((m << k) // count, 31 - (shift - k))
    elif isinstance(layer, AveragePool):
        assert layer.of_codes
    elif isinstance(layer, SoftmaxFixed) and isinstance(operator.options, SoftmaxOptions):
        real = operator.options.beta * inputs[0].scales[0] * (1 << 26)
        # steps of 16 and more: exp(-16) is 0 in the sum and in the output, whatever the multiplier
        assert real >= 1 << 30 or (layer.multiplier, layer.left_shift) == rules.quantize_multiplier(real)
    else:
        return None
    return name


def test_every_multiplier_is_the_kernels() -> None:
    seen: dict[str, int] = {}
    for kind, make in models.MODELS.items():
        for dtype in models.TYPES.get(kind, ("uint8", "int8")):
            for seed in range(30):
                model = parse_tflite(make(dtype, seed), "x.tflite")
                network, held = network_of(model, "x", models.wish(model.tensors[0]))
                for operator in model.operators:
                    if name := check(model, operator, network[held[operator.outputs[0]]].layer):
                        seen[name] = seen.get(name, 0) + 1
    wanted = {
        "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "QUANTIZE", "RELU", "RELU6",
        "RELU_N1_TO_1", "LEAKY_RELU", "PRELU", "MEAN", "AVERAGE_POOL_2D", "SOFTMAX",
    }  # fmt: skip
    assert wanted <= seen.keys() and all(seen[name] >= 5 for name in wanted), seen


def test_fused_activations_clip_where_the_kernels_do() -> None:
    rng, differ = np.random.default_rng(1), 0
    for _ in range(3000):
        scale, zero = float(np.float32(6 / (rng.integers(1, 400) + rng.choice([0, 0.5])))), int(rng.integers(-128, 128))
        for fused in Fused:
            low, high = clamp(Affine(8, scale, zero), fused)
            wanted = rules.activation_range(-128, 127, scale, zero, fused.name)
            assert (-128 if low is None else low, 127 if high is None else high) == wanted, (scale, zero, fused)
        in_double = zero + int(6 / scale + 0.5)  # positive: floor is enough
        differ += min(127, in_double) != rules.activation_range(-128, 127, scale, zero, "RELU6")[1]
    assert differ >= 100  # the quotient's float32 matters: half of these scales are ties


def test_branches_on_other_grids_are_rescaled_as_the_kernel_does() -> None:
    rng, codes, differ = np.random.default_rng(2), np.arange(256), 0
    for _ in range(600):
        out, ratio = float(np.float32(rng.uniform(0.01, 1))), float(rng.choice([0.5, 0.25, 1.5, rng.uniform(0.1, 4)]))
        scale, zeros = float(np.float32(out * ratio)), [int(z) for z in rng.integers(0, 256, 2)]
        layer = joined(Affine(8, scale, zeros[0], signed=False), Affine(8, out, zeros[1], signed=False))
        assert isinstance(layer, LookupTable)
        wanted = rules.concatenated(codes, scale, zeros[0], out, zeros[1])
        if (scale, zeros[0]) != (out, zeros[1]):
            assert np.array_equal(layer.table, wanted), (scale, out, zeros)
        exact = np.clip(rules.round_away((codes - zeros[0]) * (scale / out)) + zeros[1], 0, 255)
        differ += int((exact != wanted).sum())
    assert differ >= 100


def test_a_clamp_that_clips_nothing_is_no_layer() -> None:
    """A maximum pool keeps its fused activation only where some code is cut."""
    data = [models.pool("uint8", seed) for seed in range(80)]
    kinds = []
    for one in data:
        model = parse_tflite(one, "x.tflite")
        layers = [node.layer for node in network_of(model, "x", models.wish(model.tensors[0]))[0]][1:]
        cut = rules.activation_range(
            0, 255, model.tensors[0].scales[0], model.tensors[0].zero_points[0], model.operators[0].options.fused.name
        )
        if model.operators[0].name == "MAX_POOL_2D":
            kinds.append(isinstance(layers[-1], Clamp))
            assert kinds[-1] == (cut != (0, 255))
    assert any(kinds) and not all(kinds)
