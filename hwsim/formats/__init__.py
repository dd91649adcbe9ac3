"""What a code means."""

from hwsim.formats.fixed import FixedPoint
from hwsim.formats.minifloat import Minifloat, Specials
from hwsim.formats.pow2 import Nearest, PowerOfTwo, ZeroCode

Format = FixedPoint | PowerOfTwo | Minifloat
"""A format of codes: each has bits, signed, low, high, dtype, to_real, and prints itself."""

__all__ = ["FixedPoint", "Format", "Minifloat", "Nearest", "PowerOfTwo", "Specials", "ZeroCode"]
