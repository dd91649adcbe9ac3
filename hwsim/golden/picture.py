"""The picture of a comparison: where the codes differ, and by how many ulps. Needs matplotlib."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.errors import InputError

if TYPE_CHECKING:
    from hwsim.golden.report import CheckReport


def draw(report: CheckReport, file: str | os.PathLike[str] | None = None) -> Any:
    """Return a matplotlib figure: the error map of the first mismatch's channel, and the ulp histogram; save it if asked.

    Errors: InputError where nothing differs, matplotlib is missing, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("plot: matplotlib is not installed; `pip install matplotlib` brings it.") from None
    failure, first = report.failure, report.first_mismatch
    if failure is None or first is None:
        raise InputError("plot: nothing differs, so there is no error to draw.")
    figure = Figure(figsize=(10, 4), layout="constrained")
    places, counts = figure.subplots(1, 2)
    error = failure.found.astype(float) - failure.expected.astype(float)
    plane = error[first.coordinate[:2]] if error.ndim == 4 else error
    reach = max(float(np.abs(plane).max()), 1.0)
    shown = places.imshow(np.atleast_2d(plane), cmap="RdBu", vmin=-reach, vmax=reach, interpolation="nearest")
    figure.colorbar(shown, ax=places, label=f"{failure.by} - expected [ulp]")
    where = ", ".join(map(str, first.coordinate[:2]))
    places.set(title=f"{first.layer}: {first.role} of (n, c) = ({where})", xlabel="x", ylabel="y")
    histogram = failure.histogram()
    counts.bar(range(len(histogram)), list(histogram.values()), tick_label=list(histogram), log=True)
    counts.set(title=f"{failure.count} of {failure.expected.size} codes differ", xlabel="ulp", ylabel="codes")
    if file is not None:
        try:
            figure.savefig(file)
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: the picture cannot be written ({str(error)[:80]}); choose another name.") from None
    return figure
