"""The picture of a network's formats: what was seen against what the format covers, and what the accumulator needs."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.formats import Affine, FixedPoint, Format, Minifloat, PowerOfTwo
from hwsim.layers import MacLayer
from hwsim.layers.float_unit import FloatUnit
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from hwsim.network.ranges import Range
from hwsim.picture import BLUE, GREY, ORANGE, PALE, RED, ROW, canvas, layer_axis, legend_below, power_of_two

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Cover:
    """What a format covers, beside what was seen: real magnitudes, on the side of zero that is nearest to its limit.

    ulp, limit: the format's step and its largest magnitude there; of formats per channel, of the coarsest channel.
    finest: step of the finest channel.  seen: largest magnitude seen; None where nothing was measured, as in a network that
    was born in integers.  typical: the same without the extremes that the percentile leaves out; of weights, the median of
    the magnitudes that are not 0.  ratio: seen / limit, and clips: whether what was seen lies more than half a step beyond
    the limit; of formats per channel, in the worst channel.
    Of minifloats and powers of two, whose steps grow with the numbers, ulp is the smallest number beside 0.
    """

    format: Format
    ulp: float
    limit: float
    finest: float
    seen: float | None
    typical: float
    ratio: float
    clips: bool

    @property
    def headroom(self) -> float | None:
        """Bits of the format that nothing seen reaches; below 0, bits that clipping takes. None where all is 0 or unknown."""
        return -math.log2(self.ratio) if 0 < self.ratio < math.inf else None if self.ratio == 0 else -math.inf


@dataclass(frozen=True)
class LayerFormats:
    """One line of the picture. None: no such thing in this layer.  needed, declared: bits of the accumulator."""

    name: str
    output: Cover | None
    weight: Cover | None
    needed: int | None
    declared: int | None


def layer_formats(network: QuantizedNetwork) -> tuple[LayerFormats, ...]:
    """Return what the picture shows, in order: the layers that accumulate, and those whose format was chosen by a range.

    Where no range chose any (the network was born in integers), those that accumulate or have a format that no producer has.
    """
    lines = (_line(node, _output(network, node)) for node in network)
    return tuple(line for line in lines if line.output is not None or line.needed is not None)


def _output(network: QuantizedNetwork, node: QuantizedNode) -> Cover | None:
    seen, made = network.ranges.get(node.name), node.layer.output_format
    passes_on = made in node.layer.input_formats and not isinstance(node.layer, MacLayer)
    if network.ranges or passes_on:
        return None if seen is None else output_cover(seen, made)
    return _unmeasured(made)


def _line(node: QuantizedNode, output: Cover | None) -> LayerFormats:
    if not isinstance(node.layer, MacLayer):
        return LayerFormats(node.name, output, None, None, None)
    fmt = node.layer.contract.weight
    real = fmt.to_real(node.layer.weight) if node.source is None else node.source.weight
    weight = weight_cover(real, fmt)
    unit = node.layer.unit
    if not isinstance(unit, FloatUnit):
        return LayerFormats(node.name, output, weight, unit.numbers.proven_bits, unit.numbers.acc_bits)
    if unit.accumulator is not None:
        return LayerFormats(node.name, output, weight, None, None)
    return LayerFormats(node.name, output, weight, unit.proven_bits, unit.register.bits)


def output_cover(seen: Range, fmt: Format) -> Cover:
    """Return the cover of what calibration saw of a layer's output.

    >>> cover = output_cover(Range(-1.0, 3.0, -1.0, 2.5, (0,) * 15, (0,) * 15), FixedPoint(8, 5))
    >>> cover.limit, cover.seen, cover.typical, round(cover.headroom, 2)
    (3.96875, 3.0, 2.5, 0.4)
    """
    if isinstance(fmt, (Minifloat, PowerOfTwo)):
        return _growing(seen.largest, max(seen.clip_high, -seen.clip_low), fmt)
    ulp, zero = _step(fmt), fmt.zero()
    sides = [(seen.high, seen.clip_high, (fmt.high - zero) * ulp), (-seen.low, -seen.clip_low, (zero - fmt.low) * ulp)]
    high, typical, limit = max(sides, key=lambda side: _ratio(side[0], side[2]))
    return Cover(fmt, ulp, limit, ulp, high, typical, _ratio(high, limit), high > limit + ulp / 2)


def _unmeasured(fmt: Format) -> Cover:
    """Return the cover of a format of which no range is known; of the two sides of zero, the one that reaches farther."""
    if isinstance(fmt, (Minifloat, PowerOfTwo)):
        return replace(_growing(0.0, 0.0, fmt), seen=None)
    ulp, zero = _step(fmt), fmt.zero()
    return Cover(fmt, ulp, max(fmt.high - zero, zero - fmt.low) * ulp, ulp, None, 0.0, 0.0, False)


def weight_cover(weight: np.ndarray, fmt: Format) -> Cover:
    """Return the cover of a layer's real weights [K]...; each channel is held against its own format."""
    flat = np.abs(weight.reshape(len(weight), -1).astype(np.float64))
    some = flat[flat > 0]
    typical = float(np.median(some)) if some.size else 0.0
    if isinstance(fmt, (Minifloat, PowerOfTwo)):
        return _growing(float(flat.max()), typical, fmt)
    fmt.lengths(len(weight))  # as many channels as the weights
    steps = [_step(fmt, k) for k in range(len(weight))]
    ulp, ends = max(steps), np.stack([weight.reshape(len(weight), -1).max(axis=1), -weight.reshape(len(weight), -1).min(axis=1)])
    codes = np.maximum(ends, 0).astype(np.float64) / steps
    reach = np.array([[fmt.high - fmt.zero(k), fmt.zero(k) - fmt.low] for k in range(len(weight))]).T
    ratios = [_ratio(*pair) for pair in zip(codes.ravel().tolist(), reach.ravel().tolist(), strict=True)]
    worst = ratios.index(max(ratios))
    side = worst // len(weight)
    most = int(reach.ravel()[worst])
    clips, seen = bool(codes.ravel()[worst] > most + 0.5), float(max(ends[side].max(), 0.0))
    return Cover(fmt, ulp, most * ulp, min(steps), seen, typical, ratios[worst], clips)


