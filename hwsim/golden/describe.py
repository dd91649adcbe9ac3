"""Layers as plain data and back: every attribute and contract field by its own name; arrays stay outside.

One generic rule: a dataclass is an object of its fields, an enumeration member its name, a tuple a list. What can stand in
one place with others (formats, contracts, outputs, float accumulators) names its class in a field "type".
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

from hwsim.contract import ExactSum, FloatAccumulator, FloatMacContract, FloatOutput, MacContract, Output
from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint, Minifloat, PowerOfTwo
from hwsim.golden.wide import ExactRegister
from hwsim.layers import Layer
from hwsim.network.layer_stanzas import KINDS, array_fields

FORMATS = (FixedPoint, Affine, PowerOfTwo, Minifloat, ExactRegister)
TAGGED = (*FORMATS, MacContract, FloatMacContract, Output, FloatOutput, ExactSum, FloatAccumulator)
"""Classes that name themselves."""
MAX_REAL = 1e300


def plain(value: Any) -> Any:
    """Return a dataclass, enumeration member, tuple or number as what JSON holds; arrays are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if not _is_array(value, f.name)}
        return {"type": type(value).__name__} | shown if isinstance(value, TAGGED) else shown
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.integer):
        return int(value)
    return value


def _is_array(value: Any, name: str) -> bool:
    return type(value) in KINDS.values() and name in array_fields(type(value))


def build(kind: str, attributes: Any, arrays: Mapping[str, np.ndarray | None], where: str) -> Layer:
    """Return the layer that `plain` described; InputError where a field is missing, unknown or of a wrong type."""
    if kind not in KINDS:
        raise InputError(f"{where}.kind: found {kind!r}, allowed {', '.join(sorted(KINDS))}.")
    return _dataclass(KINDS[kind], attributes, f"{where}.attributes", arrays)


def typed(hint: Any, value: Any, where: str) -> Any:
    """Return the value as the type hint says, or InputError. Strict: true is no integer, 1.0 is none either."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _union(typing.get_args(hint), value, where)
    if origin is tuple:
        return _tuple(typing.get_args(hint), value, where)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, where, {})
    if isinstance(hint, type) and issubclass(hint, Enum):
        if not isinstance(value, str) or value not in hint.__members__:
            raise InputError(f"{where}: found {_short(value)}, allowed {', '.join(hint.__members__)}.")
        return hint[value]
    if hint is float and type(value) in (int, float) and abs(value) <= MAX_REAL:
        return float(value)
    if type(value) is not hint:
        raise InputError(f"{where}: found {_short(value)}, allowed {_name(hint)}.")
    return value


def _union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    """The alternative that has the JSON type of the value: null, list, text, number, or the object of the named class."""
    records = {_class_name(option): option for option in options if dataclasses.is_dataclass(option)}
    if isinstance(value, dict) and len(records) > 1:
        name = value.get("type")
        if not isinstance(name, str) or name not in records:
            raise InputError(f"{where}.type: found {_short(name)}, allowed {', '.join(records)}.")
        return typed(records[name], value, where)
    for option in options:
        if type(value) is _json_type(option):
            return typed(option, value, where) if value is not None else None
    raise InputError(f"{where}: found {_short(value)}, allowed {' or '.join(_name(o) for o in options)}.")


def _class_name(option: Any) -> str:
    return str(option.__name__)


def _json_type(option: Any) -> Any:
    if dataclasses.is_dataclass(option):
        return dict
    if isinstance(option, type) and issubclass(option, Enum):
        return str
    return list if typing.get_origin(option) is tuple else option


def _tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise InputError(f"{where}: found {_short(value)}, allowed a list.")
    hints = [items[0]] * len(value) if len(items) == 2 and items[1] is Ellipsis else list(items)
    if len(hints) != len(value):
        raise InputError(f"{where}: found {len(value)} entries, allowed {len(hints)}.")
    return tuple(typed(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(hints, value, strict=True)))


def _dataclass(cls: type, value: Any, where: str, arrays: Mapping[str, np.ndarray | None]) -> Any:
    names = {f.name for f in dataclasses.fields(cls) if f.name not in arrays}
    tag = {"type"} if cls in TAGGED else set()
    fields(value, names | tag, where)
    if tag and value["type"] != cls.__name__:
        raise InputError(f"{where}.type: found {_short(value['type'])}, allowed {cls.__name__!r}.")
    hints = typing.get_type_hints(cls)
    values = {name: typed(hints[name], value[name], f"{where}.{name}") for name in sorted(names)}
    return cls(**values, **arrays)


def fields(value: Any, names: set[str], where: str) -> None:
    """Demand an object with exactly these fields."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: found {_short(value)}, allowed an object.")
    for name in sorted(names ^ value.keys()):
        problem = "is missing" if name in names else "is unknown"
        raise InputError(f"{where}: field {_short(name)} {problem}; allowed are exactly {', '.join(sorted(names))}.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _name(hint: Any) -> str:
    names = {int: "an integer", str: "a text", bool: "true or false", float: "a finite number", type(None): "null"}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(hint.__members__)
    return names.get(hint, "a list" if typing.get_origin(hint) is tuple else "an object")
