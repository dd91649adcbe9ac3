"""Reading files that nobody vouches for: JSON and .npy of bounded size, field by field, with one sentence for each fault."""

from __future__ import annotations

import io
import json
import math
import os
import warnings
from enum import Enum
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from hwsim.errors import InputError
from hwsim.network.files import read_bytes

E = TypeVar("E", bound=Enum)

MAX_DEPTH = 16
MAX_DIGITS = 40
"""Longest number in a JSON file: Python's ints have no bound, and long ones take quadratic time."""
MAX_HEADER = 1 << 14
"""Longest header of a .npy file; one of numbers has 118 bytes."""


def read_json(path: str | os.PathLike[str], limit: int) -> Any:
    """Return the value of a JSON file of at most `limit` bytes.

    InputError for a file that is missing, too large, no UTF-8, no JSON, nested more than MAX_DEPTH deep, or that has a key
    twice or a number that is not finite.
    """
    return parse_json(read_bytes(path, limit), str(path))


def parse_json(data: bytes, where: str) -> Any:
    """Return the value of a JSON text; InputError as read_json says."""
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_real,
        )
    except UnicodeDecodeError:
        raise InputError(f"{where}: not UTF-8 text; this file is JSON.") from None
    except RecursionError:
        raise InputError(f"{where}: nested too deeply; allowed are {MAX_DEPTH} levels.") from None
    except ValueError as error:
        raise InputError(f"{where}: not JSON as hwsim writes it ({error}); correct it at that place.") from None
    if _depth(value) > MAX_DEPTH:
        raise InputError(f"{where}: nested too deeply; allowed are {MAX_DEPTH} levels.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:40]!r} stands twice in one object")
        found[key] = value
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if len(text) > MAX_DIGITS or not math.isfinite(value):
        raise ValueError(f"the number {text[:MAX_DIGITS]} is too long or too large")
    return value


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        level = [v for x in level if isinstance(x, (dict, list)) for v in (x.values() if isinstance(x, dict) else x)]
        if depth > MAX_DEPTH:
            break
    return depth


