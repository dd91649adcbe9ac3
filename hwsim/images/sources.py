"""Where pixels come from: an array or a list of files. A Source gives H, W or H, W, 3 (RGB) and knows nothing of networks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from hwsim.errors import InputError
from hwsim.images.decode import read_image
from hwsim.network.files import read_bytes

MAX_LIST_BYTES = 1 << 28
MAX_LABEL = (1 << 31) - 1


class Source(Protocol):
    """A sequence of images with their labels."""

    @property
    def labels(self) -> np.ndarray | None:
        """int64 of shape N, or None where nobody labelled the images."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What a report calls this image."""

    def read(self, index: int, gray: bool) -> np.ndarray:
        """uint8 H, W or H, W, 3 (RGB); gray: what the network takes."""


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Images held in memory: uint8 of shape N, H, W or N, H, W, 3 (a view will do)."""

    path: str
    images: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return f"{Path(self.path).name}[{index}]"

    def read(self, index: int, gray: bool) -> np.ndarray:
        return np.ascontiguousarray(self.images[index])


@dataclass(frozen=True, eq=False)
class FileSource:
    """Image files, read one by one when asked for; places: what an error names for each of them."""

    paths: Sequence[Path]
    places: Sequence[str]
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return self.paths[index].name

    def read(self, index: int, gray: bool) -> np.ndarray:
        return read_image(self.paths[index], gray, self.places[index])


def read_list(path: Path, limit: int | None) -> FileSource:
    """Caffe's list file: lines `path label`, paths relative to the list's folder unless they are absolute.

    Every file named must exist; it is opened only when its pixels are asked for.
    """
    try:
        lines = read_bytes(path, MAX_LIST_BYTES).decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: neither an image, an .npz, an idx file, nor a text of lines `path label`; give one of these."
        ) from None
    paths: list[Path] = []
    places: list[str] = []
    labels: list[int] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if limit is not None and len(paths) == limit:
            break
        name, label = _split(line, f"{path}: line {number}")
        image = path.parent / name
        if "\0" in name or not os.path.isfile(image):
            raise InputError(f"{path}: line {number}: the image {name!r} does not exist; correct the path or remove the line.")
        paths.append(image)
        places.append(f"{path}: line {number}")
        labels.append(label)
    if not paths:
        raise InputError(f"{path}: no image in this list; write one line `path label` for each image.")
    return FileSource(paths, places, np.array(labels, np.int64))


def _split(line: str, where: str) -> tuple[str, int]:
    """Path and label of one line; a path may hold spaces, the label is what follows the last one."""
    name, _, label = line.strip().rpartition(" ")
    if not name.strip():
        raise InputError(f"{where}: {line.strip()[:80]!r} is not `path label`; write both, with a space between.")
    if not (label.isascii() and label.isdigit()) or len(label) > 10 or int(label) > MAX_LABEL:
        raise InputError(f"{where}: the label {label[:40]!r} is not a whole number of 0..{MAX_LABEL}; correct it.")
    return name.strip(), int(label)
