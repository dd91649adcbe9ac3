"""The contract of a multiply-accumulate layer, and of an output, as stanzas of a .hwnet and back.

What says which datapath it is: the accumulator. {"bits": ..} is an integer register; {"exact": true} a register as wide as
every sum needs, and {"format": ..} a float register: these two take minifloats among their operands.
Weights are {"bits", "integer_bits", "signed"}, {"bits", "scale", "zero_point", "signed"}, {"exp_min", "exp_max", "zero"} or
{"minifloat": NAME}; outputs likewise. An output that is scaled by a multiplier has it in "scaling", as it is: it does not follow
from the scales, which only say what the codes mean.
"""

from __future__ import annotations

import typing
from dataclasses import replace
from typing import Any

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import (
    Accumulator,
    Activation,
    ExactSum,
    FloatAccumulator,
    FloatMacContract,
    FloatOutput,
    MacContract,
    Output,
    ShiftAdd,
    StochasticRounding,
)
from hwsim.contract.mac import MAX_OPERAND_BITS, MAX_OUTPUT_BITS
from hwsim.errors import InputError
from hwsim.formats import Affine, Format, Minifloat, PowerOfTwo
from hwsim.network.lower.settle import grid_is_derived, naming, with_grid
from hwsim.network.records import Stanza, format_stanza, integer_bits, read_format, read_grid, read_record, read_value, record
from hwsim.network.strict import Fields, short

AnyContract = MacContract | FloatMacContract
AnyOutput = Output | FloatOutput
REGISTERS = '{"exact": true} or {"format": ..}'
"""The accumulators that take minifloats, as a sentence says it."""


def contract_stanza(contract: AnyContract, channels: int) -> Stanza:
    """Return what a layer's contract decides; its input format and a grid that follows are not in it."""
    stanza: Stanza = {"weight": format_stanza(contract.weight)}
    if isinstance(contract, MacContract) and contract.product != _exact_product(contract.weight):
        stanza["product"] = {"guard_bits": contract.product.guard_bits} | record(contract.product)  # type: ignore[union-attr]
    return stanza | {
        "bias": None if contract.bias is None else format_stanza(contract.bias),
        "parameter_rounding": contract.bias_rounding.name,
        "accumulator": _accumulator_stanza(contract, channels),
    }


def _exact_product(weight: Format) -> ShiftAdd | None:
    """The product that stands where none is declared."""
    return ShiftAdd(max(0, -weight.exp_min)) if isinstance(weight, PowerOfTwo) else None


def _accumulator_stanza(contract: AnyContract, channels: int) -> Stanza:
    acc = contract.accumulator
    if isinstance(acc, ExactSum):
        return {"exact": True}
    if isinstance(acc, FloatAccumulator):
        return {"format": format_stanza(acc.format)} | record(acc)
    assert isinstance(contract, MacContract)
    stanza: Stanza = {"bits": acc.bits, "require_proof": acc.require_proof}
    if acc.fractional_length is not None and not grid_is_derived(contract, channels):
        stanza["integer_bits"] = integer_bits(acc.grid())
    plain = record(replace(acc, fractional_length=None))
    if plain.get("schedule") == {} and replace(acc, schedule=None) == acc:
        del plain["schedule"]  # what overflows other than by wrapping has an order anyway
    return stanza | plain


def read_contract(f: Fields, fmt: Any, channels: int) -> Any:
    """Take a MacContract or a FloatMacContract from a layer's fields. fmt: of its input; channels: of its output."""
    weight = read_format(f.any("weight"), f"{f.where}, weight", MAX_OPERAND_BITS, channels)
    bias_value = f.any("bias")
    bias: Any = None if bias_value is None else read_format(bias_value, f"{f.where}, bias", 64, channels)
    if isinstance(bias, (Affine, PowerOfTwo)):
        raise InputError(f"{f.where}, bias: found {bias}, allowed bits and integer_bits, or a minifloat.")
    acc, output, rounding = f.any("accumulator"), read_output(f), f.choice("parameter_rounding", Rounding)
    where = f"{f.where}, accumulator"
    fields = Fields(acc, where)
    if "exact" in fields or "format" in fields:
        if "product" in f:
            raise InputError(f"{f.where}, product: found one beside a float datapath, whose products are exact; remove it.")
        register = _read_float_accumulator(acc, fields, where)
        for name, part in (("reads", fmt), ("weight", weight)):
            if isinstance(part, Affine):
                raise InputError(f"{f.where}, {name}: found {part} with the accumulator {REGISTERS}, allowed with one of bits.")
        with naming(f.where):
            return FloatMacContract(fmt, weight, output, register, bias, rounding)  # type: ignore[arg-type]
    _demand_integers(f, fmt, weight, bias, output)
    product = None
    if "product" in f:
        product = read_record(ShiftAdd, f.any("product"), f"{f.where}, product")
    return _integer_contract(f, MacContract(fmt, weight, output, Accumulator(), bias, rounding, product), acc, channels)  # type: ignore[arg-type]


