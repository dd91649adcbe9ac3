"""A prototxt and a caffemodel -> the float Network that Caffe runs in phase TEST."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import HwsimError, InputError
from hwsim.network import caffe_layers
from hwsim.network.caffe_input import Wish, make_input
from hwsim.network.caffe_proto import enum_name, read_prototxt
from hwsim.network.caffe_weights import read_caffemodel
from hwsim.network.graph import Network, Node, Shape


@dataclass(frozen=True)
class CaffeLayer:
    """One layer of phase TEST, in either layout: its type under today's name, and the message with its parameters."""

    name: str
    kind: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    params: Any


def read_caffe(prototxt: Path, caffemodel: Path, wish: Wish) -> Network:
    """The network of phase TEST, each layer one node named as the layer, the input named as its blob.

    Data layers become the Input, layers that measure (loss, accuracy) are dropped, and an in-place layer is a node of
    its own. Weights are matched by the layers' names. Raises InputError, naming file, layer and field.
    """
    net = read_prototxt(prototxt)
    layers = list(caffe_layers_of(net, prototxt))
    weights = read_caffemodel(caffemodel)
    entry = [layer for layer in layers if layer.kind in caffe_layers.DATA_TYPES]
    body = [layer for layer in layers if layer.kind not in caffe_layers.DATA_TYPES | caffe_layers.DROPPED_TYPES]
    node = make_input(
        prototxt, net, [(layer.name, layer.tops, layer.params) for layer in entry], wish, _first(body, weights)
    )
    nodes = [node, *_nodes(prototxt, caffemodel, body, node, weights)]
    try:
        return Network(net.name or prototxt.stem, tuple(nodes))
    except HwsimError as error:
        raise InputError(f"{prototxt}: {error}") from None


def caffe_layers_of(net: Any, path: Path) -> Iterator[CaffeLayer]:
    """The layers of phase TEST, level 0, no stages, in the order of the file."""
    if net.layers and net.layer:
        raise InputError(f"{path}: it mixes `layer` and `layers`; keep one of the two layouts.")
    for message in [*net.layer, *net.layers]:
        if not _in_test(message):
            continue
        if net.layers and message.HasField("layer"):
            raise InputError(
                f"{path}: this is the layout of 2013 (V0); upgrade it with Caffe's upgrade_net_proto_text."
            )
        kind = message.type if net.layer else caffe_layers.current_type(enum_name("LayerType", message.type))
        yield CaffeLayer(message.name, kind, tuple(message.bottom), tuple(message.top), message)


def _in_test(message: Any) -> bool:
    if message.include:
        return any(_rule_met(rule) for rule in message.include)
    return not any(_rule_met(rule) for rule in message.exclude)


def _rule_met(rule: Any) -> bool:
    """Whether phase TEST, level 0, without stages, meets a rule."""
    if rule.HasField("phase") and enum_name("Phase", rule.phase) != "TEST":
        return False
    if (rule.HasField("min_level") and rule.min_level > 0) or (rule.HasField("max_level") and rule.max_level < 0):
        return False
    return not rule.stage


def _first(body: Sequence[CaffeLayer], weights: dict[str, tuple[np.ndarray, ...]]) -> int | None:
    """Input channels of the first convolution, which say what the data are where nothing else does."""
    for layer in body:
        blobs = weights.get(layer.name, ())
        if layer.kind.startswith("Convolution") and blobs and blobs[0].ndim == 4:
            return blobs[0].shape[1] * layer.params.convolution_param.group
    return None


def _nodes(
    prototxt: Path,
    caffemodel: Path,
    body: Iterable[CaffeLayer],
    entry: Node,
    weights: dict[str, tuple[np.ndarray, ...]],
) -> Iterator[Node]:
    shapes = _Shapes(entry)
    writer = {entry.name: entry.name}  # blob -> the node that wrote it last; in-place layers write a blob again
    for layer in body:
        where = f"{prototxt}: layer {layer.name!r}"
        if layer.kind not in (*caffe_layers.CONVERTERS, caffe_layers.SLICE):
            raise InputError(f"{where}: type {layer.kind!r} is unknown; hwsim reads {caffe_layers.supported()}.")
        for bottom in layer.bottoms:
            if bottom not in writer:
                raise InputError(
                    f"{where}: its bottom {bottom!r} is written by no earlier layer; correct the name or the order."
                )
        if len(layer.tops) != 1 and not (layer.tops and layer.kind == caffe_layers.SLICE):
            raise InputError(f"{where}: it has {len(layer.tops)} tops; {layer.kind} has 1.")
        if layer.kind in caffe_layers.LEARNED and layer.name not in weights:
            found = ", ".join(list(weights)[:8]) or "none"
            raise InputError(f"{caffemodel}: no weights for layer {layer.name!r} of {prototxt}; it has {found} ...")
        inputs = tuple(writer[bottom] for bottom in layer.bottoms)
        try:
            made = tuple(_made(layer, inputs, weights, shapes))
        except HwsimError as error:
            raise InputError(f"{where}: {error}") from None
        for top, node in zip(layer.tops, made, strict=True):
            shapes.add(node)
            yield node
            writer[top] = node.name


def _made(
    layer: CaffeLayer, inputs: tuple[str, ...], weights: dict[str, tuple[np.ndarray, ...]], shapes: _Shapes
) -> Iterator[Node]:
    """The node of a layer, named as it; of a Slice with several tops one for each, "LAYER:TOP"."""
    if layer.kind != caffe_layers.SLICE:
        yield Node(layer.name, caffe_layers.make_op(layer.kind, layer.params, weights.get(layer.name, ())), inputs)
        return
    if len(inputs) != 1:
        raise InputError(f"it has {len(inputs)} bottoms; Slice has 1.")
    several = len(layer.tops) > 1
    for top, op in zip(layer.tops, caffe_layers.slices(layer.params, shapes.of(inputs[0]), len(layer.tops)), strict=True):
        yield Node(f"{layer.name}:{top}" if several else layer.name, op, inputs)


class _Shapes:
    """Shapes of the nodes so far, computed when a Slice first asks; whether they fit is for Network to say."""

    def __init__(self, entry: Node) -> None:
        self._waiting = [entry]
        self._known: dict[str, Shape] = {}

    def add(self, node: Node) -> None:
        """Take in one more node."""
        self._waiting.append(node)

    def of(self, name: str) -> Shape:
        """Shape (C, H, W) of a node; InputError where what comes before it does not fit."""
        for node in self._waiting:
            if node.op.inputs[0] > len(node.inputs):
                raise InputError(f"layer {node.name!r} before it has {len(node.inputs)} bottoms; {node.op.inputs[0]} are needed.")
            self._known[node.name] = node.op.output_shape(tuple(self._known[each] for each in node.inputs))
        self._waiting.clear()
        return self._known[name]
