"""An ONNX file of a network in floats -> the float Network; a file born in integers goes on to lower/onnx_quantized.py."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import HwsimError, InputError
from hwsim.network.caffe_input import Wish
from hwsim.network.graph import MAX_NAME, ChannelOrder, Input, Network, Node, Preprocessing, Shape
from hwsim.network.onnx_build import Build, OnnxNode
from hwsim.network.onnx_fold import fold
from hwsim.network.onnx_integers import QUANTIZERS, IntegerBuild
from hwsim.network.onnx_microsoft import DOMAIN as MICROSOFT_DOMAIN
from hwsim.network.onnx_operators import OPERATORS
from hwsim.network.onnx_pixels import with_kept
from hwsim.network.onnx_tensors import attributes, to_array, type_name
from hwsim.network.onnx_wire import read_model
from hwsim.network.quantized import QuantizedNetwork

OPSETS = (7, 23)
"""Oldest and newest version of the operators that hwsim reads."""

FLOAT = 1
"""TensorProto's number for float32."""

DEFAULT_DOMAIN = ("", "ai.onnx")


def read_onnx(path: Path, wish: Wish) -> Network | QuantizedNetwork:
    """The network of an ONNX file: NCHW, a batch of 1 or free, weights inside the file; in integers where it quantizes.

    Nodes are named as in the file, or as their outputs.  What the outputs do not need is left out.  What a pixel means comes
    from the wish, or from the metadata of a file that hwsim wrote; else the network has no preprocessing.
    Raises InputError, naming file, node and what was found.
    """
    model = read_model(path)
    graph = Graph(model, path)
    try:
        wish = with_kept(wish, model)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    integers = any(each.kind in QUANTIZERS or each.domain == MICROSOFT_DOMAIN for each in graph.needed())
    node, flat = make_input(graph, wish, integers)
    build = IntegerBuild(graph.opset) if integers else Build(graph.opset)
    build.values.update(graph.constants())
    build.values[graph.input_name] = build.emit(node.name, node.op, (), flat)
    if isinstance(build, IntegerBuild) and graph.input_type != FLOAT:
        build.whole.add(graph.input_name)
    for each in graph.needed():
        _convert(build, each, graph.where(each))
    _materialize(build, graph)
    try:
        network = Network(graph.title, tuple(build.nodes))
        if not isinstance(build, IntegerBuild):
            return network
        from hwsim.network.lower.onnx_quantized import lower_quantized

        return lower_quantized(network, build, wish)
    except HwsimError as error:
        raise type(error)(f"{path}: {error}") from None


def _convert(build: Build, node: OnnxNode, where: str) -> None:
    """Let one node of the file become what it stands for."""
    try:
        inputs = [build.value(name) for name in node.inputs if name]
        result: Any = None
        stored = isinstance(build, IntegerBuild) and not build.stored.keys().isdisjoint(node.inputs)
        if not stored and all(isinstance(value, np.ndarray) for value in inputs):
            result = fold(node.kind, [value for value in inputs if isinstance(value, np.ndarray)], node.attributes)
        if result is None and not (node.inputs and node.inputs[0]):
            raise InputError("it has no input.")
        if result is None and isinstance(build, IntegerBuild):
            result = build.convert(node)
        elif result is None:
            if node.kind not in OPERATORS or node.domain not in DEFAULT_DOMAIN:
                raise InputError(f"hwsim does not know this operator; it reads {', '.join(sorted(OPERATORS))}.")
            result = OPERATORS[node.kind](build, node)
    except HwsimError as error:
        raise InputError(f"{where}: {error}") from None
    for name, value in zip(node.outputs, result if isinstance(result, tuple) else (result,), strict=False):
        build.values[name] = value


def _materialize(build: Build, graph: Graph) -> None:
    """Let the graph's outputs be outputs of nodes; the last of them comes last."""
    for name in graph.outputs:
        try:
            build.plain(name)
        except HwsimError as error:
            raise InputError(f"{graph.path}: output {name!r}: {error}") from None


