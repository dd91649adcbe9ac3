"""hwsim quantize: a float network and calibration images -> a network in integers, NET.hwnet."""

from __future__ import annotations

import dataclasses

import click

from hwsim.cli.frame import emit, json_option
from hwsim.cli.options import (
    CALIBRATIONS,
    DATA_HELP,
    DIALECTS,
    RoundingWord,
    force_option,
    model_arguments,
    progress,
)

EXAMPLE = "hwsim quantize lenet.prototxt lenet.caffemodel --calibration train-images-idx3-ubyte --out lenet.hwnet"


@click.command(epilog=f"Example:  {EXAMPLE}")
@model_arguments
@click.option("--calibration", metavar="DATA", required=True, help=f"Images that show the ranges: {DATA_HELP}.")
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first N calibration images.  [all]")
@click.option("--bits", type=int, default=8, help="Width of weights and activations.  [8]")
@click.option("--dialect", type=click.Choice(DIALECTS), default="exact32", help="School of arithmetic.  [exact32]")
@click.option("--method", type=click.Choice(CALIBRATIONS), help="How a range follows from what was seen.")
@click.option("--rounding", type=RoundingWord(), help="Where a quotient goes that is no integer.  [the dialect's]")
@click.option("--out", metavar="NET.hwnet", required=True, type=click.Path(), help="Directory to write.")
@force_option
@json_option
def quantize(
    model: str,
    weights: str,
    calibration: str,
    limit: int | None,
    bits: int,
    dialect: str,
    method: str | None,
    rounding: str | None,
    out: str,
    force: bool,
    as_json: bool,
) -> None:
    """Choose number formats by calibration images, and write the network in integers to a directory."""
    import hwsim

    school = getattr(hwsim.dialects, dialect.upper())
    if rounding is not None:
        school = dataclasses.replace(school, rounding=hwsim.Rounding[rounding.upper()])
    net = hwsim.read(model, weights)
    images = hwsim.images(calibration, net.preprocessing, limit=limit)
    choice = {} if method is None else {"method": hwsim.Calibration[method.upper()]}
    with progress("calibrating") as bar:
        q = hwsim.quantize(net, images, bits=bits, dialect=school, progress=bar, **choice)
    q.save(out, force=force)
    emit(q, as_json)
