"""Arm's tosa-tools, wherever it is installed: makes the tests, the reference model's answers, and plain arrays out of both.

hwsim never imports tosa: it runs the tools' programs (tosa-tools pins an old numpy, so it lives in an environment of its own).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from hwsim.errors import InputError

GENERATOR = "tosa_verif_conformance_generator"
PROFILES = ("tosa-pro-int",)
EXTENSIONS = ("tosa-ext-int16", "tosa-ext-int4", "tosa-ext-doubleround", "tosa-ext-inexactround")
LAYOUT = 3
"""Of the cached files; a change of what is stored raises it, so that old files are made anew."""


@dataclass(frozen=True)
class Tools:
    """An installation of tosa-tools. programs: folder of its console scripts.  binaries: of flatc, tosa.fbs and the model."""

    version: str
    programs: Path
    binaries: Path


@dataclass(frozen=True)
class TosaTest:
    """One test, decoded.

    operator: TOSA's name.  attributes: as the specification names them.  types, arrays: of the inputs in the operator's order
    (shapes are int64 arrays of type SHAPE).  expected: the reference model's answer, of type output_type.
    inexact: whether the suite allows INEXACT_ROUND's band.
    """

    operator: str
    name: str
    attributes: Mapping[str, Any]
    types: tuple[str, ...]
    arrays: tuple[np.ndarray, ...]
    output_type: str
    expected: np.ndarray
    upper: np.ndarray | None


@dataclass(frozen=True)
class Listed:
    """A test in the cache. shapes: of the inputs.  outputs: elements of the result.  file, number: where its arrays are."""

    operator: str
    name: str
    attributes: Mapping[str, Any]
    types: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    output_type: str
    outputs: int
    ranged: bool
    file: Path
    number: int

    def load(self) -> TosaTest:
        """Return the test with its arrays."""
        count = len(self.types)
        arrays = _arrays(self.file, self.number, count + 1 + self.ranged)
        upper = arrays[-1] if self.ranged else None
        return TosaTest(
            self.operator, self.name, self.attributes, self.types, arrays[:count], self.output_type, arrays[count], upper
        )


@lru_cache(maxsize=2)
def _arrays(file: Path, number: int, count: int) -> tuple[np.ndarray, ...]:
    """Return a test's arrays: each backend asks for them in turn, and all tests together would be a gigabyte."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            return tuple(stored[f"{number}.{i}"] for i in range(count))
    except (OSError, ValueError, KeyError, BadZipFile, EOFError):
        raise InputError(f"{file}: is damaged or gone; delete its folder, and the tests are made anew.") from None


def find_tools() -> Tools:
    """Return the installation that HWSIM_TOSA names (an environment or its bin folder), else the one on PATH."""
    folder = _programs(os.environ.get("HWSIM_TOSA"))
    look = "import importlib.metadata as m, sysconfig; print(m.version('tosa-tools')); print(sysconfig.get_path('purelib'))"
    version, packages = _run([str(folder / "python"), "-c", look], folder).split()
    return Tools(version, folder, Path(packages) / "bin")


def _programs(named: str | None) -> Path:
    if named:
        for folder in (Path(named), Path(named) / "bin"):
            if (folder / GENERATOR).is_file():
                return folder.absolute()
        raise InputError(f"HWSIM_TOSA={named}: no {GENERATOR} is there; name an environment with tosa-tools in it.")
    found = shutil.which(GENERATOR)
    if found is None:
        raise InputError(
            "tosa-tools is not installed: `make conform` does it, into .venv-tosa; HWSIM_TOSA names another environment."
        )
    return Path(found).parent.absolute()


