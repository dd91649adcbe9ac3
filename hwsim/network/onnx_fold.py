"""Arithmetic on constants that exporters leave in a graph: shapes taken apart and put together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hwsim.errors import InputError

MAX_FOLDED = 1 << 16
"""Most elements of a folded constant: shapes are short, and weights stand in the file as they are."""


def fold(kind: str, inputs: Sequence[np.ndarray], attributes: dict[str, Any]) -> np.ndarray | None:
    """The result of an operator whose inputs are all constants; None for an operator that hwsim does not fold.

    >>> fold("Concat", [np.array([1]), np.array([-1])], {"axis": 0})
    array([ 1, -1])
    """
    if kind == "Constant":
        return _constant(attributes)
    if kind not in _FOLDED or not inputs:
        return None
    if kind != "Identity" and any(array.size > MAX_FOLDED for array in inputs):
        raise InputError(f"a constant of {max(array.size for array in inputs):,} elements would be computed; simplify the model.")
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(_FOLDED[kind](inputs, attributes))
    except (ValueError, IndexError, TypeError, OverflowError, KeyError) as error:
        raise InputError(f"its constants do not fit together ({str(error)[:80]}); simplify the model.") from None
    if kind != "Identity" and result.size > MAX_FOLDED:
        raise InputError(f"a constant of {result.size:,} elements would be made; simplify the model.")
    return result


def _constant(attributes: dict[str, Any]) -> np.ndarray:
    kinds: dict[str, Any] = {"value": None, "value_float": np.float32, "value_floats": np.float32}
    kinds |= {"value_int": np.int64, "value_ints": np.int64}
    if len(attributes) != 1 or not set(attributes) <= set(kinds):
        raise InputError(f"a Constant has the attributes {sorted(attributes)[:4]}; one of {sorted(kinds)} is needed.")
    ((name, value),) = attributes.items()
    return np.asarray(value) if kinds[name] is None else np.asarray(value, dtype=kinds[name])


def _axes(inputs: Sequence[np.ndarray], attributes: dict[str, Any]) -> tuple[int, ...]:
    given = inputs[1].reshape(-1).tolist() if len(inputs) > 1 else attributes["axes"]
    return tuple(int(axis) for axis in given)


def _unsqueeze(inputs: Sequence[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    axes = _axes(inputs, attributes)
    if inputs[0].ndim + len(axes) > 8:
        raise ValueError("more than 8 axes")
    return np.expand_dims(inputs[0], axes)


def _squeeze(inputs: Sequence[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    given = len(inputs) > 1 or "axes" in attributes
    return np.squeeze(inputs[0], _axes(inputs, attributes) if given else None)


def _gather(inputs: Sequence[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    data, indices = inputs
    if data.size * max(indices.size, 1) > MAX_FOLDED * 8 or data.ndim + indices.ndim > 9:
        raise ValueError("too many elements")
    return np.take(data, indices, axis=attributes.get("axis", 0))


def _concat(inputs: Sequence[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    return np.concatenate(list(inputs), axis=attributes["axis"])


def _slice(inputs: Sequence[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    data, rest = inputs[0], [array.reshape(-1).tolist() for array in inputs[1:]]
    starts, ends = (rest[0], rest[1]) if rest else (attributes["starts"], attributes["ends"])
    axes = rest[2] if len(rest) > 2 else attributes.get("axes", range(len(starts)))
    steps = rest[3] if len(rest) > 3 else [1] * len(starts)
    at = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        at[axis] = slice(start, end, step)
    return data[tuple(at)]


def _cast(inputs: Sequence[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    to = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}[attributes["to"]]
    return inputs[0].astype(to)


def _binary(rule: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    def compute(inputs: Sequence[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
        left, right = inputs
        if left.size > 1 and right.size > 1 and left.shape != right.shape:
            raise ValueError("shapes differ")
        return rule(left, right)

    return compute


def _divide(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    if left.dtype.kind == "f":
        return left / right
    if (right == 0).any():
        raise ValueError("division by 0")
    quotient = left // right  # ONNX cuts towards zero, numpy floors
    return quotient + ((left - quotient * right != 0) & ((left < 0) != (right < 0)))


_FOLDED: dict[str, Callable[[Sequence[np.ndarray], dict[str, Any]], np.ndarray]] = {
    "Add": _binary(np.add),
    "Cast": _cast,
    "Concat": _concat,
    "Div": _binary(_divide),
    "Gather": _gather,
    "Identity": lambda inputs, attributes: inputs[0],
    "Mul": _binary(np.multiply),
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Unsqueeze": _unsqueeze,
}