class Graph:
    """What a ModelProto says, checked: one input, constants, nodes, and the opset that they belong to."""

    def __init__(self, model: Any, path: Path) -> None:
        graph = self._graph = model.graph
        self.path = path
        versions = {opset.domain: opset.version for opset in model.opset_import}
        self.domains = frozenset(versions)
        self.opset = versions.get("", versions.get("ai.onnx", 0))
        if not OPSETS[0] <= self.opset <= OPSETS[1]:
            raise InputError(f"{path}: its operators are of opset {self.opset}; hwsim reads {OPSETS[0]}..{OPSETS[1]}.")
        if not graph.node or not graph.output:
            raise InputError(f"{path}: it holds {len(graph.node)} nodes and {len(graph.output)} outputs; a network has both.")
        self.outputs = [entry.name for entry in graph.output]
        self._kept, read = self._traced()
        given = {tensor.name for tensor in graph.initializer}
        inputs = [entry for entry in graph.input if entry.name not in given]
        inputs = [entry for entry in inputs if entry.name in read] or inputs  # old files name labels and shapes there, too
        if len(inputs) != 1:
            names = ", ".join(entry.name for entry in inputs[:4])
            raise InputError(f"{path}: it has {len(inputs)} inputs ({names}); exactly 1, the image, is needed.")
        self.input = inputs[0]
        self.input_name: str = self.input.name
        self.input_type: int = self.input.type.tensor_type.elem_type
        self.title = graph.name if graph.name and graph.name.isprintable() and len(graph.name) <= MAX_NAME else path.stem

    def where(self, node: OnnxNode) -> str:
        """The place that an error names."""
        return f"{self.path}: node {node.name[:MAX_NAME]!r} ({node.kind})"

    def constants(self) -> dict[str, np.ndarray]:
        """{name: initializer}, those that a needed node reads."""
        wanted = {name for node in self.needed() for name in node.inputs}
        found: dict[str, np.ndarray] = {}
        for tensor in self._graph.initializer:
            if tensor.name in found:
                raise InputError(f"{self.path}: constant {tensor.name!r} is given twice; keep one.")
            if tensor.name in wanted:
                try:
                    found[tensor.name] = to_array(tensor, f"constant {tensor.name!r}")
                except InputError as error:
                    raise InputError(f"{self.path}: {error}") from None
        return found

    def needed(self) -> list[OnnxNode]:
        """The nodes that the outputs need, in the order of the file."""
        if not hasattr(self, "_needed"):
            self._needed = list(self._nodes())
        return self._needed

    def _traced(self) -> tuple[list[Any], set[str]]:
        """(the file's nodes that the outputs need, every name that these read), from the last node to the first."""
        nodes, wanted, kept = list(self._graph.node), set(self.outputs), list[Any]()
        for node in reversed(nodes):
            if not wanted.isdisjoint(node.output):
                kept.append(node)
                wanted.update(name for name in node.input if name)
        return kept[::-1], wanted

    def _nodes(self) -> Iterator[OnnxNode]:
        written = {self.input_name, *(tensor.name for tensor in self._graph.initializer)}
        for node in self._kept:
            name = node.name or next((output for output in node.output if output), node.op_type)
            outputs = tuple(node.output)
            if len(node.op_type) > MAX_NAME or not written.isdisjoint(outputs):
                raise InputError(f"{self.path}: node {name[:MAX_NAME]!r}: its outputs {outputs[:4]} are written twice.")
            written.update(output for output in outputs if output)
            try:
                values = attributes(node)
            except InputError as error:
                raise InputError(f"{self.path}: node {name[:MAX_NAME]!r} ({node.op_type}): {error}") from None
            yield OnnxNode(name, node.op_type, node.domain, tuple(node.input), outputs, values)


def make_input(graph: Graph, wish: Wish, integers: bool = False) -> tuple[Node, bool]:
    """(the Input, whether the file has it flat): its shape from the file or the wish, pixels from the wish."""
    where = f"{graph.path}: input {graph.input_name[:MAX_NAME]!r}"
    tensor = graph.input.type.tensor_type
    allowed = {FLOAT: "FLOAT", 2: "UINT8", 3: "INT8"} if integers else {FLOAT: "FLOAT"}
    if tensor.elem_type not in allowed:
        found = type_name(tensor.elem_type)
        raise InputError(f"{where}: its elements are {found}; hwsim reads {', '.join(allowed.values())}.")
    shape, flat = _stated(tensor, wish, where)
    try:
        return Node(graph.input_name, Input(shape, None if integers else _preprocessing(shape, wish))), flat
    except HwsimError as error:
        raise InputError(f"{where}: {error}") from None


def _stated(tensor: Any, wish: Wish, where: str) -> tuple[Shape, bool]:
    if len(tensor.shape.dim) > 8:
        raise InputError(f"{where}: it has {len(tensor.shape.dim)} axes; 4 (batch, channels, height, width) are needed.")
    dims = [dim.dim_value if dim.WhichOneof("value") == "dim_value" else 0 for dim in tensor.shape.dim]
    if dims and dims[0] not in (0, 1):
        raise InputError(f"{where}: its batch is {dims[0]}; 1, or a free one, is needed: export it so.")
    if wish.shape is not None and len(dims) in (0, 4):
        return wish.shape, False
    if len(dims) == 2 and dims[1] > 0:
        return (dims[1], 1, 1), True
    if len(dims) != 4 or min(dims[1:]) < 1:
        raise InputError(f"{where}: its dimensions {dims} (0: free) do not say C, H, W; give them: --shape 3,224,224.")
    return (dims[1], dims[2], dims[3]), False


def _preprocessing(shape: Shape, wish: Wish) -> Preprocessing | None:
    """From pixels to numbers, as the wish has it: an ONNX file does not say; RGB where only the rest is said."""
    channels, height, width = shape
    if wish.mean is None and wish.scale is None and wish.channel_order is None:
        return None
    order = wish.channel_order or {1: ChannelOrder.GRAY, 3: ChannelOrder.RGB}.get(channels)
    if order is None or order.channels != channels:
        name = "none that hwsim knows" if order is None else order.name
        raise InputError(f"channel order {name} does not have the {channels} channels that the network takes.")
    scale = 1.0 if wish.scale is None else wish.scale
    if not math.isfinite(scale):
        raise InputError(f"scale {scale} is not finite.")
    return Preprocessing(order, (height, width), (0.0,) if wish.mean is None else wish.mean, scale)
