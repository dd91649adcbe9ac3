"""hwsim demo: the whole main job, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwsim.demo.story import demo
from support.process import hwsim_command


@pytest.fixture(scope="module")
def told(tmp_path_factory, onnxruntime):
    """The demo's report with its package kept, and the steps that it named."""
    steps: list[str] = []
    package = tmp_path_factory.mktemp("demo") / "package"
    return demo(package, say=steps.append), package, steps


def test_every_backend_agrees(told) -> None:
    report, _, _ = told
    assert report.passed
    assert {"jit"} <= set(report.check.backends)
    assert report.check.spec_outputs >= sum(min(1000, layer.outputs) for layer in report.check.layers)


def test_integers_lose_at_most_a_point(told) -> None:
    report, _, _ = told
    assert report.score.images == 450
    assert report.score.baseline is not None
    assert report.score.top1 >= report.score.baseline.top1 - 0.01


def test_the_package_is_kept_where_it_was_asked_for(told) -> None:
    report, package, steps = told
    assert report.package == package
    assert (package / "manifest.json").is_file()
    assert len(steps) == 6


def test_nothing_is_left_behind_where_no_folder_is_named(tmp_path: Path, onnxruntime) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    run = hwsim_command("demo", "--json", cwd=here, TMPDIR=str(temporary))
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["check"]["passed"]
    assert found["package"] is None
    assert list(here.iterdir()) == []
    # onnxruntime leaves a file of its own there; a package would be a folder
    assert [path for path in temporary.iterdir() if path.is_dir()] == []


def test_the_command_prints_the_story(tmp_path: Path, onnxruntime) -> None:
    run = hwsim_command("demo", "--out", "kept", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    for word in ("conv1", "ip2", "float top-1", "agree", "passed", "kept"):
        assert word in run.stdout
    before = {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    refused = hwsim_command("demo", "--out", "kept", cwd=tmp_path)
    assert refused.returncode == 2
    assert "kept" in refused.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()} == before
