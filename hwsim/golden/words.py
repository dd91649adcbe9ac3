"""One word formatter per file format: codes in a layout -> bytes of a $readmemh text, a raw binary image, an npy array."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwsim.formats.fixed import FixedPoint
from hwsim.golden.layout import ByteOrder, MemoryLayout
from hwsim.golden.wide import WORD, from_words, to_words, words_of

DIGITS = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
PAIRS = np.stack([np.repeat(DIGITS, 16), np.tile(DIGITS, 16)], axis=1)
"""PAIRS[byte] = its two hexadecimal digits in ASCII."""


@dataclass(frozen=True)
class Image:
    """What one array is in memory: its name, axes, shape, format and layout. Says how many bytes each file has.

    title: the first line of the text, "layer, role".  axes: of the array, as "NCHW" or "KCRS".
    """

    title: str
    axes: str
    shape: tuple[int, ...]
    bits: int
    signed: bool
    layout: MemoryLayout

    @property
    def digits(self) -> int:
        """Hexadecimal digits of one lane: the code's width rounded up to whole digits."""
        return -(-self.bits // 4)

    @property
    def parts(self) -> int | None:
        """Words of 64 bits that a code beyond 64 bits takes, else None."""
        return words_of(self.bits) if self.bits > WORD else None

    @property
    def dtype(self) -> np.dtype:
        """Type of the codes, or of their words, in npy and of one lane in raw binary (little-endian in npy)."""
        return np.dtype(np.int64) if self.parts else FixedPoint(self.bits, 0, self.signed).dtype

    @property
    def npy_shape(self) -> tuple[int, ...]:
        """Shape of the array in npy: the codes', with an axis of words behind it where a code takes several."""
        return (*self.shape, self.parts) if self.parts else self.shape

    @property
    def lane_bytes(self) -> int:
        """Bytes of one lane in raw binary."""
        return self.dtype.itemsize * (self.parts or 1)

    @property
    def words(self) -> int:
        """Number of words."""
        return self.layout.words(self.shape, self.axes)

    @property
    def word_bits(self) -> int:
        """Width of one word of the text, and of the memory that $readmemh fills."""
        return 4 * self.digits * self.layout.lanes

    @property
    def size(self) -> int:
        """Number of codes."""
        total = 1
        for extent in self.shape:
            total *= extent
        return total

    def header(self) -> bytes:
        """The comment lines that start the text."""
        tiles = "".join(f", {axis} in tiles of {size}" for axis, size in self.layout.tiles)
        shape = " ".join(f"{axis}={extent}" for axis, extent in zip(self.axes, self.shape, strict=True))
        kind = "signed" if self.signed else "unsigned"
        lines = (
            _printable(self.title),
            f"{shape}, order {self.layout.order}{tiles}",
            f"{self.bits}-bit {kind} codes, {self.layout.lanes} per word (lane 0 lowest), "
            f"{self.words} words of {self.word_bits} bits",
        )
        return "".join(f"// {line}\n" for line in lines).encode("ascii")

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, by format, known before anything is written or read."""
        hexadecimal = len(self.header()) + self.words * (self.digits * self.layout.lanes + 1)
        binary = self.words * self.layout.lanes * self.lane_bytes
        array = len(npy_header(self.dtype, self.npy_shape)) + self.size * self.lane_bytes
        return {"bin": binary, "hex": hexadecimal, "npy": array}


def _printable(text: str) -> str:
    """ASCII on one line: a name from a model file must not end the comment."""
    return "".join(c if " " <= c <= "~" else f"\\u{ord(c):04x}" for c in text)


def arrange(codes: np.ndarray, image: Image) -> np.ndarray:
    """Return codes in memory order, [words][lanes], zeros where the layout pads."""
    positions = image.layout.positions(image.shape, image.axes)
    flat = np.append(codes.ravel(), np.zeros(1, dtype=codes.dtype))  # index -1 reads this zero
    return flat[positions].reshape(-1, image.layout.lanes)


def hex_bytes(codes: np.ndarray, image: Image) -> bytes:
    """Text for $readmemh: one word a line, two's complement in whole digits, lane 0 in the last digits.

    >>> image = Image("t", "NCHW", (1, 1, 1, 2), 6, True, MemoryLayout("NCHW", lanes=2))
    >>> hex_bytes(np.array([[[[1, -2]]]]), image).splitlines()[-1]
    b'fe01'
    """
    return image.header() + _hex_words(arrange(codes, image), image)


def _bytes(lanes: np.ndarray, image: Image, big: bool) -> np.ndarray:
    """Return the bytes of each lane, uint8 [words][lanes][bytes], the most significant one first if `big`."""
    if image.parts:
        words = to_words(lanes, image.parts)
        lanes = words[..., ::-1] if big else words
    data = np.ascontiguousarray(lanes.astype(image.dtype.newbyteorder(">" if big else "<")))
    return data.view(np.uint8).reshape(*lanes.shape[:2], -1)


def _hex_words(lanes: np.ndarray, image: Image) -> bytes:
    big = _bytes(lanes, image, True)
    text = PAIRS[big].reshape(*lanes.shape, -1)[..., -image.digits :]
    lines = np.empty((len(lanes), image.digits * image.layout.lanes + 1), dtype=np.uint8)
    lines[:, :-1] = text[:, ::-1].reshape(len(lanes), -1)
    lines[:, -1] = ord("\n")
    return lines.tobytes()


def bin_bytes(codes: np.ndarray, image: Image) -> bytes:
    """Raw binary: each lane 8, 16, 32 or whole 64 bits wide; a word's bytes in the layout's byte order."""
    lanes = arrange(codes, image)
    if image.layout.byte_order is ByteOrder.BIG:
        return _bytes(lanes[:, ::-1], image, True).tobytes()
    return _bytes(lanes, image, False).tobytes()


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The header of npy version 1.0, written here because numpy's padding differs between its versions."""
    text = f"{{'descr': '{dtype.newbyteorder('<').str}', 'fortran_order': False, 'shape': {shape!r}, }}"
    text += " " * (-(10 + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")


def npy_bytes(codes: np.ndarray, image: Image) -> bytes:
    """The array in its own axes, row-major and little-endian, whatever the layout."""
    values = to_words(codes, image.parts) if image.parts else codes
    data = np.ascontiguousarray(values, dtype=image.dtype.newbyteorder("<"))
    return npy_header(image.dtype, image.npy_shape) + data.tobytes()


def from_npy(data: np.ndarray, image: Image) -> np.ndarray:
    """Return the codes of an array as npy_bytes wrote it."""
    return from_words(data) if image.parts else data.astype(image.dtype)


FORMATTERS: dict[str, Callable[[np.ndarray, Image], bytes]] = {"bin": bin_bytes, "hex": hex_bytes, "npy": npy_bytes}


def digest(data: bytes) -> str:
    """sha256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
