"""Where inputs of a minifloat unit are steered: beside a tie of the register or of the output, at the largest number, at 0."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from hwsim.contract import FloatAccumulator, FloatMacContract, FloatOutput
from hwsim.formats import Minifloat
from hwsim.testing.aims import Aim, Steering, Waypoint
from hwsim.testing.reach import FloatReach


def float_route(reach: FloatReach, steering: Steering) -> Iterator[Waypoint]:
    """The exact contents that the register passes, before it rounds them; each follows from what the one before came to."""
    contract, last = reach.layer.contract, len(reach.steps) - 1
    assert isinstance(contract, FloatMacContract)
    register = contract.accumulator.format if isinstance(contract.accumulator, FloatAccumulator) else None
    if register is None or steering.aim is Aim.SATURATION or (steering.aim is Aim.TIE and steering.place % 2):
        if register is None and steering.aim is Aim.CANCELLATION and last:
            yield Waypoint(last // 2, _farthest(reach, last // 2, steering))
        yield Waypoint(last, _output_target(reach, steering), True)
    elif steering.aim is Aim.REGISTER and (found := _at_largest(reach, register, steering)) is not None:
        yield found
    else:
        yield from _beside(reach, register, steering)


def _at_largest(reach: FloatReach, register: Minifloat, steering: Steering) -> Waypoint | None:
    """Half a unit beyond the largest number, from where on a sum overflows; the offset is a quarter of a unit."""
    limit = register.largest + last_place(register.largest, register) * Fraction(2 + steering.offset, 4)
    for sign in (-1, 1) if steering.negative else (1, -1):
        for step in range(min(steering.step, len(reach.steps) - 1), len(reach.steps)):
            low, high = reach.reachable(step)
            if low <= sign * limit <= high:
                return Waypoint(step, sign * limit)
    return None


def _beside(reach: FloatReach, register: Minifloat, steering: Steering) -> Iterator[Waypoint]:
    """A content, and then: half of its last bit more (a tie), one last bit more (a carry), or all of it less."""
    last = len(reach.steps) - 1
    step = _before_power(reach, steering.step)
    top = _farthest(reach, step, steering)
    if steering.aim is Aim.CANCELLATION:
        yield Waypoint(step, max(-register.largest, min(top, register.largest)))
        yield Waypoint(last, last_place(Fraction(0), register) * steering.offset, True)
        return
    size = power_below(min(abs(top), register.largest) / 2)
    ones = 2 * size - last_place(size, register) if steering.aim is Aim.CARRY else size
    yield Waypoint(step, ones if top > 0 else -ones)
    content = reach.content(step)
    unit = last_place(abs(content), register) * (1 if content > 0 else -1)
    if step < last:
        more = unit if steering.aim is Aim.CARRY else unit * Fraction(2 + steering.offset, 4)
        yield Waypoint(step + 1, content + more, step + 1 == last)


def _before_power(reach: FloatReach, step: int) -> int:
    """The first step from `step` on before one whose weight is a power of two, so that any power can be added there."""
    last = len(reach.steps) - 1
    for at in [*range(min(step, last), last), *range(min(step, last))]:
        weights = [abs(reach.weight(tap)) for tap in reach.steps[at + 1]]
        if any(weight and power_below(weight) == weight for weight in weights):
            return at
    return min(step, max(last - 1, 0))


def _farthest(reach: FloatReach, step: int, steering: Steering) -> Fraction:
    """The content farthest from 0 on the wanted side, or on the other one."""
    low, high = reach.reachable(step)
    wanted = low if steering.negative else high
    return Fraction(wanted if wanted and (wanted < 0) == steering.negative else max(low, high, key=abs))


def _output_target(reach: FloatReach, steering: Steering) -> Fraction:
    """A number halfway between two outputs, or where the output overflows; the offset is a quarter of a unit."""
    last, output = len(reach.steps) - 1, reach.layer.contract.output
    low, high = reach.reachable(last, True)
    signs = (-1, 1) if steering.negative else (1, -1)
    top = max(abs(low), abs(high))
    fmt, sizes = output.format, []
    if isinstance(output, FloatOutput):
        assert isinstance(fmt, Minifloat)
        powers = [power_below(top) / (1 << halvings) for halvings in range(steering.place % 5, 12)]
        starts = [fmt.largest] * (steering.aim is Aim.SATURATION) + [power for power in powers if power <= fmt.largest]
        sizes = [at + last_place(at, fmt) * Fraction(2 + steering.offset, 4) for at in starts]
    else:
        unit = Fraction(2) ** -fmt.fl()  # type: ignore[union-attr]
        starts = [Fraction(fmt.high)] * (steering.aim is Aim.SATURATION) + [Fraction(steering.place), Fraction(0)]
        sizes = [unit * (at + Fraction(2 + steering.offset, 4)) for at in starts]
    return next((sign * size for size in sizes for sign in signs if low <= sign * size <= high), Fraction(0))


def power_below(size: Fraction) -> Fraction:
    """Return the largest power of two that is not above a size; 1 for 0.

    >>> power_below(Fraction(3, 16)), power_below(Fraction(8))
    (Fraction(1, 8), Fraction(8, 1))
    """
    if not size:
        return Fraction(1)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    return Fraction(2) ** (exponent if Fraction(2) ** exponent <= size else exponent - 1)


def last_place(size: Fraction, fmt: Minifloat) -> Fraction:
    """Return what the last bit of a number of this magnitude is worth in a format."""
    return max(power_below(size), fmt.smallest_normal) / (1 << fmt.man_bits)

