"""Attacks on DATA: list files, .npz, MNIST's idx files plain and packed, and images."""

from __future__ import annotations

import gzip
import io
import lzma
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import hwsim
from fuzz.caffe import LYING_HEADERS, npy
from fuzz.harness import FREE_MEMORY, Reader
from fuzz.mutate import bytewise, textual
from hwsim.network.preprocessing import ChannelOrder, Preprocessing

GRAY = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
RGB = (np.arange(5 * 6 * 7 * 3) % 251).astype(np.uint8).reshape(5, 6, 7, 3)
AS_GRAY = Preprocessing(ChannelOrder.GRAY, (6, 7))
AS_BGR = Preprocessing(ChannelOrder.BGR, (6, 7), crop=True)


def _prepare(folder: Path) -> None:
    (folder / "labels-idx1").write_bytes(idx(np.arange(5, dtype=np.uint8)))
    for i in range(3):
        Image.fromarray(RGB[i]).save(folder / f"{i}.png")


def _read(name: str) -> Callable[[Path, bytes], None]:
    """Write the bytes under this name, and take every image of the data, gray and in colour."""

    def read(folder: Path, data: bytes) -> None:
        (folder / name).write_bytes(data)
        for preprocessing in (AS_GRAY, AS_BGR):
            images = hwsim.images(folder / name, preprocessing)
            for i in range(min(len(images), 3)):
                assert images[i].pixels.shape == preprocessing.shape and images.name(i)
            assert images.labels is None or len(images.labels) == len(images)

    return read


def idx(array: np.ndarray) -> bytes:
    """MNIST's format."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def _idxs() -> Sequence[bytes]:
    good = idx(GRAY)
    shapes = ((1 << 31, 28, 28), (0, 5, 5), (1 << 31, 1 << 31, 4), (5, 0, 7))
    huge = [bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape) for shape in shapes]
    bomb = gzip.compress(idx(np.zeros((60_000, 40, 40), np.uint8)))
    lying = gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 5, 5, 5) + bytes(100 << 20))
    empty = gzip.compress(b"") * 20_000
    damaged = [good + b"x", good[:-1], b"\x1f\x8b"]
    return [good, gzip.compress(good), *huge, *(gzip.compress(h) for h in huge), bomb, lying, empty, *damaged]


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return file.getvalue()


def zeros(*shape: int) -> bytes:
    """A .npy of black pixels."""
    return npy(np.zeros(shape, np.uint8))


def _npzs() -> Sequence[bytes]:
    images, labels = npy(RGB), npy(np.arange(5))
    both, packed = {"images.npy": images, "labels.npy": labels}, zipfile.ZIP_DEFLATED
    good = [archive(both), archive(both, packed)]
    good += [archive({"images.npy": npy(GRAY)}), archive({"images.npy": npy(np.asfortranarray(RGB.transpose(0, 3, 1, 2)))})]
    lying = [archive({"images.npy": header}) for header in LYING_HEADERS]
    lying += [archive({"images.npy": npy(GRAY), "labels.npy": header}) for header in LYING_HEADERS[:5]]
    bombs = [
        *(archive({"images.npy": zeros(n, 1, 1), "labels.npy": zeros(n)}, packed) for n in (1 << 20, 8 << 20, 20 << 20)),
        archive({"images.npy": npy(RGB)}, zipfile.ZIP_LZMA),
        archive({"images.npy": npy(RGB)}, zipfile.ZIP_BZIP2),
        archive({f"x\x1b\n{i}": b"" for i in range(2000)}),
        archive({"images.npy": npy(RGB), "labels.npy": npy(np.full(5, 1 << 63, np.uint64))}),
        archive({"images.npy": npy(RGB), "../labels.npy": labels, "/images.npy": images}),
    ]
    return [*good, *lying, *bombs]


def png(width: int, height: int, body: bytes, kind: int = 2) -> bytes:
    """A PNG with this header and these compressed bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _pictures() -> Sequence[bytes]:
    found = []
    for kind in ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP"):
        for mode in ("RGB", "L", "P", "RGBA", "1", "CMYK", "I;16"):
            file = io.BytesIO()
            try:
                Image.fromarray(RGB[0]).convert("L" if mode == "I;16" else mode).convert(mode).save(file, kind)
            except (OSError, ValueError):
                continue
            found.append(file.getvalue())
    bombs = [
        png(8000, 8000, zlib.compress(bytes(8000 * (8000 * 3 + 1)))),
        png(8000, 8000, zlib.compress(bytes(100))),
        png(4000, 4000, zlib.compress(bytes(4000 * (4000 * 4 + 1))), 6),
        png((1 << 31) - 1, (1 << 31) - 1, b""),
        png(1 << 26, 1, zlib.compress(bytes(3 << 26))),
        b"P6 60000 1000 255\n",
        b"P3 60000 1000 255\n" + b"1 " * 1000,
        b"P6 0 5 255\n",
        b"P6 7 6 99999999999\n" + bytes(200),
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 8000, 8000, 1, 8, 1, 0, 0, 0, 0, 0) + b"\xff\x00" * 250_000,
    ]
    return [*found, *bombs]


def _lists() -> Sequence[bytes]:
    good = b"0.png 3\n1.png 0\n\n  2.png 7  \r\n"
    hostile = [
        b"0.png 1\n" * 20_000,
        b"0.png " + b"9" * 100_000,
        b"a" * 1_000_000,
        b"../../../../../../etc/passwd 1",
        b"/dev/zero 1",
        b"/dev/stdin 1",
        b"0.png \xc2\xb2",
        b"0.png 1\x0b\x0c\x1c\xe2\x80\xa80.png 2",
        b"\x1b[2J 1",
        b"\0 1",
        b"a" * 5000 + b" 1",
        b"PK",
        b"",
        b"\n" * 1_000_000,
    ]
    return [good, *hostile]


def _packed(data: bytes, rng: random.Random) -> bytes:
    """Change a gzip's content, or the gzip itself."""
    if data.startswith(b"\x1f\x8b") and rng.random() < 0.5:
        try:
            inner = zlib.decompressobj(31).decompress(data, 1 << 16)
        except zlib.error:
            return bytewise(data, rng)
        return gzip.compress(bytewise(inner, rng), 1)
    return bytewise(data, rng)


def _zipped(data: bytes, rng: random.Random) -> bytes:
    """Change one file of a zip and zip again, or the zip's own bytes."""
    if rng.random() < 0.4:
        return bytewise(data, rng)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as source:
            members = {name: source.open(name).read(1 << 16) for name in source.namelist()[:8]}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return bytewise(data, rng)
    if not members:
        return bytewise(data, rng)
    chosen = rng.choice(sorted(members))
    head = members[chosen][:128]
    members[chosen] = bytewise(head, rng) + members[chosen][128:]
    return archive(members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


READERS = (
    Reader("list", "list.txt", _prepare, _read("list.txt"), _lists, textual, good=1),
    Reader("npz", "data.npz", _prepare, _read("data.npz"), _npzs, _zipped, good=4),
    Reader("idx", "images-idx3", _prepare, _read("images-idx3"), _idxs, _packed, good=2),
    Reader("picture", "picture.png", _prepare, _read("picture.png"), _pictures, bytewise, good=20, free_memory=4 * FREE_MEMORY),
)
