"""A Network as it is built from an ONNX graph: what each tensor's name stands for so far, and the nodes made.

Tensors have a batch axis that is not kept: it is 1, or free. Files move numbers about in ways that a Network does not need;
such a tensor is a view of a node, and becomes a node of its own only where somebody reads it as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.network.graph import Flatten, Node, Op, Pad, Shape
from hwsim.network.ops import MAX_ELEMENTS


@dataclass(frozen=True)
class OnnxNode:
    """One node of the file. outputs: with "" for those that are left out."""

    name: str
    kind: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Tensor:
    """Output of a node of the Network; flat: (batch, C*H*W) in the file, else (batch, C, H, W)."""

    node: str
    shape: Shape
    flat: bool = False

    @property
    def dims(self) -> tuple[int, ...]:
        """Dimensions in the file, with the batch as 1."""
        return (1, math.prod(self.shape)) if self.flat else (1, *self.shape)


@dataclass(frozen=True)
class Padded:
    """A tensor with a constant around it, before the layer that may do the padding itself."""

    source: Tensor
    name: str
    before: Shape
    after: Shape
    value: float


@dataclass(frozen=True)
class Grouped:
    """A tensor with its channels as (groups, C / groups), between the Reshapes of a shuffle; dealt: transposed."""

    source: Tensor
    groups: int
    dealt: bool = False

    @property
    def dims(self) -> tuple[int, ...]:
        """Dimensions in the file, with the batch as 1."""
        channels, rows, columns = self.source.shape
        split = (self.groups, channels // self.groups)
        return (1, *(split[::-1] if self.dealt else split), rows, columns)


Value = Tensor | Padded | Grouped | np.ndarray


class Build:
    """The nodes so far, and what the names of tensors stand for."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[Node] = []
        self.values: dict[str, Value] = {}
        self.readers: dict[str, int] = {}
        self._names: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._made: dict[object, Tensor] = {}

    def value(self, name: str) -> Value:
        """What a name stands for; InputError where nothing earlier wrote it."""
        if name not in self.values:
            raise InputError(f"it reads {name!r}, which no earlier node writes; the graph is cyclic or not in order.")
        return self.values[name]

    def constant(self, node: OnnxNode, index: int) -> np.ndarray | None:
        """Input number `index` as a constant; None where it is left out."""
        if index >= len(node.inputs) or not node.inputs[index]:
            return None
        value = self.value(node.inputs[index])
        if not isinstance(value, np.ndarray):
            raise InputError(f"its input {node.inputs[index]!r} is computed; hwsim needs a constant there.")
        return value

    def integers(self, node: OnnxNode, index: int, name: str) -> tuple[int, ...] | None:
        """Whole numbers from input `index`, or from attribute `name` as older opsets have it; None where neither is."""
        found = self.constant(node, index)
        if found is None:
            given = node.attributes.get(name)
            if given is not None and not (isinstance(given, tuple) and all(isinstance(v, int) for v in given)):
                raise InputError(f"attribute {name!r} is {given!r}; whole numbers are needed.")
            return given
        if found.dtype.kind not in "iu" or found.ndim > 1 or found.size > 64:
            raise InputError(f"its {name} are {found.dtype} of shape {found.shape}; a short list of whole numbers is needed.")
        return tuple(int(v) for v in found.reshape(-1))

    def tensor(self, name: str) -> Tensor:
        """What a name stands for, as the output of a node: views become nodes here."""
        value = self.value(name)
        if isinstance(value, np.ndarray):
            raise InputError(f"its input {name!r} is a constant; hwsim needs a computed tensor there.")
        if isinstance(value, Grouped):
            raise InputError(f"its input {name!r} has 5 axes; hwsim has them only within a channel shuffle.")
        return self._padded(value) if isinstance(value, Padded) else value

    def plain(self, name: str) -> Tensor:
        """The tensor with its numbers as channels of one pixel where the file has it flat: for all but inner products."""
        tensor = self.tensor(name)
        if not tensor.flat or tensor.shape[1:] == (1, 1):
            return tensor
        if tensor not in self._made:
            self._made[tensor] = self.emit(f"{tensor.node}:flat", Flatten(), (tensor,), True)
        return self._made[tensor]

    def image(self, name: str) -> Tensor:
        """A tensor of four axes."""
        tensor = self.tensor(name)
        if tensor.flat:
            raise InputError(f"its input {name!r} has 2 axes; 4 (batch, channels, height, width) are needed.")
        return tensor

    def _padded(self, value: Padded) -> Tensor:
        key = (value.name, value.source.node)
        if key not in self._made:
            self._made[key] = self.emit(value.name, Pad(value.before, value.after, value.value), (value.source,))
        return self._made[key]

    def emit(self, name: str, op: Op, inputs: tuple[Tensor, ...], flat: bool = False) -> Tensor:
        """Add a node, under this name or one like it that is free; return its output."""
        shape = op.output_shape(tuple(tensor.shape for tensor in inputs))
        if math.prod(shape) > MAX_ELEMENTS:
            raise InputError(f"the output shape {shape} is too large.")
        free = name
        while free in self._names:
            self._numbers[name] = self._numbers.get(name, 0) + 1
            free = f"{name}:{self._numbers[name]}"
        self._names.add(free)
        self.nodes.append(Node(free, op, tuple(tensor.node for tensor in inputs)))
        return Tensor(free, shape, flat)
