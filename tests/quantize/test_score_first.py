"""The first schemes scored: right answers are counted as everywhere, from Python and from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.network.lower.fold import fold
from hwsim.quantize.first_scheme import RuntimeRanges, weights_only
from hwsim.quantize.float_run import FloatRun
from support.process import hwsim_command

DEMO = Path(hwsim.__file__).parent / "demo"


@pytest.fixture(scope="module")
def digits(onnxruntime):
    return hwsim.read(DEMO / "digits.prototxt", DEMO / "digits.caffemodel")


@pytest.mark.parametrize("scheme", hwsim.FirstScheme)
def test_right_answers_are_counted(digits, scheme):
    images = hwsim.images("digits", digits.preprocessing, limit=40)
    pixels = np.stack([image.pixels for image in images])
    labels = np.array([image.label for image in images])
    if scheme is hwsim.FirstScheme.RUNTIME_RANGES:
        logits = RuntimeRanges(digits).logits(pixels)
    else:
        logits = FloatRun(fold(weights_only(digits))).logits(digits.preprocessing.real(pixels))
    found = hwsim.score_first(digits, images, scheme, limit=40)
    assert found.fixed.right == int((logits.argmax(axis=1) == labels).sum()) and found.images == 40
    floats = FloatRun(fold(digits)).logits(digits.preprocessing.real(pixels)).argmax(axis=1)
    assert found.baseline.right == int((floats == labels).sum())
    assert found.agreeing == int((floats == logits.argmax(axis=1)).sum())
    shifted = hwsim.score_first(digits, images, scheme, limit=40, label_offset=1)
    assert shifted.fixed.right == int((logits.argmax(axis=1) == labels + 1).sum())


@pytest.mark.parametrize("offset", [10, -10, 2**63 - 1, -(2**63), 10**20])
def test_an_offset_never_wraps_a_label_into_the_classes(digits, offset):
    images = hwsim.images("digits", digits.preprocessing)[:4]
    with pytest.raises(InputError, match=f"image 0 has label {int(images.labels[0]) + offset} with label_offset {offset}, "):
        hwsim.score(hwsim.quantize(digits, images), images, label_offset=offset)
    if abs(offset) > 10:
        with pytest.raises(InputError, match=f"found label_offset {offset}, allowed"):
            hwsim.score_first(digits, images, hwsim.FirstScheme.WEIGHTS_ONLY, label_offset=offset)


def test_the_command_scores_a_float_model(digits):
    files = (str(DEMO / "digits.prototxt"), "--weights", str(DEMO / "digits.caffemodel"))
    run = hwsim_command("score", *files, "--data", "digits", "--limit", "20", "--first-scheme", "runtime_ranges", "--json")
    assert run.returncode == 0 and json.loads(run.stdout)["images"] == 20
    assert json.loads(run.stdout)["backends"] == ["numpy"]


def test_weights_beside_a_network_in_integers_are_refused(digits, tmp_path):
    q = hwsim.quantize(digits, "digits", limit=8)
    folder = q.save(tmp_path / "d.hwnet")
    run = hwsim_command("score", str(folder), "--data", "digits", "--weights", "x.caffemodel")
    assert run.returncode == 2 and "--weights: found beside a network in integers" in run.stderr


def test_images_without_labels_are_refused(digits):
    with pytest.raises(InputError, match="no labelled images"):
        hwsim.score_first(digits, hwsim.images("digits", digits.preprocessing)[:0], hwsim.FirstScheme.WEIGHTS_ONLY)


def test_a_slice_of_images_runs_as_its_pixels_do(digits):
    images = hwsim.images("digits", digits.preprocessing)[3:8]
    network = hwsim.quantize(digits, images)
    some, pixels = hwsim.run(network, images), np.stack([image.pixels for image in images])
    np.testing.assert_array_equal(some.pixels, pixels)
    np.testing.assert_array_equal(some["ip2"].codes, hwsim.run(network, pixels)["ip2"].codes)
    with pytest.raises(InputError, match="no images"):
        hwsim.run(network, images[:0])
