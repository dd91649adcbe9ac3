"""Layers as plain data and back: every attribute and contract field by its own name; arrays stay outside.

One generic rule: a dataclass is an object of its fields, an enumeration member its name, a tuple a list.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.layers import (
    AveragePool,
    Concat,
    Convolution,
    EltwiseSum,
    FullyConnected,
    HostLRN,
    ImageEncoding,
    Layer,
    MacLayer,
    MaxPool,
    ReLU,
    Rescale,
    Softmax,
)

KINDS: dict[str, type] = {
    cls.kind: cls
    for cls in (
        AveragePool, Concat, Convolution, EltwiseSum, FullyConnected, HostLRN, ImageEncoding, MaxPool, ReLU, Rescale, Softmax,
    )
}  # fmt: skip
MAX_REAL = 1e300
ARRAYS = ("weight", "bias", "mean")
"""Fields of layers that hold arrays: they are files of the package."""


def plain(value: Any) -> Any:
    """Return a dataclass, enumeration member, tuple or number as what JSON holds; arrays are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if not _is_array(value, f.name)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.integer):
        return int(value)
    return value


def _is_array(value: Any, name: str) -> bool:
    return name in ARRAYS and isinstance(value, (MacLayer, ImageEncoding))


def resolved(layer: Layer) -> dict[str, Any]:
    """Return the integers of the datapath that follow from formats: what RTL is built with, never an input of hwsim."""
    if isinstance(layer, MacLayer):
        numbers, channels = layer.numbers, range(layer.channels)
        return {
            "accumulator_fractional_length": [layer.contract.accumulator_length(k) for k in channels],
            "bias_format": plain(layer.contract.bias_format(layer.channels)),
            "product_shift": list(numbers.product_shift),
            "requantize_shift": list(numbers.epilogue.shift),
            "aligned_bias": list(numbers.bias),
        }
    if isinstance(layer, (EltwiseSum, ImageEncoding, Rescale)):
        return {"requantize_shift": list(layer.epilogue.shift)}
    return {}


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
    """The alternative that has the JSON type of the value: null, list, object, or a number."""
    for option in options:
        shape = list if typing.get_origin(option) is tuple else dict if dataclasses.is_dataclass(option) else option
        if type(value) is shape:
            return typed(option, value, where) if value is not None else None
    raise InputError(f"{where}: found {_short(value)}, allowed {' or '.join(_name(o) for o in options)}.")


def _tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise InputError(f"{where}: found {_short(value)}, allowed a list.")
    hints = [items[0]] * len(value) if len(items) == 2 and items[1] is Ellipsis else list(items)
    if len(hints) != len(value):
        raise InputError(f"{where}: found {len(value)} entries, allowed {len(hints)}.")
    return tuple(typed(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(hints, value, strict=True)))


def _dataclass(cls: type, value: Any, where: str, arrays: Mapping[str, np.ndarray | None]) -> Any:
    names = {f.name for f in dataclasses.fields(cls) if f.name not in arrays}
    fields(value, names, where)
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
    return names.get(hint, "a list" if typing.get_origin(hint) is tuple else "an object")
