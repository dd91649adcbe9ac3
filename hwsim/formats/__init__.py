"""What a code means."""

from hwsim.formats.affine import Affine
from hwsim.formats.fixed import FixedPoint
from hwsim.formats.integer import IntegerFormat
from hwsim.formats.minifloat import Minifloat, Specials
from hwsim.formats.pow2 import Nearest, PowerOfTwo, ZeroCode

Format = FixedPoint | Affine | PowerOfTwo | Minifloat
"""A format of codes: each has bits, signed, low, high, dtype, to_real, and prints itself."""

__all__ = ["Affine", "FixedPoint", "Format", "IntegerFormat", "Minifloat", "Nearest", "PowerOfTwo", "Specials", "ZeroCode"]
