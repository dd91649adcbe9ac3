"""The register of an exact sum as a format, and its words: as wide as the sum needs, so its codes are plain Python ints.

An array of codes beyond 64 bits is an object array of ints; in a trace and in npy it is int64 words in a last axis, two's
complement, little end first.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hwsim.execute.trace import LayerTrace
from hwsim.layers import MacLayer
from hwsim.layers.float_unit import FloatUnit

WORD = 64
MASK = (1 << WORD) - 1


@dataclass(frozen=True)
class ExactRegister:
    """real = code * 2**-fractional_length, of any width: what an exact sum of minifloat products is kept in.

    fractional_length: a tuple gives one per output channel.  signed: two's complement.

    >>> ExactRegister(74, 32).decode(-(1 << 73))
    Fraction(-2199023255552, 1)
    """

    bits: int
    fractional_length: int | tuple[int, ...]
    signed: bool = True

    @property
    def per_channel(self) -> bool:
        """True if each output channel has its own fractional length."""
        return isinstance(self.fractional_length, tuple)

    @property
    def low(self) -> int:
        """Smallest code."""
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        """Largest code."""
        return (1 << (self.bits - 1)) - 1

    def fl(self, channel: int = 0) -> int:
        """fl(k) = fractional length of output channel k."""
        return self.fractional_length[channel] if isinstance(self.fractional_length, tuple) else self.fractional_length

    def decode(self, code: int, channel: int = 0) -> Fraction:
        """decode(code) = code * 2**-fl, exactly."""
        return Fraction(int(code)) * Fraction(2) ** -self.fl(channel)

    def __str__(self) -> str:
        lengths = self.fractional_length
        span = f"{min(lengths)}..{max(lengths)} per channel" if isinstance(lengths, tuple) else str(lengths)
        return f"exact s{self.bits} fl {span}"


def words_of(bits: int) -> int:
    """Return how many words of 64 bits hold a code."""
    return -(-bits // WORD)


def to_words(codes: np.ndarray, words: int) -> np.ndarray:
    """Return codes of any integer type or of ints as int64 words in a last axis, little end first.

    >>> to_words(np.array([-1, 1 << 64], dtype=object), 2).tolist()
    [[-1, -1], [0, 1]]
    """
    plain = codes.astype(object)
    parts = [((plain >> (WORD * i)) & MASK).astype(np.uint64).view(np.int64) for i in range(words)]
    return np.stack(parts, axis=-1)


def from_words(words: np.ndarray) -> np.ndarray:
    """from_words(to_words(codes)) = codes, an object array of ints.

    >>> from_words(np.array([[5, -1]])).tolist()
    [-18446744073709551611]
    """
    codes = words[..., -1].astype(object)
    for i in range(words.shape[-1] - 2, -1, -1):
        codes = (codes << WORD) + np.ascontiguousarray(words[..., i]).astype(np.int64).view(np.uint64).astype(object)
    return np.asarray(codes, dtype=object)


def accumulators(trace: LayerTrace) -> np.ndarray | None:
    """Return a trace's accumulators as codes N C H W: ints where they are wider than 64 bits."""
    unit = trace.layer.unit if isinstance(trace.layer, MacLayer) else None
    wide = isinstance(unit, FloatUnit) and unit.acc_words is not None
    return from_words(trace.acc) if wide and trace.acc is not None else trace.acc
