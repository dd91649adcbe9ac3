"""Folding: batch norm and scale go into weights, dropout and flatten into nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError, InputError
from hwsim.network.graph import (
    BatchNorm,
    Convolution,
    Deconvolution,
    Dropout,
    Flatten,
    InnerProduct,
    Network,
    Node,
    Op,
    ReLU,
    Scale,
)
from hwsim.network.lower.commute import before_maximum

FOLDABLE = (Convolution, Deconvolution, InnerProduct)
"""Operations with weights, output channels first."""

Affine = tuple[np.ndarray, np.ndarray]
"""(factor, shift) per output channel in float64: y = x * factor + shift."""


def fold(network: Network) -> Network:
    """The same function without BatchNorm, Scale, Dropout and Flatten; a ReLU behind a max pooling stands before it.

    BatchNorm and Scale go into the weights of the Convolution, Deconvolution or InnerProduct right before them (float64, rounded
    once to float32), which keeps its name; where there is none, or another layer reads its unscaled result, they become a
    Convolution of their own, each channel times one weight.  Flatten goes because an InnerProduct takes C, H, W.
    Raises InputError, naming the layer, for a Flatten that something else reads, and for weights that become infinite.
    """
    if not isinstance(network, Network):
        raise InputError(f"network {network.name!r} is in integers already; run it as it is, or quantize its network in floats.")
    readers = Counter(name for node in network for name in node.inputs)
    kept: dict[str, Node] = {}
    stands_for: dict[str, str] = {}  # name of a removed layer -> the kept layer whose output is now its output
    affine: dict[str, Affine] = {}
    _check_flattened(network)
    for node in network:
        node = replace(node, inputs=tuple(stands_for.get(name, name) for name in node.inputs))
        if isinstance(node.op, (BatchNorm, Scale)):
            if not _foldable(network, node, kept[node.inputs[0]], readers):
                kept[node.name] = replace(node, op=_unit(node.op))
                affine[node.name] = _compose(None, node.op)
                continue
            affine[node.inputs[0]] = _compose(affine.get(node.inputs[0]), node.op)
        elif not isinstance(node.op, (Dropout, Flatten)):
            kept[node.name] = node
            continue
        stands_for[node.name] = node.inputs[0]
    nodes = (replace(node, op=_scaled(network, node, affine.get(node.name))) for node in kept.values())
    return before_maximum(Network(network.name, tuple(nodes)))


def _compose(before: Affine | None, op: BatchNorm | Scale) -> Affine:
    """First `before`, then the layer: one factor and one shift."""
    if isinstance(op, BatchNorm):
        factor = 1 / np.sqrt(op.variance.astype(np.float64) + op.epsilon)
        shift = -op.mean * factor
    else:
        factor = op.factor.astype(np.float64)
        shift = np.zeros_like(factor) if op.bias is None else op.bias.astype(np.float64)
    return (factor, shift) if before is None else (before[0] * factor, before[1] * factor + shift)


def _scaled(network: Network, node: Node, affine: Affine | None) -> Op:
    """The operation with weights and bias scaled: weight * factor, bias * factor + shift."""
    op = node.op
    if affine is None or not isinstance(op, FOLDABLE):
        return op
    factor, shift = affine
    weight = op.weight.astype(np.float64) * factor.reshape(-1, *[1] * (op.weight.ndim - 1))
    bias = shift if op.bias is None else op.bias * factor + shift
    try:
        with np.errstate(over="ignore"):  # the operation refuses what became infinite
            return replace(op, weight=weight.astype(np.float32), bias=bias.astype(np.float32))
    except HwsimError as error:
        raise InputError(f"network {network.name!r}, layer {node.name!r}, after folding batch norm: {error}") from None


def _unit(op: BatchNorm | Scale) -> Convolution:
    """A convolution that leaves each channel as it is, to be scaled."""
    channels = (op.mean if isinstance(op, BatchNorm) else op.factor).size
    return Convolution(np.ones((channels, 1, 1, 1), np.float32), None, groups=channels)


def _foldable(network: Network, node: Node, target: Node, readers: Counter[str]) -> bool:
    """Whether the operation that a BatchNorm or Scale follows has weights, and nobody else reads its unscaled result."""
    if not isinstance(target.op, FOLDABLE):
        return False
    source = node.name
    while source != target.name:  # back through what was removed: nobody else may read any of it
        source = network[source].inputs[0]
        if readers[source] > 1:
            return False
    return True


def _check_flattened(network: Network) -> None:
    """Refuse a Flatten that something other than an InnerProduct would notice to be gone."""
    flat: set[str] = set()
    shapes = network.shapes()
    for node in network:
        reads_flat = bool(flat.intersection(node.inputs))
        if reads_flat and not isinstance(node.op, (InnerProduct, ReLU, Dropout, Flatten)):
            kind = type(node.op).__name__
            raise InputError(
                f"network {network.name!r}, layer {node.name!r}: {kind} reads a flattened tensor; a Flatten may stand before "
                "an InnerProduct only, with ReLU or Dropout between."
            )
        flattens = isinstance(node.op, Flatten) and shapes[node.inputs[0]][1:] != (1, 1)
        if flattens or (reads_flat and not isinstance(node.op, InnerProduct)):
            flat.add(node.name)
    for name in flat.intersection(network.outputs):
        raise InputError(f"network {network.name!r}: its output {name!r} is flattened; end the network before the Flatten.")
