"""hwsim score: accuracy of a network in integers over a data set."""

from __future__ import annotations

from typing import Any

import click

from hwsim.cli.frame import emit, json_option
from hwsim.cli.options import (
    DATA_HELP,
    FIRST_SCHEMES,
    backend_option,
    network_argument,
    open_network,
    pixel_options,
    plot_option,
)
from hwsim.errors import InputError
from hwsim.progress import progress


@click.command(epilog="Example:  hwsim score digits.hwnet --data digits --float --limit 500")
@network_argument
@click.option("--data", metavar="DATA", required=True, help=f"Images with labels: {DATA_HELP}.")
@click.option("--float", "with_float", is_flag=True, help="Score the float network beside it, and compare.")
@click.option("--label-offset", type=int, default=0, help="Added to each label: 1 where class 0 is the background.  [0]")
@click.option("--limit", type=click.IntRange(min=1), help="Score only the first N images.  [all]")
@click.option("--first-scheme", type=click.Choice(FIRST_SCHEMES), help="NET is a float model, run in TensorFlow's first scheme.")
@click.option("--weights", metavar="WEIGHTS.caffemodel", type=click.Path(), help="Of a float model, where they are not in it.")
@pixel_options
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
    first_scheme: str | None,
    weights: str | None,
    **pixels: Any,
) -> None:
    """Top-1 and top-5 over a data set; with --float also agreement, gained and lost images."""
    import hwsim

    with progress("scoring") as bar:
        if first_scheme is not None:
            net = _float_model(network, weights, pixels)
            result: Any = hwsim.score_first(net, data, hwsim.FirstScheme(first_scheme), limit, bar, label_offset)
        else:
            if given := [name for name, value in ({"weights": weights} | pixels).items() if value is not None]:
                raise InputError(f"--{given[0]}: found beside a network in integers, which has its own; remove it.")
            q = open_network(network)
            result = hwsim.score(q, data, backend=backend, float=with_float, limit=limit, label_offset=label_offset, progress=bar)
    emit(result, as_json)
    if plot is not None:
        result.plot(plot, force)


def _float_model(model: str, weights: str | None, pixels: dict[str, Any]) -> Any:
    """The float network of a model's files."""
    import hwsim
    from hwsim.network.graph import Network

    order = None if pixels["channels"] is None else hwsim.ChannelOrder[pixels["channels"]]
    net = hwsim.read(model, weights, mean=pixels["mean"], scale=pixels["scale"], channel_order=order, shape=pixels["shape"])
    if not isinstance(net, Network):
        raise InputError(f"{model}: its network is in integers; --first-scheme takes a float model.")
    return net
