"""hwsim conform: public suites of other people's tests, run on hwsim."""

from __future__ import annotations

import click

from hwsim.cli.frame import FINE, MISMATCH, emit, json_option
from hwsim.cli.options import BACKENDS
from hwsim.errors import InputError
from hwsim.progress import progress

SUITES = ("tosa", "litert", "onnxruntime", "onnx")


@click.command(epilog="Example:  hwsim conform onnx --operator QLinearConv")
@click.argument("suites", metavar="[SUITE]...", nargs=-1, type=click.Choice(SUITES))
@click.option("--operator", "operators", metavar="NAME", multiple=True, help="Only this one, as the suite calls it; repeatable.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many tests of each operator.  [all]")
@click.option("--backend", type=click.Choice(BACKENDS), default="auto", help="One alone.  [auto: all, spec on small tests]")
@click.option("--badge", metavar="SVG", type=click.Path(dir_okay=False), help="Write a badge; it is replaced if it exists.")
@json_option
def conform(
    suites: tuple[str, ...],
    operators: tuple[str, ...],
    limit: int | None,
    backend: str,
    badge: str | None,
    as_json: bool,
) -> int:
    """Passed / total per suite and operator, with the oracle's version: tosa litert onnxruntime onnx, or all that are here.

    Exit code 1 where a test that should pass does not.
    """
    from hwsim.conform.badge import refuse
    from hwsim.conform.suites import conform as run

    if badge is not None:
        refuse(badge)
        if operators or limit is not None or backend != "auto":
            raise InputError("--badge: it counts a whole run; leave --operator, --limit and --backend out, or the badge.")
    with progress("conform") as bar:
        report = run(suites or None, operators or None, limit, None if backend == "auto" else (backend,), bar)
    emit(report, as_json)
    if badge is not None:
        report.save_badge(badge)
    return FINE if report.passed else MISMATCH
