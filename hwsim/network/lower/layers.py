"""Network + ranges -> QuantizedNetwork: each layer gets the contract that dialect, widths and ranges give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwsim.contract import Accumulator, Activation, BiasRule, Dialect, MacContract, Output, RangeRule
from hwsim.errors import InputError
from hwsim.formats.fixed import FixedPoint
from hwsim.layers import (
    AveragePool,
    Concat,
    Convolution,
    EltwiseSum,
    FullyConnected,
    HostLRN,
    ImageEncoding,
    Layer,
    MaxPool,
    Region,
    ReLU,
    Rescale,
    Shape,
    Softmax,
    Window,
)
from hwsim.network import ops
from hwsim.network.graph import Network
from hwsim.network.lower.settle import codes, naming, settle, with_grid
from hwsim.network.lower.sites import Site, answering, input_name, joint_producers, never_negative, sites
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode, Source
from hwsim.network.ranges import Range, WeightRule, ceil_log2

WIDEST_JOINT = 16
"""A concatenation of branches on different grids gets a format that holds all of them exactly, up to this many bits."""

MAX_LIFT = 24
"""AveragePool: most bits between the grids of its input and its output."""


@dataclass(frozen=True)
class Widths:
    """Bits of what a network stores: weights, and the outputs between layers."""

    weights: int = 8
    outputs: int = 8


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
        formats = tuple(self.nodes[name].layer.output_format for name in inputs)
        self.nodes[site.name] = QuantizedNode(site.name, inputs, self._layer(site, formats), source)

    def _own_input(self, site: Site) -> str:
        """Name of what a MAC layer reads: its producer, or the rescale to the layer's own input format."""
        producer = site.inputs[0]
        if not self.dialect.requantize_inputs:
            return producer
        found = self.nodes[producer].layer.output_format
        wanted = self.ranges[input_name(site.name)].format(self.widths.outputs, True)
        if found == wanted:
            return producer
        name = input_name(site.name)
        rescale = Rescale(found, Output(wanted, self.dialect.rounding, self.dialect.overflow))
        self.nodes[name] = QuantizedNode(name, (producer,), rescale)
        return name

    def _layer(self, site: Site, formats: tuple[FixedPoint, ...]) -> Layer:
        op = site.op
        if isinstance(op, ops.Input):
            return self._image(site, op)
        if isinstance(op, (ops.Convolution, ops.InnerProduct)):
            return self._mac(site, op, formats[0])
        if isinstance(op, ops.Pooling):
            window = Window(None) if op.global_pooling else Window(op.kernel, op.stride, op.pad, op.ceil_mode)
            if op.method is ops.PoolMethod.MAX:
                return MaxPool(formats[0], window)
            fmt = self._output_format(site)
            fl = min(max(fmt.fl(), formats[0].fl() - MAX_LIFT), formats[0].fl() + MAX_LIFT)
            return AveragePool(formats[0], window, op.count, self._output(site, replace(fmt, fractional_length=fl)))
        if isinstance(op, ops.ReLU):
            return ReLU(formats[0])
        if isinstance(op, ops.Concat):
            return Concat(self._joint_format(formats), len(formats))
        if isinstance(op, ops.EltwiseSum):
            return EltwiseSum(formats, self._output(site, self._output_format(site)))
        if isinstance(op, ops.LRN):
            region = Region.WITHIN_CHANNEL if op.region is ops.Region.WITHIN else Region.ACROSS_CHANNELS
            output = self._output(site, self._output_format(site))
            return HostLRN(formats[0], region, op.local_size, op.alpha, op.beta, op.k, output)
        if isinstance(op, ops.Softmax):
            return Softmax(formats[0])
        raise InputError(f"a {type(op).__name__} cannot run in integers.")

    def _image(self, site: Site, op: ops.Input) -> ImageEncoding:
        preprocessing = op.preprocessing
        assert preprocessing is not None
        return encoding(preprocessing.mean, preprocessing.scale, self._output(site, self._output_format(site)))

    def _output(self, site: Site, fmt: FixedPoint) -> Output:
        activation = self.dialect.activation if site.relu else Activation.NONE
        return Output(fmt, self.dialect.rounding, self.dialect.overflow, activation)

    def _output_format(self, site: Site) -> FixedPoint:
        """The format of what a site computes: the logits wide and signed, the rest as the dialect has it."""
        bits, answer = self.widths.outputs, site.name in self.answering
        follows_ristretto = self.dialect.ranges == RangeRule.RISTRETTO
        if follows_ristretto and not (site.is_mac or isinstance(site.op, ops.Input)):
            bits = self.dialect.logit_bits  # computed in float there: as good as unrounded
        elif answer and not follows_ristretto:
            bits = max(bits, self.dialect.logit_bits)
        together = self.producers[site.name] if not self.dialect.requantize_inputs else (site.name,)
        unsigned = self.dialect.unsigned_after_relu and not answer and all(self.positive[name] for name in together)
        return self.ranges[site.name].format(bits, not unsigned)

    def _joint_format(self, formats: Sequence[FixedPoint]) -> FixedPoint:
        """The format that holds every branch exactly; beyond WIDEST_JOINT bits the finest fractions go."""
        if len(set(formats)) == 1:
            return formats[0]
        signed = any(f.signed for f in formats)
        whole = max(f.bits - f.fl() + (signed and not f.signed) for f in formats)
        finest = max(f.fl() for f in formats)
        return FixedPoint(min(whole + finest, WIDEST_JOINT), min(finest, WIDEST_JOINT - whole), signed)

    def _mac(self, site: Site, op: ops.Convolution | ops.InnerProduct, fmt: FixedPoint) -> Layer:
        source = Source(op.weight, op.bias)
        weight = self._weight_format(source, fmt)
        bias = weight if self.dialect.bias == BiasRule.WEIGHT_FORMAT and op.bias is not None else None
        output = self._output(site, self._output_format(site))
        contract = MacContract(fmt, weight, output, self.dialect.accumulator, bias, self.dialect.rounding)
        contract = with_grid(contract, len(op.weight))
        stored, bias_codes = codes(contract, source)
        if isinstance(op, ops.InnerProduct):
            return FullyConnected(contract, stored, bias_codes)
        return Convolution(contract, stored, bias_codes, op.stride, op.pad, op.dilation, op.groups)

    def _weight_format(self, source: Source, fmt: FixedPoint) -> FixedPoint:
        most = None
        if self.dialect.bias == BiasRule.ACCUMULATOR:
            most = bias_room(source.bias, fmt, self.dialect.accumulator, len(source.weight))
        return self.weight_rule.format(source.weight, self.widths.weights, most)


def bias_room(bias: np.ndarray | None, fmt: FixedPoint, accumulator: Accumulator, channels: int) -> np.ndarray:
    """Return the largest fractional length of each channel's weights at which the bias takes at most half the accumulator.

    On the products' grid a bias has the code bias * 2**(fl_in + fl_weight): weights of almost nothing beside a large bias
    would need a grid so fine that the accumulator cannot hold the bias.
    """
    if bias is None:
        return np.full(channels, 256)
    room = accumulator.bits - 2 - fmt.fl()
    return np.array([min(room - ceil_log2(abs(b)), 256) if b else 256 for b in bias.tolist()])


def encoding(mean: float | Sequence[float] | np.ndarray, scale: float, output: Output) -> ImageEncoding:
    """Return the layer that encodes the image; InputError for a scale that is not positive."""
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"scale {scale} cannot be encoded in integers; a positive one is needed.")
    return ImageEncoding.from_real(mean, scale, output)
