"""Read what a device wrote: $writememh text, raw binary or npy, in the package's layout -> codes and what is undefined."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.golden.layout import ByteOrder
from hwsim.golden.wide import from_words
from hwsim.golden.words import Image
from hwsim.network.files import read_bytes
from hwsim.network.strict import npy_header

TEXT_SUFFIXES = (".hex", ".mem", ".txt", ".vmem", ".dat")
BINARY_SUFFIXES = (".bin", ".raw")
COMMENT = re.compile(rb"//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
"""A comment that does not end is one too, up to the end of the text: to look for its end again and again takes for ever."""
ADDRESS = re.compile(rb"@_*[0-9A-Fa-f][0-9A-Fa-f_]*")
UNDEFINED, INVALID = 254, 255
TEXT_SLACK = 1 << 20
"""Bytes of comments that a text may have beside its words."""

NIBBLE = np.full(256, INVALID, dtype=np.uint8)
for _i, _pair in enumerate(zip(b"0123456789abcdef", b"0123456789ABCDEF", strict=True)):
    NIBBLE[list(_pair)] = _i
NIBBLE[list(b"xXzZ?")] = UNDEFINED

Lanes = tuple[np.ndarray, np.ndarray]
"""(codes int64, undefined bool), each [words][lanes]."""


def read_dump(path: str | os.PathLike[str], image: Image) -> tuple[np.ndarray, np.ndarray]:
    """Return (codes int64, undefined bool), both in the array's own axes.

    path: .hex .mem .txt .vmem .dat ($readmemh syntax), .bin .raw, or .npy (the array itself, in any integer type).
    Errors: InputError where the length, a digit, an address or the suffix is wrong.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _read_npy(path, image)
    if suffix in TEXT_SUFFIXES:
        codes, undefined = parse_hex(read_bytes(path, _text_limit(image)), image, str(path))
    elif suffix in BINARY_SUFFIXES:
        codes, undefined = parse_bin(read_bytes(path, image.sizes()["bin"] + TEXT_SLACK), image, str(path))
    else:
        raise InputError(f"{path}: found suffix {suffix!r}, allowed {', '.join(TEXT_SUFFIXES + BINARY_SUFFIXES + ('.npy',))}.")
    return collect(codes, image), collect(undefined, image)


def _text_limit(image: Image) -> int:
    """A word may take its digits, as many underscores, and an address and a short comment beside it."""
    return image.words * (2 * image.digits * image.layout.lanes + 64) + TEXT_SLACK


def collect(lanes: np.ndarray, image: Image) -> np.ndarray:
    """The inverse of `arrange`: from memory order [words][lanes] back to the array's axes; padding is dropped."""
    positions = image.layout.positions(image.shape, image.axes)
    array = np.zeros(image.size, dtype=lanes.dtype)
    inside = positions >= 0
    array[positions[inside]] = lanes.ravel()[inside]
    return array.reshape(image.shape)


def parse_bin(data: bytes, image: Image, where: str) -> Lanes:
    """Raw binary -> lanes: a word's bytes in the layout's byte order, lane 0 least significant."""
    allowed = image.sizes()["bin"]
    if len(data) != allowed:
        raise InputError(
            f"{where}: found {len(data)} bytes, allowed {allowed}: {image.words} words of {allowed // image.words} bytes, "
            f"as the package's layout says."
        )
    big = image.layout.byte_order is ByteOrder.BIG
    lanes = np.frombuffer(data, dtype=image.dtype.newbyteorder(">" if big else "<"))
    lanes = lanes.reshape(-1, image.layout.lanes, image.parts or 1)
    lanes = lanes[:, ::-1, ::-1] if big else lanes
    codes = from_words(lanes) if image.parts else lanes[..., 0].astype(np.int64)
    return codes, np.zeros(codes.shape, dtype=bool)


def parse_hex(data: bytes, image: Image, where: str) -> Lanes:
    """$readmemh text -> lanes. Comments, underscores and @addresses are read; x, z and ? digits are undefined."""
    text = COMMENT.sub(_space, data)
    tokens = text.split()
    width = image.digits * image.layout.lanes
    codes: np.ndarray = np.zeros((image.words, image.layout.lanes), dtype=code_type(image))
    undefined = np.ones(codes.shape, dtype=bool)
    starts = [i for i, token in enumerate(tokens) if token[:1] == b"@"] if b"@" in text else []
    count = len(tokens) - len(starts)
    if not starts and count != image.words:
        raise InputError(f"{where}: found {count} words, allowed {image.words} of {image.word_bits} bits, as the package says.")
    for begin, end in zip([-1, *starts], [*starts, len(tokens)], strict=True):
        address = 0 if begin < 0 else _address(tokens[begin], where)
        words = tokens[begin + 1 : end]
        if address + len(words) > image.words:
            raise InputError(
                f"{where}: words reach address {address + len(words) - 1:x}, allowed are 0..{image.words - 1:x} (hexadecimal), "
                f"{image.words} words."
            )
        part = slice(address, address + len(words))
        codes[part], undefined[part] = _lanes(words, width, image, where, address)
    return codes, undefined


