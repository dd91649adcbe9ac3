"""The report of `hwsim conform`: passed / total per suite and operator, what did not pass and why, and the badge."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hwsim
from hwsim.conform.badge import badge
from hwsim.conform.suite import Case, Outcome, Suite, run_case
from hwsim.errors import InputError

if TYPE_CHECKING:
    from rich.console import Group

Progress = Callable[[int, int], None]
SHOWN = 20
"""Tests that should pass, do not, and are told one by one in the printed report; --json has them all."""


@dataclass(frozen=True)
class Row:
    """One operator of a suite.

    known: of the tests that did not pass, those with a declared reason.  values: elements compared in those that passed, on
    each backend.  on: how many passed on each backend; one without a kernel, or spec where a test is large, stands aside.
    """

    operator: str
    passed: int
    total: int
    known: int
    values: int
    on: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return {
            "operator": self.operator,
            "passed": self.passed,
            "total": self.total,
            "known_misses": self.known,
            "values": self.values,
            "passed_on": self.on,
        }


@dataclass(frozen=True)
class SuiteReport:
    """How the cases of one suite came out; absent: why it could not run at all."""

    name: str
    title: str
    oracle: str
    outcomes: tuple[Outcome, ...]
    left_out: tuple[tuple[str, int, str], ...] = ()
    absent: str = ""

    @property
    def passed(self) -> int:
        """Tests passed."""
        return sum(outcome.passed for outcome in self.outcomes)

    @property
    def rows(self) -> tuple[Row, ...]:
        """One row per operator, in the order of the cases, and one for all of them."""
        groups: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            groups.setdefault(outcome.case.operator, []).append(outcome)
        return (*(_row(operator, group) for operator, group in groups.items()), _row("all", self.outcomes))

    @property
    def misses(self) -> tuple[Outcome, ...]:
        """Outcomes that are no pass."""
        return tuple(outcome for outcome in self.outcomes if not outcome.passed)

    def to_json(self) -> dict[str, Any]:
        """Return the suite as plain data."""
        return {
            "suite": self.name,
            "title": self.title,
            "oracle": self.oracle,
            "passed": self.passed,
            "total": len(self.outcomes),
            "operators": [row.to_json() for row in self.rows[:-1]],
            "misses": [_miss(outcome) for outcome in self.misses],
            "left_out": [{"operator": op, "tests": count, "why": why} for op, count, why in self.left_out],
            "absent": self.absent or None,
        }


def _row(operator: str, group: Sequence[Outcome]) -> Row:
    passed = [outcome for outcome in group if outcome.passed]
    known = sum(not outcome.passed and not outcome.alarming for outcome in group)
    values = sum(outcome.values for outcome in passed)
    on = Counter(backend for outcome in passed for backend in outcome.backends)
    return Row(operator, len(passed), len(group), known, values, dict(on))


def _miss(outcome: Outcome) -> dict[str, Any]:
    case = outcome.case
    return {
        "operator": case.operator,
        "test": case.name,
        "result": outcome.result.value,
        "why": outcome.why,
        "known": case.miss,
    }


@dataclass(frozen=True)
class Report:
    """`report.passed` is whether every test passed that should; prints as a table; `report.badge()` is its picture."""

    suites: tuple[SuiteReport, ...]
    backends: tuple[str, ...]

    @property
    def alarming(self) -> tuple[Outcome, ...]:
        """Tests that should pass and did not."""
        return tuple(outcome for suite in self.suites for outcome in suite.misses if outcome.alarming)

    @property
    def passed(self) -> bool:
        """Whether every test passed that has no declared reason not to."""
        return not self.alarming

    @property
    def counts(self) -> tuple[int, int]:
        """(passed, total) over all suites."""
        return sum(suite.passed for suite in self.suites), sum(len(suite.outcomes) for suite in self.suites)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        passed, total = self.counts
        return {
            "hwsim": hwsim.__version__,
            "backends": list(self.backends),
            "passed": passed,
            "total": total,
            "as_it_should": self.passed,
            "suites": [suite.to_json() for suite in self.suites],
        }

    def badge(self) -> str:
        """Return an SVG that says how many public tests passed."""
        passed, total = self.counts
        return badge("public tests", f"{passed:,} of {total:,}", self.passed and total > 0)

    def save_badge(self, file: str | os.PathLike[str]) -> None:
        """Write the badge; what stood there is replaced, whole or not at all."""
        path = Path(file)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_text(self.badge(), encoding="utf-8", newline="\n")
            os.replace(partial, path)
        except OSError as error:
            raise InputError(f"{path}: the badge cannot be written ({error.strerror}); choose another name.") from None
        finally:
            partial.unlink(missing_ok=True)

    def __str__(self) -> str:
        lines = [f"{s.name} ({s.oracle}): {s.passed} of {len(s.outcomes)}" if not s.absent else s.absent for s in self.suites]
        return "\n".join(lines)

    def __rich__(self) -> Group:
        from rich.console import Group

        return Group(*(part for suite in self.suites for part in _parts(suite, self.backends)), _last_line(self))


def _parts(suite: SuiteReport, backends: Sequence[str]) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    if suite.absent:
        return [Text(f"{suite.name}: not run. {suite.absent}"), ""]
    if not suite.outcomes:
        return []
    title = f"{suite.name}: {suite.title}; oracle: {suite.oracle}"
    table = Table(box=None, pad_edge=False)
    table.add_column("operator")
    for heading in ("passed", "total", "values", *(f"on {backend}" for backend in backends)):
        table.add_column(heading, justify="right")
    for row in suite.rows:
        counts = (row.passed, row.total, row.values, *(row.on.get(backend, 0) for backend in backends))
        table.add_row(row.operator, *(f"{count:,}" for count in counts))
    return [Text(title), table, *(Text(line) for line in _remarks(suite)), ""]


def _remarks(suite: SuiteReport) -> list[str]:
    alarming = [outcome for outcome in suite.misses if outcome.alarming]
    lines = [f"  {outcome.result.value.upper()} {outcome.case.name}: {outcome.why}" for outcome in alarming[:SHOWN]]
    if len(alarming) > SHOWN:
        lines.append(f"  and {len(alarming) - SHOWN} more (--json has them all)")
    known = Counter((outcome.case.operator, outcome.case.miss) for outcome in suite.misses if not outcome.alarming)
    lines += [f"  known: {operator}, {count} tests: {why}" for (operator, why), count in known.items()]
    return lines + [f"  left out: {operator}, {count} tests: {why}" for operator, count, why in suite.left_out]


def _last_line(report: Report) -> str:
    passed, total = report.counts
    wrong = len(report.alarming)
    verdict = "all that should" if not wrong else f"{wrong} that should pass did not"
    at_work = {backend for suite in report.suites for outcome in suite.outcomes for backend in outcome.backends}
    ran = ", ".join(backend for backend in report.backends if backend in at_work) or "nobody"
    return f"{passed:,} of {total:,} public tests passed, {verdict}; computed by {ran}"


def run_suite(suite: Suite, backends: Sequence[str], progress: Progress | None = None) -> SuiteReport:
    """Run every case of a suite."""
    outcomes = []
    for done, case in enumerate(suite.cases):
        outcomes.append(run_case(case, backends))
        if progress is not None:
            progress(done + 1, len(suite.cases))
    return SuiteReport(suite.name, suite.title, suite.oracle, tuple(outcomes), suite.left_out)


def sample(cases: Sequence[Case], limit: int | None) -> list[Case]:
    """At most `limit` cases of each operator, evenly spread; None: all.

    >>> def case(name): return Case("add", name, None, None)
    >>> [c.name for c in sample([case("a"), case("b"), case("c"), case("d")], 2)]
    ['a', 'c']
    """
    if limit is None:
        return list(cases)
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.operator, []).append(case)
    return [group[i * len(group) // min(limit, len(group))] for group in groups.values() for i in range(min(limit, len(group)))]
