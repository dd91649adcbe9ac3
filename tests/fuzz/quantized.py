"""Attacks on the directory .hwnet: its network.json, and its weight files under the digests that fit them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import hwsim
from fuzz.caffe import LYING_HEADERS, npy
from fuzz.harness import Reader
from fuzz.mutate import bytewise, json_fields
from hwsim.contract import Output
from hwsim.formats import FixedPoint
from hwsim.layers import AveragePool, CountRule, EltwiseSum, HostLRN, Region, ReLU, Window
from hwsim.network.preprocessing import Preprocessing
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from support.networks import U8, branching

WIDE = FixedPoint(16, -5)


def network() -> QuantizedNetwork:
    """The branching network with the kinds of layers that it lacks, and a mean for each pixel."""
    plain = branching()
    more = (
        QuantizedNode("average", ("outer",), AveragePool(U8, Window((3, 3), (1, 1), (1, 1)), CountRule.CAFFE, Output(U8))),
        QuantizedNode("relu", ("outer",), ReLU(U8)),
        QuantizedNode("sum", ("average", "relu"), EltwiseSum((U8, U8), Output(WIDE))),
        QuantizedNode("lrn", ("sum",), HostLRN(WIDE, Region.ACROSS_CHANNELS, 5, 1.0, 0.75, 1.0, Output(U8))),
    )
    place = [node.name for node in plain.nodes].index("fc")
    nodes = (*plain.nodes[:place], *more, *plain.nodes[place:])
    old = plain.preprocessing
    return replace(plain, nodes=nodes, preprocessing=Preprocessing(old.channel_order, old.size, old.mean, 1.0, True))


def _prepare(folder: Path) -> None:
    network().save(folder / "net.hwnet")
    (folder / "outside.npy").write_bytes(npy(np.zeros(3, np.float32)))


def _document(folder: Path) -> dict:
    return json.loads((folder / "good.json").read_text())


def _read(folder: Path, data: bytes) -> None:
    """Bytes of a .npy take the place of a weight file, digest included; all others are the network.json."""
    inner = folder / "net.hwnet"
    kept = folder / "good.json"
    if not kept.exists():
        kept.write_bytes((inner / "network.json").read_bytes())
        (folder / "good.npy").write_bytes((inner / "weights" / _array(kept)).read_bytes())
    name = _array(kept)
    if data.startswith(b"\x93NUMPY"):
        document = json.loads(kept.read_text())
        document["digests"]["files"][name] = hashlib.sha256(data).hexdigest()
        (inner / "weights" / name).write_bytes(data)
        data = json.dumps(document).encode()
    else:
        (inner / "weights" / name).write_bytes((folder / "good.npy").read_bytes())
    (inner / "network.json").write_bytes(data)
    opened = hwsim.load(inner)
    text = str(opened)
    assert text.replace("\n", "").isprintable(), text
    json.dumps([opened.to_json(), [node.to_json() for node in opened]])


def _array(kept: Path) -> str:
    return sorted(json.loads(kept.read_text())["digests"]["files"])[0]


def _seeds() -> Sequence[bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder))
        inner = Path(folder, "net.hwnet")
        good = (inner / "network.json").read_bytes()
        array = (inner / "weights" / _array(inner / "network.json")).read_bytes()
    document = json.loads(good)
    hostile = [
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        b"9" * 1_000_000,
        b"[" + b"[]," * 1_000_000 + b"[]]",
        b"{" + b",".join(b'"%d":0' % i for i in range(200_000)) + b"}",
        json.dumps(document | {"nodes": document["nodes"][:1] * 20_000}).encode(),
        json.dumps(document | {"name": "x" * 1_000_000}).encode(),
        json.dumps(document | {"name": "a\x1b[2J"}).encode(),
        json.dumps(document | {"dialect": "\ud800"}).encode(),
    ]
    extreme = [npy(np.full((5, 3, 3, 3), value, "<f4")) for value in (np.nan, np.inf, 1e38, 1e-45)]
    return [good, array, *hostile, *LYING_HEADERS, *extreme]


def _mutate(data: bytes, rng: random.Random) -> bytes:
    return (bytewise if data.startswith(b"\x93NUMPY") else json_fields)(data, rng)


READERS = (Reader("hwnet", "net.hwnet", _prepare, _read, _seeds, _mutate),)
