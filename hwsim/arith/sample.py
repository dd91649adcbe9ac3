"""Which input pixel stands at an output pixel of a resized image: one formula, in ints."""

from hwsim.arith.overflow import saturate
from hwsim.arith.rounding import Rounding, round_ratio, round_shift
from hwsim.arith.scale import FLOAT32_BITS, magnitude_bits


def round_float32(value):
    """round_float32(x) = the integer as a float32 holds it: 24 bits, ties to even.

    >>> round_float32((1 << 24) + 1), round_float32(-5)
    (16777216, -5)
    """
    spare = max(magnitude_bits(value) - FLOAT32_BITS, 0)
    return round_shift(value, spare, Rounding.TIES_EVEN) << spare


def sample_index(output, step, unit, offset, rounding, float32, extent):
    """index(o) = clip(round((o * step + offset) / unit), 0, extent - 1).

    unit >= 1.  float32: 1 where the numerator is rounded to a float32 before, else 0.

    >>> [sample_index(o, 1, 2, 0, Rounding.FLOOR, 0, 3) for o in range(7)]
    [0, 0, 1, 1, 2, 2, 2]
    """
    place = output * step + offset
    if float32:
        place = round_float32(place)
    return saturate(round_ratio(place, unit, rounding), 0, extent - 1)
