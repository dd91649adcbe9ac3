"""Golden packages to test with, and a forger who flips bits and then sets every digest right."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hwsim.golden.package import Memory, Package, PackagedLayer
from hwsim.golden.words import FORMATTERS

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def regenerate_module() -> ModuleType:
    """golden/regenerate.py, which is a script and no package."""
    spec = importlib.util.spec_from_file_location("regenerate", GOLDEN / "regenerate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copy_of(name: str, tmp_path: Path) -> Path:
    """A checked-in package to damage."""
    return Path(shutil.copytree(GOLDEN / name, tmp_path / name))


def read_manifest(package: Path) -> Any:
    return json.loads((package / "manifest.json").read_text())


def write_manifest(package: Path, manifest: Any) -> None:
    (package / "manifest.json").write_text(json.dumps(manifest))


def forge(package: Path, file: str, data: bytes) -> None:
    """Put other bytes into a file and set its sha256 in the manifest right."""
    (package / file).write_bytes(data)
    manifest = read_manifest(package)
    folder, name = file.split("/")
    for layer in manifest["layers"]:
        for memory in layer["memories"]:
            for entry in memory["files"].values():
                if layer["folder"] == folder and entry["name"] == name:
                    entry["sha256"] = hashlib.sha256(data).hexdigest()
    write_manifest(package, manifest)


def forge_codes(package: Package, layer: PackagedLayer, memory: Memory, codes: np.ndarray) -> None:
    """Put other codes into all three files of a memory, digests included."""
    for kind, formatter in FORMATTERS.items():
        forge(package.path, f"{layer.folder}/{memory.file(kind)}", formatter(codes, memory.image))
