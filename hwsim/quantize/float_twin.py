"""The float twin of a quantized network: the same layers with the float weights, for the baseline beside a score."""

from __future__ import annotations

from hwsim.contract.mac import Activation
from hwsim.errors import InputError
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
    Softmax,
    Window,
)
from hwsim.layers.pool import CountRule
from hwsim.network import ops
from hwsim.network.graph import Network, Node
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode


def float_twin(network: QuantizedNetwork) -> Network:
    """Return the float network that was quantized, as lower.py left it: folded, without dropout; rescales vanish.

    Every node keeps its name, so that float and integer results can be compared layer by layer.
    """
    nodes: list[Node] = []
    same: dict[str, str] = {}
    for node in network.nodes:
        inputs = tuple(same.get(name, name) for name in node.inputs)
        if isinstance(node.layer, Rescale):
            same[node.name] = inputs[0]
            continue
        if isinstance(node.layer, ImageEncoding):
            nodes.append(Node(node.name, ops.Input((*network.input_shape,), network.preprocessing)))
            continue
        nodes.extend(_nodes(node, inputs))
    return Network(network.name, tuple(nodes))


def _nodes(node: QuantizedNode, inputs: tuple[str, ...]) -> list[Node]:
    op = _op(node)
    if not _rectifies(node.layer):
        return [Node(node.name, op, inputs)]
    return [Node(f"{node.name}:linear", op, inputs), Node(node.name, ops.ReLU(), (f"{node.name}:linear",))]


def _rectifies(layer: Layer) -> bool:
    if isinstance(layer, (Convolution, FullyConnected)):
        return layer.contract.output.activation != Activation.NONE
    return isinstance(layer, (AveragePool, EltwiseSum)) and layer.output.activation != Activation.NONE


def _op(node: QuantizedNode) -> ops.Op:
    layer = node.layer
    if isinstance(layer, (Convolution, FullyConnected)):
        if node.source is None:
            raise InputError(f"layer {node.name!r} has no float weights; a float baseline needs them.")
        weight, bias = node.source.weight, node.source.bias
        if isinstance(layer, FullyConnected):
            return ops.InnerProduct(weight.reshape(layer.weight.shape), bias)
        return ops.Convolution(weight, bias, layer.stride, layer.pad, layer.dilation, layer.groups)
    if isinstance(layer, MaxPool):
        return _pooling(ops.PoolMethod.MAX, layer.window, CountRule.EXCLUDE_PADDING)
    if isinstance(layer, AveragePool):
        return _pooling(ops.PoolMethod.AVERAGE, layer.window, layer.count)
    if isinstance(layer, (HostLRN, IntegerLRN)):
        region = ops.Region.WITHIN if layer.region == Region.WITHIN_CHANNEL else ops.Region.ACROSS
        return ops.LRN(region, layer.local_size, layer.alpha, layer.beta, layer.k)
    plain = {ReLU: ops.ReLU, Concat: ops.Concat, EltwiseSum: ops.EltwiseSum, Softmax: ops.Softmax}
    return plain[type(layer)]()


def _pooling(method: ops.PoolMethod, window: Window, count: CountRule) -> ops.Pooling:
    if window.kernel is None:
        return ops.Pooling(method, global_pooling=True, count=count)
    return ops.Pooling(method, window.kernel, window.stride, window.pad, window.ceil_mode, count)
