"""The quantized network: named nodes that hold Layers, with the float weights and ranges they were made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hwsim.errors import ContractError, InputError
from hwsim.formats.fixed import FixedPoint
from hwsim.layers import ImageEncoding, Layer, MacLayer, Shape, Softmax
from hwsim.network.preprocessing import Preprocessing


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


@dataclass(frozen=True, eq=False)
class QuantizedNetwork:
    """Nodes in order: the first is the ImageEncoding, each reads earlier nodes only, and formats agree on every edge.

    input_shape: (C, H, W) of the image.  dialect: name of the template the contracts came from (told, never compared).
    ranges: what calibration saw, by tensor name; stored, never computed again.
    """

    name: str
    nodes: tuple[QuantizedNode, ...]
    input_shape: Shape
    preprocessing: Preprocessing
    dialect: str
    ranges: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.nodes or not isinstance(self.nodes[0].layer, ImageEncoding) or self.nodes[0].inputs:
            raise InputError(f"network {self.name!r}: the first node must encode the image and read nothing.")
        formats: dict[str, FixedPoint] = {}
        for i, node in enumerate(self.nodes):
            if node.name in formats or not node.name:
                raise InputError(f"network {self.name!r}, layer {node.name!r}: this name is empty or taken; names must differ.")
            if i:
                self._check_edges(node, formats)
            formats[node.name] = node.layer.output_format
        self.shapes()

    def _check_edges(self, node: QuantizedNode, formats: Mapping[str, FixedPoint]) -> None:
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
