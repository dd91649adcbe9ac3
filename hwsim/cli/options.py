"""Options and arguments that several commands share, each written once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from hwsim.errors import InputError

BORN_IN_INTEGERS = (".tflite", ".onnx")
BACKENDS = ("auto", "spec", "jit", "native")
DIALECTS = ("exact32", "ristretto_cpu", "ristretto_gpu", "dpu", "tflite", "tflite_single", "tosa", "cmsis_nn", "onnxruntime")
SCHEMES = ("dynamic_fixed_point", "power_of_two", "minifloat", "affine")
FIRST_SCHEMES = ("runtime_ranges", "weights_only")
OVERFLOWS = ("wrap", "saturate", "saturate_symmetric", "trap")
ORDERS = ("crs", "csr", "rcs", "rsc", "scr", "src")
MINIFLOATS = (
    "e4m3", "e5m2", "e3m2", "e2m3", "e2m1", "e4m3_ieee", "e3m4_ieee", "e4m3_fnuz", "e5m2_fnuz", "e4m3_b11_fnuz", "ristretto_e4m3",
    "bfloat16", "binary16", "binary32",
)  # fmt: skip
CALIBRATIONS = ("maximum", "percentile", "least_squares")
ROUNDINGS = (
    ("floor", "drop the bits"),
    ("ceil", "towards +infinity"),
    ("toward_zero", "towards zero"),
    ("away_from_zero", "away from zero"),
    ("ties_up", "nearest, ties to +infinity (Vitis AI: half up)"),
    ("ties_down", "nearest, ties to -infinity"),
    ("ties_away", "nearest, ties away from zero (C: round; QONNX: half up)"),
    ("ties_to_zero", "nearest, ties towards zero"),
    ("ties_even", "nearest, ties to even (ONNX, Python and numpy: round)"),
    ("ties_odd", "nearest, ties to odd"),
)
AMBIGUOUS = {"half up", "half_up", "half-up", "round", "nearest", "half down", "half_down", "half-down", "rint"}

DATA_HELP = "list file (`path label` lines), .npz, MNIST idx images (labels beside them), or the word digits"


class RoundingWord(click.ParamType):
    """The name of a rounding mode. Words that mean different things in different tools are refused, not guessed."""

    name = "mode"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        word = str(value).strip().lower()
        if word in (name for name, _ in ROUNDINGS):
            return word
        meanings = "; ".join(f"{name}: {meaning}" for name, meaning in ROUNDINGS)
        if word in AMBIGUOUS:
            self.fail(f"{value!r} means different things in different tools; say which one you mean: {meanings}.", param)
        self.fail(f"{value!r} is no rounding mode; the modes are: {meanings}.", param)


def model_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """MODEL.prototxt WEIGHTS.caffemodel, or MODEL.onnx alone"""
    command = click.argument("weights", metavar="[WEIGHTS.caffemodel]", type=click.Path(), required=False)(command)
    return click.argument("model", metavar="MODEL.prototxt|MODEL.onnx", type=click.Path())(command)


def accumulator_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The accumulators of integer schemes, and the one of minifloats."""
    options = (
        click.option("--accumulator-bits", type=int, help="Width of the accumulators.  [the dialect's]"),
        click.option("--accumulator-overflow", type=click.Choice(OVERFLOWS), help="At every step; no proof is asked for then."),
        click.option("--accumulator-dropped-bits", type=int, help="Bits of each product below the accumulator's grid.  [0]"),
        click.option("--accumulator-fit", is_flag=True, help="Accumulators on grids that hold what was seen."),
        click.option("--lanes", type=int, help="Products added in one step.  [1, or no declared order]"),
        click.option("--order", type=click.Choice(ORDERS), help="Of input channel, kernel row and column, slowest first.  [crs]"),
        click.option("--minifloat", type=click.Choice(MINIFLOATS), help="Weights and activations of scheme minifloat."),
        click.option("--float-accumulator", type=click.Choice(MINIFLOATS), help="Rounded at every add.  [an exact sum]"),
    )
    for option in reversed(options):
        command = option(command)
    return command


