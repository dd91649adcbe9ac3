"""Attacks on golden packages: the manifest, arrays under digests that fit them, and a device's dump."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hwsim
from fuzz.caffe import LYING_HEADERS, npy
from fuzz.harness import Reader
from fuzz.mutate import bytewise, json_fields, textual
from support.golden import GOLDEN, forge

NAMES = (
    "conv_wrap", "fc_s16", "every_layer", "conv_saturate", "minifloat_exact", "minifloat_ordered", "pow2", "stochastic",
    "affine_unsigned", "more_layers", "values", "affine",
)  # fmt: skip


def _prepare(folder: Path) -> None:
    for name in NAMES:
        shutil.copytree(GOLDEN / name, folder / "pkg" / name)
    shutil.copytree(GOLDEN / "conv_wrap", folder / "pkg" / "forged")


def _read_manifest(folder: Path, data: bytes) -> None:
    """A manifest, for the package whose layers it names."""
    package = folder / "pkg" / next((name for name in NAMES if name.encode() in data), "fc_s16")
    (package / "manifest.json").write_bytes(data)
    _use(package)


def _read_array(folder: Path, data: bytes) -> None:
    """An array for a weight file, its digest set right."""
    package = folder / "pkg" / "forged"
    shutil.copy(GOLDEN / "conv_wrap" / "manifest.json", package)
    forge(package, "000_conv_wrap/weights.npy", data)
    _use(package)


def _use(package: Path) -> None:
    opened = hwsim.read_golden(package)
    text = str(opened)
    assert text.replace("\n", "").isprintable(), text
    json.dumps(opened.to_json())


def _manifests() -> Sequence[bytes]:
    good = {name: (GOLDEN / name / "manifest.json").read_bytes() for name in NAMES}
    document = json.loads(good["fc_s16"])
    wrapped = json.loads(good["conv_wrap"])
    wrapped["layout"]["codes"] |= {"order": "NHWCch", "tiles": {"CH": 2}}
    long = json.loads(good["fc_s16"])
    long["layers"][0]["name"] = "\u00e9" * 500_000
    shape = json.loads(good["fc_s16"])
    shape["layers"][0]["memories"][0]["shape"] = [10**3000] * 300
    lrn = json.loads(good["every_layer"])
    for layer in lrn["layers"]:
        if layer["kind"] == "host_lrn":
            layer["attributes"]["alpha"] = 10**400
    deep = json.dumps(document | {"command": 0}).replace('"command": 0', '"command": ' + "[" * 900 + "]" * 900)
    role = json.loads(good["fc_s16"])
    role["layers"][0]["memories"][0]["role"] = "a\n\x1b[2J"
    claims = [json.dumps(d).encode() for d in _claims(good)]
    hostile = [b"[" * 1_000_000, b"[" + b"[]," * 1_000_000 + b"[]]", b"9" * 4000, deep.encode()]
    return [*good.values(), *(json.dumps(d).encode() for d in (wrapped, long, shape, lrn, role)), *claims, *hostile]


def _claims(good: dict[str, bytes]) -> Sequence[Any]:
    """Manifests that ask for more than they hold: lanes, steps, spills, registers of long periods, turns far from a reset."""
    found = []
    for lanes, axis, tail in ((4096, "R", "IDLE"), (4096, "C", "PACKED"), (1 << 30, "C", "IDLE")):
        document = json.loads(good["conv_saturate"])
        schedule = document["layers"][0]["attributes"]["contract"]["accumulator"]["schedule"]
        schedule |= {"lanes": lanes, "lane_axis": axis, "tail": tail, "order": "SRC"}
        schedule["tree"]["bits"] = None
        found.append(document)
        chain = json.loads(json.dumps(document))
        tree = chain["layers"][0]["attributes"]["contract"]["accumulator"]["schedule"]["tree"]
        tree |= {"pairing": "CHAIN", "bits": [62] * (lanes - 1 if lanes < 1 << 20 else 1 << 16)}
        found.append(chain)
    for name, value in (("clocks", 1 << 20), ("seeds", [1] * 4096), ("seeds", [1] * (1 << 16)), ("reset", "NEVER")):
        document = json.loads(good["stochastic"])
        document["layers"][0]["attributes"]["contract"]["output"]["rounding"][name] = value
        for image in document["layers"][0]["draws"]["images"]:
            image["first_turn"] += 1 << 61
        found.append(document)
    wide = json.loads(good["stochastic"])
    wide["layers"][0]["attributes"]["contract"]["output"]["rounding"]["lfsr"] |= {"width": 64, "polynomial": [64, 63, 61, 60]}
    images = wide["layers"][0]["draws"]["images"]
    wide["layers"][0]["draws"]["images"] = images * 1000
    grids = json.loads(good["minifloat_exact"])
    contract = grids["layers"][0]["attributes"]["contract"]
    for side, bias in (("input", -512), ("weight", 512)):
        contract[side] |= {"exp_bits": 8, "man_bits": 23, "bias": bias}
    return [*found, wide, grids]


def _arrays() -> Sequence[bytes]:
    return [(GOLDEN / "conv_wrap" / "000_conv_wrap" / "weights.npy").read_bytes(), *LYING_HEADERS]


KINDS = {"h": "hex", "b": "bin", "n": "npy"}


def _read_dump(folder: Path, data: bytes) -> None:
    """The first byte says which kind of dump the rest is; a capital letter, that it is one of the second package."""
    key = data[:1].decode("latin-1")
    file = folder / f"dump.{KINDS.get(key.lower(), 'hex')}"
    file.write_bytes(data[1:])
    report = hwsim.check(folder / "pkg" / NAMES[key.isupper()], dump=file)
    assert str(report) and json.dumps(report.to_json())


def _dumps() -> Sequence[bytes]:
    found = []
    for name, keys in zip(NAMES, (KINDS, map(str.upper, KINDS)), strict=False):
        package = hwsim.read_golden(GOLDEN / name)
        folder = GOLDEN / name / package.layers[0].folder
        found += [key.encode() + (folder / f"expected.{KINDS[key.lower()]}").read_bytes() for key in keys]
        words = package.layers[0].memories[-1].image.words
        text = "".join(f"@{i:x} {'x' * (i % 3 + 1)} // a\n" for i in range(words))
        found += [b"h" + text.encode(), b"h@0 0 /* a */ @_1 z\n@00 1_2", b"n" + npy(np.zeros(package.layers[0].shape, ">u8"))]
    hostile = [b"h" + b"/*" * 500_000, b"h@-1 0", b"h@+1 0", b"h@0x1 0", b"h@" + b"f" * 900_000, b"h" + b"@0 " * 300_000, b"h/*/"]
    return found + hostile + [b"n" + header for header in LYING_HEADERS]


def _mutate_dump(data: bytes, rng: random.Random) -> bytes:
    return data[:1] + (textual if data[:1] in b"hH" else bytewise)(data[1:], rng)


READERS = (
    Reader("manifest", "/", _prepare, _read_manifest, _manifests, json_fields, good=len(NAMES)),
    Reader("package-array", "forged/", _prepare, _read_array, _arrays, bytewise, good=1),
    Reader("dump", "dump.", _prepare, _read_dump, _dumps, _mutate_dump, good=6),
)
