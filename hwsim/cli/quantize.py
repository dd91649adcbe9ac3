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
)
from hwsim.errors import InputError
from hwsim.progress import progress

DEMO = "hwsim/demo/digits.prototxt hwsim/demo/digits.caffemodel"
EXAMPLE = f"hwsim quantize {DEMO} --calibration digits --out digits.hwnet"


@click.command(epilog=f"Example:  {EXAMPLE}")
@model_arguments
@click.option("--calibration", metavar="DATA", required=True, help=f"Images that show the ranges: {DATA_HELP}.")
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first N calibration images.  [all]")
@click.option("--bits", type=int, help="Width of weights and activations.  [8]")
@click.option("--scheme", type=click.Choice(SCHEMES), help="Kind of numbers.  [affine for tflite and its like, else the first]")
@click.option("--weight-bits", type=int, help="Width of the weights alone.  [--bits; 4 for powers of two]")
@accumulator_options
@click.option("--per-channel/--per-tensor", default=None, help="How many weight formats a layer has.  [the dialect's]")
@click.option("--dialect", type=click.Choice(DIALECTS), help="School of arithmetic.  [exact32; tflite for scheme affine]")
@click.option("--unsigned", is_flag=True, help="Of scheme affine: uint8 codes; weights have zero points, too.")
@click.option("--method", type=click.Choice(CALIBRATIONS), help="How a range follows from what was seen.")
@click.option("--lrn-entries", type=int, help="Size of the table of each LRN, in integers.  [256]")
@click.option("--host-lrn", is_flag=True, help="Leave LRN to the host, in float.")
@click.option("--rounding", type=RoundingWord(), help="Where a quotient goes that is no integer.  [the dialect's]")
@pixel_options
@out_option("NET.hwnet", "network.json", "Directory to write.")
@json_option
def quantize(model: str, weights: str | None, calibration: str, out: str, force: bool, as_json: bool, **choices: Any) -> None:
    """Choose number formats by calibration images, and write the network in integers to a directory."""
    import hwsim

    _name_the_school(choices)
    order = None if choices["channels"] is None else hwsim.ChannelOrder[choices["channels"]]
    net = hwsim.read(model, weights, mean=choices["mean"], scale=choices["scale"], channel_order=order, shape=choices["shape"])
    images = hwsim.images(calibration, net.preprocessing, limit=choices["limit"])
    dialect = _dialect(choices)
    formats = {name: choices[name] for name in ("bits", "weight_bits", "per_channel") if choices[name] is not None}
    if choices["method"] is not None:
        formats["method"] = hwsim.Calibration[choices["method"].upper()]
    formats.update(_scheme(choices, dialect))
    formats.update(_lrn(choices, dialect))
    with progress("calibrating") as bar:
        q = hwsim.quantize(net, images, dialect=dialect, progress=bar, **formats)
    q.save(out, force=force)
    emit(q, as_json)


def _name_the_school(choices: dict[str, Any]) -> None:
    """Scheme and dialect, where one of them is named the other's own."""
    import hwsim

    if choices["dialect"] is None:
        choices["dialect"] = "tflite" if choices["scheme"] == "affine" else "exact32"
    if choices["scheme"] is None:
        affine = getattr(hwsim.dialects, choices["dialect"].upper()).affine
        choices["scheme"] = SCHEMES[0] if affine is None else "affine"


def _lrn(choices: dict[str, Any], dialect: Any) -> dict[str, Any]:
    """The table of LRN in integers, or none; refused where LRN is in float anyway."""
    import hwsim

    if choices["lrn_entries"] is None:
        return {"lrn_table": None} if choices["host_lrn"] else {}
    scheme = hwsim.Scheme[choices["scheme"].upper()]
    in_float = dialect.ranges is hwsim.dialects.RangeRule.RISTRETTO or scheme is hwsim.Scheme.MINIFLOAT
    if choices["host_lrn"] or in_float:
        beside = "--host-lrn" if choices["host_lrn"] else f"--dialect {choices['dialect']} --scheme {choices['scheme']}"
        raise InputError(f"--lrn-entries: found beside {beside}, which leaves LRN in float; remove one of them.")
    return {"lrn_table": hwsim.TableDesign(choices["lrn_entries"])}


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
    if any(choices[name] is not None for name in ORDER_OPTIONS):
        said["schedule"] = _schedule(choices)
    if said or choices["accumulator_fit"]:
        said["require_proof"] = False
    if choices["accumulator_bits"] is not None:
        said["bits"] = choices["accumulator_bits"]
    return dataclasses.replace(accumulator, **said)


def _schedule(choices: dict[str, Any]) -> Any:
    import hwsim

    return hwsim.Schedule(hwsim.Order[(choices["order"] or "crs").upper()], 1 if choices["lanes"] is None else choices["lanes"])


ORDER_OPTIONS = ("lanes", "order")
INTEGER_OPTIONS = (
    "accumulator_bits", "accumulator_overflow", "accumulator_dropped_bits", "accumulator_fit", "weight_bits", "per_channel",
    "method",
)  # fmt: skip
FLOAT_OPTIONS = ("minifloat", "float_accumulator")
NOT_AFFINE = ("accumulator_dropped_bits", "accumulator_fit", "rounding")


def _scheme(choices: dict[str, Any], dialect: Any) -> dict[str, Any]:
    """The scheme; an option that it does not take is refused, not ignored."""
    import hwsim

    scheme = hwsim.Scheme[choices["scheme"].upper()]
    if scheme is not hwsim.Scheme.MINIFLOAT:
        _refuse(choices, FLOAT_OPTIONS)
        if scheme is hwsim.Scheme.POWER_OF_TWO:
            _refuse(choices, ("per_channel",))
        if scheme is not hwsim.Scheme.AFFINE:
            _refuse(choices, ("unsigned",))
            return {"scheme": scheme}
        _refuse(choices, NOT_AFFINE, "whose dialects have rules of their own there; remove it")
        return {"scheme": scheme, "signed": not choices["unsigned"]}
    _refuse(choices, ("unsigned",))
    _refuse(choices, INTEGER_OPTIONS)
    if choices["minifloat"] is not None or dialect.ranges is not hwsim.dialects.RangeRule.RISTRETTO:
        _refuse(choices, ("bits",), "whose formats have widths of their own; choose one with --minifloat")
    fmt, register = (None if choices[name] is None else hwsim.minifloat(choices[name]) for name in FLOAT_OPTIONS)
    if register is None:
        _refuse(choices, ORDER_OPTIONS, "whose exact sum has no order; remove it, or name the register with --float-accumulator")
    accumulator = hwsim.ExactSum() if register is None else hwsim.FloatAccumulator(register, schedule=_schedule(choices))
    return {"scheme": scheme, "minifloats": hwsim.Minifloats(fmt, accumulator)}


def _refuse(choices: dict[str, Any], names: tuple[str, ...], why: str = "which does not take it; remove it") -> None:
    """Refuse the options among `names` that were given. (--per-tensor is False, and what every scheme can do.)"""
    for name in names:
        if choices[name] is not None and choices[name] is not False:
            raise InputError(f"--{name.replace('_', '-')}: found beside --scheme {choices['scheme']}, {why}.")
