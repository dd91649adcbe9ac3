"""Flatbuffers whose every offset, length and size is checked against the file before it is used.

The flatbuffers package reads scalars; it has no verifier in Python, so a damaged offset would read elsewhere, and a lying
length would take memory. Whatever this module hands out lies inside the file, and what it hands out in all (tables, and
vectors and texts that overlap) is bounded by the file's size.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np

from hwsim.errors import InputError

MAX_SHARING = 16
"""How often, on average, a byte may be read: tables may be shared, but not to make a large thing of a small file."""

FREE_BYTES = 1 << 16
LONGEST_TEXT = 1 << 14


class Flatbuffer:
    """The bytes of one file, and how much of them may still be read.

    where: the file's name, which begins every refusal.
    """

    def __init__(self, data: bytes, where: str, identifier: bytes) -> None:
        if len(data) < 8:
            raise InputError(f"{where}: found {len(data)} bytes, too few for a flatbuffer; give a whole file.")
        if data[4:8] != identifier:
            raise InputError(
                f"{where}: found {data[4:8]!r} at byte 4, allowed {identifier!r}; this is no such file, or a damaged one."
            )
        self.data, self.where = data, where
        self._left = MAX_SHARING * len(data) + FREE_BYTES

    def root(self) -> Table:
        """Return the file's root table."""
        return Table(self, self.offset(0), self.where)

    def number(self, kind: str, at: int, where: str) -> Any:
        """Return the scalar of this kind ("uint32", "float32", ...) at a byte of the file."""
        packer, size = _packer(kind)
        self.inside(at, size, where)
        return packer.unpack_from(self.data, at)[0]

    def offset(self, at: int, where: str = "") -> int:
        """Return where the unsigned offset at this byte points: always forward, inside the file."""
        target = at + self.number("uint32", at, where or self.where)
        if target == at:
            raise InputError(f"{where or self.where}: an offset at byte {at:,} points to itself; restore the file.")
        self.inside(target, 4, where or self.where)
        return target

    def inside(self, at: int, size: int, where: str) -> None:
        """Refuse what begins or ends outside the file."""
        if at < 0 or size < 0 or at + size > len(self.data):
            raise InputError(
                f"{where}: the file has {len(self.data):,} bytes, but something of {size:,} bytes is said to be at byte {at:,}; "
                "it is truncated or damaged: restore it."
            )

    def spend(self, size: int, where: str) -> None:
        """Count what is handed out; refuse where tables overlap so much that a small file becomes a large model."""
        self._left -= size
        if self._left < 0:
            raise InputError(
                f"{where}: its tables overlap, and say more than its {len(self.data):,} bytes hold; restore the file."
            )


class Table:
    """One table: its fields by slot, a field's place in the schema counted from 0; absent fields have their default.

    where: what an error names, e.g. "net.tflite: tensor 3".
    """

    def __init__(self, file: Flatbuffer, at: int, where: str) -> None:
        self._file, self._at, self.where = file, at, where
        self._vtable = at - file.number("int32", at, where)
        slots = file.number("uint16", self._vtable, where)
        self._size = file.number("uint16", self._vtable + 2, where)
        if slots < 4 or slots % 2 or self._size < 4:
            raise InputError(f"{where}: the table at byte {at:,} says that it has {slots} bytes of slots; restore the file.")
        file.inside(self._vtable, slots, where)
        file.inside(at, self._size, where)
        file.spend(64, where)
        self._slots = (slots - 4) // 2

    def _field(self, slot: int, size: int) -> int | None:
        """Return the byte of a field, or None where it is absent."""
        if slot >= self._slots:
            return None
        relative = self._file.number("uint16", self._vtable + 4 + 2 * slot, self.where)
        if relative == 0:
            return None
        if relative < 4 or relative + size > self._size:
            raise InputError(f"{self.where}: field {slot} lies outside its table; the file is damaged: restore it.")
        return self._at + int(relative)

    def number(self, slot: int, kind: str, default: float = 0) -> Any:
        """Return a scalar field."""
        at = self._field(slot, np.dtype(kind).itemsize)
        return default if at is None else self._file.number(kind, at, self.where)

    def flag(self, slot: int, default: bool = False) -> bool:
        """Return a field that is true or false."""
        return bool(self.number(slot, "uint8", default))

    def table(self, slot: int, where: str) -> Table | None:
        """Return a field that is a table."""
        at = self._field(slot, 4)
        return None if at is None else Table(self._file, self._file.offset(at, where), where)

    def numbers(self, slot: int, kind: str) -> np.ndarray | None:
        """Return a vector of scalars as a read-only view of the file; None where the field is absent."""
        found = self._vector(slot, np.dtype(kind).itemsize)
        if found is None:
            return None
        at, length = found
        self._file.spend(16 + length, self.where)
        dtype = np.dtype(kind).newbyteorder("<")
        return np.frombuffer(self._file.data, dtype, length, at) if length else np.zeros(0, dtype)

    def text(self, slot: int) -> str:
        """Return a string, damaged UTF-8 replaced; "" where the field is absent."""
        found = self._vector(slot, 1)
        if found is None:
            return ""
        at, length = found
        if length > LONGEST_TEXT:
            raise InputError(f"{self.where}: found a text of {length:,} bytes, allowed {LONGEST_TEXT:,}; shorten it.")
        self._file.spend(64 + 4 * length, self.where)
        return self._file.data[at : at + length].decode("utf-8", "replace")

    def tables(self, slot: int, what: str, most: int) -> list[Table]:
        """Return a vector of tables, at most `most`; errors call them e.g. "FILE: tensor 3"."""
        found = self._vector(slot, 4)
        if found is None:
            return []
        at, length = found
        if length > most:
            raise InputError(f"{self.where}: found {length:,} {what}s, allowed {most:,}; hwsim runs no larger models.")
        file = self._file
        names = [f"{file.where}: {what} {i}" for i in range(length)]
        return [Table(file, file.offset(at + 4 * i, name), name) for i, name in enumerate(names)]

    def _vector(self, slot: int, size: int) -> tuple[int, int] | None:
        """Return (first byte, length) of a vector whose elements have `size` bytes."""
        field = self._field(slot, 4)
        if field is None:
            return None
        at = self._file.offset(field, self.where)
        length = self._file.number("uint32", at, self.where)
        self._file.inside(at + 4, length * size, self.where)
        return at + 4, int(length)


@cache
def _packer(kind: str) -> tuple[struct.Struct, int]:
    """Return what unpacks a scalar of this kind, and its bytes."""
    from flatbuffers import packer

    found: struct.Struct = getattr(packer, kind)
    return found, found.size
