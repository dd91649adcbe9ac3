"""A .tflite file, taken apart into plain data: tensors, operators and their options, everything checked.

Nothing is computed here and no operator is judged but by its name: what hwsim can run is read_tflite's to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.network.files import read_bytes
from hwsim.network.flatbuffer import Flatbuffer, Table
from hwsim.network.tflite_schema import BUILTIN_OPERATORS, DTYPES, OPTIONS, PLAIN, TENSOR_TYPES, Field, NoOptions, Options

MAX_TFLITE_BYTES = (1 << 31) - 1
"""Flatbuffers' own limit: offsets have 32 bits, and some a sign."""

MAX_TENSORS, MAX_AXES, MAX_ELEMENTS = 1 << 16, 8, 1 << 31
IDENTIFIER = b"TFL3"


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor.  shape: as TensorFlow has it, N H W C where it has four axes; () is a scalar.

    dtype: numpy's name.  scales, zero_points: empty, one, or one for each entry of axis `quantized_dimension`.
    data: a read-only view of a constant, else None.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    quantized_dimension: int = 0
    data: np.ndarray | None = None


@dataclass(frozen=True)
class Operator:
    """One operator: its place in the file, its name in the schema, version, the tensors it reads and writes (-1 stands for
    none), and its options.
    """

    number: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options


@dataclass(frozen=True, eq=False)
class TfliteModel:
    """A model of one subgraph.  inputs, outputs: indices of tensors.  where: the file's name."""

    where: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite_file(path: Path) -> TfliteModel:
    """Return what a .tflite file says; InputError, naming the file and the tensor or operator, for anything damaged."""
    return parse_tflite(read_bytes(path, MAX_TFLITE_BYTES), str(path))


def parse_tflite(data: bytes, where: str) -> TfliteModel:
    """Return what the bytes of a .tflite file say; tensors are views of `data`."""
    model = Flatbuffer(data, where, IDENTIFIER).root()
    version = model.number(0, "uint32")
    if version != 3:
        raise InputError(f"{where}: found version {version} of the schema, allowed 3; convert the model again.")
    graphs = model.tables(2, "subgraph", MAX_TENSORS)
    if len(graphs) != 1:
        raise InputError(
            f"{where}: found {len(graphs)} subgraphs, allowed 1: hwsim runs no control flow; convert the model again."
        )
    buffers = model.tables(4, "buffer", MAX_TENSORS)
    found = graphs[0].tables(0, "tensor", MAX_TENSORS)
    tensors = tuple(_tensor(table, buffers, data) for table in found)
    codes = [_code(table) for table in model.tables(1, "operator code", MAX_TENSORS)]
    listed = graphs[0].tables(3, "operator", MAX_TENSORS)
    operators = tuple(_operator(number, table, codes, len(tensors)) for number, table in enumerate(listed))
    inputs = _indices(graphs[0], 1, len(tensors), "inputs", 0)
    outputs = _indices(graphs[0], 2, len(tensors), "outputs", 0)
    return TfliteModel(where, tensors, operators, inputs, outputs)


def _indices(table: Table, slot: int, tensors: int, what: str, least: int) -> tuple[int, ...]:
    found = table.numbers(slot, "int32")
    indices = () if found is None else tuple(int(i) for i in found)
    for index in indices:
        if not least <= index < tensors:
            raise InputError(f"{table.where}: its {what} name tensor {index}, but the model has {tensors}; restore the file.")
    return indices


def _code(table: Table) -> tuple[str, int]:
    """Return an operator's name and version: new files have a 32-bit code, old ones 8 bits."""
    old, new = table.number(0, "int8"), table.number(3, "int32")
    code = max(old, new)
    if not 0 <= code < len(BUILTIN_OPERATORS):
        raise InputError(
            f"{table.where}: found operator code {code}, allowed 0..{len(BUILTIN_OPERATORS) - 1}; hwsim cannot run it."
        )
    name = BUILTIN_OPERATORS[code]
    if name == "CUSTOM":
        raise InputError(f"{table.where}: found the custom operator {table.text(1)!r}; hwsim runs builtin operators only.")
    if name not in OPTIONS and name not in PLAIN:
        known = ", ".join(sorted((*OPTIONS, *PLAIN)))
        raise InputError(f"{table.where}: found the operator {name}; hwsim runs {known}.")
    return name, int(table.number(2, "int32", 1))


def _operator(number: int, table: Table, codes: list[tuple[str, int]], tensors: int) -> Operator:
    index = table.number(0, "uint32")
    if index >= len(codes):
        raise InputError(f"{table.where}: found operator code {index}, but the model has {len(codes)}; restore the file.")
    name, version = codes[index]
    table.where = f"{table.where} ({name})"
    inputs = _indices(table, 1, tensors, "inputs", -1)
    outputs = _indices(table, 2, tensors, "outputs", 0)
    return Operator(number, name, version, inputs, outputs, _options(table, name))


def _options(table: Table, name: str) -> Options:
    if name not in OPTIONS:
        return NoOptions()
    wanted, kind, fields = OPTIONS[name]
    found, options = table.number(3, "uint8"), table.table(4, table.where)
    if options is None or found != wanted:
        raise InputError(
            f"{table.where}: found options of kind {found if options else 'none'}, allowed {wanted}; restore the file."
        )
    return kind(*(_value(options, field) for field in fields))


