"""hwsim score: accuracy of a network in integers over a data set."""

from __future__ import annotations

import click

from hwsim.cli.frame import emit, json_option
from hwsim.cli.options import DATA_HELP, backend_option, network_argument, open_network, plot_option, progress


@click.command(epilog="Example:  hwsim score digits.hwnet --data digits --float --limit 500")
@network_argument
@click.option("--data", metavar="DATA", required=True, help=f"Images with labels: {DATA_HELP}.")
@click.option("--float", "with_float", is_flag=True, help="Score the float network beside it, and compare.")
@click.option("--label-offset", type=int, default=0, help="Added to each label: 1 where class 0 is the background.  [0]")
@click.option("--limit", type=click.IntRange(min=1), help="Score only the first N images.  [all]")
@backend_option
@plot_option("Draw the accuracy, beside float's with --float, and every layer's overflow events.")
@json_option
def score(
    network: str,
    data: str,
    with_float: bool,
    label_offset: int,
    limit: int | None,
    backend: str,
    plot: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Top-1 and top-5 over a data set; with --float also agreement, gained and lost images."""
    import hwsim

    q = open_network(network)
    with progress("scoring") as bar:
        result = hwsim.score(q, data, backend=backend, float=with_float, limit=limit, label_offset=label_offset, progress=bar)
    emit(result, as_json)
    if plot is not None:
        result.plot(plot, force)
