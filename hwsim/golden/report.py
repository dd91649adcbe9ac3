"""The report of a check: what was compared with what, the first mismatch, and how far off the codes are."""

from __future__ import annotations

import html
import os
import shlex
from dataclasses import dataclass, field
from typing import Any

from hwsim.golden.compare import Comparison, Mismatch
from hwsim.golden.package import html_table, text_table
from hwsim.layers import Convolution, Deconvolution, Events, FullyConnected


@dataclass(frozen=True, eq=False)
class LayerCheck:
    """What was found about one layer.

    outputs: codes of one output array.  backends: who computed all of them again.  spec: how many of them the specification
    computed.  failures: comparisons that found a difference.  problems: what is wrong and has no coordinate.
    """

    name: str
    kind: str
    host: bool
    outputs: int
    backends: tuple[str, ...]
    spec: int
    events: Events
    failures: tuple[Comparison, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True if nothing differs."""
        return not self.failures and not self.problems

    @property
    def first(self) -> Mismatch | None:
        """The first mismatch, or None."""
        return self.failures[0].first if self.failures else None

    @property
    def mismatches(self) -> int:
        """Codes that differ, in the comparison that found the most."""
        return max((f.count for f in self.failures), default=0)

    def row(self) -> tuple[str, ...]:
        """One line of the report's table."""
        spec = "all" if self.spec == self.outputs else str(self.spec)
        state = "equal" if self.passed else f"{self.mismatches} differ" if self.failures else "differs"
        kind = self.kind + (" (on the host)" if self.host else "")
        return (self.name, kind, str(self.outputs), ", ".join(self.backends), spec, str(sum(self.events)), state)

    def to_json(self) -> dict[str, Any]:
        """Return the line as plain data."""
        first = self.first
        return {
            "name": self.name,
            "kind": self.kind,
            "host": self.host,
            "outputs": self.outputs,
            "backends": list(self.backends),
            "spec_outputs": self.spec,
            "events": self.events._asdict(),
            "passed": self.passed,
            "mismatches": self.mismatches,
            "first_mismatch": None if first is None else first.to_json(),
            "problems": list(self.problems),
        }


SUMS = (Convolution.kind, Deconvolution.kind, FullyConnected.kind)
HEADINGS = ("layer", "kind", "outputs", "computed again by", "spec", "events", "result")


@dataclass(frozen=True, eq=False)
class CheckReport:
    """`report.passed`, `report.first_mismatch`, `report.layers`; prints as a table.

    dump: name of the device's file that was compared, or None where the package itself was checked.
    diagnosis: sentences that explain every mismatch exactly; empty where none does.
    """

    package: str
    layers: tuple[LayerCheck, ...]
    dump: str | None = None
    diagnosis: tuple[str, ...] = ()
    backends: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """True if nothing differs."""
        return all(layer.passed for layer in self.layers)

    @property
    def first_mismatch(self) -> Mismatch | None:
        """The first mismatch: of the first layer that has one, in row-major order (n, c, y, x)."""
        return next((layer.first for layer in self.layers if layer.failures), None)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong and has no coordinate: event counts, for instance."""
        return tuple(problem for layer in self.layers for problem in layer.problems)

    @property
    def failure(self) -> Comparison | None:
        """The comparison that holds the first mismatch; for a dump, the comparison even if nothing differs."""
        return next((layer.failures[0] for layer in self.layers if layer.failures), None)

    @property
    def spec_outputs(self) -> int:
        """How many outputs the specification computed."""
        return sum(layer.spec for layer in self.layers)

    def histogram(self) -> dict[str, int]:
        """Return how many codes lie how many ulps off, in the array of the first mismatch; empty where nothing differs."""
        return {} if self.failure is None else self.failure.histogram()

    def plot(self, file: str | os.PathLike[str] | None = None, force: bool = False) -> Any:
        """Draw the map of errors and the ulp histogram; return the matplotlib figure, and save it if a file is named."""
        from hwsim.golden.picture import draw

        return draw(self, file, force)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        first = self.first_mismatch
        return {
            "package": self.package,
            "dump": self.dump,
            "passed": self.passed,
            "backends": list(self.backends),
            "spec_outputs": self.spec_outputs,
            "first_mismatch": None if first is None else first.to_json(),
            "problems": list(self.problems),
            "ulp_histogram": self.histogram(),
            "diagnosis": list(self.diagnosis),
            "layers": [layer.to_json() for layer in self.layers],
        }

    def _lines(self) -> list[str]:
        lines = []
        if self.first_mismatch is not None:
            lines.append(f"first mismatch: {self.first_mismatch}")
            lines.append("ulp histogram (found - expected): " + ", ".join(f"{k}: {v}" for k, v in self.histogram().items()))
        lines += self.problems
        lines += [f"diagnosis: {sentence}" for sentence in self.diagnosis]
        return lines + self._advice()

    def _advice(self) -> list[str]:
        """The command that tells how the output of the first mismatch comes about, where it is a sum."""
        wrong = next((layer for layer in self.layers if layer.failures), None)
        if wrong is None or wrong.first is None or wrong.kind not in SUMS or wrong.first.role not in ("expected", "accumulator"):
            return []
        at = ",".join(str(i) for i in wrong.first.coordinate)
        command = shlex.join(["hwsim", "explain", self.package, "--layer", wrong.name, "--at", at])
        return [f"how that output comes about, step by step: {command}"]

    def verdict(self) -> str:
        """Return one sentence: what was compared, and whether it is equal."""
        layers = "1 layer" if len(self.layers) == 1 else f"{len(self.layers)} layers"
        count = f"{sum(layer.outputs for layer in self.layers):,} outputs of {layers}"
        if self.dump is not None:
            wrong = sum(layer.mismatches for layer in self.layers)
            return f"{self.dump} against {self.package}: {count}, " + ("all equal" if self.passed else f"{wrong:,} differ")
        by = " and ".join((*self.backends, f"spec on {self.spec_outputs:,}"))
        return f"{self.package}: {'passed' if self.passed else 'FAILED'}; {count} computed again by {by}"

    def __str__(self) -> str:
        table = text_table([HEADINGS, *(layer.row() for layer in self.layers)])
        return "\n".join([table, *self._lines(), self.verdict()])

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in self._lines())
        table = html_table([HEADINGS, *(layer.row() for layer in self.layers)])
        return f"<p><b>{html.escape(self.verdict())}</b></p>{lines}{table}"

    def __repr__(self) -> str:
        return f"<CheckReport {self.verdict()!r}>"
