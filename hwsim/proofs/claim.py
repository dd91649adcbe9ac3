"""What a certificate claims, read from plain data that nobody vouches for: every field's type, length and range, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hwsim.arith.accumulate import Pairing
from hwsim.contract.mac import MacContract
from hwsim.errors import ContractError, InputError, ProofError
from hwsim.golden.write import layer_digest
from hwsim.layers import MacLayer, Shape
from hwsim.network.strict import Fields, short

SCHEMA = "hwsim.overflow/1"
REACH = 1 << 80
"""No register is asked to hold more: contracts keep sums within 64 bits."""
MOST = 1 << 28
"""Codes of an input, and outputs: what a layer takes."""

Place = tuple[int, int, int]


@dataclass(frozen=True)
class Register:
    """The claimed ends of one register, by output channel, and the (y, x, step) where each is reached."""

    name: str
    low: tuple[int, ...]
    high: tuple[int, ...]
    low_at: tuple[Place, ...]
    high_at: tuple[Place, ...]


@dataclass(frozen=True)
class Claim:
    """A certificate whose every field has a type and a range that can be true; nothing of it is proven yet.

    low, high: codes that may come, by input channel.  registers: the accumulator, the levels of the tree, the spill buffer.
    """

    name: str
    shape: Shape
    low: tuple[int, ...]
    high: tuple[int, ...]
    bits: tuple[int, ...]
    registers: tuple[Register, ...]
    tight: tuple[bool, ...]


def read_claim(data: object, layer: MacLayer, file: str = "") -> Claim:
    """Read a certificate as plain data; file: where sentences say that it stands.

    Errors: InputError where it is malformed, ProofError where it is of another kind of layer, or of other operands.
    """
    name = data.get("name") if isinstance(data, dict) else None
    where = f"{file and file + ': '}certificate of layer {short(name)}"
    f = Fields(data, where)
    contract = layer.contract
    if not isinstance(contract, MacContract):
        raise InputError(f"{where}: the layer is a {layer.kind} with minifloats, allowed is one in integers.")
    if f.text("schema") != SCHEMA:
        raise InputError(f"{where}, schema: found another one than {SCHEMA!r}; write the certificate again with this hwsim.")
    name, kind, digest = f.text("name", 4096), f.text("kind"), f.text("layer_sha256")
    if kind != layer.kind or digest != layer_digest(layer):
        raise ProofError(
            f"{where}: it is of a {kind} with digest {digest[:12]}, the layer is a {layer.kind} with digest "
            f"{layer_digest(layer)[:12]}: other weights or another contract; prove this layer again."
        )
    shape = Shape(*f.integers("input_shape", 1, MOST, 3))
    low, high = _input_range(f.fields("input_range"), layer, shape)
    k = layer.channels
    outputs = _output_shape(where, layer, shape)
    accumulator = f.fields("accumulator")
    bits = accumulator.integers("bits", 2, 128, k)
    declared = accumulator.integer("declared", 2, 64)
    if declared != contract.accumulator.bits:
        raise ProofError(f"{where}: claims that {declared} bits are declared, found {contract.accumulator.bits}; prove again.")
    registers = (_register("accumulator", accumulator, outputs), *_before(f, contract, outputs))
    tight = f.objects("tight")
    if len(tight) != k or not all(isinstance(v, bool) for v in tight):
        raise InputError(f"{where}, tight: found {short(tight)}, allowed a list of {k} times true or false.")
    reason = f.any("reason")
    if not (reason is None or isinstance(reason, str) and len(reason) <= 4096) or (reason is None) != all(tight):
        raise InputError(f"{where}, reason: found {short(reason)}, allowed a text where a channel is not tight, else null.")
    f.integer("log2_rule", 0, 999)  # a rule of thumb, and no claim
    f.done()
    return Claim(name, shape, low, high, bits, registers, tuple(tight))


def _input_range(f: Fields, layer: MacLayer, shape: Shape) -> tuple[tuple[int, ...], tuple[int, ...]]:
    fmt = layer.input_formats[0]
    low, high = (f.integers(name, fmt.low, fmt.high, shape.c) for name in ("low", "high"))
    f.done()
    if any(a > b for a, b in zip(low, high, strict=True)):
        raise InputError(f"{f.where}: found a low above its high, allowed low <= high in each channel.")
    return low, high


def _output_shape(where: str, layer: MacLayer, shape: Shape) -> Shape:
    try:
        return layer.output_shape([shape])
    except ContractError as error:
        raise InputError(f"{where}, input_shape: {error}") from None


def _before(f: Fields, contract: MacContract, outputs: Shape) -> list[Register]:
    """The registers before the accumulator: as many as the contract declares."""
    schedule = contract.accumulator.schedule
    lanes = 1 if schedule is None else schedule.lanes
    levels = lanes - 1 if schedule is not None and schedule.tree.pairing is Pairing.CHAIN else (lanes - 1).bit_length()
    tree, spill = f.objects("tree"), f.any("spill")
    if len(tree) != levels:
        raise InputError(f"{f.where}, tree: found {len(tree)} levels, allowed {levels}, as the contract has.")
    if (spill is None) != (schedule is None or schedule.spill is None):
        raise InputError(f"{f.where}, spill: found {short(spill)}, allowed an object where the contract spills, else null.")
    named: list[tuple[str, Any]] = [(f"tree level {i}", level) for i, level in enumerate(tree)]
    named += [] if spill is None else [("spill", spill)]
    return [_register(name, Fields(value, f"{f.where}, {name}"), outputs) for name, value in named]


def _register(name: str, f: Fields, outputs: Shape) -> Register:
    k = outputs.c
    low, high = (f.integers(field, -REACH, REACH, k) for field in ("low", "high"))
    places = [_places(f, field, outputs) for field in ("low_at", "high_at")]
    f.done()
    if any(a > b for a, b in zip(low, high, strict=True)):
        raise InputError(f"{f.where}: found a low above its high, allowed low <= high in each channel.")
    return Register(name, low, high, *places)


def _places(f: Fields, name: str, outputs: Shape) -> tuple[Place, ...]:
    found = f.objects(name)
    ends = (outputs.h - 1, outputs.w - 1, MOST)
    if len(found) != outputs.c or not all(_is_place(place, ends) for place in found):
        raise InputError(f"{f.where}, {name}: found {short(found)}, allowed {outputs.c} times [y, x, step] within the output.")
    return tuple((y, x, step) for y, x, step in found)


def _is_place(place: object, ends: Place) -> bool:
    return (
        isinstance(place, list)
        and len(place) == 3
        and all(type(v) is int and 0 <= v <= end for v, end in zip(place, ends, strict=True))
    )
