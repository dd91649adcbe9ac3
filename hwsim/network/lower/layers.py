"""Network + ranges -> QuantizedNetwork: each layer gets the contract that dialect, widths and ranges give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hwsim.contract import Activation, Dialect, FloatOutput, Minifloats, Output, RangeRule, Scheme
from hwsim.errors import InputError
from hwsim.formats import FixedPoint, Minifloat
from hwsim.layers import Layer, Rescale, Shape
from hwsim.layers.lrn_table import TableDesign
from hwsim.network import ops
from hwsim.network.graph import Network
from hwsim.network.lower.clip import clipped
from hwsim.network.lower.mac_layers import mac_layer
from hwsim.network.lower.plain import PLAIN
from hwsim.network.lower.settle import AnyOutput, Real, naming, settle
from hwsim.network.lower.sites import MAC, Site, answering, input_name, joint_producers, never_negative, sites
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode, Source
from hwsim.network.ranges import Range, WeightRule, covering_minifloat, ristretto_minifloat

WIDEST_JOINT = 16
"""A concatenation of branches on different grids gets a format that holds all of them exactly, up to this many bits."""

DEFAULT_TABLE = TableDesign()
"""256 entries of 16 bits, interpolated: docs/quantize.md has the errors of other sizes."""


@dataclass(frozen=True)
class Widths:
    """What a network stores: bits of weights and of the outputs between layers, and the kind of numbers.

    minifloats: what MINIFLOAT takes; outputs is then the width of Ristretto's format alone.
    lrn: the table of each LRN in integers; None for float on the host.  signed: of AFFINE: int8 rather than uint8.
    """

    weights: int = 8
    outputs: int = 8
    scheme: Scheme = Scheme.DYNAMIC_FIXED_POINT
    minifloats: Minifloats = Minifloats()
    lrn: TableDesign | None = DEFAULT_TABLE
    signed: bool = True


def lower(
    network: Network, ranges: Mapping[str, Range], widths: Widths, dialect: Dialect, weight_rule: WeightRule
) -> QuantizedNetwork:
    """Return the integer network of a folded float Network.

    ranges: one for each key of sites.measured_tensors.  Errors: InputError for what cannot run in integers, ContractError
    and ProofError for formats that do not work together; each names the layer.
    """
    return Lowering(network, ranges, widths, dialect, weight_rule).result()


class Lowering:
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
            assert isinstance(site.op, MAC)
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
        self.nodes[name] = QuantizedNode(name, (producer,), Rescale(found, self.stage(wanted, Activation.NONE)))
        return name

    def _layer(self, site: Site, formats: tuple[Real, ...]) -> Layer:
        if isinstance(site.op, MAC):
            return mac_layer(self, site, formats[0])
        if type(site.op) not in PLAIN:
            raise InputError(f"a {type(site.op).__name__} cannot run in integers.")
        return PLAIN[type(site.op)](self, site, site.op, formats)

    def output(self, site: Site, fmt: Real | None = None) -> AnyOutput:
        """Return the output stage of a site: its own format unless another is given, and the activation fused into it."""
        fmt = self.output_format(site) if fmt is None else fmt
        stage = self.stage(fmt, self.dialect.activation if site.relu else Activation.NONE)
        return stage if site.clip is None else clipped(stage, site.clip)

    def stage(self, fmt: Real, activation: Activation) -> AnyOutput:
        """Return an output stage that rounds and overflows as the dialect does."""
        if isinstance(fmt, Minifloat):
            return FloatOutput(fmt, self.dialect.rounding, activation)
        return Output(fmt, self.dialect.rounding, self.dialect.overflow, activation)

    def output_format(self, site: Site) -> Real:
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

    def joint_format(self, branches: Sequence[Real]) -> Real:
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
