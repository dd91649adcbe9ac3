"""Attributes of an ONNX node, checked: an attribute that hwsim does not know would change what the node computes, unseen."""

from __future__ import annotations

from typing import Any

from hwsim.errors import InputError
from hwsim.network.onnx_build import OnnxNode


def take(node: OnnxNode, **defaults: Any) -> dict[str, Any]:
    """The node's attributes over these defaults; InputError for one that is not named, or of another kind than its default.

    A default of None takes a whole number or whole numbers.
    """
    for name, value in node.attributes.items():
        if name not in defaults:
            raise InputError(f"it has an attribute {name!r}; hwsim knows {', '.join(sorted(defaults)) or 'none'} there.")
        default = defaults[name]
        if default is None:
            good = isinstance(value, (int, tuple)) and all(
                isinstance(v, int) for v in (value if isinstance(value, tuple) else ())
            )
        else:
            good = isinstance(value, type(default))
        if not good:
            kind = "whole numbers" if default is None else type(default).__name__
            raise InputError(f"attribute {name!r} is {str(value)[:80]!r}; {kind} is needed.")
    return defaults | node.attributes


def numbers(name: str, value: Any, count: int, default: int = 1) -> Any:
    """`count` whole numbers, or the default for each."""
    if value is None or value == () and count == 4:
        return (default,) * count
    if not isinstance(value, tuple) or len(value) != count:
        raise InputError(f"{name} is {str(value)[:80]}; {count} numbers are needed: hwsim reads layers of 2 dimensions.")
    return value


def allow(name: str, found: Any, *allowed: Any) -> None:
    """Refuse what is none of the allowed values."""
    if found not in allowed:
        raise InputError(f"{name} is {str(found)[:80]}; hwsim allows {' or '.join(map(str, allowed))}.")
