"""What the inputs of one output can make of its running sum: its taps in the declared order, and codes that move the sum.

Plain deterministic integers and fractions, no Hypothesis. A sum is moved greedily, the tap of the largest reach first, so that
few codes change; what is left over is sought with two taps at once. The nearest sum is taken where none hits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from hwsim.arith.rounding import Rounding, round_shift
from hwsim.contract import BiasPoint, FloatAccumulator, PaddedTaps, Schedule
from hwsim.formats import FixedPoint, Minifloat
from hwsim.formats.integer import IntegerFormat
from hwsim.layers import MacLayer, Shape
from hwsim.layers.float_unit import FloatUnit
from hwsim.testing.corners import extremes, zero_code

Value = Any
"""An int on the products' grid, or a Fraction."""


class Reach:
    """One output (k, y, x) of a layer, over codes of one image [C][H][W] that it changes in place.

    steps: taps of each step in the declared order that read a pixel, one after the other where no order is declared.
    lanes: the same with every lane's tap, -1 for none.  What adds up are `product`s; `content` is the accumulator's, exact, as
    if nothing ever overflowed.
    """

    def __init__(self, layer: MacLayer, image: np.ndarray, k: int, y: int, x: int) -> None:
        self.layer, self.k, self.codes = layer, k, image.reshape(-1)
        shape = Shape(*image.shape)
        numbered: Any = np.arange(image.size).reshape(image.shape).tolist()  # an image whose codes say where they are
        places, padded = layer.taps(numbered, k, y, x)
        self.place = {tap: at for tap, (at, pad) in enumerate(zip(places, padded, strict=True)) if not pad}
        schedule = self.schedule
        rows = schedule.table(*layer.extents(shape)).tolist() if schedule is not None else [[tap] for tap in range(len(places))]
        live = [[tap for tap in row if tap in self.place] for row in rows]
        counted = schedule is not None and schedule.padded is PaddedTaps.STEPS
        self.lanes = [row for row, kept in zip(rows, live, strict=True) if kept or counted]
        self.steps = [kept for kept in live if kept or counted]
        self.low, self.high = extremes(layer.contract.input)
        self._ends: dict[int, tuple[Value, Value]] = {}

    @property
    def schedule(self) -> Schedule | None:
        """The declared order, or None."""
        return self.layer.contract.accumulator.schedule  # type: ignore[union-attr]

    @property
    def bias(self) -> Value:
        """The bias, as it is added."""
        raise NotImplementedError

    @property
    def bias_last(self) -> bool:
        """Whether the bias is added behind the last step."""
        return self.schedule is not None and self.schedule.bias is BiasPoint.LAST

    def product(self, tap: int, code: int) -> Value:
        """Return what a tap adds with this code."""
        raise NotImplementedError

    def code_for(self, tap: int, want: Value, now: int) -> int:
        """Return the code whose product is nearest to `want`, coming from `now` and not going beyond."""
        raise NotImplementedError

    def content(self, step: int, final: bool = False) -> Value:
        """Return the accumulator's exact content behind a step; final: with a bias that comes last."""
        raise NotImplementedError

    def rest(self, missing: Value) -> Value:
        """Return by how much products must grow for the content to grow by `missing`."""
        raise NotImplementedError

    def now(self, tap: int) -> int:
        """Return the tap's code."""
        return int(self.codes[self.place[tap]])

    def ends(self, tap: int) -> tuple[Value, Value]:
        """Return the smallest and the largest product of a tap."""
        if tap not in self._ends:
            found = [self.product(tap, code) for code in (self.low, self.high)]
            self._ends[tap] = min(found), max(found)
        return self._ends[tap]

    def span(self, taps: Sequence[int]) -> tuple[Value, Value]:
        """Return the smallest and the largest sum of the products of some taps."""
        found = [self.ends(tap) for tap in taps]
        return sum(low for low, _ in found), sum(high for _, high in found)

    @cached_property
    def spans(self) -> list[tuple[Value, Value]]:
        """The span of all steps before each step, and of all steps."""
        found: list[tuple[Value, Value]] = [(0, 0)]
        for row in self.steps:
            low, high = self.span(row)
            found.append((found[-1][0] + low, found[-1][1] + high))
        return found

    def go(self, first: int, last: int, target: Value, final: bool = False, coarse: bool = False) -> None:
        """Change the codes of steps first..last until the content behind them is `target`, or as near as it gets.

        coarse: with fewer codes, perhaps a little beyond.
        """
        free = [tap for row in self.steps[first : last + 1] for tap in row]
        for _ in range(1 if coarse else 3):  # again for what rounding of the steps took or gave
            missing = target - self.content(last, final)
            if not missing:
                return
            self.add(free, self.rest(missing), coarse)

    def add(self, free: Sequence[int], rest: Value, coarse: bool = False) -> None:
        """Change the codes of taps until their products have grown by `rest`, or as near as it gets."""
        moving = [tap for tap in free if self.ends(tap)[0] != self.ends(tap)[1]]
        moving.sort(key=lambda tap: self.ends(tap)[0] - self.ends(tap)[1])
        for tap in moving:
            if not rest:
                return
            left = rest - self._turn(tap, rest)
            if coarse and left and (left := left - self._step(tap, left)) * rest <= 0:
                return
            rest = left
        if rest and not coarse:
            self._pair(moving[-4:] + moving[:2], rest)

    def push(self, first: int, last: int, target: Value, final: bool = False) -> None:
        """Where the content behind a step falls short of a target, move one code more, by as little as goes beyond it."""
        missing = target - self.content(last, final)
        if missing * target > 0:
            self.add_beyond([tap for row in self.steps[first : last + 1] for tap in row], self.rest(missing))

    def add_beyond(self, taps: Sequence[int], rest: Value) -> None:
        """Change one code so that the products grow by `rest` or by as little more as can be."""
        grown: list[tuple[Value, int, int]] = []
        for tap in taps:
            before = self.product(tap, self.now(tap))
            for code in self.beside(self.now(tap)):
                more = self.product(tap, code) - before
                if more * rest > 0 and abs(more) >= abs(rest):
                    grown.append((abs(more), tap, code))
        if grown:
            _, tap, code = min(grown)
            self.codes[self.place[tap]] = code

    def _turn(self, tap: int, rest: Value) -> Value:
        """Move one tap's product towards `rest` more; return by how much it grew."""
        now = self.now(tap)
        before = self.product(tap, now)
        code = self.code_for(tap, before + rest, now)
        self.codes[self.place[tap]] = code
        return self.product(tap, code) - before

    def _step(self, tap: int, rest: Value) -> Value:
        """Move one tap by one code towards `rest` more, if there is one; return by how much its product grew."""
        now = self.now(tap)
        before, found = self.product(tap, now), 0
        for code in (now - 1, now + 1):
            if self.low <= code <= self.high and (self.product(tap, code) - before) * rest > 0:
                self.codes[self.place[tap]] = code
                found = self.product(tap, code) - before
        return found

    def _pair(self, taps: Sequence[int], rest: Value) -> None:
        """Try every few codes of one tap with what another one makes of the remainder; keep the nearest."""
        best, found = abs(rest), None
        for first in taps:
            now = self.now(first)
            before = self.product(first, now)
            for code in self.beside(now):
                left = rest - (self.product(first, code) - before)
                for second in taps:
                    if second == first:
                        continue
                    kept = self.now(second)
                    held = self.product(second, kept)
                    other = self.code_for(second, held + left, kept)
                    miss = abs(left - (self.product(second, other) - held))
                    if miss < best:
                        best, found = miss, (first, code, second, other)
        if found is not None:
            first, code, second, other = found
            self.codes[self.place[first]], self.codes[self.place[second]] = code, other

    def beside(self, code: int) -> list[int]:
        """Return codes near one."""
        return [code + d for d in range(-4, 5) if self.low <= code + d <= self.high]


