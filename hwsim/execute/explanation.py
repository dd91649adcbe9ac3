"""One output of a multiply-accumulate layer, step by step: what meets what, what the registers hold, and where they overflow."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from os import PathLike
from typing import Any, NamedTuple

from hwsim.errors import printable
from hwsim.layers import Events

Number = int | Fraction | float
"""An int on the accumulator's grid; where registers are floats, a Fraction, or a float for infinity, NaN and -0."""

HEADINGS = ("step", "taps (c, r, s)", "products", "tree", "note", "adds", "acc", "exact", "acc after", "event", "without limits")
SHOWN_LANES, SHOWN_LEVELS = 4, 2
"""Lanes of a step and levels of its tree that the table spells out."""


class Kind(Enum):
    """What a row of the table does: load the bias, add a step, the whole sum at once, or a late bias; or spill and reload."""

    LOAD = "bias"
    STEP = "step"
    SPILL = "spill"
    SUM = "sum"
    BIAS = "bias last"


@dataclass(frozen=True)
class Lane:
    """One product. tap: (c, r, s), None for an idle lane.  x, w: codes.  product: what the tree gets.  how: as text."""

    tap: tuple[int, int, int] | None
    padded: bool
    skipped: bool
    x: int
    w: int
    product: Number
    how: str


class At(NamedTuple):
    """Events of one row, by place."""

    tree: int = 0
    accumulator: int = 0
    spill: int = 0


class Node(NamedTuple):
    """A register of the adder tree. of: what it adds, as (level, index); level 0 are the products."""

    exact: Number
    held: Number
    of: tuple[tuple[int, int], ...]
    overflowed: bool


