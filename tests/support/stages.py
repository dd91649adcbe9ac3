"""The output stage of a plain shift, as the leaves take it."""

from hwsim.arith.requantize import NO_CLAMP, Stage, finish
from hwsim.arith.scale import Scaling


def shift_stage(mode, overflow, activation, bits, signed, low, high) -> Stage:
    """Return the Stage that rounds by a shift alone, without zero point or clamp."""
    plain = (int(v) for v in (overflow, activation, bits, signed, low, high))
    return Stage(int(Scaling.SHIFT), int(mode), 0, *NO_CLAMP, *plain)


def finish_by_shift(value, shift, *modes):
    """finish() of such a stage."""
    return finish(value, 1, shift, shift_stage(*modes))
