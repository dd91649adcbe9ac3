"""Editing a quantized network: another width in one layer, the rest follows when it is settled."""

from __future__ import annotations

from dataclasses import replace

from hwsim.arith.rounding import Rounding
from hwsim.contract.stochastic import StochasticRounding
from hwsim.errors import InputError
from hwsim.formats.fixed import FixedPoint
from hwsim.layers import Concat, MacLayer
from hwsim.network.lower.layers import bias_room
from hwsim.network.lower.settle import naming, output_stage, recoded, with_output
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode


def with_bits(
    network: QuantizedNetwork, layer: str, weights: int | None, output: int | None
) -> tuple[QuantizedNode, ...]:
    """Return the nodes with other widths in one of them, not yet settled."""
    where, node = f"network {network.name!r}, layer {layer!r}", network[layer]
    with naming(where):
        if weights is not None:
            node = _with_weight_bits(network, node, _width("weights", weights))
        if output is not None:
            node = _with_output_bits(network, node, _width("output", output))
    return tuple(node if other.name == layer else other for other in network.nodes)


def _width(name: str, bits: object) -> int:
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 32:
        raise InputError(f"found {name}={bits!r}, allowed an integer from 2 (16 at most for weights).")
    return bits


def _with_weight_bits(network: QuantizedNetwork, node: QuantizedNode, bits: int) -> QuantizedNode:
    layer, source = node.layer, node.source
    if not isinstance(layer, MacLayer) or source is None:
        raise InputError(f"a {layer.kind} has no weights; allowed are layers that have.")
    contract = layer.contract
    most = None
    if contract.bias is None:
        most = bias_room(source.bias, contract.input, contract.accumulator, len(source.weight))
    weight = network.weight_rule.format(source.weight, bits, most)
    bias = None if contract.bias is None else weight  # a bias with a format of its own has the weights'
    return replace(node, layer=recoded(layer, replace(contract, weight=weight, bias=bias), source))


def _with_output_bits(network: QuantizedNetwork, node: QuantizedNode, bits: int) -> QuantizedNode:
    if isinstance(node.layer, Concat):
        return replace(node, layer=replace(node.layer, format=node.layer.format.with_bits(bits)))
    stage = output_stage(node.layer)
    if stage is None:
        raise InputError(f"a {node.layer.kind} passes its input's format on; change the output of {node.inputs[0]!r} instead.")
    seen = network.ranges.get(node.name)
    fmt: FixedPoint = stage.format.with_bits(bits) if seen is None else seen.format(bits, stage.format.signed)
    return replace(node, layer=with_output(node.layer, replace(stage, format=fmt)))


def with_accumulator(
    network: QuantizedNetwork, layer: str, bits: int, require_proof: bool | None
) -> tuple[QuantizedNode, ...]:
    """Return the nodes with another accumulator in one of them, not yet settled."""
    where, node = f"network {network.name!r}, layer {layer!r}", network[layer]
    old, source = node.layer, node.source
    if not isinstance(old, MacLayer) or source is None:
        raise InputError(f"{where}: a {old.kind} has no accumulator; allowed are convolution and fully connected layers.")
    proof = old.contract.accumulator.require_proof if require_proof is None else require_proof
    with naming(where):
        accumulator = replace(old.contract.accumulator, bits=bits, require_proof=proof)
        changed = replace(node, layer=recoded(old, replace(old.contract, accumulator=accumulator), source))
    return tuple(changed if other is node else other for other in network.nodes)


def with_rounding(
    network: QuantizedNetwork, layer: str, rounding: Rounding | StochasticRounding
) -> tuple[QuantizedNode, ...]:
    """Return the nodes with another rounding in the output stage of one of them, not yet settled."""
    node = network[layer]
    with naming(f"network {network.name!r}, layer {layer!r}"):
        stage = output_stage(node.layer)
        if stage is None:
            raise InputError(f"a {node.layer.kind} rounds nothing; allowed are layers that compute their output.")
        changed = replace(node, layer=with_output(node.layer, replace(stage, rounding=rounding)))
    return tuple(changed if other is node else other for other in network.nodes)
