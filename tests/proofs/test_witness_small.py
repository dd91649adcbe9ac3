"""Witnesses against every input of small layers: the fewest entries, both kinds, outputs that differ, and why none does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import event, given, settings

from hwsim.arith.accumulate import Place
from hwsim.errors import HwsimError
from hwsim.layers import MacLayer
from hwsim.proofs.certificate import Certificate
from hwsim.proofs.endings import BUDGET
from hwsim.proofs.fewest import fewest
from hwsim.proofs.machine import Machine
from hwsim.proofs.narrow import with_width
from hwsim.proofs.prove import prove
from hwsim.proofs.reference import with_room
from hwsim.proofs.search import Pick, Search, search
from hwsim.proofs.site import sites
from hwsim.proofs.witness import can_overflow, find_witness
from oracles.witness_cases import Brute, Small, brute, smalls

PLACES = (Place.ACCUMULATOR, Place.TREE, Place.SPILL)


def open_places(proof: Certificate) -> list[tuple[Place, int]]:
    """Registers that the certificate does not prove safe: (place, channel)."""
    return [(place, k) for place in PLACES for k in range(proof.layer.channels) if can_overflow(proof, place, k)]


def room(proof: Certificate, place: Place) -> MacLayer | None:
    try:
        return with_room(proof, place)
    except HwsimError:
        return None


def entries(pick: Pick) -> int:
    return pick.site.nonzeros(pick.codes)


def holds(layer: MacLayer, wide: MacLayer | None, tried: Brute, proof: Certificate, place: Place, k: int, budget: int) -> None:
    """Whatever is found is as every input says; with the whole budget, and on both sides of every proof, nothing is missed."""
    found = search(layer, wide, proof, k, place, budget)
    if found.first is None:
        assert budget == 0 or tried.first is None
        return
    compare(found.first, tried.first, budget)
    persistent = Machine(found.first.site, layer.integer).read(found.first.codes).persistent
    if found.other is not None:
        compare(found.other, tried.transient if persistent else tried.persistent, budget)
    if wide is not None:
        shown(found, tried, budget)
    event(f"{place.name.lower()}, {'all inputs' if budget else 'largest first'}")


def compare(pick: Pick, fewest: int | None, budget: int) -> None:
    """No input needs fewer entries than the fewest; a claim to have them must be true, and the whole budget makes it."""
    assert fewest is not None and entries(pick) >= fewest
    assert not pick.fewest or entries(pick) == fewest
    assert budget == 0 or pick.fewest


def shown(found: Search, tried: Brute, budget: int) -> None:
    """An output that differs is found where there is one, and a reason is given only where there is none."""
    if found.reason is not None:
        assert tried.visible is None, found.reason
        event(found.reason[:24])
    elif found.visible is not None:
        compare(found.visible, tried.visible, budget)
    else:
        assert budget == 0


@settings(max_examples=80)
@given(smalls(81))
def test_a_small_layer_is_searched_to_its_end_and_the_largest_products_claim_nothing_false(small):
    proof = prove(small.layer, small.shape, small.inputs)
    for place, k in open_places(proof):
        wide = room(proof, place)
        tried = brute(small, wide, k, place)
        bounded(small, proof, place, k, tried.first)
        for budget in (BUDGET, 0):
            holds(small.layer, wide, tried, proof, place, k, budget)


def bounded(small: Small, proof: Certificate, place: Place, k: int, needed: int | None) -> None:
    """No input needs fewer entries than the bound, which is met where every tap adds its own share."""
    machines = [Machine(site, small.layer.integer) for site in sites(small.layer, small.shape, proof.inputs, k)]
    bound = min(fewest(machine, place, up)[1] for machine in machines for up in (True, False))
    if needed is None:
        return
    least = needed - machines[0].site.nonzeros(machines[0].site.base)
    assert bound <= least
    if not any(machine.site.forced.any() for machine in machines) and all(shares(machine, place) for machine in machines):
        assert bound == least


def shares(machine: Machine, place: Place) -> bool:
    """Whether the fewest follow from the largest products alone."""
    return machine.additive if place is Place.ACCUMULATOR else place is Place.TREE and not machine.site.grouped_by_input


@settings(max_examples=40)
@given(smalls(36))
def test_one_bit_less_has_a_witness_and_the_proven_width_has_none(small):
    proof = prove(small.layer, small.shape, small.inputs)
    for k in np.flatnonzero(proof.tight).tolist():
        bits = int(proof.bits[k])
        try:
            held = with_width(small.layer, bits)
        except HwsimError:
            continue  # the other channels' biases are wider
        if held.contract.accumulator.schedule == small.layer.contract.accumulator.schedule:
            assert find_witness(held, small.shape, prove(held, small.shape, small.inputs), k) is None
            assert brute(replace(small, layer=held), None, k, Place.ACCUMULATOR).first is None
        narrower(small, bits - 1, k)


def narrower(small: Small, bits: int, k: int) -> None:
    """One bit less overflows, unless the bias itself does not fit or no register is that narrow."""
    try:
        layer = with_width(small.layer, bits)
    except HwsimError:
        return
    proof = prove(layer, small.shape, small.inputs)
    if layer.contract.accumulator.schedule == small.layer.contract.accumulator.schedule:
        found = find_witness(layer, small.shape, proof, k)
        assert found is not None and found.inputs.shape == (1, *small.shape)
        event("one bit less")