def _value(options: Table, field: Field) -> Any:
    if field.kind == "bool":
        return options.flag(field.slot, bool(field.default))
    if isinstance(field.kind, str):
        value = options.number(field.slot, field.kind, field.default)
        return float(value) if field.kind.startswith("float") else int(value)
    code = options.number(field.slot, "int8", field.default)
    kinds = {member.value: member for member in field.kind}
    if code not in kinds:
        names = ", ".join(member.name for member in field.kind)
        raise InputError(f"{options.where}: found {_title(field.kind)} {code}, which hwsim does not run; allowed {names}.")
    return kinds[code]


def _title(kind: type[Enum]) -> str:
    return {"Fused": "the fused activation"}.get(kind.__name__, kind.__name__.lower())


def _tensor(table: Table, buffers: list[Table], data: bytes) -> Tensor:
    name = table.text(3)
    table.where = f"{table.where} {name[:120]!r}"
    code = table.number(1, "int8")
    kind = TENSOR_TYPES[code] if 0 <= code < len(TENSOR_TYPES) else f"type {code}"
    if kind not in DTYPES:
        raise InputError(f"{table.where}: found numbers of type {kind}, allowed {', '.join(DTYPES)}; convert the model again.")
    if table.flag(5) or table.table(6, table.where) is not None:
        raise InputError(f"{table.where}: it is a variable or sparse; allowed are dense constants and activations.")
    shape = _shape(table)
    scales, zero_points, axis = _quantization(table, shape, DTYPES[kind])
    index = table.number(2, "uint32")
    if index >= max(len(buffers), 1):
        raise InputError(f"{table.where}: found buffer {index}, but the model has {len(buffers)}; restore the file.")
    constant = _constant(table.where, buffers[index], shape, DTYPES[kind], data) if buffers else None
    return Tensor(name, shape, DTYPES[kind], scales, zero_points, axis, constant)


def _shape(table: Table) -> tuple[int, ...]:
    """Return a tensor's shape: fixed, but that the number of images may be open where it is 1 in the file."""
    for slot in (0, 7):
        found = table.numbers(slot, "int32")
        shape = () if found is None or len(found) > MAX_AXES else tuple(int(n) for n in found)
        if found is not None and len(found) > MAX_AXES:
            raise InputError(f"{table.where}: found {len(found)} axes, allowed {MAX_AXES}.")
        lowest = -1 if slot else 1
        if any(n < (lowest if i == 0 else 1) or n == 0 for i, n in enumerate(shape)) or math.prod(shape) > MAX_ELEMENTS:
            raise InputError(
                f"{table.where}: found shape {shape}, allowed fixed extents from 1 and {MAX_ELEMENTS:,} numbers; "
                "convert the model with a fixed input shape."
            )
        if slot == 0:
            fixed = shape
    return fixed


def _quantization(table: Table, shape: tuple[int, ...], dtype: str) -> tuple[tuple[float, ...], tuple[int, ...], int]:
    """Return (scales, zero points, axis), as many zero points as scales."""
    found = table.table(4, table.where)
    if found is None:
        return (), (), 0
    if found.number(4, "uint8"):
        raise InputError(f"{table.where}: found custom or blockwise quantization, allowed an affine scale and zero point.")
    scale, zero, axis = found.numbers(2, "float32"), found.numbers(3, "int64"), int(found.number(6, "int32"))
    count = 0 if scale is None else len(scale)
    zeros = 0 if zero is None else len(zero)
    if count == 0 and zeros == 0:
        return (), (), 0
    if count > 1 and not (0 <= axis < len(shape) and shape[axis] == count):
        raise InputError(
            f"{table.where}: found {count} scales for axis {axis} of shape {shape}; allowed one, or one for each of its entries."
        )
    if zeros not in (0, 1, count):
        raise InputError(f"{table.where}: found {zeros} zero points for {count} scales; allowed one, or one for each scale.")
    return _scales(scale, table.where), _zero_points(zero, count, dtype, table.where), axis


def _scales(scale: np.ndarray | None, where: str) -> tuple[float, ...]:
    scales = () if scale is None else tuple(float(s) for s in scale)
    for value in scales:
        if not 0 < value < math.inf:
            raise InputError(f"{where}: found the scale {value!r}, allowed a finite number above 0; convert the model again.")
    return scales


def _zero_points(zero: np.ndarray | None, count: int, dtype: str, where: str) -> tuple[int, ...]:
    if zero is None or not len(zero):
        return (0,) * count
    if dtype != "float32":
        info = np.iinfo(dtype)
        for value in zero:
            if not info.min <= int(value) <= info.max:
                raise InputError(
                    f"{where}: found the zero point {int(value)}, allowed {info.min}..{info.max} with {dtype}; "
                    "convert the model again."
                )
    return tuple(int(z) for z in zero) if len(zero) == count else (int(zero[0]),) * count


def _constant(where: str, buffer: Table, shape: tuple[int, ...], dtype: str, data: bytes) -> np.ndarray | None:
    """Return a constant as a view of the file: inside the buffer's table, or where large models keep it, behind the tables."""
    offset, size = buffer.number(1, "uint64"), buffer.number(2, "uint64")
    raw = buffer.numbers(0, "uint8")
    if offset > 1:
        if offset + size > len(data):
            raise InputError(
                f"{where}: its numbers are said to be at bytes {offset:,}..{offset + size:,}, but the file has {len(data):,}; "
                "restore it."
            )
        raw = np.frombuffer(data, np.uint8, int(size), int(offset))
    if raw is None or not len(raw):
        return None
    kind = np.dtype(dtype).newbyteorder("<")
    if len(raw) != math.prod(shape) * kind.itemsize:
        raise InputError(
            f"{where}: shape {shape} of {dtype} needs {math.prod(shape) * kind.itemsize:,} bytes, the file holds {len(raw):,}; "
            "restore it."
        )
    return raw.view(kind).reshape(shape)
