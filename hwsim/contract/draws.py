"""Which output of a layer draws in which lane and turn, and the noise that it gets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwsim.arith.lfsr import lfsr_jump, noise_bits
from hwsim.arith.overflow import wrap_signed
from hwsim.contract.mac import MAX_SHIFT
from hwsim.contract.stochastic import Lfsr, StochasticRounding, Tail
from hwsim.errors import ContractError


@dataclass(frozen=True)
class Draws:
    """The draws of one layer for one image: output (k, y, x) -> (turn, lane) -> noise.

    shape: outputs (channels, height, width).  shift: bits that channel k drops, one per channel, at most 62.

    >>> from hwsim.contract.stochastic import DrawOrder
    >>> rule = StochasticRounding(Lfsr(8), seeds=(1, 77), order=DrawOrder.KYX)
    >>> draws = Draws(rule, (3, 2, 2), (4, 0, 6))
    >>> draws.turns, [draws.place(k, 1, 0) for k in range(3)]
    (4, [(1, 0), None, (3, 0)])
    """

    rule: StochasticRounding
    shape: tuple[int, int, int]
    shift: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ContractError(f"Draws.shape: found {self.shape!r}, allowed three positive integers (channels, height, width).")
        if len(self.shift) != self.shape[0]:
            raise ContractError(f"Draws.shift: found {len(self.shift)} shifts, allowed one for each of {self.shape[0]} channels.")
        if max(self.shift) > MAX_SHIFT:
            raise ContractError(f"Draws.shift: found {max(self.shift)}, allowed at most {MAX_SHIFT}.")

    @cached_property
    def channels(self) -> tuple[int, ...]:
        """The channels that draw."""
        return tuple(k for k, s in enumerate(self.shift) if s > 0 or self.rule.zero_shift_draws)

    @cached_property
    def extents(self) -> tuple[int, int, int]:
        """Number of drawing positions along (k, y, x), the fastest axis padded to whole turns where its tail is idle."""
        extents = [len(self.channels), *self.shape[1:]]
        fastest = self.rule.order.value[-1]
        if self.rule.tail is Tail.IDLE:
            extents[fastest] = -(-extents[fastest] // self.rule.lanes) * self.rule.lanes
        return extents[0], extents[1], extents[2]

    @cached_property
    def strides(self) -> tuple[int, int, int]:
        """strides[a] = by how many draws the next position along axis a of (k, y, x) is later.

        >>> Draws(StochasticRounding(Lfsr(8)), (3, 5, 7), (4, 4, 4)).strides  # YXK
        (1, 21, 3)
        """
        strides, stride = [0, 0, 0], 1
        for axis in reversed(self.rule.order.value):
            strides[axis] = stride
            stride *= self.extents[axis]
        return strides[0], strides[1], strides[2]

    @property
    def busy_lanes(self) -> int:
        """Number of lanes that ever draw for somebody: with an idle tail, no more than the fastest axis is long."""
        if self.rule.tail is not Tail.IDLE:
            return self.rule.lanes
        return min(self.rule.lanes, (len(self.channels), *self.shape[1:])[self.rule.order.value[-1]])

    @property
    def turns(self) -> int:
        """Number of turns that the layer takes."""
        k, y, x = self.extents
        return -(-k * y * x // self.rule.lanes)

    def place(self, k: int, y: int, x: int) -> tuple[int, int] | None:
        """Return (turn, lane) of an output, the turn counted from the layer's first; None if it does not draw."""
        if k not in self.channels:
            return None
        at = (self.channels.index(k), y, x)
        draw = sum(i * stride for i, stride in zip(at, self.strides, strict=True))
        return draw // self.rule.lanes, draw % self.rule.lanes

    def noise(self, k: int, y: int, x: int, first_turn: int = 0) -> int:
        """Return the noise, 0..2**shift[k] - 1, of one output, by jumping to its draw; 0 where nothing is dropped."""
        place = self.place(k, y, x)
        if place is None:
            return 0
        lfsr = self.rule.lfsr
        steps = (first_turn + place[0]) * self.rule.clocks
        state = lfsr_jump(wrap_signed(self.rule.seeds[place[1]], 64), steps, lfsr.taps, lfsr.width, lfsr.form)
        return noise_bits(state, lfsr.width, self.shift[k], self.rule.alignment)

    def noise_array(self, first_turn: int = 0) -> np.ndarray:
        """noise_array()[k, y, x] = noise(k, y, x), int64: every draw of the layer at once."""
        noise = np.zeros(self.shape, dtype=np.int64)
        if not self.turns:
            return noise
        rule, (_, stride_y, stride_x) = self.rule, self.strides
        busy = self.busy_lanes
        states = _states(rule, busy, first_turn, self.turns).reshape(-1)  # lane after lane, turn after turn
        plane = np.arange(self.shape[1])[:, None] * stride_y + np.arange(self.shape[2]) * stride_x
        for rank, k in enumerate(self.channels):
            draw = plane + rank * self.strides[0]
            state = states[draw if busy == rule.lanes else draw // rule.lanes * busy + draw % rule.lanes]
            noise[k] = noise_bits(state, rule.lfsr.width, self.shift[k], rule.alignment)
        return noise


def _states(rule: StochasticRounding, lanes: int, first_turn: int, turns: int) -> np.ndarray:
    """states[turn, lane] of the first lanes in consecutive turns, int64: jumps double the known ones until there are enough."""
    seeds = np.array([wrap_signed(seed, 64) for seed in rule.seeds[:lanes]])
    states = jump_array(rule.lfsr, seeds, first_turn * rule.clocks)[None]
    images = _images(rule.lfsr, rule.clocks)
    while len(states) < turns:
        states = np.concatenate([states, _moved(images, states[: turns - len(states)])])
        images = _moved(images, images)  # twice as far
    return states


def jump_array(lfsr: Lfsr, states: np.ndarray, steps: int) -> np.ndarray:
    """jump_array(states)[i] = lfsr_jump(states[i], steps): the jump is linear, so the images of the single bits serve all.

    states: int64, 64-bit states as two's complement numbers.
    """
    return _moved(_images(lfsr, steps), states)


def _images(lfsr: Lfsr, steps: int) -> np.ndarray:
    """images[i] = what a jump of so many steps makes of the state that has bit i alone."""
    bits = np.array([wrap_signed(1 << bit, 64) for bit in range(lfsr.width)], dtype=np.int64)
    return np.asarray(lfsr_jump(bits, steps, lfsr.taps, lfsr.width, lfsr.form))


def _moved(images: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Apply a linear map, given by the images of the single bits, through a table per byte of the state."""
    moved = np.zeros_like(states)
    for low in range(0, len(images), 8):
        table = np.zeros(1, dtype=np.int64)
        for image in images[low : low + 8]:
            table = np.concatenate([table, table ^ image])
        moved ^= table[(states >> low) & (len(table) - 1)]
    return moved