def _step(fmt: FixedPoint | Affine, channel: int = 0) -> float:
    """What one code of a channel is worth."""
    return fmt.step(channel) if isinstance(fmt, Affine) else math.ldexp(1.0, -fmt.fl(channel))


def _growing(seen: float, typical: float, fmt: Minifloat | PowerOfTwo) -> Cover:
    """Return the cover of a format whose steps grow with its numbers, the same on both sides of zero."""
    limit = float(fmt.largest)
    if isinstance(fmt, PowerOfTwo):
        least, beyond = math.ldexp(1.0, fmt.exp_min), limit * math.sqrt(2.0)  # the nearest exponent is the nearest power
    else:
        least = float(fmt.smallest_subnormal or fmt.smallest_normal)
        beyond = limit + (limit - float(fmt.decode(fmt.encode(fmt.largest) - 1))) / 2
    return Cover(fmt, least, limit, least, seen, typical, seen / limit, seen > beyond)


def _ratio(seen: float, limit: float) -> float:
    """What was seen as a multiple of the limit: an unsigned format has none below zero, so anything seen there is too much."""
    return seen / limit if limit else math.inf if seen else 0.0


def draw(network: QuantizedNetwork, file: str | os.PathLike[str] | None = None, force: bool = False) -> Any:
    """Return a matplotlib figure of every layer's formats and accumulator; save it if a file is named.

    Errors: InputError where matplotlib is missing, or the file exists (force replaces it) or cannot be written.
    """
    lines = layer_formats(network)
    with canvas(14, 1.9 + ROW * max(len(lines), 4), file, force) as figure:
        figure.suptitle(f"{network.name}: {len(network.nodes)} layers, dialect {network.dialect}", x=0.01, ha="left")
        outputs, weights, bits = figure.subplots(1, 3, sharey=True, width_ratios=(4, 4, 3))
        outputs.set_title("output: seen in calibration" if network.ranges else "output: what the formats cover")
        _covers(outputs, [line.output for line in lines])
        weights.set_title("weights")
        _covers(weights, [line.weight for line in lines])
        _accumulators(bits, lines)
        for axes in (outputs, weights, bits):
            layer_axis(axes, [line.name for line in lines])
        legend_below(figure, _legend(), 6)
    return figure


