"""hwsim check: a golden package against its hashes and all backends, or a device's dump against the package."""

from __future__ import annotations

import click

from hwsim.cli.frame import FINE, MISMATCH, emit, json_option
from hwsim.cli.options import plot_option
from hwsim.progress import progress


@click.command(epilog="Example:  hwsim check package")
@click.argument("package", metavar="PKG", type=click.Path())
@click.option("--dump", metavar="FILE", type=click.Path(), help="What the device computed; compare it.")
@click.option("--layer", metavar="NAME", help="Check this layer only; the one that the dump belongs to.")
@plot_option("If codes differ, draw where, and by how many ulps.")
@json_option
def check(package: str, dump: str | None, layer: str | None, plot: str | None, force: bool, as_json: bool) -> int:
    """Verify every hash and compute everything again; with --dump name the first mismatch of a device.

    Exit code 1 where a bit differs. A dump is .hex, .bin or .npy: hwsim check package --layer conv1 --dump dut.hex
    """
    import hwsim

    with progress("checking") as bar:
        report = hwsim.check(package, dump=dump, layer=layer, progress=bar)
    emit(report, as_json)
    if plot is not None and not report.passed:
        report.plot(plot, force)
    return FINE if report.passed else MISMATCH
