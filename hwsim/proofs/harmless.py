"""Why no output can tell a narrow accumulator from a wide one: arguments that hold for every input of a site.

Where nothing rounds or clips between the steps, every step adds its own amount, whatever the others add. A register that
wraps ends with its exact end modulo 2**bits, so only an end that does not fit can show. A register that an input clips at the
top alone never holds more than the wide one, and after its last clip, at step t, it holds the limit and falls by no more than
the steps behind t can take away: where the code of the least such end is the code of the largest, nothing shows. An input
clips on both sides only where the steps between can move the sum across the whole register.
"""

from __future__ import annotations

from typing import NamedTuple

from hwsim.arith.accumulate import Place
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.contract.stochastic import StochasticRounding
from hwsim.proofs.machine import Machine

TRAPS = "the contract says TRAP: the run stops at this event, and leaves no output to compare"
FITS = "every end fits, and addition modulo 2**{bits} forgets what wrapped on the way: the accumulator ends as a wide one does"
LOW_BITS = "the output wraps, too, and keeps nothing but the lowest {kept} bits of the accumulator, whatever lies above"
CONSTANT = "every content that either accumulator can end with makes the same output code, {code}"
CLIPPED = (
    "after a clip at {limit} the sum moves back by {rest} at most, to {end}, and every content from there to the furthest end of "
    "a wide accumulator, {far}, makes the same output code, {code}"
)


class Steps(NamedTuple):
    """The least and the most that each step can add, the bias that comes last included; and what the register starts with."""

    start: int
    low: list[int]
    high: list[int]


def harmless(narrow: Machine, wide: Machine, place: Place) -> str | None:
    """Return why no input of the site can make another output code than the wide registers do; None where nothing is proven."""
    if narrow.overflow_of(place) == Overflow.TRAP:
        return TRAPS
    steps = _steps(narrow) if place is Place.ACCUMULATOR and wide.spill_is_harmless else None
    (low, high), (least, most) = narrow.limits, wide.limits
    if steps is None:
        return _constant(narrow, min(low, least), max(high, most))
    final = steps.start + sum(steps.low), steps.start + sum(steps.high)
    wraps = narrow.overflow_of(place) == Overflow.WRAP
    if wraps and low <= final[0] and final[1] <= high:
        return FITS.format(bits=narrow.unit.numbers.acc_bits)
    if wraps and (kept := _bits_that_matter(narrow)) is not None and kept <= narrow.unit.numbers.acc_bits:
        return LOW_BITS.format(kept=kept)
    ends = min(low, final[0]), max(high, final[1])
    constant = _constant(narrow, *ends)
    if wraps or constant is not None or not _monotone(narrow, *ends):
        return constant
    return _one_sided(narrow, steps, final)


def _monotone(machine: Machine, low: int, high: int) -> bool:
    """Whether the codes of all contents from low to high lie between those of the two, whatever is drawn."""
    drawn = isinstance(machine.unit.contract.output.rounding, StochasticRounding)
    return not drawn and machine.code_is_monotone(low, high)


SIGNED = (Rounding.TOWARD_ZERO, Rounding.AWAY_FROM_ZERO, Rounding.TIES_AWAY, Rounding.TIES_TO_ZERO)
"""Roundings that look at the sign."""


def _bits_that_matter(machine: Machine) -> int | None:
    """How many of the accumulator's lowest bits settle the output code; None where its sign may matter."""
    e = machine.unit.numbers.epilogue
    shift = e.shift[machine.k]
    signed = e.activation is Activation.RELU_BEFORE_REQUANTIZE or shift > 0 and e.rounding in SIGNED
    if signed or not e.plain or e.stochastic is not None or e.overflow not in (Overflow.WRAP, Overflow.TRAP):
        return None
    return max(e.bits + shift, 1)


def _steps(machine: Machine) -> Steps | None:
    """The steps' ranges where they are independent of each other and nothing else can clip or round behind them."""
    w = machine.walk
    if not machine.spill_is_harmless or not machine.monotone or machine.site.grouped_by_input:
        return None
    codes = machine.site.ends
    if machine.additive:
        low, high = (machine.shares(end).tolist() for end in codes)
        if w is not None:
            low, high = _by_step(machine, low), _by_step(machine, high)
    else:
        low, high = machine.step_sums(codes[0]), machine.step_sums(codes[1])
    last = [machine.bias] if w is None or w.bias_last else []
    start = 0 if last else machine.bias
    return Steps(start, [*low, *last], [*high, *last])


def _by_step(machine: Machine, shares: list[int]) -> list[int]:
    return [sum(shares[tap] for tap in taps if tap >= 0) for taps in machine.table]


def _constant(machine: Machine, low: int, high: int) -> str | None:
    if not _monotone(machine, low, high):
        return None
    code = machine.code(low)[0]
    return CONSTANT.format(code=code) if code == machine.code(high)[0] else None


def _one_sided(machine: Machine, steps: Steps, final: tuple[int, int]) -> str | None:
    """A register that clips, each input on one side alone: what can follow a clip on each side."""
    low, high = machine.limits
    above, below = _clips(steps.start, steps.high, low, high, 1), _clips(steps.start, steps.low, low, high, -1)
    if _returns(steps.high, below, above, high - low) or _returns([-s for s in steps.low], above, below, high - low):
        return None
    sides = [(above, steps.low, high, final[1], 1), (below, steps.high, low, final[0], -1)]
    told = []
    for clips, back, limit, far, sign in sides:
        if not clips:
            continue
        end = limit + _most_extreme(back, clips[0], sign)
        code = machine.code(end)[0]
        if code != machine.code(far)[0]:
            return None
        told.append(CLIPPED.format(limit=limit, rest=abs(end - limit), end=end, far=far, code=code))
    return "; and ".join(told) or None


def _returns(steps: list[int], first: list[int], second: list[int], span: int) -> bool:
    """Whether a clip on one side can be followed by one on the other: the steps between move the sum by more than the span."""
    sums, least = [0], None
    for amount in steps:
        sums.append(sums[-1] + amount)
    for step in range(len(steps)):
        if step in second and least is not None and sums[step + 1] - least > span:
            return True
        if step in first:
            least = sums[step + 1] if least is None else min(least, sums[step + 1])
    return False


def _clips(start: int, steps: list[int], low: int, high: int, side: int) -> list[int]:
    """The steps of all clips on one side, where every step drives the sum that way as far as it can."""
    content, found = start, []
    for step, amount in enumerate(steps):
        asked = content + amount
        content = min(max(asked, low), high)
        if asked > high if side > 0 else asked < low:
            found.append(step)
    return found


def _most_extreme(steps: list[int], first: int, sign: int) -> int:
    """The furthest that the steps behind some clip, at `first` or later, can take the sum back."""
    rest, furthest = 0, 0
    for amount in reversed(steps[first + 1 :]):
        rest += amount
        furthest = min(furthest, sign * rest)
    return sign * furthest
