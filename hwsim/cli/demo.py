"""hwsim demo: the main job on a small network that comes with hwsim."""

from __future__ import annotations

import click

from hwsim.cli.frame import FINE, MISMATCH, emit, json_option
from hwsim.cli.options import out_option, steps


@click.command(epilog="Example:  hwsim demo --out demo-package")
@out_option("PKG", "manifest.json", "Keep the golden package here.  [thrown away]", required=False)
@json_option
def demo(out: str | None, force: bool, as_json: bool) -> int:
    """Quantize a network for handwritten digits, score it, write golden vectors, check them with every backend."""
    from hwsim.demo.story import demo as tell

    with steps() as say:
        report = tell(out, force=force, say=say)
    emit(report, as_json)
    return FINE if report.passed else MISMATCH