def _space(comment: re.Match[bytes]) -> bytes:
    """What stands for a comment: a space; or, where it never ends, its own first sign, which is no word."""
    text = comment[0]
    return b" /* " if text.startswith(b"/*") and (len(text) < 4 or not text.endswith(b"*/")) else b" "


def _address(token: bytes, where: str) -> int:
    if not ADDRESS.fullmatch(token):
        raise InputError(f"{where}: found address {token[:40].decode('ascii', 'replace')!r}, allowed @ and hex digits.")
    return int(token[1:].replace(b"_", b""), 16)


def _lanes(words: list[bytes], width: int, image: Image, where: str, address: int) -> Lanes:
    """Words from `address` on -> (codes, undefined) [words][lanes]; a short word is extended as $readmemh does, by 0, x or z."""
    shape = (len(words), image.layout.lanes)
    if not words:
        return np.zeros(shape, dtype=code_type(image)), np.zeros(shape, dtype=bool)
    fixed = words
    if any(len(word) != width for word in words):
        fixed = [_fit(word.replace(b"_", b""), width, where, address + i) for i, word in enumerate(words)]
    nibbles = NIBBLE[np.frombuffer(b"".join(fixed), dtype=np.uint8)]
    if (nibbles == INVALID).any():
        if any(b"_" in word for word in fixed):
            return _lanes([word.replace(b"_", b"") for word in words], width, image, where, address)
        bad = int((nibbles == INVALID).argmax()) // width
        raise InputError(f"{_word(where, address + bad, words[bad])}, allowed hex digits, x, z, ? and _.")
    lanes = nibbles.reshape(*shape, image.digits)[:, ::-1]
    undefined = (lanes == UNDEFINED).any(axis=2)
    value = np.zeros(shape, dtype=object if image.parts else np.uint64)
    four: Any = 4 if image.parts else np.uint64(4)
    for digit in range(image.digits):
        value = (value << four) | (lanes[..., digit] & 15).astype(value.dtype)
    return signed_value(value, image), undefined


def code_type(image: Image) -> type:
    """Return the type that codes are compared in: int64, or Python's ints beyond 64 bits."""
    return object if image.parts else np.int64


def _word(where: str, address: int, word: bytes) -> str:
    """Say where a bad word stands, and what it is."""
    return f"{where}: at address {address:x} (hexadecimal) found word {word[:40].decode('ascii', 'replace')!r}"


def _fit(word: bytes, width: int, where: str, address: int) -> bytes:
    if not word or len(word) > width and word[:-width].strip(b"0"):
        raise InputError(f"{_word(where, address, word)}, allowed are {width} hex digits.")
    return word.rjust(width, word[:1] if word[:1] in b"xXzZ" else b"0")[-width:]


def signed_value(value: np.ndarray, image: Image) -> np.ndarray:
    """Lanes of whole digits -> codes. The bits above the code's width may repeat its sign or be zero; else they count."""
    if image.parts:
        return np.frompyfunc(lambda x: _signed_int(x, image.bits, 4 * image.digits), 1, 1)(value)
    if not image.signed:
        return value.astype(np.int64)
    bits, lane_bits = image.bits, 4 * image.digits
    upper_is_zero = np.ones(value.shape, bool) if bits == 64 else value >> np.uint64(bits) == 0
    left = np.where(upper_is_zero, np.uint64(64 - bits), np.uint64(64 - lane_bits))
    return (value << left).view(np.int64) >> left.astype(np.int64)


def _signed_int(x: int, bits: int, lane_bits: int) -> int:
    width = lane_bits if x >> bits else bits
    return x - (x >> (width - 1) << width)


def _read_npy(path: Path, image: Image) -> tuple[np.ndarray, np.ndarray]:
    data = io.BytesIO(read_bytes(path, 8 * image.size + TEXT_SLACK))
    shape, fortran, dtype = npy_header(data, str(path))
    rest = data.getbuffer().nbytes - data.tell()
    if tuple(shape) != image.shape or dtype.kind not in "iu" or rest != image.size * dtype.itemsize:
        raise InputError(
            f"{path}: found shape {tuple(shape)} of {dtype}, {rest} bytes; "
            f"allowed {image.shape} ({' '.join(image.axes)}) of integers."
        )
    codes = np.frombuffer(data.read(), dtype=dtype).reshape(shape[::-1] if fortran else shape)
    if dtype.itemsize == 8 and dtype.kind == "u" and int(codes.max()) >= 1 << 63:
        raise InputError(f"{path}: found {int(codes.max())}, allowed codes below 2**63.")
    codes = (codes.transpose() if fortran else codes).astype(np.int64)
    return codes, np.zeros(codes.shape, dtype=bool)
