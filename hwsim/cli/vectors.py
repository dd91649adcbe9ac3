"""hwsim vectors: golden vectors of every layer for one image."""

from __future__ import annotations

import click

from hwsim.cli.frame import emit, json_option
from hwsim.cli.options import backend_option, input_options, names, network_argument, one_image, open_network, out_option


@click.command(epilog="Example:  hwsim vectors digits.hwnet --input digits --out package --layers conv1,ip1")
@network_argument
@input_options
@out_option("PKG", "manifest.json", "Directory to write.")
@click.option("--layers", metavar="A,B", help="Only these layers.  [all]")
@backend_option
@json_option
def vectors(network: str, image: str, index: int, out: str, layers: str | None, backend: str, force: bool, as_json: bool) -> None:
    """Write a golden package: stimulus, weights, bias, accumulator and expected output of each layer."""
    import hwsim

    q = open_network(network)
    trace = hwsim.run(q, one_image(q, image, index), backend=backend)
    command = ("hwsim", "vectors", network, "--input", image, "--index", str(index), "--layers", layers or "")
    package = hwsim.write_golden(trace, out, layers=names(layers), force=force, command=command[: 9 if layers else 7])
    emit(package, as_json)
