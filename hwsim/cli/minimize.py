"""hwsim overflow --minimize: its options, and the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from hwsim.cli.frame import FINE, emit
from hwsim.cli.options import DATA_HELP, open_network
from hwsim.progress import progress

COLUMNS = ("proven", "data", "saturating")


def minimize_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--minimize and what goes with it; --save is refused before the work. Stands with --force."""

    def refuse_early(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value is not None:
            from hwsim.network.storage import refuse
            from hwsim.network.write_hwnet import NETWORK_FILE

            refuse(value, ctx.params["force"], NETWORK_FILE)
        return value

    many, column = click.IntRange(min=1), click.Choice(COLUMNS)
    options = (
        click.option("--minimize", is_flag=True, help="Find the narrowest accumulators instead; needs --data and --scoring."),
        click.option("--scoring", metavar="DATA", help=f"With --minimize: images with labels: {DATA_HELP}."),
        click.option("--margin", type=float, help="Let accumulators saturate while top-1 loses at most so many points."),
        click.option("--scoring-limit", type=many, help="Score the first N images only.  [all]"),
        click.option("--label-offset", type=int, help="Added to each label: 1 where class 0 is the background.  [0]"),
        click.option(
            "--save", metavar="NET.hwnet", type=click.Path(), callback=refuse_early, help="Keep the network of --column."
        ),
        click.option("--column", type=column, help="Proven, safe on the data, or saturating within the margin."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def run_minimize(
    network: str, given: Mapping[str, Any], ranges: str | None, backend: str, plot: str | None, force: bool, as_json: bool
) -> int:
    """Run what the options ask for; given: those of minimize_options, and data and limit."""
    for name in ("data", "scoring"):
        if given[name] is None:
            raise click.UsageError(
                f"--minimize needs --{name}: calibrate on images (--data), score on images with labels (--scoring)."
            )
    if (given["save"] is None) != (given["column"] is None):
        raise click.UsageError(f"--save writes the network of one --column, of {', '.join(COLUMNS)}; give both or neither.")
    if given["column"] == "saturating" and given["margin"] is None:
        raise click.UsageError("--column saturating is searched within a --margin; give one, in points of top-1.")
    import hwsim
    from hwsim.proofs.minimize_report import Column
    from hwsim.proofs.ranges import network_certificates

    q = open_network(network)
    with progress("images, so far") as bar:
        found = hwsim.minimize_accumulators(
            q,
            given["data"],
            given["scoring"],
            margin=given["margin"],
            calibration_limit=given["limit"],
            limit=given["scoring_limit"],
            label_offset=given["label_offset"] or 0,
            certificates=network_certificates(q) if ranges == "network" else None,
            backend=backend,
            progress=bar,
        )
    if given["save"] is not None:
        found.network(Column(given["column"])).save(given["save"], force)
    emit(found, as_json)
    if plot is not None:
        found.plot(plot, force)
    return FINE