def npy_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return (shape, Fortran order, type of the elements) from the head of a .npy file; InputError where it is none.

    numpy evaluates the header as a literal: what is damaged makes it raise almost anything, and warn besides.
    """
    head = file.read(10)
    if head[6:7] != b"\x01":
        head += file.read(2)
    length = int.from_bytes(head[8:], "little")  # numpy would take this much memory before it reads
    if length > MAX_HEADER:
        raise InputError(f"{where}: its header claims {length:,} bytes, allowed {MAX_HEADER:,}; save it again with numpy.save.")
    text = io.BytesIO(head + file.read(length))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(text)
            read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read_header(text)
    except Exception as error:
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise InputError(f"{where}: no .npy file that can be read ({reason}); save it again with numpy.save.") from None
    if any(extent < 0 for extent in shape):
        raise InputError(f"{where}: found shape {shape}, allowed extents from 0; save it again with numpy.save.")
    return tuple(int(extent) for extent in shape), bool(fortran), dtype


def load_npy(data: bytes, where: str, dtypes: tuple[str, ...], axes: tuple[int, ...]) -> np.ndarray:
    """Return the array of a .npy file's bytes: of one of these types ("<f4") and numbers of axes, C order, as long as it says.

    InputError otherwise; the header is checked against the bytes at hand before any array is made, and nothing is unpickled.
    """
    file = io.BytesIO(data)
    shape, fortran, found = npy_header(file, where)
    if found not in [np.dtype(dtype) for dtype in dtypes]:
        allowed = ", ".join(str(np.dtype(dtype)) for dtype in dtypes)
        raise InputError(f"{where}: found elements of type {found}, allowed {allowed}; restore the file.")
    if fortran and len(shape) > 1:
        raise InputError(f"{where}: found Fortran order, allowed C order; restore the file.")
    if len(shape) not in axes or 0 in shape:
        allowed = " or ".join(map(str, axes))
        raise InputError(f"{where}: found shape {shape}, allowed {allowed} axes, none of them empty; restore the file.")
    body = len(data) - file.tell()
    if math.prod(shape) * found.itemsize != body:
        raise InputError(f"{where}: its header says shape {shape}, and {body:,} bytes follow; restore the file.")
    return np.frombuffer(data, found, offset=file.tell()).reshape(shape)


class Fields:
    """One JSON object, taken apart field by field; done() refuses what nobody took.

    where: what an error names, e.g. "net.hwnet/network.json: layer 'conv1'".
    """

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise InputError(f"{where}: found {short(value)}, allowed an object of named fields.")
        self._value, self.where = dict(value), where

    def __contains__(self, name: str) -> bool:
        return name in self._value

    def any(self, name: str) -> Any:
        """Take a field of any type."""
        if name not in self._value:
            raise InputError(f"{self.where}: the field {name!r} is missing; add it.")
        return self._value.pop(name)

    def _wrong(self, name: str, value: Any, allowed: str) -> InputError:
        return InputError(f"{self.where}, {name}: found {short(value)}, allowed {allowed}.")

    def integer(self, name: str, low: int, high: int) -> int:
        """Take an integer in low..high."""
        value = self.any(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(name, value, f"an integer in {low}..{high}")
        return value

    def integers(self, name: str, low: int, high: int, count: int | None = None) -> tuple[int, ...]:
        """Take a list of integers in low..high."""
        value = self.any(name)
        good = isinstance(value, list) and all(type(v) is int and low <= v <= high for v in value)
        if not good or not value or (count is not None and len(value) != count):
            raise self._wrong(name, value, f"a list of {count or ''} integers in {low}..{high}".replace("  ", " "))
        return tuple(value)

    def real(self, name: str) -> float:
        """Take a finite number."""
        value = self.any(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e300:
            raise self._wrong(name, value, "a finite number")
        return float(value)

    def boolean(self, name: str) -> bool:
        """Take true or false."""
        value = self.any(name)
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def text(self, name: str, most: int = 256) -> str:
        """Take a text of 1..most characters that can be printed."""
        value = self.any(name)
        if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
            raise self._wrong(name, value, f"a text of 1 to {most} printable characters")
        return value

    def choice(self, name: str, kind: type[E]) -> E:
        """Take the name of a member of an Enum."""
        value = self.any(name)
        if not isinstance(value, str) or value not in kind.__members__:
            raise self._wrong(name, value, f"one of {', '.join(kind.__members__)}")
        return kind[value]

    def texts(self, name: str) -> tuple[str, ...]:
        """Take a list of texts."""
        value = self.any(name)
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            raise self._wrong(name, value, "a list of texts")
        return tuple(value)

    def objects(self, name: str) -> list[Any]:
        """Take a list of anything."""
        value = self.any(name)
        if not isinstance(value, list):
            raise self._wrong(name, value, "a list")
        return value

    def fields(self, name: str) -> Fields:
        """Take an object."""
        return Fields(self.any(name), f"{self.where}, {name}")

    def items(self, name: str) -> dict[str, Any]:
        """Take an object whose keys are names of the user's."""
        return self.fields(name)._value

    def done(self) -> None:
        """Refuse what was not taken."""
        if self._value:
            raise InputError(f"{self.where}: the field {short(next(iter(self._value)))} is unknown; remove it.")


def short(value: Any) -> str:
    """Return a value as a sentence quotes it, at most 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def checked_file(folder: Path, name: str, where: str) -> Path:
    """Return folder/name for a name that is a plain file of that folder: no path, no link, no hidden file."""
    plain = name and len(name) <= 128 and name[0] != "." and all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
    if not plain:
        raise InputError(f"{where}: found the file name {short(name)}, allowed letters, digits, '.', '_' and '-' only.")
    path = folder / name
    if folder.is_symlink() or path.is_symlink() or not path.is_file():
        raise InputError(f"{where}: the file {folder.name}/{name} is missing or no plain file in a plain folder; restore it.")
    return path
