"""Shift registers as lists of bits, clocked one by one, and what they hand to the outputs of one layer after the other.

Written from the textbook's block diagrams and from the contract's words; nothing here calls hwsim. stages[i] is stage i + 1.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product

from hwsim.arith.rounding import Rounding
from hwsim.contract.stochastic import StochasticRounding
from oracles.exact import rounded


def bits_of(number: int, width: int) -> list[int]:
    """Return the digits of a number, lowest first."""
    return [int(digit) for digit in reversed(f"{number:0{width}b}")]


def number_of(bits: list[int]) -> int:
    """Return the number with these digits, lowest first."""
    return sum(2**i for i, bit in enumerate(bits) if bit)


def fibonacci(stages: list[int], polynomial: tuple[int, ...]) -> list[int]:
    """Many to one: the tapped stages are added up and enter the first one, all others take their neighbour's bit."""
    entering = sum(stages[exponent - 1] for exponent in polynomial) % 2
    return [entering, *stages[:-1]]


def galois(stages: list[int], polynomial: tuple[int, ...]) -> list[int]:
    """One to many: all move towards the first stage; the bit that falls out of it is added behind the tapped ones."""
    leaving, moved = stages[0], [*stages[1:], 0]
    for exponent in polynomial:
        moved[exponent - 1] = (moved[exponent - 1] + leaving) % 2
    return moved


def fraction_bits(stages: list[int], shift: int, alignment: str) -> list[int]:
    """Return the noise's digits, lowest first: the register laid against a fraction of `shift` bits, zeros where none meets."""
    if alignment == "LOW":
        return (stages + [0] * shift)[:shift]
    highest_first = (stages[::-1] + [0] * shift)[:shift]
    return highest_first[::-1]


class Bank:
    """The lanes of one rule from power-up on. turn: how often the bank moved since the last reset."""

    def __init__(self, rule: StochasticRounding) -> None:
        self.rule = rule
        self.reset()

    def reset(self) -> None:
        """Load the seeds."""
        self.turn = 0
        self.stages = [bits_of(seed, self.rule.lfsr.width) for seed in self.rule.seeds]

    def next_turn(self) -> None:
        """Clock every lane as often as the rule says."""
        move = {"FIBONACCI": fibonacci, "GALOIS": galois}[self.rule.lfsr.form.name]
        for _ in range(self.rule.clocks):
            self.stages = [move(stages, self.rule.lfsr.polynomial) for stages in self.stages]
        self.turn += 1

    @property
    def states(self) -> tuple[int, ...]:
        """The lanes' states as numbers."""
        return tuple(number_of(stages) for stages in self.stages)

    def image_begins(self) -> None:
        """Reset where the rule says so."""
        if self.rule.reset.name == "IMAGE":
            self.reset()

    def layer(self, shape: tuple[int, int, int], shift: list[int]) -> dict[tuple[int, int, int], int]:
        """Hand the noise of a layer out, output by output in the declared order; return it by (k, y, x)."""
        if self.rule.reset.name == "LAYER":
            self.reset()
        noise: dict[tuple[int, int, int], int] = {}
        names = self.rule.order.name
        extents = [range(dict(zip("KYX", shape, strict=True))[name]) for name in names]
        idle, lane = self.rule.tail.name == "IDLE", 0
        for slow in product(*extents[:2]):
            for fast in extents[2]:
                place = dict(zip(names, (*slow, fast), strict=True))
                at = (place["K"], place["Y"], place["X"])
                noise[at] = 0
                if shift[at[0]] <= 0 and not self.rule.zero_shift_draws:
                    continue
                if lane == self.rule.lanes:
                    self.next_turn()
                    lane = 0
                noise[at] = number_of(fraction_bits(self.stages[lane], max(shift[at[0]], 0), self.rule.alignment.name))
                lane += 1
            if idle and lane:
                lane = self.rule.lanes
        if lane:
            self.next_turn()
        return noise


def rounded_by(value: Fraction | int, noise: int, shift: int) -> int:
    """Return the integer below value / 2**shift + noise / 2**shift, the noise being a fraction of `shift` bits."""
    return rounded((Fraction(value) + noise) / Fraction(2) ** shift, Rounding.FLOOR)
