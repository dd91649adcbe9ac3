"""The study's table: how many examples each planted fault takes, steered and uniform; as text, as JSON, as a picture."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hwsim.testing.example.faults import Fault

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Group

HEADINGS = ("fault", "what is wrong", "examples", "seconds", "operands", "uniform", "seconds")


@dataclass(frozen=True)
class Search:
    """One search for a fault.  examples: how many it took, the one that shows the fault included; None where the budget ended.

    seconds: of processors, for the search and for the reduction behind it, if there was one.  operands: what that left,
    products of two codes that are not zero, of all outputs; None where nothing was reduced.
    """

    examples: int | None
    seconds: float
    operands: int | None = None


@dataclass(frozen=True)
class Passed:
    """One run of the correct unit: examples and outputs that were compared, and found equal; seconds of processors."""

    examples: int
    outputs: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """One fault: a search for each seed, by hwsim's strategies and by uniform codes."""

    fault: Fault
    steered: tuple[Search, ...]
    uniform: tuple[Search, ...]

    @property
    def operands(self) -> int | None:
        """The most that any seed's reduction left; None where no seed's search found the fault."""
        return max((search.operands for search in self.steered if search.operands is not None), default=None)

    def cells(self, budget: int) -> tuple[str, ...]:
        """What stands under HEADINGS."""
        return (
            self.fault.name,
            self.fault.says,
            _examples(self.steered, budget),
            f"{median_seconds(self.steered):.2f}",
            "-" if self.operands is None else str(self.operands),
            _examples(self.uniform, budget),
            f"{median_seconds(self.uniform):.2f}",
        )


@dataclass(frozen=True)
class Study:
    """What a study found.  budget: examples of one search.  seeds: of the searches.  passes: of the correct unit, a seed each."""

    budget: int
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    passes: tuple[Passed, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the study as plain data."""
        faults = [
            {
                "name": row.fault.name,
                "says": row.fault.says,
                "steered": [asdict(search) for search in row.steered],
                "uniform": [asdict(search) for search in row.uniform],
            }
            for row in self.rows
        ]
        correct = [asdict(one) for one in self.passes]
        return {"budget": self.budget, "seeds": list(self.seeds), "faults": faults, "correct": correct}

    def markdown(self) -> str:
        """Return the table as a page of documentation has it."""
        rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(row.cells(self.budget) for row in self.rows)]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + f"\n\n{self.summary()}\n"

    def summary(self) -> str:
        """Say what the table shows, in two sentences."""
        steered, uniform = (sum(median(searches) is not None for searches in kind) for kind in self._kinds())
        examples, outputs = (sum(getattr(one, name) for one in self.passes) for name in ("examples", "outputs"))
        return (
            f"Of {len(self.rows)} faults {steered} were found within {self.budget:,} examples, by uniform codes {uniform}; "
            f"medians over {len(self.seeds)} seeds. The correct unit passed {examples:,} examples, {outputs:,} outputs, in "
            f"{sum(one.seconds for one in self.passes):.1f} s of processors."
        )

    def _kinds(self) -> tuple[list[tuple[Search, ...]], list[tuple[Search, ...]]]:
        return [row.steered for row in self.rows], [row.uniform for row in self.rows]

    def __str__(self) -> str:
        return self.markdown()

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for place, heading in enumerate(HEADINGS):
            table.add_column(heading, justify="left" if place < 2 else "right", no_wrap=place != 1)
        for row in self.rows:
            table.add_row(*map(Text, row.cells(self.budget)))
        return Group(table, Text(""), Text(self.summary()))

    def plot(self, file: str | os.PathLike[str] | None = None, force: bool = False) -> Any:
        """Draw how many examples each fault took, every seed a mark; return the figure, save it if a file is named."""
        from hwsim.picture import BLUE, ORANGE, canvas, layer_axis, legend_below, plain_number

        with canvas(9, 1.4 + 0.23 * len(self.rows), file, force) as figure:
            axes = figure.subplots()
            layer_axis(axes, [row.fault.name for row in self.rows])
            axes.set_xscale("log")
            axes.set_xlim(0.8, self.budget * 2.6)
            axes.axvline(self.budget, color="#999999", linewidth=0.8)
            axes.text(self.budget * 1.1, -0.8, "not found", fontsize=8, va="bottom")
            for colour, kind, below in ((BLUE, self._kinds()[0], -0.15), (ORANGE, self._kinds()[1], 0.15)):
                _marks(axes, kind, colour, below, self.budget)
            axes.xaxis.set_major_formatter(plain_number)
            axes.set_xlabel("examples until the fault was found")
            seeds = "1 seed" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds"
            axes.set_title(f"Planted faults, {seeds} of {self.budget:,} examples each", pad=16)
            legend_below(figure, _legend((BLUE, "hwsim.testing"), (ORANGE, "uniform codes")), 2)
        return figure


def median(searches: tuple[Search, ...]) -> int | None:
    """Return the median of the examples, the upper one of two; None where it lies beyond the budget.

    >>> median((Search(3, 0.1), Search(None, 2.0), Search(40, 0.5)))
    40
    """
    ordered = sorted(searches, key=lambda search: (search.examples is None, search.examples))
    return ordered[len(ordered) // 2].examples if ordered else None


def median_seconds(searches: tuple[Search, ...]) -> float:
    """Return the median of the searches' seconds, the upper one of two."""
    ordered = sorted(search.seconds for search in searches)
    return ordered[len(ordered) // 2] if ordered else 0.0


def _examples(searches: tuple[Search, ...], budget: int) -> str:
    found, middle = sum(search.examples is not None for search in searches), median(searches)
    if not found:
        return f"none in {budget:,}"
    told = f"beyond {budget:,}" if middle is None else f"{middle:,}"
    return told if found == len(searches) else f"{told} ({found} of {len(searches)} seeds found it)"


def _marks(axes: Axes, kind: list[tuple[Search, ...]], colour: str, below: float, budget: int) -> None:
    """A dot for each seed that found the fault, a hollow one beyond the budget for each that did not."""
    for row, searches in enumerate(kind):
        for search in searches:
            x = budget * 1.6 if search.examples is None else search.examples
            face = "none" if search.examples is None else colour
            axes.plot(x, row + below, "o", color=colour, markerfacecolor=face, markersize=4, alpha=0.8)


def _legend(*entries: tuple[str, str]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], marker="o", linestyle="", color=colour, label=label) for colour, label in entries]
