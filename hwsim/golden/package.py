"""What a golden package is: layers, each with its memories. The manifest is a pure function of this."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.contract import MacContract
from hwsim.errors import InputError, printable
from hwsim.execute.draws import Drawn
from hwsim.formats import Affine, FixedPoint, Format
from hwsim.golden.describe import plain
from hwsim.golden.layout import Layout, MemoryLayout
from hwsim.golden.resolved import resolved
from hwsim.golden.wide import ExactRegister
from hwsim.golden.words import Image
from hwsim.layers import Events, HostLRN, ImageEncoding, Layer, MacLayer, Shape, Softmax
from hwsim.layers.base import Cell, Codes
from hwsim.layers.draws import draws_of, epilogue_of
from hwsim.layers.float_unit import FloatUnit
from hwsim.network.layer_stanzas import array_fields
from hwsim.network.lower.settle import bias_grid, bias_meaning

SCHEMA = "hwsim.golden/3"
MANIFEST = "manifest.json"
CODE_AXES, WEIGHT_AXES, BIAS_AXES = "NCHW", "KCRS", "K"
IMAGE_SOURCE = "image"


def slug(index: int, name: str) -> str:
    """Folder of a layer: its place in the network, and what a file system takes of its name.

    >>> slug(3, "fire2/squeeze1x1")
    '003_fire2_squeeze1x1'
    """
    return f"{index:03d}_{re.sub('[^A-Za-z0-9]+', '_', name)[:48].strip('_')}".rstrip("_")


@dataclass(frozen=True)
class Memory:
    """One array of a layer, in three file formats.

    role: stimulus, stimulus_1.., weights, bias, mean, accumulator, expected, or a table's field.  source: who made a stimulus.
    format: meaning of the codes; `channel_axis` is the axis of its per-channel lengths.  sha256: digest by file format.
    """

    role: str
    source: str | None
    format: Format | ExactRegister
    image: Image
    sha256: tuple[tuple[str, str], ...]

    @property
    def channel_axis(self) -> int:
        """Axis of `image.axes` along which a per-channel format counts its channels: K, or C of activations."""
        return self.image.axes.index("C") if self.image.axes == CODE_AXES else 0

    def file(self, kind: str) -> str:
        """Name of the file of one format, in the layer's folder."""
        return f"{self.role}.{kind}"

    def to_json(self) -> dict[str, Any]:
        """Return the memory's part of the manifest."""
        image, sizes = self.image, self.image.sizes()
        return {
            "role": self.role,
            "source": self.source,
            "format": plain(self.format),
            "axes": image.axes,
            "shape": list(image.shape),
            "words": image.words,
            "word_bits": image.word_bits,
            "lane_bits": 4 * image.digits,
            "files": {kind: {"name": self.file(kind), "bytes": sizes[kind], "sha256": sha256} for kind, sha256 in self.sha256},
        }


@dataclass(frozen=True, eq=False)
class PackagedLayer:
    """One layer of a package.

    index: its place in the network.  inputs: names of the layers it reads (none: the image, or a layer on its own).
    first_turns: of each image, in which a layer begins that draws its rounding, counted from the last reset; else empty.
    """

    index: int
    name: str
    inputs: tuple[str, ...]
    layer: Layer
    memories: tuple[Memory, ...]
    events: Events
    first_turns: tuple[int, ...] = ()

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return slug(self.index, self.name)

    @property
    def host(self) -> bool:
        """True if this layer runs on the host in float, not in the accelerator."""
        return isinstance(self.layer, (HostLRN, Softmax))

    @property
    def stimuli(self) -> tuple[Memory, ...]:
        """The memories of its inputs, in order."""
        return tuple(m for m in self.memories if m.role.startswith("stimulus"))

    @property
    def input_shapes(self) -> list[Shape]:
        """C, H, W of each input."""
        return [Shape(*m.image.shape[1:]) for m in self.stimuli]

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """N, C, H, W of the output."""
        return (self.stimuli[0].image.shape[0], *self.layer.output_shape(self.input_shapes))

    @cached_property
    def drawn(self) -> Drawn | None:
        """What the layer draws to round, per image; None where it rounds by a fixed mode."""
        epilogue = epilogue_of(self.layer)
        draws = None if epilogue is None else draws_of(epilogue, Shape(*self.shape[1:]))
        return None if draws is None else Drawn(draws.rule, draws.turns, self.first_turns)

    def spec(self, stimuli: Sequence[Codes], at: tuple[int, ...], layer: Layer | None = None) -> Cell:
        """Compute the output at (n, k, y, x) in plain ints, by the layer or by another one in its place."""
        chosen: Any = self.layer if layer is None else layer
        epilogue = epilogue_of(chosen)
        if epilogue is None or epilogue.stochastic is None:
            cell: Cell = chosen.spec(stimuli, *at)
            return cell
        cell = chosen.spec(stimuli, *at, first_turn=self.first_turns[at[0]])
        return cell

    def memory(self, role: str) -> Memory | None:
        """Return the memory of that role, or None."""
        return next((m for m in self.memories if m.role == role), None)

    def to_json(self) -> dict[str, Any]:
        """Return the layer's part of the manifest."""
        return {
            "index": self.index,
            "name": self.name,
            "folder": self.folder,
            "kind": self.layer.kind,
            "host": self.host,
            "inputs": list(self.inputs),
            "attributes": plain(self.layer),
            "resolved": resolved(self.layer, self.input_shapes),
            "events": self.events._asdict(),
            "draws": None if self.drawn is None else {k: v for k, v in self.drawn.to_json().items() if k != "rule"},
            "memories": [m.to_json() for m in self.memories],
        }


