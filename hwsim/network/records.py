"""Records and formats as the plain data of a .hwnet, and back.

A record is a frozen dataclass: an object of its fields, enumerations by name, tuples as lists. Fields at their default are
left out, and may be absent when read. A fixed-point format is written with its integer bits, the sign's included, so that
`bits` can be edited alone and the range stays: fractional_length = bits - integer_bits. An affine one has scale and zero_point.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import replace
from enum import Enum
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint, Format, Minifloat, PowerOfTwo
from hwsim.formats.catalog import FORMATS
from hwsim.formats.fixed import MAX_FRACTIONAL_LENGTH
from hwsim.network.lower.settle import naming
from hwsim.network.strict import Fields, short

MAX_ENTRIES = 1 << 16
"""Entries of a list in a record: one for each lane or output channel."""

FORMATS_OF_CODES = (FixedPoint, Affine, PowerOfTwo, Minifloat)

MAX_REAL = 1e300
Stanza = dict[str, Any]


def record(value: Any) -> Any:
    """Return a record as plain data, without the fields that are at their default.

    >>> from hwsim.contract import Schedule, Spill
    >>> record(Schedule(lanes=4, spill=Spill(8, 16)))
    {'lanes': 4, 'spill': {'every': 8, 'bits': 16}}
    """
    if isinstance(value, FORMATS_OF_CODES):
        return format_stanza(value)
    if dataclasses.is_dataclass(value):
        shown = [f for f in dataclasses.fields(value) if not _is_default(value, f)]
        return {f.name: record(getattr(value, f.name)) for f in shown}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, tuple):
        return [record(v) for v in value]
    return int(value) if isinstance(value, np.integer) else value


def _is_default(value: Any, f: dataclasses.Field[Any]) -> bool:
    return f.default is not dataclasses.MISSING and getattr(value, f.name) == f.default


def read_record(cls: type, value: Any, where: str) -> Any:
    """Return the record that `record` wrote, or that a user did; errors name the field and say what is allowed."""
    f, hints, values = Fields(value, where), typing.get_type_hints(cls), {}
    for field in dataclasses.fields(cls):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required or field.name in f:
            values[field.name] = read_value(hints[field.name], f.any(field.name), f"{where}, {field.name}")
    f.done()
    with naming(where):
        return cls(**values)


def read_value(hint: Any, value: Any, where: str) -> Any:
    """Return the value that a field of this type has: a record, a format, a name, a number, a text, null or a list of these."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if isinstance(value, dict) and any(option in FORMATS_OF_CODES for option in options):
        kinds = [option for option in options if option in FORMATS_OF_CODES]
        if kinds == [Minifloat]:
            return read_minifloat(value, where)
        return _allowed_format(kinds, read_format(value, where, 64), where)
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, list):
            return _entries(typing.get_args(option), value, where)
        if not isinstance(option, type):
            continue
        if option is type(None) and value is None:
            return None
        if dataclasses.is_dataclass(option) and isinstance(value, dict):
            return read_record(option, value, where)
        if issubclass(option, Enum) and isinstance(value, str) and value in option.__members__:
            return option[value]
        if option in (int, bool, str) and type(value) is option:
            return value
        if option is float and type(value) in (int, float) and abs(value) <= MAX_REAL:
            return float(value)
    raise InputError(f"{where}: found {short(value)}, allowed {' or '.join(_allowed(option) for option in options)}.")


def _allowed_format(kinds: list[type], fmt: Format, where: str) -> Format:
    if not isinstance(fmt, tuple(kinds)):
        raise InputError(f"{where}: found {fmt}, allowed {' or '.join(kind.__name__ for kind in kinds)}.")
    return fmt


def _allowed(option: Any) -> str:
    names = {int: "an integer", bool: "true or false", type(None): "null", float: "a finite number", str: "a text"}
    if isinstance(option, type) and issubclass(option, Enum):
        return f"one of {', '.join(option.__members__)}"
    if typing.get_origin(option) is tuple:
        kinds = set(typing.get_args(option)) - {Ellipsis}
        return "a list of integers" if kinds == {int} else "a list"
    return names.get(option, "an object of named fields")


def _entries(hints: tuple[Any, ...], value: list[Any], where: str) -> tuple[Any, ...]:
    """A list as a tuple, entry by entry; of a fixed length where its type says one."""
    if hints[-1] is Ellipsis:
        if len(value) > MAX_ENTRIES:
            raise InputError(f"{where}: found a list of {len(value):,}, allowed a list of at most {MAX_ENTRIES:,}.")
        hints = (hints[0],) * len(value)
    if len(hints) != len(value):
        raise InputError(f"{where}: found {short(value)}, allowed a list of {len(hints)}.")
    if hints and set(hints) == {int} and not all(type(v) is int for v in value):
        raise InputError(f"{where}: found {short(value)}, allowed a list of at most {MAX_ENTRIES:,} integers.")
    return tuple(read_value(hint, v, where) for hint, v in zip(hints, value, strict=True))


