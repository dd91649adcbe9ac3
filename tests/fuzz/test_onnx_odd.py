"""Each constant, input and attribute of the ONNX corpus made odd, one at a time: a fuzzer needs long to find what this asks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuzz.onnx import CORPUS, NAMES
from hwsim.errors import HwsimError
from hwsim.network import read

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("onnxruntime")]

ODD = (
    np.zeros(0, np.float32), np.zeros((2, 0), np.int8), np.float32(np.nan), np.float32(0), np.array([[[1]]], np.int64),
    np.array(-1), np.array([True]), np.array([1 << 62, 5]), np.uint8(3), np.array([3, 3], np.uint8), np.array([1.0, 2.0, 3.0]),
    np.array([-5, 0, 7]), np.array(1e300),
)  # fmt: skip
WHOLE = (0, -1, 7, 1 << 31, 1 << 62, -(1 << 63))
REAL = (float("nan"), float("inf"), -1e38, 0.0)
KINDS = (
    "QLinearConv",
    "QGemm",
    "QLinearAdd",
    "QLinearConcat",
    "Quant",
    "ConvInteger",
    "Split",
    "Resize",
    "Slice",
    "PRelu",
    "Clip",
)


def changed_constants(model: Any) -> Iterator[Any]:
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        kept = tensor.SerializeToString()
        for odd in ODD:
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(odd), tensor.name))
            yield model
        tensor.ParseFromString(kept)


def changed_inputs(model: Any) -> Iterator[Any]:
    """Left out, cut off, the image, or any constant."""
    others = ["", "x", *(tensor.name for tensor in model.graph.initializer)]
    for node in model.graph.node:
        kept = list(node.input)
        for at in range(len(kept)):
            for name in others:
                node.input[at] = name
                yield model
            node.input[at] = kept[at]
            del node.input[at:]
            yield model
            node.input.extend(kept[at:])


def changed_attributes(model: Any) -> Iterator[Any]:
    for node in model.graph.node:
        for attribute in node.attribute:
            kept = attribute.SerializeToString()
            for value in WHOLE:
                for at in range(len(attribute.ints)):
                    attribute.ints[at] = value
                    yield model
                    attribute.ParseFromString(kept)
                attribute.ints.append(value)
                attribute.i = value
                yield model
                attribute.ParseFromString(kept)
            for number in REAL:
                attribute.f = number
                yield model
            attribute.ParseFromString(kept)


def changed_operators(model: Any) -> Iterator[Any]:
    for node in model.graph.node:
        kept = node.SerializeToString()
        for kind in KINDS:
            for domain in ("", "com.microsoft", "qonnx.custom_op.general"):
                node.op_type, node.domain = kind, domain
                yield model
        node.ParseFromString(kept)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", [changed_constants, changed_inputs, changed_attributes, changed_operators])
def test_an_odd_file_gives_a_network_or_one_sentence(tmp_path: Path, name: str, change) -> None:
    import onnx

    path, refused, taken = tmp_path / "net.onnx", 0, 0
    for model in change(onnx.load(CORPUS / f"{name}.onnx")):
        path.write_bytes(model.SerializeToString())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                assert str(read(path))
                taken += 1
            except HwsimError as error:
                assert "net.onnx" in str(error) and str(error).endswith(".")
                refused += 1
    assert refused > 3 or not taken