@dataclass(frozen=True, eq=False)
class Package:
    """A golden package in a directory; `hwsim.check(package)` computes it again.

    network: name of the network it is from.  digest: sha256 of that network.  command: how it was asked for, if told.
    """

    path: Path
    network: str
    digest: str
    layout: Layout
    layers: tuple[PackagedLayer, ...]
    command: tuple[str, ...] = ()

    def __fspath__(self) -> str:
        return str(self.path)

    def __iter__(self) -> Iterator[PackagedLayer]:
        return iter(self.layers)

    def __getitem__(self, name: str) -> PackagedLayer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers)
        raise InputError(f"{self.path.name}: the package has no layer {name!r}; it has {names}.")

    def manifest(self) -> dict[str, Any]:
        """Return the manifest; file names in it have no paths."""
        return {
            "schema": SCHEMA,
            "network": {"name": self.network, "sha256": self.digest},
            "command": list(self.command),
            "layout": self.layout.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }

    def files(self) -> dict[str, int]:
        """Bytes of every file by its name within the package, the manifest excepted."""
        return {
            f"{layer.folder}/{m.file(kind)}": size
            for layer in self.layers
            for m in layer.memories
            for kind, size in m.image.sizes().items()
        }

    @property
    def bytes(self) -> int:
        """Bytes of all files, the manifest included."""
        return sum(self.files().values()) + len(manifest_bytes(self.manifest()))

    def rows(self) -> list[tuple[str, ...]]:
        """Lines of the package's table."""
        rows: list[tuple[str, ...]] = [("layer", "kind", "stimulus", "output", "accumulator", "bytes")]
        for layer in self.layers:
            acc = layer.memory("accumulator")
            size = sum(sum(m.image.sizes().values()) for m in layer.memories)
            stimulus = ", ".join(f"{_extents(m.image.shape)} {m.format}" for m in layer.stimuli)
            output = f"{_extents(layer.shape)} {layer.layer.output_format}"
            kind = layer.layer.kind + (" (on the host)" if layer.host else "")
            rows.append((layer.name, kind, stimulus, output, "" if acc is None else f"{acc.image.bits} bits", f"{size:,}"))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return where the package is, what it holds, and its manifest."""
        return {"path": str(self.path), "files": len(self.files()) + 1, "bytes": self.bytes, "manifest": self.manifest()}

    def __str__(self) -> str:
        files = f"{len(self.files()) + 1} files, {self.bytes:,} bytes"
        return f"golden package {self.path} of {printable(self.network)}: {files}\n{text_table(self.rows())}"

    def _repr_html_(self) -> str:
        return f"<p>golden package <b>{html.escape(str(self.path))}</b></p>{html_table(self.rows())}"

    def __repr__(self) -> str:
        return f"<Package {str(self.path)!r}: {len(self.layers)} layers of {self.network!r}>"


def _extents(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def text_table(rows: list[tuple[str, ...]]) -> str:
    """Return rows as aligned columns, one line each."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def html_table(rows: list[tuple[str, ...]]) -> str:
    """Return rows as an HTML table, the first as its head."""
    tags = ["th"] + ["td"] * (len(rows) - 1)
    lines = ["".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) for row, tag in zip(rows, tags, strict=True)]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


NUMBERS = re.compile(r"\[\n\s+((?:-?\d+,\n\s+)*-?\d+)\n\s+\]")
"""A list of integers as json indents it. Texts hold no line break in JSON, so none of them can look like it."""


