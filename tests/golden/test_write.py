"""Writing a package: the same bytes always, whole or not at all, and never over something else."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.backends.registry import native_available
from hwsim.contract import MacContract, Output
from hwsim.errors import InputError
from hwsim.execute.trace import LayerTrace, Trace
from hwsim.formats import FixedPoint
from hwsim.golden.package import slug
from support.golden import regenerate_module
from support.networks import branching, pixels


def one_layer(name: str = "conv") -> LayerTrace:
    rng = np.random.default_rng(5)
    s8 = FixedPoint(8, 4)
    x, w = rng.integers(-128, 128, (1, 3, 7, 5)), rng.integers(-128, 128, (2, 3, 3, 3))
    return replace(hwsim.Conv2d(pad=1).run(x, w, MacContract(s8, s8, Output(s8)), backend="spec"), name=name)


@pytest.fixture(scope="module")
def trace() -> Trace:
    return hwsim.run(branching(), pixels(2), backend="spec")


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("backend", ["spec", "jit", "native"])
def test_the_same_network_and_image_give_the_same_bytes(backend: str, trace: Trace, tmp_path: Path) -> None:
    """Whoever computed, wherever it is written and whenever: the manifest holds no time, no machine and no path."""
    if backend == "native" and not native_available():
        pytest.skip("the C core is not installed here")
    again = hwsim.run(branching(), pixels(2), backend=backend)
    hwsim.write_golden(trace, tmp_path / "a")
    (tmp_path / "elsewhere").mkdir()
    hwsim.write_golden(again, tmp_path / "elsewhere" / "b")
    a, b = contents(tmp_path / "a"), contents(tmp_path / "elsewhere" / "b")
    assert a == b
    assert str(tmp_path).encode() not in a["manifest.json"]


def test_a_whole_network_passes(trace: Trace, tmp_path: Path) -> None:
    report = hwsim.check(hwsim.write_golden(trace, tmp_path / "p"))
    assert report.passed, str(report)
    assert [layer.name for layer in report.layers] == [node.name for node in trace.network]


def test_chosen_layers_in_the_networks_order(trace: Trace, tmp_path: Path) -> None:
    package = hwsim.write_golden(trace, tmp_path / "p", layers=["fc", "left"])
    assert [layer.name for layer in package] == ["left", "fc"]
    assert hwsim.check(package).passed
    with pytest.raises(InputError, match="no layer 'conv9'; it has data, conv1"):
        hwsim.write_golden(trace, tmp_path / "q", layers=["conv9"])
    assert not (tmp_path / "q").exists()


def test_a_trace_without_accumulators_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run the network with acc=True"):
        hwsim.write_golden(replace(one_layer(), acc=None), tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="exists already and nothing was overwritten"):
        hwsim.write_golden(one_layer(), tmp_path / "p")
    with pytest.raises(InputError, match="holds no manifest.json"):
        hwsim.write_golden(one_layer(), tmp_path / "p", force=True)
    assert (tmp_path / "p" / "thesis.txt").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


def test_force_replaces_a_package_as_a_whole(tmp_path: Path) -> None:
    hwsim.write_golden(one_layer("old"), tmp_path / "p")
    hwsim.write_golden(one_layer("new"), tmp_path / "p", force=True)
    assert {f.name for f in (tmp_path / "p").iterdir()} == {"manifest.json", "000_new"}
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [0, 4, 12])
def test_what_stops_half_way_leaves_nothing_behind(fault: BaseException, at: int, tmp_path: Path, monkeypatch) -> None:
    hwsim.write_golden(one_layer("old"), tmp_path / "p")
    before = contents(tmp_path / "p")
    calls, real = iter(range(1000)), Path.write_bytes

    def write_bytes(self: Path, data: bytes) -> int:
        if next(calls) == at:
            raise fault
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    kind = KeyboardInterrupt if isinstance(fault, KeyboardInterrupt) else InputError
    with pytest.raises(kind):
        hwsim.write_golden(one_layer("new"), tmp_path / "p", force=True)
    with pytest.raises(kind):
        calls = iter(range(1000))
        hwsim.write_golden(one_layer("new"), tmp_path / "q")
    assert contents(tmp_path / "p") == before
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    """A real file system of 64 KiB, where this machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        # The same fault is simulated above, so nothing goes unproven.
        return
    try:
        with pytest.raises(InputError, match="No space left on device"):
            hwsim.write_golden(regenerate_module().network()[0], disk / "p")
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("name", [".", os.sep])
def test_a_folder_without_a_name_is_one_sentence(name: str) -> None:
    with pytest.raises(InputError, match="is no name for a new folder"):
        hwsim.write_golden(one_layer(), name, force=True)


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        hwsim.write_golden(one_layer(), tmp_path / "missing" / "p")


@pytest.mark.parametrize("name", ["../../escape", "a/b", "..", "con", "x" * 300, "Ünïcode", "", "// comment\n end", "NUL\0"])
def test_a_layers_name_never_leaves_its_folder(name: str, tmp_path: Path) -> None:
    assert set(slug(3, name)) <= set("0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    package = hwsim.write_golden(one_layer(name), tmp_path / "p")
    assert [p.name for p in tmp_path.iterdir()] == ["p"]
    assert hwsim.check(package, backends=()).passed
    assert next(iter(hwsim.read_golden(tmp_path / "p"))).name == name


def test_a_command_is_stored_without_the_machines_paths(tmp_path: Path) -> None:
    command = ("hwsim", "vectors", os.path.abspath(os.sep + "home/me/net.hwnet"), "--layers", "fire2/squeeze1x1")
    package = hwsim.write_golden(one_layer(), tmp_path / "p", command=command)
    assert package.command == ("hwsim", "vectors", "net.hwnet", "--layers", "fire2/squeeze1x1")
    assert hwsim.check(tmp_path / "p", backends=()).passed
