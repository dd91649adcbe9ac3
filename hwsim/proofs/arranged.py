"""Which taps meet at which step once some are left out: lanes that close up, or steps that are not taken."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hwsim.contract.accumulator import Schedule
from hwsim.contract.stochastic import Tail


def arrangements(schedule: Schedule, table: np.ndarray, kept: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (rows, their tables [rows][steps][lanes]), rows of equally many steps at a time; -1 where no tap is kept.

    table[step, lane]: where none is left out.  kept: bool [rows][taps].
    """
    packed = schedule.tail is Tail.PACKED
    order = table[table >= 0]
    taken = kept[:, order] if packed else ((table >= 0) & kept[:, table]).any(axis=2)
    count = taken.sum(axis=1)
    steps = -(-count // schedule.lanes) if packed else count
    for each in np.unique(steps).tolist():
        rows = np.flatnonzero(steps == each)
        if packed:
            yield rows, _packed(order, taken[rows], each, schedule.lanes)
        else:
            tables = table[np.nonzero(taken[rows])[1].reshape(len(rows), each)]
            yield rows, np.where((tables >= 0) & kept[rows[:, None, None], tables], tables, -1)


def _packed(order: np.ndarray, taken: np.ndarray, steps: int, lanes: int) -> np.ndarray:
    """The taps that are taken, closed up."""
    tables = np.full((len(taken), steps * lanes), -1)
    rows, places = np.nonzero(taken)
    tables[rows, (np.cumsum(taken, axis=1) - 1)[rows, places]] = order[places]
    return tables.reshape(len(taken), steps, lanes)
