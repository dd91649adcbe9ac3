"""The picture of an explanation: the accumulator as a staircase inside its register, the products below, the tree beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hwsim.execute.explanation import Explanation, Kind, Number, Row, text
from hwsim.picture import BLUE, GREEN, GREY, ORANGE, PALE, PURPLE, RED, SKY, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 32
"""So many rows can have numbers and marks of their own."""
TREE_LANES = 16
"""So many lanes' tree can be drawn."""


def draw(found: Explanation, file: str | os.PathLike[str] | None = None, force: bool = False) -> Any:
    """Return a matplotlib figure of one output's accumulator over the steps; save it if asked.

    Errors: InputError where matplotlib is missing, or the file exists (force replaces it) or cannot be written.
    """
    tree = _tree_row(found)
    with canvas(12 if tree else 9, 5.2, file, force) as figure:
        title = f"{found.name} (n, k, y, x) = {found.at}: acc = {text(found.held)}, code = {found.code}"
        figure.suptitle(title, x=0.01, ha="left")
        left, right = figure.subfigures(1, 2, width_ratios=(8, 4)) if tree else (figure, figure)
        stairs, bars = left.subplots(2, 1, sharex=True, height_ratios=(5, 2))
        unordered = len(found.rows) == 1 and found.rows[0].kind is Kind.SUM
        (_sum if unordered else _stairs)(stairs, found)
        _products(bars, found)
        left.legend(handles=_legend(found), loc="outside lower center", ncols=4)
        if tree:
            _tree(right.subplots(), tree)
    return figure


def _height(found: Explanation, value: Number) -> float:
    """Where a value is drawn: infinity a little beyond the register's end, NaN at zero."""
    height = float(value)
    if height != height:
        return 0.0
    if abs(height) == float("inf"):
        end = 1.1 * float(found.high or 1)
        return end if height > 0 else -end
    return height


def _stairs(axes: Axes, found: Explanation) -> None:
    """What the register holds behind each row, and what it would hold without any limit."""
    rows, places = found.rows, range(len(found.rows))
    after = [_height(found, row.after) for row in rows]
    unlimited = [_height(found, row.unlimited) for row in rows]
    axes.step(places, unlimited, where="mid", color=GREY, linewidth=1.2, linestyle=(0, (2, 1.5)), zorder=3)
    axes.step(places, after, where="mid", color=BLUE, linewidth=2.2 if len(rows) <= 4 * FEW else 1.4, zorder=4)
    for i, row in enumerate(rows):
        _mark(axes, found, i, row)
    _register(axes, found, after + unlimited + [_height(found, row.exact) for row in rows if any(row.events)] + [0.0])
    axes.set_title("accumulator behind each step")


def _mark(axes: Axes, found: Explanation, i: int, row: Row) -> None:
    """Marks of one row: its kind, its overflow, and its number."""
    exact, after, unlimited, before = (_height(found, v) for v in (row.exact, row.after, row.unlimited, row.before))
    above = after > unlimited if after != unlimited else after >= before
    few = len(found.rows) <= FEW
    if row.events.accumulator or row.events.spill:
        above = after > exact
        _overflow(axes, found, i, row, ORANGE if row.events.spill else RED, few)
    marker = {Kind.LOAD: ("s", GREEN), Kind.BIAS: ("s", GREEN), Kind.SPILL: ("D", ORANGE)}.get(row.kind)
    if marker:
        axes.plot(i, after, marker[0], color=marker[1], markersize=6, zorder=7)
    if few:
        _number(axes, i, after, text(row.after), above, BLUE)


def _overflow(axes: Axes, found: Explanation, i: int, row: Row, colour: str, number: bool) -> None:
    """A hollow mark at the exact result, and an arrow to what the register made of it."""
    exact, after = _height(found, row.exact), _height(found, row.after)
    if exact != after:
        axes.annotate("", (i, after), (i, exact), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.2}, zorder=5)
    axes.plot(i, exact, "o", markeredgecolor=colour, markerfacecolor="white", markersize=6 if number else 4, zorder=6)
    if number:
        _number(axes, i, exact, text(row.exact), exact > after, colour)


def _number(axes: Axes, i: float, height: float, label: str, above: bool, colour: str) -> None:
    place = {"xytext": (0, 5 if above else -5), "textcoords": "offset points", "ha": "center", "va": "bottom" if above else "top"}
    axes.annotate(label, (i, height), fontsize=7, color=colour, zorder=8, **place)  # type: ignore[arg-type]


