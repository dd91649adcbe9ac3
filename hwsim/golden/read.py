"""Read a golden package and refuse what is not one. Nothing is believed: sizes first, then digests, then every field."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.contract import FloatMacContract, MacContract, Reset
from hwsim.errors import ContractError, InputError
from hwsim.execute.draws import MOST_TURNS
from hwsim.formats import FixedPoint, IntegerFormat
from hwsim.golden.describe import build, fields, typed
from hwsim.golden.layout import ByteOrder, Layout, MemoryLayout
from hwsim.golden.package import (
    BIAS_AXES,
    CODE_AXES,
    MANIFEST,
    MEAN,
    SCHEMA,
    WEIGHT_AXES,
    Memory,
    Package,
    PackagedLayer,
    Slot,
    slots,
)
from hwsim.golden.words import FORMATTERS, digest, from_npy, npy_header
from hwsim.layers import Events, FullyConnected, Layer, MacLayer
from hwsim.network.files import read_bytes
from hwsim.network.layer_stanzas import KINDS, array_fields
from hwsim.network.lower.settle import bias_meaning
from hwsim.network.strict import parse_json

MANIFEST_LIMIT = 16 << 20
MAX_NAME = 4096
MAX_CODES = 1 << 40
HEX_DIGITS = set("0123456789abcdef")


def read_package(path: str | os.PathLike[str]) -> Package:
    """Open a package: manifest, the set of files and their sizes, weights and biases with their digests.

    Errors: InputError, one sentence: where, what was found, what is allowed.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no golden package there; give the folder that holds {MANIFEST}.")
    present = _present(path)
    if MANIFEST not in present:
        raise InputError(f"{path}: holds no {MANIFEST}, so it is no golden package; give the folder that `hwsim vectors` wrote.")
    where = f"{path.name}/{MANIFEST}"
    data = parse_json(read_bytes(path / MANIFEST, MANIFEST_LIMIT), where)
    package = _package(path, data, present, where)
    difference = first_difference(data, json.loads(json.dumps(package.manifest())), "")
    if difference:
        raise InputError(f"{where}: {difference}; a manifest follows from its package, so write the package again.")
    return package


def _present(path: Path) -> dict[str, int]:
    """Bytes of every regular file, by name within the package; links and devices are refused, so nothing leads outside."""
    found: dict[str, int] = {}
    for folder, folders, names in os.walk(path):
        for name in folders + names:
            full = Path(folder) / name
            relative = full.relative_to(path).as_posix()
            if full.is_symlink() or not (full.is_dir() or full.is_file()):
                raise InputError(f"{path.name}/{relative}: is a link or a device; a package holds plain files only, remove it.")
            if full.is_file():
                found[relative] = full.stat().st_size
    return found


def first_difference(found: Any, allowed: Any, at: str) -> str | None:
    """Name the first field in which two trees of plain data differ, or None; true is not 1, 1.0 is not 1.

    >>> first_difference({"a": [1, 2]}, {"a": [1, 3]}, "")
    'a[1]: found 2, allowed 3'
    """
    if isinstance(found, dict) and isinstance(allowed, dict):
        for name in sorted(found.keys() | allowed.keys()):
            if name not in found or name not in allowed:
                return f"{at}.{name}: is {'missing' if name in allowed else 'unknown'}".lstrip(".")
            if inner := first_difference(found[name], allowed[name], f"{at}.{name}"):
                return inner
        return None
    if isinstance(found, list) and isinstance(allowed, list) and len(found) == len(allowed):
        pairs = enumerate(zip(found, allowed, strict=True))
        return next((d for i, (f, a) in pairs if (d := first_difference(f, a, f"{at}[{i}]"))), None)
    if type(found) is type(allowed) and found == allowed:
        return None
    return f"{at.lstrip('.')}: found {str(found)[:60]}, allowed {str(allowed)[:60]}"


def _package(path: Path, data: Any, present: dict[str, int], where: str) -> Package:
    if isinstance(data, dict) and data.get("schema") != SCHEMA:
        found = str(data.get("schema"))[:40]
        raise InputError(f"{where}: found schema {found!r}, allowed {SCHEMA!r}; use the hwsim that wrote it.")
    fields(data, {"schema", "network", "command", "layout", "layers"}, where)
    fields(data["network"], {"name", "sha256"}, f"{where}: network")
    name = _name(data["network"]["name"], f"{where}: network.name")
    sha256 = _sha256(data["network"]["sha256"], f"{where}: network.sha256")
    command = typed(tuple[str, ...], data["command"], f"{where}: command")
    layout = _layout(data["layout"], f"{where}: layout")
    if not isinstance(data["layers"], list) or not data["layers"]:
        raise InputError(f"{where}: layers: found none; a package holds at least one layer.")
    layers = tuple(_layer(path, entry, layout, present, f"{where}: layers[{i}]") for i, entry in enumerate(data["layers"]))
    _check_order(layers, where)
    package = Package(path, name, sha256, layout, layers, command)
    _check_files(package, present)
    return package


