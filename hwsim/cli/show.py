"""hwsim show: the contract of a network in integers or of a golden package."""

from __future__ import annotations

import click

from hwsim.cli.frame import emit, json_option


@click.command(epilog="Example:  hwsim show digits.hwnet --layer conv1")
@click.argument("path", metavar="NET.hwnet|PKG", type=click.Path())
@click.option("--layer", metavar="NAME", help="Everything that can change a bit of this layer.")
@json_option
def show(path: str, layer: str | None, as_json: bool) -> None:
    """Print layers, formats, accumulators, rounding and overflow of a network or of a golden package."""
    import hwsim

    emit(hwsim.describe(path, layer=layer), as_json)
