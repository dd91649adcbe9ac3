"""The picture of a comparison: where the codes differ, and by how many ulps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.errors import InputError
from hwsim.picture import RED, canvas, plain_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hwsim.golden.compare import Comparison, Mismatch
    from hwsim.golden.report import CheckReport


def draw(report: CheckReport, file: str | os.PathLike[str] | None = None, force: bool = False) -> Any:
    """Return a matplotlib figure: the error map of the first mismatch's channel, and the ulp histogram; save it if asked.

    Errors: InputError where nothing differs, matplotlib is missing, or the file exists (force replaces it) or cannot be
    written.
    """
    failure, first = report.failure, report.first_mismatch
    if failure is None or first is None:
        raise InputError("plot: nothing differs, so there is no error to draw.")
    with canvas(10, 4, file, force) as figure:
        places, counts = figure.subplots(1, 2)
        _map(figure, places, failure, first)
        histogram = failure.histogram()
        counts.bar(range(len(histogram)), list(histogram.values()), tick_label=list(histogram), log=True, color=RED)
        counts.yaxis.set_major_formatter(plain_number)
        counts.yaxis.set_minor_formatter("")
        counts.set_ylim(bottom=0.5)
        counts.set(title=f"{failure.count} of {failure.expected.size} codes differ", xlabel="ulp", ylabel="codes")
    return figure


def _map(figure: Figure, axes: Axes, failure: Comparison, first: Mismatch) -> None:
    from matplotlib.ticker import MaxNLocator

    error = failure.found.astype(float) - failure.expected.astype(float)
    plane = error[first.coordinate[:2]] if error.ndim == 4 else error
    reach = max(float(np.abs(plane).max()), 1.0)
    shown = axes.imshow(np.atleast_2d(plane), cmap="RdBu", vmin=-reach, vmax=reach, interpolation="nearest")
    figure.colorbar(shown, ax=axes, label=f"{failure.by} - expected [ulp]")
    where = ", ".join(map(str, first.coordinate[:2]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.set(title=f"{first.layer}: {first.role} of (n, c) = ({where})", xlabel="x", ylabel="y")
