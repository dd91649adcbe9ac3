"""Arrays of images from .npz and MNIST idx files; sizes are checked before memory is taken."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from hwsim.errors import InputError
from hwsim.images.sources import ArraySource
from hwsim.network.strict import npy_header

FREE_BYTES, MAX_RATIO = 1 << 24, 30
"""Unpacked data may have FREE_BYTES, or MAX_RATIO times the file (MNIST has 5): unpacking may take twice that."""
LABEL_BYTES = 8
"""A label is held as int64."""
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""What numpy writes; other packings claim memory of their own."""

IDX_IMAGES, IDX_LABELS = b"\0\0\x08\x03", b"\0\0\x08\x01"
"""First bytes of an idx file of bytes with three axes (images) and one (labels)."""


def _check_size(claimed: int, path: Path, what: str) -> None:
    if claimed > max(FREE_BYTES, MAX_RATIO * path.stat().st_size):
        raise InputError(f"{path}: {what} claims {claimed:,} bytes, more than {MAX_RATIO} times the file; it is not read.")


def read_npz(path: Path) -> ArraySource:
    """`images` (uint8 N, H, W or N, H, W, C or N, C, H, W with C of 1 or 3, RGB) and, if present, `labels` (N) of an .npz."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if "images" not in names:
                found = ", ".join(sorted(names)[:8]) or "nothing"
                raise InputError(f"{path}: no array `images`; it has {found}; save the arrays as images= and labels=.")
            images = _read_member(archive, names["images"], path)
            labels = _read_member(archive, names["labels"], path, LABEL_BYTES) if "labels" in names else None
    except InputError:
        raise
    except Exception as error:  # a damaged archive makes zipfile and its decoders raise almost anything
        raise InputError(f"{path}: damaged, or no .npz ({str(error)[:80]}); save it again with numpy.savez.") from None
    return array_source(str(path), _as_nhwc(images, path), labels)


def _read_member(archive: zipfile.ZipFile, name: str, path: Path, held: int = 1) -> np.ndarray:
    """One array, its header checked against the bytes that are there; never a pickle. held: bytes that an element will take."""
    member = archive.getinfo(name)
    claimed = member.file_size
    _check_size(claimed, path, name)
    if member.compress_type not in METHODS:
        raise InputError(f"{path}: {name} is packed in another way than numpy does; save it again with numpy.savez.")
    with archive.open(name) as file:
        shape, fortran, dtype = npy_header(file, f"{path}: {name}")
        if dtype.kind not in "ui":
            raise InputError(f"{path}: {name} has elements of type {dtype}; whole numbers are needed (images: uint8).")
        size = math.prod(shape) * dtype.itemsize
        if held > 1:
            _check_size(math.prod(shape) * held, path, name)
        data = file.read(size) if size <= claimed else b""
    if len(data) != size:
        raise InputError(f"{path}: {name} claims shape {shape} and holds fewer bytes; save the file again.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _as_nhwc(images: np.ndarray, path: Path) -> np.ndarray:
    """N, H, W or N, H, W, 3."""
    where = f"{path}: images of shape {images.shape} and type {images.dtype}"
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise InputError(f"{where}; uint8 with axes N, H, W or N, C, H, W or N, H, W, C is needed.")
    if images.ndim == 3:
        return images
    if images.shape[3] in (1, 3):
        return images[..., 0] if images.shape[3] == 1 else images
    if images.shape[1] in (1, 3):
        return images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    raise InputError(f"{where}; 1 or 3 channels are needed, first or last after N.")


def array_source(path: str, images: np.ndarray, labels: np.ndarray | None) -> ArraySource:
    """A Source of these arrays; InputError where there is no image, or a label for some of them only, or none at all."""
    if not images.size:
        raise InputError(f"{path}: no images in it (shape {images.shape}); give at least one.")
    if labels is not None:
        if labels.shape != (len(images),):
            raise InputError(f"{path}: labels of shape {labels.shape} for {len(images)} images; one for each is needed.")
        if (labels < 0).any() or (labels > np.iinfo(np.int64).max).any():
            raise InputError(f"{path}: a label is negative or too large; labels count from 0.")
        labels = labels.astype(np.int64)
    return ArraySource(path, images, labels)


def read_idx_pair(images: Path, labels: Path | None) -> ArraySource:
    """MNIST's idx files, plain or gzip: images (uint8 N, H, W), and labels, which are looked for beside them if None."""
    pixels = _read_idx(images, IDX_IMAGES)
    beside = labels or _labels_beside(images)
    return array_source(str(images), pixels, _read_idx(beside, IDX_LABELS) if beside else None)


def _labels_beside(images: Path) -> Path | None:
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    for other in (name, name.removesuffix(".gz"), f"{name}.gz"):
        if other != images.name and (images.parent / other).is_file():
            return images.parent / other
    return None


def _open(path: Path) -> BinaryIO:
    try:
        if path.exists() and not path.is_file():  # to open a pipe would wait for ever
            raise InputError(f"{path}: is a folder or a device, no idx file; give the path of one.")
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")
    except (OSError, ValueError):
        raise InputError(f"{path}: this file does not exist or cannot be read; give the path of an idx file.") from None


def _read_idx(path: Path, magic: bytes) -> np.ndarray:
    what = "images (N, H, W)" if magic == IDX_IMAGES else "labels (N)"
    try:
        with _open(path) as file:
            head = file.read(4 + 4 * magic[3])
            if head[:4] != magic or len(head) != 4 + 4 * magic[3]:
                raise InputError(f"{path}: not an idx file of bytes with {what}: it starts with {head[:4].hex() or 'nothing'}.")
            shape = tuple(int(side) for side in np.frombuffer(head, ">u4", offset=4))
            _check_size(math.prod(shape), path, "its header")
            data = file.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged or truncated ({str(error)[:80]}); get the file again.") from None
    if len(data) != math.prod(shape):
        found = "more" if len(data) > math.prod(shape) else f"{len(data):,}"
        raise InputError(f"{path}: the header says {math.prod(shape):,} bytes of {what}, the file holds {found}.")
    return np.frombuffer(data, np.uint8).reshape(shape)
