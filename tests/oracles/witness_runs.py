"""A witness run where it was not looked for: the whole layer by every backend, and its output alone in a layer that traps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.arith.accumulate import Place
from hwsim.arith.overflow import Overflow
from hwsim.backends.base import Taps
from hwsim.backends.registry import backend
from hwsim.contract import MacContract, PaddedTaps
from hwsim.errors import OverflowTrap
from hwsim.execute.single import run_layer
from hwsim.formats import FixedPoint
from hwsim.layers import FullyConnected, MacLayer, Shape
from hwsim.proofs.reference import without_trap
from hwsim.proofs.witness import Witness


def flagged(layer: MacLayer, inputs: np.ndarray, place: Place, name: str) -> np.ndarray:
    """Which outputs [N][K][H][W] a backend flags as having an event at the place."""
    kernel = backend(name).prepare(layer, [Shape(*inputs.shape[1:])])
    c, h, w = kernel.output_shape
    taps = Taps(first_turns=np.zeros(len(inputs), dtype=np.int64), flags=np.zeros((len(inputs), h, w, c), dtype=np.uint8))
    kernel([inputs], taps)
    return np.moveaxis(taps.flags & np.uint8(1 << place), 3, 1) != 0


def trapped_at(layer: MacLayer, inputs: np.ndarray, name: str) -> tuple[str, tuple[int, ...], int | None] | None:
    """(place, output, step) at which a run by a backend stops; None where it does not."""
    try:
        run_layer(layer, inputs, backend=name)
    except OverflowTrap as trap:
        return trap.place, trap.coordinate, trap.step
    return None


def only_trapping(contract: MacContract, place: Place) -> MacContract:
    """The contract whose register at the place says TRAP, and no other."""
    acc = contract.accumulator
    schedule = acc.schedule
    if place is Place.TREE:
        schedule = replace(schedule, tree=replace(schedule.tree, overflow=Overflow.TRAP))
    if place is Place.SPILL:
        schedule = replace(schedule, spill=replace(schedule.spill, overflow=Overflow.TRAP))
    overflow = Overflow.TRAP if place is Place.ACCUMULATOR else acc.overflow
    return replace(contract, accumulator=replace(acc, overflow=overflow, schedule=schedule))


def cut_out(witness: Witness) -> tuple[FullyConnected, np.ndarray] | None:
    """The witness's output as a layer of its own, which stops at its register's first event; and the codes that it reads.

    The extents are the kernel's, so the order's steps are the same, and padding is read as the zero point. None where padding
    is left out, which a fully connected layer has none of, and where a symmetric register lacks the code that TRAP has.
    """
    layer, (n, k, y, x) = without_trap(witness.layer), witness.at
    place, acc = Place[witness.place.upper()], witness.layer.contract.accumulator
    codes, padded = layer.taps(witness.inputs[n].tolist(), k, y, x)
    if acc.schedule is None or any(padded) and acc.schedule.padded is PaddedTaps.SKIPPED:
        return None
    if symmetric(witness) and witness.asked < 0 and -witness.asked & (-witness.asked - 1) == 0:  # -2**n
        return None
    contract = only_trapping(of_channel(layer.contract, k), place)
    weight = layer.weight.reshape(layer.channels, -1)[k : k + 1]
    bias = None if layer.bias is None else layer.bias[k : k + 1]
    extents = layer.extents(Shape(*witness.inputs.shape[1:]))
    return FullyConnected(contract, weight, bias), np.array(codes).reshape(1, *extents)


def symmetric(witness: Witness) -> bool:
    """Whether the register of the witness saturates symmetrically."""
    acc = witness.layer.contract.accumulator
    modes = {"accumulator": acc.overflow}
    if acc.schedule is not None:
        modes["tree"] = acc.schedule.tree.overflow
        modes["spill"] = None if acc.schedule.spill is None else acc.schedule.spill.overflow
    return modes[witness.place] is Overflow.SATURATE_SYMMETRIC


def of_channel(contract: MacContract, k: int) -> MacContract:
    """The contract of one output channel, of weights in fixed point or powers of two."""
    weight, acc, bias = contract.weight, contract.accumulator, contract.bias
    if isinstance(weight, FixedPoint):
        weight = FixedPoint(weight.bits, weight.fl(k), weight.signed)
    if acc.fractional_length is not None:
        acc = replace(acc, fractional_length=contract.accumulator_length(k))
    if bias is not None:
        bias = FixedPoint(bias.bits, bias.fl(k), bias.signed)
    return replace(contract, weight=weight, accumulator=acc, bias=bias)
