"""hwsim quantize with affine codes: scheme and dialect name each other, and options that do not go with them are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hwsim
from support.process import hwsim_command

DEMO = Path(hwsim.__file__).parent / "demo"
MODEL = (str(DEMO / "digits.prototxt"), str(DEMO / "digits.caffemodel"), "--calibration", "digits", "--limit", "20")


def quantized(folder: Path, *options: str):
    run = hwsim_command("quantize", *MODEL, *options, "--out", "net.hwnet", "--force", cwd=folder)
    return run, json.loads((folder / "net.hwnet" / "network.json").read_text()) if run.returncode == 0 else None


def layer(document, name: str):
    return next(node for node in document["nodes"] if node["name"] == name)


def test_the_scheme_names_its_dialect_and_the_dialect_its_scheme(tmp_path, onnxruntime):
    run, by_scheme = quantized(tmp_path, "--scheme", "affine")
    assert run.returncode == 0, run.stderr
    _, by_dialect = quantized(tmp_path, "--dialect", "tflite")
    assert by_scheme == by_dialect and by_scheme["dialect"] == "tflite"
    assert layer(by_scheme, "conv1")["output"]["scaling"]["rule"] == "HIGH_MULTIPLY"
    assert layer(by_scheme, "ip1")["output"]["scaling"]["rule"] == "FLOAT64"


def test_unsigned_codes_and_another_dialect(tmp_path, onnxruntime):
    run, document = quantized(tmp_path, "--dialect", "onnxruntime", "--unsigned", "--per-tensor", "--method", "maximum")
    assert run.returncode == 0, run.stderr
    conv = layer(document, "conv1")
    assert conv["weight"]["signed"] is False and conv["weight"]["zero_point"] > 0 and isinstance(conv["weight"]["scale"], float)
    assert conv["output"]["scaling"]["rule"] == "FLOAT32" and conv["output"]["rounding"] == "TIES_EVEN"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--scheme", "affine", "--dialect", "exact32"), "found scheme AFFINE with dialect 'exact32'"),
        (("--scheme", "affine", "--rounding", "ties_even"), "--rounding: found beside --scheme affine"),
        (("--scheme", "affine", "--accumulator-fit"), "--accumulator-fit: found beside --scheme affine"),
        (("--scheme", "affine", "--minifloat", "e4m3"), "--minifloat: found beside --scheme affine"),
        (("--unsigned",), "--unsigned: found beside --scheme dynamic_fixed_point"),
        (("--scheme", "minifloat", "--unsigned"), "--unsigned: found beside --scheme minifloat"),
        (("--scheme", "power_of_two", "--dialect", "tosa"), "found scheme POWER_OF_TWO with dialect 'tosa'"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(options, sentence, tmp_path, onnxruntime):
    run, _ = quantized(tmp_path, *options)
    assert run.returncode == 2 and sentence in run.stderr and run.stderr.strip().count("\n") == 0
    assert not (tmp_path / "net.hwnet").exists()
