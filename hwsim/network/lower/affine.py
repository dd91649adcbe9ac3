"""Network + ranges -> QuantizedNetwork in affine codes: scales and zero points, multipliers as the dialect derives them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, Activation, MacContract, Multiplier, Output, Scaling
from hwsim.contract.dialects import Dialect
from hwsim.contract.mac import MAX_OPERAND_BITS
from hwsim.contract.operand import FloatSteps, Operand, fused_sum, offset_product
from hwsim.contract.reciprocals import MAX_COUNT, Reciprocals, float32_reciprocal, folded_reciprocal
from hwsim.contract.requantizers import AffineRules, Requantizer
from hwsim.errors import InputError
from hwsim.formats import Affine
from hwsim.layers import (
    AveragePool,
    Clamp,
    Convolution,
    CountRule,
    Deconvolution,
    EltwiseProduct,
    EltwiseSum,
    FullyConnected,
    IntegerLRN,
    Layer,
    MaxPool,
    Region,
    Rescale,
    Window,
)
from hwsim.network import ops
from hwsim.network.graph import Network
from hwsim.network.lower.layers import DEFAULT_TABLE, Lowering, Widths
from hwsim.network.lower.plain import PLAIN
from hwsim.network.lower.settle import codes
from hwsim.network.lower.sites import MAC, Site
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode, Source
from hwsim.network.ranges import Range, WeightRule

NARROW = 8
"""Wider codes are symmetric, as 16-bit activations are in TensorFlow Lite and CMSIS-NN."""

ROOM = float(1 << 30)
"""A bias takes at most this much of a 32-bit accumulator: where weights are tiny beside it their scale is raised."""


def lower_affine(
    network: Network, ranges: Mapping[str, Range], widths: Widths, dialect: Dialect, weight_rule: WeightRule
) -> QuantizedNetwork:
    """Return the affine network of a folded float Network. ranges: as lower() takes them.

    Errors: InputError for a dialect without affine codes and for an operation that they cannot do; ContractError.
    """
    if dialect.affine is None:
        raise InputError(f"dialect {dialect.name} has no affine codes; choose one that has, TFLITE for example.")
    return AffineLowering(network, ranges, widths, dialect, weight_rule, dialect.affine).result()


class AffineLowering(Lowering):
    """The walk of Lowering; formats are affine, and stages have multipliers where scales differ."""

    def __init__(
        self,
        network: Network,
        ranges: Mapping[str, Range],
        widths: Widths,
        dialect: Dialect,
        weight_rule: WeightRule,
        rules: AffineRules,
    ) -> None:
        super().__init__(network, ranges, widths, dialect, weight_rule)
        self.rules, self.signed = rules, widths.signed

    def output_format(self, site: Site) -> Any:
        """The format of what a site computes: from the range of its edge, the same for all its producers."""
        bits, seen = self.widths.outputs, self.ranges[site.name]
        return seen.symmetric(bits) if bits > NARROW else seen.affine(bits, self.signed)

    def stage(self, fmt: Any, activation: Activation = Activation.NONE) -> Any:
        """Return an output stage without a multiplier."""
        return Output(fmt, self.dialect.rounding, self.dialect.overflow)

    def output(self, site: Site, fmt: Any = None) -> Any:
        """Return the output stage of a site, clamped as its activation says, without a multiplier."""
        fmt = self.output_format(site) if fmt is None else fmt
        low, high = clamp_ends(fmt, site)
        return replace(self.stage(fmt), clamp_low=low, clamp_high=high)

    def scaled(self, site: Site, fmt: Affine, by: Requantizer, scaling: Multiplier | None) -> Output:
        """Return the output stage of a site with its multiplier, rounded as the requantizer says."""
        output: Output = replace(self.output(site, fmt), rounding=by.rounding, scaling=scaling)
        return output

    def joint_format(self, branches: Sequence[Any]) -> Any:
        """The first branch's; the others are brought to it."""
        return branches[0]

    def _add(self, site: Site) -> None:
        if isinstance(site.op, (ops.Concat, ops.EltwiseMax)):
            site = replace(site, inputs=self._aligned(site))
        super()._add(site)

    def _aligned(self, site: Site) -> tuple[str, ...]:
        """The inputs with a visible rescale before each whose format is not the first one's."""
        wanted, names = self.nodes[site.inputs[0]].layer.output_format, []
        for i, name in enumerate(site.inputs):
            found: Any = self.nodes[name].layer.output_format
            if found != wanted:
                by, rescale = self.rules.elementwise, f"{site.name}:in{i}"
                scaling = by.ratio(found.step(), wanted.step())  # type: ignore[union-attr]
                output = Output(wanted, by.rounding, self.dialect.overflow, scaling=scaling)  # type: ignore[arg-type]
                self.nodes[rescale] = QuantizedNode(rescale, (name,), Rescale(found, output))
                name = rescale
            names.append(name)
        return tuple(names)

    def _layer(self, site: Site, formats: tuple[Any, ...]) -> Layer:
        if isinstance(site.op, MAC):
            return self._mac(site, formats[0])
        build = AFFINE.get(type(site.op)) or PLAIN.get(type(site.op))
        if build is None:
            raise InputError(f"a {type(site.op).__name__} cannot run in affine codes.")
        return build(self, site, site.op, formats)

    # ---- multiply-accumulate

    def requantizer(self, op: ops.Op, bits: int) -> Requantizer:
        """Return the school's requantizer of a layer with weights that reads codes of so many bits."""
        if bits > NARROW:
            dense = self.rules.wide_dense if isinstance(op, ops.InnerProduct) else None
            return dense or self.rules.wide
        if isinstance(op, ops.InnerProduct):
            return self.rules.fully_connected
        return self.rules.convolution if self.signed else self.rules.unsigned or self.rules.convolution

    def _mac(self, site: Site, fmt: Affine) -> Layer:
        op: Any = site.op
        source, by = Source(op.weight, op.bias), self.requantizer(op, fmt.bits)
        if max(fmt.bits, self.widths.weights) > MAX_OPERAND_BITS:
            raise InputError(f"found {fmt.bits} and {self.widths.weights} bits, allowed {MAX_OPERAND_BITS}; choose fewer.")
        weight = self.weight_format(source, fmt)
        out = self.output_format(site)
        steps = weight.scale if isinstance(weight.scale, tuple) else (weight.scale,)
        output = self.scaled(site, out, by, by.multiplier(fmt.step(), steps, out.step()))
        contract = MacContract(fmt, weight, output, self.accumulator(fmt.bits), None, self.dialect.rounding)
        stored, bias = codes(contract, source)
        if isinstance(op, ops.InnerProduct):
            return FullyConnected(contract, stored, bias)
        if isinstance(op, ops.Deconvolution):
            (bottom, right), more = op.pad_end or op.pad, op.output_padding
            end = (bottom - more[0], right - more[1])
            return Deconvolution(contract, stored, bias, op.stride, op.pad, op.dilation, op.groups, end)
        return Convolution(contract, stored, bias, op.stride, op.pad, op.dilation, op.groups, op.pad_end)

    def accumulator(self, bits: int) -> Accumulator:
        """Return the dialect's accumulator, wider where codes of so many bits need it."""
        found = self.dialect.accumulator
        return found if bits <= NARROW else replace(found, bits=max(found.bits, self.rules.wide_bits))

    def weight_format(self, source: Source, fmt: Affine) -> Affine:
        """Return the weights' format: as the rule has it, no scale so small that the bias leaves the accumulator."""
        least = None
        if source.bias is not None:
            least = np.abs(source.bias.astype(np.float64)) / (fmt.step() * ROOM)
        return self.weight_rule.affine(source.weight, self.widths.weights, self.signed, least)


