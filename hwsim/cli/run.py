"""hwsim run: one image through a network in integers, layer by layer."""

from __future__ import annotations

import click

from hwsim.cli.frame import emit, json_option
from hwsim.cli.options import backend_option, input_options, network_argument, one_image, open_network, plot_option


@click.command(epilog="Example:  hwsim run digits.hwnet --input digits --index 3")
@network_argument
@input_options
@backend_option
@plot_option("Draw the answer, and every layer's codes and overflow events.")
@json_option
def run(network: str, image: str, index: int, backend: str, plot: str | None, force: bool, as_json: bool) -> None:
    """Show what every layer computes for one image: shape, format, range of codes, overflow events, and who computed."""
    import hwsim

    q = open_network(network)
    trace = hwsim.run(q, one_image(q, image, index), backend=backend)
    emit(trace, as_json)
    if plot is not None:
        trace.plot(plot, force)
