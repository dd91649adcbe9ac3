"""`hwsim export`: what it writes runs in onnxruntime and reads back; what it cannot write is refused with exit code 2."""

from __future__ import annotations

import json

import pytest

import hwsim
from support.networks import branching, pixels
from support.onnx_files import run
from support.process import hwsim_command

pytestmark = pytest.mark.usefixtures("onnxruntime")


def test_the_file_runs_and_says_what_a_pixel_means(tmp_path):
    branching().save(tmp_path / "net.hwnet")
    done = hwsim_command("export", "net.hwnet", "--out", "net.onnx", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() == {"path", "differences"}
    network = branching()
    images = pixels(2)
    (found,) = run((tmp_path / "net.onnx").read_bytes(), network.preprocessing.real(images))
    assert found.shape == (2, 4, 1, 1) and abs(found.sum() - 2) < 1e-5  # two softmaxes
    assert hwsim.read(tmp_path / "net.onnx").preprocessing.mean == network.preprocessing.mean
    shown = hwsim_command("show", "net.onnx", cwd=tmp_path)
    assert shown.returncode == 0 and "dialect onnxruntime" in shown.stdout


def test_bad_use_is_one_sentence(tmp_path):
    branching().save(tmp_path / "net.hwnet")
    (tmp_path / "there.onnx").write_text("mine")
    for out, said in (("net.txt", "allowed .onnx"), ("there.onnx", "exists already"), ("none/net.onnx", "no folder")):
        done = hwsim_command("export", "net.hwnet", "--out", out, cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert (tmp_path / "there.onnx").read_text() == "mine"
