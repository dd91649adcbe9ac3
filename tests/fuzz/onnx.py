"""Attacks on ONNX files: of networks in floats, of quantized ones, and of shapes that an exporter took apart.

`PYTHONPATH=.:tests python -m fuzz.onnx` writes the corpus tests/fuzz/corpus/onnx again: networks built by this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.harness import Reader
from fuzz.mutate import protobuf
from hwsim.network import read
from support.caffe_files import number, piece, varint
from support.onnx_files import Nodes, model

CORPUS = Path(__file__).with_name("corpus") / "onnx"
SHAPE = (3, 7, 9)


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Small random weights."""
    return rng.normal(size=shape).astype(np.float32)


def _float_model() -> Any:
    rng = np.random.default_rng(1)
    nodes: Nodes = [
        ("Conv", "x w b", "c", {"pads": [1, 0, 1, 1], "strides": [2, 1], "group": 1}),
        ("BatchNormalization", "c s b s s", "n", {"epsilon": 1e-3}),
        ("LeakyRelu", "n", "r", {"alpha": 0.1}),
        ("Pad", "r p z", "padded", {"mode": "constant"}),
        ("MaxPool", "padded", "m", {"kernel_shape": [2, 3], "ceil_mode": 1}),
        ("AveragePool", "m", "a", {"kernel_shape": [2, 2], "count_include_pad": 1, "pads": [1, 0, 0, 1]}),
        ("LRN", "a", "l", {"size": 3}),
        ("Split", "l", "l0 l1", {"axis": 1}),
        ("Concat", "l1 l0", "j", {"axis": 1}),
        ("Resize", "j _ f", "u", {"mode": "nearest"}),
        ("Slice", "u z0 e ax", "sl"),
        ("ConvTranspose", "sl t", "d", {"strides": [1, 2], "output_padding": [0, 1]}),
        ("PRelu", "d q", "pr"),
        ("Clip", "pr lo hi", "cl"),
        ("GlobalAveragePool", "cl", "g"),
        ("Mul", "cl g", "mu"),
        ("Reshape", "mu sh", "sp"),
        ("Transpose", "sp", "tr", {"perm": [0, 2, 1, 3, 4]}),
        ("Reshape", "tr back", "cs"),
        ("ReduceMean", "cs", "rm", {"axes": [2, 3], "keepdims": 0}),
        ("Gemm", "rm gw gb", "ge", {"transB": 1}),
        ("Softmax", "ge", "y"),
    ]
    constants: Mapping[str, np.ndarray] = {
        "w": floats(rng, 4, 3, 3, 2), "b": floats(rng, 4), "s": np.abs(floats(rng, 4)) + 1,
        "p": np.array([0, 0, 1, 0, 0, 0, 0, 1]),
        "z": np.array(-np.inf, np.float32), "f": np.array([1, 1, 2, 1], np.float32), "z0": np.array([0]), "e": np.array([3]),
        "ax": np.array([2]), "t": floats(rng, 4, 6, 2, 3), "q": floats(rng, 6, 1, 1), "lo": np.array(-1, np.float32),
        "hi": np.array(1, np.float32), "sh": np.array([0, 2, 3, 4, -1]), "back": np.array([1, 6, 4, -1]),
        "gw": floats(rng, 5, 6), "gb": floats(rng, 5),
    }  # fmt: skip
    return model(nodes, constants, ("N", *SHAPE), opset=13)


def _folded_model() -> Any:
    nodes: Nodes = [
        ("Shape", "x", "s"),
        ("Constant", "", "zero", {"value_int": 0}),
        ("Gather", "s zero", "n"),
        ("Unsqueeze", "n axes", "n1"),
        ("Cast", "n1", "n2", {"to": 7}),
        ("Add", "n2 axes", "n3"),
        ("Concat", "n3 rest", "to", {"axis": 0}),
        ("Reshape", "x to", "flat"),
        ("MatMul", "flat w", "m"),
        ("Add", "m b", "y"),
    ]
    rng = np.random.default_rng(2)
    constants = {"axes": np.array([0]), "rest": np.array([-1]), "w": floats(rng, 189, 4), "b": floats(rng, 4)}
    return model(nodes, constants, (1, *SHAPE))


