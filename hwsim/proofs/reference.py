"""The same layer with a register that holds everything: what a witness's output is compared with."""

from __future__ import annotations

from dataclasses import replace

from hwsim.arith.accumulate import Place
from hwsim.arith.overflow import Overflow
from hwsim.contract.accumulator import Accumulator, Schedule
from hwsim.contract.mac import MacContract
from hwsim.layers import MacLayer
from hwsim.proofs.certificate import Certificate
from hwsim.proofs.narrow import with_width
from hwsim.proofs.prove import prove

WIDEST = 64


def with_room(certificate: Certificate, place: Place) -> MacLayer:
    """Return the layer with a register at the place that no input of the certificate's range overflows, and an accumulator too.

    Errors: ContractError or ProofError where no such layer can be built, since a requantizer takes fewer bits, say.
    """
    if place is Place.ACCUMULATOR:
        return with_width(certificate.layer, certificate.layer_bits)
    schedule = certificate.contract.accumulator.schedule
    assert schedule is not None
    opened = _opened(certificate.layer, schedule, place)
    proof = prove(opened, certificate.shape, certificate.inputs)
    if place is Place.TREE:
        return with_width(opened, max(proof.layer_bits, schedule.spill.bits if schedule.spill else 0))
    assert proof.spill is not None and schedule.spill is not None
    bits = int(proof.spill.widths(schedule.spill.overflow).max())
    wide = replace(schedule, spill=replace(schedule.spill, bits=bits))
    return _with(opened, max(bits, proof.layer_bits), wide)


def _opened(layer: MacLayer, schedule: Schedule, place: Place) -> MacLayer:
    """The layer with all bits for the register, and for the accumulator behind it."""
    if place is Place.TREE:
        return _with(layer, WIDEST, replace(schedule, tree=replace(schedule.tree, bits=None, overflow=None)))
    assert schedule.spill is not None
    spill = replace(schedule.spill, bits=WIDEST - schedule.spill.shift)
    return _with(layer, WIDEST, replace(schedule, spill=spill))


def _with(layer: MacLayer, bits: int, schedule: Schedule) -> MacLayer:
    assert isinstance(layer.contract, MacContract)
    acc: Accumulator = replace(layer.contract.accumulator, bits=bits, schedule=schedule, require_proof=False)
    return replace(layer, contract=replace(layer.contract, accumulator=acc))


def without_trap(layer: MacLayer) -> MacLayer:
    """Return the layer in which what says TRAP wraps: the same contents, and a run that goes on to its end."""
    contract = layer.contract
    assert isinstance(contract, MacContract)
    acc, output = contract.accumulator, contract.output
    schedule = acc.schedule
    if schedule is not None:
        mode = schedule.tree.overflow
        tree = replace(schedule.tree, overflow=None if mode is None else _wrapping(mode))
        spill = schedule.spill and replace(schedule.spill, overflow=_wrapping(schedule.spill.overflow))
        schedule = replace(schedule, tree=tree, spill=spill)
    register = replace(acc, overflow=_wrapping(acc.overflow), schedule=schedule)
    ending = replace(output, overflow=_wrapping(output.overflow))
    return replace(layer, contract=replace(contract, accumulator=register, output=ending))


def _wrapping(overflow: Overflow) -> Overflow:
    return Overflow.WRAP if overflow is Overflow.TRAP else overflow