def format_stanza(fmt: Format) -> Stanza:
    """Return a format: bits, integer bits or scale and zero point (lists where channels differ), sign; exponents; a name.

    >>> from hwsim.formats.catalog import E4M3
    >>> format_stanza(FixedPoint(8, 7)), format_stanza(replace(E4M3, saturate=True))
    ({'bits': 8, 'integer_bits': 1, 'signed': True}, {'minifloat': 'e4m3', 'saturate': True})
    """
    if isinstance(fmt, PowerOfTwo):
        return {"exp_min": fmt.exp_min, "exp_max": fmt.exp_max, "zero": fmt.zero.name}
    if isinstance(fmt, Minifloat):
        return _minifloat_stanza(fmt)
    if isinstance(fmt, Affine):
        stanza = {"bits": fmt.bits, "scale": record(fmt.scale), "zero_point": record(fmt.zero_point), "signed": fmt.signed}
        return stanza | ({"narrow": True} if fmt.narrow else {})
    return {"bits": fmt.bits, "integer_bits": integer_bits(fmt), "signed": fmt.signed}


def integer_bits(fmt: FixedPoint) -> int | list[int]:
    """integer_bits(fmt) = bits - fractional_length, the sign included; a list where each channel has its own."""
    if isinstance(fmt.fractional_length, tuple):
        return [fmt.bits - fl for fl in fmt.fractional_length]
    return fmt.bits - fmt.fractional_length


def _minifloat_stanza(fmt: Minifloat) -> Stanza:
    for name, known in FORMATS.items():
        if known == fmt:
            return {"minifloat": name}
        if replace(fmt, saturate=True) == replace(known, saturate=True):
            return {"minifloat": name, "saturate": fmt.saturate}
    return {f.name: record(getattr(fmt, f.name)) for f in dataclasses.fields(fmt)}


def read_minifloat(value: Any, where: str) -> Minifloat:
    """Return a minifloat from its name (and, where it differs, `saturate`), or from its fields."""
    f = Fields(value, where)
    if "minifloat" not in f:
        found: Minifloat = read_record(Minifloat, value, where)
        return found
    name = f.any("minifloat")
    if not isinstance(name, str) or name not in FORMATS:
        raise InputError(f"{where}, minifloat: found {short(name)}, allowed one of {', '.join(FORMATS)}.")
    saturate = f.boolean("saturate") if "saturate" in f else FORMATS[name].saturate
    f.done()
    with naming(where):
        return replace(FORMATS[name], saturate=saturate)


def read_affine(value: Any, where: str) -> Affine:
    """Return an affine format; scale and zero_point may be lists."""
    f = Fields(value, where)
    bits, signed = f.integer("bits", 2, 64), f.boolean("signed")
    scale = read_value(float | tuple[float, ...], f.any("scale"), f"{where}, scale")
    zero = read_value(int | tuple[int, ...], f.any("zero_point"), f"{where}, zero_point")
    narrow = f.boolean("narrow") if "narrow" in f else False
    f.done()
    with naming(where):
        return Affine(bits, scale, zero, signed, narrow)


def read_fixed(f: Fields, most: int, channels: int | None = None) -> FixedPoint:
    """Take bits, integer_bits and signed; integer_bits may be a list of `channels` numbers."""
    bits, signed = f.integer("bits", 1, most), f.boolean("signed")
    return FixedPoint(bits, read_grid(f, bits, channels), signed)


def read_grid(f: Fields, bits: int, channels: int | None = None) -> int | tuple[int, ...]:
    """Take integer_bits; return the fractional length, one per channel where there are several."""
    low, high = bits - MAX_FRACTIONAL_LENGTH, bits + MAX_FRACTIONAL_LENGTH
    whole = f.any("integer_bits")
    if isinstance(whole, list) and channels is not None:
        if len(whole) != channels or not all(type(v) is int and low <= v <= high for v in whole):
            raise InputError(f"{f.where}, integer_bits: allowed one integer in {low}..{high}, or a list of {channels}.")
        return tuple(bits - v for v in whole)
    if type(whole) is not int or not low <= whole <= high:
        raise InputError(f"{f.where}, integer_bits: found {short(whole)}, allowed an integer in {low}..{high}.")
    return bits - whole


def read_format(value: Any, where: str, most: int, channels: int | None = None) -> Format:
    """Return a format of any kind; its own fields say which one it is."""
    f = Fields(value, where)
    if "minifloat" in f or "exp_bits" in f:
        return read_minifloat(value, where)
    if "exp_min" in f:
        found: PowerOfTwo = read_record(PowerOfTwo, value, where)
        return found
    if "scale" in f:
        affine = read_affine(value, where)
        if affine.bits > most:
            raise InputError(f"{where}, bits: found {affine.bits}, allowed at most {most}.")
        return affine
    fmt = read_fixed(f, most, channels)
    f.done()
    return fmt
