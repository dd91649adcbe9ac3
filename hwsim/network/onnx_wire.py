"""The bytes of an ONNX file as a ModelProto: walked before they are parsed, so that no file takes memory out of proportion.

A message of two bytes becomes an object of a hundred or more. So messages are counted first, and kinds that hwsim does not
run, and that may hold graphs of their own, are refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from hwsim.errors import InputError
from hwsim.network.files import read_bytes

MAX_ONNX_BYTES = (1 << 31) - 1
"""Protobuf's own limit."""

MAX_FIELDS = 1 << 19
"""Most fields of all messages together; ResNet-152 has some 20,000."""

_REFUSED = {
    "onnx.ModelProto.functions": "functions of its own; inline them (onnx.inliner.inline_local_functions) and save it again",
    "onnx.ModelProto.training_info": "training steps; save the network for inference",
    "onnx.GraphProto.sparse_initializer": "sparse weights; save them as dense ones",
    "onnx.AttributeProto.g": "a graph within a graph (If, Loop, Scan); export the network without control flow",
    "onnx.AttributeProto.graphs": "a graph within a graph (If, Loop, Scan); export the network without control flow",
    "onnx.AttributeProto.sparse_tensor": "a sparse constant; save it as a dense one",
    "onnx.AttributeProto.sparse_tensors": "a sparse constant; save it as a dense one",
    "onnx.AttributeProto.tp": "an attribute that is a type; hwsim knows no operator that has one",
    "onnx.AttributeProto.type_protos": "an attribute that is a type; hwsim knows no operator that has one",
    "onnx.TypeProto.sequence_type": "a sequence of tensors; hwsim reads networks of dense tensors",
    "onnx.TypeProto.map_type": "a map; hwsim reads networks of dense tensors",
    "onnx.TypeProto.optional_type": "an optional tensor; hwsim reads networks of dense tensors",
    "onnx.TypeProto.sparse_tensor_type": "a sparse tensor; hwsim reads networks of dense tensors",
    "onnx.TypeProto.opaque_type": "an opaque type; hwsim reads networks of dense tensors",
}


def onnx_package(where: object) -> Any:
    """The onnx package; where: what needs it, for the sentence where it is not installed."""
    try:
        import onnx
    except ImportError:
        raise InputError(
            f"{where}: this needs the onnx package, which is not installed here; `pip install 'hwsim[models]'`."
        ) from None
    return onnx


def read_model(path: Path) -> Any:
    """The ModelProto of a file; InputError where the bytes are truncated, something else, or of a kind that hwsim refuses."""
    data = read_bytes(path, MAX_ONNX_BYTES)
    model_class = onnx_package(path).ModelProto
    if not data:
        raise InputError(f"{path}: {_damaged(data)}")
    try:
        walk(data, model_class.DESCRIPTOR)
        return model_class.FromString(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except DecodeError:
        raise InputError(f"{path}: {_damaged(data)}") from None


def walk(data: bytes, descriptor: Any) -> None:
    """Visit every message once; InputError for what is damaged, refused, or more than MAX_FIELDS fields."""
    left, waiting = MAX_FIELDS, [(descriptor, 0, len(data))]
    while waiting:
        message, at, end = waiting.pop()
        while at < end:
            left -= 1
            if left < 0:
                raise InputError(f"it has more than {MAX_FIELDS:,} fields; hwsim reads networks, which have fewer.")
            key, at = _varint(data, at, end)
            start, at = _payload(data, key & 7, at, end)
            field = message.fields_by_number.get(key >> 3) if key & 7 == 2 else None
            if field is not None and field.type == field.TYPE_STRING:
                _check_text(data[start:at])  # the parser hands what is no text on, as bytes
            if field is not None and field.message_type is not None:
                if (kind := _REFUSED.get(field.full_name)) is not None:
                    raise InputError(f"it holds {kind}.")
                waiting.append((field.message_type, start, at))


def _check_text(text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError:
        raise InputError("a name in it is no text; the file is damaged, get it again.") from None


def _payload(data: bytes, wire: int, at: int, end: int) -> tuple[int, int]:
    """(start, end) of a field's content."""
    if wire == 0:
        return at, _varint(data, at, end)[1]
    length = {1: 8, 5: 4}.get(wire)
    if wire == 2:
        length, at = _varint(data, at, end)
    if length is None or at + length > end:
        raise InputError(_damaged(data))
    return at, at + length


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """(number, position behind it)."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise InputError(_damaged(data))


def _damaged(data: bytes) -> str:
    return f"these {len(data):,} bytes are no ONNX model: truncated, damaged, or another kind of file; get the file again."