def _sum(axes: Axes, found: Explanation) -> None:
    """No order: the running sum in the order (c, r, s), one of many that end in the same place."""
    row = found.rows[0]
    scale = float(found.product_unit / found.unit)
    running = [float(row.before)]
    for lane in row.lanes:
        running.append(running[-1] + _height(found, lane.product) * scale)
    places = range(-1, len(row.lanes) + 1)
    axes.step(places, [*running, running[-1]], where="mid", color=GREY, linewidth=1.2, linestyle=(0, (2, 1.5)), zorder=3)
    end, after = len(row.lanes), float(row.after)
    axes.plot(-1, running[0], "s", color=GREEN, markersize=6, zorder=7)
    if any(row.events):
        _overflow(axes, found, end, row, RED, True)
    axes.plot(end, after, "o", color=BLUE, zorder=7)
    _number(axes, end, after, text(row.after), after >= float(row.exact), BLUE)
    _register(axes, found, [*running, after, 0.0])
    axes.set_title("no declared order: every order ends here; drawn in the order (c, r, s)")


def _register(axes: Axes, found: Explanation, values: Sequence[float]) -> None:
    """The register's range as a band, the axis in codes, and real values at the right."""
    low, high = min(values), max(values)
    room = max(high - low, 1.0) * 0.12
    bottom, top = low - room, high + room
    if found.low is not None and found.high is not None:
        ends = float(found.low), float(found.high)
        axes.axhspan(max(ends[0], bottom), min(ends[1], top), color=PALE, zorder=0)
        for end in ends:
            if bottom <= end <= top:
                axes.axhline(end, color=SKY, linewidth=1, zorder=1)
    axes.axhline(0, color="#BBBBBB", linewidth=0.6, zorder=1)
    axes.set_ylim(bottom, top)
    if found.unit != 1:
        axes.set_ylabel("code of the accumulator")
        unit = float(found.unit)

        def to_real(code: Any) -> Any:
            return code * unit

        def to_code(real: Any) -> Any:
            return real / unit

        axes.secondary_yaxis("right", functions=(to_real, to_code)).set_ylabel("real value")
    else:
        axes.set_ylabel("value of the accumulator")


def _products(axes: Axes, found: Explanation) -> None:
    """Bars of what each row adds: a lane's product upon the other lanes' of its sign."""
    scale = float(found.product_unit / found.unit)
    unordered = found.rows[0].kind is Kind.SUM if found.rows else False
    if unordered:
        bars = [(i, _height(found, lane.product) * scale, BLUE) for i, lane in enumerate(found.rows[0].lanes)]
        bars.insert(0, (-1, float(found.rows[0].before), GREEN))
    else:
        bars = [bar for i, row in enumerate(found.rows) for bar in _bars(found, i, row, scale)]
    ends: dict[tuple[int, bool], float] = {}
    for i, size, colour in bars:
        base = ends.get((i, size > 0), 0.0)
        axes.bar(i, size, 0.8, bottom=base, color=colour, edgecolor="white", linewidth=0.5 if len(bars) < 3 * FEW else 0)
        ends[i, size > 0] = base + size
    for i, row in enumerate(found.rows):
        if row.events.tree:
            axes.plot(i, ends.get((i, True), 0.0), "v", color=RED, markersize=6, clip_on=False)
    axes.axhline(0, color="#BBBBBB", linewidth=0.6)
    lanes = any(len(row.lanes) > 1 for row in found.rows) and not unordered
    axes.set(title="added: products, lane upon lane" if lanes else "added: products", xlabel="step")
    _step_ticks(axes, found)


def _bars(found: Explanation, i: int, row: Row, scale: float) -> list[tuple[int, float, str]]:
    if row.kind is Kind.STEP:
        return [
            (i, _height(found, lane.product) * scale, (BLUE, SKY)[j % 2]) for j, lane in enumerate(row.lanes) if lane.product
        ]
    return [(i, _height(found, row.adds), GREEN)] if row.adds is not None else []


