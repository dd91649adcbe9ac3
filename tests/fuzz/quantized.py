"""Attacks on the directory .hwnet: its network.json, and its weight files under the digests that fit them."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import hwsim
from fuzz.caffe import LYING_HEADERS, npy
from fuzz.harness import Reader
from fuzz.mutate import bytewise, json_fields
from hwsim.arith.rounding import Rounding
from hwsim.contract import MacContract, Multiplier, Output, Scaling
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import (
    AveragePool,
    Clamp,
    Convolution,
    CountRule,
    EltwiseSum,
    HostLRN,
    LookupTable,
    Pad,
    Region,
    ReLU,
    Rescale,
    Window,
)
from hwsim.network.preprocessing import Preprocessing
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from support.networks import U8, branching

WIDE = FixedPoint(16, -5)
ARRAY = "conv1.weight.npy"


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
    nodes = (*plain.nodes[:place], *more, *affine(), *plain.nodes[place:])
    old = plain.preprocessing
    return replace(plain, nodes=nodes, preprocessing=Preprocessing(old.channel_order, old.size, old.mean, 1.0, True))


def affine() -> tuple[QuantizedNode, ...]:
    """A branch of affine codes and of kinds with arrays, whose codes have no float weights behind them."""
    codes, out = Affine(8, 0.0625, 3), Affine(8, 0.5, -7)
    into = Output(codes, Rounding.TIES_UP, scaling=Multiplier(Scaling.MULTIPLY, 1 << 30, 31))
    scaling = Multiplier(Scaling.HIGH_MULTIPLY, (1 << 30, 1500000000), (33, 35))
    output = Output(out, Rounding.TIES_AWAY, scaling=scaling, clamp_low=-7, clamp_high=100)
    weight = np.arange(2 * 12 * 4).reshape(2, 12, 2, 2) % 255 - 127
    contract = MacContract(codes, Affine(8, (0.25, 0.5), narrow=True), output)
    table = np.arange(256) % 200 - 100
    return (
        QuantizedNode("into", ("outer",), Rescale(U8, into)),
        QuantizedNode("affine", ("into",), Convolution(contract, weight, np.array([5, -5]), pad=(1, 1), pad_end=(0, 1))),
        QuantizedNode("clamp", ("affine",), Clamp(out, -100, 90)),
        QuantizedNode("padded", ("clamp",), Pad(out, (0, 1, 0), (1, 0, 2), 4)),
        QuantizedNode("table", ("padded",), LookupTable(out, Affine(8, 0.01), table)),
    )


def _prepare(folder: Path) -> None:
    network().save(folder / "net.hwnet")
    (folder / "outside.npy").write_bytes(npy(np.zeros(3, np.float32)))


def _read_document(folder: Path, data: bytes) -> None:
    """A network.json."""
    (folder / "net.hwnet" / "network.json").write_bytes(data)
    opened = hwsim.load(folder / "net.hwnet")
    text = str(opened)
    assert text.replace("\n", "").isprintable(), text
    json.dumps([opened.to_json(), [node.to_json() for node in opened]])


def _read_array(folder: Path, data: bytes) -> None:
    """A weight file, under the digest that fits it."""
    file = folder / "net.hwnet" / "network.json"
    document = json.loads(file.read_text())
    document["digests"]["files"][ARRAY] = hashlib.sha256(data).hexdigest()
    (folder / "net.hwnet" / "weights" / ARRAY).write_bytes(data)
    _read_document(folder, json.dumps(document).encode())


def _documents() -> Sequence[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder))
        inner = Path(folder, "net.hwnet")
        good = (inner / "network.json").read_bytes()
    document = json.loads(good)
    rich = [json.dumps(_rich(document, i)).encode() for i in range(len(RICH))]
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
    return [good, *rich, *hostile]


FLOATS = {"accumulator": {"format": {"minifloat": "binary16"}, "product": {"exp_bits": 5, "man_bits": 4, "saturate": True}}}
SCHEDULE = {"order": "SRC", "lanes": 3, "lane_axis": "C", "tail": "PACKED", "bias": "LAST", "padded": "SKIPPED"}
SPILL = {"every": 2, "bits": 20, "shift": 3, "rounding": "FLOOR", "overflow": "SATURATE_SYMMETRIC", "last": True}
LFSR = {"width": 16, "polynomial": [16, 15, 13, 4], "form": "GALOIS"}
RICH: tuple[dict[str, Any], ...] = (
    {"accumulator": {"bits": 20, "require_proof": False, "overflow": "SATURATE", "dropped_bits": 2, "schedule": SCHEDULE}},
    {"accumulator": {"bits": 24, "require_proof": False, "integer_bits": 19, "schedule": {"spill": SPILL}}},
    {"weight": {"exp_min": -8, "exp_max": -1, "zero": "LAST"}, "product": {"guard_bits": 3, "sign_order": "AFTER_ROUNDING"}},
    {"weight": {"minifloat": "e4m3", "saturate": True}, "accumulator": {"exact": True}},
    FLOATS | {"weight": {"exp_bits": 3, "man_bits": 2}},
    {"output": {"rounding": {"lfsr": LFSR, "seeds": [1, 77], "clocks": 3, "reset": "NEVER", "order": "KYX", "tail": "IDLE"}}},
)
"""Fields that make layer conv1 one of each kind of datapath."""


def _rich(document: dict[str, Any], i: int) -> dict[str, Any]:
    found = json.loads(json.dumps(document))
    node = next(node for node in found["nodes"] if node["name"] == "conv1")
    for name, value in RICH[i].items():
        node[name] = node["output"] | value if name == "output" else value
    return found


def _arrays() -> Sequence[bytes]:
    extreme = [npy(np.full((5, 3, 3, 3), value, "<f4")) for value in (np.nan, np.inf, 1e38, 1e-45)]
    source = network()["conv1"].source
    assert source is not None
    return [npy(source.weight), *LYING_HEADERS, *extreme]


READERS = (
    Reader("hwnet", "net.hwnet", _prepare, _read_document, _documents, json_fields, good=1 + len(RICH)),
    Reader("hwnet-array", "net.hwnet", _prepare, _read_array, _arrays, bytewise, good=1),
)
