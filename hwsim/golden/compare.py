"""Two arrays of codes side by side: the first mismatch, and how far apart the codes are."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from hwsim.formats import Affine, FixedPoint, Format, Minifloat
from hwsim.golden.package import Memory
from hwsim.golden.wide import ExactRegister


@dataclass(frozen=True)
class Mismatch:
    """One code that differs.

    layer, role: which array.  axes, coordinate: where in it, (n, c, y, x) for activations.  expected: the package's code.
    found: the other's, None where it is undefined (x or z digits, or an address never written).  by: who found it.
    channel: which fractional length of `format` holds.
    """

    layer: str
    role: str
    axes: str
    coordinate: tuple[int, ...]
    expected: int
    found: int | None
    format: Format | ExactRegister
    channel: int
    by: str

    @property
    def ulp(self) -> int | None:
        """Distance in codes, found - expected, minifloats in the order of their values; None where found is undefined."""
        if self.found is None:
            return None
        return int(in_order(self.found, self.format) - in_order(self.expected, self.format))

    def hex(self, code: int | None) -> str:
        """Two's complement of a code, in the digits of its format."""
        digits = -(-self.format.bits // 4)
        return "x" * digits if code is None else f"{code % (1 << 4 * digits):0{digits}x}"

    def real(self, code: int) -> Fraction | float:
        """Exact value of a code; the nearest float of an affine one, and NaN and infinity, are floats."""
        if isinstance(self.format, (FixedPoint, ExactRegister)):
            return self.format.decode(code, self.channel if self.format.per_channel else 0)
        if isinstance(self.format, Affine):
            return float(self.format.decode(code, self.channel if self.format.per_channel else 0))
        return self.format.decode(code)

    def _told(self, code: int | None) -> str:
        if code is None:
            return "undefined"
        return f"{code} (hex {self.hex(code)}, real {decimal(self.real(code))})"

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data; real values as decimal texts, which are exact."""
        told = {"expected": self.expected, "found": self.found}
        return {
            "layer": self.layer,
            "role": self.role,
            "axes": " ".join(NAMES.get(self.axes, tuple(self.axes))),
            "coordinate": list(self.coordinate),
            "by": self.by,
            "ulp": self.ulp,
            **{k: {"code": v, "hex": self.hex(v), "real": None if v is None else decimal(self.real(v))} for k, v in told.items()},
        }

    def __str__(self) -> str:
        names = ", ".join(NAMES.get(self.axes, tuple(self.axes)))
        where = ", ".join(map(str, self.coordinate))
        distance = "" if self.ulp is None else f", {self.ulp:+d} ulp"
        array = "output" if self.role == "expected" else self.role
        return (
            f"{self.layer}: {array} at ({names}) = ({where}): expected {self._told(self.expected)}, "
            f"{self.by} {self._told(self.found)}{distance}"
        )


NAMES = {"NCHW": ("n", "c", "y", "x"), "KCRS": ("k", "c", "r", "s"), "K": ("k",)}


def decimal(value: Fraction | float) -> str:
    """A dyadic fraction written out exactly, or with an exponent of two where that is shorter.

    >>> decimal(Fraction(-5, 16)), decimal(Fraction(3, 2**40))
    ('-0.3125', '3*2^-40')
    """
    if isinstance(value, float):
        return str(value)  # nan, inf
    twos = value.denominator.bit_length() - 1
    if twos > 24:
        return f"{value.numerator}*2^-{twos}"
    if twos == 0:
        return str(value.numerator)
    digits = f"{abs(value.numerator) * 5**twos:0{twos + 1}d}"
    return f"{'-' if value < 0 else ''}{digits[:-twos]}.{digits[-twos:]}"


@dataclass(frozen=True, eq=False)
class Comparison:
    """expected and found codes of one memory; undefined marks codes that were never found."""

    layer: str
    memory: Memory
    expected: np.ndarray
    found: np.ndarray
    by: str
    undefined: np.ndarray | None = None

    @property
    def wrong(self) -> np.ndarray:
        """True where a code differs or is undefined."""
        different = (_whole(self.expected) != _whole(self.found)).astype(bool)
        return different if self.undefined is None else different | self.undefined

    @property
    def count(self) -> int:
        """Number of codes that differ or are undefined."""
        return int(np.count_nonzero(self.wrong))

    @property
    def first(self) -> Mismatch | None:
        """The first mismatch in row-major order (n, c, y, x), or None."""
        flat = self.wrong.ravel()
        index = int(flat.argmax())
        if not flat[index]:
            return None
        at = tuple(int(i) for i in np.unravel_index(index, self.expected.shape))
        undefined = self.undefined is not None and bool(self.undefined[at])
        memory = self.memory
        found = None if undefined else int(self.found[at])
        channel = at[memory.channel_axis]
        expected = int(self.expected[at])
        return Mismatch(self.layer, memory.role, memory.image.axes, at, expected, found, memory.format, channel, self.by)

    def histogram(self) -> dict[str, int]:
        """Return how many codes lie how far off: by ulp, doubling, from far below over exact to far above."""
        defined = np.ones(self.expected.shape, bool) if self.undefined is None else ~self.undefined
        expected, found = (in_order(_whole(codes)[defined], self.memory.format) for codes in (self.expected, self.found))
        below, above = found < expected, found > expected
        counts = {f"-{name}": n for name, n in reversed(_doubling(expected[below], found[below]).items())}
        counts["0"] = int(expected.size - below.sum() - above.sum())
        counts |= {f"+{name}": n for name, n in _doubling(found[above], expected[above]).items()}
        if self.undefined is not None and self.undefined.any():
            counts["undefined"] = int(self.undefined.sum())
        return counts


def _doubling(high: np.ndarray, low: np.ndarray) -> dict[str, int]:
    """Count distances high - low >= 1 in the ranges 1, 2, 3..4, 5..8, ...; exact in uint64, or in ints, whatever the codes."""
    if high.dtype == object:
        return _doubling_ints([int(a - b) for a, b in zip(high, low, strict=True)])
    distance = high.astype(np.uint64) - low.astype(np.uint64)
    counts: dict[str, int] = {}
    bottom, top = 1, 1
    while distance.size and bottom <= int(distance.max()):
        name = str(top) if bottom == top else f"{bottom}..{top}"
        inside = int(((distance >= np.uint64(bottom)) & (distance <= np.uint64(min(top, (1 << 64) - 1)))).sum())
        if inside:
            counts[name] = inside
        bottom, top = top + 1, 2 * top
    return counts


def _doubling_ints(distances: list[int]) -> dict[str, int]:
    counts: dict[int, int] = {}
    for distance in distances:
        level = (distance - 1).bit_length()
        counts[level] = counts.get(level, 0) + 1
    names = {level: "1" if level == 0 else "2" if level == 1 else f"{(1 << (level - 1)) + 1}..{1 << level}" for level in counts}
    return {names[level]: counts[level] for level in sorted(counts)}


def in_order(codes: Any, fmt: Format | ExactRegister) -> Any:
    """Return codes as integers that rise with the value: a minifloat's sign stands before its magnitude, -0 right below +0.

    >>> from hwsim.formats.catalog import E4M3
    >>> [in_order(code, E4M3) for code in (0x81, 0x80, 0x00, 0x01)]
    [-2, -1, 0, 1]
    """
    if not isinstance(fmt, Minifloat):
        return codes
    top = 1 << (fmt.bits - 1)
    return codes * (codes < top) + (top - 1 - codes) * (codes >= top)


def _whole(codes: np.ndarray) -> np.ndarray:
    """Codes as int64, or as ints where they are wider."""
    return codes if codes.dtype == object else codes.astype(np.int64)
