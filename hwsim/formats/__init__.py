"""What a code means."""

from hwsim.formats.fixed import FixedPoint

__all__ = ["FixedPoint"]