class Numbers(click.ParamType):
    """1,227,227 or 104,117,123: numbers with commas between; anything else is left to the API, as a file's name."""

    name = "numbers"

    def __init__(self, kind: type[int] | type[float], count: int | None = None, or_file: bool = False) -> None:
        self.kind, self.count, self.or_file = kind, count, or_file

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            found = tuple(self.kind(part) for part in str(value).split(","))
        except ValueError:
            if self.or_file:
                return str(value)
            self.fail(f"{value!r}: numbers with commas between are wanted, as in {self._example()}.", param)
        if self.count is not None and len(found) != self.count:
            self.fail(f"{value!r}: {len(found)} numbers, {self.count} are wanted, as in {self._example()}.", param)
        return found

    def _example(self) -> str:
        if self.kind is float:
            return "104,117,123"
        return "0,3,5,7" if self.count == 4 else "1,227,227"


def pixel_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a model's files may leave unsaid about its pixels: --mean, --scale, --channels, --shape."""
    numbers = Numbers(float, or_file=True)
    for option in (
        click.option("--shape", metavar="C,H,W", type=Numbers(int, 3), help="Input, where no data layer states it."),
        click.option("--channels", type=click.Choice(("RGB", "BGR", "GRAY")), help="Order of the input's channels."),
        click.option("--scale", type=float, help="Factor after the mean.  [what the prototxt says]"),
        click.option("--mean", metavar="A,B,C|FILE", type=numbers, help="Subtracted.  [what the prototxt says]"),
    ):
        command = option(command)
    return command


def network_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """NET.hwnet|NET.tflite|NET.onnx"""
    return click.argument("network", metavar="NET.hwnet|NET.tflite|NET.onnx", type=click.Path())(command)


def open_network(path: str) -> Any:
    """A network in integers: a .hwnet directory, or a file whose network was born in integers."""
    import hwsim
    from hwsim.network.quantized import QuantizedNetwork

    if Path(path).suffix not in BORN_IN_INTEGERS:
        return hwsim.load(path)
    found = hwsim.read(path)
    if not isinstance(found, QuantizedNetwork):
        raise InputError(f"{path}: its network is in floats; give it to `hwsim quantize`, and here the .hwnet that it writes.")
    return found


def input_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--input IMAGE --index N"""
    index = click.option("--index", type=click.IntRange(min=0), default=0, help="Which image of DATA.  [0]")
    one = click.option("--input", "image", metavar="IMAGE", required=True, help=f"An image file, or DATA: {DATA_HELP}.")
    return one(index(command))


def backend_option(command: Callable[..., Any]) -> Callable[..., Any]:
    text = "Who computes; all give the same bits. auto takes the fastest that can.  [auto]"
    return click.option("--backend", type=click.Choice(BACKENDS), default="auto", help=text)(command)


def out_option(metavar: str, marker: str, text: str, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--out DIRECTORY: refused before the work where it cannot be written; with --force, which replaces what has `marker`."""

    def refuse_early(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value is not None:
            from hwsim.network.storage import refuse

            refuse(value, ctx.params["force"], marker)
        return value

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        out = click.option("--out", metavar=metavar, required=required, type=click.Path(), callback=refuse_early, help=text)
        return out(click.option("--force", is_flag=True, is_eager=True, help="Replace the output if it exists.")(command))

    return decorate


def plot_option(text: str, replaced: str = "the picture") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--plot PNG: refused before the work where a picture cannot be saved. Stands with --force, which replaces `replaced`."""

    def refuse_early(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value is not None:
            from hwsim.picture import refuse

            refuse(value, ctx.params["force"])
        return value

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option("--plot", metavar="PNG", type=click.Path(), callback=refuse_early, help=text)(command)
        eager = click.option("--force", is_flag=True, is_eager=True, help=f"Replace {replaced} if it exists.")
        return eager(command)

    return decorate


def names(text: str | None) -> list[str] | None:
    """ "conv1,fire2/squeeze1x1" -> its names; None stays None, which means all."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def one_image(network: Any, data: str, index: int) -> Any:
    """Image number `index` of DATA, prepared for the network."""
    import hwsim

    images = hwsim.images(data, network.preprocessing)
    if index >= len(images):
        raise InputError(f"{data}: --index {index}, but it holds {len(images)} images, 0..{len(images) - 1}.")
    return images[index]


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Shows the name of the step at work on stderr; nothing where nobody watches."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda step: status.update(f"{step} ...")
