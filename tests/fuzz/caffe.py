"""Attacks on prototxt, caffemodel and mean files."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fuzz.harness import Reader
from fuzz.mutate import bytewise, protobuf, textual
from hwsim.network import read
from hwsim.network.caffe_weights import read_mean
from support.caffe_files import blob, caffemodel, number, old_blob, piece, v1_caffemodel, varint

PROTOTXT = """name: "small" # a comment
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 11 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 pad: 1
  stride: 2 group: 1 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" batch_norm_param { use_global_stats: true eps: 1e-4 } }
layer { name: "sc" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" relu_param { negative_slope: 0.0 } }
layer { name: "lrn" type: "LRN" bottom: "c" top: "lrn" lrn_param { local_size: 3 alpha: 0.1 norm_region: WITHIN_CHANNEL } }
layer { name: "p" type: "Pooling" bottom: "lrn" top: "p" pooling_param { pool: AVE kernel_h: 3 kernel_w: 2 stride: 2 pad: 1 } }
layer { name: "q" type: "Pooling" bottom: "lrn" top: "q" pooling_param { pool: MAX kernel_h: 3 kernel_w: 2 stride: 2 pad: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "p" bottom: "q" top: "sum" eltwise_param { operation: SUM } }
layer { name: "cat" type: "Concat" bottom: "sum" bottom: "p" top: "cat" concat_param { axis: 1 } }
layer { name: "u" type: "Deconvolution" bottom: "cat" top: "u" convolution_param { num_output: 2 kernel_size: 1 stride: 1 } }
layer { name: "pr" type: "PReLU" bottom: "u" top: "u" prelu_param { channel_shared: false } }
layer { name: "sl" type: "Slice" bottom: "u" top: "u0" top: "u1" slice_param { axis: 1 slice_point: 1 } }
layer { name: "drop" type: "Dropout" bottom: "cat" top: "cat" }
layer { name: "flat" type: "Flatten" bottom: "cat" top: "flat" }
layer { name: "ip" type: "InnerProduct" bottom: "flat" top: "ip" inner_product_param { num_output: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" top: "loss" include { phase: TRAIN } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" softmax_param { axis: 1 } }
"""
OLD_PROTOTXT = """name: "old" input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 11
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: "r" type: RELU bottom: "c" top: "c" }
layers { name: "p" type: POOLING bottom: "c" top: "p" pooling_param { pool: AVE global_pooling: true } }
"""
DATA_PROTOTXT = """layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST min_level: 0 stage: "x" }
  transform_param { crop_size: 9 mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.5 } }
layer { name: "d" type: "Data" top: "data" transform_param { crop_size: 9 mean_value: 104 } exclude { phase: TRAIN } }
layer { name: "c" type: "ConvolutionRistretto" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 }
  quantization_param { bw_layer_in: 8 fl_params: 7 precision: DYNAMIC_FIXED_POINT } }
