"""Any kind of layer as a stanza of a .hwnet and back, from the fields of its dataclass.

A layer says what it decides for itself; the formats of what it reads come from the layers that it reads. Field by field:
a contract and an output stage as contract_stanzas.py writes them, a pooling window as fields of its own, arrays as files, and
the rest as records. So a new kind of layer needs no line here.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hwsim import layers
from hwsim.contract import Output
from hwsim.errors import InputError
from hwsim.layers import Concat, ImageEncoding, Layer, MacLayer, Window
from hwsim.network.contract_stanzas import contract_stanza, output_stanza, read_contract, read_output
from hwsim.network.lower.settle import codes, naming
from hwsim.network.quantized import Source
from hwsim.network.records import Stanza, read_value, record
from hwsim.network.strict import Fields


def _kinds() -> dict[str, type]:
    found: dict[str, type] = {}
    for name in layers.__all__:
        cls: Any = getattr(layers, name)
        if dataclasses.is_dataclass(cls) and hasattr(cls, "kind") and cls is not MacLayer:
            found[cls.kind] = cls  # type: ignore[assignment]
    return found


KINDS: dict[str, type] = _kinds()
"""Every kind of layer, by the name that files give it."""

READABLE = tuple(kind for kind, cls in KINDS.items() if cls is not ImageEncoding)
"""Kinds that read other layers: all but the image's, whose numbers are the preprocessing's."""


GEOMETRY = ("stride", "pad", "dilation", "groups")
"""Fields that always stand in the file; any other one is left out at its default, and may be absent."""


def attributes(layer: Layer) -> Stanza:
    """Return what a layer decides for itself, without its arrays.

    >>> from hwsim.formats import FixedPoint
    >>> attributes(layers.MaxPool(FixedPoint(8, 4), Window((3, 3), (2, 2))))
    {'kernel': [3, 3], 'stride': [2, 2], 'pad': [0, 0], 'ceil_mode': False}
    """
    stanza: Stanza = {}
    kept: Stanza = {}
    for field in _fields(type(layer)):
        value = getattr(layer, field.name)
        if isinstance(layer, MacLayer) and field.name == "contract":
            kept |= contract_stanza(layer.contract, layer.channels) | {"output": output_stanza(layer.contract.output)}
        elif field.name == "output":
            kept["output"] = output_stanza(value)
        elif isinstance(value, Window):
            stanza |= _plain(value)
        elif field.name in GEOMETRY or value != field.default:
            stanza[field.name] = record(value)
    return stanza | kept


def _fields(cls: type) -> list[dataclasses.Field[Any]]:
    """The fields that a stanza has: no arrays, and none that follows from what the layer reads."""
    return [f for f in dataclasses.fields(cls) if f.name not in array_fields(cls) and f.name not in _following(cls)]


def array_fields(cls: type) -> tuple[str, ...]:
    """Return the names of the fields that hold arrays.

    >>> array_fields(layers.Convolution)
    ('weight', 'bias')
    """
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    return tuple(name for name in names if np.ndarray in (hints[name], *typing.get_args(hints[name])))


def arrays_of(holder: Any, cls: type) -> dict[str, np.ndarray | None]:
    """Return the arrays of a layer, or of the float weights of one, by field; fields that may be absent where they are not."""
    optional = {f.name for f in dataclasses.fields(cls) if f.default is None and not issubclass(cls, MacLayer)}
    found = {name: getattr(holder, name) for name in array_fields(cls)}
    return {name: array for name, array in found.items() if array is not None or name not in optional}


def needed_arrays(cls: type) -> tuple[str, ...]:
    """Return the fields of arrays that layers of a kind cannot be without."""
    return tuple(f.name for f in dataclasses.fields(cls) if f.name in array_fields(cls) and f.default is dataclasses.MISSING)


def _following(cls: type) -> tuple[str, ...]:
    """Names of the fields that follow from what a layer reads: its inputs' formats, or their number."""
    return ("count",) if cls is Concat else ("format", "formats")


def _plain(value: Any) -> Stanza:
    """A record with the fields at their defaults, but for those that are None where None stands for "as another"."""
    values = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    optional = {f.name for f in dataclasses.fields(value) if f.default is None}
    return {name: record(v) for name, v in values.items() if v is not None or name not in optional}


def several_inputs(kind: str) -> bool:
    """Return whether layers of a kind may read several others."""
    cls = KINDS[kind]
    return cls is Concat or "formats" in {f.name for f in dataclasses.fields(cls)}


Array = np.ndarray | None


def build(kind: str, f: Fields, formats: Sequence[Any], arrays: Mapping[str, Array], source: Source | None) -> Layer:
    """Return the layer of a stanza. formats: of what it reads.  arrays: its codes by field; source: float weights instead."""
    cls: Any = KINDS[kind]
    with naming(f.where):
        values = dict(arrays) | _from_inputs(cls, formats) | _decided(cls, f, formats, arrays if source is None else vars(source))
        if source is not None:
            values |= dict(zip(("weight", "bias"), codes(values["contract"], source), strict=True))
        layer: Layer = cls(**values)
        return layer


def _decided(cls: type, f: Fields, formats: Sequence[Any], arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The fields that the stanza has."""
    hints, values = typing.get_type_hints(cls), {}
    for field in _fields(cls):
        hint = hints[field.name]
        if field.name == "contract":
            values["contract"] = read_contract(f, formats[0], len(arrays["weight"]))  # type: ignore[arg-type]
        elif field.name == "output" and Output in (hint, *typing.get_args(hint)):
            values["output"] = read_output(f)
        elif hint is Window:
            values[field.name] = _read_window(f)
        elif field.name in f or field.name in GEOMETRY or field.default is dataclasses.MISSING:
            values[field.name] = read_value(hint, f.any(field.name), f"{f.where}, {field.name}")
    return values


def _from_inputs(cls: type, formats: Sequence[Any]) -> dict[str, Any]:
    names = {f.name for f in dataclasses.fields(cls)}
    made: dict[str, Callable[[], Any]] = {
        "count": lambda: len(formats),
        "format": lambda: formats[0],
        "formats": lambda: tuple(formats),
    }
    return {name: made[name]() for name in _following(cls) if name in names}


def _read_window(f: Fields) -> Window:
    hints = typing.get_type_hints(Window)
    values = {}
    for field in dataclasses.fields(Window):
        if field.name in f or field.name != "pad_end":
            values[field.name] = read_value(hints[field.name], f.any(field.name), f"{f.where}, {field.name}")
    with naming(f.where):
        return Window(**values)


def check_reads(kind: str, reads: Sequence[str], where: str) -> None:
    """Refuse an unknown kind, and a number of inputs that it cannot have."""
    if kind not in READABLE:
        raise InputError(f"{where}, kind: found {kind!r}, allowed image_encoding, {', '.join(READABLE)}.")
    if not reads or (len(reads) > 1 and not several_inputs(kind)):
        raise InputError(f"{where}, reads: found {len(reads)} layers, allowed {'one' if reads else 'at least one'}.")
