"""TRAP: where the contract stops at the first overflow, find it in row-major order (n, k, y, x, step), whatever computed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from hwsim.arith.accumulate import Place
from hwsim.arith.lfsr import round_shift_stochastic
from hwsim.arith.overflow import Overflow, fits
from hwsim.arith.rounding import round_shift
from hwsim.backends.base import Kernel, Taps
from hwsim.backends.buffers import Buffer
from hwsim.contract.mac import Activation, MacContract, Output
from hwsim.contract.resolve import Epilogue
from hwsim.errors import OverflowTrap
from hwsim.layers import MacLayer
from hwsim.layers.base import finish, traps


def output_of(layer: object) -> Output | None:
    """Return the output stage of a layer that computes, or None."""
    output = layer.contract.output if isinstance(layer, MacLayer) else getattr(layer, "output", None)
    return output if isinstance(output, Output) else None


def trapping_places(layer: object) -> tuple[Place, ...]:
    """Return the places at which a layer's contract says TRAP."""
    output, places = output_of(layer), []
    if output is not None and traps(output):
        places.append(Place.OUTPUT)
    if _in_integers(layer):
        acc = layer.integer.contract.accumulator
        spill = None if acc.schedule is None else acc.schedule.spill
        tree = None if acc.schedule is None else acc.schedule.tree.overflow
        declared = {Place.TREE: tree, Place.ACCUMULATOR: acc.overflow, Place.SPILL: spill and spill.overflow}
        places += [place for place, overflow in declared.items() if overflow == Overflow.TRAP]
    return tuple(places)


def _in_integers(layer: object) -> TypeGuard[MacLayer]:
    return isinstance(layer, MacLayer) and isinstance(layer.contract, MacContract)


def check(name: str, kernel: Kernel, inputs: Sequence[Buffer], taps: Taps) -> None:
    """Raise OverflowTrap at the first event of a layer at a place that says TRAP; the kernel has just run.

    First: in row-major order of the outputs (n, k, y, x), and of an output's events the first that its datapath meets.
    """
    places = [place for place in trapping_places(kernel.layer) if getattr(taps.counted, place.name.lower())]
    if not places:
        return
    first_turns = taps.turns_of(inputs[0].n)
    if not _in_integers(kernel.layer):
        raise OverflowTrap(name, "output", _first_by_spec(kernel, inputs, first_turns))
    at = _first_flagged(kernel, inputs, first_turns, places)
    first = -1 if kernel.layer.numbers.walk is None else _walked(kernel.layer, inputs[0], at)
    if first < 0:
        raise OverflowTrap(name, "output", at)
    raise OverflowTrap(name, Place(first % 4).name.lower(), at, first // 4)


def _walked(layer: MacLayer, codes: Buffer, at: tuple[int, ...]) -> int:
    """Walk one output by the specification; return 4 * step + Place of its first event, -1 if only its output has one."""
    n, k, y, x = at
    reads = layer.taps(codes.codes[n].tolist(), k, y, x)
    return layer.integer.walked(*reads, layer.extents(codes.shape), k)[-1]


def _first_flagged(
    kernel: Kernel, inputs: Sequence[Buffer], first_turns: Sequence[int], places: Sequence[Place]
) -> tuple[int, ...]:
    """Run once more with the events flagged; where the output traps, round the accumulators, by noise if the layer draws."""
    layer, n = kernel.layer, inputs[0].n
    taps = Taps.for_layer(layer, n, kernel.output_shape, acc=Place.OUTPUT in places)
    taps.first_turns = np.array(first_turns, dtype=np.int64)
    c, h, w = kernel.output_shape
    taps.flags = np.zeros((n, h, w, c), dtype=np.uint8)
    kernel.run(inputs, Buffer.allocate(n, kernel.output_shape, layer.output_format.dtype), taps)
    wanted = sum(1 << place for place in places if place is not Place.OUTPUT)
    stops = np.ascontiguousarray(np.moveaxis(taps.flags & np.uint8(wanted), 3, 1)) != 0
    if Place.OUTPUT in places:
        stops |= _output_events(kernel, taps, first_turns)
    return tuple(int(i) for i in np.unravel_index(np.argmax(stops), stops.shape))


def _output_events(kernel: Kernel, taps: Taps, first_turns: Sequence[int]) -> np.ndarray:
    """Which outputs [N][K][H][W] do not fit their format, by their accumulators."""
    assert taps.acc is not None
    draws, epilogue = kernel.draws, kernel.layer.numbers.epilogue
    noise = None if draws is None else np.stack([draws.noise_array(turn) for turn in first_turns])
    drawn = [0 if noise is None else noise[:, k] for k in range(kernel.output_shape.c)]
    outside = [_outside(taps.acc[..., k], epilogue, k, drawn[k]) for k in range(kernel.output_shape.c)]
    return np.stack(outside, axis=1)


def _outside(acc: np.ndarray, epilogue: Epilogue, k: int, noise: np.ndarray | int) -> np.ndarray:
    value = acc.astype(np.int64)
    if epilogue.activation == Activation.RELU_BEFORE_REQUANTIZE:
        value = np.maximum(value, 0)
    if epilogue.stochastic is not None:
        rounded = round_shift_stochastic(value, epilogue.shift[k], noise)
    elif epilogue.plain:
        rounded = round_shift(value, epilogue.shift[k], epilogue.rounding)
    else:
        return np.array([finish(int(v), k, epilogue)[1] for v in value.ravel()], dtype=bool).reshape(value.shape)
    return np.logical_not(fits(rounded, epilogue.low, epilogue.high))


def _first_by_spec(kernel: Kernel, inputs: Sequence[Buffer], first_turns: Sequence[int]) -> tuple[int, ...]:
    codes = [buffer.codes.tolist() for buffer in inputs]
    channels, height, width = kernel.output_shape
    cells = ((n, k, y, x) for n in range(inputs[0].n) for k in range(channels) for y in range(height) for x in range(width))
    drawn = [{} if kernel.draws is None else {"first_turn": turn} for turn in first_turns]
    return next(at for at in cells if kernel.layer.spec(codes, *at, **drawn[at[0]]).events.output)
