"""LRN in minifloats a second time: real numbers rounded by the oracle's own formats, in the order of Ristretto's GPU kernel."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np

from hwsim.arith.rounding import Rounding
from hwsim.formats import Minifloat
from oracles.exact import rounded


class Steps:
    """round() of a format without NaN or infinity, by listing its numbers' grid; counts what lay beyond the largest."""

    def __init__(self, fmt: Minifloat, mode: Rounding) -> None:
        numbers = sorted({abs(fmt.decode(code)) for code in range(1 << fmt.bits)})
        self.largest, self.least, self.mode, self.fmt = numbers[-1], numbers[1], mode, fmt
        self.beyond = 0

    def __call__(self, real: Fraction) -> Fraction:
        if abs(real) < self.floor:
            return Fraction(0)
        unit = Fraction(2) ** (self.exponent(abs(real)) - self.fmt.man_bits) if real else Fraction(1)
        if self.fmt.subnormals:
            unit = max(unit, self.least)
        found = rounded(real / unit, self.mode) * unit
        self.beyond += abs(found) > self.largest
        found = min(max(found, -self.largest), self.largest)
        return Fraction(0) if self.zeroed(found) else found

    @property
    def floor(self) -> Fraction:
        """What is below is 0 before it is rounded, where there are no subnormals."""
        if self.fmt.subnormals:
            return Fraction(0)
        return Fraction(2) ** -self.fmt.layout.bias if self.fmt.layout.lowest == 0 else self.fmt.smallest_normal

    def zeroed(self, real: Fraction) -> bool:
        """The number whose code means 0: that of code 0, +2**-bias."""
        return self.fmt.layout.lowest == 0 and real == Fraction(2) ** -self.fmt.layout.bias

    @staticmethod
    def exponent(value: Fraction) -> int:
        e = 0
        while Fraction(2) ** (e + 1) <= value:
            e += 1
        while Fraction(2) ** e > value:
            e -= 1
        return e


def power(base: Fraction, beta: float) -> Fraction:
    with localcontext() as context:
        context.prec = 60
        return Fraction((Decimal(base.numerator) / Decimal(base.denominator)) ** -Decimal(beta))


def ristretto_column(x: list[Fraction], size: int, alpha: float, beta: float, k: float, q: Steps) -> list[Fraction]:
    """One pixel's channels through LRNFillScaleQ and LRNComputeOutputQ: head runs ahead, what enters comes before what leaves."""
    channels, post = len(x), size - (size - 1) // 2 - 1
    slope = Fraction(float(np.float32(alpha) / np.float32(size)))
    total, scale, head = Fraction(0), {}, 0
    while head < channels + post:
        if head < channels:
            total = q(total + q(x[head] * x[head]))
        if head - size >= 0:
            total = q(total - q(x[head - size] * x[head - size]))
        if 0 <= head - post < channels:
            scale[head - post] = q(Fraction(k) + q(total * slope))
        head += 1
    return [q(x[c] * (q.largest if scale[c] <= 0 else q(power(scale[c], beta)))) for c in range(channels)]


def separate_column(x: list[Fraction], size: int, alpha: float, beta: float, k: float, q: Steps) -> list[Fraction]:
    """Each output's neighbours from the lowest channel on."""
    reach, slope, found = size // 2, Fraction(float(np.float32(alpha) / np.float32(size))), []
    for c in range(len(x)):
        total = Fraction(0)
        for other in range(len(x)):
            if abs(other - c) <= reach:
                total = q(total + q(x[other] * x[other]))
        found.append(q(x[c] * q(power(q(Fraction(k) + q(total * slope)), beta))))
    return found
