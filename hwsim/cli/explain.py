"""hwsim explain: one output of one layer, step by step."""

from __future__ import annotations

from pathlib import Path

import click

from hwsim.cli.frame import emit, json_option
from hwsim.cli.options import DATA_HELP, Numbers, backend_option, one_image, open_network, plot_option

PLACE_HELP = "The output, as a trap or a mismatch names it; N is 0 for one image.  [the first overflow]"
STEPS_HELP = "About how many rows the table shows: the first, the last, and overflows; --json has all.  [20]"


@click.command(epilog="Example:  hwsim explain digits.hwnet --input digits --layer conv1 --at 0,3,2,2")
@click.argument("path", metavar="NET.hwnet|NET.tflite|NET.onnx|PKG", type=click.Path())
@click.option("--input", "image", metavar="IMAGE", help=f"For a network: an image file, or DATA: {DATA_HELP}.")
@click.option("--index", type=click.IntRange(min=0), default=0, help="Which image of DATA.  [0]")
@click.option("--layer", metavar="NAME", required=True, help="A convolution or a fully connected layer.")
@click.option("--at", metavar="N,K,Y,X", type=Numbers(int, 4), help=PLACE_HELP)
@click.option("--steps", type=click.IntRange(min=1), default=20, help=STEPS_HELP)
@backend_option
@plot_option("Draw the accumulator over the steps.")
@json_option
def explain(
    path: str,
    image: str | None,
    index: int,
    layer: str,
    at: tuple[int, ...] | None,
    steps: int,
    backend: str,
    plot: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Show how one output comes about: products, adder tree, accumulator before and after, overflows, spills, requantize.

    TRAP stops nothing here, so that the output which stopped a run can be looked at. Of a golden package no image is
    needed: its stimulus is what the layer reads.
    """
    import hwsim

    package = Path(path, "manifest.json").is_file()
    if package != (image is None):
        raise click.UsageError("a network needs --input; a golden package has its own stimulus, so leave --input away.")
    if image is None:
        found = hwsim.explain_golden(path, layer, at, limit=steps)
    else:
        q = open_network(path)
        found = hwsim.explain_layer(q, one_image(q, image, index), layer, at, backend=backend, limit=steps)
    emit(found, as_json)
    if plot is not None:
        found.plot(plot, force)
