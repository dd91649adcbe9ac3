"""The script that trained the demo network, and the weights that it left."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.demo import train
from hwsim.demo.story import MODEL, TRAINING, WEIGHTS, picture
from hwsim.network.read import read


@pytest.fixture(scope="module")
def stored() -> train.Parameters:
    """The checked-in weights under the script's names."""
    net = read(MODEL, WEIGHTS)
    found = {}
    for name in ("conv1", "conv2", "ip1", "ip2"):
        op = net[name].op
        found[f"{name}.weight"] = op.weight.astype(np.float64)
        found[f"{name}.bias"] = op.bias.astype(np.float64)
    return found


def test_gradients_are_the_slopes_of_the_loss() -> None:
    """Against central differences, one element of each parameter, where no ReLU or maximum sits on its edge."""
    rng = np.random.default_rng(7)
    p, labels = train.initial(rng), np.array([3, 1, 4])
    for name, values in p.items():
        if name.endswith("bias"):
            values += rng.uniform(0.05, 0.1, values.shape)
    x = rng.uniform(0.1, 1.0, (3, 1, 8, 8))

    def loss() -> float:
        logits, _ = train.forward(p, x)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -float(np.mean(((0.9 * np.eye(10)[labels] + 0.01) * log_p).sum(axis=1)))

    slopes = train.gradients(p, x, labels)
    for name, values in p.items():
        at = tuple(side // 2 for side in values.shape)
        kept, step = values[at], 1e-6
        values[at] = kept + step
        above = loss()
        values[at] = kept - step
        below = loss()
        values[at] = kept
        assert slopes[name][at] == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-8), name


def test_the_weights_read_right_of_the_digits_they_never_saw(stored: train.Parameters) -> None:
    images, labels = train.digits()
    assert len(images) == 1797
    assert train.accuracy(stored, images[TRAINING:], labels[TRAINING:]) >= 0.97


def test_the_prototxt_is_the_network_that_was_trained(stored: train.Parameters, onnxruntime) -> None:
    """Its float execution gives the script's own logits."""
    from hwsim.quantize.float_run import FloatRun

    images, _ = train.digits()
    expected, _ = train.forward(stored, images[:50])
    np.testing.assert_allclose(FloatRun(read(MODEL, WEIGHTS)).logits(images[:50]), expected, atol=1e-4)


def test_the_caffemodel_is_written_as_it_is_read(stored: train.Parameters) -> None:
    assert train.caffemodel(stored) == WEIGHTS.read_bytes()


def test_training_and_stored_split_agree() -> None:
    assert train.TRAINING == TRAINING


def test_a_picture_has_a_line_for_each_row() -> None:
    assert picture([[0, 16, 0], [16, 0, 16]], 16) == "  ██  \n██  ██"