def clamp_ends(fmt: Affine, site: Site) -> tuple[int | None, int | None]:
    """Return the codes at which the activation fused into a site clips: zero_point + round(limit / scale), ties away.

    At the end of the format too: what an activation cuts off is no overflow. None where there is no limit, or beyond the format.
    """
    lows = [] if not site.relu else [fmt.zero()]
    highs = []
    if site.clip is not None:
        lows += [] if site.clip.low is None else [fmt.round_real(site.clip.low)]
        highs += [] if site.clip.high is None else [fmt.round_real(site.clip.high)]
    low, high = max(lows, default=fmt.low - 1), min(highs, default=fmt.high + 1)
    high = max(high, low)
    return (min(low, fmt.high) if low >= fmt.low else None), (max(high, fmt.low) if high <= fmt.high else None)


def _pooling(lowering: AffineLowering, site: Site, op: ops.Pooling, formats: tuple[Affine, ...]) -> Layer:
    """Averages over the whole image have a format of their own, reached by a multiplier of 1 / n; others keep their input's."""
    fmt, window = formats[0], Window(op.kernel, op.stride, op.pad, op.ceil_mode, op.pad_end)
    if op.global_pooling:
        window = Window(None)
    if op.method is ops.PoolMethod.MAX:
        return MaxPool(fmt, window)
    shape = lowering.network.shapes()[site.inputs[0]]
    count = shape[1] * shape[2]
    if not op.global_pooling or count > MAX_COUNT:
        output = replace(lowering.output(site, fmt), rounding=Rounding.TIES_AWAY)
        return AveragePool(fmt, window, op.count, output, of_codes=True)
    out, by = lowering.output_format(site), lowering.rules.elementwise
    division = _reciprocal(by, count, fmt.step(), out.step())
    return AveragePool(fmt, window, CountRule.EXCLUDE_PADDING, lowering.scaled(site, out, by, None), division=division)


