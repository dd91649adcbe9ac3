"""hwsim show: the contract of a network in integers or of a golden package."""

from __future__ import annotations

from pathlib import Path

import click

from hwsim.cli.frame import emit, json_option
from hwsim.cli.options import open_network, plot_option


@click.command(epilog="Example:  hwsim show digits.hwnet --layer conv1")
@click.argument("path", metavar="NET.hwnet|NET.tflite|NET.onnx|PKG", type=click.Path())
@click.option("--layer", metavar="NAME", help="Everything that can change a bit of this layer.")
@plot_option("Draw what was seen against what each format covers, and the accumulators. Of a whole network.")
@json_option
def show(path: str, layer: str | None, plot: str | None, force: bool, as_json: bool) -> None:
    """Print layers, formats, accumulators, rounding and overflow of a network or of a golden package."""
    import hwsim

    package = Path(path, "manifest.json").is_file()
    if plot is not None and (package or layer is not None):
        raise click.UsageError("--plot draws a whole network: give a NET.hwnet, and leave --layer away.")
    opened = hwsim.read_golden(path) if package else open_network(path)
    if layer is None:
        emit(opened, as_json)
    else:
        # A layer's contract is data: its JSON is what a person reads, too.
        emit(opened[layer], as_json=True)
    if plot is not None:
        opened.plot(plot, force)
