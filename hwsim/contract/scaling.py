"""The multiplier of an output stage, and how each school derives it from real scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hwsim.arith.rounding import Rounding, round_ratio
from hwsim.arith.scale import FLOAT32_BITS, FLOAT64_BITS, Scaling
from hwsim.errors import ContractError

MAX_MULTIPLIER_BITS = 32
MAX_SCALE_SHIFT = 62
MAX_FLOAT_SHIFT = 200

LIMITS = {
    Scaling.MULTIPLY: (-MAX_SCALE_SHIFT, MAX_SCALE_SHIFT, (1 << 31) - 1),
    Scaling.HIGH_MULTIPLY: (0, MAX_SCALE_SHIFT, (1 << 31) - 1),
    Scaling.DOUBLE_ROUND: (2, MAX_SCALE_SHIFT, (1 << 31) - 1),
    Scaling.FLOAT32: (-MAX_FLOAT_SHIFT, MAX_FLOAT_SHIFT, (1 << FLOAT32_BITS) - 1),
    Scaling.FLOAT64: (-MAX_FLOAT_SHIFT, MAX_FLOAT_SHIFT, (1 << FLOAT64_BITS) - 1),
}
"""Least and largest shift, and the largest multiplier, of each rule."""


@dataclass(frozen=True)
class Multiplier:
    """scaled = round(value * multiplier / 2**shift), as `rule` rounds; one number for all output channels, or a tuple.

    rule: any Scaling but SHIFT, which needs no Multiplier.  multiplier: not negative; shift: see LIMITS.

    >>> Multiplier(Scaling.MULTIPLY, 1 << 30, 31).real(0)
    Fraction(1, 2)
    """

    rule: Scaling
    multiplier: int | tuple[int, ...]
    shift: int | tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Scaling) or self.rule is Scaling.SHIFT:
            names = ", ".join(rule.name for rule in LIMITS)
            raise ContractError(f"Multiplier.rule: found {self.rule!r}, allowed {names}; a shift alone needs no Multiplier.")
        low, high, most = LIMITS[self.rule]
        for name, least, largest in (("multiplier", 0, most), ("shift", low, high)):
            given = getattr(self, name)
            values = tuple(given) if isinstance(given, (tuple, list, np.ndarray)) else (given,)
            for value in values:
                if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= largest:
                    raise ContractError(
                        f"Multiplier.{name}: found {value!r} with {self.rule.name}, allowed an integer in {least}..{largest}."
                    )
            if not values:
                raise ContractError(f"Multiplier.{name}: found no channel at all; give one number, or one for each channel.")
            plain = tuple(int(v) for v in values)
            object.__setattr__(self, name, plain[0] if len(plain) == 1 else plain)
        sizes = {len(v) for v in (self.multiplier, self.shift) if isinstance(v, tuple)}
        if len(sizes) > 1:
            raise ContractError(f"Multiplier.shift: found {sorted(sizes)} entries; give one, or as many as multipliers.")

    @property
    def channels(self) -> int | None:
        """Number of output channels that are told apart; None where all are alike."""
        return max((len(v) for v in (self.multiplier, self.shift) if isinstance(v, tuple)), default=None)

    def entries(self, channels: int, where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return (multipliers, shifts), one for each of `channels` output channels."""
        if self.channels not in (None, channels):
            raise ContractError(
                f"{where}: Multiplier has {self.channels} entries for {channels} output channels; give one, or one for each."
            )
        m, s = self.multiplier, self.shift
        return (m if isinstance(m, tuple) else (m,) * channels), (s if isinstance(s, tuple) else (s,) * channels)

    def real(self, channel: int = 0) -> Fraction:
        """real(k) = multiplier[k] / 2**shift[k]: the scale that the rule approximates."""
        m = self.multiplier[channel] if isinstance(self.multiplier, tuple) else self.multiplier
        s = self.shift[channel] if isinstance(self.shift, tuple) else self.shift
        return Fraction(m) / Fraction(2) ** s


def quantized_multiplier(real: float) -> tuple[int, int]:
    """(m, shift) with m / 2**shift nearest to real > 0, m in 2**30..2**31 - 1: 31 bits, ties away.

    Below 2**-32 it is (0, 31): TensorFlow Lite flushes shifts beyond -31 to 0.  Where m rounds up to 2**31 it is halved.
    Source: TensorFlow Lite, QuantizeMultiplier (kernels/internal/quantization_util.cc); its exponent is 31 - shift here.

    >>> quantized_multiplier(0.5), quantized_multiplier(3.0), quantized_multiplier(1e-12)
    ((1073741824, 31), (1610612736, 29), (0, 31))
    """
    mantissa, exponent = _split(real)
    m = round_ratio(*Fraction(mantissa * (1 << 31)).as_integer_ratio(), Rounding.TIES_AWAY)
    if m == 1 << 31:
        m, exponent = m // 2, exponent + 1
    if exponent < -31:
        return 0, 31
    if exponent > 30:
        m, exponent = (1 << 31) - 1, 30
    return m, 31 - exponent


def reduced_multiplier(m: int, shift: int) -> tuple[int, int]:
    """(m16, shift): the upper 15 bits of a 31-bit multiplier, ties up, kept from overflowing; the shift loses 16.

    Source: TensorFlow Lite, MultiplyByQuantizedMultiplier for int64; CMSIS-NN, REDUCE_MULTIPLIER.

    >>> reduced_multiplier(1 << 30, 31)
    (16384, 15)
    """
    return ((m + (1 << 15)) >> 16 if m < 0x7FFF0000 else 0x7FFF), shift - 16


def float32_multiplier(real: float) -> tuple[int, int]:
    """(m, shift) with m / 2**shift equal to real, a float32 above 0.

    >>> float32_multiplier(0.75)
    (3, 2)
    """
    if float(np.float32(real)) != real:
        raise ContractError(f"float32 scale: found {real!r}, allowed a float32 number; round it first.")
    mantissa, exponent = _split(real)
    m, shift = int(mantissa * (1 << FLOAT32_BITS)), FLOAT32_BITS - exponent
    while m % 2 == 0:
        m, shift = m // 2, shift - 1
    return m, shift


def float64_multiplier(real: float) -> tuple[int, int]:
    """(m, shift) with m / 2**shift equal to real, a float64 above 0.

    >>> float64_multiplier(0.75)
    (3, 2)
    """
    mantissa, exponent = _split(real)
    m, shift = int(math.ldexp(mantissa, FLOAT64_BITS)), FLOAT64_BITS - exponent
    while m % 2 == 0:
        m, shift = m // 2, shift - 1
    return m, shift


def _split(real: float) -> tuple[float, int]:
    if isinstance(real, bool) or not isinstance(real, (int, float, np.floating)) or not 0 < real < math.inf:
        raise ContractError(f"scale: found {real!r}, allowed a finite number above 0.")
    return math.frexp(float(real))


def make_multiplier(rule: Scaling, pairs: Sequence[tuple[int, int]]) -> Multiplier:
    """Return the Multiplier of (multiplier, shift) pairs, one for all output channels or one for each."""
    if len(set(pairs)) == 1:
        return Multiplier(rule, *pairs[0])
    return Multiplier(rule, tuple(m for m, _ in pairs), tuple(s for _, s in pairs))
