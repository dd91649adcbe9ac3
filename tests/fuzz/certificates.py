"""Attacks on certificates: a report of `hwsim overflow --out`, checked again against the network that it names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import hwsim
from fuzz.harness import Reader
from fuzz.mutate import json_fields
from hwsim.arith.overflow import Overflow
from hwsim.contract import Accumulator, Axis, MacContract, Output, Schedule, Spill, Tree, ZeroSkip
from hwsim.formats import FixedPoint
from hwsim.layers import Convolution, FullyConnected, ImageEncoding, Shape
from hwsim.network.preprocessing import ChannelOrder, Preprocessing
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from hwsim.proofs.overflow import Ranges

S8 = FixedPoint(8, 0)
FILE = "report.json"


@cache
def network() -> QuantizedNetwork:
    """A convolution with a tree that saturates and a spill buffer, one whose taps close up, and a layer without an order."""
    rng = np.random.default_rng(8)
    tree = Tree(bits=(14, 15), overflow=Overflow.SATURATE)
    spilled = Schedule(lanes=3, lane_axis=Axis.S, tree=tree, spill=Spill(2, 15, 2))
    packed = Schedule(lanes=2, lane_axis=Axis.S, skip_zeros=ZeroSkip.EITHER, tree=Tree(bits=(14,), overflow=Overflow.WRAP))
    first, second, last = (
        MacContract(S8, S8, Output(S8), Accumulator(16, schedule=schedule)) for schedule in (spilled, packed, None)
    )
    nodes = (
        QuantizedNode("data", (), ImageEncoding.from_real((100.0, 7.0), 1.0, Output(S8))),
        QuantizedNode("conv1", ("data",), Convolution(first, rng.integers(-128, 128, (3, 2, 3, 2)), np.array([5, 0, -9]), pad=1)),
        QuantizedNode("conv2", ("conv1",), Convolution(second, rng.integers(-9, 9, (2, 3, 1, 1)))),
        QuantizedNode("fc", ("conv2",), FullyConnected(last, rng.integers(-128, 128, (3, 2 * 4 * 6)))),
    )
    return QuantizedNetwork("attacked", nodes, Shape(2, 4, 5), Preprocessing(ChannelOrder.GRAY, (4, 5)), "by hand")


def _read(folder: Path, data: bytes) -> None:
    (folder / FILE).write_bytes(data)
    found = hwsim.verify_certificates(folder / FILE, network())
    assert str(found).replace("\n", "").isprintable() and json.dumps(found.to_json())


def _reports() -> Sequence[bytes]:
    good = [hwsim.overflow(network(), ranges=ranges, witnesses=False).to_json() for ranges in Ranges]
    claims = [json.dumps(each).encode() for each in _claims(good[0])]
    hostile = [b"[" * 1_000_000, b"[" + b"[]," * 1_000_000 + b"[]]", b"9" * 4000, b"{}"]
    return [*(json.dumps(each).encode() for each in good), *claims, *hostile]


def _claims(report: Any) -> Sequence[Any]:
    """Certificates that ask for more than they hold: images, channels, levels and registers without end."""
    found = []
    for path, value in (
        (("input_shape",), [2, 1 << 27, 1]),
        (("input_shape",), [2, 1, 1 << 62]),
        (("accumulator", "bits"), [10**39] * 3),
        (("accumulator", "high"), [10**39] * 3),
        (("tree",), [{}] * 100_000),
        (("tight",), [True] * 1_000_000),
        (("input_range", "low"), [0] * 1_000_000),
        (("name",), "x" * 1_000_000),
    ):
        document = json.loads(json.dumps(report))
        certificate = document["layers"][0]["certificate"]
        for key in path[:-1]:
            certificate = certificate[key]
        certificate[path[-1]] = value
        found.append(document)
    return found


READERS = (Reader("certificate", FILE, lambda folder: None, _read, _reports, json_fields, good=2),)
