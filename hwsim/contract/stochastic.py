"""Stochastic rounding as hardware has it: registers, who draws when, and which bits meet the fraction. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np

from hwsim.arith.lfsr import Alignment, LfsrForm, lfsr_jump
from hwsim.arith.overflow import wrap_signed, wrap_unsigned
from hwsim.contract.polynomials import MAX_WIDTH, MAXIMAL, MIN_WIDTH, is_maximal, mask_of
from hwsim.errors import ContractError

MAX_LANES = 4096
MAX_CLOCKS = 1 << 20


class _Named(Enum):
    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"  # an expression, unlike Enum's own


class DrawOrder(_Named):
    """The order in which the outputs (k, y, x) of an image draw, slowest axis first."""

    KYX = (0, 1, 2)
    KXY = (0, 2, 1)
    YKX = (1, 0, 2)
    YXK = (1, 2, 0)
    XKY = (2, 0, 1)
    XYK = (2, 1, 0)


class Tail(_Named):
    """What the lanes do where the fastest axis ends within a turn. PACKED: the idle ones take the next outputs.

    IDLE: they draw for nobody, so that each run along the fastest axis begins in lane 0.
    """

    PACKED = "packed"
    IDLE = "idle"


class Reset(_Named):
    """When the registers are loaded with their seeds: before each layer of each image, before each image, or never again."""

    LAYER = "layer"
    IMAGE = "image"
    NEVER = "never"


@dataclass(frozen=True)
class Lfsr:
    """A linear feedback shift register of `width` stages; stage i is bit i - 1 of its state.

    width: 2..64.  polynomial: exponents, highest first, without the constant; None takes the table's.  form: see LfsrForm.
    allow_short: True lets a polynomial through whose period is less than 2**width - 1.

    >>> Lfsr(16)
    Lfsr(width=16, polynomial=(16, 15, 13, 4), form=LfsrForm.FIBONACCI, allow_short=False)
    >>> [Lfsr(4).state(1, steps) for steps in range(5)]
    [1, 2, 4, 9, 3]
    """

    width: int
    polynomial: tuple[int, ...] | None = None
    form: LfsrForm = LfsrForm.FIBONACCI
    allow_short: bool = False

    def __post_init__(self) -> None:
        _check_int("Lfsr.width", self.width, MIN_WIDTH, MAX_WIDTH)
        _check_kind("Lfsr.form", self.form, LfsrForm)
        if not isinstance(self.allow_short, bool):
            raise ContractError(f"Lfsr.allow_short: found {self.allow_short!r}, allowed True or False.")
        polynomial = MAXIMAL[self.width] if self.polynomial is None else self.polynomial
        object.__setattr__(self, "polynomial", self._checked(polynomial))

    def _checked(self, polynomial: object) -> tuple[int, ...]:
        known = f"for instance {MAXIMAL[self.width]}"
        ints = isinstance(polynomial, (tuple, list)) and all(type(i) is int for i in polynomial)
        terms: tuple[int, ...] = tuple(polynomial) if ints else ()  # type: ignore[arg-type]
        ordered = all(a > b for a, b in zip(terms, terms[1:], strict=False))
        if not terms or terms[0] != self.width or terms[-1] < 1 or not ordered:
            raise ContractError(
                f"Lfsr.polynomial: found {polynomial!r}, allowed the descending exponents {self.width}..1 that begin with the "
                f"width, {known}."
            )
        if not self.allow_short and not is_maximal(terms):
            raise ContractError(
                f"Lfsr.polynomial: found {terms}, which is not of full period 2**{self.width} - 1; allowed are primitive ones, "
                f"{known}, or allow_short=True."
            )
        return terms

    @property
    def taps(self) -> int:
        """The polynomial as arith.lfsr takes it."""
        assert self.polynomial is not None
        return mask_of(self.polynomial)

    def state(self, seed: int, steps: int) -> int:
        """Return the state, 1..2**width - 1, that `steps` steps after a seed; O(log steps)."""
        ahead = lfsr_jump(wrap_signed(seed, 64), steps, self.taps, self.width, self.form)
        return wrap_unsigned(ahead, self.width)

    def seeds_apart(self, lanes: int, distance: int, seed: int = 1) -> tuple[int, ...]:
        """Return a seed for each lane, every one `distance` steps after the one before.

        >>> Lfsr(4).seeds_apart(3, 2)
        (1, 4, 3)
        """
        _check_int("Lfsr.seeds_apart lanes", lanes, 1, MAX_LANES)
        _check_int("Lfsr.seeds_apart distance", distance, 0, None)
        _check_seed("Lfsr.seeds_apart seed", seed, self.width)
        return tuple(self.state(seed, lane * distance) for lane in range(lanes))


@dataclass(frozen=True)
class StochasticRounding:
    """code = (x + noise) >> s: the dropped bits f / 2**s round up for f of 2**s noises.

    Lane l has a register of its own, loaded with seeds[l]; all step together. Draw d of a layer belongs to lane d modulo
    lanes in turn d // lanes (Tail.IDLE pads the fastest axis), and turn t sees the state after t * clocks steps: the seed
    itself is drawn first. Each layer begins a new turn.

    seeds: one per lane, 1..2**width - 1 (a single integer is one lane).  clocks: steps from turn to turn, >= 1.
    order: of the outputs of an image; the images come one after the other.  alignment: which bits of the state are the noise.
    reset: when the seeds are loaded again.  zero_shift_draws: whether an output that drops no bit takes part.
    Over a full period the state is every number but 0, so that f rounds up in f * 2**(width - s) of 2**width - 1 draws.

    >>> StochasticRounding(Lfsr(8), seeds=Lfsr(8).seeds_apart(2, 100)).lanes
    2
    """

    lfsr: Lfsr
    seeds: tuple[int, ...] = (1,)
    clocks: int = 1
    order: DrawOrder = DrawOrder.YXK
    tail: Tail = Tail.PACKED
    alignment: Alignment = Alignment.HIGH
    reset: Reset = Reset.LAYER
    zero_shift_draws: bool = False

    def __post_init__(self) -> None:
        _check_kind("StochasticRounding.lfsr", self.lfsr, Lfsr)
        if isinstance(self.seeds, (int, list)) and not isinstance(self.seeds, bool):
            object.__setattr__(self, "seeds", tuple(self.seeds) if isinstance(self.seeds, list) else (self.seeds,))
        if not isinstance(self.seeds, tuple) or not 1 <= len(self.seeds) <= MAX_LANES:
            raise ContractError(f"StochasticRounding.seeds: found {self.seeds!r}, allowed 1..{MAX_LANES} seeds, one per lane.")
        for lane, seed in enumerate(self.seeds):
            _check_seed(f"StochasticRounding.seeds[{lane}]", seed, self.lfsr.width)
        _check_int("StochasticRounding.clocks", self.clocks, 1, MAX_CLOCKS)
        for name, kind in (("order", DrawOrder), ("tail", Tail), ("alignment", Alignment), ("reset", Reset)):
            _check_kind(f"StochasticRounding.{name}", getattr(self, name), kind)
        if not isinstance(self.zero_shift_draws, bool):
            raise ContractError(f"StochasticRounding.zero_shift_draws: found {self.zero_shift_draws!r}, allowed True or False.")

    @property
    def lanes(self) -> int:
        """Number of registers."""
        return len(self.seeds)

    def states(self, turn: int) -> tuple[int, ...]:
        """Return every lane's state in a turn: what a trace and a package store."""
        lfsr, seeds = self.lfsr, np.array([wrap_signed(seed, 64) for seed in self.seeds], dtype=np.int64)
        ahead = lfsr_jump(seeds, turn * self.clocks, lfsr.taps, lfsr.width, lfsr.form)  # the lanes share the jump
        return tuple(wrap_unsigned(state, lfsr.width) for state in ahead.tolist())

    def first_turn(self, image: int, layer: int, turns: Sequence[int]) -> int:
        """Return the turn, counted from the last reset, in which a layer's first output draws.

        image: counted from power-up.  turns: of each layer of an image, in the order of execution (0 where none draws).

        >>> from dataclasses import replace
        >>> rule = StochasticRounding(Lfsr(8))
        >>> [replace(rule, reset=reset).first_turn(2, 1, (10, 20, 30)) for reset in Reset]
        [0, 10, 130]
        """
        if self.reset is Reset.LAYER:
            return 0
        before = sum(turns[:layer])
        return before if self.reset is Reset.IMAGE else image * sum(turns) + before


def _check_int(name: str, value: object, low: int, high: int | None) -> None:
    if type(value) is not int or value < low or (high is not None and value > high):
        allowed = f"an integer >= {low}" if high is None else f"an integer in {low}..{high}"
        raise ContractError(f"{name}: found {value!r}, allowed {allowed}.")


def _check_seed(name: str, value: object, width: int) -> None:
    if type(value) is not int or not 1 <= value < 1 << width:
        raise ContractError(
            f"{name}: found {value!r}, allowed an integer in 1..{(1 << width) - 1} (a register of zeros never moves)."
        )


def _check_kind(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        names = f": {', '.join(member.name for member in kind)}" if issubclass(kind, (Enum, IntEnum)) else ""
        raise ContractError(f"{name}: found {value!r}, allowed {kind.__name__}{names}.")
