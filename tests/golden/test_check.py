"""Checking a package: what is compared, what the report says, and packages made to harm."""

from __future__ import annotations

import copy
import json
import os
import resource
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim.arith.overflow import Overflow
from hwsim.contract import Accumulator, Axis, Schedule
from hwsim.errors import BackendError, InputError
from hwsim.execute.trace import LayerTrace
from hwsim.formats import FixedPoint
from hwsim.golden.check import sample
from hwsim.golden.compare import Comparison
from hwsim.golden.read import load_npy
from hwsim.layers import Events
from support.golden import GOLDEN, copy_of, forge_codes, read_manifest, write_manifest
from support.networks import branching, pixels


def test_the_sample_has_corners_every_channel_and_at_least_as_many_as_asked() -> None:
    shape = (2, 300, 7, 5)
    cells = sample(shape, 1000)
    assert len(cells) == len(set(cells)) == 1000 and cells == sorted(cells) == sample(shape, 1000)
    assert {k for _, k, _, _ in cells} == set(range(300))
    assert {(0, k, y, x) for k in (0, 299) for y in (0, 6) for x in (0, 4)} <= set(cells)
    assert len(sample((1, 1500, 3, 3), 1000)) >= 1500
    assert sample((1, 2, 3, 5), 1000) == list(np.ndindex(1, 2, 3, 5))


def test_the_report_tells_who_computed_what(tmp_path: Path) -> None:
    package = hwsim.write_golden(hwsim.run(branching(), pixels(2), backend="spec"), tmp_path / "p")
    seen: list[tuple[int, int]] = []
    report = hwsim.check(package, spec_outputs=40, progress=lambda done, total: seen.append((done, total)))
    assert report.passed and report.first_mismatch is None and report.histogram() == {}
    assert seen[0] == (0, 11) and seen[-1] == (11, 11)
    assert all(layer.spec == min(layer.outputs, max(40, layer.spec)) >= min(40, layer.outputs) for layer in report.layers)
    data = json.loads(json.dumps(report.to_json()))
    assert data["passed"] and [layer["name"] for layer in data["layers"]] == [layer.name for layer in report.layers]
    assert "equal" in str(report) and "<table>" in report._repr_html_() and "passed" in repr(report)
    assert "<table>" in package._repr_html_() and "files" in str(package) and json.dumps(package.to_json())


def test_a_stimulus_must_be_its_producers_output(tmp_path: Path) -> None:
    """Both layers agree with themselves; only the edge between them is broken."""
    path = copy_of("every_layer", tmp_path)
    package = hwsim.read_golden(path)
    relu = package["relu"]
    codes = load_npy(path / relu.folder, relu.memory("stimulus"))
    codes[0, 1, 2, 0] ^= 1
    for role in ("stimulus", "expected"):
        forge_codes(package, relu, relu.memory(role), codes if role == "stimulus" else np.maximum(codes, 0))
    report = hwsim.check(path, backends=())
    assert report.first_mismatch.layer == "relu" and report.first_mismatch.role == "stimulus"
    assert report.first_mismatch.coordinate == (0, 1, 2, 0)
    assert "output of pool include_padding" in str(report.first_mismatch)


def test_wrong_event_counts_fail(tmp_path: Path) -> None:
    path = copy_of("conv_wrap", tmp_path)
    manifest = read_manifest(path)
    manifest["layers"][0]["events"]["accumulator"] += 1
    write_manifest(path, manifest)
    for backends, spec_outputs in ((("jit",), 0), ((), 1000)):
        report = hwsim.check(path, backends=backends, spec_outputs=spec_outputs)
        assert not report.passed and "events: the package says accumulator" in report.problems[0]


def test_a_changed_file_is_refused_by_its_digest(tmp_path: Path) -> None:
    for file in ("expected.hex", "weights.npy", "bias.bin"):
        path = copy_of("conv_ties", tmp_path / file)
        target = path / "000_conv_ties" / file
        data = bytearray(target.read_bytes())
        data[-2] ^= 1
        target.write_bytes(bytes(data))
        with pytest.raises(InputError, match=f"conv_ties/000_conv_ties/{file}: its sha256 is"):
            hwsim.check(path, backends=())


def test_a_backend_asked_for_by_name_computes_or_raises() -> None:
    with pytest.raises(BackendError):
        hwsim.check(GOLDEN / "conv_ties", backends=("fpga",))


def test_distances_are_exact_at_64_bits() -> None:
    package = hwsim.read_golden(GOLDEN / "ristretto")
    memory = package.layers[0].memory("accumulator")
    low, high = FixedPoint(64, 0).low, FixedPoint(64, 0).high
    comparison = Comparison("a", memory, np.array([low, high, 0, 5]), np.array([high, low, 0, 3]), "test")
    assert comparison.histogram() == {f"-{2**63 + 1}..{2**64}": 1, "-2": 1, "0": 1, f"+{2**63 + 1}..{2**64}": 1}


