"""hwsim demo: the main job on a small network, from a float caffemodel to a golden package that three backends agree on."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hwsim
from hwsim.execute.score import Score
from hwsim.execute.trace import Trace
from hwsim.golden.check import CheckReport
from hwsim.network.quantized import QuantizedNetwork

if TYPE_CHECKING:
    from rich.console import Group

FOLDER = Path(__file__).parent
MODEL, WEIGHTS = FOLDER / "digits.prototxt", FOLDER / "digits.caffemodel"
TRAINING = 1347
"""The network learned from the first 1,347 digits; they calibrate, and the 450 behind them score."""

SHADES = " ░▒▓█"

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class DemoReport:
    """What the demo found. package: where it stands, None if it was thrown away."""

    network: QuantizedNetwork
    score: Score
    trace: Trace
    label: int
    check: CheckReport
    package: Path | None
    seconds: float

    @property
    def passed(self) -> bool:
        """True if every backend computed every bit of the package again."""
        return self.check.passed

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "score": self.score.to_json(),
            "image": {"label": self.label, "answer": int(self.trace.top(1)[0, 0])},
            "check": self.check.to_json(),
            "package": None if self.package is None else str(self.package),
            "seconds": self.seconds,
        }

    def __rich__(self) -> Group:
        from rich.console import Group

        return Group(*_story(self))


def demo(folder: str | PathLike[str] | None = None, force: bool = False, say: Say = lambda step: None) -> DemoReport:
    """Read, quantize, score, trace one digit, write its golden package, and check it with every backend.

    folder: where the package is kept (refused if it exists, unless force); None: in a temporary folder, thrown away.
    say: called with the name of each step.
    """
    start = time.perf_counter()
    say("reading the float network")
    net = hwsim.read(MODEL, WEIGHTS)
    digits = hwsim.images("digits", net.preprocessing)
    say("choosing number formats")
    q = hwsim.quantize(net, digits[:TRAINING], bits=8, dialect=hwsim.dialects.EXACT32)
    say("scoring in integers and in float")
    unseen = digits[TRAINING:]
    score = hwsim.score(q, unseen, float=True)
    say("tracing one digit")
    trace = hwsim.run(q, unseen[0])
    with tempfile.TemporaryDirectory() as temporary:
        say("writing its golden package")
        package = hwsim.write_golden(trace, Path(temporary, "package") if folder is None else folder, force=force)
        say("computing the package again with every backend")
        check = hwsim.check(package)
    kept = None if folder is None else Path(folder)
    return DemoReport(q, score, trace, int(unseen[0].label or 0), check, kept, time.perf_counter() - start)


def picture(pixels: Any, top: int) -> str:
    """One line of shades per row of an image [H][W], 0 light and `top` dark.

    >>> import numpy as np
    >>> print(picture(np.array([[0, 16], [8, 4]]), 16))
      ██
    ▒▒░░
    """
    rows = [[SHADES[int(value) * (len(SHADES) - 1) // top] * 2 for value in row] for row in pixels]
    return "\n".join("".join(row) for row in rows)


def _story(report: DemoReport) -> list[Any]:
    from rich.columns import Columns
    from rich.panel import Panel

    digit = Panel.fit(picture(report.trace.pixels[0, 0], 16), title=f"a {report.label}", subtitle=_answer(report.trace))
    kept = "" if report.package is None else f"Package: {report.package}\n"
    last = f"{kept}{report.seconds:.1f} s in all. Next: hwsim quantize --help, hwsim vectors --help, hwsim info."
    return [
        f"Handwritten digits of 8x8 pixels, 8-bit dynamic fixed point, dialect {report.network.dialect}",
        Columns([digit, _scores(report.score)], padding=(0, 4)),
        "",
        _layers(report.trace, report.check),
        "",
        report.check.verdict(),
        *report.check.problems,
        *([] if report.check.first_mismatch is None else [f"first mismatch: {report.check.first_mismatch}"]),
        last,
    ]


def _answer(trace: Trace) -> str:
    first = int(trace.top(1)[0, 0])
    return f"{first}, {float(trace.probabilities[0, first]):.0%}"


def _scores(score: Score) -> Any:
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for label, value in score.rows():
        table.add_row(label, value)
    return table


def _layers(trace: Trace, check: CheckReport) -> Any:
    """One line per layer: what it computed, and whether everybody else computes the same."""
    from rich.table import Table

    columns = ("layer", "kind", "CxHxW", "codes", "accumulator", "events", "backends")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="bold")
    for layer, checked in zip(trace, check.layers, strict=True):
        _, kind, shape, code_format, acc, *_ = layer.row()
        result = "[green]agree[/]" if checked.passed else "[red]differ[/]"
        table.add_row(layer.name, kind, shape, code_format, acc, str(sum(layer.events)), result)
    return table