def _layout(data: Any, where: str) -> Layout:
    fields(data, {"codes", "weights", "bias"}, where)
    parts = {}
    for name, value in data.items():
        fields(value, {"order", "tiles", "lanes", "byte_order"}, f"{where}.{name}")
        if value["byte_order"] not in ("little", "big") or not isinstance(value["tiles"], dict):
            found = str(value["byte_order"])[:20]
            raise InputError(f"{where}.{name}: found byte_order {found!r}, allowed little or big, and tiles must be an object.")
        tiles = tuple(sorted(value["tiles"].items()))
        order, lanes = typed(str, value["order"], f"{where}.{name}.order"), typed(int, value["lanes"], f"{where}.{name}.lanes")
        try:
            parts[name] = MemoryLayout(order, tiles, lanes, ByteOrder(value["byte_order"]))
        except ContractError as error:
            raise InputError(f"{where}.{name}: {error}") from None
    try:
        return Layout(**parts)
    except ContractError as error:
        raise InputError(f"{where}: {error}") from None


def _layer(path: Path, data: Any, layout: Layout, present: dict[str, int], where: str) -> PackagedLayer:
    names = {"index", "name", "folder", "kind", "host", "inputs", "attributes", "resolved", "events", "draws", "memories"}
    fields(data, names, where)
    index, name = typed(int, data["index"], f"{where}.index"), _name(data["name"], f"{where}.name")
    inputs = typed(tuple[str, ...], data["inputs"], f"{where}.inputs")
    if not 0 <= index < 1 << 20:
        raise InputError(f"{where}.index: found {index}, allowed the layer's place in its network.")
    fields(data["events"], set(Events._fields), f"{where}.events")
    events = Events(**{k: typed(int, v, f"{where}.events.{k}") for k, v in data["events"].items()})
    shapes, digests = _claims(data["memories"], f"{where}.memories")
    kind = typed(str, data["kind"], f"{where}.kind")
    bare = PackagedLayer(index, name, inputs, None, (), events)  # type: ignore[arg-type]  # its folder, before its layer
    formats = {entry["role"]: entry["format"] for entry in data["memories"]}
    reader = _Constants(path / bare.folder, name, layout, present, shapes, digests, formats)
    try:
        layer = build(kind, data["attributes"], reader.arrays(kind, data["attributes"], where), where)
        wanted = slots(layer, inputs, _stimuli(layer, inputs, shapes, where))
    except ContractError as error:
        raise InputError(f"{where} ({name[:40]!r}): {error}") from None
    if [slot.role for slot in wanted] != list(shapes):
        raise InputError(f"{where}.memories: found {', '.join(shapes)[:80]}, allowed {', '.join(s.role for s in wanted)}.")
    memories = tuple(_memory(slot, name, layout, shapes, digests, where) for slot in wanted)
    packaged = PackagedLayer(index, name, inputs, layer, memories, events)
    return replace(packaged, first_turns=_first_turns(packaged, data["draws"], f"{where}.draws"))


def _first_turns(packaged: PackagedLayer, data: Any, where: str) -> tuple[int, ...]:
    """The turn in which each image's draws begin: that is for the network to say, the states follow from it."""
    drawn, images = packaged.drawn, packaged.shape[0]
    if drawn is None:
        return ()
    fields(data, {"turns", "images"}, where)
    if not isinstance(data["images"], list) or len(data["images"]) != images:
        raise InputError(f"{where}.images: found {str(data['images'])[:40]}, allowed a list of {images}, one for each image.")
    for i, entry in enumerate(data["images"]):
        fields(entry, {"first_turn", "before", "after"}, f"{where}.images[{i}]")
    turns = tuple(typed(int, entry["first_turn"], f"{where}.images[{i}].first_turn") for i, entry in enumerate(data["images"]))
    steps = {b - a for a, b in zip(turns, turns[1:], strict=False)}
    good = all(0 <= turn <= MOST_TURNS - drawn.turns for turn in turns) and len(steps) <= 1
    per_image = {Reset.LAYER: turns[0] == 0 and steps <= {0}, Reset.IMAGE: steps <= {0}, Reset.NEVER: min(steps, default=0) >= 0}
    if not good or not per_image[drawn.rule.reset]:
        raise InputError(
            f"{where}.images: found first turns {str(turns)[:60]}, allowed what reset {drawn.rule.reset.name} gives, from 0 to "
            f"2**62: LAYER begins at 0, IMAGE with the same turn, NEVER goes on by equal steps."
        )
    return turns


