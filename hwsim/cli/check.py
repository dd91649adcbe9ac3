"""hwsim check: a golden package against its hashes and all backends, or a device's dump against the package."""

from __future__ import annotations

import click

from hwsim.cli.frame import FINE, MISMATCH, emit, json_option
from hwsim.cli.options import progress


@click.command(epilog="Example:  hwsim check package")
@click.argument("package", metavar="PKG", type=click.Path())
@click.option("--dump", metavar="FILE", type=click.Path(), help="What the device computed; compare it.")
@click.option("--layer", metavar="NAME", help="Check this layer only; the one that the dump belongs to.")
@click.option("--plot", metavar="PNG", type=click.Path(), help="If codes differ, draw where, and by how many ulps.")
@json_option
def check(package: str, dump: str | None, layer: str | None, plot: str | None, as_json: bool) -> int:
    """Verify every hash and compute everything again; with --dump name the first mismatch of a device.

    Exit code 1 where a bit differs. A dump is .hex, .bin or .npy: hwsim check package --layer conv1 --dump dut.hex
    """
    import hwsim

    with progress("checking") as bar:
        report = hwsim.check(package, dump=dump, layer=layer, progress=bar)
    if plot is not None and not report.passed:
        report.plot(plot)
    emit(report, as_json)
    return FINE if report.passed else MISMATCH
