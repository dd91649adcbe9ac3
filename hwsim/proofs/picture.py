"""The picture of accumulators' headroom: the log2 rule, what is proven, what was seen, and what is declared, layer by layer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hwsim.picture import BLUE, GREY, ORANGE, RED, ROW, canvas, layer_axis, legend_below
from hwsim.proofs.report import LayerReport, OverflowReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(report: OverflowReport, file: str | os.PathLike[str] | None = None, force: bool = False) -> Any:
    """Return a matplotlib figure with a line for each layer; save it if a file is named.

    Errors: InputError where matplotlib is missing, or the file exists (force replaces it) or cannot be written.
    """
    layers = report.layers
    with canvas(10, 1.7 + ROW * max(len(layers), 3), file, force) as figure:
        figure.suptitle(report.title(), x=0.01, ha="left")
        axes = figure.subplots()
        for y, layer in enumerate(layers):
            _line(axes, y, layer)
        _bits_axis(axes, layers)
        layer_axis(axes, [layer.name for layer in layers])
        legend_below(figure, _legend(bool(report.images)), 5)
    return figure


def _line(axes: Axes, y: int, layer: LayerReport) -> None:
    if layer.bits is None:
        axes.text(0.01, y, layer.result, transform=axes.get_yaxis_transform(), va="center", fontsize=7.5, color=GREY)
        return
    color = BLUE if layer.safe else RED
    low, high = int(layer.bits.min()), int(layer.bits.max())
    axes.barh(y, high - low + 0.3, 0.5, low - 0.15, color=color)
    if layer.certificate is not None:
        axes.plot([layer.certificate.rule_bits] * 2, [y - 0.3, y + 0.3], color=GREY, linewidth=2)
    axes.plot([layer.declared_bits] * 2, [y - 0.42, y + 0.42], color="black", linewidth=2)
    if layer.seen is not None:
        axes.plot([layer.seen.bits], [y], marker="D", markersize=4.5, color=ORANGE, markeredgecolor="white", markeredgewidth=0.6)
    room = layer.row()["headroom"]
    before = "" if all(need.headroom >= 0 for need in layer.needs[1:]) else f"  {_before(layer)}"
    _beside(axes, y, f"{high:>5}{layer.declared_bits:>5}{room:>6}{before}", "black" if layer.safe else RED)


def _before(layer: LayerReport) -> str:
    """Which registers before the accumulator may overflow."""
    return ", ".join(dict.fromkeys(need.place.split()[0] for need in layer.needs[1:] if need.beyond))


def _beside(axes: Axes, y: float, text: str, color: str) -> None:
    where = axes.get_yaxis_transform()
    axes.text(1.01, y, text, transform=where, va="center", fontsize=7.5, family="monospace", color=color)


def _bits_axis(axes: Axes, layers: Sequence[LayerReport]) -> None:
    ends = [bits for layer in layers for bits in _bits(layer)]
    axes.set_xlim(min(ends, default=2) - 1, max(ends, default=32) + 1)
    axes.locator_params(axis="x", integer=True)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_xlabel("bits of the accumulator, the sign included")
    _beside(axes, -0.9, "needs  has  free", GREY)


def _bits(layer: LayerReport) -> Iterator[int]:
    """Every width that is drawn."""
    if layer.bits is not None:
        yield from (int(layer.bits.min()), int(layer.bits.max()), layer.declared_bits)
    if layer.certificate is not None:
        yield layer.certificate.rule_bits
    if layer.seen is not None:
        yield layer.seen.bits


def _legend(images: bool) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=BLUE, label="proven: narrowest to widest channel"),
        Patch(color=RED, label="the same, and a register can overflow"),
        Line2D([], [], color=GREY, linewidth=2, label="log2 rule"),
        Line2D([], [], color="black", linewidth=2, label="declared"),
    ]
    seen = Line2D([], [], color=ORANGE, marker="D", markersize=4.5, linestyle="", label="seen on images")
    return [*handles, seen] if images else handles
