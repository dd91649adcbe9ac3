"""The picture of minimized accumulators: each layer's widths, what a saturating one costs alone, and the prices of the whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hwsim.picture import BLUE, GREEN, GREY, ORANGE, ROW, canvas, layer_axis, legend_below
from hwsim.proofs.minimize_report import Column, LayerWidths, Minimized

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# field of LayerWidths, label, marker, colour, place beside the line's middle: equal widths do not hide each other
MARKS = (
    ("rule", "log2 rule of thumb", "D", GREY, -0.24),
    ("proven", "proven: no input overflows", "s", BLUE, -0.08),
    ("data", "data: no calibration image overflows", "o", GREEN, 0.08),
    ("alone", "saturating within the margin, this layer alone", "<", ORANGE, 0.24),
)
NAMES = {Column.PROVEN: ("proven", BLUE), Column.DATA: ("data", GREEN), Column.SATURATING: ("saturating, together", ORANGE)}
DETAIL = 12
"""Layers up to which the numbers stand beside the marks."""


def draw(found: Minimized, file: str | os.PathLike[str] | None = None, force: bool = False) -> Any:
    """Return a matplotlib figure of the widths and their prices; save it if a file is named.

    Errors: InputError where matplotlib is missing, or the file exists (force replaces it) or cannot be written.
    """
    tall = 0.5 if len(found.layers) <= DETAIL else ROW
    with canvas(12, 2.2 + max(tall * len(found.layers), 1.2), file, force) as figure:
        figure.suptitle(f"{found.name}: the narrowest accumulators", x=0.01, ha="left")
        if found.margin is None:
            bits, whole = figure.subplots(1, 2, width_ratios=(4, 2))
        else:
            bits, alone, whole = figure.subplots(1, 3, width_ratios=(4, 2, 2))
            _alone(alone, found)
        _bits(bits, found)
        _whole(whole, found)
        legend_below(figure, bits.get_legend_handles_labels()[0], 2)
    return figure


def _bits(axes: Axes, found: Minimized) -> None:
    from matplotlib.ticker import MaxNLocator

    for field, label, marker, color, place in MARKS[:3] if found.margin is None else MARKS:
        for y, layer in enumerate(found.layers):
            value = getattr(layer, field)
            axes.plot(value, y + place, marker, color=color, markersize=6, label=None if y else label)
            if len(found.layers) <= DETAIL:
                axes.text(value + 0.25, y + place, str(value), va="center", fontsize=7, color=color)
    for y, layer in enumerate(found.layers):
        axes.plot(2 * [layer.declared], (y - 0.4, y + 0.4), color="black", linewidth=1.2, label=None if y else "declared")
        if layer.together is not None and layer.together != layer.alone:
            axes.plot(layer.together, y + 0.24, "<", markerfacecolor="none", color=ORANGE, markersize=6)
    layer_axis(axes, [layer.name for layer in found.layers])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    hollow = any(layer.together != layer.alone for layer in found.layers)
    axes.set(title="bits of the accumulator", xlabel="bits" + (" (hollow: all layers together)" if hollow else ""))


def _alone(axes: Axes, found: Minimized) -> None:
    """Bars of what each layer's saturating width costs by itself, and the margin."""
    assert found.margin is not None
    prices = [_price(found, layer) for layer in found.layers]
    axes.barh(range(len(prices)), prices, 0.5, color=ORANGE)
    for y, price in enumerate(prices):
        axes.text(max(price, 0.0), y, f" {price:+.2f}", va="center", fontsize=7)
    axes.axvline(found.margin, color="black", linewidth=1, linestyle="--")
    axes.axvline(0, color=GREY, linewidth=0.8)
    layer_axis(axes, [""] * len(prices))
    axes.set_xlim(min([0.0, *prices]) * 1.2, 1.35 * max(found.margin, *prices, 0.1))
    axes.set(title="price of it, alone", xlabel=f"points of top-1 (dashed: the margin, {found.margin:g})")


def _price(found: Minimized, layer: LayerWidths) -> float:
    assert layer.right_alone is not None
    return found.points(layer.right_alone)


def _whole(axes: Axes, found: Minimized) -> None:
    """Top-1 of the exact network, and with all layers at each column's widths."""
    bars = [("exact", GREY, found.exact)]
    bars += [(*NAMES[column], whole.accuracy) for column, whole in found.wholes.items()]
    for x, (_, color, accuracy) in enumerate(bars):
        axes.bar(x, 100 * accuracy.top1, 0.6, color=color)
        axes.text(x, 100 * accuracy.top1, f"{accuracy.top1:.2%}", ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(bars)), [name.replace(", ", ",\n") for name, _, _ in bars])
    axes.set(title=f"all layers: top-1 of {found.scoring_images:,} images", ylim=(0, 112), ylabel="%")
