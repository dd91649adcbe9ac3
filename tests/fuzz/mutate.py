"""Changes to make to a good file: of its bytes, its text, its JSON, or its protobuf fields."""

from __future__ import annotations

import json
import random
from typing import Any

from support.caffe_files import varint

NUMBERS = (0, 1, 127, 128, 255, 256, 65535, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
WORDS = (
    b"-1", b"0", b"1", b"2147483648", b"9" * 30, b"9" * 5000, b"1e999", b"nan", b"inf", b"-inf", b"1e-320", b"true", b"null",
    b"../../x", b"/etc/passwd", b"\0", b"\xff\xfe", "\u202e\u2028é".encode(), b"\x1b[2J", b"\n", b"{", b"}", b"(" * 300, b"[",
    b'"', b"'", b":", b",", b"#", b"_", b"-", b"@", b"/*", b"//",
)  # fmt: skip


def bytewise(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, double, overwrite or splice bytes."""
    at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 8, 64))
    way = rng.randrange(8)
    if way == 0:
        return data[:at]
    if way == 1:
        return data[:at] + data[at + length :]
    if way == 2:
        return data[:at] + data[at : at + length] * rng.choice((2, 3, 200)) + data[at + length :]
    if way == 3:
        return data[:at] + rng.choice(WORDS) + data[at + rng.choice((0, length)) :]
    if way == 4:
        size, order = rng.choice((1, 2, 4, 8)), rng.choice(("big", "little"))
        value = rng.choice(NUMBERS) % (1 << 8 * size)
        return data[:at] + value.to_bytes(size, order) + data[at + size :]
    if way == 5:
        other = rng.randrange(len(data) + 1)
        return data[:at] + data[other : other + length] + data[at + length :]
    if way == 6:
        return data[:at] + rng.randbytes(length) + data[at + length :]
    return data[:at] + bytes(b ^ 1 << rng.randrange(8) for b in data[at : at + 1]) + data[at + 1 :]


def textual(data: bytes, rng: random.Random) -> bytes:
    """Exchange, drop, double or replace a word of a text; or change its bytes."""
    if rng.random() < 0.3 or not data.split():
        return bytewise(data, rng)
    words = data.replace(b"\n", b" \n ").split(b" ")
    at, other, way = rng.randrange(len(words)), rng.randrange(len(words)), rng.randrange(5)
    if way == 0:
        words[at], words[other] = words[other], words[at]
    elif way == 1:
        del words[at : at + rng.randrange(1, 4)]
    elif way == 2:
        words[at:at] = words[other : other + rng.randrange(1, 30)]
    elif way == 3:
        words[at] = rng.choice(WORDS)
    else:
        words[at] = words[other]
    return b" ".join(words)


ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 64, 65, 16385, 65536, 1 << 31, 1 << 40, 1 << 63, 10**39, 10**400, -(10**39), 0.5,
    1e-300, 1e300, 1e30, -1e39, float("nan"), float("inf"), "", "x", "../x", "/etc/passwd", "a\nb", "\x1b[2J", "\ud800",
    "\u202eé", "x" * 3000, "TRAP", "WRAP", "STOCHASTIC", [], [1], [[1]], [None], [1 << 40, 1 << 40], [-1, -1], [1.5, 2],
    ["a"], {}, {"a": 1}, {"": {}},
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a JSON document."""
    found, open_ones = [], [value]
    while open_ones:
        container = open_ones.pop()
        keys = container.keys() if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], (dict, list)):
                open_ones.append(container[key])
    return found


def json_fields(data: bytes, rng: random.Random) -> bytes:
    """Change one field of a JSON document: its value, its name, its place; or say it twice, or nest it deep."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return bytewise(data, rng)
    found = places(document) if isinstance(document, (dict, list)) else []
    if not found or rng.random() < 0.1:
        return textual(data, rng)
    container, key = rng.choice(found)
    value, way = container[key], rng.randrange(10)
    if way < 3:
        container[key] = rng.choice(ODD)
    elif way == 3 and isinstance(value, (int, float)):
        real = float(value) if abs(value) < 1 << 1000 else 0.0  # doubled often, an integer leaves a float's reach
        container[key] = rng.choice((value + 1, value - 1, -value, value * 2, real, str(value)))
    elif way == 4:
        del container[key]
    elif way == 5 and isinstance(container, dict):
        container[rng.choice(("", "a\nb", "x" * 300, "\ud800", key + "_"))] = container.pop(key)
    elif way == 6:
        other, name = rng.choice(found)
        container[key] = other.get(name) if isinstance(other, dict) else other[name] if name < len(other) else None
        document = json.loads(json.dumps(document, default=str)) if not _cyclic(document) else []
    elif way == 7 and isinstance(container, list):
        container[key:key] = [value] * rng.choice((1, 2, 50))
    elif way == 8:
        deep = rng.choice((15, 16, 17, 100, 970, 5000))
        text = json.dumps(document).encode()
        old = json.dumps(value).encode()
        return text.replace(old, b"[" * deep + b"]" * deep, 1)
    else:
        return json.dumps(document).replace("{", '{"a": 1, "a": 2, ', 1).encode()
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _cyclic(document: Any) -> bool:
    try:
        json.dumps(document)
    except (ValueError, RecursionError):  # ever deeper copies end like a circle
        return True
    return False


def protobuf(data: bytes, rng: random.Random) -> bytes:
    """Change one field at any depth: its length, its wire type, its number, its place; or change the file's bytes."""
    fields = _fields(data)
    if not fields or rng.random() < 0.2:
        return bytewise(data, rng)
    at = rng.randrange(len(fields))
    key, payload = fields[at]
    way = rng.randrange(9)
    if way < 4 and key & 7 == 2:
        fields[at] = (key, protobuf(payload, rng))
    elif way == 4:
        del fields[at]
    elif way == 5:
        fields[at:at] = [fields[at]] * rng.choice((1, 2, 100))
    elif way == 6:
        fields[at] = (rng.choice((key ^ rng.randrange(8), key + 8, rng.choice(NUMBERS))), payload)
    elif way == 7:
        return b"".join(_field(*field) for field in fields[:at]) + varint(key) + varint(rng.choice(NUMBERS)) + payload
    else:
        fields.append(rng.choice(fields))
        rng.shuffle(fields)
    return b"".join(_field(*field) for field in fields)


def _field(key: int, payload: bytes) -> bytes:
    return varint(key) + (varint(len(payload)) if key & 7 == 2 else b"") + payload


def _varint_end(data: bytes, at: int) -> int:
    while at < len(data) and data[at] & 0x80:
        at += 1
    return at + 1


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """[(key, payload)] of a message, or [] where the bytes are none."""
    found, at = [], 0
    while at < len(data):
        start, at = at, _varint_end(data, at)
        key = sum((b & 0x7F) << 7 * i for i, b in enumerate(data[start:at]))
        start = at
        if key & 7 == 2:
            at = _varint_end(data, at)
            length = sum((b & 0x7F) << 7 * i for i, b in enumerate(data[start:at]))
            start, at = at, at + length
        elif key & 7 == 0:
            at = _varint_end(data, at)
        else:
            at += {1: 8, 5: 4}.get(key & 7, len(data) + 1)
        if at > len(data) or key > 1 << 29:
            return []
        found.append((key, data[start:at]))
    return found
