"""What the taps of an output may read, and what the multiplier makes of it: products are monotone in the code."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hwsim.layers.integer_unit import IntegerUnit
from hwsim.proofs.intervals import Interval
from hwsim.proofs.reachable import Budget, Values

CALL = 256
"""What a call of the multiplier costs beside its products."""


@dataclass(frozen=True, eq=False)
class Taps:
    """Taps of some output channels: the codes code_low..code_high that each may read, and the products' ends, int64 [rows][taps].

    channels: of each row.  nonzero: whether the input's zero point, real 0, is left out of the codes.
    """

    unit: IntegerUnit
    channels: np.ndarray
    code_low: np.ndarray
    code_high: np.ndarray
    low: np.ndarray
    high: np.ndarray
    falls: np.ndarray
    nonzero: bool = False

    @classmethod
    def between(cls, unit: IntegerUnit, channels: np.ndarray, low: np.ndarray, high: np.ndarray, nonzero: bool = False) -> Taps:
        """Return the taps that read low..high; falls: whether the largest code makes the smallest product, bool."""
        at_low, at_high = np.empty((2, *low.shape), dtype=np.int64)
        for row, k in enumerate(channels.tolist()):
            at_low[row], at_high[row] = unit.products_at(low[row], k), unit.products_at(high[row], k)
        falls = at_high < at_low
        return cls(unit, channels, low, high, np.minimum(at_low, at_high), np.maximum(at_low, at_high), falls, nonzero)

    @property
    def zero(self) -> int:
        """The code of real 0."""
        return self.unit.contract.input.zero()

    def rows(self, chosen: np.ndarray) -> Taps:
        """Return some of the rows."""
        names = ("channels", "code_low", "code_high", "low", "high", "falls")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def without_zero(self) -> Taps:
        """Return the taps whose codes are not real 0; a tap that can read nothing else keeps any codes."""
        low = np.where((self.code_low == self.zero) & (self.code_high > self.zero), self.zero + 1, self.code_low)
        high = np.where((self.code_high == self.zero) & (low < self.zero), self.zero - 1, self.code_high)
        return Taps.between(self.unit, self.channels, low, high, nonzero=True)

    def gathered(self, tables: np.ndarray) -> Interval:
        """Products by [rows][steps][lanes], 0 where no tap is; tables: of each row, or one for all of them."""
        at = slice(None) if len(tables) == 1 else np.arange(len(tables))[:, None, None]
        places = tables[0] if len(tables) == 1 else tables
        return Interval(*(np.where(tables >= 0, end[at, places], 0) for end in (self.low, self.high)))

    def values(self, row: int, table: np.ndarray, budget: Budget) -> Values:
        """Every product of each step and lane of a row, sorted; table[step, lane]: -1 where no tap is."""
        low, high = self.code_low[row], self.code_high[row]
        width = int((high - low).max(initial=0)) + 1
        budget.take(width * (len(low) + CALL))
        codes = np.minimum(low + np.arange(width)[:, None], high)
        made = np.stack([self.unit.products_at(line, int(self.channels[row])) for line in codes])
        found: dict[int, np.ndarray] = {-1: np.zeros(1, dtype=np.int64)}
        for tap in np.unique(table[table >= 0]).tolist():
            kept = codes[:, tap] != self.zero if self.nonzero else np.ones(width, dtype=bool)
            found[tap] = np.unique(made[kept, tap])
        return [[found[tap] for tap in step] for step in table.tolist()]
