"""What a code means."""

from hwsim.formats.fixed import FixedPoint
from hwsim.formats.minifloat import Minifloat, Specials
from hwsim.formats.pow2 import Nearest, PowerOfTwo, ZeroCode

__all__ = ["FixedPoint", "Minifloat", "Nearest", "PowerOfTwo", "Specials", "ZeroCode"]
