"""hwsim quantize: a float network and calibration images -> a network in integers, NET.hwnet."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from hwsim.cli.frame import emit, json_option
from hwsim.cli.options import (
    CALIBRATIONS,
    DATA_HELP,
    DIALECTS,
    RoundingWord,
    model_arguments,
    out_option,
    pixel_options,
    progress,
)

DEMO = "hwsim/demo/digits.prototxt hwsim/demo/digits.caffemodel"
EXAMPLE = f"hwsim quantize {DEMO} --calibration digits --out digits.hwnet"


@click.command(epilog=f"Example:  {EXAMPLE}")
@model_arguments
@click.option("--calibration", metavar="DATA", required=True, help=f"Images that show the ranges: {DATA_HELP}.")
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first N calibration images.  [all]")
@click.option("--bits", type=int, default=8, help="Width of weights and activations.  [8]")
@click.option("--weight-bits", type=int, help="Width of the weights alone.  [--bits]")
@click.option("--accumulator-bits", type=int, help="Width of the accumulators.  [the dialect's]")
@click.option("--per-channel/--per-tensor", default=None, help="How many weight formats a layer has.  [the dialect's]")
@click.option("--dialect", type=click.Choice(DIALECTS), default="exact32", help="School of arithmetic.  [exact32]")
@click.option("--method", type=click.Choice(CALIBRATIONS), help="How a range follows from what was seen.")
@click.option("--rounding", type=RoundingWord(), help="Where a quotient goes that is no integer.  [the dialect's]")
@pixel_options
@out_option("NET.hwnet", "network.json", "Directory to write.")
@json_option
def quantize(model: str, weights: str, calibration: str, out: str, force: bool, as_json: bool, **choices: Any) -> None:
    """Choose number formats by calibration images, and write the network in integers to a directory."""
    import hwsim

    order = None if choices["channels"] is None else hwsim.ChannelOrder[choices["channels"]]
    net = hwsim.read(model, weights, mean=choices["mean"], scale=choices["scale"], channel_order=order, shape=choices["shape"])
    images = hwsim.images(calibration, net.preprocessing, limit=choices["limit"])
    formats = {name: choices[name] for name in ("bits", "weight_bits", "per_channel")}
    if choices["method"] is not None:
        formats["method"] = hwsim.Calibration[choices["method"].upper()]
    with progress("calibrating") as bar:
        q = hwsim.quantize(net, images, dialect=_dialect(choices), progress=bar, **formats)
    q.save(out, force=force)
    emit(q, as_json)


def _dialect(choices: dict[str, Any]) -> Any:
    """The dialect of that name, with what the options say otherwise."""
    import hwsim

    dialect = getattr(hwsim.dialects, choices["dialect"].upper())
    if choices["rounding"] is not None:
        dialect = dataclasses.replace(dialect, rounding=hwsim.Rounding[choices["rounding"].upper()])
    if choices["accumulator_bits"] is not None:
        accumulator = dataclasses.replace(dialect.accumulator, bits=choices["accumulator_bits"])
        dialect = dataclasses.replace(dialect, accumulator=accumulator)
    return dialect
