"""The same layer with another accumulator: what a certificate, a witness and a search for the narrowest one compare."""

from __future__ import annotations

from dataclasses import replace

from hwsim.arith.overflow import Overflow
from hwsim.contract.accumulator import Schedule
from hwsim.contract.mac import MacContract
from hwsim.errors import ContractError
from hwsim.layers import MacLayer


def with_width(layer: MacLayer, bits: int, overflow: Overflow | None = None, schedule: Schedule | None = None) -> MacLayer:
    """Return the layer with an accumulator of so many bits, proven or not; its spill buffer is never wider.

    overflow, schedule: None for the declared ones.
    Errors: ContractError where the register cannot be built: its bias does not fit, say.
    """
    contract = layer.contract
    if not isinstance(contract, MacContract):
        raise ContractError(f"{layer.kind}.contract: found a FloatMacContract, allowed here a MacContract: a unit in integers.")
    acc = contract.accumulator
    chosen = acc.schedule if schedule is None else schedule
    if chosen is not None and chosen.spill is not None and chosen.spill.bits > bits:
        chosen = replace(chosen, spill=replace(chosen.spill, bits=bits))
    mode = acc.overflow if overflow is None else overflow
    narrow = replace(acc, bits=bits, overflow=mode, schedule=chosen, require_proof=False)
    return replace(layer, contract=replace(contract, accumulator=narrow))
