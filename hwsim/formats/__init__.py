"""What a code means."""

from hwsim.formats.fixed import FixedPoint
from hwsim.formats.minifloat import Minifloat, Specials

__all__ = ["FixedPoint", "Minifloat", "Specials"]
