"""The quantized network: named nodes that hold Layers, with the float weights and ranges they were made from."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, ExactSum, FloatAccumulator
from hwsim.contract.stochastic import StochasticRounding
from hwsim.errors import ContractError, InputError
from hwsim.formats import FixedPoint, Format, Minifloat, PowerOfTwo
from hwsim.layers import ImageEncoding, Layer, MacLayer, Shape, Softmax
from hwsim.layers.integer_unit import IntegerUnit
from hwsim.network.ops import MAX_ELEMENTS
from hwsim.network.preprocessing import Preprocessing
from hwsim.network.ranges import Range, WeightRule


@dataclass(frozen=True, eq=False)
class Source:
    """Weights as the source had them: float32, from which the codes are derived again whenever a format changes."""

    weight: np.ndarray
    bias: np.ndarray | None


@dataclass(frozen=True, eq=False)
class QuantizedNode:
    """A layer with its name, the names of the nodes it reads, and its float weights if it has weights."""

    name: str
    inputs: tuple[str, ...]
    layer: Layer
    source: Source | None = None

    def to_json(self) -> dict[str, Any]:
        """Return everything that can change a bit of this layer, but for its weights, and the bounds that are proven."""
        from hwsim.network.write_hwnet import format_stanza, node_stanza

        data = node_stanza(self) | {"input_formats": [format_stanza(fmt) for fmt in self.layer.input_formats]}
        if isinstance(self.layer, MacLayer):
            data |= _proven(self.layer)
        return data


@dataclass(frozen=True, eq=False)
class QuantizedNetwork:
    """Nodes in order: the first is the ImageEncoding, each reads earlier nodes only, and formats agree on every edge.

    input_shape: (C, H, W) of the image.  dialect: name of the template the contracts came from (told, never compared).
    ranges: what calibration saw, by node; stored, never computed again.  weight_rule: how the weights' formats followed.
    edited: layers whose contract in the file was changed by hand since the network was saved.
    """

    name: str
    nodes: tuple[QuantizedNode, ...]
    input_shape: Shape
    preprocessing: Preprocessing
    dialect: str
    ranges: Mapping[str, Range] = field(default_factory=dict)
    weight_rule: WeightRule = WeightRule()
    edited: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.nodes or not isinstance(self.nodes[0].layer, ImageEncoding) or self.nodes[0].inputs:
            raise InputError(f"network {self.name!r}: the first node must encode the image and read nothing.")
        formats: dict[str, Format] = {}
        for i, node in enumerate(self.nodes):
            if node.name in formats or not node.name:
                raise InputError(f"network {self.name!r}, layer {node.name!r}: this name is empty or taken; names must differ.")
            if i:
                self._check_edges(node, formats)
            formats[node.name] = node.layer.output_format
        self.shapes()

    def _check_edges(self, node: QuantizedNode, formats: Mapping[str, Format]) -> None:
        where = f"network {self.name!r}, layer {node.name!r}"
        wanted = node.layer.input_formats
        if len(node.inputs) != len(wanted):
            raise InputError(f"{where}: reads {len(node.inputs)} nodes, allowed {len(wanted)}.")
        for name, fmt in zip(node.inputs, wanted, strict=True):
            if name not in formats:
                raise InputError(f"{where}: its input {name!r} is no earlier layer; order or rename them.")
            if formats[name] != fmt:
                raise ContractError(
                    f"{where}: its input {name!r} has format {formats[name]}, but the layer reads {fmt}; give both one "
                    f"format, or put a rescale between them."
                )

    def __iter__(self) -> Iterator[QuantizedNode]:
        return iter(self.nodes)

    def __getitem__(self, name: str) -> QuantizedNode:
        for node in self.nodes:
            if node.name == name:
                return node
        raise InputError(f"network {self.name!r} has no layer {name!r}; it has {', '.join(n.name for n in self.nodes)}.")

    @cached_property
    def _shapes(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {}
        for node in self.nodes:
            inputs = [shapes[name] for name in node.inputs] if node.inputs else [self.input_shape]
            try:
                shapes[node.name] = node.layer.output_shape(inputs)
            except ContractError as error:
                raise ContractError(f"network {self.name!r}, layer {node.name!r}: {error}") from None
            if math.prod(shapes[node.name]) > MAX_ELEMENTS:
                raise InputError(
                    f"network {self.name!r}, layer {node.name!r}: the output shape {(*shapes[node.name],)} is too large; "
                    f"allowed are {MAX_ELEMENTS:,} elements."
                )
        return shapes

    def shapes(self) -> dict[str, Shape]:
        """Shape (C, H, W) of each node's output, by name, in order."""
        return dict(self._shapes)

    @property
    def logits(self) -> str:
        """Name of the node whose largest code is the answer: the last one, or what its Softmax reads."""
        last = self.nodes[-1]
        return last.inputs[0] if isinstance(last.layer, Softmax) else last.name

    @property
    def mac_nodes(self) -> tuple[QuantizedNode, ...]:
        """The nodes that multiply and accumulate, in order."""
        return tuple(node for node in self.nodes if isinstance(node.layer, MacLayer))

    def with_bits(self, layer: str, weights: int | None = None, output: int | None = None) -> QuantizedNetwork:
        """Return the network with other widths in one layer; formats follow from the stored ranges, codes from the formats.

        weights: 2..16, of a layer that has weights.  output: 2..32, of a layer that computes its output's format; a
        concatenation that reads it gets a visible Rescale.  Errors: InputError, ContractError, ProofError.
        """
        from hwsim.network.lower.edit import with_bits

        return self._with_nodes(with_bits(self, layer, weights, output))

    def with_accumulator(
        self,
        layer: str | None,
        accumulator: int | Accumulator | ExactSum | FloatAccumulator,
        require_proof: bool | None = None,
    ) -> QuantizedNetwork:
        """Return the network with another accumulator in one layer, or (None) in every layer that takes one of this kind.

        accumulator: a width of 2..64 alone; an Accumulator; ExactSum or FloatAccumulator where a minifloat is multiplied.
        require_proof: None keeps what the contract or the Accumulator says; False lets it overflow, and counts the events.
        """
        from hwsim.network.lower.edit import with_accumulator

        return self._with_nodes(with_accumulator(self, layer, accumulator, require_proof))

    def with_weights(self, layer: str, weights: FixedPoint | PowerOfTwo | Minifloat) -> QuantizedNetwork:
        """Return the network with weights of another format in one layer, so that schemes mix; codes follow from the source.

        Minifloat: an exact sum unless a float register is there; inputs and output keep their formats.  FixedPoint, PowerOfTwo:
        integers, with exact products; where the layer had minifloats, input and output get 8 bits on the grid that the stored
        ranges give, and a visible Rescale "<layer>:in" where the producer gives minifloats.
        """
        from hwsim.network.lower.edit import with_weights

        return self._with_nodes(with_weights(self, layer, weights))

    def with_rounding(self, layer: str, rounding: Rounding | StochasticRounding) -> QuantizedNetwork:
        """Return the network with another rounding in one layer's output stage; the rescales behind it round alike.

        Layers with equal StochasticRoundings share one bank of registers.  Errors: InputError where the layer rounds nothing,
        ContractError where it cannot draw.
        """
        from hwsim.network.lower.edit import with_rounding

        return self._with_nodes(with_rounding(self, layer, rounding))

    def with_edited(self, names: tuple[str, ...]) -> QuantizedNetwork:
        """Return the network with these layers marked as edited by hand."""
        return replace(self, edited=names)

    def _with_nodes(self, nodes: tuple[QuantizedNode, ...]) -> QuantizedNetwork:
        from hwsim.network.lower.settle import settle

        return replace(self, nodes=settle(nodes, self.name))

    def save(self, path: str | PathLike[str], force: bool = False) -> Path:
        """Write the directory NAME.hwnet; return its path. It appears whole or not at all.

        Errors: InputError where it exists (force replaces a .hwnet, never another folder) or the disk refuses.
        """
        from hwsim.network.write_hwnet import write_hwnet

        return write_hwnet(self, path, force)

    def plot(self, file: str | PathLike[str] | None = None, force: bool = False) -> Any:
        """Draw each layer's range against its format, and its accumulator; return the figure, save it if a file is named."""
        from hwsim.network.picture import draw

        return draw(self, file, force)

    def rows(self) -> list[tuple[str, ...]]:
        """Lines of the table, one per layer."""
        shapes = self.shapes()
        return [_row(node, shapes[node.name]) for node in self.nodes]

    def to_json(self) -> dict[str, Any]:
        """Return the table and what the network is as plain data."""
        layers = [dict(zip(KEYS, row, strict=True)) for row in self.rows()]
        shape = list(self.input_shape)
        told = {"network": self.name, "dialect": self.dialect, "input": shape, "preprocessing": str(self.preprocessing)}
        return told | {"edited": list(self.edited), "layers": layers}

    def _title(self) -> str:
        edited = f"; edited by hand: {', '.join(self.edited)}" if self.edited else ""
        return f"{self.name}: {len(self.nodes)} layers, dialect {self.dialect}{edited}\nimages: {self.preprocessing}"

    def __str__(self) -> str:
        rows = [HEADINGS, *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
        lines = ("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
        return "\n".join([self._title(), *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def row(cells: tuple[str, ...], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(row(cells, "td") for cells in self.rows())
        title = html.escape(self._title()).replace("\n", "<br>")
        return f"<p>{title}</p><table>{row(HEADINGS, 'th')}{body}</table>"


HEADINGS = ("layer", "kind", "reads", "CxHxW", "weights", "output", "acc bits", "proven bits")
KEYS = ("name", "kind", "reads", "shape", "weight_format", "output_format", "accumulator_bits", "proven_bits")


def _row(node: QuantizedNode, shape: Shape) -> tuple[str, ...]:
    """proven: bits that the exact content of the accumulator is proven to need, whatever the image."""
    weight = bits = proven = ""
    if isinstance(node.layer, MacLayer):
        weight = str(node.layer.contract.weight)
        bits, proven = _widths(node.layer)
    size = "x".join(map(str, shape))
    return node.name, node.layer.kind, ", ".join(node.inputs), size, weight, str(node.layer.output_format), bits, proven


def _proven(layer: MacLayer) -> dict[str, Any]:
    """The proven range of the accumulator, where it has one, and an integer datapath's shifts."""
    found: dict[str, Any] = {}
    if (reached := layer.bounds.accumulator) is not None:
        found["proven_accumulator_range"] = list(reached)
    if isinstance(layer.unit, IntegerUnit):
        found["shift"] = list(layer.numbers.epilogue.shift)
    return found


def _widths(layer: MacLayer) -> tuple[str, str]:
    """Bits of the accumulator, and those that its exact content is proven to need; a float register has none to prove."""
    if isinstance(layer.unit, IntegerUnit):
        return str(layer.numbers.acc_bits), str(layer.numbers.proven_bits)
    if layer.unit.accumulator is not None:
        return str(layer.unit.accumulator.format), ""
    return str(layer.unit.register.bits), str(layer.unit.proven_bits)
