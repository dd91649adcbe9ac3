"""The trace: everything that one run computed, layer by layer."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from hwsim.arith.float_order import order_key
from hwsim.arith.minifloat import is_nan
from hwsim.errors import InputError
from hwsim.execute.draws import Drawn
from hwsim.execute.plan import Bound, Plan
from hwsim.formats import Format, Minifloat
from hwsim.images import Image, ImageSet
from hwsim.layers import Events, Layer, MacLayer, Shares, Softmax
from hwsim.layers.float_unit import FloatUnit
from hwsim.layers.softmax_fixed import SoftmaxFixed
from hwsim.network.quantized import QuantizedNetwork

HEADINGS = ("layer", "kind", "CxHxW", "format", "acc range", "code range", "acc events", "output events", "computed by")


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One layer of a trace. Axes N C H W; arrays are copies and belong to the trace.

    inputs: codes of each input.  acc: after the bias, before requantize; None where the layer has none or it was not kept.
    Where minifloats are summed: codes of the float register, or the exact integer on its grid, with a last axis of int64
    words (two's complement, little end first) where its register has more than 64 bits.
    backend: who computed it.  shares: outputs proven by bounds, proven by sums, walked; all 0 where nothing is ordered.
    draws: what it drew to round, per image; None where it rounds by a fixed mode.
    """

    name: str
    layer: Layer
    inputs: tuple[np.ndarray, ...]
    acc: np.ndarray | None
    codes: np.ndarray
    events: Events
    backend: str
    shares: Shares = Shares()
    draws: Drawn | None = None

    @property
    def kind(self) -> str:
        """Kind of layer."""
        return self.layer.kind

    @property
    def weight(self) -> np.ndarray | None:
        """Weight codes."""
        return self.layer.weight if isinstance(self.layer, MacLayer) else None

    @property
    def bias(self) -> np.ndarray | None:
        """Bias codes."""
        return self.layer.bias if isinstance(self.layer, MacLayer) else None

    @property
    def real(self) -> np.ndarray:
        """The output's real values, float64."""
        return self.layer.output_format.to_real(self.codes)

    def row(self) -> tuple[str, ...]:
        """One line of the trace's table."""
        acc = "" if self.acc is None else self._acc_range(self.acc)
        shape = "x".join(str(extent) for extent in self.codes.shape[1:])
        codes = self._code_range()
        fmt = str(self.layer.output_format)
        return (self.name, self.kind, shape, fmt, acc, codes, str(self.events.accumulator), str(self.events.output), self.backend)

    def _code_range(self) -> str:
        """The codes' range; of minifloats, the codes of the least and of the largest number."""
        fmt = self.layer.output_format
        if not isinstance(fmt, Minifloat):
            return f"{self.codes.min()}..{self.codes.max()}"
        keys, digits = comparable(self.codes, fmt).ravel(), -(-fmt.bits // 4)
        low, high = (int(self.codes.ravel()[at]) for at in (keys.argmin(), keys.argmax()))
        return f"0x{low:0{digits}x}..0x{high:0{digits}x}"

    def _acc_range(self, acc: np.ndarray) -> str:
        """The accumulators' range: contents of an integer register, numbers where minifloats are summed."""
        if isinstance(self.layer, MacLayer) and isinstance(self.layer.unit, FloatUnit):
            acc = self.layer.unit.acc_reals(acc)
            return f"{acc.min():.6g}..{acc.max():.6g}"
        return f"{acc.min()}..{acc.max()}"

    def _repr_html_(self) -> str:
        return html_table([self.row()])

    def __repr__(self) -> str:
        return f"LayerTrace({', '.join(f'{h}={c!r}' for h, c in zip(HEADINGS, self.row(), strict=True))})"


def html_table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return the rows under the trace's headings as an HTML table."""
    cells = [HEADINGS, *rows]
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
    return f"<table>{body}</table>"


@dataclass(frozen=True, eq=False)
class Trace:
    """What a run left behind: `trace["conv1"].acc`, `.codes`, `.events`; `trace.logits`, `trace.top(5)`."""

    network: QuantizedNetwork
    pixels: np.ndarray
    layers: dict[str, LayerTrace]

    def __getitem__(self, name: str) -> LayerTrace:
        if name not in self.layers:
            raise InputError(f"the trace has no layer {name!r}; it has {', '.join(self.layers)}.")
        return self.layers[name]

    def __iter__(self) -> Iterator[LayerTrace]:
        return iter(self.layers.values())

    @property
    def logits(self) -> np.ndarray:
        """Codes of the answer, [N][K]."""
        codes = self[self.network.logits].codes
        return codes.reshape(len(codes), -1)

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, float64 [N][K], computed on the host; what a softmax in integers gave, where it ends so."""
        layer = self[self.network.logits].layer
        codes = self[self.network.logits].codes
        if isinstance(layer, SoftmaxFixed):
            return layer.output_format.to_real(codes).reshape(len(codes), -1)
        return Softmax(layer.output_format).probabilities(codes).reshape(len(codes), -1)

    def top(self, k: int = 5) -> np.ndarray:
        """Return the k best classes of each image, [N][k]: highest code first, the lower class first among equals."""
        return best(comparable(self.logits, self[self.network.logits].layer.output_format), k)

    def plot(self, file: str | PathLike[str] | None = None, force: bool = False) -> Any:
        """Draw each layer's codes and events, and the first image's answer; return the figure, save it if a file is named."""
        from hwsim.execute.picture_trace import draw

        return draw(self, file, force)

    def rows(self) -> list[tuple[str, ...]]:
        """Lines of the table, one per layer."""
        return [layer.row() for layer in self]

    def draw_lines(self) -> list[str]:
        """Lines about the layers that drew noise, if any did: turns, and the registers' states before and after."""
        return [f"{t.name} drew, {line}" for t in self if t.draws is not None for line in t.draws.lines()]

    def answer(self, image: int = 0) -> str:
        """One line: the first guesses for an image with their probabilities, the best first."""
        guesses = self.top(min(5, self.logits.shape[1]))[image]
        chance = self.probabilities[image]
        return "first guesses: " + ", ".join(f"class {int(k)} ({chance[k]:.1%})" for k in guesses)

    def to_json(self) -> dict[str, Any]:
        """Return the table, the answer and the events as plain data."""
        return {
            "network": self.network.name,
            "top": self.top(min(5, self.logits.shape[1])).tolist(),
            "logits": self.logits.tolist(),
            "layers": [
                {
                    "name": t.name,
                    "kind": t.kind,
                    "shape": list(t.codes.shape),
                    "format": str(t.layer.output_format),
                    "events": t.events._asdict(),
                    "shares": t.shares._asdict(),
                    "backend": t.backend,
                }
                | ({} if t.draws is None else {"draws": t.draws.to_json()})
                for t in self
            ],
        }

    def __str__(self) -> str:
        rows = [HEADINGS, *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
        lines = ("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
        return "\n".join([*lines, *self.draw_lines(), self.answer()])

    def __repr__(self) -> str:
        return f"<Trace of {self.network.name!r}: {len(self.layers)} layers, batch of {len(self.pixels)}>"

    def _repr_html_(self) -> str:
        told = "<br>".join(html.escape(line) for line in [*self.draw_lines(), self.answer()])
        return f"{html_table(self.rows())}<p>{told}</p>"


def comparable(codes: np.ndarray, fmt: Format) -> np.ndarray:
    """Return integers that compare as the codes' numbers do: fixed-point codes do so themselves. NaN is below all.

    >>> from hwsim.formats.catalog import E4M3
    >>> comparable(np.array([0x38, 0xB8, 0x40], dtype=np.uint8), E4M3).argsort()
    array([1, 0, 2])
    """
    if not isinstance(fmt, Minifloat):
        return codes
    wide = codes.astype(np.int64)
    keys = order_key(wide, fmt.layout)
    return np.where(is_nan(wide, fmt.layout), -(1 << 40), keys)


def best(logits: np.ndarray, k: int) -> np.ndarray:
    """Return the k largest entries of each row, [N][k], largest first, the lower index first among equals.

    >>> best(np.array([[3, 9, 9, 1]]), 3)
    array([[1, 2, 0]])
    """
    order = np.argsort(-logits.astype(np.float64 if logits.dtype.kind == "f" else np.int64), axis=1, kind="stable")
    return order[:, :k]


def _layer_trace(bound: Bound, drawn: Drawn | None) -> LayerTrace:
    step = bound.step
    inputs = tuple(np.ascontiguousarray(buffer.codes) for buffer in step.inputs)
    codes = np.ascontiguousarray(step.out.codes)
    taps, name = step.taps, bound.node.name
    return LayerTrace(
        name, bound.node.layer, inputs, taps.channels_first, codes, taps.counted, step.kernel.backend, taps.shared, drawn
    )


def run(
    network: QuantizedNetwork,
    image: Image | ImageSet | np.ndarray,
    backend: str = "auto",
    acc: bool = True,
    first_image: int = 0,
) -> Trace:
    """Run one image, or some, through the network; return the trace.

    image: an Image of hwsim.images, an ImageSet (a slice of one: all of it stays in memory), or uint8 pixels [C][H][W] or
    [N][C][H][W] in the network's size and channel order.
    acc: keep the accumulators.  first_image: how many images the hardware has seen since power-up; only draws depend on it.
    """
    if isinstance(image, ImageSet):
        if not len(image):
            raise InputError(f"network {network.name!r}: found no images; give at least one.")
        pixels = np.stack([each.pixels for each in image])
    else:
        pixels = image.pixels if isinstance(image, Image) else np.asarray(image)
    batch = pixels[None] if pixels.ndim == 3 else pixels
    plan = Plan(network, backend, max(len(batch), 1) if batch.ndim == 4 else 1, acc)
    plan.run(batch, first_image)
    traces = {bound.node.name: _layer_trace(bound, plan.drawn.get(bound.node.name)) for bound in plan.bound}
    return Trace(network, batch.copy(), traces)
