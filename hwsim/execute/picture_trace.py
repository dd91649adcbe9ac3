"""The picture of a trace: where each layer's codes lie in their format, how many stand at its ends, and what overflowed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.contract import Activation, Output
from hwsim.execute.trace import LayerTrace, Trace
from hwsim.formats import Format, Minifloat, PowerOfTwo
from hwsim.layers import Events
from hwsim.layers.base import AnyOutput
from hwsim.network.lower.settle import output_stage
from hwsim.network.preprocessing import ChannelOrder
from hwsim.picture import BLUE, GREY, ORANGE, RED, ROW, canvas, event_bars, event_handles, layer_axis, plain_number, share_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 64
"""Parts of a strip: up to 6 bits, a part is one code or less; at 8 bits, 4 codes."""


@dataclass(frozen=True, eq=False)
class CodeStrip:
    """One line of the picture; all shares are of the layer's outputs, 0..1.

    shares: of each of 64 equal parts of the format, from its smallest code to its largest; a format of fewer codes has
    several parts to a code, each with the code's share.  zero: where in the format the code of real 0 begins, 0..1.
    at_low, at_high: codes that stand at the smallest and the largest code the output may have.  low_is_zero: the smallest
    is worth 0, so that what at_low counts may be zeros as well as cut values.  events: of the layer's `outputs` codes.
    Minifloats stand in the order of their numbers; infinity and NaN lie beyond the largest number.
    """

    name: str
    shares: np.ndarray
    zero: float
    at_low: float
    at_high: float
    low_is_zero: bool
    events: Events
    outputs: int


def code_strips(trace: Trace) -> tuple[CodeStrip, ...]:
    """Return what the picture shows of each layer, in order."""
    return tuple(_strip(layer) for layer in trace)


def _strip(traced: LayerTrace) -> CodeStrip:
    fmt, size = traced.layer.output_format, traced.codes.size
    codes, least, most = _numbered(traced.codes, fmt)
    low, high = _limits(fmt, output_stage(traced.layer))
    span, zero = most - least + 1, 0 if isinstance(fmt, (Minifloat, PowerOfTwo)) else fmt.zero()
    places = (codes - least) * min(span, BINS) // span
    counts = np.bincount(places.ravel(), minlength=min(span, BINS))
    return CodeStrip(
        name=traced.name,
        shares=np.repeat(counts, BINS // len(counts)) / size,
        zero=(zero - least) / span,
        at_low=int((codes <= low).sum()) / size,
        at_high=int((codes >= high).sum()) / size,
        low_is_zero=low == zero,
        events=traced.events,
        outputs=size,
    )


def _numbered(codes: np.ndarray, fmt: Format) -> tuple[np.ndarray, int, int]:
    """Return the codes as integers in the order of their numbers, and the range of these: a minifloat's size with its sign."""
    if not isinstance(fmt, Minifloat):
        return codes.astype(np.int64), fmt.low, fmt.high
    most = (1 << (fmt.bits - 1)) - 1
    size = codes.astype(np.int64) & most
    return np.where(codes > most, -size, size), -most - 1, most


def _limits(fmt: Format, stage: AnyOutput | None) -> tuple[int, int]:
    """Return the smallest and the largest number of an output, as _numbered counts."""
    if isinstance(stage, Output):
        low = stage.low if stage.clamp_low is None else max(stage.low, stage.clamp_low)
        return low, stage.high if stage.clamp_high is None else min(stage.high, stage.clamp_high)
    if not isinstance(fmt, Minifloat):
        return fmt.low, fmt.high
    largest = fmt.encode(fmt.largest)
    return (0 if stage is not None and stage.activation is not Activation.NONE else -largest), largest