class IntegerReach(Reach):
    """The running sum of a MacContract: products on the tree's grid, contents on the accumulator's."""

    @cached_property
    def shift(self) -> int:
        """Bits from the products to the accumulator's grid."""
        return self.layer.numbers.step_shift[self.k]

    @property
    def bias(self) -> int:
        """The bias on the accumulator's grid."""
        return self.layer.numbers.bias[self.k]

    @cached_property
    def _factors(self) -> list[int] | None:
        """Of products that are never rounded."""
        unit = self.layer.integer
        return None if unit.factors is None or self.layer.numbers.drop[self.k] else unit.factors[self.k].tolist()

    @cached_property
    def _zero(self) -> int:
        return zero_code(self.layer.contract.input)

    def product(self, tap: int, code: int) -> int:
        """(x - zero point) * weight, rounded where the contract rounds products."""
        if self._factors is not None:
            return (code - self._zero) * self._factors[tap]
        return self.layer.integer.product(code, self.k, tap)

    def code_for(self, tap: int, want: int, now: int) -> int:
        """By bisection: products are monotone in the code."""
        sign = 1 if self.product(tap, self.high) >= self.product(tap, self.low) else -1
        upward = sign * want >= sign * self.product(tap, now)
        low, high = (now, self.high) if upward else (self.low, now)
        while low < high:  # upward: the greatest code that does not go beyond; downward: the least
            middle = (low + high + upward) // 2
            value = sign * self.product(tap, middle)
            if upward:
                low, high = (middle, high) if value <= sign * want else (low, middle - 1)
            else:
                low, high = (low, middle) if value >= sign * want else (middle + 1, high)
        return low

    def content(self, step: int, final: bool = False) -> int:
        """Bias and rounded sums of the steps."""
        mode = int(self.layer.contract.accumulator.rounding)  # type: ignore[union-attr]
        total = self.bias if final or not self.bias_last else 0
        for row in self.steps[: step + 1]:
            total += round_shift(sum(self.product(tap, self.now(tap)) for tap in row), -self.shift, mode)
        return total

    def rest(self, missing: int) -> int:
        """missing * 2**-shift, down."""
        return missing >> self.shift if self.shift >= 0 else missing << -self.shift

    def behind(self, step: int) -> tuple[int, int]:
        """Return about the least and the most that the content grows by behind a step, up to its end."""
        (before_low, before_high), (low, high) = self.spans[step + 1], self.spans[-1]
        low, high = low - before_low, high - before_high
        end = self.bias if self.bias_last else 0
        return end + round_shift(low, -self.shift, Rounding.FLOOR), end + round_shift(high, -self.shift, Rounding.FLOOR)

    def reachable(self, step: int, final: bool = False) -> tuple[int, int]:
        """Return about the smallest and the largest content behind a step."""
        low, high = self.spans[step + 1]
        start = self.bias if final or not self.bias_last else 0
        return start + round_shift(low, -self.shift, Rounding.FLOOR), start + round_shift(high, -self.shift, Rounding.FLOOR)


