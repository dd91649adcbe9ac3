"""The float twin of a quantized network: the same layers with the float weights, for the baseline beside a score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hwsim.contract.mac import Activation, Output
from hwsim.errors import InputError
from hwsim.layers import (
    AveragePool,
    ChannelShuffle,
    Clamp,
    Concat,
    Convolution,
    Deconvolution,
    EltwiseMax,
    EltwiseProduct,
    EltwiseSum,
    FullyConnected,
    HostLRN,
    ImageEncoding,
    IntegerLRN,
    Layer,
    LookupTable,
    MacLayer,
    MaxPool,
    Pad,
    PReLU,
    Region,
    ReLU,
    Rescale,
    ResizeNearest,
    Slice,
    Softmax,
    SteppedLRN,
    Window,
)
from hwsim.layers.lookup import TableFunction
from hwsim.layers.move import whole_factors
from hwsim.layers.pool import CountRule
from hwsim.network import ops
from hwsim.network.graph import Network, Node
from hwsim.network.lower.settle import output_stage
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
    """The operation, then the activation that is fused into the layer's output stage; the last one has the layer's name."""
    chain = [_op(node), *_activation(node.layer)]
    names = [*(f"{node.name}:{part}" for part in ("linear", "rectified")[: len(chain) - 1]), node.name]
    reads = [inputs, *((name,) for name in names)]
    return [Node(name, op, read) for name, op, read in zip(names, chain, reads, strict=False)]


def _activation(layer: Layer) -> list[ops.Op]:
    stage = output_stage(layer)
    if stage is None:
        return []
    found: list[ops.Op] = [ops.ReLU()] if stage.activation != Activation.NONE else []
    if isinstance(stage, Output) and (stage.clamp_low, stage.clamp_high) != (None, None):
        ends = (stage.clamp_low, stage.clamp_high)
        found.append(ops.Clip(*(None if code is None else float(stage.format.decode(code)) for code in ends)))
    return found


def _op(node: QuantizedNode) -> ops.Op:
    layer = node.layer
    if isinstance(layer, MacLayer):
        return _mac(node, layer)
    if type(layer) not in TWINS:
        raise InputError(f"layer {node.name!r} is a {layer.kind}, of which no float baseline is known; score without one.")
    return TWINS[type(layer)](layer)


def _mac(node: QuantizedNode, layer: MacLayer) -> ops.Op:
    if node.source is None:
        raise InputError(f"layer {node.name!r} has no float weights; a float baseline needs them.")
    weight, bias = node.source.weight, node.source.bias
    if isinstance(layer, FullyConnected):
        return ops.InnerProduct(weight.reshape(layer.weight.shape), bias)
    assert isinstance(layer, (Convolution, Deconvolution))
    about = (weight, bias, layer.stride, layer.pad, layer.dilation, layer.groups)
    if isinstance(layer, Convolution):
        return ops.Convolution(*about, layer.pad_end)
    bottom, right = layer.pad if layer.pad_end is None else layer.pad_end
    return ops.Deconvolution(*about, (max(bottom, 0), max(right, 0)), (max(-bottom, 0), max(-right, 0)))


def _lrn(layer: HostLRN | IntegerLRN) -> ops.Op:
    region = ops.Region.WITHIN if layer.region == Region.WITHIN_CHANNEL else ops.Region.ACROSS
    return ops.LRN(region, layer.local_size, layer.alpha, layer.beta, layer.k)


def _clamp(layer: Clamp) -> ops.Op:
    f = layer.format
    low = None if layer.low == f.low else float(f.decode(layer.low))
    return ops.Clip(low, None if layer.high == f.high else float(f.decode(layer.high)))


def _pad(layer: Pad) -> ops.Op:
    return ops.Pad(layer.before, layer.after, 0.0 if layer.code is None else float(layer.format.decode(layer.code)))


def _resize(layer: ResizeNearest) -> ops.Op:
    factors = layer.vertical.unit // layer.vertical.step, layer.horizontal.unit // layer.horizontal.step
    if (layer.vertical, layer.horizontal) != whole_factors(factors) or layer.size is not None:
        raise InputError("a resize_nearest by no whole factor has no float baseline; score without one.")
    return ops.ResizeNearest(factors)


def _curve(layer: LookupTable) -> ops.Op:
    if layer.function is None:
        raise InputError("a lookup_table of no known function has no float baseline; score without one.")
    return ops.Sigmoid() if layer.function is TableFunction.SIGMOID else ops.Tanh()


def _max_pool(layer: MaxPool) -> ops.Op:
    return _pooling(ops.PoolMethod.MAX, layer.window, CountRule.EXCLUDE_PADDING)


def _average_pool(layer: AveragePool) -> ops.Op:
    return _pooling(ops.PoolMethod.AVERAGE, layer.window, layer.count)


TWINS: dict[type, Callable[[Any], ops.Op]] = {
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    HostLRN: _lrn,
    IntegerLRN: _lrn,
    SteppedLRN: lambda layer: ops.LRN(ops.Region.ACROSS, layer.local_size, layer.alpha, layer.beta, layer.k, stepped=True),
    Clamp: _clamp,
    Pad: _pad,
    ResizeNearest: _resize,
    Slice: lambda layer: ops.Slice(layer.start, layer.stop, layer.step),
    ChannelShuffle: lambda layer: ops.ChannelShuffle(layer.groups),
    LookupTable: _curve,
    PReLU: lambda layer: ops.PReLU(layer.slope_format.to_real(layer.slope)),
    ReLU: lambda layer: ops.ReLU(),
    Concat: lambda layer: ops.Concat(),
    EltwiseSum: lambda layer: ops.EltwiseSum(),
    EltwiseMax: lambda layer: ops.EltwiseMax(),
    EltwiseProduct: lambda layer: ops.EltwiseProduct(),
    Softmax: lambda layer: ops.Softmax(),
}
"""The float operation of each kind of layer without weights."""


def _pooling(method: ops.PoolMethod, window: Window, count: CountRule) -> ops.Pooling:
    if window.kernel is None:
        return ops.Pooling(method, global_pooling=True, count=count)
    return ops.Pooling(method, window.kernel, window.stride, window.pad, window.ceil_mode, count, False, window.pad_end)