def remove(tree: Path) -> None:
    (tree / "000_conv_ties" / "bias.bin").unlink()


def extra(tree: Path) -> None:
    (tree / "000_conv_ties" / "notes.txt").write_text("x")


def link(tree: Path) -> None:
    (tree / "000_conv_ties" / "bias.bin").unlink()
    (tree / "000_conv_ties" / "bias.bin").symlink_to("/etc/hostname")


def link_folder(tree: Path) -> None:
    shutil.move(tree / "000_conv_ties", tree.parent / "outside")
    (tree / "000_conv_ties").symlink_to(tree.parent / "outside")


def pipe(tree: Path) -> None:
    (tree / "000_conv_ties" / "bias.bin").unlink()
    os.mkfifo(tree / "000_conv_ties" / "bias.bin")


def truncate(tree: Path) -> None:
    (tree / "000_conv_ties" / "weights.npy").write_bytes(b"\x93NUMPY")


def no_manifest(tree: Path) -> None:
    (tree / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (remove, "bias.bin: is missing"),
        (extra, "notes.txt: the manifest names no such file"),
        (link, "bias.bin: is a link"),
        (link_folder, "000_conv_ties: is a link"),
        (pipe, "bias.bin: is a link or a device"),
        (truncate, "weights.npy: found 6 bytes, allowed 236"),
        (no_manifest, "holds no manifest.json"),
    ],
)
def test_a_damaged_folder_is_one_sentence(damage: Any, sentence: str, tmp_path: Path) -> None:
    path = copy_of("conv_ties", tmp_path)
    damage(path)
    with pytest.raises(InputError, match=sentence):
        hwsim.check(path, backends=())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "not JSON"),
        (b"[" * 100000, "nested too deeply"),
        (b"[" * 900 + b"]" * 900, "nested too deeply"),
        (b'{"schema": 1, "schema": 2}', "stands twice"),
        (b'{"schema": NaN}', "NaN is no number"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "a number of 5000 digits"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "allowed an object"),
        (b'{"schema": "hwsim.golden/9"}', "found schema 'hwsim.golden/9', allowed 'hwsim.golden/3'"),
        (b'{"schema": "hwsim.golden/3"}', "field 'command' is missing"),
    ],
)
def test_a_manifest_that_is_none_is_one_sentence(text: bytes, sentence: str, tmp_path: Path) -> None:
    path = copy_of("conv_ties", tmp_path)
    (path / "manifest.json").write_bytes(text)
    with pytest.raises(InputError, match=sentence):
        hwsim.check(path, backends=())


FORGERIES: list[tuple[tuple, Any, str]] = [
    (("layers", 0, "folder"), "../../etc", "folder: found ../../etc, allowed 000_conv_ties"),
    (("layers", 0, "memories", 0, "files", "hex", "name"), "/etc/passwd", "name: found /etc/passwd, allowed stimulus.hex"),
    (("layers", 0, "memories", 0, "shape"), [1, 4, 7, 1 << 60], "at most 2..40 codes"),
    (("layers", 0, "memories", 0, "shape"), [1, 4, 7, 1 << 30], "codes large, allowed"),
    (("layers", 0, "memories", 0, "shape"), [1, 4, 7, -5], "extents from 1"),
    (("layers", 0, "memories", 1, "shape"), [6, 2, 3, 4], "weights.npy: found 236 bytes, allowed 272"),
    (("layers", 0, "attributes", "contract", "weight", "bits"), 99, "found 99, allowed an integer in 1..64"),
    (("layers", 0, "attributes", "contract", "accumulator", "bits"), 20.0, "found 20.0, allowed an integer"),
    (("layers", 0, "attributes", "contract", "output", "rounding"), "HALF_UP", "found 'HALF_UP', allowed FLOOR"),
    (("layers", 0, "attributes", "stride"), [0, 1], "stride"),
    (("layers", 0, "attributes", "pad"), [65535, 65535], "codes large, allowed"),
    (("layers", 0, "kind"), "__import__('os')", "allowed arithmetic_shift_right, average_pool"),
    (("layers", 0, "index"), -1, "index: found -1"),
    (("layers",), [], "layers: found none"),
    (("layout", "codes", "order"), "NNCW", "each axis once"),
    (("layout", "codes", "tiles"), {"C": 0}, "allowed"),
    (("layout", "codes", "lanes"), 1 << 40, "lanes: found"),
    (("network", "sha256"), "0" * 63, "64 hexadecimal digits"),
]


