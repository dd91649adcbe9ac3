"""The accumulator as hardware has it: a register, the order of its steps, the adder tree before it, the spill behind it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract.stochastic import Tail
from hwsim.errors import ContractError
from hwsim.formats.fixed import FixedPoint

MAX_LANES = 4096
MAX_STEPS = 1 << 24
MAX_TABLE = 1 << 24
MAX_TREE_BITS = 62
MAX_DROPPED = 62


def check_int(name: str, value: object, low: int, high: int) -> None:
    """Refuse what is no integer in low..high."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ContractError(f"{name}: found {value!r}, allowed an integer in {low}..{high}.")


def check_kind(name: str, value: object, kind: type) -> None:
    """Refuse what is no member or instance of the type."""
    if not isinstance(value, kind):
        names = f": {', '.join(member.name for member in kind)}" if issubclass(kind, (Enum, IntEnum)) else ""
        raise ContractError(f"{name}: found {value!r}, allowed {kind.__name__}{names}.")


class _Named(Enum):
    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"  # an expression, unlike Enum's own


class Axis(_Named):
    """An axis of the reduction: input channel, kernel row, kernel column (fully connected: channel, row, column of the input)."""

    C = 0
    R = 1
    S = 2


class Order(_Named):
    """The order of the reduction's axes, slowest first: CRS takes all of a channel's kernel before the next channel."""

    CRS = (0, 1, 2)
    CSR = (0, 2, 1)
    RCS = (1, 0, 2)
    RSC = (1, 2, 0)
    SCR = (2, 0, 1)
    SRC = (2, 1, 0)


class BiasPoint(_Named):
    """FIRST: the register is loaded with the bias.  LAST: the bias is added behind the last step (and the last spill)."""

    FIRST = "first"
    LAST = "last"


class RoundAt(_Named):
    """Where bits finer than the accumulator's grid are dropped: at each PRODUCT, or at each STEP's sum, behind the tree."""

    PRODUCT = "product"
    STEP = "step"


class PaddedTaps(_Named):
    """STEPS: padding is read as zeros.  SKIPPED: a tap in the padding is none."""

    STEPS = "steps"
    SKIPPED = "skipped"


class ZeroSkip(_Named):
    """Which taps a zero-skipping array leaves out: those whose input, weight, or either of them is zero."""

    NONE = "none"
    INPUT = "input"
    WEIGHT = "weight"
    EITHER = "either"


@dataclass(frozen=True)
class Tree:
    """The adder tree that makes one sum of a step's products.

    pairing: ADJACENT adds neighbours, HALVES the lane half the width away; an odd one goes on to the next level; CHAIN adds
    one lane after the other.  bits: width of each level, first to last; None makes every level as wide as its exact sums.
    overflow: of all levels; None demands that no level can overflow.
    """

    pairing: Pairing = Pairing.ADJACENT
    bits: tuple[int, ...] | None = None
    overflow: Overflow | None = None

    def __post_init__(self) -> None:
        check_kind("Tree.pairing", self.pairing, Pairing)
        if isinstance(self.bits, list):
            object.__setattr__(self, "bits", tuple(self.bits))
        if self.bits is not None:
            if not isinstance(self.bits, tuple):
                raise ContractError(f"Tree.bits: found {self.bits!r}, allowed a width for each level, or None.")
            for level, bits in enumerate(self.bits):
                check_int(f"Tree.bits[{level}]", bits, 2, MAX_TREE_BITS)
        if self.overflow is not None:
            check_kind("Tree.overflow", self.overflow, Overflow)

    def levels(self, lanes: int) -> int:
        """Number of levels that so many lanes need.

        >>> Tree().levels(5), Tree(Pairing.CHAIN).levels(5), Tree().levels(1)
        (3, 4, 0)
        """
        return lanes - 1 if self.pairing is Pairing.CHAIN else (lanes - 1).bit_length()