def draw(trace: Trace, file: str | os.PathLike[str] | None = None, force: bool = False) -> Any:
    """Return a matplotlib figure of the first image's answer, and of every layer's codes and events; save it if asked.

    Codes and events are those of all images of the trace.
    Errors: InputError where matplotlib is missing, or the file exists (force replaces it) or cannot be written.
    """
    strips = code_strips(trace)
    heights = (2.2, 0.9 + ROW * max(len(strips), 4), 0.9)
    with canvas(13, sum(heights), file, force) as figure:
        images = len(trace.pixels)
        figure.suptitle(trace.network.name + (f": {images} images, the first shown" if images > 1 else ""), x=0.01, ha="left")
        upper, middle, lower = figure.subfigures(3, 1, height_ratios=heights)
        image, top = upper.subplots(1, 2, width_ratios=(1, 4))
        _image(image, trace)
        _answer(top, trace)
        codes, ends, events = middle.subplots(1, 3, sharey=True, width_ratios=(4, 2, 2))
        shown = _codes(codes, strips)
        _ends(ends, strips)
        event_bars(events, [strip.events for strip in strips], [strip.outputs for strip in strips])
        events.set_title("overflow events")
        for axes in (codes, ends, events):
            layer_axis(axes, [strip.name for strip in strips])
        scale, words = lower.subplots(1, 2, width_ratios=(3, 5))
        figure.colorbar(shown, cax=scale, orientation="horizontal", label="share of the layer's codes", format=plain_number)
        scale.set_box_aspect(0.05)
        words.set_axis_off()
        words.legend(handles=_legend(), loc="center", ncols=3)
    return figure


def _image(axes: Axes, trace: Trace) -> None:
    pixels = trace.pixels[0]
    if len(pixels) == 3:
        order = trace.network.preprocessing.channel_order
        axes.imshow((pixels[::-1] if order == ChannelOrder.BGR else pixels).transpose(1, 2, 0))
    else:
        axes.imshow(pixels[0], cmap="gray")
    axes.set(title="input", xticks=(), yticks=())


def _answer(axes: Axes, trace: Trace) -> None:
    best = trace.top(5)[0].tolist()
    chance = trace.probabilities[0][best]
    axes.barh(range(len(best)), chance, 0.7, color=BLUE)
    for y, p in enumerate(chance):
        axes.text(p + 0.005, y, f"{p:.2%}", va="center", fontsize=8)
    axes.set(title="answer: the first classes, and softmax of their logits", xlim=(0, 1.08), ylim=(len(best) - 0.5, -0.5))
    axes.set_yticks(range(len(best)), [f"class {k}" for k in best])
    axes.set_xticks(np.linspace(0, 1, 6), [f"{percent}%" for percent in range(0, 101, 20)])


def _codes(axes: Axes, strips: tuple[CodeStrip, ...]) -> Any:
    from matplotlib.colors import LogNorm

    table = np.stack([strip.shares for strip in strips])
    shown = axes.imshow(
        np.where(table > 0, table, np.nan),
        aspect="auto",
        cmap="viridis_r",
        norm=LogNorm(1e-5, 1.0, clip=True),
        extent=(0, 1, len(strips) - 0.5, -0.5),
        interpolation="nearest",
    )
    for y, strip in enumerate(strips):
        axes.plot([strip.zero] * 2, [y - 0.45, y + 0.45], color=ORANGE, linewidth=2, clip_on=False)
        axes.axhline(y + 0.5, color="white", linewidth=2)
    axes.set_xticks((0, 1), ("smallest code", "largest code"))
    for label, side in zip(axes.xaxis.get_major_ticks(), ("left", "right"), strict=True):
        label.label1.set(ha=side)
    axes.set_title("output codes in their format")
    return shown


def _ends(axes: Axes, strips: tuple[CodeStrip, ...]) -> None:
    share_axis(axes, [share for s in strips for share in (s.at_low, s.at_high)])
    for y, strip in enumerate(strips):
        if strip.at_low:
            axes.plot(strip.at_low, y, "<", markeredgecolor=GREY, markerfacecolor="white" if strip.low_is_zero else GREY)
        if strip.at_high:
            axes.plot(strip.at_high, y, ">", color=RED)
    axes.set_title("codes at the ends")


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=ORANGE, linewidth=2, label="real 0"),
        *event_handles(),
        Line2D([], [], linestyle="", marker=">", color=RED, label="at the largest code"),
        Line2D([], [], linestyle="", marker="<", color=GREY, label="at the smallest code"),
        Line2D([], [], linestyle="", marker="<", markeredgecolor=GREY, markerfacecolor="white", label="the same, where it is 0"),
    ]