def _memory(
    slot: Slot,
    name: str,
    layout: Layout,
    shapes: dict[str, tuple[int, ...]],
    digests: dict[str, tuple[tuple[str, str], ...]],
    where: str,
) -> Memory:
    if tuple(slot.shape) != shapes[slot.role]:
        raise InputError(
            f"{where}: {slot.role} of {name[:40]!r} has shape {shapes[slot.role]}, allowed {tuple(slot.shape)}, "
            f"which its inputs give."
        )
    image = slot.memory_image(name, layout)
    return Memory(slot.role, slot.source, slot.format, image, digests[slot.role])


def _claims(data: Any, where: str) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[tuple[str, str], ...]]]:
    """Shape and digests of each memory, by role: what the manifest says and the layer does not."""
    if not isinstance(data, list):
        raise InputError(f"{where}: found {str(data)[:40]}, allowed a list.")
    shapes, digests = {}, {}
    for i, entry in enumerate(data):
        at = f"{where}[{i}]"
        fields(entry, {"role", "source", "format", "axes", "shape", "words", "word_bits", "lane_bits", "files"}, at)
        role = typed(str, entry["role"], f"{at}.role")
        if role in shapes:
            raise InputError(f"{at}.role: found {role[:40]!r} twice; each role appears once.")
        shapes[role] = typed(tuple[int, ...], entry["shape"], f"{at}.shape")
        total = 1
        for extent in shapes[role]:
            total *= extent
        if not shapes[role] or min(shapes[role]) < 1 or total > MAX_CODES:
            raise InputError(f"{at}.shape: found {str(shapes[role])[:60]}, allowed extents from 1 and at most 2**40 codes.")
        fields(entry["files"], set(FORMATTERS), f"{at}.files")
        for kind in FORMATTERS:
            fields(entry["files"][kind], {"name", "bytes", "sha256"}, f"{at}.files.{kind}")
        digests[role] = tuple((k, _sha256(entry["files"][k]["sha256"], f"{at}.files.{k}.sha256")) for k in sorted(FORMATTERS))
    return shapes, digests


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME or not _encodes(value):
        raise InputError(f"{where}: found {str(value)[:40]!r}, allowed a Unicode text of at most {MAX_NAME} characters.")
    return value


def _encodes(text: str) -> bool:
    """Half a surrogate pair is no text: neither a file nor a terminal takes it."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _sha256(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) != 64 or set(value) - HEX_DIGITS:
        raise InputError(f"{where}: found {str(value)[:40]!r}, allowed 64 hexadecimal digits in small letters.")
    return value


def _stimuli(layer: Layer, inputs: tuple[str, ...], shapes: dict[str, tuple[int, ...]], where: str) -> list[tuple[int, ...]]:
    """Shapes N C H W of the layer's inputs."""
    roles = [f"stimulus_{i}" if i else "stimulus" for i in range(len(layer.input_formats))]
    found = [shapes.get(role, ()) for role in roles]
    if any(len(shape) != 4 for shape in found) or len({shape[0] for shape in found}) != 1:
        raise InputError(f"{where}.memories: found stimuli of shape {found}, allowed {len(roles)} of shape N C H W, of one N.")
    if inputs and len(inputs) != len(roles):
        raise InputError(f"{where}.inputs: found {len(inputs)} names, allowed {len(roles)}, or none.")
    return found


