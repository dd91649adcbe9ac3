"""With every digest set right, a flipped bit still fails, at its coordinate; or it is shown to have no influence."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.golden.package import Memory, Package, PackagedLayer
from hwsim.golden.read import load_npy
from hwsim.golden.report import CheckReport
from hwsim.golden.words import npy_header
from support.golden import copy_of, forge, forge_codes, read_manifest, write_manifest

FIRST = ("conv_ties", "conv_wrap", "ristretto", "fc_s16")
OTHERS = ("conv_saturate", "minifloat_exact", "minifloat_ordered", "pow2", "stochastic")
PACKAGES = (*FIRST, *OTHERS, pytest.param("every_layer", marks=pytest.mark.slow))
FIELDS = (
    *((name, 200) for name in FIRST),
    *((name, 25) for name in OTHERS),
    *(pytest.param(name, 200, marks=pytest.mark.slow) for name in (*OTHERS, "every_layer")),
)
RESULTS = ("expected", "accumulator")


def check(path: Path, backends: tuple[str, ...] = (), spec_outputs: int = 1000) -> CheckReport | None:
    """The report, or None where the package is refused. The specification alone computes every output of a small package."""
    try:
        return hwsim.check(path, backends=backends, spec_outputs=spec_outputs)
    except InputError:
        return None


def computed(package: Package, packaged: PackagedLayer) -> dict[str, np.ndarray]:
    """Every output of a layer by the specification alone: the judge of whether a bit has influence."""
    stimuli = [load_npy(package.path / packaged.folder, m).tolist() for m in packaged.stimuli]
    cells = {at: packaged.spec(stimuli, at) for at in np.ndindex(*packaged.shape)}
    found = {"expected": np.array([c.code for c in cells.values()]).reshape(packaged.shape)}
    if packaged.memory("accumulator") is not None:
        found["accumulator"] = np.array([c.acc for c in cells.values()]).reshape(packaged.shape)
    found["events"] = np.array([c.events for c in cells.values()]).sum(axis=0)
    return found


def has_no_influence(path: Path, original: Path) -> bool:
    """True if the forged package's layers compute exactly what the original's do, events and edges included."""
    forged, first = hwsim.read_golden(path), hwsim.read_golden(original)
    for mine, theirs in zip(forged, first, strict=True):
        a, b = computed(forged, mine), computed(first, theirs)
        if a.keys() != b.keys() or any(not np.array_equal(a[k], b[k]) for k in a):
            return False
    return True


def code_bits(memory: Memory, choice: random.Random, count: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """(coordinate, bit) of codes: all of a small array, else a choice."""
    shape = memory.image.shape
    bits = memory.image.lane_bytes * 8
    everything = [(at, bit) for at in np.ndindex(*shape) for bit in range(bits)]
    yield from everything if len(everything) <= count else choice.sample(everything, count)


def flipped(codes: np.ndarray, at: tuple[int, ...], bit: int) -> np.ndarray:
    forged = codes.copy()
    if codes.dtype == object:
        forged[at] ^= 1 << bit
        return forged
    view = forged.view(f"u{codes.dtype.itemsize}")
    view[at] ^= np.array(1 << bit, dtype=view.dtype)
    return forged


@pytest.mark.parametrize("name", PACKAGES)
def test_a_bit_flipped_in_all_three_files_fails_or_has_no_influence(name: str, tmp_path: Path) -> None:
    original, path = copy_of(name, tmp_path / "original"), copy_of(name, tmp_path)
    package, choice, harmless = hwsim.read_golden(path), random.Random(name), 0
    for packaged in package:
        for memory in packaged.memories:
            codes = load_npy(path / packaged.folder, memory)
            for at, bit in code_bits(memory, choice, 24 if name in FIRST else 6):
                forge_codes(package, packaged, memory, flipped(codes, at, bit))
                report = check(path)
                if memory.role in RESULTS:
                    whole = check(path, ("jit",), spec_outputs=0) if choice.random() < 0.2 else report
                    for alone in (report, whole):
                        assert alone is not None and not alone.passed
                        found = alone.first_mismatch
                        assert found is not None
                        assert (found.layer, found.role, found.coordinate) == (packaged.name, memory.role, at)
                elif report is not None and report.passed:
                    harmless += 1
                    assert has_no_influence(path, original), (packaged.name, memory.role, at, bit)
            forge_codes(package, packaged, memory, codes)
    assert check(path).passed
    assert harmless < 200


@pytest.mark.parametrize("name", PACKAGES)
def test_a_bit_flipped_in_one_file_fails_at_its_code(name: str, tmp_path: Path) -> None:
    path = copy_of(name, tmp_path)
    package, choice = hwsim.read_golden(path), random.Random(name)
    for packaged in package:
        for memory in packaged.memories:
            for kind in ("hex", "bin", "npy"):
                file = f"{packaged.folder}/{memory.file(kind)}"
                data = (path / file).read_bytes()
                for position in choice.sample(range(len(data)), min(len(data), 6 if name in FIRST else 2)):
                    forged = bytearray(data)
                    forged[position] ^= 1 << choice.randrange(8)
                    forge(path, file, bytes(forged))
                    report = check(path)
                    assert report is None or not report.passed, (file, position)
                    where = place_of(memory, kind, position)
                    if report is not None and memory.role in RESULTS and where is not None:
                        first = report.first_mismatch
                        assert first is not None and first.coordinate == where
                        assert first.role == memory.role
                forge(path, file, data)
    assert check(path).passed


def place_of(memory: Memory, kind: str, position: int) -> tuple[int, ...] | None:
    """Coordinate of the code that a byte of a file belongs to; None for headers, line ends and padding."""
    image = memory.image
    lanes = image.layout.lanes
    if kind == "npy":
        index = (position - len(npy_header(image.dtype, image.npy_shape))) // image.lane_bytes
        return None if index < 0 else tuple(int(i) for i in np.unravel_index(index, image.shape))
    if kind == "hex":
        line, column = divmod(position - len(image.header()), image.digits * lanes + 1)
        if line < 0 or column == image.digits * lanes:
            return None
        return image.layout.coordinate(image.shape, line, lanes - 1 - column // image.digits, image.axes)
    word, byte = divmod(position, lanes * image.lane_bytes)
    lane = byte // image.lane_bytes
    if image.layout.byte_order is hwsim.ByteOrder.BIG:
        lane = lanes - 1 - lane
    return image.layout.coordinate(image.shape, word, lane, image.axes)


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from leaves(inner, (*path, i))
    else:
        yield path


def mutations(value: Any) -> list[Any]:
    """The value with single bits flipped, and of another type."""
    if isinstance(value, bool):
        return [not value, int(value)]
    if isinstance(value, int):
        return [value ^ (1 << bit) for bit in (0, 1, 2, 5, 31)] + [-value - 1, None]
    if isinstance(value, str):
        forged = [value[:i] + chr(ord(value[i]) ^ 1) + value[i + 1 :] for i in {0, len(value) // 2, len(value) - 1} if value]
        return [*forged, value + "x", 3]
    if isinstance(value, float):
        return [value * 2, -value, "1.0"]
    return [0, 8, "x", []]


def may_pass(path: tuple) -> bool:
    """Fields that can change without a failure: what is only told, and contracts and layouts where the change has no effect.

    Everything else follows from these and from the files, so every change of it must fail.
    """
    return path[:1] in {("command",), ("layout",)} or path[:1] == ("network",) or "attributes" in path


@pytest.mark.parametrize(("name", "count"), FIELDS)
def test_every_field_of_the_manifest_fails_or_has_no_influence(name: str, count: int, tmp_path: Path) -> None:
    original, path = copy_of(name, tmp_path / "original"), copy_of(name, tmp_path)
    manifest = read_manifest(path)
    fields = list(leaves(manifest))
    if len(fields) > count:
        fields = random.Random(name).sample(fields, count)
    for field in fields:
        *parents, last = field
        for value in mutations(_at(manifest, field)):
            forged = copy.deepcopy(manifest)
            _at(forged, parents)[last] = value
            write_manifest(path, forged)
            report = check(path)
            if report is not None and report.passed:
                assert may_pass(field), (field, value)
                assert has_no_influence(path, original), (field, value)
    write_manifest(path, manifest)
    assert check(path).passed


def _at(tree: Any, path: Any) -> Any:
    for key in path:
        tree = tree[key]
    return tree


@pytest.mark.parametrize("name", ["conv_ties", "fc_s16"])
def test_a_bit_of_the_manifests_text_fails_or_has_no_influence(name: str, tmp_path: Path) -> None:
    original, path = copy_of(name, tmp_path / "original"), copy_of(name, tmp_path)
    text = (path / "manifest.json").read_bytes()
    choice = random.Random(name)
    for _ in range(400):
        forged = bytearray(text)
        forged[choice.randrange(len(text))] ^= 1 << choice.randrange(8)
        (path / "manifest.json").write_bytes(bytes(forged))
        report = check(path)
        if report is not None and report.passed:
            assert has_no_influence(path, original)
