"""Write a golden package: the same network, input codes and layout give the same bytes, always."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hwsim.errors import InputError
from hwsim.execute.trace import LayerTrace, Trace
from hwsim.golden.describe import plain
from hwsim.golden.layout import Layout
from hwsim.golden.package import MANIFEST, Memory, Package, PackagedLayer, Slot, constants, manifest_bytes, slots
from hwsim.golden.wide import accumulators
from hwsim.golden.words import FORMATTERS, Image, digest
from hwsim.layers import Layer, MacLayer
from hwsim.network.storage import writing_directory

Entry = tuple[int, tuple[str, ...], LayerTrace]


def write_golden(
    trace: Trace | LayerTrace,
    path: str | os.PathLike[str],
    layers: Sequence[str] | None = None,
    layout: Layout | None = None,
    force: bool = False,
    command: Sequence[str] = (),
) -> Package:
    """package = stimulus, weights, bias, accumulator and expected output of each layer, as memory images with a manifest.

    trace: of a network, with accumulators; or of one layer on its own.  path: a directory that does not exist; `force`
    replaces an older package, as a whole and at the end.  layers: names, None for all.  command: words to store, as told.
    Errors: InputError where a layer is unknown, the directory exists, or the disk is full; then nothing is left behind.
    """
    path, layout = Path(path), Layout() if layout is None else layout
    entries = _entries(trace, layers)
    if isinstance(trace, LayerTrace):
        name, sha256 = trace.name, network_digest([(trace.name, (), trace.layer)])
    else:
        nodes = [(node.name, node.inputs, node.layer) for node in trace.network]
        name, sha256 = trace.network.name, network_digest(nodes)
    with writing_directory(path, force, MANIFEST) as folder:
        written = tuple(_write_layer(entry, folder, layout) for entry in entries)
        package = Package(path, name, sha256, layout, written, _without_paths(command))
        (folder / MANIFEST).write_bytes(manifest_bytes(package.manifest()))
    return package


def _entries(trace: Trace | LayerTrace, names: Sequence[str] | None) -> list[Entry]:
    """The layers to write, in the network's order: (place in the network, names of its inputs, its trace)."""
    if isinstance(trace, LayerTrace):
        everything: list[Entry] = [(0, (), trace)]
    else:
        nodes = [(i, node) for i, node in enumerate(trace.network) if node.name in trace.layers]
        everything = [(i, node.inputs, trace[node.name]) for i, node in nodes]
    known = [layer.name for _, _, layer in everything]
    for name in [] if names is None else names:
        if name not in known:
            raise InputError(f"layers: the trace has no layer {name!r}; it has {', '.join(known)}.")
    chosen = [entry for entry in everything if names is None or entry[2].name in names]
    if not chosen:
        raise InputError("layers: found none to write; name at least one, or leave them out to write all.")
    return chosen


def network_digest(nodes: Sequence[tuple[str, tuple[str, ...], Layer]]) -> str:
    """sha256 of everything that settles a bit: names, edges, attributes, contracts and the codes of weights and biases."""
    state = hashlib.sha256()
    for name, inputs, layer in nodes:
        text = json.dumps([name, list(inputs), layer.kind, plain(layer)], sort_keys=True)
        state.update(text.encode("ascii") + b"\n")
        for role, codes in sorted(constants(layer).items()):
            state.update(f"{role} {codes.shape}\n".encode("ascii") + codes.astype("<i8").tobytes())
    return state.hexdigest()


def layer_digest(layer: Layer) -> str:
    """sha256 of a layer's attributes, contract and codes, whatever its name."""
    return network_digest([("", (), layer)])


def _without_paths(command: Sequence[str]) -> tuple[str, ...]:
    """Keep the last component of each word that is a path on the machine that wrote the package."""
    return tuple(word.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if os.path.isabs(word) else word for word in command)


def arrays(trace: LayerTrace) -> dict[str, np.ndarray]:
    """Return every array of a layer's trace by its role in the package."""
    found = {f"stimulus_{i}" if i else "stimulus": codes for i, codes in enumerate(trace.inputs)}
    found |= constants(trace.layer)
    if isinstance(trace.layer, MacLayer):
        acc = accumulators(trace)
        if acc is None:
            raise InputError(f"layer {trace.name!r}: the trace has no accumulators; run the network with acc=True.")
        found["accumulator"] = acc
    return found | {"expected": trace.codes}


def _write_layer(entry: Entry, folder: Path, layout: Layout) -> PackagedLayer:
    index, inputs, trace = entry
    codes = arrays(trace)
    wanted = slots(trace.layer, inputs, [c.shape for c in trace.inputs])
    first_turns = () if trace.draws is None else trace.draws.first_turns
    packaged = PackagedLayer(index, trace.name, inputs, trace.layer, (), trace.events, first_turns)
    (folder / packaged.folder).mkdir()
    memories = []
    for slot in wanted:
        image = slot.memory_image(trace.name, layout)
        digests = _write_memory(codes[slot.role], slot, image, folder / packaged.folder)
        memories.append(Memory(slot.role, slot.source, slot.format, image, digests))
    return replace(packaged, memories=tuple(memories))


def _write_memory(codes: np.ndarray, slot: Slot, image: Image, folder: Path) -> tuple[tuple[str, str], ...]:
    digests = []
    for kind, formatter in sorted(FORMATTERS.items()):
        data = formatter(codes, image)
        (folder / f"{slot.role}.{kind}").write_bytes(data)
        digests.append((kind, digest(data)))
    return tuple(digests)
