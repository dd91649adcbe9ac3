"""Attacks on .tflite files: small quantized networks, and flatbuffers that lie about their offsets, lengths and numbers.

`PYTHONPATH=.:tests python -m fuzz.tflite` writes the corpus tests/fuzz/corpus/tflite again: networks built by this file with
LiteRT's schema, so that the attack itself needs no LiteRT.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fuzz.harness import Reader
from fuzz.mutate import NUMBERS, bytewise

CORPUS = Path(__file__).with_name("corpus") / "tflite"
ODD = (0, 1, 2, 3, 4, 8, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF, 0x7F800000, 0x7FC00000)
"""Words that a flatbuffer takes for offsets, lengths, counts, and float32: infinity and not-a-number among them."""


def words(data: bytes, rng: random.Random) -> bytes:
    """Change an aligned word: to an odd one, to its neighbour's, by a little; or exchange two; or change the file's bytes."""
    if rng.random() < 0.3 or len(data) < 16:
        return bytewise(data, rng)
    at, size = 4 * rng.randrange(len(data) // 4), rng.choice((1, 2, 4, 4, 4, 8))
    old = int.from_bytes(data[at : at + size], "little")
    way = rng.randrange(6)
    if way == 0:
        new = rng.choice((*ODD, *NUMBERS))
    elif way == 1:
        new = old + rng.choice((-8, -4, -1, 1, 4, 8, 256))
    elif way == 2:
        other = 4 * rng.randrange(len(data) // 4)
        new = int.from_bytes(data[other : other + size], "little")
    elif way == 3:
        new = len(data) - at + rng.randrange(-8, 9)
    elif way == 4:
        new = old ^ 1 << rng.randrange(8 * size)
    else:
        new = rng.getrandbits(8 * size)
    return data[:at] + (new % (1 << 8 * size)).to_bytes(size, "little") + data[at + size :]


def sharing(tensors: int = 4000) -> bytes:
    """A model whose tensors are all one table, with a long name and a long shape: small, until each is read."""
    out = bytearray(b"\0\0\0\0TFL3")

    def put(fmt: str, *values: int) -> int:
        while len(out) % 4:
            out.append(0)
        at = len(out)
        out.extend(struct.pack("<" + fmt, *values))
        return at

    def table(*fields: tuple[str, int]) -> tuple[int, list[int]]:
        """Append a table of these (format, value) fields, four bytes each; return its place and those of its fields."""
        vtable = put(f"{2 + len(fields)}H", 4 + 2 * len(fields), 4 + 4 * len(fields), *(4 + 4 * i for i in range(len(fields))))
        at = put("i", 0)
        struct.pack_into("<i", out, at, at - vtable)
        return at, [put(fmt, value) for fmt, value in fields]

    def point(field: int, target: int) -> None:
        struct.pack_into("<I", out, field, target - field)

    model, fields = table(("I", 3), ("I", 0), ("I", 0), ("I", 0), ("I", 0))
    struct.pack_into("<I", out, 0, model)
    point(fields[1], put("I", 0))
    graphs = put("II", 1, 0)
    point(fields[2], graphs)
    graph, parts = table(("I", 0), ("I", 0), ("I", 0), ("I", 0))
    point(graphs + 4, graph)
    pointers = put(f"{1 + tensors}I", tensors, *[0] * tensors)
    point(parts[0], pointers)
    for field in parts[1:]:
        point(field, put("I", 0))
    tensor, inner = table(("I", 0), ("I", 3), ("I", 0), ("I", 0))
    for i in range(tensors):
        point(pointers + 4 + 4 * i, tensor)
    point(inner[0], put("9I", 8, *[1] * 8))
    text = b"x" * 10000
    point(inner[3], put("I", len(text)))
    out.extend(text + b"\0")
    for field in (fields[3], fields[4]):
        point(field, put("I", 0))
    return bytes(out)


def _read(folder: Path, data: bytes) -> None:
    import hwsim

    (folder / "net.tflite").write_bytes(data)
    network = hwsim.read(folder / "net.tflite")
    text = str(network)
    assert text.replace("\n", "").isprintable(), text
    json.dumps([network.to_json(), [node.to_json() for node in network]])


def _seeds() -> Sequence[bytes]:
    good = [path.read_bytes() for path in sorted(CORPUS.glob("*.tflite"))]
    return [*good, sharing(), b"", b"TFL3", b"\x08\0\0\0TFL3", good[0][: len(good[0]) // 2]]


READERS = [Reader("tflite", "net.tflite", lambda folder: None, _read, _seeds, words, good=4)]


# -- the corpus ------------------------------------------------------------------------------------------------------------


def _conv(dtype: str) -> bytes:
    from oracles.litert import Op, T, build, constant

    rng = np.random.default_rng(1)
    signed = dtype == "int8"
    zero = -3 if signed else 120
    per_channel = (0.01, 0.02, 0.005) if signed else (0.01,)
    weight_zero = 0 if signed else 131
    weights = (
        rng.integers(-100, 100, (3, 3, 3, 3)).astype(np.int8) if signed else rng.integers(0, 256, (3, 3, 3, 3), dtype=np.uint8)
    )
    dense = rng.integers(-100, 100, (5, 48)).astype(np.int8) if signed else rng.integers(0, 256, (5, 48), dtype=np.uint8)
    zeros = (weight_zero,) * len(per_channel)
    low = -128 if signed else 0
    tensors = [
        T((1, 8, 8, 3), dtype, (1.0,), (low,), name="image"),
        constant(weights, per_channel, zeros),
        constant(rng.integers(-90, 90, 3, dtype=np.int32), tuple(s for s in per_channel), (0,) * len(per_channel)),
        T((1, 4, 4, 3), dtype, (1.5,), (zero,), name="conv"),
        T((1, 4, 4, 3), dtype, (2.5,), (zero,), name="sum"),
        constant(np.array([1, 48], np.int32)),
        T((1, 48), dtype, (2.5,), (zero,), name="flat"),
        constant(dense, (0.01,), (weight_zero,)),
        constant(rng.integers(-90, 90, 5, dtype=np.int32), (0.025,), (0,)),
        T((1, 5), dtype, (1.5,), (zero,), name="logits"),
        T((1, 5), dtype, (1 / 256,), (low,), name="probabilities"),
    ]
    ops = [
        Op("CONV_2D", (0, 1, 2), (3,), "Conv2DOptions", {"padding": 0, "strideH": 2, "strideW": 2, "fusedActivationFunction": 3}),
        Op("ADD", (3, 3), (4,), "AddOptions", {"fusedActivationFunction": 1}),
        Op("RESHAPE", (4, 5), (6,)),
        Op("FULLY_CONNECTED", (6, 7, 8), (9,), "FullyConnectedOptions"),
        Op("SOFTMAX", (9,), (10,), "SoftmaxOptions", {"beta": 1.0}),
    ]
    return build(tensors, ops, [0], [10])


def _depthwise() -> bytes:
    from oracles.litert import Op, T, build, constant

    rng = np.random.default_rng(2)
    tensors = [
        T((1, 6, 5, 1), "uint8", (0.5,), (128,), name="image"),
        constant(rng.integers(0, 256, (1, 3, 3, 4), dtype=np.uint8), (0.02,), (120,), 3),
        constant(rng.integers(-50, 50, 4, dtype=np.int32), (0.01,), (0,)),
        T((1, 6, 5, 4), "uint8", (0.3,), (9,), name="depthwise"),
        T((1, 2, 2, 4), "uint8", (0.3,), (9,), name="pool"),
        T((1, 2, 2, 4), "uint8", (0.3,), (9,), name="max"),
        T((1, 2, 2, 8), "uint8", (0.3,), (9,), name="both"),
    ]
    pool = {"padding": 1, "strideH": 3, "strideW": 2, "filterHeight": 3, "filterWidth": 3}
    ops = [
        Op("DEPTHWISE_CONV_2D", (0, 1, 2), (3,), "DepthwiseConv2DOptions", {"strideH": 1, "strideW": 1, "depthMultiplier": 4}),
        Op("AVERAGE_POOL_2D", (3,), (4,), "Pool2DOptions", pool),
        Op("MAX_POOL_2D", (3,), (5,), "Pool2DOptions", pool),
        Op("CONCATENATION", (4, 5), (6,), "ConcatenationOptions", {"axis": 3}),
    ]
    return build(tensors, ops, [0], [6])


def _elementwise() -> bytes:
    from oracles.litert import Op, T, build, constant

    shape = (1, 4, 4, 3)
    tensors = [
        T(shape, "int8", (0.5,), (3,), name="image"),
        T(shape, "int8", (0.4,), (-3,), name="leaky"),
        T(shape, "int8", (1.5,), (5,), name="product"),
        T(shape, "int8", (1 / 256,), (-128,), name="logistic"),
        constant(np.array([[0, 0], [1, 0], [0, 1], [0, 0]], np.int32)),
        T((1, 5, 5, 3), "int8", (1 / 256,), (-128,), name="padded"),
        constant(np.array([1, 2], np.int32)),
        T((1, 1, 1, 3), "int8", (1 / 256,), (-128,), name="mean"),
    ]
    ops = [
        Op("LEAKY_RELU", (0,), (1,), "LeakyReluOptions", {"alpha": 0.1}),
        Op("MUL", (0, 1), (2,), "MulOptions"),
        Op("LOGISTIC", (2,), (3,)),
        Op("PAD", (3, 4), (5,), "PadOptions"),
        Op("MEAN", (5, 6), (7,), "ReducerOptions", {"keepDims": True}),
    ]
    return build(tensors, ops, [0], [7])


MADE: dict[str, Callable[[], bytes]] = {
    "conv_int8": lambda: _conv("int8"),
    "conv_uint8": lambda: _conv("uint8"),
    "depthwise": _depthwise,
    "elementwise": _elementwise,
}


def main() -> None:
    """Write the corpus."""
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name, make in MADE.items():
        (CORPUS / f"{name}.tflite").write_bytes(make())


if __name__ == "__main__":
    main()