def _reciprocal(by: Requantizer, count: int, source: float, output: float) -> Reciprocals:
    """1 / n times the ratio of the scales, in the rule's multiplier."""
    if by.rule is Scaling.HIGH_MULTIPLY:
        return folded_reciprocal(count, by.scales.real(source, 1.0, output))
    if by.rule is Scaling.FLOAT32:
        return float32_reciprocal(count, float(np.float32(source) / (np.float32(output) * np.float32(count))))
    m, shift = by.pair(by.scales.real(source, 1.0 / count, output))
    return Reciprocals(by.rule, (count,), (m,), (shift,))


def _sum(lowering: AffineLowering, site: Site, op: ops.EltwiseSum, formats: tuple[Affine, ...]) -> Layer:
    """TensorFlow Lite's ADD by the dialect's rule: operands are shifted left and scaled to twice the coarsest, then the sum."""
    out, by, rules = lowering.output_format(site), lowering.rules.elementwise, lowering.rules
    left = rules.sum_shift if out.bits <= NARROW else rules.wide_sum_shift
    if left is None:
        output = lowering.scaled(site, out, by, None)
        return EltwiseSum(formats, output, fused_sum(formats, out) if _fuses(site, output, formats) else _steps(formats, out))
    whole = 2.0 ** math.ceil(math.log2(len(formats))) * max(f.step() for f in formats)
    operands = tuple(Operand(left, by.ratio(f.step(), whole), by.rounding) for f in formats)
    scaling = by.ratio(whole, 2.0**left * out.step())
    return EltwiseSum(formats, lowering.scaled(site, out, by, scaling), operands)


def _steps(formats: Sequence[Affine], out: Affine) -> FloatSteps:
    """Real numbers in float32, combined in float32, and divided by the output's scale."""
    return FloatSteps(tuple(float(np.float32(f.step())) for f in formats), float(np.float32(out.step())))


def _fuses(site: Site, output: Output, formats: Sequence[Affine]) -> bool:
    """Whether onnxruntime makes one operator of it: two different tensors of 8 bits, and nothing between them and their codes."""
    two = len(set(site.inputs)) == len(formats) == 2 and all(f.bits == NARROW for f in (*formats, output.format))
    return two and output.clamp_low is None and output.clamp_high is None


def _product(lowering: AffineLowering, site: Site, op: ops.EltwiseProduct, formats: tuple[Affine, ...]) -> Layer:
    by = lowering.rules.product or lowering.rules.elementwise
    if len(formats) != 2:
        raise InputError(f"found a product of {len(formats)} tensors, allowed two in affine codes; multiply them one by one.")
    out, shapes = lowering.output_format(site), lowering.network.shapes()
    stretch = len({shapes[name] for name in site.inputs}) > 1
    if lowering.rules.sum_shift is None:
        output = lowering.scaled(site, out, by, None)
        steps = offset_product(formats, out) if _fuses(site, output, formats) else _steps(formats, out)
        return EltwiseProduct(formats, output, steps, stretch)
    scaling = by.multiplier(formats[0].step(), (formats[1].step(),), out.step())
    return EltwiseProduct(formats, lowering.scaled(site, out, by, scaling), stretch=stretch)


def _clip(lowering: AffineLowering, site: Site, op: ops.Clip, formats: tuple[Affine, ...]) -> Layer:
    fmt = formats[0]
    low, high = clamp_ends(fmt, replace(site, clip=op))
    return Clamp(fmt, fmt.low if low is None else low, fmt.high if high is None else high)


def _lrn(lowering: AffineLowering, site: Site, op: ops.LRN, formats: tuple[Affine, ...]) -> Layer:
    region = Region.WITHIN_CHANNEL if op.region is ops.Region.WITHIN else Region.ACROSS_CHANNELS
    design = lowering.widths.lrn or DEFAULT_TABLE
    output = replace(lowering.output(site), rounding=Rounding.TIES_EVEN)
    return IntegerLRN.from_real(formats[0], region, op.local_size, op.alpha, op.beta, op.k, output, design)


Build = Callable[[Any, Site, Any, tuple[Any, ...]], Layer]

AFFINE: dict[type[ops.Op], Build] = {
    ops.Pooling: _pooling,
    ops.EltwiseSum: _sum,
    ops.EltwiseProduct: _product,
    ops.Clip: _clip,
    ops.LRN: _lrn,
}
"""Operations that affine codes do in a way of their own; the others are those of plain.py."""
