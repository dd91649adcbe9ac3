"""The same layer with another accumulator: what a certificate, a witness and a search for the narrowest one compare."""

from __future__ import annotations

from dataclasses import replace

from hwsim.arith.overflow import Overflow
from hwsim.contract.accumulator import Schedule, Spill
from hwsim.contract.mac import MacContract
from hwsim.errors import ContractError
from hwsim.layers import MacLayer


def with_width(layer: MacLayer, bits: int, overflow: Overflow | None = None, schedule: Schedule | None = None) -> MacLayer:
    """Return the layer with an accumulator of so many bits, proven or not; its spill buffer is never wider.

    A spill buffer that is made narrower holds all that the accumulator does, so that it clips nothing that it did not clip.
    overflow, schedule: None for the declared ones.
    Errors: ContractError where the register cannot be built: its bias does not fit, say.
    """
    contract = layer.contract
    if not isinstance(contract, MacContract):
        raise ContractError(f"{layer.kind}.contract: found a FloatMacContract, allowed here a MacContract: a unit in integers.")
    acc = contract.accumulator
    chosen = acc.schedule if schedule is None else schedule
    mode = acc.overflow if overflow is None else overflow
    if chosen is not None and chosen.spill is not None and chosen.spill.bits > bits:
        chosen = replace(chosen, spill=_narrowed(chosen.spill, bits, mode))
    narrow = replace(acc, bits=bits, overflow=mode, schedule=chosen, require_proof=False)
    return replace(layer, contract=replace(contract, accumulator=narrow))


def _narrowed(spill: Spill, bits: int, accumulator: Overflow) -> Spill:
    """A buffer as wide as the accumulator, with its lowest code where the accumulator has one."""
    lacks = spill.overflow is Overflow.SATURATE_SYMMETRIC and accumulator is not Overflow.SATURATE_SYMMETRIC
    return replace(spill, bits=bits, overflow=Overflow.SATURATE if lacks else spill.overflow)
