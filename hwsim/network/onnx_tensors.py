"""Constants of an ONNX file as arrays: TensorProto -> numpy, and attributes of nodes -> plain values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hwsim.errors import InputError

_TYPES: dict[int, tuple[str, str, str]] = {
    # TensorProto.DataType: (its name, type of numpy, field that holds it where raw_data does not)
    1: ("FLOAT", "<f4", "float_data"),
    2: ("UINT8", "u1", "int32_data"),
    3: ("INT8", "i1", "int32_data"),
    4: ("UINT16", "<u2", "int32_data"),
    5: ("INT16", "<i2", "int32_data"),
    6: ("INT32", "<i4", "int32_data"),
    7: ("INT64", "<i8", "int64_data"),
    9: ("BOOL", "?", "int32_data"),
    11: ("DOUBLE", "<f8", "double_data"),
    12: ("UINT32", "<u4", "uint64_data"),
    13: ("UINT64", "<u8", "uint64_data"),
    21: ("UINT4", "u1", "int32_data"),
    22: ("INT4", "i1", "int32_data"),
}
NIBBLES = (21, 22)
"""Two numbers to a byte, the lower half first."""

MAX_RANK = 8
MAX_LIST = 1 << 16
"""Most numbers of one attribute; shapes and strides are short, weights are tensors."""


def type_name(number: int) -> str:
    """What ONNX calls an element type.

    >>> type_name(3), type_name(99)
    ('INT8', 'type 99')
    """
    others = {0: "UNDEFINED", 8: "STRING", 10: "FLOAT16", 14: "COMPLEX64", 15: "COMPLEX128", 16: "BFLOAT16", 23: "FLOAT4E2M1"}
    if 17 <= number <= 20:
        return ("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ")[number - 17]
    return _TYPES[number][0] if number in _TYPES else others.get(number, f"type {number}")


def to_array(tensor: Any, what: str) -> np.ndarray:
    """The constant as a read-only array; what: its name, for errors.

    Its numbers must stand in the file, exactly as many as its dimensions say.  4-bit types come as one number per byte.
    """
    if tensor.data_location or tensor.external_data:
        raise InputError(
            f"{what} lies in another file; save the model with its weights inside (convert_model_from_external_data)."
        )
    if tensor.HasField("segment"):
        raise InputError(f"{what} is one segment of a tensor; save the model in one piece.")
    if tensor.data_type not in _TYPES:
        known = ", ".join(name for name, _, _ in _TYPES.values())
        raise InputError(f"{what} has elements of {type_name(tensor.data_type)}; hwsim reads {known}.")
    dims = tuple(tensor.dims)
    if len(dims) > MAX_RANK or any(side < 0 for side in dims):
        raise InputError(f"{what} has dimensions {dims[:MAX_RANK]}; up to {MAX_RANK} that are not negative are allowed.")
    return _numbers(tensor, dims, what)


def _numbers(tensor: Any, dims: tuple[int, ...], what: str) -> np.ndarray:
    _, kind, field = _TYPES[tensor.data_type]
    count, packed = math.prod(dims), tensor.data_type in NIBBLES
    stored = (count + 1) // 2 if packed else count
    dtype = np.dtype(kind)
    if tensor.HasField("raw_data"):
        raw = tensor.raw_data
        if len(raw) != stored * dtype.itemsize:
            raise InputError(f"{what} has {len(raw):,} bytes; its dimensions {dims} need {stored * dtype.itemsize:,}.")
        found = np.frombuffer(raw, dtype)
    else:
        values = getattr(tensor, field)
        if len(values) != stored:
            raise InputError(f"{what} has {len(values):,} numbers in {field}; its dimensions {dims} need {stored:,}.")
        wide = np.fromiter(
            values, np.float64 if kind == "<f8" else np.uint64 if kind == "<u8" else kind if kind == "<f4" else np.int64
        )
        found = wide.astype(dtype)
        if dtype.kind in "iub" and not (found == wide).all() and not packed:
            raise InputError(f"{what} holds numbers that do not fit {type_name(tensor.data_type)}; save the model again.")
    array = (_halves(found.astype(np.uint8), tensor.data_type == 22)[:count] if packed else found).reshape(dims)
    array.setflags(write=False)
    return array


def _halves(packed: np.ndarray, signed: bool) -> np.ndarray:
    """Two 4-bit numbers of each byte."""
    both = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1)
    return ((both ^ 8).astype(np.int8) - 8) if signed else both


def attributes(node: Any) -> dict[str, Any]:
    """{name: value} of a node: int, float, str, tuples of them, or an array; InputError for other kinds.

    Values are what the file says they are; whether an operator has such an attribute is for its reader to say.
    """
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.name in found:
            raise InputError(f"attribute {attribute.name!r} is given twice; keep one.")
        if attribute.ref_attr_name:
            raise InputError(f"attribute {attribute.name!r} refers to a function's; inline the functions of the model.")
        found[attribute.name] = _attribute(attribute)
    return found


def _attribute(attribute: Any) -> Any:
    kind = attribute.type
    if kind == 1:
        return float(attribute.f)
    if kind == 2:
        return int(attribute.i)
    if kind == 3:
        return attribute.s.decode("utf-8", "replace")
    if kind == 4:
        return to_array(attribute.t, f"attribute {attribute.name!r}")
    if kind in (6, 7):
        values = attribute.floats if kind == 6 else attribute.ints
        if len(values) > MAX_LIST:
            raise InputError(f"attribute {attribute.name!r} has {len(values):,} numbers; allowed are {MAX_LIST:,}.")
        return tuple(values)
    raise InputError(f"attribute {attribute.name!r} is of kind {kind}; hwsim reads numbers, strings and tensors.")
