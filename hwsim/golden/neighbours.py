"""Contracts one field away from a layer's own: what a device may have built instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.arith.shift_add import SignOrder
from hwsim.contract import (
    Accumulator,
    BiasPoint,
    ExactSum,
    FloatAccumulator,
    FloatMacContract,
    FloatOutput,
    MacContract,
    Order,
    Output,
    PaddedTaps,
    RoundAt,
    Scaling,
    Schedule,
    Tree,
    ZeroSkip,
)
from hwsim.errors import ContractError
from hwsim.formats import Affine, Minifloat
from hwsim.layers import HostLRN, Layer, MacLayer

MODES = (Overflow.WRAP, Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC)
"""Overflow modes of a device: TRAP is what a simulator does."""

Neighbours = Iterator[tuple[str, Any]]
"""(what is said of it, the changed rule), of those that can be built."""


def neighbours(layer: Layer) -> Iterator[tuple[str, Layer]]:
    """Layers with one rule changed, each with what to say of it."""
    if isinstance(layer, MacLayer):
        yield from _put(layer, contract=_put(layer.contract, output=_outputs(layer.contract.output)))
        if layer.bias is not None:
            yield "without the bias", replace(layer, bias=None)
        contract = layer.contract
        found = _contracts(contract) if isinstance(contract, MacContract) else _float_contracts(contract)
        yield from _put(layer, contract=found)
    elif isinstance(output := getattr(layer, "output", None), (Output, FloatOutput)) and not isinstance(layer, HostLRN):
        yield from _put(layer, output=_outputs(output))


def _put(whole: Any, said: str = "", **field: Neighbours) -> Neighbours:
    """The whole with one of its fields replaced by each neighbour; `said` stands before what is said of it."""
    for name, found in field.items():
        for sentence, part in found:
            if (changed := _changed(whole, name, part)) is not None:
                yield said + sentence, changed


def _changed(rule: Any, name: str, value: Any) -> Any:
    """The rule with another value in one field, None where that cannot be built: no hardware is like that, either."""
    try:
        return replace(rule, **{name: value})
    except ContractError:
        return None


def _others(rule: Any, /, **fields: Sequence[Any]) -> Neighbours:
    """The rule with one of the fields changed to each other value; fields that are None have none."""
    for name, values in fields.items():
        old = getattr(rule, name)
        for value in values if old is not None else ():
            if value != old and (changed := _changed(rule, name, value)) is not None:
                yield f"{name.replace('_', ' ')} {_said(value)} instead of {_said(old)}", changed


def _said(value: Any) -> str:
    return value.name if isinstance(value, Enum) else str(value)


def _outputs(output: Any) -> Neighbours:
    for rounding in Rounding:
        if rounding != output.rounding:
            old = _said(output.rounding) if isinstance(output.rounding, Rounding) else "stochastically"
            if (changed := _changed(output, "rounding", rounding)) is not None:
                yield f"rounded {rounding.name} instead of {old}", changed
    for overflow in MODES if hasattr(output, "overflow") else ():
        if overflow != output.overflow:
            yield f"under {overflow.name} instead of {output.overflow.name}", replace(output, overflow=overflow)
    if isinstance(output, Output):
        yield from _scaled(output)
    if output.activation != Activation.NONE:
        yield "without the ReLU", replace(output, activation=Activation.NONE)
    elif (changed := _changed(output, "activation", Activation.RELU_AFTER_REQUANTIZE)) is not None:
        yield "behind a ReLU", changed


def _scaled(output: Output) -> Neighbours:
    """The output by another rule of scaling, without its clamp, or with another zero point."""
    if output.scaling is not None:
        rules = tuple(rule for rule in Scaling if rule is not Scaling.SHIFT)
        yield from _put(output, "with the scaling's ", scaling=_others(output.scaling, rule=rules))
    for name in ("clamp_low", "clamp_high"):
        if getattr(output, name) is not None:
            yield f"without {name.replace('_', ' ')}", replace(output, **{name: None})  # type: ignore[arg-type]
    if isinstance(output.format, Affine):
        zero = output.format.zero()
        yield from _put(output, "with the output's ", format=_others(output.format, zero_point=(zero - 1, zero + 1, 0)))


def _contracts(contract: MacContract) -> Neighbours:
    """Another zero point, shift-add unit, register, or order of the steps."""
    for name in ("input", "weight"):
        fmt = getattr(contract, name)
        if isinstance(fmt, Affine) and not isinstance(fmt.zero_point, tuple):
            zeros = (0, fmt.zero_point - 1, fmt.zero_point + 1)
            yield from _put(contract, f"with the {name}'s ", **{name: _others(fmt, zero_point=zeros)})
    if contract.product is not None:
        units = _others(contract.product, rounding=tuple(Rounding), sign_order=tuple(SignOrder))
        yield from _put(contract, "with the product's ", product=units)
    yield from _put(contract, "with the accumulator's ", accumulator=_accumulators(contract.accumulator))


def _float_contracts(contract: FloatMacContract) -> Neighbours:
    """Another float register, or an exact sum in its place; formats that saturate or do not, that keep subnormals or do not."""
    acc = contract.accumulator
    if isinstance(acc, FloatAccumulator):
        yield "with an exact sum instead of the accumulator's format", replace(contract, accumulator=ExactSum())
        yield from _put(contract, "with the accumulator's ", accumulator=_float_registers(acc))
    else:
        yield "with a binary32 accumulator instead of an exact sum", replace(contract, accumulator=FloatAccumulator())
    if isinstance(contract.output, FloatOutput):
        formats = _others(contract.output.format, saturate=(False, True), subnormals=(False, True))
        yield from _put(contract, "with the output's ", output=_put(contract.output, format=formats))
    for name in ("input", "weight"):
        fmt = getattr(contract, name)
        if isinstance(fmt, Minifloat):
            yield from _put(contract, f"with the {name}'s ", **{name: _others(fmt, subnormals=(False, True))})


def _float_registers(acc: FloatAccumulator) -> Neighbours:
    yield from _others(acc, rounding=tuple(Rounding), product_rounding=tuple(Rounding))
    if acc.product is not None:
        yield "products exact instead of rounded", replace(acc, product=None)
    yield from _put(acc, format=_others(acc.format, saturate=(False, True), subnormals=(False, True)))
    steps = {"bias": tuple(BiasPoint), "padded": tuple(PaddedTaps), "skip_zeros": tuple(ZeroSkip)}
    yield from _put(acc, schedule=_others(acc.schedule, order=tuple(Order), **steps))
    trees = _put(acc.schedule, "tree's ", tree=_others(acc.schedule.tree, pairing=tuple(Pairing)))
    yield from _put(acc, schedule=trees)


def _accumulators(acc: Accumulator) -> Neighbours:
    yield from _others(acc, bits=(acc.bits - 1, acc.bits + 1), overflow=MODES)
    yield from _others(acc, rounding=tuple(Rounding), round_at=tuple(RoundAt))
    if acc.schedule is not None:
        yield from _put(acc, schedule=_schedules(acc.schedule))


def _schedules(schedule: Schedule) -> Neighbours:
    """The steps in another order, with another tree or spill, or with other taps left out."""
    modes = {"bias": tuple(BiasPoint), "padded": tuple(PaddedTaps), "skip_zeros": tuple(ZeroSkip)}
    yield from _others(schedule, order=tuple(Order), **modes)
    yield from _put(schedule, "tree's ", tree=_trees(schedule.tree))
    if schedule.spill is None:
        return
    yield "spill left out", replace(schedule, spill=None)
    every = (schedule.spill.every - 1, schedule.spill.every + 1)
    spills = _others(schedule.spill, every=every, rounding=tuple(Rounding), overflow=MODES, last=(False, True))
    yield from _put(schedule, "spill's ", spill=spills)


def _trees(tree: Tree) -> Neighbours:
    yield from _others(tree, pairing=tuple(Pairing), overflow=MODES)
    if tree.bits is not None:
        yield "widths exact instead of declared", replace(tree, bits=None)
