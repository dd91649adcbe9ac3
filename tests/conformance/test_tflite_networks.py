"""Real quantized networks: every tensor is, bit for bit, what LiteRT's reference kernels compute, and so is the first guess."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.backends.registry import native_available
from hwsim.execute.plan import Plan
from hwsim.images import images
from hwsim.network.caffe_input import Wish
from hwsim.network.quantized import QuantizedNetwork
from hwsim.network.read_tflite import network_of
from hwsim.network.tflite_file import read_tflite_file
from oracles.targets import TARGETS, Target

litert = pytest.importorskip("oracles.litert", exc_type=ImportError)
models = pytest.importorskip("oracles.tflite_models", exc_type=ImportError)

NETWORKS = {
    "mobilenet_v1_0.25_128_quant": ("uint8", "imagenet_val/scoring.txt", 1),
    "resnet8_cifar10_int8": ("int8", "cifar10/test_first500.npz", 0),
}
"""{name: (type of the codes, images with labels, what is added to a label)}."""

FASTEST = "auto" if native_available() else "jit"


@cache
def network(path: Path) -> QuantizedNetwork:
    found = hwsim.read(path)
    assert isinstance(found, QuantizedNetwork)
    return found


@cache
def tensors_of(path: Path) -> dict[int, str]:
    return network_of(read_tflite_file(path), "x", Wish())[1]


def differences(path: Path, dtype: str, pixels: np.ndarray, backend: str) -> dict[str, int]:
    """{tensor: how many of its codes differ}, over these images and all tensors that an operator writes."""
    q, reference, where = network(path), litert.Reference(path.read_bytes()), tensors_of(path)
    plan = Plan(q, backend, 1)
    found = dict.fromkeys((f"{index} {node}" for index, node in where.items()), 0)
    for image in pixels[:, None]:
        plan.run(image)
        reference.run(models.as_codes(image, dtype))
        for index, node in where.items():
            wanted = reference.tensor(index)
            ours = plan.buffers[node].codes[0]
            theirs = models.as_planes(wanted, ours.shape)
            assert ours.dtype == theirs.dtype
            found[f"{index} {node}"] += int((ours != theirs).sum())
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operator_s_tensor_is_looked_at(name: str, data_dir: Path) -> None:
    path = data_dir / "tflite" / f"{name}.tflite"
    written = {index for operator in read_tflite_file(path).operators for index in operator.outputs}
    assert written <= set(tensors_of(path))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_of_a_network_is_litert_s(name: str, data_dir: Path) -> None:
    dtype, source, _ = NETWORKS[name]
    path = data_dir / "tflite" / f"{name}.tflite"
    chosen = images(data_dir / source, network(path).preprocessing, limit=2)
    found = differences(path, dtype, np.stack([image.pixels for image in chosen]), FASTEST)
    assert not any(found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jit", "auto"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_of_100_images_is_litert_s(name: str, backend: str, data_dir: Path) -> None:
    dtype, source, _ = NETWORKS[name]
    path = data_dir / "tflite" / f"{name}.tflite"
    chosen = images(data_dir / source, network(path).preprocessing, limit=100 if backend == "auto" else 2)
    found = differences(path, dtype, np.stack([image.pixels for image in chosen]), backend)
    assert not any(found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize("target", [target for target in TARGETS if target.backend == "native"], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_instruction_set_and_number_of_threads_gives_litert_s_codes(name: str, target: Target, data_dir: Path) -> None:
    target.need()
    dtype, source, _ = NETWORKS[name]
    path = data_dir / "tflite" / f"{name}.tflite"
    chosen = images(data_dir / source, network(path).preprocessing, limit=2)
    with target.chosen():
        found = differences(path, dtype, np.stack([image.pixels for image in chosen]), "auto")
    assert not any(found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_first_guesses_are_the_interpreter_s(name: str, data_dir: Path) -> None:
    """The accuracy too, which counts the labels with their offset."""
    dtype, source, offset = NETWORKS[name]
    path = data_dir / "tflite" / f"{name}.tflite"
    q, reference = network(path), litert.Reference(path.read_bytes())
    chosen = images(data_dir / source, q.preprocessing, limit=200)
    plan, right = Plan(q, FASTEST, 1), 0
    for image in chosen:
        ours = plan.run(image.pixels[None])[0]
        theirs = reference.run(models.as_codes(image.pixels[None], dtype))[0]
        assert np.array_equal(ours, theirs)
        right += int(np.argmax(theirs)) == image.label + offset
    assert hwsim.score(q, chosen, label_offset=offset).fixed.right == right


@pytest.mark.parametrize("name", NETWORKS)
def test_the_specification_agrees_at_some_outputs(name: str, data_dir: Path) -> None:
    """Of each layer a few outputs in plain Python ints, from LiteRT's own tensors."""
    dtype, source, _ = NETWORKS[name]
    path = data_dir / "tflite" / f"{name}.tflite"
    q, reference, where = network(path), litert.Reference(path.read_bytes()), tensors_of(path)
    image = images(data_dir / source, q.preprocessing, limit=1)[0].pixels[None]
    reference.run(models.as_codes(image, dtype))
    codes = {node: models.as_planes(reference.tensor(index), q.shapes()[node])[None] for index, node in where.items()}
    rng = np.random.default_rng(0)
    for node in q.nodes[1:]:
        inputs = [codes[name].tolist() for name in node.inputs]
        wanted = codes[node.name][0]
        for _ in range(2):
            place = tuple(int(rng.integers(0, extent)) for extent in wanted.shape)
            assert node.layer.spec(inputs, 0, *place).code == wanted[place], (node.name, place)