def _run(command: Sequence[str], cwd: Path) -> str:
    """Run one of the tools in its own environment: its scripts call each other by name, and must not see hwsim's packages."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment["PATH"] = os.pathsep.join([str(Path(command[0]).parent), environment.get("PATH", "")])
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        program, words = Path(command[0]).name, (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise InputError(f"{program} failed with exit code {done.returncode} ({words[-1]}); install tosa-tools anew.")
    return done.stdout


def cache_folder(tools: Tools) -> Path:
    """Return where decoded tests are kept: they are the same for one version of the tools."""
    base = os.environ.get("HWSIM_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hwsim"
    )
    return Path(base) / f"tosa-{tools.version}-{LAYOUT}"


def tests_of(tools: Tools, operator: str, extensions: Sequence[str] = EXTENSIONS) -> list[Listed]:
    """Return the suite's positive integer tests of one operator, made now or read from the cache.

    operator: in TOSA's lower case.  extensions: of the profile, whose tests are made besides; fewer are made sooner.
    Errors: InputError where a tool fails or the cache cannot be written.
    """
    folder = cache_folder(tools)
    if tuple(extensions) != EXTENSIONS:
        folder = folder / "-".join(extensions)
    index, arrays = folder / f"{operator}.json", folder / f"{operator}.npz"
    if not index.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{operator}.", dir=folder) as work:
                _make(tools, operator, extensions, Path(work))
                os.replace(Path(work) / "arrays.npz", arrays)
                os.replace(Path(work) / "index.json", index)  # last: where it stands, the other does
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror}); set HWSIM_CACHE to a folder that can.") from None
    try:
        records = json.loads(index.read_text(encoding="utf-8"))
        return [_listed(record, arrays, number) for number, record in enumerate(records)]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{index}: is damaged; delete its folder, and the tests are made anew.") from None


def _make(tools: Tools, operator: str, extensions: Sequence[str], work: Path) -> None:
    """Generate an operator's tests, ask the reference model, and write arrays.npz and index.json into `work`."""
    jobs = str(os.cpu_count() or 1)
    command = [str(tools.programs / GENERATOR), "--operators", operator, "--test-type", "positive", "-j", jobs]
    command += ["--profile", *PROFILES, "--extension", *extensions, "--output-type", "binary"]
    _run([*command, "--build-directory", str(work / "build"), "--output-directory", str(work / "tests")], work)
    folders = sorted(path.parent for path in (work / "tests").rglob("desc.json"))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        list(pool.map(lambda folder: _answer(tools, folder), folders))
    index: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {}
    for number, folder in enumerate(folders):
        try:
            record, found = _decode(folder)
        except (ValueError, KeyError, IndexError):
            raise InputError(f"tosa-tools {tools.version} writes {folder.name} in another way than hwsim reads it.") from None
        index.append(record)
        arrays.update({f"{number}.{i}": array for i, array in enumerate(found)})
    np.savez_compressed(work / "arrays.npz", **arrays)
    (work / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _answer(tools: Tools, folder: Path) -> None:
    """Put the reference model's result and the test as JSON beside the test; where a range is allowed, its two ends."""
    flags = ("--json", "--strict-json", "--defaults-json", "--raw-binary")
    _run([str(tools.binaries / "flatc"), *flags, str(tools.binaries / "tosa.fbs"), "--", "test.tosa"], folder)
    precise = ["--precise_mode", "1"] if _ranged(json.loads((folder / "desc.json").read_text(encoding="utf-8"))) else []
    _run([str(tools.binaries / "tosa_reference_model"), "--test_desc", "desc.json", *precise], folder)


def _ranged(description: dict[str, Any]) -> bool:
    return {entry["mode"] for entry in description["meta"]["compliance"]["tensors"].values()} == {"RESCALE_INEXACT"}


def _decode(folder: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return what index.json says of a test, and its arrays: the inputs, the expected output, the upper end of a range."""
    description = json.loads((folder / "desc.json").read_text(encoding="utf-8"))
    block = json.loads((folder / "test.json").read_text(encoding="utf-8"))["regions"][0]["blocks"][0]
    (operator,) = [op for op in block["operators"] if op["op"] not in ("CONST", "CONST_SHAPE")]
    (output,) = operator["outputs"]
    files = dict(zip(description["ifm_name"], description["ifm_file"], strict=True))
    tensors = {tensor["name"]: tensor for tensor in block["tensors"]}
    shapes = {shape["name"]: shape for shape in block["shapes"]}
    arrays = [_input(name, files, tensors, shapes, folder) for name in operator["inputs"]]
    (result,) = description["ofm_file"]
    arrays.append(np.load(folder / result, allow_pickle=False))
    if _ranged(description):
        arrays.append(np.load(folder / f"bounds_{result}", allow_pickle=False))
    record = {
        "operator": operator["op"],
        "name": folder.name,
        "attributes": operator["attribute"],
        "types": [tensors[name]["type"] if name in tensors else "SHAPE" for name in operator["inputs"]],
        "shapes": [array.shape for array in arrays[: len(operator["inputs"])]],
        "output_type": tensors[output]["type"],
        "outputs": arrays[len(operator["inputs"])].size,
        "ranged": _ranged(description),
    }
    return record, arrays


def _input(
    name: str, files: dict[str, str], tensors: dict[str, dict[str, Any]], shapes: dict[str, dict[str, Any]], folder: Path
) -> np.ndarray:
    if name in shapes:
        return np.frombuffer(bytes(shapes[name]["data"]), "<i8")
    if name in files:
        return np.asarray(np.load(folder / files[name], allow_pickle=False))
    tensor = tensors[name]
    return constant(bytes(tensor["data"]), tensor["type"], tuple(tensor["shape"]))


STORED = {"BOOL": "?", "INT8": "i1", "INT16": "<i2", "INT32": "<i4"}


def constant(data: bytes, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a tensor out of TOSA's bytes: int4 two to a byte, the low one first; int48 in 6 bytes; little-endian.

    >>> constant(bytes([0xF1, 0x08]), "INT4", (3,)).tolist()
    [1, -1, -8]
    >>> constant(b"\\xff\\xff\\xff\\xff\\xff\\xff" + bytes([0, 1, 0, 0, 0, 0]), "INT48", (2,)).tolist()
    [-1, 256]
    """
    count = int(np.prod(shape, dtype=np.int64))
    if kind == "INT4":
        raw = np.frombuffer(data, np.uint8)
        nibbles = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1)[:count].astype(np.int8)
        return ((nibbles ^ 8) - 8).reshape(shape)
    if kind == "INT48":
        words = np.frombuffer(data, np.uint8)[: 6 * count].reshape(count, 6)
        top = np.where(words[:, 5:] >= 128, 255, 0).astype(np.uint8)
        return np.hstack([words, top, top]).view("<i8").reshape(shape)
    stored = np.frombuffer(data, STORED[kind])  # padded at the end
    return stored[:count].reshape(shape)


def _listed(record: dict[str, Any], file: Path, number: int) -> Listed:
    types, shapes = tuple(record.pop("types")), tuple(tuple(shape) for shape in record.pop("shapes"))
    return Listed(types=types, shapes=shapes, file=file, number=number, **record)
