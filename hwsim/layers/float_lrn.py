"""Local response normalization in minifloats with every step rounded: Ristretto's LRNRistretto, and hardware built like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import ClassVar

import numpy as np

from hwsim.arith.float_lrn import add_square
from hwsim.arith.minifloat import cast_float, infinity_code, multiply_floats, nan_code, zero_code
from hwsim.arith.rounding import Rounding
from hwsim.contract.accumulator import check_kind
from hwsim.errors import ContractError
from hwsim.formats import Minifloat
from hwsim.layers.base import Bounds, Cell, Codes, Events, OneInput, checked_codes
from hwsim.layers.host import check_lrn
from hwsim.layers.lrn_table import Power

MAX_STEP_BITS = 16
"""A table has an entry for each code of the sum."""


@dataclass(frozen=True, eq=False)
class SteppedLRN(OneInput):
    """code = x * table[sum of squares], across channels, in one minifloat format whose every step is rounded.

    format: of the input, cast to `steps` first.  steps: of squares, sums, powers and output, at most 16 bits.  table: for each
    code of the sum the code of its power: round(round(k + round(sum * (alpha / n)))**-beta).  local_size n: odd.
    running: the sum goes along the channels, where each neighbour is added and subtracted again, so that roundings stay in it;
    else each output sums its own neighbours, from 0 and the lowest channel on.
    Events: squares and sums that overflow are the accumulator's, products the output's.
    alpha, beta, k: what the table stands for; the table alone decides.

    Source: Ristretto for Caffe, lrn_ristretto_layer.cu, LRNFillScaleQ and LRNComputeOutputQ: running, TIES_EVEN. It steps through
    float32, which rounds alike up to 10 bits of fraction but for contrived ties; its pow is the GPU's, here it is exact.

    >>> from hwsim.formats.catalog import E4M3
    >>> lrn = SteppedLRN.from_real(E4M3, 3, 1.0, 0.75, 1.0)
    >>> x = [[[[E4M3.encode(v)]] for v in (1.0, -2.0, 3.0)]]
    >>> [float(E4M3.decode(lrn.spec([x], 0, k, 0, 0).code)) for k in range(3)]
    [0.5, -0.5625, 0.875]
    """

    format: Minifloat
    steps: Minifloat
    local_size: int
    alpha: float
    beta: float
    k: float
    rounding: Rounding
    running: bool
    table: np.ndarray

    kind: ClassVar[str] = "stepped_lrn"

    def __post_init__(self) -> None:
        check_kind("stepped_lrn.format", self.format, Minifloat)
        check_kind("stepped_lrn.steps", self.steps, Minifloat)
        if self.steps.bits > MAX_STEP_BITS:
            raise ContractError(f"stepped_lrn.steps: found {self.steps.bits} bits, allowed at most {MAX_STEP_BITS}.")
        check_lrn(self.kind, self.local_size, self.alpha, self.beta, self.k)
        check_kind("stepped_lrn.rounding", self.rounding, Rounding)
        if not isinstance(self.running, bool):
            raise ContractError(f"stepped_lrn.running: found {self.running!r}, allowed True or False.")
        object.__setattr__(self, "table", checked_codes("stepped_lrn.table", self.table, self.steps, "E"))
        if len(self.table) != 1 << self.steps.bits:
            raise ContractError(f"stepped_lrn.table: found {len(self.table)} entries, allowed one for each code of {self.steps}.")

    @classmethod
    def from_real(
        cls,
        steps: Minifloat,
        local_size: int,
        alpha: float,
        beta: float,
        k: float,
        rounding: Rounding = Rounding.TIES_EVEN,
        running: bool = True,
        format: Minifloat | None = None,
    ) -> SteppedLRN:
        """Return the layer with the table of these constants as float32 numbers, alpha / n too; format: None for `steps`."""
        check_lrn(cls.kind, local_size, alpha, beta, k)
        table = power_codes(steps, float(np.float32(alpha) / np.float32(local_size)), beta, k, rounding)
        return cls(steps if format is None else format, steps, local_size, alpha, beta, k, rounding, running, table)

    @property
    def output_format(self) -> Minifloat:
        """The format of every step."""
        return self.steps

    @property
    def bounds(self) -> Bounds:
        """Any code: what a minifloat can become is not narrowed."""
        return Bounds(None, (self.steps.low, self.steps.high))

    @cached_property
    def powers(self) -> list[int]:
        """The table as plain ints."""
        found: list[int] = self.table.tolist()
        return found

    def visits(self, k: int, channels: int) -> list[tuple[int, int]]:
        """Return what the sum of channel k takes in since that of channel k - 1, or all of it: (channel, 1 if it leaves)."""
        reach = self.local_size // 2
        if not self.running:
            return [(c, 0) for c in range(max(k - reach, 0), min(k + reach + 1, channels))]
        first = 0 if k == 0 else k + reach
        enter = [(c, 0) for c in range(first, min(k + reach + 1, channels))]
        return enter + ([(k - reach - 1, 1)] if k > reach else [])

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints: where the sum is running, from the first channel on."""
        f, mode, image = self.steps.layout, self.rounding, inputs[0][n]
        column = [int(cast_float(plane[y][x], self.format.layout, f, mode)[0]) for plane in image]
        total, events = int(f.zero), 0
        for channel in range(0 if self.running else k, k + 1):
            events = 0
            for c, leaves in self.visits(channel, len(column)):
                total, event = add_square(total, column[c], leaves, f, mode)
                events += event
        code, event = multiply_floats(column[k], f, self.powers[total], f, f, mode)
        return Cell(int(code), None, Events(int(events), int(event)))


def power_codes(steps: Minifloat, slope: float, beta: float, k: float, rounding: Rounding) -> np.ndarray:
    """Return for each code of a sum that of round(round(k + round(sum * slope))**-beta): exact, then rounded, thrice.

    A base that is not positive, which rounding can leave of a running sum, and 0 have the power of the smallest one: overflow.
    """
    made: dict[int, int] = {}
    return np.array([_power_code(code, steps, slope, beta, k, rounding, made) for code in range(1 << steps.bits)], dtype=np.int64)


def _power_code(code: int, f: Minifloat, slope: float, beta: float, k: float, rounding: Rounding, made: dict[int, int]) -> int:
    total = f.decode(code)
    if not isinstance(total, Fraction):
        return int(nan_code(f.layout) if total != total else zero_code(0, f.layout) if total > 0 else infinity_code(0, f.layout))
    scaled = f.decode(f.encode(total * Fraction(slope), rounding))
    if not isinstance(scaled, Fraction):
        return int(zero_code(0, f.layout))
    base = f.encode(scaled + Fraction(float(np.float32(k))), rounding)
    if base not in made:
        made[base] = _inverse(f.decode(base), f, beta, rounding)
    return made[base]


def _inverse(base: Fraction | float, f: Minifloat, beta: float, rounding: Rounding) -> int:
    if not isinstance(base, Fraction):
        return int(zero_code(0, f.layout))
    if base <= 0:
        return int(infinity_code(0, f.layout))
    return int(f.encode(Power(Fraction(0), Fraction(float(np.float32(beta))), base).at(0), rounding))
