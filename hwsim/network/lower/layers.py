"""Network + ranges -> QuantizedNetwork: each layer gets the contract that dialect, widths and ranges give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.contract import (
    Accumulator,
    Activation,
    BiasRule,
    Dialect,
    FloatMacContract,
    FloatOutput,
    MacContract,
    Minifloats,
    Output,
    RangeRule,
    Schedule,
    Scheme,
)
from hwsim.errors import InputError
from hwsim.formats import FixedPoint, Minifloat, PowerOfTwo
from hwsim.layers import (
    AveragePool,
    Concat,
    Convolution,
    EltwiseSum,
    FullyConnected,
    HostLRN,
    ImageEncoding,
    IntegerLRN,
    Layer,
    MaxPool,
    Region,
    ReLU,
    Rescale,
    Shape,
    Softmax,
    Window,
)
from hwsim.layers.lrn_table import TableDesign
from hwsim.network import ops
from hwsim.network.graph import Network
from hwsim.network.lower.settle import AnyOutput, Real, codes, naming, settle, with_grid
from hwsim.network.lower.sites import Site, answering, input_name, joint_producers, never_negative, sites
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode, Source
from hwsim.network.ranges import Range, WeightRule, ceil_log2, covering_minifloat, ristretto_minifloat

WIDEST_JOINT = 16
"""A concatenation of branches on different grids gets a format that holds all of them exactly, up to this many bits."""

DEFAULT_TABLE = TableDesign()
"""256 entries of 16 bits, interpolated: docs/quantize.md has the errors of other sizes."""

MAX_LIFT = 24
"""AveragePool: most bits between the grids of its input and its output."""


@dataclass(frozen=True)
class Widths:
    """What a network stores: bits of weights and of the outputs between layers, and the kind of numbers.

    minifloats: what MINIFLOAT takes; outputs is then the width of Ristretto's format alone.
    lrn: the table of each LRN in integers; None for float on the host.
    """

    weights: int = 8
    outputs: int = 8
    scheme: Scheme = Scheme.DYNAMIC_FIXED_POINT
    minifloats: Minifloats = Minifloats()
    lrn: TableDesign | None = DEFAULT_TABLE


def lower(
    network: Network, ranges: Mapping[str, Range], widths: Widths, dialect: Dialect, weight_rule: WeightRule
) -> QuantizedNetwork:
    """Return the integer network of a folded float Network.

    ranges: one for each key of sites.measured_tensors.  Errors: InputError for what cannot run in integers, ContractError
    and ProofError for formats that do not work together; each names the layer.
    """
    return _Lowering(network, ranges, widths, dialect, weight_rule).result()


class _Lowering:
    """One walk over the sites; formats are known in order, so that each layer can look at its inputs'."""

    def __init__(
        self, network: Network, ranges: Mapping[str, Range], widths: Widths, dialect: Dialect, weight_rule: WeightRule
    ) -> None:
        self.network, self.ranges, self.widths, self.dialect, self.weight_rule = network, ranges, widths, dialect, weight_rule
        self.chain = sites(network)
        self.producers = joint_producers(self.chain)
        self.positive = never_negative(self.chain)
        self.nodes: dict[str, QuantizedNode] = {}
        self.answering = answering(self.chain)
        self.in_floats = widths.scheme is Scheme.MINIFLOAT
        self.minifloat = self._minifloat() if self.in_floats else None

    def _minifloat(self) -> Minifloat | None:
        """The one format of weights and activations: named, or by Ristretto's rule; None where each tensor gets its own."""
        named = self.widths.minifloats.format
        if named is None and self.dialect.ranges == RangeRule.RISTRETTO:
            macs = [site.name for site in self.chain if site.is_mac]
            seen = [key for name in macs for key in (name, input_name(name)) if key in self.ranges]
            return ristretto_minifloat(max(self.ranges[key].largest for key in seen), self.widths.outputs)
        return None if named is None else replace(named, saturate=True)

    def result(self) -> QuantizedNetwork:
        preprocessing = self.network.preprocessing
        if preprocessing is None:
            raise InputError(
                f"network {self.network.name!r} does not say how pixels enter it; give read() a channel_order, mean and scale."
            )
        for site in self.chain:
            where = f"network {self.network.name!r}, layer {site.name!r}"
            with naming(where):
                self._add(site)
        return QuantizedNetwork(
            self.network.name,
            settle(self.nodes.values(), self.network.name),
            Shape(*self.network.shapes()[self.network.input.name]),
            preprocessing,
            self.dialect.name,
            dict(self.ranges),
            self.weight_rule,
        )

    def _add(self, site: Site) -> None:
        inputs, source = site.inputs, None
        if site.is_mac:
            inputs = (self._own_input(site),)
            assert isinstance(site.op, (ops.Convolution, ops.InnerProduct))
            source = Source(site.op.weight, site.op.bias)
        formats: tuple[Any, ...] = tuple(self.nodes[name].layer.output_format for name in inputs)  # none is affine here
        self.nodes[site.name] = QuantizedNode(site.name, inputs, self._layer(site, formats), source)

    def _own_input(self, site: Site) -> str:
        """Name of what a MAC layer reads: its producer, or the rescale to the layer's own input format."""
        producer = site.inputs[0]
        if not self.dialect.requantize_inputs:
            return producer
        found = self.nodes[producer].layer.output_format
        seen = self.ranges[input_name(site.name)]
        if self.in_floats:
            wanted: Real = self.minifloat or covering_minifloat(seen.largest)
        else:
            wanted = seen.format(self.widths.outputs, True)
        if found == wanted:
            return producer
        name = input_name(site.name)
        self.nodes[name] = QuantizedNode(name, (producer,), Rescale(found, self._stage(wanted, Activation.NONE)))
        return name

    def _layer(self, site: Site, formats: tuple[Real, ...]) -> Layer:
        op = site.op
        if isinstance(op, ops.Input):
            return self._image(site, op)
        if isinstance(op, (ops.Convolution, ops.InnerProduct)):
            return self._mac(site, op, formats[0])
        if isinstance(op, ops.Pooling):
            window = Window(None) if op.global_pooling else Window(op.kernel, op.stride, op.pad, op.ceil_mode)
            if op.method is ops.PoolMethod.MAX:
                return MaxPool(formats[0], window)
            fmt, read = self._output_format(site), formats[0]
            if isinstance(fmt, FixedPoint) and isinstance(read, FixedPoint):
                fmt = replace(fmt, fractional_length=min(max(fmt.fl(), read.fl() - MAX_LIFT), read.fl() + MAX_LIFT))
            return AveragePool(read, window, op.count, self._output(site, fmt))
        if isinstance(op, ops.ReLU):
            return ReLU(formats[0])
        if isinstance(op, ops.Concat):
            return Concat(self._joint_format(formats), len(formats))
        if isinstance(op, ops.EltwiseSum):
            return EltwiseSum(formats, self._output(site, self._output_format(site)))
        if isinstance(op, ops.LRN):
            return self._lrn(site, op, formats[0])
        if isinstance(op, ops.Softmax):
            return Softmax(formats[0])
        raise InputError(f"a {type(op).__name__} cannot run in integers.")

    def _lrn(self, site: Site, op: ops.LRN, fmt: Real) -> Layer:
        """In integers, or in float on the host: where that is asked for, among minifloats, and where Ristretto leaves floats."""
        region = Region.WITHIN_CHANNEL if op.region is ops.Region.WITHIN else Region.ACROSS_CHANNELS
        output, design = self._output(site, self._output_format(site)), self.widths.lrn
        constants = (region, op.local_size, op.alpha, op.beta, op.k)
        in_float = self.dialect.ranges == RangeRule.RISTRETTO or not isinstance(fmt, FixedPoint)
        if design is None or in_float or not isinstance(output, Output):
            return HostLRN(fmt, *constants, output)
        return IntegerLRN.from_real(fmt, *constants, output, design)

    def _image(self, site: Site, op: ops.Input) -> ImageEncoding:
        preprocessing = op.preprocessing
        assert preprocessing is not None
        return encoding(preprocessing.mean, preprocessing.scale, self._output(site, self._output_format(site)))

    def _output(self, site: Site, fmt: Real) -> AnyOutput:
        return self._stage(fmt, self.dialect.activation if site.relu else Activation.NONE)

    def _stage(self, fmt: Real, activation: Activation) -> AnyOutput:
        if isinstance(fmt, Minifloat):
            return FloatOutput(fmt, self.dialect.rounding, activation)
        return Output(fmt, self.dialect.rounding, self.dialect.overflow, activation)

    def _output_format(self, site: Site) -> Real:
        """The format of what a site computes: the logits wide and signed, the rest as the dialect has it."""
        bits, answer = self.widths.outputs, site.name in self.answering
        follows_ristretto = self.dialect.ranges == RangeRule.RISTRETTO
        in_float = follows_ristretto and not (site.is_mac or isinstance(site.op, ops.Input))
        if self.in_floats and (in_float or answer):
            return self.widths.minifloats.logits
        if self.in_floats:
            return self.minifloat or covering_minifloat(self.ranges[site.name].largest)
        if in_float:
            bits = self.dialect.logit_bits  # computed in float there: as good as unrounded
        elif answer and not follows_ristretto:
            bits = max(bits, self.dialect.logit_bits)
        together = self.producers[site.name] if not self.dialect.requantize_inputs else (site.name,)
        unsigned = self.dialect.unsigned_after_relu and not answer and all(self.positive[name] for name in together)
        return self.ranges[site.name].format(bits, not unsigned)

    def _joint_format(self, branches: Sequence[Real]) -> Real:
        """The format that holds every branch exactly; beyond WIDEST_JOINT bits the finest fractions go.

        Among minifloats it is the widest.
        """
        formats = [f for f in branches if isinstance(f, FixedPoint)]
        if len(set(branches)) == 1 or len(formats) < len(branches):
            return max(branches, key=lambda f: (isinstance(f, Minifloat), f.bits))
        signed = any(f.signed for f in formats)
        whole = max(f.bits - f.fl() + (signed and not f.signed) for f in formats)
        finest = max(f.fl() for f in formats)
        return FixedPoint(min(whole + finest, WIDEST_JOINT), min(finest, WIDEST_JOINT - whole), signed)

    def _mac(self, site: Site, op: ops.Convolution | ops.InnerProduct, fmt: Real) -> Layer:
        source = Source(op.weight, op.bias)
        output = self._output(site, self._output_format(site))
        contract: MacContract | FloatMacContract
        if self.in_floats:
            register = self.widths.minifloats.accumulator
            weight = self.minifloat or covering_minifloat(float(np.abs(op.weight).max()))
            contract = FloatMacContract(fmt, weight, output, register, None, self.dialect.rounding)
        else:
            assert isinstance(fmt, FixedPoint) and isinstance(output, Output)
            contract = self._integer_contract(site, source, fmt, output)
        stored, bias_codes = codes(contract, source)
        if isinstance(op, ops.InnerProduct):
            return FullyConnected(contract, stored, bias_codes)
        return Convolution(contract, stored, bias_codes, op.stride, op.pad, op.dilation, op.groups)

    def _integer_contract(self, site: Site, source: Source, fmt: FixedPoint, output: Output) -> MacContract:
        weight = self._weight_format(source, fmt)
        stores_bias = self.dialect.bias == BiasRule.WEIGHT_FORMAT and source.bias is not None
        bias = weight if stores_bias and isinstance(weight, FixedPoint) else None
        contract = MacContract(fmt, weight, output, self.dialect.accumulator, bias, self.dialect.rounding)
        contract = with_grid(contract, len(source.weight))
        return self._fitted(site, source, contract) if self.dialect.fit_accumulator else contract

    def _fitted(self, site: Site, source: Source, contract: MacContract) -> MacContract:
        """The contract with the accumulator's grid that holds twice what was seen of the output, and the bias."""
        channels, bits = len(source.weight), contract.accumulator.bits
        largest = max(self.ranges[site.name].largest, 0.0 if source.bias is None else float(np.abs(source.bias).max()))
        length = bits - 2 - (ceil_log2(largest) if largest else 0)
        if length >= max(contract.product_length(k) for k in range(channels)):
            return contract
        schedule = contract.accumulator.schedule or Schedule()
        accumulator = replace(contract.accumulator, fractional_length=length, dropped_bits=0, schedule=schedule)
        return replace(contract, accumulator=accumulator)

    def _weight_format(self, source: Source, fmt: FixedPoint) -> FixedPoint | PowerOfTwo:
        most, powers = None, self.widths.scheme is Scheme.POWER_OF_TWO
        if self.dialect.bias == BiasRule.ACCUMULATOR and not self.dialect.fit_accumulator:
            most = bias_room(source.bias, fmt, self.dialect.accumulator, len(source.weight))
        return (self.weight_rule.powers if powers else self.weight_rule.format)(source.weight, self.widths.weights, most)


def bias_room(bias: np.ndarray | None, fmt: FixedPoint, accumulator: Accumulator, channels: int) -> np.ndarray:
    """Return the largest fractional length of each channel's weights at which the bias takes at most half the accumulator.

    On the products' grid a bias has the code bias * 2**(fl_in + fl_weight): weights of almost nothing beside a large bias
    would need a grid so fine that the accumulator cannot hold the bias.
    """
    if bias is None:
        return np.full(channels, 256)
    room = accumulator.bits - 2 - fmt.fl() + accumulator.dropped_bits
    return np.array([min(room - ceil_log2(abs(b)), 256) if b else 256 for b in bias.tolist()])


def encoding(mean: float | Sequence[float] | np.ndarray, scale: float, output: AnyOutput) -> ImageEncoding:
    """Return the layer that encodes the image; InputError for a scale that is not positive."""
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"scale {scale} cannot be encoded in integers; a positive one is needed.")
    return ImageEncoding.from_real(mean, scale, output)