def _covers(axes: Axes, covers: Sequence[Cover | None]) -> None:
    """A pale bar from the format's step to its limit, on it a dark one up to what was seen; red beyond the limit."""
    ends = [end for c in covers if c is not None for end in (c.finest, c.limit, c.seen or 0.0) if end > 0]
    low, high = math.floor(math.log2(min(ends, default=1.0))), math.ceil(math.log2(max(ends, default=1.0)))
    for y, cover in enumerate(covers):
        if cover is not None:
            _cover(axes, y, cover)
    axes.set_xlim(low - 0.5, high + 0.5)
    every = max(1, (high - low + 8) // 9)
    ticks = range(low, high + 1, every)
    axes.set_xticks(ticks, [power_of_two(t) for t in ticks])
    axes.set_xticks(range(low, high + 1), minor=True)
    axes.grid(axis="x", which="both", color="#DDDDDD", linewidth=0.6)
    axes.set_xlabel("magnitude: one line of the grid is one bit")
    _beside(axes, -0.9, f"{'format':<12} {'bits free':>9}", GREY)


def _cover(axes: Axes, y: int, cover: Cover) -> None:
    start, limit = math.log2(cover.ulp), math.log2(cover.limit) if cover.limit else math.log2(cover.ulp)
    axes.plot([math.log2(cover.finest), start], [y, y], color=BLUE, linewidth=1)
    axes.barh(y, limit - start, 0.8, start, color=PALE, edgecolor=BLUE, linewidth=0.5)
    if cover.seen:
        seen = math.log2(cover.seen)
        axes.barh(y, max(min(seen, limit) - start, 0.0), 0.36, start, color=BLUE)
        axes.barh(y, max(seen - limit, 0.0), 0.5, limit, color=RED)
    if cover.typical > 0:
        axes.plot([math.log2(cover.typical)] * 2, [y - 0.32, y + 0.32], color=ORANGE, linewidth=2)
    _beside(axes, y, f"{_short(cover.format):<12} {_free(cover):>9}", RED if cover.clips else "black")


def _free(cover: Cover) -> str:
    if cover.seen is None:
        return "unknown"
    return "zeros" if cover.headroom is None else f"{cover.headroom:+.2f}".replace("-0.00", "+0.00")


def _short(fmt: Format) -> str:
    """A format in a dozen letters; of an affine one the coarsest channel's scale."""
    if isinstance(fmt, Affine):
        scale = max(fmt.scale) if isinstance(fmt.scale, tuple) else fmt.scale
        return f"{'s' if fmt.signed else 'u'}{fmt.bits} x {scale:.2g}"
    return str(fmt).split(" bias")[0].split(" and")[0].split(" per")[0]


def _beside(axes: Axes, y: float, text: str, color: str) -> None:
    where = axes.get_yaxis_transform()
    axes.text(1.01, y, text, transform=where, va="center", fontsize=7.5, family="monospace", color=color)


def _accumulators(axes: Axes, lines: Sequence[LayerFormats]) -> None:
    axes.set(title="accumulator bits", xlabel="bits, the sign included")
    widest = 1
    for y, line in enumerate(lines):
        if line.needed is None or line.declared is None:
            continue
        fits, widest = line.needed <= line.declared, max(widest, line.needed, line.declared)
        axes.barh(y, line.needed, 0.5, color=BLUE if fits else RED)
        axes.plot([line.declared] * 2, [y - 0.4, y + 0.4], color="black", linewidth=2)
        axes.text(line.needed - 0.4, y, str(line.needed), ha="right", va="center", fontsize=7.5, color="white")
    axes.set_xlim(0, widest + 1)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=PALE, edgecolor=BLUE, label="what the format covers: one step to its limit"),
        Line2D([], [], color=BLUE, linewidth=1, label="steps of finer channels"),
        Patch(color=BLUE, label="seen; accumulator: proven needed"),
        Patch(color=RED, label="clipped; may overflow"),
        Line2D([], [], color=ORANGE, linewidth=2, label="output: percentile; weights: median"),
        Line2D([], [], color="black", linewidth=2, label="declared"),
    ]
