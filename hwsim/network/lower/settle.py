"""Settling: input formats follow the producers, codes follow the formats, and concatenations get the rescales they need.

A network that was edited anywhere is settled again, so only what a layer decides for itself is ever stored: its weights',
bias's and output's formats, its accumulator's width and its modes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import FloatMacContract, FloatOutput, MacContract, Output
from hwsim.contract.mac import real_step
from hwsim.errors import ContractError, HwsimError, InputError
from hwsim.formats import Affine, FixedPoint, Format, Minifloat, PowerOfTwo
from hwsim.layers import Concat, EltwiseMax, EltwiseMin, ImageEncoding, Layer, MacLayer, Rescale
from hwsim.network.lower.refit import refitted
from hwsim.network.lower.sites import input_name
from hwsim.network.quantized import QuantizedNode, Source

AnyOutput = Output | FloatOutput
Real = FixedPoint | Minifloat
"""Formats of what flows between layers."""


def rescale_name(concat: str, branch: str) -> str:
    """Name of the rescale that brings a branch to the concatenation's format.

    >>> rescale_name("fire2/concat", "fire2/expand1x1")
    'fire2/concat:fire2/expand1x1'
    """
    return f"{concat}:{branch}"


def settle(nodes: Iterable[QuantizedNode], network: str) -> tuple[QuantizedNode, ...]:
    """Return the nodes with formats that agree on every edge.

    A layer's input format is its producer's output format.  A concatenation or a maximum keeps its own format: a branch with
    another one gets a visible Rescale named "<concat>:<branch>" (rounding and overflow as the branch's producer has them),
    and loses it when the formats agree again.  A multiply-accumulate unit in integers reads no minifloats: a visible Rescale
    named "<layer>:in" brings them to the format that the layer had, and stays.  Errors: ContractError and ProofError, naming
    the layer.
    """
    settled: dict[str, QuantizedNode] = {}
    for node in without_branch_rescales(tuple(nodes), JOINS):
        where = f"network {network!r}, layer {node.name!r}"
        for name in node.inputs:
            if name not in settled:
                raise InputError(f"{where}: its input {name!r} is no earlier layer; order or rename them.")
        if not isinstance(node.layer, ImageEncoding) and not node.inputs:
            raise InputError(f"{where}: reads nothing; a {node.layer.kind} needs an input.")
        if (wanted := joint_format(node.layer)) is not None:
            node = _joined(node, wanted, settled)
        if isinstance(node.layer, MacLayer) and isinstance(node.layer.contract, MacContract):
            node = _reads_integers(node, node.layer.contract.input, settled, where)
        formats = tuple(settled[name].layer.output_format for name in node.inputs)
        with naming(where):
            layer = refit(node, formats)
        if node.name in settled:
            raise InputError(f"{where}: this name is taken by an earlier layer; names must differ.")
        settled[node.name] = replace(node, layer=layer)
    return tuple(settled.values())


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Give every error inside the layer's name."""
    try:
        yield
    except HwsimError as error:
        said = str(error)
        raise type(error)(said if said.startswith(where) else f"{where}: {said}") from None


JOINS = (Concat, EltwiseMax, EltwiseMin)
"""Kinds whose branches have one format, through rescales where they differ."""


def without_branch_rescales(nodes: Sequence[QuantizedNode], joins: tuple[type, ...] = (Concat,)) -> tuple[QuantizedNode, ...]:
    """Return the nodes as they were before settling: concatenations (and what else `joins` names) read their branches themselves.

    A file says a concatenation's format, and so needs none of its rescales; a maximum's is what it reads.
    """
    source = {node.name: node.inputs[0] for node in nodes if isinstance(node.layer, Rescale) and node.inputs}
    derived: set[str] = set()
    plain = []
    for node in nodes:
        if isinstance(node.layer, joins):
            mine = {name for name in node.inputs if name in source and name == rescale_name(node.name, source[name])}
            derived |= mine
            node = replace(node, inputs=tuple(source[name] if name in mine else name for name in node.inputs))
        plain.append(node)
    return tuple(node for node in plain if node.name not in derived)


def joint_format(layer: Layer) -> Any:
    """Return the one format that a layer demands of all its branches and decides itself; None where it demands none."""
    if isinstance(layer, Concat):
        return layer.format
    return layer.formats[0] if isinstance(layer, (EltwiseMax, EltwiseMin)) else None


def _joined(node: QuantizedNode, wanted: Any, settled: dict[str, QuantizedNode]) -> QuantizedNode:
    """Put a rescale, once, before each branch whose format is not the one that all must have."""
    inputs = []
    for branch in node.inputs:
        found = settled[branch].layer.output_format
        if found == wanted:
            inputs.append(branch)
            continue
        name = rescale_name(node.name, branch)
        settled[name] = QuantizedNode(name, (branch,), Rescale(found, stage_like(_modes(branch, settled), wanted)))
        inputs.append(name)
    return replace(node, inputs=tuple(inputs))


def _reads_integers(node: QuantizedNode, wanted: Format, settled: dict[str, QuantizedNode], where: str) -> QuantizedNode:
    """Put a rescale before a unit in integers whose producer gives minifloats."""
    producer, name = node.inputs[0], input_name(node.name)
    found = settled[producer].layer.output_format
    if not isinstance(found, Minifloat):
        return node
    if name in settled:
        raise InputError(f"{where}: its input {producer!r} gives {found}, and the rescale's name {name!r} is taken; rename that.")
    settled[name] = QuantizedNode(name, (producer,), Rescale(found, stage_like(_modes(producer, settled), wanted)))
    return replace(node, inputs=(name,))


def stage_like(modes: AnyOutput, fmt: Format) -> AnyOutput:
    """Return an output stage of this format that rounds and overflows as another one does; from a minifloat's, it saturates."""
    if isinstance(fmt, Minifloat):
        return FloatOutput(fmt, modes.rounding)  # type: ignore[arg-type]  # refused there if it draws
    if isinstance(fmt, Affine) or isinstance(modes, Output) and isinstance(modes.format, Affine):
        raise ContractError(
            f"found a rescale to {fmt}, whose multiplier does not follow from the formats; give all branches one format, or put "
            "a rescale with Output.scaling there."
        )
    assert isinstance(fmt, FixedPoint)
    return Output(fmt, modes.rounding, modes.overflow if isinstance(modes, Output) else Overflow.SATURATE)


def _modes(name: str, settled: dict[str, QuantizedNode]) -> AnyOutput:
    """The output stage that made these codes: the nearest one upstream."""
    node = settled[name]
    while (output := output_stage(node.layer)) is None:
        node = settled[node.inputs[0]]
    return output


def output_stage(layer: Layer) -> AnyOutput | None:
    """Return how a layer rounds and clips its output, or None where codes pass unchanged."""
    if isinstance(layer, MacLayer):
        return layer.contract.output
    return getattr(layer, "output", None)


def with_output(layer: Layer, output: AnyOutput) -> Layer:
    """Return the layer with another output stage."""
    if isinstance(layer, MacLayer):
        contract: Any = replace(layer.contract, output=output)  # type: ignore[arg-type]  # refused there if it does not fit
        return replace(layer, contract=contract)
    return replace(layer, output=output)  # type: ignore[type-var]


def refit(node: QuantizedNode, formats: tuple[Any, ...]) -> Layer:
    """Return the node's layer with these input formats; codes of weights and bias are derived again where they change."""
    layer = node.layer
    if isinstance(layer, MacLayer):
        contract: Any = replace(layer.contract, input=formats[0])
        return recoded(layer, contract, node.source)
    return refitted(layer, formats)


def with_grid(contract: MacContract, channels: int) -> MacContract:
    """Return the contract with its accumulator's grid derived: the product's, or the bias's where that is finer.

    A bias on the accumulator's grid (contract.bias None) leaves the product's, and so do dropped bits: then the grid stays
    undeclared.
    """
    undeclared = replace(contract, accumulator=replace(contract.accumulator, fractional_length=None))
    if contract.bias is None or contract.accumulator.dropped_bits:
        return undeclared
    lengths = tuple(max(undeclared.product_length(k), contract.bias.fl(k)) for k in range(channels))
    grid = lengths if len(set(lengths)) > 1 else lengths[0]
    return replace(contract, accumulator=replace(contract.accumulator, fractional_length=grid))


def grid_is_derived(contract: MacContract, channels: int) -> bool:
    """Return whether the accumulator's grid is the one that follows, so that it moves with the formats; else it was declared."""
    return contract.accumulator == with_grid(contract, channels).accumulator


def recoded(layer: MacLayer, contract: MacContract | FloatMacContract, source: Source | None) -> Any:
    """Return the layer under this contract, a derived grid derived again, with the codes that follow from the weights.

    A layer without float weights keeps its codes.
    """
    contract = _on_its_grid(layer, contract)
    if contract == layer.contract:
        return layer
    if source is None:
        return replace(layer, contract=contract)
    weight, bias = codes(contract, source)
    return replace(layer, contract=contract, weight=weight, bias=bias)


def _on_its_grid(layer: MacLayer, contract: MacContract | FloatMacContract) -> MacContract | FloatMacContract:
    """The contract, its accumulator's grid derived again unless it was declared; minifloats are summed on no such grid."""
    if not isinstance(contract, MacContract):
        return contract
    channels, grid, old = len(layer.weight), contract.accumulator.fractional_length, layer.contract
    if grid is None:
        return with_grid(contract, channels)
    derived = isinstance(old, MacContract) and grid == old.accumulator.fractional_length and grid_is_derived(old, channels)
    return with_grid(contract, channels) if derived else contract


def codes(contract: MacContract | FloatMacContract, source: Source) -> tuple[np.ndarray, np.ndarray | None]:
    """Return weight and bias codes: rounded as contract.bias_rounding says, saturated to their formats.

    Powers of two are the nearest ones.  A bias on an integer accumulator's own grid must fit: ContractError where the
    accumulator cannot hold it.  Of affine operands that grid is the product of their scales.
    """
    rounding = contract.bias_rounding
    weight = encoded(contract.weight, source.weight, rounding)
    if source.bias is None:
        return weight, None
    fmt = bias_meaning(contract, len(weight))
    if contract.bias is not None or not isinstance(contract, MacContract) or isinstance(fmt, Minifloat):
        return weight, encoded(fmt, source.bias, rounding)
    try:
        return weight, fmt.encode_array(source.bias, rounding, Overflow.TRAP)
    except ContractError as error:
        found = str(error).rstrip(".")
        raise ContractError(
            f"the bias does not fit an accumulator of {contract.accumulator.bits} bits on the products' grid ({found}); "
            "widen the accumulator or give the weights fewer bits."
        ) from None


def bias_meaning(contract: MacContract | FloatMacContract, channels: int) -> FixedPoint | Affine | Minifloat:
    """Return the bias's format, resolved: its own, or the accumulator's grid."""
    on_grid = isinstance(contract, MacContract) and contract.bias is None
    return bias_grid(contract, channels) if on_grid else contract.bias_format(channels)  # type: ignore[arg-type]


def bias_grid(contract: MacContract, channels: int) -> FixedPoint | Affine:
    """Return what the codes of a bias on the accumulator's grid mean: of affine operands, the product of their scales."""
    if isinstance(contract.weight, PowerOfTwo) or not (isinstance(contract.input, Affine) or isinstance(contract.weight, Affine)):
        return contract.bias_format(channels)
    read, weight = contract.input, contract.weight
    return Affine(contract.accumulator.bits, tuple(float(real_step(read) * real_step(weight, k)) for k in range(channels)))


def encoded(fmt: Format, real: np.ndarray, rounding: Rounding) -> np.ndarray:
    """Return the codes of real numbers; what is beyond a format's largest number becomes it."""
    if isinstance(fmt, PowerOfTwo):
        return fmt.encode_array(real)
    if isinstance(fmt, Minifloat):
        return replace(fmt, saturate=True).encode_array(real, rounding)
    return fmt.encode_array(real, rounding)
