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
    SCHEMES,
    RoundingWord,
    accumulator_options,
    model_arguments,
    out_option,
    pixel_options,
    progress,
)
from hwsim.errors import InputError

DEMO = "hwsim/demo/digits.prototxt hwsim/demo/digits.caffemodel"
EXAMPLE = f"hwsim quantize {DEMO} --calibration digits --out digits.hwnet"


@click.command(epilog=f"Example:  {EXAMPLE}")
@model_arguments
@click.option("--calibration", metavar="DATA", required=True, help=f"Images that show the ranges: {DATA_HELP}.")
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first N calibration images.  [all]")
@click.option("--bits", type=int, default=8, help="Width of weights and activations.  [8]")
@click.option("--scheme", type=click.Choice(SCHEMES), default=SCHEMES[0], help="Kind of numbers.  [dynamic_fixed_point]")
@click.option("--weight-bits", type=int, help="Width of the weights alone.  [--bits; 4 for powers of two]")
@accumulator_options
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
    formats.update(_scheme(choices))
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
    accumulator = _accumulator(choices, dialect.accumulator)
    return dataclasses.replace(dialect, accumulator=accumulator, fit_accumulator=choices["accumulator_fit"])


def _accumulator(choices: dict[str, Any], accumulator: Any) -> Any:
    """The dialect's accumulator with what the options say otherwise: bits alone keep its proof, all else gives it up."""
    import hwsim

    said: dict[str, Any] = {}
    if choices["accumulator_overflow"] is not None:
        said["overflow"] = hwsim.Overflow[choices["accumulator_overflow"].upper()]
    if choices["accumulator_dropped_bits"] is not None:
        said["dropped_bits"] = choices["accumulator_dropped_bits"]
    if choices["lanes"] is not None or choices["order"] is not None:
        order = hwsim.Order[(choices["order"] or "crs").upper()]
        said["schedule"] = hwsim.Schedule(order, 1 if choices["lanes"] is None else choices["lanes"])
    if said or choices["accumulator_fit"]:
        said["require_proof"] = False
    if choices["accumulator_bits"] is not None:
        said["bits"] = choices["accumulator_bits"]
    return dataclasses.replace(accumulator, **said)


INTEGER_OPTIONS = (
    "accumulator_bits", "accumulator_overflow", "accumulator_dropped_bits", "accumulator_fit", "lanes", "order", "weight_bits"
)  # fmt: skip
FLOAT_OPTIONS = ("minifloat", "float_accumulator")


def _scheme(choices: dict[str, Any]) -> dict[str, Any]:
    """The scheme; an option of another scheme is refused, not ignored."""
    import hwsim

    scheme = hwsim.Scheme[choices["scheme"].upper()]
    strangers = INTEGER_OPTIONS if scheme is hwsim.Scheme.MINIFLOAT else FLOAT_OPTIONS
    for name in strangers:
        if choices[name]:
            option = name.replace("_", "-")
            raise InputError(f"--{option}: found beside --scheme {choices['scheme']}, which does not take it; remove it.")
    if scheme is not hwsim.Scheme.MINIFLOAT:
        return {"scheme": scheme}
    fmt, register = (None if choices[name] is None else hwsim.minifloat(choices[name]) for name in FLOAT_OPTIONS)
    accumulator = hwsim.ExactSum() if register is None else hwsim.FloatAccumulator(register)
    return {"scheme": scheme, "minifloats": hwsim.Minifloats(fmt, accumulator)}
