"""Which suites there are, and running them: each module has `open_suite(operators, progress) -> Suite`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module

from hwsim.backends.registry import native_available
from hwsim.conform.report import Progress, Report, SuiteReport, run_suite, sample
from hwsim.conform.suite import Suite
from hwsim.errors import InputError

# name of a suite -> its module, loaded when it runs: open_suite(operators, progress) -> Suite. operators: names to run, or
# None for all (a name that the suite lacks gives no case). It raises InputError, in a sentence, where the oracle is missing.
SUITES = {
    "tosa": "hwsim.conform.tosa_suite",
    "litert": "hwsim.conform.litert_ops",
    "onnxruntime": "hwsim.conform.onnxruntime_ops",
    "onnx": "hwsim.conform.onnx_nodes",
}


def conform(
    suites: Sequence[str] | None = None,
    operators: Sequence[str] | None = None,
    limit: int | None = None,
    backends: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run public suites on hwsim and count what passes.

    suites: names out of SUITES; None: all, and those whose oracle is missing are reported as absent.  operators: only these.
    limit: at most so many tests of each operator, evenly spread.  backends: None: spec (small tests), jit, and native where
    the C core is.  progress: called with (done, total) of the suite at work.
    Errors: InputError for a suite that is unknown, or named and missing; for an operator that none has.
    """
    names = tuple(SUITES) if suites is None else tuple(suites)
    for name in names:
        if name not in SUITES:
            raise InputError(f"suite: found {name!r}, allowed {', '.join(SUITES)}.")
    chosen = tuple(backends or (("spec", "jit", "native") if native_available() else ("spec", "jit")))
    reports = []
    for name in names:
        try:
            suite = _open(name, operators, progress)
        except InputError as error:
            if suites is not None:
                raise
            reports.append(SuiteReport(name, "", "", (), absent=str(error)))
            continue
        reports.append(run_suite(replace(suite, cases=sample(suite.cases, limit)), chosen, progress))
    _check_operators(operators, reports)
    return Report(tuple(reports), chosen)


def _check_operators(operators: Sequence[str] | None, reports: Sequence[SuiteReport]) -> None:
    """Refuse an operator that no suite has: a report of nothing would pass."""
    ran = {outcome.case.operator for report in reports for outcome in report.outcomes}
    for name in operators or ():
        if name not in ran:
            raise InputError(f"operator: found {name!r}, which no suite here has; the rows of a report without it name them all.")


def _open(name: str, operators: Sequence[str] | None, progress: Progress | None) -> Suite:
    suite: Suite = import_module(SUITES[name]).open_suite(operators, progress)
    return suite
