"""TRAP: where the contract stops at the first overflow, find it in row-major order (n, k, y, x), whatever computed it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.arith.lfsr import round_shift_stochastic
from hwsim.arith.overflow import fits
from hwsim.arith.rounding import round_shift
from hwsim.backends.base import Kernel, Taps
from hwsim.backends.buffers import Buffer
from hwsim.contract.mac import Activation, MacContract, Output
from hwsim.contract.resolve import Epilogue
from hwsim.errors import OverflowTrap
from hwsim.layers import AveragePool, EltwiseSum, HostLRN, ImageEncoding, MacLayer, Rescale
from hwsim.layers.base import traps


def output_of(layer: object) -> Output | None:
    """Return the output stage of a layer that computes, or None."""
    if isinstance(layer, MacLayer):
        return layer.contract.output if isinstance(layer.contract.output, Output) else None
    if isinstance(layer, (AveragePool, EltwiseSum, HostLRN, ImageEncoding, Rescale)):
        return layer.output
    return None


def check(name: str, kernel: Kernel, inputs: Sequence[Buffer], taps: Taps) -> None:
    """Raise OverflowTrap at the first output event of a layer whose contract says TRAP; the kernel has just run."""
    output = output_of(kernel.layer)
    if output is None or not traps(output) or not taps.events[1]:
        return
    if isinstance(kernel.layer, MacLayer) and isinstance(kernel.layer.contract, MacContract):
        where = _first_of_sums(kernel, inputs, taps.turns_of(inputs[0].n))
    else:
        where = _first_by_spec(kernel, inputs, taps.turns_of(inputs[0].n))
    raise OverflowTrap(name, "output", where)


def _first_of_sums(kernel: Kernel, inputs: Sequence[Buffer], first_turns: Sequence[int]) -> tuple[int, ...]:
    """Run once more with the accumulators tapped, and round them."""
    layer = kernel.layer
    assert isinstance(layer, MacLayer)
    n = inputs[0].n
    taps = Taps.for_layer(kernel.layer, n, kernel.output_shape, acc=True)
    kernel.run(inputs, Buffer.allocate(n, kernel.output_shape, layer.output_format.dtype), taps)
    assert taps.acc is not None
    draws, epilogue = kernel.draws, layer.numbers.epilogue
    noise = None if draws is None else np.stack([draws.noise_array(turn) for turn in first_turns])
    drawn = [0 if noise is None else noise[:, k] for k in range(layer.channels)]
    outside = np.stack([_outside(taps.acc[..., k], epilogue, k, drawn[k]) for k in range(layer.channels)], axis=1)
    return tuple(int(i) for i in np.argwhere(outside)[0])


def _outside(acc: np.ndarray, epilogue: Epilogue, k: int, noise: np.ndarray | int) -> np.ndarray:
    value = acc.astype(np.int64)
    if epilogue.activation == Activation.RELU_BEFORE_REQUANTIZE:
        value = np.maximum(value, 0)
    if epilogue.stochastic is not None:
        rounded = round_shift_stochastic(value, epilogue.shift[k], noise)
    else:
        rounded = round_shift(value, epilogue.shift[k], epilogue.rounding)
    return np.logical_not(fits(rounded, epilogue.low, epilogue.high))


def _first_by_spec(kernel: Kernel, inputs: Sequence[Buffer], first_turns: Sequence[int]) -> tuple[int, ...]:
    codes = [buffer.codes.tolist() for buffer in inputs]
    channels, height, width = kernel.output_shape
    cells = ((n, k, y, x) for n in range(inputs[0].n) for k in range(channels) for y in range(height) for x in range(width))
    drawn = [{} if kernel.draws is None else {"first_turn": turn} for turn in first_turns]
    return next(at for at in cells if kernel.layer.spec(codes, *at, **drawn[at[0]]).events.output)
