"""Editing a quantized network: another width in one layer, the rest follows when it is settled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, ExactSum, FloatAccumulator, FloatMacContract, FloatOutput, MacContract, Output
from hwsim.contract.stochastic import StochasticRounding
from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint, Minifloat, PowerOfTwo
from hwsim.layers import LookupTable, MacLayer
from hwsim.network.lower.clip import on_format
from hwsim.network.lower.curves import function_table
from hwsim.network.lower.mac_layers import bias_room
from hwsim.network.lower.refit import refitted
from hwsim.network.lower.settle import joint_format, naming, output_stage, recoded, with_output
from hwsim.network.lower.sites import input_name
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode, Source
from hwsim.network.ranges import Range

AnyAccumulator = int | Accumulator | ExactSum | FloatAccumulator
AFFINE = "its scales go with its multipliers, so one width cannot change alone; quantize the network again with other widths."
MIXED_BITS = 8
"""Width of inputs and outputs of a layer that leaves the minifloats."""


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
    if not isinstance(contract, MacContract):
        raise InputError("a minifloat's width follows from its fields; give another format by with_weights.")
    fmt = contract.input
    if isinstance(fmt, Affine) or isinstance(contract.weight, Affine):
        raise InputError(AFFINE)
    most = None
    if contract.bias is None:
        most = bias_room(source.bias, fmt, contract.accumulator, len(source.weight))
    rule = network.weight_rule
    weight = (rule.powers if isinstance(contract.weight, PowerOfTwo) else rule.format)(source.weight, bits, most)
    return replace(node, layer=recoded(layer, _with_weights(contract, weight), source))


def _with_weights(contract: MacContract, weight: FixedPoint | PowerOfTwo) -> MacContract:
    """The contract with other weights: exact products, and a bias that had the weights' format has it again."""
    bias = weight if contract.bias == contract.weight and isinstance(weight, FixedPoint) else contract.bias
    if isinstance(weight, PowerOfTwo) and contract.bias == contract.weight:
        bias = None
    return replace(contract, weight=weight, bias=bias, product=None)


def _with_output_bits(network: QuantizedNetwork, node: QuantizedNode, bits: int) -> QuantizedNode:
    joint = joint_format(node.layer)
    if isinstance(joint, FixedPoint):
        return replace(node, layer=refitted(node.layer, (joint.with_bits(bits),) * len(node.inputs)))
    seen = network.ranges.get(node.name)
    if isinstance(node.layer, LookupTable):
        return replace(node, layer=_with_table_bits(node.layer, bits, seen))
    stage = output_stage(node.layer)
    if stage is None:
        raise InputError(f"a {node.layer.kind} passes its input's format on; change the output of {node.inputs[0]!r} instead.")
    if not isinstance(stage, Output):
        raise InputError("a minifloat's width follows from its fields; edit the layer's output in the file instead.")
    if isinstance(stage.format, Affine) or stage.scaling is not None:
        raise InputError(AFFINE)
    fmt = stage.format.with_bits(bits) if seen is None else seen.format(bits, stage.format.signed)
    return replace(node, layer=with_output(node.layer, on_format(stage, fmt)))


def _with_table_bits(layer: LookupTable, bits: int, seen: Range | None) -> LookupTable:
    """The table of the same function in codes of other bits."""
    read, old = layer.format, layer.output_format
    if layer.function is None or not (isinstance(read, FixedPoint) and isinstance(old, FixedPoint)):
        raise InputError("a lookup_table of no known function, or of affine codes, has no other width; write its table anew.")
    fmt = old.with_bits(bits) if seen is None else seen.format(bits, old.signed)
    return function_table(layer.function, read, fmt, Rounding.TIES_EVEN)


def with_accumulator(
    network: QuantizedNetwork, layer: str | None, accumulator: AnyAccumulator, require_proof: bool | None
) -> tuple[QuantizedNode, ...]:
    """Return the nodes with another accumulator in one of them, or in all that take it, not yet settled."""
    if layer is not None:
        where, node = f"network {network.name!r}, layer {layer!r}", network[layer]
        if not isinstance(node.layer, MacLayer) or node.source is None:
            kind = node.layer.kind
            raise InputError(f"{where}: a {kind} has no accumulator; allowed are convolution and fully connected layers.")
        chosen = {layer}
    else:
        chosen = {node.name for node in network.mac_nodes if node.source is not None and _takes(node, accumulator)}
        if not chosen:
            raise InputError(f"network {network.name!r}: no layer takes the accumulator {accumulator!r}.")
    return tuple(
        _accumulating(network, node, accumulator, require_proof) if node.name in chosen else node for node in network.nodes
    )