def _step_ticks(axes: Axes, found: Explanation) -> None:
    rows = found.rows
    if rows and rows[0].kind is Kind.SUM:
        axes.set_xlabel("tap, in the order (c, r, s)")
        return
    if len(rows) <= FEW:
        names = {Kind.LOAD: "bias", Kind.BIAS: "bias", Kind.SPILL: "spill"}
        axes.set_xticks(range(len(rows)), [names.get(row.kind, str(row.step)) for row in rows], fontsize=7)
        if any(row.kind is Kind.SPILL for row in rows):
            axes.tick_params(axis="x", rotation=45)
        return
    from matplotlib.ticker import MaxNLocator

    places = {row.step: i for i, row in enumerate(rows) if row.kind is Kind.STEP}
    steps = [int(step) for step in MaxNLocator(8, integer=True).tick_values(0, max(len(places) - 1, 1)) if step in places]
    axes.set_xticks([places[step] for step in steps], [str(step) for step in steps])


def _legend(found: Explanation) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    rows = found.rows
    unlimited = "without limits" if isinstance(found.held, int) else "exact sum"
    marks: list[Any] = [Line2D([], [], color=BLUE, linewidth=2.2, label="accumulator")]
    marks.append(Line2D([], [], color=GREY, linewidth=1.2, linestyle=(0, (2, 1.5)), label=unlimited))
    if found.low is not None and found.high is not None:
        marks.append(Patch(color=PALE, label=f"register {text(found.low)}..{text(found.high)}"))
    kind = "persistent" if found.persistent else "transient"
    for colour, there, label in (
        (RED, any(row.events.accumulator for row in rows), f"overflow, {kind}"),
        (ORANGE, any(row.events.spill for row in rows), f"overflow of the buffer, {kind}"),
    ):
        if there:
            marks.append(Line2D([], [], linestyle="", marker="o", color=colour, markerfacecolor="white", label=label))
    if any(row.events.tree for row in rows):
        marks.append(Line2D([], [], linestyle="", marker="v", color=RED, label=f"overflow in the tree, {kind}"))
    for wanted, marker, colour, label in (
        ((Kind.LOAD, Kind.BIAS, Kind.SUM), "s", GREEN, "bias"),
        ((Kind.SPILL,), "D", ORANGE, "spilled and back"),
    ):
        if any(row.kind in wanted for row in rows):
            marks.append(Line2D([], [], linestyle="", marker=marker, color=colour, label=label))
    return marks


def _tree_row(found: Explanation) -> Row | None:
    """The step whose tree is drawn: the first with an overflow in it, else the first with the most taps."""
    rows = [row for row in found.rows if row.tree and len(row.lanes) <= TREE_LANES]
    eventful = [row for row in rows if row.events.tree]
    if eventful or not rows:
        return eventful[0] if eventful else None
    return max(rows, key=lambda row: (sum(lane.tap is not None and not lane.skipped for lane in row.lanes), -(row.step or 0)))


def _tree(axes: Axes, row: Row) -> None:
    """Products at the top, each register below what it adds; red where it overflowed."""
    at: dict[tuple[int, int], tuple[float, float]] = {(0, i): (float(i), 0.0) for i in range(len(row.lanes))}
    for level, nodes in enumerate(row.tree, 1):
        for i, node in enumerate(nodes):
            x = sum(at[of][0] for of in node.of) / len(node.of)
            at[level, i] = (x, -float(level))
            for of in node.of:
                axes.plot([at[of][0], x], [at[of][1], -level], color="#AAAAAA", linewidth=1, zorder=1)
    upright = len(row.lanes) > 8
    for i, lane in enumerate(row.lanes):
        _box(axes, at[0, i], "idle" if lane.tap is None else "skipped" if lane.skipped else text(lane.product), PALE, upright)
    for level, nodes in enumerate(row.tree, 1):
        for i, node in enumerate(nodes):
            over = node.overflowed
            label = f"{text(node.exact)}\n-> {text(node.held)}" if over else text(node.held)
            _box(axes, at[level, i], label, RED if over else "white")
    axes.set(title=f"adder tree in step {row.step}", xlim=(-0.6, len(row.lanes) - 0.4), ylim=(-max(len(row.tree), 4) - 0.5, 0.5))
    axes.set_axis_off()


def _box(axes: Axes, at: tuple[float, float], label: str, colour: str, upright: bool = False) -> None:
    pad = {"boxstyle": "round,pad=0.3", "facecolor": colour, "edgecolor": PURPLE if colour == RED else GREY, "linewidth": 0.8}
    ink = "white" if colour == RED else "black"
    axes.text(*at, label, ha="center", va="center", fontsize=7, bbox=pad, color=ink, rotation=90 * upright, zorder=2)