def manifest_bytes(manifest: dict[str, Any]) -> bytes:
    """The manifest's text: sorted keys, ASCII, no number that is not finite; a list of integers stands on one line."""
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False) + "\n"
    return NUMBERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text).encode("ascii")


@dataclass(frozen=True)
class Slot:
    """One array that a layer must have in a package: everything about its memory but the digests."""

    role: str
    source: str | None
    format: Format | ExactRegister
    axes: str
    shape: tuple[int, ...]

    def memory_image(self, name: str, layout: Layout) -> Image:
        """Return the memory image of a layer's array under a package's layout."""
        by_axes: dict[str, MemoryLayout] = {CODE_AXES: layout.codes, WEIGHT_AXES: layout.weights, BIAS_AXES: layout.bias}
        return Image(f"{name}, {self.role}", self.axes, self.shape, self.format.bits, self.format.signed, by_axes[self.axes])


def slots(layer: Layer, inputs: tuple[str, ...], stimuli: list[tuple[int, ...]]) -> list[Slot]:
    """Return what a package holds of a layer, in order. stimuli: shape N C H W of each input."""
    n, shape = stimuli[0][0], layer.output_shape([Shape(*s[1:]) for s in stimuli])
    found = []
    for i, (fmt, extents) in enumerate(zip(layer.input_formats, stimuli, strict=True)):
        source = inputs[i] if inputs else IMAGE_SOURCE if isinstance(layer, ImageEncoding) else None
        found.append(Slot(f"stimulus_{i}" if i else "stimulus", source, fmt, CODE_AXES, extents))
    found += constant_slots(layer)
    if isinstance(layer, MacLayer):
        found.append(Slot("accumulator", None, register_of(layer), CODE_AXES, (n, *shape)))
    found.append(Slot("expected", None, layer.output_format, CODE_AXES, (n, *shape)))
    return found


def register_of(layer: MacLayer) -> Format | ExactRegister:
    """Return the accumulator's format: integers on its grid, a float register's, or an exact sum's, as wide as it needs."""
    contract, unit = layer.contract, layer.unit
    if isinstance(unit, FloatUnit):
        if unit.accumulator is not None:
            return unit.accumulator.format
        return ExactRegister(unit.register.bits, _one_or_each([-exponent for exponent in unit.exponents]))
    assert isinstance(contract, MacContract)
    if isinstance(affine := bias_grid(contract, layer.channels), Affine):
        return affine
    lengths = [contract.accumulator_length(k) for k in range(layer.channels)]
    return FixedPoint(contract.accumulator.bits, _one_or_each(lengths))


def _one_or_each(lengths: list[int]) -> int | tuple[int, ...]:
    return tuple(lengths) if len(set(lengths)) > 1 else lengths[0]


MEAN = FixedPoint(26, 16)
"""The image's mean: +-256 on the grid 2**-16."""


def constant_slots(layer: Layer) -> list[Slot]:
    """Return the arrays that belong to the layer itself: weights and bias, an image's mean, a table."""
    if isinstance(layer, ImageEncoding):
        return [Slot("mean", None, MEAN, CODE_AXES, (1, *layer.mean.shape))]
    if not isinstance(layer, MacLayer):
        return [_array_slot(name, array) for name, array in constants(layer).items()]
    shape = layer.weight.shape if layer.weight.ndim == 4 else (*layer.weight.shape, 1, 1)
    found = [Slot("weights", None, layer.contract.weight, WEIGHT_AXES, shape)]
    if layer.bias is not None:
        found.append(Slot("bias", None, bias_meaning(layer.contract, layer.channels), BIAS_AXES, layer.bias.shape))
    return found


def _array_slot(name: str, array: np.ndarray) -> Slot:
    """An array of any other layer, by its field's name: integers as wide as their type; what they mean the layer knows."""
    axes = BIAS_AXES if array.ndim == 1 else CODE_AXES if array.shape[0] == 1 else WEIGHT_AXES
    return Slot(name, None, FixedPoint(8 * array.dtype.itemsize, 0, array.dtype.kind == "i"), axes, array.shape)


def constants(layer: Layer) -> dict[str, np.ndarray]:
    """Return the arrays of `constant_slots` by role, in their slots' shapes."""
    if isinstance(layer, ImageEncoding):
        return {"mean": layer.mean[None]}
    if not isinstance(layer, MacLayer):
        arrays = {name: getattr(layer, name) for name in array_fields(type(layer))}
        return {name: array if array.ndim != 3 else array[None] for name, array in arrays.items() if array is not None}
    weight = layer.weight if layer.weight.ndim == 4 else layer.weight[:, :, None, None]
    return {"weights": weight} if layer.bias is None else {"weights": weight, "bias": layer.bias}