def _takes(node: QuantizedNode, accumulator: AnyAccumulator) -> bool:
    """Whether an accumulator is of the kind that this layer's contract has."""
    assert isinstance(node.layer, MacLayer)
    return isinstance(node.layer.contract, FloatMacContract) == isinstance(accumulator, (ExactSum, FloatAccumulator))


def _accumulating(
    network: QuantizedNetwork, node: QuantizedNode, accumulator: AnyAccumulator, proof: bool | None
) -> QuantizedNode:
    layer: Any = node.layer
    with naming(f"network {network.name!r}, layer {node.name!r}"):
        if not _takes(node, accumulator):
            kind = type(layer.contract).__name__
            found = accumulator if isinstance(accumulator, int) else type(accumulator).__name__
            raise InputError(
                f"found accumulator {found} for a {kind}, allowed ExactSum or FloatAccumulator for a FloatMacContract, "
                "bits or an Accumulator for a MacContract."
            )
        if isinstance(accumulator, int):
            accumulator = replace(layer.contract.accumulator, bits=accumulator)
        if isinstance(accumulator, Accumulator) and proof is not None:
            accumulator = replace(accumulator, require_proof=proof)
        contract = replace(layer.contract, accumulator=accumulator)
        return replace(node, layer=recoded(layer, contract, node.source))


def with_weights(
    network: QuantizedNetwork, layer: str, weights: FixedPoint | PowerOfTwo | Minifloat
) -> tuple[QuantizedNode, ...]:
    """Return the nodes with weights of another format in one of them, not yet settled."""
    node = network[layer]
    with naming(f"network {network.name!r}, layer {layer!r}"):
        old, source = node.layer, node.source
        if not isinstance(old, MacLayer) or source is None:
            raise InputError(f"a {old.kind} has no weights; allowed are layers that have.")
        contract: MacContract | FloatMacContract
        if isinstance(weights, Minifloat):
            contract = _in_floats(old.contract, weights)
        elif isinstance(weights, (FixedPoint, PowerOfTwo)):
            contract = _with_weights(_in_integers(network, node, old.contract, weights, source), weights)
        else:
            raise InputError(f"found weights {weights!r}, allowed a FixedPoint, a PowerOfTwo or a Minifloat.")
        changed = replace(node, layer=recoded(old, contract, source))
    return tuple(changed if other is node else other for other in network.nodes)


def _in_floats(old: MacContract | FloatMacContract, weights: Minifloat) -> FloatMacContract:
    """The contract with a minifloat for weights: an exact sum unless a float register is there; inputs and output stay."""
    if isinstance(old, FloatMacContract):
        return replace(old, weight=weights)
    if isinstance(old.input, Affine) or old.output.scaling is not None:
        raise InputError(AFFINE)
    return FloatMacContract(old.input, weights, old.output, ExactSum(), None, old.bias_rounding)


def _in_integers(
    network: QuantizedNetwork,
    node: QuantizedNode,
    old: MacContract | FloatMacContract,
    weights: FixedPoint | PowerOfTwo,
    source: Source,
) -> MacContract:
    """The contract with integer operands: what was a minifloat gets the format that calibration's ranges give."""
    if isinstance(old, MacContract):
        if isinstance(old.input, Affine) or old.output.scaling is not None:
            raise InputError(AFFINE)
        return old
    output, rounding = old.output, old.bias_rounding
    if isinstance(output, FloatOutput):
        output = Output(_seen(network, node.name), output.rounding, Overflow.SATURATE, output.activation)
    fmt = old.input if isinstance(old.input, FixedPoint) else _seen(network, _measured(network, node))
    return MacContract(fmt, weights, output, Accumulator(), None, rounding)


def _seen(network: QuantizedNetwork, key: str) -> FixedPoint:
    if key not in network.ranges:
        raise InputError(f"calibration has no range of {key!r}, from which a format would follow; quantize the network again.")
    seen = network.ranges[key]
    return seen.format(MIXED_BITS, seen.low < 0)


def _measured(network: QuantizedNetwork, node: QuantizedNode) -> str:
    """Key of the range of what a layer reads: its own, else that of the nearest layer upstream that computes."""
    key = input_name(node.name)
    while key not in network.ranges and node.inputs:
        node = network[node.inputs[0]]
        key = node.name
    return key


def with_rounding(
    network: QuantizedNetwork, layer: str, rounding: Rounding | StochasticRounding
) -> tuple[QuantizedNode, ...]:
    """Return the nodes with another rounding in the output stage of one of them, not yet settled."""
    node = network[layer]
    with naming(f"network {network.name!r}, layer {layer!r}"):
        stage = output_stage(node.layer)
        if stage is None:
            raise InputError(f"a {node.layer.kind} rounds nothing; allowed are layers that compute their output.")
        changed = replace(node, layer=with_output(node.layer, replace(stage, rounding=rounding)))  # type: ignore[arg-type]
    return tuple(changed if other is node else other for other in network.nodes)
