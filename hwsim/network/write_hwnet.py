"""QuantizedNetwork -> the directory NAME.hwnet: network.json to read and to edit, weights/*.npy as the source had them.

What a layer decides for itself is written; what follows (input formats, the accumulator's grid, the rescales before a
concatenation, all codes) is derived on opening; codes that have no float weights behind them are kept as they are.  How a
layer is written: layer_stanzas.py, contract_stanzas.py and records.py.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.layers import ImageEncoding, MacLayer
from hwsim.network.contract_stanzas import output_stanza
from hwsim.network.layer_stanzas import arrays_of, attributes
from hwsim.network.lower.settle import without_branch_rescales
from hwsim.network.preprocessing import Preprocessing
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from hwsim.network.ranges import Range
from hwsim.network.records import Stanza, format_stanza
from hwsim.network.storage import writing_directory

NETWORK_FILE, WEIGHTS_FOLDER = "network.json", "weights"
MEAN_FILE = "mean.npy"
FORMAT, SCHEMA = "hwsim quantized network", 1


def write_hwnet(network: QuantizedNetwork, path: str | os.PathLike[str], force: bool = False) -> Path:
    """Write the network; return its path. The directory appears whole under its name, or not at all."""
    path = Path(path)
    document, files = document_of(network)
    with writing_directory(path, force, NETWORK_FILE) as folder:
        (folder / WEIGHTS_FOLDER).mkdir()
        for name, data in files.items():
            _write(folder / WEIGHTS_FOLDER / name, data)
        _write(folder / NETWORK_FILE, (pretty(document) + "\n").encode())
    return path


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def document_of(network: QuantizedNetwork) -> tuple[Stanza, dict[str, bytes]]:
    """Return the content of network.json, and the bytes of each weight file by name."""
    files: dict[str, bytes] = {}
    preprocessing = preprocessing_stanza(network.preprocessing, files)
    nodes = []
    for node in without_branch_rescales(network.nodes):
        stanza = node_stanza(node)
        arrays = arrays_of(node.layer if node.source is None else node.source, type(node.layer)) if node.inputs else {}
        if arrays:
            stanza["files"] = _array_files(node, arrays, files)
        nodes.append(stanza)
    document = {
        "format": FORMAT,
        "schema": SCHEMA,
        "name": network.name,
        "dialect": network.dialect,
        "preprocessing": preprocessing,
        "weight_rule": {
            "rule": network.weight_rule.rule.name,
            "method": network.weight_rule.method.name,
            "per_channel": network.weight_rule.per_channel,
        },
        "nodes": nodes,
        "ranges": {name: range_stanza(seen) for name, seen in network.ranges.items()},
        "digests": {
            "files": {name: sha256(data) for name, data in files.items()},
            "contracts": contract_digests(network),
            "codes": {node.name: codes_digest(node.layer) for node in network.nodes if isinstance(node.layer, MacLayer)},
        },
    }
    return document, files


def sha256(data: bytes) -> str:
    """Return the digest in hex."""
    return hashlib.sha256(data).hexdigest()


def codes_digest(layer: MacLayer) -> str:
    """Return the digest of the weight and bias codes, as little-endian int64 in C order, with their shape."""
    digest = hashlib.sha256(repr(layer.weight.shape).encode())
    digest.update(layer.weight.astype("<i8").tobytes())
    if layer.bias is not None:
        digest.update(layer.bias.astype("<i8").tobytes())
    return digest.hexdigest()


def contract_digests(network: QuantizedNetwork) -> dict[str, str]:
    """{node: digest of everything but the weights that can change a bit of it}: its stanza and its input formats."""
    digests = {}
    image = preprocessing_stanza(network.preprocessing, {})
    for node in network.nodes:
        content = [node_stanza(node), [format_stanza(fmt) for fmt in node.layer.input_formats]]
        content += [] if node.inputs else [image]
        digests[node.name] = sha256(json.dumps(content, sort_keys=True).encode())
    return digests


def node_stanza(node: QuantizedNode) -> Stanza:
    """Return what a node decides for itself, without its files. The image's numbers are the preprocessing's, but the output."""
    stanza: Stanza = {"name": node.name, "kind": node.layer.kind, "reads": list(node.inputs)}
    if isinstance(node.layer, ImageEncoding):
        return stanza | {"output": output_stanza(node.layer.output)}
    return stanza | attributes(node.layer)


def range_stanza(seen: Range) -> Stanza:
    """Return a range with all its fields."""
    return {
        "low": seen.low,
        "high": seen.high,
        "clip_low": seen.clip_low,
        "clip_high": seen.clip_high,
        "least_signed": list(seen.least_signed),
        "least_unsigned": list(seen.least_unsigned),
        "rule": seen.rule.name,
        "method": seen.method.name,
    }


def preprocessing_stanza(preprocessing: Preprocessing, files: dict[str, bytes]) -> Stanza:
    """Return how pixels enter; a mean for each pixel goes to a file."""
    mean: Any = preprocessing.mean
    if isinstance(mean, np.ndarray):
        files[MEAN_FILE] = npy(mean)
        mean = MEAN_FILE
    return {
        "channel_order": preprocessing.channel_order.name,
        "size": list(preprocessing.size),
        "mean": list(mean) if isinstance(mean, tuple) else mean,
        "scale": preprocessing.scale,
        "crop": preprocessing.crop,
    }


def npy(array: np.ndarray) -> bytes:
    """Return an array as the bytes of a .npy file, version 1.0, little-endian, C order: floats as float32, codes as they are."""
    file, kind = io.BytesIO(), np.dtype("<f4") if array.dtype.kind == "f" else array.dtype.newbyteorder("<")
    np.lib.format.write_array(file, np.ascontiguousarray(array, dtype=kind), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def _array_files(node: QuantizedNode, arrays: dict[str, np.ndarray | None], files: dict[str, bytes]) -> Stanza:
    """Name a file for each array of a layer: its float weights, or its codes where it was born in integers."""
    names: Stanza = {} if node.source is not None else {"codes": True}
    taken = {name.lower() for name in files}
    for field, array in arrays.items():
        names[field] = None
        if array is not None:
            names[field] = file_name(node.name, field, taken)
            files[names[field]] = npy(array)
    return names


def file_name(layer: str, field: str, taken: set[str]) -> str:
    """Return a file name for a layer's array: its safe letters, and a number where another layer has the same ones.

    >>> file_name("fire2/expand1x1", "weight", {"fire2_expand1x1.weight.npy"})
    'fire2_expand1x1-2.weight.npy'
    """
    slug = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in layer)[:80].lstrip(".") or "_"
    number, name = 1, f"{slug}.{field}.npy"
    while name.lower() in taken:  # file systems that ignore case
        number += 1
        name = f"{slug}-{number}.{field}.npy"
    return name


def pretty(value: Any, indent: int = 0, width: int = 150) -> str:
    """Return JSON that is pleasant to edit: what fits one line and holds no object of objects stands on one line."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, (dict, list)) or not value or (indent + len(flat) <= width and _shallow(value)):
        return flat
    if isinstance(value, list) and not any(isinstance(v, (dict, list)) for v in value):
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, Mapping):
        entries = [f"{json.dumps(k, ensure_ascii=False)}: {pretty(v, indent + 2, width)}" for k, v in value.items()]
        return "{\n" + ",\n".join(pad + entry for entry in entries) + "\n" + " " * indent + "}"
    return "[\n" + ",\n".join(pad + pretty(v, indent + 2, width) for v in value) + "\n" + " " * indent + "]"


def _shallow(value: Any) -> bool:
    values = value.values() if isinstance(value, dict) else value
    return not any(isinstance(v, dict) for v in values)