def _quantized_model() -> Any:
    rng = np.random.default_rng(3)
    quant = {"domain": "qonnx.custom_op.general", "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    nodes: Nodes = [
        ("QuantizeLinear", "x s z", "xq"),
        ("DequantizeLinear", "xq s z", "xd"),
        ("DequantizeLinear", "w ws wz", "wd", {"axis": 0}),
        ("Conv", "xd wd b", "c"),
        ("Relu", "c", "r"),
        ("QuantizeLinear", "r s z", "rq"),
        ("MaxPool", "rq", "m", {"kernel_shape": [2, 2]}),
        ("QLinearConv", "m s z v s wz0 s z", "v1"),
        ("DequantizeLinear", "v1 s z", "v2"),
        ("Add", "v2 v2", "ad"),
        ("Quant", "ad one zero eight", "qq", quant),
        ("GlobalAveragePool", "qq", "g"),
        ("QuantizeLinear", "g s z", "y"),
    ]
    constants = {
        "s": np.array(0.25, np.float32), "z": np.array(128, np.uint8), "w": rng.integers(-9, 9, (4, 3, 2, 2)).astype(np.int8),
        "ws": np.abs(floats(rng, 4)) + 1, "wz": np.zeros(4, np.int8), "b": floats(rng, 4), "wz0": np.array(0, np.int8),
        "v": rng.integers(-9, 9, (2, 4, 1, 1)).astype(np.int8), "one": np.array(0.37, np.float32),
        "zero": np.array(0, np.float32), "eight": np.array(8, np.float32),
    }  # fmt: skip
    return model(nodes, constants, ("N", *SHAPE), domains={"qonnx.custom_op.general": 1})


def _operators_model() -> Any:
    """onnxruntime's own operators on integers, from an image of codes."""
    rng = np.random.default_rng(4)
    own = {"domain": "com.microsoft"}
    nodes: Nodes = [
        ("QLinearConv", "x s z w s wz s z b", "c", {"pads": [0, 1, 1, 0], "strides": [2, 1]}),
        ("MaxPool", "c", "m", {"kernel_shape": [1, 2]}),
        ("QLinearAdd", "m s z m s z t z", "a", own),
        ("QLinearMul", "a t z a t z t z", "p", own),
        ("QLinearConcat", "s z a t z m s z", "j", own | {"axis": 1}),
        ("QLinearLeakyRelu", "j s z t z", "l", own | {"alpha": 0.25}),
        ("QLinearSigmoid", "l t z s z", "g", own),
        ("QLinearAveragePool", "g s z t z", "v", own | {"kernel_shape": [2, 2]}),
        ("QLinearGlobalAveragePool", "v t z s z", "q", own | {"channels_last": 0}),
        ("Flatten", "q", "f"),
        ("QGemm", "f s z k s wz kb t z", "e", own | {"transB": 1}),
        ("QLinearSoftmax", "e t z s z", "sm", own | {"axis": 1, "opset": 13}),
        ("Concat", "p", "y", {"axis": 1}),
    ]
    constants = {
        "s": np.array(0.25, np.float32), "t": np.array(0.37, np.float32), "z": np.array(128, np.uint8),
        "wz": np.array(3, np.int8), "w": rng.integers(-9, 9, (4, 3, 2, 2)).astype(np.int8),
        "b": rng.integers(-99, 99, 4).astype(np.int32),
        "k": rng.integers(-9, 9, (5, 8)).astype(np.int8), "kb": rng.integers(-99, 99, 5).astype(np.int32),
    }  # fmt: skip
    return model(nodes, constants, ("N", *SHAPE), "y sm", input_type=2, domains={"com.microsoft": 1})


NAMES = {"operators": _operators_model, "floats": _float_model, "folded": _folded_model, "quantized": _quantized_model}


def models() -> list[bytes]:
    """The good files."""
    return [(CORPUS / f"{name}.onnx").read_bytes() for name in NAMES]


def _hostile() -> list[bytes]:
    """What lies about its size, nests, or repeats: few bytes each, or as many as they take."""
    tensor = number(2, 1) + b"".join(number(1, 1 << 20) for _ in range(2))
    graph = models()[1]
    return [
        piece(7, piece(1, b"") * 200_000),
        piece(7, piece(5, b"") * 200_000),
        piece(7, piece(1, piece(5, b"") * 200_000)),
        piece(7, piece(5, tensor + piece(9, b"\0" * 64))),
        graph + piece(7, piece(5, tensor + piece(4, b"\0" * 64) + piece(8, b"w"))),
        b"".join([b"\x3a" + varint(1_500_000)] + [b"\x0a\x0a"] * 750_000),
        graph + piece(7, piece(1, piece(4, b"Relu") + piece(1, b"y") + piece(2, b"y"))),
        graph + piece(8, number(2, (1 << 64) - 1)),
        piece(7, piece(1, piece(5, piece(1, b"ints") + number(20, 7) + number(8, 1) * 200_000))),
        b"\x0b" * 1_000_000,
    ]


def _read(folder: Path, data: bytes) -> None:
    (folder / "net.onnx").write_bytes(data)
    text = str(read(folder / "net.onnx"))
    assert text.replace("\n", "").isprintable(), text


def _prepare(folder: Path) -> None:
    import onnx  # noqa: F401  its memory is not the reader's


def _seeds() -> Sequence[bytes]:
    return [*models(), *_hostile()]


READERS = (Reader("onnx", "net.onnx", _prepare, _read, _seeds, protobuf, good=len(NAMES)),)


if __name__ == "__main__":
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name, make in NAMES.items():
        (CORPUS / f"{name}.onnx").write_bytes(make().SerializeToString())