@dataclass(frozen=True)
class Spill:
    """Every `every` steps the partial sum goes to a buffer and back: acc = overflow(round(acc / 2**shift)) * 2**shift.

    bits: of the buffer, 2..64.  shift: how many bits its grid is coarser than the accumulator's.  rounding, overflow: of
    what is written.  last: whether the final sum goes through the buffer, too.  What comes back and does not fit the
    accumulator is an event there.
    """

    every: int
    bits: int
    shift: int = 0
    rounding: Rounding = Rounding.TIES_EVEN
    overflow: Overflow = Overflow.WRAP
    last: bool = False

    def __post_init__(self) -> None:
        check_int("Spill.every", self.every, 1, MAX_STEPS)
        check_int("Spill.bits", self.bits, 2, 64)
        check_int("Spill.shift", self.shift, 0, MAX_DROPPED)
        if self.bits + self.shift > 64:
            raise ContractError(f"Spill.shift: found {self.shift} with {self.bits} bits, allowed at most {64 - self.bits}.")
        check_kind("Spill.rounding", self.rounding, Rounding)
        check_kind("Spill.overflow", self.overflow, Overflow)
        if not isinstance(self.last, bool):
            raise ContractError(f"Spill.last: found {self.last!r}, allowed True or False.")


@dataclass(frozen=True)
class Schedule:
    """The steps of one output: which products meet when.

    order: of the axes (c, r, s), slowest first.  lanes: products of one step, along lane_axis, whose place in the order counts
    blocks of lanes.  tail: what the lanes do where the axis ends within a step; IDLE: they add nothing; PACKED: they take the
    next products of the order, and the lane axis must be its fastest.  tree: see there.  bias: when it is added.
    padded, skip_zeros: taps that are left out. Idle lanes: a step is left out if all its taps are; packed ones: the taps
    that are left close up.  spill: see there, or None.

    >>> Schedule(Order.RSC, lanes=2, lane_axis=Axis.C).table(3, 1, 2).tolist()
    [[0, 2], [4, -1], [1, 3], [5, -1]]
    """

    order: Order = Order.CRS
    lanes: int = 1
    lane_axis: Axis = Axis.C
    tail: Tail = Tail.IDLE
    tree: Tree = Tree()
    bias: BiasPoint = BiasPoint.FIRST
    padded: PaddedTaps = PaddedTaps.STEPS
    skip_zeros: ZeroSkip = ZeroSkip.NONE
    spill: Spill | None = None

    def __post_init__(self) -> None:
        check_int("Schedule.lanes", self.lanes, 1, MAX_LANES)
        kinds = (("order", Order), ("lane_axis", Axis), ("tail", Tail), ("tree", Tree), ("bias", BiasPoint))
        for name, kind in (*kinds, ("padded", PaddedTaps), ("skip_zeros", ZeroSkip)):
            check_kind(f"Schedule.{name}", getattr(self, name), kind)
        if self.spill is not None:
            check_kind("Schedule.spill", self.spill, Spill)
        if self.tail is Tail.PACKED and self.lanes > 1 and self.order.value[-1] != self.lane_axis.value:
            raise ContractError(
                f"Schedule.tail: found PACKED with lanes along {self.lane_axis.name} in order {self.order.name}, allowed where "
                f"the lane axis is the last of the order; take tail IDLE, or lane_axis {self.order.name[-1]}."
            )
        levels = self.tree.levels(self.lanes)
        if self.tree.bits is not None and len(self.tree.bits) != levels:
            raise ContractError(
                f"Schedule.tree.bits: found {len(self.tree.bits)} widths for {self.lanes} lanes, allowed {levels}, one per level."
            )

    @property
    def skips(self) -> bool:
        """Whether any tap may be left out."""
        return self.padded is PaddedTaps.SKIPPED or self.skip_zeros is not ZeroSkip.NONE

    def steps(self, c: int, r: int, s: int) -> int:
        """Return the number of steps where no tap is left out."""
        if self.tail is Tail.PACKED:
            return -(-c * r * s // self.lanes)
        along = (c, r, s)[self.lane_axis.value]
        return c * r * s // along * -(-along // self.lanes)

    def table(self, c: int, r: int, s: int) -> np.ndarray:
        """table[step, lane] = (c*R + r)*S + s of the tap that is taken there, -1 for an idle lane; int64."""
        extents, order = (c, r, s), self.order.value
        if self.steps(*extents) * self.lanes > MAX_TABLE:
            raise ContractError(
                f"Schedule.lanes: found {self.lanes} along {self.lane_axis.name} with {c} x {r} x {s} taps, most of them idle; "
                f"allowed are at most {MAX_TABLE:,} places in all steps; take fewer lanes, or tail PACKED."
            )
        at = [np.arange(extent) for extent in extents]
        if self.tail is Tail.PACKED:
            grid = np.ix_(*(at[axis] for axis in order))
            taps = _tap(grid, order, extents).ravel()
            idle = -len(taps) % self.lanes
            return np.concatenate([taps, np.full(idle, -1)]).reshape(-1, self.lanes)
        axis, blocks = self.lane_axis.value, -(-extents[self.lane_axis.value] // self.lanes)
        at[axis] = np.arange(blocks)
        grid = np.ix_(*(at[a] for a in order), np.arange(self.lanes))
        place = order.index(axis)
        along = grid[place] * self.lanes + grid[3]
        taps = _tap((*grid[:place], along, *grid[place + 1 : 3]), order, extents)
        return np.where(along < extents[axis], taps, -1).reshape(-1, self.lanes)


def _tap(grid: tuple[np.ndarray, ...], order: tuple[int, int, int], extents: tuple[int, int, int]) -> np.ndarray:
    c, r, s = (grid[order.index(axis)] for axis in range(3))
    return np.asarray((c * extents[1] + r) * extents[2] + s, dtype=np.int64)


@dataclass(frozen=True)
class Accumulator:
    """A signed register of `bits`, and how sums come to it.

    bits: 2..64.  fractional_length: its grid; None for dropped_bits below the product's (finest over input x weight, per
    channel).  require_proof: refuse a layer in which any register could overflow, whatever the image.
    overflow: at every step.  rounding, round_at: where products are finer than the grid.
    schedule: the order of the steps. None, for WRAP alone: no order is declared; the content is the exact sum modulo 2**bits
    whatever the order, and an event is counted at the end. What needs an order gets Schedule().

    >>> Accumulator(16, overflow=Overflow.SATURATE).schedule.order
    Order.CRS
    """

    bits: int = 32
    fractional_length: int | tuple[int, ...] | None = None
    require_proof: bool = False
    overflow: Overflow = Overflow.WRAP
    dropped_bits: int = 0
    rounding: Rounding = Rounding.TIES_EVEN
    round_at: RoundAt = RoundAt.PRODUCT
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_int("Accumulator.bits", self.bits, 2, 64)
        if not isinstance(self.require_proof, bool):
            raise ContractError(f"Accumulator.require_proof: found {self.require_proof!r}, allowed True or False.")
        check_int("Accumulator.dropped_bits", self.dropped_bits, 0, MAX_DROPPED)
        for name, kind in (("overflow", Overflow), ("rounding", Rounding), ("round_at", RoundAt)):
            check_kind(f"Accumulator.{name}", getattr(self, name), kind)
        if self.fractional_length is not None:
            object.__setattr__(self, "fractional_length", self.grid().fractional_length)
            if self.dropped_bits:
                raise ContractError(
                    f"Accumulator.dropped_bits: found {self.dropped_bits} beside a fractional_length, allowed one of the two."
                )
        if self.schedule is None and (self.overflow != Overflow.WRAP or self.dropped_bits):
            object.__setattr__(self, "schedule", Schedule())
        if self.schedule is not None:
            check_kind("Accumulator.schedule", self.schedule, Schedule)
            self._check_spill(self.schedule.spill)

    def _check_spill(self, spill: Spill | None) -> None:
        if spill is not None and spill.bits > self.bits:
            raise ContractError(f"Spill.bits: found {spill.bits}, wider than the accumulator; allowed 2..{self.bits}.")

    def grid(self) -> FixedPoint:
        """Return the register as a format; its grid must be declared."""
        if self.fractional_length is None:
            raise ContractError("Accumulator.fractional_length: found None where a resolved grid is needed.")
        return FixedPoint(self.bits, self.fractional_length, True)

    @property
    def low(self) -> int:
        """Smallest content that the overflow mode lets through."""
        return register_low(self.bits, self.overflow)

    @property
    def high(self) -> int:
        """Largest content."""
        return (1 << (self.bits - 1)) - 1


def register_low(bits: int, overflow: Overflow) -> int:
    """Smallest content of a signed register: -2**(bits-1), one more under SATURATE_SYMMETRIC."""
    return -(1 << (bits - 1)) + (overflow == Overflow.SATURATE_SYMMETRIC)