def _demand_integers(f: Fields, fmt: Any, *others: Any) -> None:
    """Refuse a minifloat at an integer accumulator, and say what takes it."""
    if isinstance(fmt, Minifloat):
        raise InputError(
            f"{f.where}, reads: found the minifloat {fmt} with an integer accumulator, allowed with {REGISTERS} as the "
            "accumulator; declare it so, or read through a rescale to bits and integer_bits."
        )
    for name, part in zip(("weight", "bias", "output"), others, strict=True):
        part = getattr(part, "format", part)
        if isinstance(part, Minifloat):
            raise InputError(
                f"{f.where}, {name}: found the minifloat {part} with an integer accumulator, allowed with {REGISTERS} as the "
                "accumulator; declare it so, or give bits and integer_bits."
            )


def _integer_contract(f: Fields, contract: MacContract, value: Any, channels: int) -> MacContract:
    """The contract with the accumulator that the file declares, and the grid that follows where none is declared."""
    where = f"{f.where}, accumulator"
    fields = Fields(value, where)
    bits, _ = fields.integer("bits", 2, 64), fields.boolean("require_proof")
    grid = read_grid(fields, bits, channels) if "integer_bits" in fields else None
    if "fractional_length" in fields:
        raise InputError(f"{where}: the field 'fractional_length' is unknown; give integer_bits, or remove it.")
    accumulator: Accumulator = read_record(Accumulator, {k: v for k, v in value.items() if k != "integer_bits"}, where)
    with naming(where):
        accumulator = replace(accumulator, fractional_length=grid)
    with naming(f.where):
        made = replace(contract, accumulator=accumulator)
        return made if grid is not None else with_grid(made, channels)


def _read_float_accumulator(value: Any, fields: Fields, where: str) -> ExactSum | FloatAccumulator:
    if "format" in fields:
        register: FloatAccumulator = read_record(FloatAccumulator, value, where)
        return register
    if fields.any("exact") is not True:
        raise InputError(f"{where}, exact: found {short(value['exact'])}, allowed true; else give {REGISTERS} or bits.")
    fields.done()
    return ExactSum()


SCALED = ("scaling", "clamp_low", "clamp_high")
"""Fields of an Output that are written where there is one."""


def output_stanza(output: AnyOutput) -> Stanza:
    """Return an output: its format and its modes; a minifloat's overflow is the format's own."""
    modes = {name: record(getattr(output, name)) for name in ("rounding", "overflow", "activation") if hasattr(output, name)}
    if isinstance(output, Output):
        modes |= {name: record(value) for name in SCALED if (value := getattr(output, name)) is not None}
    return format_stanza(output.format) | modes


def read_output(f: Fields) -> Any:
    """Take an Output or a FloatOutput from a layer's fields; the layer says which it takes."""
    value, where = f.any("output"), f"{f.where}, output"
    out = Fields(value, where)
    modes = ("rounding", "overflow", "activation", *SCALED)
    format_fields = {name: v for name, v in value.items() if name not in modes}
    activation = out.choice("activation", Activation)
    rounding: Any = _read_rounding(out)
    if "minifloat" in out or "exp_bits" in out:
        if "overflow" in out:
            raise InputError(f"{where}, overflow: found one beside a minifloat, whose `saturate` says it; remove it.")
        if found := [name for name in SCALED if name in out]:
            raise InputError(f"{where}, {found[0]}: found one beside a minifloat, which is cast as it is; remove it.")
        fmt = read_format(format_fields, where, MAX_OUTPUT_BITS)
        with naming(where):
            return FloatOutput(fmt, rounding, activation)  # type: ignore[arg-type]
    overflow = out.choice("overflow", Overflow)
    fixed = read_format(format_fields, where, MAX_OUTPUT_BITS)
    hints = typing.get_type_hints(Output)
    scaled = {name: read_value(hints[name], out.any(name), f"{where}, {name}") for name in SCALED if name in out}
    with naming(where):
        return Output(fixed, rounding, overflow, activation, **scaled)  # type: ignore[arg-type]


def _read_rounding(out: Fields) -> Rounding | StochasticRounding:
    """The name of a rounding mode, or the registers that decide."""
    value = out.any("rounding")
    if isinstance(value, dict):
        found: StochasticRounding = read_record(StochasticRounding, value, f"{out.where}, rounding")
        return found
    return Fields({"rounding": value}, out.where).choice("rounding", Rounding)