class _Constants:
    """Reads the arrays that a layer is built from: what they claim is checked before they are."""

    def __init__(
        self,
        folder: Path,
        name: str,
        layout: Layout,
        present: dict[str, int],
        shapes: dict[str, tuple[int, ...]],
        digests: dict[str, tuple[tuple[str, str], ...]],
        formats: dict[str, Any],
    ) -> None:
        self.folder, self.name, self.layout, self.present = folder, name, layout, present
        self.shapes, self.digests, self.formats = shapes, digests, formats

    def arrays(self, kind: str, attributes: Any, where: str) -> dict[str, np.ndarray | None]:
        """Return the arrays by the layer's own field names."""
        if kind == "image_encoding":
            mean = self._load(Slot("mean", None, MEAN, CODE_AXES, self.shapes.get("mean", ())))
            return {"mean": mean.reshape(mean.shape[1:])}
        cls = KINDS.get(kind)
        if cls is None or not issubclass(cls, MacLayer):
            return {} if cls is None else {name: self._table(name, where) for name in array_fields(cls)}
        data = attributes.get("contract") if isinstance(attributes, dict) else None
        contract = typed(MacContract | FloatMacContract, data, f"{where}.attributes.contract")
        weight = self._load(Slot("weights", None, contract.weight, WEIGHT_AXES, self.shapes.get("weights", ())))
        channels = len(weight)
        if isinstance(contract.weight, IntegerFormat):
            contract.weight.lengths(channels)
        bias = None
        if "bias" in self.shapes:
            bias = self._load(Slot("bias", None, bias_meaning(contract, channels), BIAS_AXES, self.shapes["bias"]))
        return {"weight": weight.reshape(channels, -1) if cls is FullyConnected else weight, "bias": bias}

    def _table(self, name: str, where: str) -> np.ndarray | None:
        """An array of a layer that is no MAC layer: the manifest says its type, which the layer then checks."""
        if name not in self.shapes:
            return None
        shape, at = self.shapes[name], f"{where}.memories, {name}.format"
        fmt = typed(FixedPoint, self.formats[name], at)
        if fmt.per_channel or fmt.fl() or fmt.bits not in (8, 16, 32, 64):
            raise InputError(f"{at}: found {fmt}, allowed integers of 8, 16, 32 or 64 bits.")
        axes = BIAS_AXES if len(shape) == 1 else CODE_AXES if shape[0] == 1 else WEIGHT_AXES
        array = self._load(Slot(name, None, fmt, axes, shape))
        return array[0] if axes == CODE_AXES else array

    def _load(self, slot: Slot) -> np.ndarray:
        at = f"{self.folder.parent.name}/{self.folder.name}/{slot.role}.npy"
        if len(slot.shape) != len(slot.axes):
            raise InputError(f"{at}: found shape {slot.shape}, allowed axes {' '.join(slot.axes)}.")
        memory = Memory(slot.role, None, slot.format, slot.memory_image(self.name, self.layout), self.digests[slot.role])
        name = f"{self.folder.name}/{slot.role}.npy"
        _check_size(self.folder.parent, name, memory.image.sizes()["npy"], self.present)
        return load_npy(self.folder, memory)


def _check_order(layers: tuple[PackagedLayer, ...], where: str) -> None:
    names = [layer.name for layer in layers]
    if len(set(names)) != len(names) or any(a.index >= b.index for a, b in zip(layers, layers[1:], strict=False)):
        raise InputError(f"{where}: layers: names must differ and indices must rise, as they do in the network.")
    place = {layer.name: layer.index for layer in layers}
    for layer in layers:
        late = [name for name in layer.inputs if place.get(name, -1) >= layer.index]
        if late:
            raise InputError(f"{where}: layer {layer.name!r} reads {late[0]!r}, which stands behind it; inputs stand before.")


def _check_files(package: Package, present: dict[str, int]) -> None:
    wanted = package.files()
    for name in sorted(present.keys() - wanted.keys() - {MANIFEST}):
        raise InputError(f"{package.path.name}/{name}: the manifest names no such file; remove it.")
    for name, size in wanted.items():
        _check_size(package.path, name, size, present)


def _check_size(path: Path, name: str, size: int, present: dict[str, int]) -> None:
    if name not in present:
        raise InputError(f"{path.name}/{name}: is missing; write the package again.")
    if present[name] != size:
        raise InputError(f"{path.name}/{name}: found {present[name]} bytes, allowed {size}, which its shape and format give.")


def load_bytes(folder: Path, memory: Memory, kind: str) -> bytes:
    """Read one file of a memory; its size and its digest must be the manifest's."""
    name, size = memory.file(kind), memory.image.sizes()[kind]
    data = read_bytes(folder / name, size)
    if len(data) != size or digest(data) != dict(memory.sha256)[kind]:
        raise InputError(
            f"{folder.parent.name}/{folder.name}/{name}: its sha256 is {digest(data)[:16]}..., allowed is "
            f"{dict(memory.sha256)[kind][:16]}... as the manifest says; the file was changed, take a fresh copy."
        )
    return data


def load_npy(folder: Path, memory: Memory) -> np.ndarray:
    """Return a memory's codes from its npy file; the header must be the one that this shape and type have."""
    data, image = load_bytes(folder, memory, "npy"), memory.image
    header = npy_header(image.dtype, image.npy_shape)
    if data[: len(header)] != header:
        name = f"{folder.parent.name}/{folder.name}/{memory.file('npy')}"
        raise InputError(f"{name}: found another npy header, allowed {header[10:].decode().strip()}.")
    codes = np.frombuffer(data, dtype=image.dtype.newbyteorder("<"), offset=len(header)).reshape(image.npy_shape)
    return from_npy(codes, image)
