"""hwsim.images: which kind of data a DATA argument is."""

from __future__ import annotations

import os
from pathlib import Path

from hwsim.errors import InputError
from hwsim.images.arrays import IDX_IMAGES, read_idx_pair, read_npz
from hwsim.images.image_set import ImageSet
from hwsim.images.sources import FileSource, Source, read_list
from hwsim.network.preprocessing import Preprocessing

DIGITS = Path(__file__).parent / "digits.npz"
"""1,797 handwritten digits, 8x8 pixels of 0..16 (make_digits.py)."""

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def images(data: str | os.PathLike[str], preprocessing: Preprocessing | None, limit: int | None = None) -> ImageSet:
    """The images of DATA as a network with this preprocessing takes them; at most the first `limit`.

    data: a Caffe list file (lines `path label`, relative to the list), an .npz (images, labels), MNIST's idx images
    (labels beside them, or "IMAGES,LABELS"), one image file, or "digits".
    Raises InputError for what is missing, damaged, empty or too large; an image in a list is decoded when asked for.

    >>> from hwsim.network.preprocessing import ChannelOrder, Preprocessing
    >>> digits = images("digits", Preprocessing(ChannelOrder.GRAY, (8, 8), scale=1 / 16), limit=100)
    >>> len(digits), digits.labels[:4].tolist(), digits[3].pixels.shape
    (100, [0, 1, 2, 3], (1, 8, 8))
    """
    if preprocessing is None:
        raise InputError("images: the network does not say how pixels enter it; give read() a channel_order, mean and scale.")
    if limit is not None and limit < 1:
        raise InputError(f"images: a limit of {limit}; at least 1 image is needed.")
    source = _open(os.fspath(data), limit)
    return ImageSet(source, preprocessing, range(len(source) if limit is None else min(limit, len(source))))


def _open(data: str, limit: int | None) -> Source:
    if data == "digits":
        return read_npz(DIGITS)
    path = Path(data)
    if "," in data and not path.exists():
        first, second = data.rsplit(",", 1)
        return read_idx_pair(Path(first), Path(second))
    head = _head(path)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return FileSource([path], [str(path)], None)
    if head.startswith(b"PK") or path.suffix == ".npz":
        return read_npz(path)
    if head.startswith((b"\x1f\x8b", IDX_IMAGES[:3])):
        return read_idx_pair(path, None)
    return read_list(path, limit)


def _head(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # to open a pipe would wait for ever
            raise OSError
        with path.open("rb") as file:
            return file.read(4)
    except (OSError, ValueError):
        raise InputError(f"{path}: no such data; give a list file, an .npz, idx files, an image, or the word `digits`.") from None
