"""What all pictures share: the style, the axis of layers, and a file that appears whole or not at all. Needs matplotlib."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette: told apart by everybody, and in grey print.
BLUE, SKY, GREEN, ORANGE, RED, PURPLE, GREY, PALE = (
    "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#7F7F7F", "#D9E6EF",
)  # fmt: skip

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.dpi": 120,
    "svg.hashsalt": "hwsim",
    "text.parse_math": False,  # a layer may be named "a$b$c"
}

# kind of file -> what matplotlib is told to leave out, so that the same numbers give the same bytes
METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}

ROW = 0.23
"""Inches of height that one layer's line needs."""


def refuse(file: str | os.PathLike[str], force: bool = False) -> None:
    """Raise InputError where a picture cannot be saved under this name: before the work, so that no long run is lost.

    >>> refuse("formats.jpg")
    Traceback (most recent call last):
    hwsim.errors.InputError: formats.jpg: no picture is written as '.jpg'; allowed are .png, .svg, .pdf, so rename it.
    """
    path = Path(file)
    if _kind(path) not in METADATA:
        allowed = ", ".join(f".{kind}" for kind in METADATA)
        raise InputError(f"{path}: no picture is written as {path.suffix!r}; allowed are {allowed}, so rename it.")
    if not os.path.isdir(path.parent):
        raise InputError(f"{path}: there is no folder {str(path.parent)!r}; create it, or choose another name.")
    if os.path.isdir(path):
        raise InputError(f"{path}: this is a folder; give the name of a file.")
    if os.path.lexists(path) and not force:
        raise InputError(f"{path}: exists already and nothing was overwritten; choose another name, or --force (force=True).")


@contextmanager
def canvas(
    width: float, height: float, file: str | os.PathLike[str] | None = None, force: bool = False
) -> Iterator[Any]:
    """Give a matplotlib figure in hwsim's style to draw on; save it when the block ends, if a file is named.

    width, height: inches.  force: replace the file if it exists.  No display is needed.
    Errors: InputError where matplotlib is missing or the file cannot be written; what stood there then still stands.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("plot: matplotlib is not installed; `pip install matplotlib` brings it.") from None
    if file is not None:
        refuse(file, force)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a person's own style must not make a picture unreadable
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        if file is not None:
            _save(figure, Path(file), force)


def _kind(path: Path) -> str:
    return path.suffix.lower().lstrip(".")


def _save(figure: Any, path: Path, force: bool) -> None:
    data = BytesIO()
    figure.savefig(data, format=_kind(path), metadata=METADATA[_kind(path)])
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("xb") as out:
            out.write(data.getvalue())
        refuse(path, force)
        os.replace(partial, path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path}: the picture cannot be written ({reason}); choose another name.") from None
    finally:
        with suppress(OSError, ValueError):
            partial.unlink(missing_ok=True)


def layer_axis(axes: Axes, names: Sequence[str]) -> None:
    """One line per layer, the first on top; a pale band under every second one guides the eye across the panels."""
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for i in range(0, len(names), 2):
        axes.axhspan(i - 0.5, i + 0.5, color="#F5F5F5", zorder=-1)


def plain_number(value: float, _: float = 0.0) -> str:
    """The label of a place on a log axis: matplotlib's own is a formula, and those are not read (see STYLE).

    >>> plain_number(0.001), plain_number(100000.0), plain_number(1e-05)
    ('0.001', '100,000', '1e-05')
    """
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def power_of_two(exponent: int) -> str:
    """The label of a place on an axis of magnitudes.

    >>> power_of_two(-12)
    '2⁻¹²'
    """
    return "2" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def share_axis(axes: Axes, shares: Sequence[float], label: str = "share of the layer's outputs") -> None:
    """A log axis for shares of a whole: from below the smallest that is not 0, to all of it, or beyond the largest."""
    axes.set_xscale("log")
    axes.set_xlim(min([share for share in shares if share > 0], default=1e-3) / 5, 1.5 * max(1.0, *shares))
    axes.xaxis.set_major_formatter(plain_number)
    axes.xaxis.set_minor_formatter("")
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_xlabel(label)


PLACES = (("accumulator", PURPLE), ("output", RED), ("adder tree", GREEN), ("spill buffer", ORANGE))
"""Where events are counted, in the order of Events, and their colours."""


def event_bars(axes: Axes, counts: Sequence[tuple[int, ...]], outputs: Sequence[int]) -> None:
    """Bars of events per output, place by place; beside them the counts.

    counts: events of each layer, (accumulator, output, tree, spill, ...).  outputs: of each layer, how many there are in all.
    """
    shares = [count / total for places, total in zip(counts, outputs, strict=True) for count in places[:4]]
    share_axis(axes, shares, "events per output of the layer")
    kinds = [kind for kind in range(len(PLACES)) if any(places[kind] for places in counts)]
    if not kinds:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=GREY)
    for slot, kind in enumerate(kinds):
        offset = 0.72 * ((slot + 0.5) / len(kinds) - 0.5)
        for y, (places, total) in enumerate(zip(counts, outputs, strict=True)):
            if places[kind]:
                axes.barh(y + offset, places[kind] / total, 0.6 / len(kinds), color=PLACES[kind][1])
                axes.text(places[kind] / total, y + offset, f" {places[kind]:,}", va="center", fontsize=7)


def event_handles() -> list[Any]:
    """The legend of event_bars."""
    from matplotlib.patches import Patch

    return [Patch(color=color, label=f"events at the {name}") for name, color in PLACES]


def legend_below(figure: Any, handles: Sequence[Any], columns: int) -> None:
    """One legend for the whole figure, or for a part of it, under it."""
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns)
