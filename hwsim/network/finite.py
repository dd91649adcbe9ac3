"""Numbers that are not finite are refused where they come in, with their position."""

from __future__ import annotations

import numpy as np


def not_finite(array: np.ndarray) -> str | None:
    """Return the first number that is not finite with its position, as a sentence says it; None where there is none.

    >>> not_finite(np.array([[1.0, np.inf]])), not_finite(np.ones(2))
    ('inf at position (0, 1)', None)
    """
    bad = ~np.isfinite(array)
    if not bad.any():
        return None
    where = tuple(int(i) for i in np.argwhere(np.atleast_1d(bad))[0])[: array.ndim]
    return f"{array[where]} at position {where}"
