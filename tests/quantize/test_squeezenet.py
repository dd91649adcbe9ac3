"""SqueezeNet v1.0: Ristretto's formats found again, and the accuracy that 8 bits keep."""

from __future__ import annotations

import pytest

import hwsim
from hwsim.network.ristretto import read_ristretto_formats


@pytest.fixture(scope="module")
def squeezenet(data_dir, onnxruntime):
    folder = data_dir / "squeezenet_v1.0"
    return hwsim.read(folder / "deploy.prototxt", folder / "squeezenet_v1.0.caffemodel", mean=(104, 117, 123))


@pytest.mark.parametrize("dialect", [hwsim.dialects.RISTRETTO_CPU, hwsim.dialects.RISTRETTO_GPU], ids=lambda d: d.name)
def test_the_weights_lengths_are_those_that_ristretto_wrote(squeezenet, data_dir, dialect):
    images = hwsim.images(data_dir / "imagenet_val" / "calibration.txt", squeezenet.preprocessing)
    q = hwsim.quantize(squeezenet, images, dialect=dialect, limit=2)
    written = read_ristretto_formats(data_dir / "squeezenet_v1.0" / "ristretto_quantized.prototxt")
    assert {name: f.fl_params for name, f in written.items()} == {
        node.name: node.layer.contract.weight.fl() for node in q.mac_nodes
    }
    assert len(written) == 26


@pytest.mark.slow
def test_eight_bits_keep_the_accuracy_of_float(squeezenet, data_dir):
    lists = data_dir / "imagenet_val"
    q = hwsim.quantize(squeezenet, hwsim.images(lists / "calibration.txt", squeezenet.preprocessing), bits=8)
    score = hwsim.score(q, lists / "scoring.txt", float=True)
    assert score.images == 500
    assert score.baseline.top1 - score.top1 <= 0.010 + 1e-9
    assert score.agreement >= 0.94
