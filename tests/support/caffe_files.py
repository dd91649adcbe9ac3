"""Caffe files written by hand, byte by byte from the wire format: independent of hwsim's own messages."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def piece(number: int, payload: bytes) -> bytes:
    """A length-delimited field: string, message or packed numbers."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def blob(array: np.ndarray) -> bytes:
    shape = piece(7, piece(1, b"".join(map(varint, array.shape))))
    return shape + piece(5, array.astype("<f4").tobytes())


def old_blob(array: np.ndarray) -> bytes:
    """The 2014 layout: num, channels, height, width, the leading ones filled up with 1; numbers not packed."""
    shape = (1,) * (4 - array.ndim) + array.shape
    dims = b"".join(number(i + 1, side) for i, side in enumerate(shape))
    return dims + b"".join(varint(5 << 3 | 5) + struct.pack("<f", value) for value in array.ravel())


def caffemodel(weights: dict[str, list[np.ndarray]]) -> bytes:
    """The current layout, with the fields around the blobs that Caffe writes too."""
    layers = (
        piece(1, name.encode()) + piece(2, b"Convolution") + piece(3, b"bottom") + b"".join(piece(7, blob(b)) for b in blobs)
        for name, blobs in weights.items()
    )
    return piece(1, b"net") + b"".join(piece(100, layer) for layer in layers)


def v1_caffemodel(weights: dict[str, list[np.ndarray]]) -> bytes:
    """The 2014 layout."""
    layers = (
        piece(2, b"bottom") + piece(4, name.encode()) + number(5, 4) + b"".join(piece(6, old_blob(b)) for b in blobs)
        for name, blobs in weights.items()
    )
    return piece(1, b"net") + b"".join(piece(2, layer) for layer in layers)


def write_network(folder: Path, prototxt: str, weights: dict[str, list[np.ndarray]]) -> tuple[Path, Path]:
    """(prototxt, caffemodel) in this folder."""
    model, learned = folder / "net.prototxt", folder / "net.caffemodel"
    model.write_text(prototxt)
    learned.write_bytes(caffemodel(weights))
    return model, learned
