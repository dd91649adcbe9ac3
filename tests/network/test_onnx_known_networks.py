"""Networks that everybody knows, whose graphs come with the onnx package (backend/test/data/light): read, and run like there.

The package leaves the weights to ConstantOfShape; here they are random numbers in the file, as in the networks themselves.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwsim.network import read
from support.onnx_files import run, save

pytestmark = pytest.mark.usefixtures("onnxruntime")

NETWORKS = {
    # name: (MACs of one image as the papers have them, in millions; within 15 %)
    "squeezenet": 349,
    "shufflenet": 140,
    "inception_v1": 1582,
    "inception_v2": 2023,
    "densenet121": 2834,
    "resnet50": 3858,
}
QUICK = ("squeezenet", "shufflenet")


def with_weights(path: Path, seed: int):
    """The model with random weights in place of the nodes that make constants, and without what nobody reads."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    graph, rng = model.graph, np.random.default_rng(seed)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made, kept = [], []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(int(side) for side in shapes[node.input[0]])
        spread = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else rng.uniform(0.5, 1.5, shape)
        made.append(numpy_helper.from_array(spread.astype(np.float32), node.output[0]))
    read_names = {name for node in kept for name in node.input}
    constants = [*made, *(tensor for tensor in graph.initializer if tensor.name in read_names)]
    given = {tensor.name for tensor in constants}
    inputs = [entry for entry in graph.input if entry.name in read_names - given]
    for field, entries in ((graph.node, kept), (graph.initializer, constants), (graph.input, inputs)):
        copies = [type(entry).FromString(entry.SerializeToString()) for entry in entries]
        del field[:]
        field.extend(copies)
    model.ir_version = 8
    return model


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS])
def test_a_known_network_computes_what_onnxruntime_computes(tmp_path, name):
    import onnx

    from hwsim.quantize.float_run import FloatRun

    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    if not folder.is_dir():
        pytest.skip("this onnx comes without the graphs of known networks")
    model = with_weights(folder / f"light_{name}.onnx", seed=len(name))
    network = read(save(model, tmp_path))
    image = np.random.default_rng(1).normal(size=(1, *network.shapes()[network.input.name])).astype(np.float32)
    (expected,) = run(model, image)
    last = network.outputs[-1]
    found = FloatRun(network, [last]).run(image)[last].reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert sum(network.macs().values()) == pytest.approx(NETWORKS[name] * 1e6, rel=0.15)