@dataclass(frozen=True)
class Row:
    """One row: exact = before + adds, after = what the register makes of it.

    step: its number; None for a bias and for the whole sum.  lanes: products taken.  tree: the registers of each level of the
    adder tree.  adds: on the accumulator's grid; None for a spill, whose exact is what comes back without any limit.
    unlimited: what the same path holds if no register ever overflows.  note: rounding and other remarks, may be empty.
    """

    kind: Kind
    step: int | None
    before: Number
    adds: Number | None
    exact: Number
    after: Number
    unlimited: Number
    events: At = At()
    lanes: tuple[Lane, ...] = ()
    tree: tuple[tuple[Node, ...], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Ending:
    """From acc to code: round(acc / 2**shift), overflow, activation. steps: each as text.  event: at the output, 0 or 1."""

    code: int
    real: Number
    event: int
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """How one output (n, k, y, x) of a layer comes about.

    acc: as a trace has it: an integer on the accumulator's grid, or a float register's word.  held: the same as in the rows.

    datapath: what the contract says, a line each.  low, high: the accumulator's range; None where it has none (an exact sum).
    unit, product_unit: real value of 1 in the accumulator, and in a product; 1 where values are real already.
    persistent: whether the exact final value does not fit the accumulator; else its events are transient.
    events: as the specification counts them.
    limit: about how many rows are printed; rows and to_json() have all.
    """

    name: str
    at: tuple[int, int, int, int]
    datapath: tuple[str, ...]
    rows: tuple[Row, ...]
    low: Number | None
    high: Number | None
    unit: Fraction
    product_unit: Fraction
    acc: int
    persistent: bool
    events: Events
    ending: Ending
    limit: int | None = 20

    @property
    def held(self) -> Number:
        """What the accumulator ends with, as the rows have it: real where the sum is a float's."""
        return self.rows[-1].after if self.rows else 0

    @property
    def code(self) -> int:
        """The output's code."""
        return self.ending.code

    @property
    def taps(self) -> int:
        """Number of taps that are taken."""
        return sum(lane.tap is not None and not lane.skipped for row in self.rows for lane in row.lanes)

    def table(self, steps: int | None = None) -> list[tuple[str, ...]]:
        """Return the rows as text, below HEADINGS. steps: about how many to show; the first, the last, and those with events."""
        found, last = [], -1
        for i in shown(self.rows, steps):
            if i > last + 1:
                found.append(_gap(self.rows[last + 1 : i]))
            if self.rows[i].kind is Kind.SUM:
                found.extend(_product_rows(self.rows[i].lanes, steps))
            found.append(self._texts(self.rows[i]))
            last = i
        return found

    def _texts(self, row: Row) -> tuple[str, ...]:
        name = str(row.step) if row.kind is Kind.STEP else row.kind.value
        lanes = () if row.kind is Kind.SUM else row.lanes
        adds = "" if row.adds is None else text(row.adds)
        held = (text(row.before), text(row.exact), text(row.after))
        end = (self.event_text(row), text(row.unlimited))
        return (name, _taps(lanes), _products(lanes), _levels(row), row.note, adds, *held, *end)

    def event_text(self, row: Row) -> str:
        """Name the places of a row's events, and whether the accumulator's end is right without limits."""
        places = [f"{n} x {place}" if n > 1 else place for place, n in zip(At._fields, row.events, strict=True) if n]
        return f"{', '.join(places)} ({'persistent' if self.persistent else 'transient'})" if places else ""

    def __str__(self) -> str:
        title = f"{printable(self.name)} (n, k, y, x) = {self.at}"
        return "\n".join([title, *self.datapath, "", *aligned(self.table(self.limit)), "", *self.ending.steps])

    def __repr__(self) -> str:
        return f"<Explanation of {self.name!r} {self.at}: {len(self.rows)} rows, acc {text(self.held)}, code {self.code}>"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def plot(self, file: str | PathLike[str] | None = None, force: bool = False) -> Any:
        """Draw the accumulator over the steps; return the figure, save it if a file is named."""
        from hwsim.execute.picture_explain import draw

        return draw(self, file, force)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data; numbers that JSON has not, as strings."""
        return {
            "layer": self.name,
            "at": list(self.at),
            "datapath": list(self.datapath),
            "low": plain(self.low),
            "high": plain(self.high),
            "unit": plain(self.unit),
            "rows": [_row_json(row) for row in self.rows],
            "acc": plain(self.acc),
            "persistent": self.persistent,
            "events": self.events._asdict(),
            "code": self.code,
            "real": plain(self.ending.real),
            "ending": list(self.ending.steps),
        }


def shown(rows: Sequence[Row], steps: int | None) -> list[int]:
    """Return which rows to show: all, or about `steps`: a third from the beginning, a third from the end, and events.

    >>> row = Row(Kind.STEP, 0, 0, 0, 0, 0, 0)
    >>> shown([row] * 9, 3), shown([row] * 4, None)
    ([0, 8], [0, 1, 2, 3])
    """
    if steps is None or len(rows) <= steps:
        return list(range(len(rows)))
    third = max(steps // 3, 1)
    ends = {*range(third), *range(len(rows) - third, len(rows))}
    eventful = [i for i, row in enumerate(rows) if any(row.events) and i not in ends]
    return sorted(ends | set(eventful[: max(steps - 2 * third, 0)]))


def text(value: Number) -> str:
    """Return a number for a person: an int as it is, a fraction as the decimal that it is if that is short.

    >>> text(-12), text(Fraction(-5, 16)), text(Fraction(1, 3)), text(float("inf")), text(-0.0)
    ('-12', '-0.3125', '0.3333333333', 'inf', '-0')
    """
    return str(value) if isinstance(value, int) else f"{float(value):.10g}"


def plain(value: Number | None) -> int | float | str | None:
    """Return a number as JSON has it: a float if it holds the value, else a string."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, Fraction):
        return float(value) if Fraction(float(value)) == value else str(value)
    return value if value == value and abs(value) != float("inf") else str(value)


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return a table as lines; a column that is empty in every row is left out."""
    used = [i for i in range(len(HEADINGS)) if any(row[i] for row in rows)]
    cells = [[row[i] for i in used] for row in (HEADINGS, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(used))]
    left = {HEADINGS.index(name) for name in ("step", "taps (c, r, s)", "products", "tree", "note", "event")}
    lines = []
    for row in cells:
        pieces = (f"{c:<{w}}" if i in left else f"{c:>{w}}" for i, c, w in zip(used, row, widths, strict=True))
        lines.append("  ".join(pieces).rstrip())
    return lines


def _taps(lanes: tuple[Lane, ...]) -> str:
    """Each lane's tap; of many lanes the first and the last."""
    if len(lanes) > SHOWN_LANES:
        return f"{_taps(lanes[:1])} .. {_taps(lanes[-1:])}"
    return " ".join("idle" if lane.tap is None else "({}, {}, {})".format(*lane.tap) for lane in lanes)


def _products(lanes: tuple[Lane, ...]) -> str:
    """How each product is made; of many lanes the first results alone."""
    if len(lanes) > SHOWN_LANES:
        return _first([lane.product for lane in lanes])
    return ", ".join(lane.how for lane in lanes if lane.how)


def _levels(row: Row) -> str:
    """What the tree's registers hold, level by level; of a tall tree the last levels alone."""
    levels = [f"[{_first([node.held for node in level])}]" for level in row.tree]
    if len(levels) > SHOWN_LEVELS:
        levels = ["..", *levels[-SHOWN_LEVELS:]]
    return " -> ".join(levels)


def _first(values: Sequence[Number]) -> str:
    more = f" .. ({len(values)})" if len(values) > SHOWN_LANES else ""
    return " ".join(text(value) for value in values[:SHOWN_LANES]) + more


def _product_rows(lanes: Sequence[Lane], steps: int | None) -> list[tuple[str, ...]]:
    """The products of a sum without an order, one to a line: the first of them and the last."""
    half = len(lanes) if steps is None or len(lanes) <= steps else max(steps // 2, 1)
    ends = [_cells(**{"taps (c, r, s)": _taps((lane,)), "products": lane.how}) for lane in lanes]
    if half == len(lanes):
        return ends
    return [*ends[:half], _cells(step="...", products=f"{len(lanes) - 2 * half} more"), *ends[-half:]]


def _gap(rows: Sequence[Row]) -> tuple[str, ...]:
    events = sum(sum(row.events) for row in rows)
    return _cells(step="...", products=f"{len(rows)} more", event=f"{events} more" if events else "")


def _cells(**cells: str) -> tuple[str, ...]:
    return tuple(cells.get(heading, "") for heading in HEADINGS)


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "kind": row.kind.name,
        "step": row.step,
        "lanes": [
            {**{name: getattr(lane, name) for name in ("tap", "padded", "skipped", "x", "w")}, "product": plain(lane.product)}
            for lane in row.lanes
        ],
        "tree": [[{"exact": plain(node.exact), "held": plain(node.held)} for node in level] for level in row.tree],
        "adds": plain(row.adds),
        "before": plain(row.before),
        "exact": plain(row.exact),
        "after": plain(row.after),
        "unlimited": plain(row.unlimited),
        "events": row.events._asdict(),
        "note": row.note,
    }
