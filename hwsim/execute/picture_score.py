"""The picture of a score: accuracy beside the float network's, what became of each image, and each layer's events."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwsim.execute.score import Score
from hwsim.layers import Events
from hwsim.picture import BLUE, GREEN, GREY, ORANGE, RED, ROW, SKY, canvas, event_bars, event_handles, layer_axis, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Fates:
    """Images by what became of them: both networks right, only the integers, only float, neither."""

    both: int
    gained: int
    lost: int
    neither: int


def fates(score: Score) -> Fates | None:
    """Return how many images share each fate; None without a float baseline."""
    if score.baseline is None:
        return None
    gained, lost = len(score.gained), len(score.lost)
    both = score.fixed.right - gained
    return Fates(both, gained, lost, score.images - both - gained - lost)


def with_events(score: Score) -> dict[str, Events]:
    """Return the events of the layers that have any, in order."""
    return {name: events for name, events in score.events.items() if any(events)}


def draw(score: Score, file: str | os.PathLike[str] | None = None, force: bool = False) -> Any:
    """Return a matplotlib figure of the accuracy, the images gained and lost, and the events; save it if a file is named.

    Errors: InputError where matplotlib is missing, or the file exists (force replaces it) or cannot be written.
    """
    with canvas(13, 1.6 + ROW * max(len(with_events(score)), 10), file, force) as figure:
        figure.suptitle(f"{score.network}: {score.images:,} images", x=0.01, ha="left")
        found = fates(score)
        left, right = figure.subfigures(1, 2, width_ratios=(3, 4))
        if found is None:
            _accuracy(left.subplots(), score)
        else:
            accuracy, images = left.subplots(2, 1, height_ratios=(3, 2))
            _accuracy(accuracy, score)
            _fates(images, score, found)
        _events(right, score)
    return figure


def _accuracy(axes: Axes, score: Score) -> None:
    networks = [("integers", score.fixed, BLUE)]
    if score.baseline is not None:
        networks.append(("float", score.baseline, GREY))
    for place, (label, found, color) in enumerate(networks):
        for y, share in enumerate((found.top1, found.top5)):
            at = y + 0.36 * place
            axes.barh(at, share, 0.34, color=color, label=None if y else label)
            axes.text(share + 0.01, at, f"{share:.2%}", va="center", fontsize=8)
    title = "accuracy"
    if score.baseline is not None:
        title += f": top-1 {100 * (score.top1 - score.baseline.top1):+.2f} points against float"
    axes.set(title=title, xlim=(0, 1.15), ylim=(1.7, -0.4))
    axes.set_yticks([0.18 * (len(networks) - 1) + y for y in range(2)], ["top-1", "top-5"])
    axes.set_xticks([i / 5 for i in range(6)], [f"{20 * i}%" for i in range(6)])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)


def _fates(axes: Axes, score: Score, found: Fates) -> None:
    """Two stacked bars over the images: what became of them, and whether both networks guess the same."""
    parts = (
        (0, found.both, SKY, "both right"),
        (0, found.gained, GREEN, "gained: only the integers right"),
        (0, found.lost, RED, "lost: only float right"),
        (0, found.neither, GREY, "neither right"),
    )
    ends = [0, 0]
    for y, count, color, label in parts:
        axes.barh(y, count, 0.6, ends[y], color=color, label=f"{count:,} {label}")
        ends[y] += count
    agreeing = score.agreeing or 0
    axes.barh(1, agreeing, 0.6, 0, color=BLUE, label=f"{agreeing:,} same first guess ({agreeing / score.images:.2%})")
    axes.barh(1, score.images - agreeing, 0.6, agreeing, color=ORANGE, label=f"{score.images - agreeing:,} another first guess")
    axes.set(title="images", xlim=(0, score.images), ylim=(1.5, -0.5))
    axes.set_yticks((0, 1), ("answer", "agreement"))
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.15), ncols=2)


def _events(figure: Any, score: Score) -> None:
    found, axes = with_events(score), figure.subplots()
    without = len(score.events) - len(found)
    axes.set_title("overflow events" + (f"  ({without} more layers have none)" if found and without else ""))
    if not found:
        axes.text(0.0, 0.9, f"none in any of the {without} layers", transform=axes.transAxes)
        axes.set_axis_off()
        return
    event_bars(axes, list(found.values()), [score.outputs[name] for name in found])
    layer_axis(axes, list(found))
    axes.set_ylim(max(len(found), 6) - 0.5, -0.5)
    legend_below(figure, event_handles(), 2)
