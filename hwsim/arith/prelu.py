"""PReLU: two scales, chosen by the sign. A leaf, for Python ints and int64 alike."""

from hwsim.arith.requantize import finish


def finish_prelu(value, slope, above, below, stage):
    """finish_prelu(v) = finish(v) by `above` where v >= 0, finish(v * slope) by `below` where it is not: (code, event).

    value: code less its zero point.  slope: likewise, of this channel.  above, below: (multiplier, shift) of each side.

    >>> from hwsim.arith.requantize import NO_CLAMP, Stage
    >>> stage = Stage(0, 4, 0, *NO_CLAMP, 1, 0, 8, 1, -128, 127)
    >>> finish_prelu(100, 26, (1, 0), (1, 8), stage), finish_prelu(-100, 26, (1, 0), (1, 8), stage)
    ((100, 0), (-10, 0))
    """
    if value >= 0:
        return finish(value, above[0], above[1], stage)
    return finish(value * slope, below[0], below[1], stage)