class FloatReach(Reach):
    """The running sum of a FloatMacContract, in fractions and before any rounding."""

    @cached_property
    def unit(self) -> FloatUnit:
        """The unit in floats."""
        assert isinstance(self.layer.unit, FloatUnit)
        return self.layer.unit

    @property
    def schedule(self) -> Schedule | None:
        """Of a float register; an exact sum has none."""
        register = self.layer.contract.accumulator
        return register.schedule if isinstance(register, FloatAccumulator) else None

    @cached_property
    def bias(self) -> Fraction:
        """The bias as it is stored."""
        if self.layer.bias is None:
            return Fraction(0)
        fmt = self.layer.contract.bias_format(self.layer.channels)
        code = int(self.layer.bias[self.k])
        return Fraction(fmt.decode(code, self.k) if isinstance(fmt, IntegerFormat) else fmt.decode(code))

    @cached_property
    def _weights(self) -> list[Fraction]:
        sign, significand, exponent, _ = (part[self.k].tolist() for part in self.unit.weight_terms)
        terms = zip(sign, significand, exponent, strict=True)
        return [Fraction(-m if s else m) * Fraction(2) ** e for s, m, e in terms]

    @cached_property
    def _input(self) -> FixedPoint | Minifloat:
        fmt = self.layer.contract.input
        assert isinstance(fmt, (FixedPoint, Minifloat))
        return replace(fmt, saturate=True) if isinstance(fmt, Minifloat) else fmt

    def weight(self, tap: int) -> Fraction:
        """Return the number that a tap's weight stands for."""
        return self._weights[tap]

    def product(self, tap: int, code: int) -> Fraction:
        """The exact product; NaN and infinities count as 0."""
        value = self._input.decode(code)
        return value * self._weights[tap] if isinstance(value, Fraction) else Fraction(0)

    def code_for(self, tap: int, want: Fraction, now: int) -> int:
        """The quotient, rounded towards 0."""
        weight = self._weights[tap]
        return now if not weight else self._input.encode(want / weight, Rounding.TOWARD_ZERO)

    def content(self, step: int, final: bool = False) -> Fraction:
        """Bias and products."""
        total = self.bias if final or not self.bias_last else Fraction(0)
        return total + sum(self.product(tap, self.now(tap)) for row in self.steps[: step + 1] for tap in row)

    def rest(self, missing: Fraction) -> Fraction:
        """As much."""
        return missing

    def reachable(self, step: int, final: bool = False) -> tuple[Fraction, Fraction]:
        """Return the smallest and the largest content behind a step."""
        low, high = self.spans[step + 1]
        start = self.bias if final or not self.bias_last else Fraction(0)
        return start + low, start + high

    def beside(self, code: int) -> list[int]:
        """Return finite words near one."""
        words = [code + d for d in range(-3, 4) if self._input.low <= code + d <= self._input.high]
        return [word for word in words if isinstance(self._input.decode(word), Fraction)]


def reach_of(layer: MacLayer, image: np.ndarray, k: int, y: int, x: int) -> IntegerReach | FloatReach:
    """Return the reach of one output over the codes of an image [C][H][W], contiguous and writable."""
    kind: Callable[..., IntegerReach | FloatReach] = FloatReach if isinstance(layer.unit, FloatUnit) else IntegerReach
    return kind(layer, image, k, y, x)
