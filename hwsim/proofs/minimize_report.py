"""What a search for the narrowest accumulators found: per layer the widths and what they cost, and networks that have them."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from os import PathLike
from typing import Any

from hwsim.errors import InputError
from hwsim.execute.score import Accuracy, told_events
from hwsim.layers import Events
from hwsim.network.quantized import QuantizedNetwork


class Column(Enum):
    """Why an accumulator is narrow enough. PROVEN: no input overflows it.  DATA: no calibration image does.

    SATURATING: it saturates at every step, and the network's top-1 stays within the margin.
    """

    PROVEN = "proven"
    DATA = "data"
    SATURATING = "saturating"


class Stop(Enum):
    """Why no narrower saturating accumulator was taken."""

    MARGIN = "one bit less loses more than the margin"
    REFUSED = "one bit less cannot be built: the bias does not fit"
    NARROWEST = "no register is narrower"


@dataclass(frozen=True)
class Trial:
    """The network with one layer's accumulator saturating at `bits`. right: images.  events: in that layer's accumulator."""

    bits: int
    right: int
    events: int


@dataclass(frozen=True)
class LayerWidths:
    """Accumulator widths of one layer.

    declared: by the contract.  rule: log2 rule of thumb.  proven, data: see Column.
    alone: saturating within the margin, all other layers exact.  together: the width taken where all layers saturate.
    trials: every width that was tried for `alone`, in order; stop: why it went no further.  The last three are None, () and
    None where no margin was given.
    """

    name: str
    kind: str
    declared: int
    rule: int
    proven: int
    data: int
    alone: int | None = None
    together: int | None = None
    trials: tuple[Trial, ...] = ()
    stop: Stop | None = None

    @property
    def right_alone(self) -> int | None:
        """Images that are right with this layer alone saturating at its width."""
        return next((trial.right for trial in self.trials if trial.bits == self.alone), None)

    def bits(self, column: Column) -> int | None:
        """The width in a network of this column."""
        return {Column.PROVEN: self.proven, Column.DATA: self.data, Column.SATURATING: self.together}[column]


@dataclass(frozen=True)
class Whole:
    """The network with all layers at one column's widths, on the scoring images.

    same: images with the exact network's first guess.  events: of the layers that were narrowed.
    """

    accuracy: Accuracy
    same: int
    events: dict[str, Events]


@dataclass(frozen=True, eq=False)
class Minimized:
    """The result of hwsim.minimize_accumulators. Printed: its table.

    margin: in points of top-1; None where the saturating column was not asked for.  exact: the network with accumulators
    that cannot overflow.  declared: the network as it is, where some of its accumulators can; its events are theirs.
    wholes: by column, all layers narrowed.  widened: one name for each bit that was given back so that
    all layers together stay within the margin.  left: layers that multiply and accumulate but were left as they are, and why.
    runs: variants that were scored, over all scoring images each.  seconds: in all.
    """

    name: str
    margin: float | None
    calibration_images: int
    layers: tuple[LayerWidths, ...]
    left: tuple[tuple[str, str], ...]
    exact: Accuracy
    declared: Whole | None
    wholes: Mapping[Column, Whole]
    widened: tuple[str, ...]
    runs: int
    seconds: float
    networks: Mapping[Column, QuantizedNetwork]

    def __getitem__(self, name: str) -> LayerWidths:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise InputError(f"minimized {self.name!r} has no layer {name!r}; it has {', '.join(each.name for each in self.layers)}.")

    @property
    def scoring_images(self) -> int:
        """Number of images behind every top-1 here."""
        return self.exact.images

    def points(self, right: int) -> float:
        """Price in points of top-1: how many more images of a hundred the exact network has right."""
        return 100 * (self.exact.right - right) / self.exact.images

    def network(self, column: Column) -> QuantizedNetwork:
        """Return the network with all accumulators at a column's widths. InputError where that column was not asked for."""
        if column not in self.networks:
            raise InputError(f"minimized {self.name!r}: the column {column.value} was not asked for; give a margin.")
        return self.networks[column]

    def headings(self) -> tuple[str, ...]:
        """Of the table's columns."""
        shown = ("layer", "kind", "declared", "log2 rule", "proven", "data")
        return shown if self.margin is None else (*shown, "saturating", "price", "in all")

    def rows(self) -> list[tuple[str, ...]]:
        """Lines of the table: one per layer, and the widest register of each column."""
        lines = [self._row(layer) for layer in self.layers]
        if not lines:
            return []
        columns = [[getattr(layer, name) for layer in self.layers] for name in ("declared", "rule", "proven", "data")]
        widest = ["widest", "", *(str(max(column)) for column in columns)]
        if self.margin is not None:
            alone, together = (max(getattr(layer, name) for layer in self.layers) for name in ("alone", "together"))
            widest += [str(alone), "", str(together)]
        return [*lines, tuple(widest)]

    def _row(self, layer: LayerWidths) -> tuple[str, ...]:
        shown = (layer.name, layer.kind, *map(str, (layer.declared, layer.rule, layer.proven, layer.data)))
        if layer.right_alone is None:
            return shown
        return (*shown, str(layer.alone), f"{self.points(layer.right_alone):+.2f}", str(layer.together))

    def lines(self) -> list[str]:
        """Sentences below the table: what each column costs the whole network, on how many images."""
        told = [f"exact: {_accuracy(self.exact)} of {self.scoring_images:,} scoring images"]
        if self.declared is not None:
            told.append(f"as declared: {self._price(self.declared)}")
        told += [f"{self._column_words(column)}: {self._price(whole)}" for column, whole in self.wholes.items()]
        if self.margin is not None:
            told += [SATURATES, WALKS.format(self.margin), *self._given_back(), *self._refused()]
        told += [f"{name} is left as it is: {why}" for name, why in self.left]
        return [*told, f"{self.runs} networks scored"]

    def _given_back(self) -> list[str]:
        gains = ", ".join(f"{name} {self.widened.count(name)}" for name in dict.fromkeys(self.widened))
        return [f"bits given back so that all layers together stay within the margin: {gains}"] if gains else []

    def _refused(self) -> list[str]:
        names = ", ".join(layer.name for layer in self.layers if layer.stop is Stop.REFUSED)
        return [f"narrower ones cannot be built, since the bias does not fit them: {names}"] if names else []

    def _column_words(self, column: Column) -> str:
        return {
            Column.PROVEN: "all proven",
            Column.DATA: f"all at the data's widths ({self.calibration_images:,} calibration images, which are not the world)",
            Column.SATURATING: "all saturating",
        }[column]

    def _price(self, whole: Whole) -> str:
        same = f"{whole.same:,} of {self.scoring_images:,} first guesses the same"
        price = f"price {self.points(whole.accuracy.right):+.2f} points"
        return f"{_accuracy(whole.accuracy)}, {price}; {same}; {told_accumulator(whole.events.values())}"

    def to_json(self) -> dict[str, Any]:
        """Return everything but the networks as plain data."""
        return {
            "network": self.name,
            "margin": self.margin,
            "calibration_images": self.calibration_images,
            "scoring_images": self.scoring_images,
            "exact": {"top1": self.exact.top1, "top5": self.exact.top5, "right": self.exact.right},
            "declared": None if self.declared is None else self._whole_json(self.declared),
            "columns": {column.value: self._whole_json(whole) for column, whole in self.wholes.items()},
            "layers": [self._layer_json(layer) for layer in self.layers],
            "widened": list(self.widened),
            "left": dict(self.left),
            "variants": self.runs,
            "seconds": self.seconds,
        }

    def _whole_json(self, whole: Whole) -> dict[str, Any]:
        accuracy = whole.accuracy
        return {
            "top1": accuracy.top1,
            "top5": accuracy.top5,
            "right": accuracy.right,
            "price": self.points(accuracy.right),
            "same_first_guess": whole.same,
            "events": {name: events._asdict() for name, events in whole.events.items()},
        }

    def _layer_json(self, layer: LayerWidths) -> dict[str, Any]:
        told: dict[str, Any] = {name: getattr(layer, name) for name in ("name", "kind", "declared", "rule", "proven", "data")}
        if layer.right_alone is None:
            return told
        trials = [{"bits": t.bits, "right": t.right, "price": self.points(t.right), "events": t.events} for t in layer.trials]
        stop = None if layer.stop is None else layer.stop.name.lower()
        return told | {
            "saturating": layer.alone,
            "price": self.points(layer.right_alone),
            "together": layer.together,
            "trials": trials,
            "stop": stop,
        }

    def plot(self, file: str | PathLike[str] | None = None, force: bool = False) -> Any:
        """Draw each layer's widths and what they cost; return the figure, save it if a file is named."""
        from hwsim.proofs.minimize_picture import draw

        return draw(self, file, force)

    def __str__(self) -> str:
        rows = [self.headings(), *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        table = ("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
        return "\n".join([f"{self.name}: accumulator bits", *table, *self.lines()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def row(cells: Iterable[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(row(cells, "td") for cells in self.rows())
        told = "<br>".join(html.escape(line) for line in self.lines())
        return f"<p>{html.escape(self.name)}</p><table>{row(self.headings(), 'th')}{body}</table><p>{told}</p>"


SATURATES = "saturating: at every step of the declared order, or of the order crs where none is declared"
WALKS = (
    "each layer alone goes down from the data's width, and stops before the first width that loses more than {:g} points: "
    "accuracy is not monotone in the width, and narrower ones were not tried"
)


def _accuracy(found: Accuracy) -> str:
    return f"top-1 {found.top1:.2%}, top-5 {found.top5:.2%}"


def told_accumulator(events: Iterable[Events]) -> str:
    """Return the events at the registers that were narrowed, in words; what the outputs clip belongs to the network.

    >>> told_accumulator([Events(3, 9, transient_accumulator=1), Events()])
    '3 accumulator (1 transient) events'
    >>> told_accumulator([Events(0, 9)])
    'no accumulator event'
    """
    kept = [each._replace(output=0) for each in events]
    if not any(any(each) for each in kept):
        return "no accumulator event"
    return told_events(kept).replace(", 0 output", "") + " events"
