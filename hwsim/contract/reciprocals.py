"""The multipliers of an average that does not divide: 1 / n as an integer and a shift, and how each school derives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from hwsim.arith.rounding import Rounding, round_ratio
from hwsim.arith.scale import Scaling
from hwsim.contract.scaling import Multiplier, float32_multiplier, quantized_multiplier
from hwsim.errors import ContractError

MAX_COUNT = 1 << 20


@dataclass(frozen=True)
class Reciprocals:
    """average = scale(sum, multiplier, shift) by `rule`, an entry for each number of pixels that a window may count.

    counts: ascending, each 1..2**20.  multipliers, shifts: of 1 / count, or of any other scale that belongs to it.

    >>> Reciprocals(Scaling.MULTIPLY, (9,), (7,), (6,)).entry(9, "pool")
    (7, 6)
    """

    rule: Scaling
    counts: tuple[int, ...]
    multipliers: tuple[int, ...]
    shifts: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("counts", "multipliers", "shifts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        counts = self.counts
        if not counts or any(type(n) is not int or not 1 <= n <= MAX_COUNT for n in counts) or list(counts) != sorted({*counts}):
            raise ContractError(f"Reciprocals.counts: found {_short(counts)}, allowed ascending integers in 1..{MAX_COUNT}.")
        if not len(counts) == len(self.multipliers) == len(self.shifts):
            raise ContractError(
                f"Reciprocals.multipliers: found {len(self.multipliers)}, and {len(self.shifts)} shifts; allowed one of each for "
                f"each of the {len(counts)} counts."
            )
        for multiplier, shift in zip(self.multipliers, self.shifts, strict=True):
            Multiplier(self.rule, multiplier, shift)

    def entry(self, count: int, where: str) -> tuple[int, int]:
        """Return (multiplier, shift) for windows of `count` pixels; ContractError where there is none."""
        if count not in self.counts:
            raise ContractError(f"{where}.division: found no reciprocal of {count}, allowed {_short(self.counts)}; add it.")
        at = self.counts.index(count)
        return self.multipliers[at], self.shifts[at]


def _short(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts[:8])) + (", ..." if len(counts) > 8 else "")


def _made(rule: Scaling, counts: Iterable[int], pairs: Iterable[tuple[int, int]]) -> Reciprocals:
    found = tuple(pairs)
    return Reciprocals(rule, tuple(counts), tuple(m for m, _ in found), tuple(s for _, s in found))


def nearest_reciprocals(counts: Sequence[int], shift: int) -> Reciprocals:
    """R = round(2**shift / n), ties to even, for each n; the sum times R is shifted right by `shift`, with one rounding.

    >>> nearest_reciprocals((9, 49), 16).multipliers
    (7282, 1337)
    """
    return _made(Scaling.MULTIPLY, counts, ((round_ratio(1 << shift, n, Rounding.TIES_EVEN), shift) for n in counts))


def full_reciprocals(counts: Sequence[int]) -> Reciprocals:
    """R = (2**30 + 1) * 2**k // n with shift 30 + k, k = ceil(log2 n): 31 bits of 1 / n.

    Source: TOSA specification, reciprocal_scale; its average rounds TIES_UP.

    >>> full_reciprocals((3,))
    Reciprocals(rule=<Scaling.MULTIPLY: 1>, counts=(3,), multipliers=(1431655766,), shifts=(32,))
    """
    pairs = ((((1 << 30) + 1 << (n - 1).bit_length()) // n, 30 + (n - 1).bit_length()) for n in counts)
    return _made(Scaling.MULTIPLY, counts, pairs)


SHORT = {(3, 3): (7, 6), (5, 5): (10, 8), (3, 6): (7, 7), (6, 3): (7, 7), (6, 6): (7, 8), (7, 7): (21, 10), (14, 14): (21, 12)}


def short_reciprocals(kernel: tuple[int, int]) -> Reciprocals:
    """R / 2**t nearest to 1 / n with t < ceil(log2(128 n)), the least such t; seven kernels have their own by a table.

    Source: Vitis AI's quantizer, get_avgpool_dpu_coeff. A window counts its whole kernel, n pixels.

    >>> short_reciprocals((7, 7)).entry(49, "pool"), short_reciprocals((4, 4)).entry(16, "pool")
    ((21, 10), (1, 4))
    """
    n = kernel[0] * kernel[1]
    if kernel in SHORT:
        return _made(Scaling.MULTIPLY, (n,), (SHORT[kernel],))
    pairs = [(round_ratio(1 << t, n, Rounding.TIES_EVEN), t) for t in range((128 * n - 1).bit_length())]
    return _made(Scaling.MULTIPLY, (n,), (min(pairs, key=lambda pair: abs(Fraction(pair[0], 1 << pair[1]) - Fraction(1, n))),))


def folded_reciprocal(count: int, real: float) -> Reciprocals:
    """R = (m << k) // n cut off, with (m, shift) the 31-bit multiplier of `real` and k = min(floor(log2 n), 62 - shift).

    real: the input's scale over the output's; HIGH_MULTIPLY, ties away.
    Source: TensorFlow Lite, MEAN of quantized codes (kernels/reduce.cc).

    >>> folded_reciprocal(49, 1.0)
    Reciprocals(rule=<Scaling.HIGH_MULTIPLY: 2>, counts=(49,), multipliers=(701219150,), shifts=(35,))
    """
    multiplier, shift = quantized_multiplier(real)
    k = min(count.bit_length() - 1, 62 - shift)
    return _made(Scaling.HIGH_MULTIPLY, (count,), ((((multiplier << k) // count), shift + k),))


def float32_reciprocal(count: int, real: float) -> Reciprocals:
    """The float32 number `real` by which a sum of `count` codes is multiplied: input scale / (output scale * count).

    Source: onnxruntime, QLinearGlobalAveragePool, with real = float32(scale_in / float32(scale_out * float32(count))).

    >>> float32_reciprocal(4, 0.25)
    Reciprocals(rule=<Scaling.FLOAT32: 4>, counts=(4,), multipliers=(1,), shifts=(2,))
    """
    return _made(Scaling.FLOAT32, (count,), (float32_multiplier(real),))