@pytest.mark.parametrize(("field", "value", "sentence"), FORGERIES)
def test_a_forged_manifest_is_one_sentence(field: tuple, value: Any, sentence: str, tmp_path: Path) -> None:
    path = copy_of("conv_ties", tmp_path)
    manifest = copy.deepcopy(read_manifest(path))
    inner = manifest
    for key in field[:-1]:
        inner = inner[key]
    inner[field[-1]] = value
    write_manifest(path, manifest)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=sentence) as caught:
        hwsim.check(path, backends=())
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


def test_padding_out_of_proportion_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    """A 1 x 1 stimulus with a pad of 8,000 would take 256 MB: a stride as large keeps the output small."""
    s8 = FixedPoint(8, 0)
    layer = hwsim.Conv2d(stride=8000, pad=8000).layer(np.ones((1, 1, 1, 1), int), hwsim.MacContract(s8, s8, hwsim.Output(s8)))
    x, acc = np.full((1, 1, 1, 1), 3, np.int8), np.zeros((1, 1, 3, 3), np.int32)
    acc[0, 0, 1, 1] = 3
    package = hwsim.write_golden(LayerTrace("c", layer, (x,), acc, acc.astype(np.int8), Events(), "spec"), tmp_path / "p")
    with pytest.raises(InputError, match="found a pad of"):
        hwsim.check(package)


def test_idle_lanes_out_of_proportion_are_refused_before_they_take_time(tmp_path: Path) -> None:
    """4,096 lanes along an axis of one tap: 300 taps would be 1.2 million steps of every output."""
    s8 = FixedPoint(8, 0)
    accumulator = Accumulator(16, overflow=Overflow.SATURATE, schedule=Schedule(lanes=4096, lane_axis=Axis.R))
    contract = hwsim.MacContract(s8, s8, hwsim.Output(s8), accumulator)
    layer = hwsim.Conv2d().layer(np.ones((1, 300, 1, 1), int), contract)
    x, acc = np.zeros((1, 300, 1, 1), np.int8), np.zeros((1, 1, 1, 1), np.int32)
    trace = LayerTrace("c", layer, (x,), acc, acc.astype(np.int8), Events(), "spec")
    package = hwsim.write_golden(trace, tmp_path / "p")
    with pytest.raises(InputError, match="found 4096 lanes along R, 1,228,800 places for 300 taps"):
        hwsim.check(package)


TURNS = ("layers", 0, "draws", "images")
DRAWN: list[tuple[tuple, Any, str]] = [
    ((*TURNS, 1, "first_turn"), 37, "found first turns .30, 37, 42., allowed what reset NEVER gives"),
    ((*TURNS, 0, "first_turn"), -1, "found first turns"),
    ((*TURNS, 0, "before", 1), 27365, r"draws.images\[0\].before\[1\]: found 27365, allowed 27364"),
    ((*TURNS, 2, "after"), [], r"draws.images\[2\].after: found"),
    (TURNS, [], "allowed a list of 3, one for each image"),
    (("layers", 0, "draws"), None, "draws: found None, allowed an object"),
    (("layers", 0, "draws", "turns"), 7, "draws.turns: found 7, allowed 6"),
    (("layers", 0, "attributes", "contract", "output", "rounding", "lfsr", "width"), 65, "Lfsr.width: found 65"),
    (("layers", 0, "attributes", "contract", "output", "rounding", "seeds"), [0, 1], "seeds.0.: found 0"),
    (("layers", 0, "attributes", "contract", "output", "rounding", "clocks"), 1 << 40, "StochasticRounding.clocks: found"),
    (("layers", 0, "attributes", "contract", "output", "type"), "FloatOutput", "type: found 'FloatOutput', allowed 'Output'"),
    (("layers", 0, "attributes", "contract", "type"), "Contract", "type: found 'Contract', allowed MacContract, FloatMac"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "sentence"), DRAWN)
def test_forged_draws_are_one_sentence(field: tuple, value: Any, sentence: str, tmp_path: Path) -> None:
    path = copy_of("stochastic", tmp_path)
    manifest = copy.deepcopy(read_manifest(path))
    inner = manifest
    for key in field[:-1]:
        inner = inner[key]
    inner[field[-1]] = value
    write_manifest(path, manifest)
    with pytest.raises(InputError, match=sentence) as caught:
        hwsim.check(path, backends=())
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_first_turns_that_no_run_gives_by_equal_steps_are_another_run(tmp_path: Path) -> None:
    """The registers ran longer: every state follows, so the codes give it away."""
    path = copy_of("stochastic", tmp_path)
    package = hwsim.read_golden(path)
    later = replace(package.layers[0], first_turns=tuple(turn + 1 for turn in package.layers[0].first_turns))
    write_manifest(path, replace(package, layers=(later,)).manifest())
    report = hwsim.check(path)
    assert not report.passed and report.first_mismatch.role == "expected"
