"""Learned numbers from a caffemodel, in the current and in the 2014 (V1) layout, and a mean from a binaryproto."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.network.caffe_proto import parse_binary
from hwsim.network.files import read_bytes
from hwsim.network.strict import npy_header

MAX_CAFFEMODEL_BYTES = (1 << 31) - 1
"""Protobuf's own limit."""

MAX_LAYERS, MAX_BLOBS = 100_000, 64

_HDF5 = b"\x89HDF"


def read_caffemodel(path: Path) -> dict[str, tuple[np.ndarray, ...]]:
    """{name of layer: its blobs as float32}, without layers that have none; of two with one name the last counts.

    Blobs keep the shape of the file: in the 2014 layout four axes, the first of them 1.
    """
    data = read_bytes(path, MAX_CAFFEMODEL_BYTES)
    if data.startswith(_HDF5):
        raise InputError(f"{path}: this is an HDF5 file; write the caffemodel as BINARYPROTO.")
    file = parse_binary("WeightsFile", data, str(path))
    if not 0 < len(file.layer) + len(file.layers) <= MAX_LAYERS:
        raise InputError(
            f"{path}: no layers, or more than {MAX_LAYERS:,}; give a caffemodel with the network's weights."
        )
    weights: dict[str, tuple[np.ndarray, ...]] = {}
    for kind, pieces in (("WeightsLayerV1", file.layers), ("WeightsLayer", file.layer)):
        for piece in pieces:
            _read_layer(kind, piece, path, weights)
    return weights


def _read_layer(kind: str, piece: bytes, path: Path, weights: dict[str, tuple[np.ndarray, ...]]) -> None:
    layer = parse_binary(kind, piece, str(path))
    name = layer.name.decode("utf-8", "replace")
    if kind == "WeightsLayerV1" and layer.layer:
        raise InputError(f"{path}: this is the layout of 2013 (V0); upgrade it with Caffe's upgrade_net_proto_binary.")
    if len(layer.blobs) > MAX_BLOBS:
        raise InputError(f"{path}: layer {name!r}: {len(layer.blobs):,} blobs; at most {MAX_BLOBS} are allowed.")
    if layer.blobs:
        where = f"{path}: layer {name!r}, blob"
        weights[name] = tuple(_read_blob(data, f"{where} {i}") for i, data in enumerate(layer.blobs))


def _read_blob(data: bytes, where: str) -> np.ndarray:
    blob = parse_binary("BlobProto", data, where)
    shape = _blob_shape(blob)
    values, dtype = (blob.data, np.float32) if len(blob.data) else (blob.double_data, np.float64)
    if any(side < 1 for side in shape) or math.prod(shape) != len(values):
        raise InputError(f"{where}: shape {shape} needs {math.prod(shape):,} numbers, the file holds {len(values):,}.")
    with np.errstate(over="ignore"):  # infinity then, which who uses the blob refuses
        return np.fromiter(values, dtype, count=len(values)).astype(np.float32).reshape(shape)


def _blob_shape(blob: Any) -> tuple[int, ...]:
    if blob.HasField("shape"):
        return tuple(blob.shape.dim[:9])  # Caffe allows 32 axes and uses 4; a ninth is enough to be refused
    return blob.num, blob.channels, blob.height, blob.width


def read_mean(path: Path) -> np.ndarray:
    """The mean image (C, H, W) or the mean per channel (C) of a .npy or a .binaryproto file, as float32."""
    data = read_bytes(path, 1 << 28)
    if not data.startswith(b"\x93NUMPY"):
        blob = _read_blob(data, str(path))
        return blob[0] if blob.ndim == 4 and len(blob) == 1 else blob
    file = io.BytesIO(data)
    shape, fortran, dtype = npy_header(file, str(path))
    left = len(data) - file.tell()
    if dtype.kind not in "fiu" or math.prod(shape) * dtype.itemsize != left or not left:
        raise InputError(
            f"{path}: found shape {shape} of {dtype} and {left:,} bytes, not an array of numbers; "
            "save the mean with numpy.save as float32."
        )
    with np.errstate(over="ignore"):
        mean = np.frombuffer(data, dtype, offset=file.tell()).astype(np.float32)
    return mean.reshape(shape, order="F" if fortran else "C")