"""


def weights() -> dict[str, list[np.ndarray]]:
    """Learned numbers that fit the three texts above."""
    rng = np.random.default_rng(1)
    shapes = {"c": [(4, 3, 3, 3), (4,)], "bn": [(4,), (4,), (1,)], "sc": [(4,), (4,)], "ip": [(5, 96), (5,)]}
    shapes |= {"u": [(8, 2, 1, 1), (2,)], "pr": [(2,)]}
    return {name: [rng.uniform(0.1, 1, shape).astype(np.float32) for shape in wanted] for name, wanted in shapes.items()}


def _prepare(folder: Path) -> None:
    (folder / "net.prototxt").write_text(PROTOTXT)
    (folder / "net.caffemodel").write_bytes(caffemodel(weights()))


def _read_prototxt(folder: Path, data: bytes) -> None:
    (folder / "net.prototxt").write_bytes(data)
    _use(folder)


def _read_caffemodel(folder: Path, data: bytes) -> None:
    (folder / "net.caffemodel").write_bytes(data)
    _use(folder)


def _use(folder: Path) -> None:
    """Read the pair; what came of it must be printable, too."""
    text = str(read(folder / "net.prototxt", folder / "net.caffemodel"))
    assert text.replace("\n", "").isprintable(), text


def _read_mean(folder: Path, data: bytes) -> None:
    (folder / "mean").write_bytes(data)
    assert read_mean(folder / "mean").dtype == np.float32


def _prototxts() -> Sequence[bytes]:
    hostile = (
        "a { " * 100_000,
        'name: "' + "x" * 1_000_000 + '"',
        'name: "' + "\\n" * 500_000 + '"',
        "layer { } " * 100_000,
        'layer { name: "a" type: "Concat" bottom: "data" top: "data" } ' * 20_000,
        'input: "data" input_shape { ' + "dim: 3 " * 100_000 + "}",
        "x: " + "9" * 1_000_000,
        "\n" * 4_000_000,
        "#" * 4_000_000,
    )
    return [text.encode() for text in (PROTOTXT, OLD_PROTOTXT, DATA_PROTOTXT, *hostile)]


def _caffemodels() -> Sequence[bytes]:
    learned = weights()
    scalar = piece(7, b"") + piece(5, struct.pack("<f", 1))
    doubles = piece(7, piece(1, varint(4))) + piece(8, struct.pack("<4d", 1, -1e300, 2, 5e-324))
    tiny = np.array([1e-45], np.float32)
    return [
        caffemodel(learned),
        v1_caffemodel(learned),
        caffemodel({"c": learned["c"]}),
        piece(100, piece(1, b"ip") + piece(7, scalar) + piece(7, scalar)),
        piece(100, piece(1, b"c") + piece(7, scalar) + piece(7, scalar)) + caffemodel(learned),
        caffemodel(learned) + piece(100, piece(1, b"bn") + piece(7, doubles) + piece(7, doubles) + piece(7, blob(tiny))),
        piece(100, b"") * 200_000,
        piece(100, piece(1, b"c") + piece(7, b"") * 200_000),
        b"\x0b" * 1_000_000,
    ]


def npy(array: np.ndarray) -> bytes:
    """The bytes that numpy.save writes."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_saying(text: bytes, body: bytes = b"", version: bytes = b"\1\0") -> bytes:
    """A .npy whose header is this text."""
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version == b"\1\0" else 4, "little") + text + body


LYING_HEADERS = (
    npy_saying(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3), }\n", bytes(24)),
    npy_saying(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }\n", bytes(24)),
    npy_saying(b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s,), }\n" % (b"9" * 40), bytes(24)),
    npy_saying(b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, %s), }\n" % (b"9" * 40)),
    npy_saying(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"cos\nsystem\n(S'false'\ntR."),
    npy_saying(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1"),
    npy_saying(b"(" * 400),
    npy_saying(b"-" * 5000 + b"1"),
    npy_saying(b"[" * 9000),
    npy_saying(b"{'descr': [('a', '<f4', (999999999,))], 'fortran_order': False, 'shape': (1,), }\n"),
    npy_saying(b"{'descr': '<f4', 'fortran_order': False, 'shape': (3L,), }\n", bytes(12)),
    npy_saying(b"{}", b"", b"\2\0"),
    b"\x93NUMPY\2\0\xff\xff\xff\xff",
    b"\x93NUMPY\3\0\x02\0\0\0\xff\xff",
)


def _means() -> Sequence[bytes]:
    mean = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    good = [npy(mean), npy(np.asfortranarray(mean)), npy(mean.astype(">f8")), npy(np.array([1, 2, 3])), npy(np.float32(3))]
    other = [npy(np.array(["a"])), npy(np.array([1j])), npy(np.zeros(1, "M8[s]")), npy(np.array([1e300])), npy(np.zeros(0))]
    empty = [piece(7, b"") + piece(5, struct.pack("<f", 1)), number(1, 1), b""]
    return [old_blob(mean[None]), blob(mean), *good, *other, *empty, *LYING_HEADERS]


def _mutate_mean(data: bytes, rng) -> bytes:
    return (bytewise if data.startswith(b"\x93") else protobuf)(data, rng)


READERS = (
    Reader("prototxt", "net.prototxt", _prepare, _read_prototxt, _prototxts, textual),
    Reader("caffemodel", "net.", _prepare, _read_caffemodel, _caffemodels, protobuf),
    Reader("mean", "mean", lambda folder: None, _read_mean, _means, _mutate_mean),
)
