"""The float Network: named operations in the order of computation, shapes checked."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from hwsim.errors import HwsimError, InputError
from hwsim.layers.pool import CountRule
from hwsim.network.ops import (
    LRN,
    MAX_ELEMENTS,
    BatchNorm,
    ChannelShuffle,
    Clip,
    Concat,
    Convolution,
    Deconvolution,
    Dropout,
    EltwiseMax,
    EltwiseProduct,
    EltwiseSum,
    Flatten,
    InnerProduct,
    Input,
    Op,
    Pad,
    Pooling,
    PoolMethod,
    PReLU,
    Region,
    ReLU,
    ResizeNearest,
    Scale,
    Shape,
    Sigmoid,
    Slice,
    Softmax,
    Tanh,
)
from hwsim.network.preprocessing import ChannelOrder, Preprocessing

__all__ = [
    "BatchNorm",
    "ChannelOrder",
    "ChannelShuffle",
    "Clip",
    "Concat",
    "Convolution",
    "CountRule",
    "Deconvolution",
    "Dropout",
    "EltwiseMax",
    "EltwiseProduct",
    "EltwiseSum",
    "Flatten",
    "InnerProduct",
    "Input",
    "LRN",
    "Network",
    "Node",
    "Op",
    "PReLU",
    "Pad",
    "PoolMethod",
    "Pooling",
    "Preprocessing",
    "ReLU",
    "Region",
    "ResizeNearest",
    "Scale",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Tanh",
]


MAX_NAME = 256
"""Characters of a name, of a layer or of the network: files and tables must hold it."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operation with its name, which is also its output's name, and the names of the nodes it reads."""

    name: str
    op: Op
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Network:
    """Nodes in order: each reads earlier nodes only, the first is the one Input, and every shape fits.

    >>> net = Network("tiny", (Node("data", Input((3, 5, 7))), Node("relu", ReLU(), ("data",))))
    >>> net.shapes()["relu"], net.outputs, [node.name for node in net]
    ((3, 5, 7), ('relu',), ['data', 'relu'])
    """

    name: str
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        inputs = [node.name for node in self.nodes if isinstance(node.op, Input)]
        if len(inputs) != 1:
            raise InputError(f"network {self.name!r} has {len(inputs)} inputs ({', '.join(inputs)}); one is needed.")
        seen: set[str] = set()
        for node in self.nodes:
            self._check_node(node, seen)
            seen.add(node.name)
        self.shapes()

    def _check_node(self, node: Node, seen: set[str]) -> None:
        where = f"network {self.name[:MAX_NAME]!r}, layer {node.name[:MAX_NAME]!r}"
        for name in (self.name, node.name):
            if len(name) > MAX_NAME or not name.isprintable():
                raise InputError(f"{where}: found a name of {len(name)} characters; allowed are {MAX_NAME}, all printable.")
        if not node.name or node.name in seen:
            raise InputError(f"{where}: this name is empty or taken by an earlier layer; names must differ.")
        low, high = node.op.inputs
        if len(node.inputs) < low or (high is not None and len(node.inputs) > high):
            kind = type(node.op).__name__
            allowed = str(low) if low == high else f"{low} or more"
            raise InputError(f"{where}: {kind} has {len(node.inputs)} inputs; {allowed} allowed.")
        for name in node.inputs:
            if name not in seen:
                raise InputError(f"{where}: its input {name!r} is no earlier layer; order or rename them.")

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise InputError(f"network {self.name!r} has no layer {name!r}; it has {names}.")

    @cached_property
    def _shapes(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {}
        for node in self.nodes:
            try:
                shape = node.op.output_shape(tuple(shapes[name] for name in node.inputs))
            except HwsimError as error:
                raise InputError(f"network {self.name!r}, layer {node.name!r}: {error}") from None
            if math.prod(shape) > MAX_ELEMENTS:
                raise InputError(f"network {self.name!r}, layer {node.name!r}: the output shape {shape} is too large.")
            shapes[node.name] = shape
        return shapes

    def shapes(self) -> dict[str, Shape]:
        """Shape (C, H, W) of each node's output, by name, in order."""
        return dict(self._shapes)

    @property
    def input(self) -> Node:
        """The node through which the image enters."""
        return next(node for node in self.nodes if isinstance(node.op, Input))

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How pixels become the numbers that enter, or None where neither the file nor the user said it."""
        op = self.input.op
        assert isinstance(op, Input)
        return op.preprocessing

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the nodes that no other node reads."""
        read = {name for node in self.nodes for name in node.inputs}
        return tuple(node.name for node in self.nodes if node.name not in read)

    @property
    def logits(self) -> str:
        """Name of the node whose largest element is the answer: the last output, or what its Softmax reads."""
        last = self[self.outputs[-1]]
        return last.inputs[0] if isinstance(last.op, Softmax) else last.name

    def with_preprocessing(self, preprocessing: Preprocessing) -> Network:
        """The same network with another rule from pixels to real numbers."""
        first = self.input
        changed = replace(first, op=Input(self._shapes[first.name], preprocessing))
        return replace(self, nodes=tuple(changed if node is first else node for node in self.nodes))

    def macs(self) -> dict[str, int]:
        """Multiply-accumulates for one image, by name."""
        return {node.name: node.op.macs(tuple(self._shapes[name] for name in node.inputs)) for node in self.nodes}

    def _rows(self) -> list[tuple[str, ...]]:
        macs, rows = self.macs(), list[tuple[str, ...]]()
        for node in self.nodes:
            shape = "x".join(map(str, self._shapes[node.name]))
            count = node.op.parameters()
            numbers = (f"{count:,}" if count else "", f"{macs[node.name]:,}" if macs[node.name] else "")
            rows.append((node.name, type(node.op).__name__, ", ".join(node.inputs), shape, *numbers))
        return rows

    def _total(self) -> str:
        parameters = sum(node.op.parameters() for node in self.nodes)
        macs = sum(self.macs().values())
        return f"{self.name}: {len(self.nodes)} layers, {parameters:,} parameters, {macs:,} MACs per image"

    def __str__(self) -> str:
        rows = [HEADINGS, *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
        aligned = ("<", "<", "<", ">", ">", ">")
        lines = [self._total()]
        for row in rows:
            lines.append("  ".join(f"{cell:{a}{w}}" for cell, a, w in zip(row, aligned, widths, strict=True)).rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        def row(cells: tuple[str, ...], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(row(cells, "td") for cells in self._rows())
        return f"<p>{html.escape(self._total())}</p><table>{row(HEADINGS, 'th')}{body}</table>"


HEADINGS = ("layer", "kind", "reads", "CxHxW", "parameters", "MACs")
