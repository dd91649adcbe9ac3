"""What a strategy varies, as far as its draws show: a reduced example stays within it, since a device is built for no other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from hwsim.layers import MacLayer
from hwsim.testing.judge import Example
from hwsim.testing.simpler import PER_CHANNEL

SURVEY = 20
"""So many examples are drawn, if not run, before it is said what a strategy varies."""


class Rule(Enum):
    """RANGE: what lies between the least and the largest drawn.  MEMBER: what was drawn.  SAME: the one drawn, if it is one."""

    RANGE = "range"
    MEMBER = "member"
    SAME = "same"


Feature = tuple[str, Rule, Any]


class Frame:
    """Learns from drawn examples; allows(example) says whether a smaller one is of the same sort.

    A unit for one contract, or for one shape, is wrong about every other without being at fault. So what never varied stays
    as it is, and what varied stays among what was drawn. The number of images may always be reduced.
    """

    def __init__(self) -> None:
        self.count = 0
        self._seen: defaultdict[str, set[Any]] = defaultdict(set)

    def add(self, example: Example) -> None:
        """Learn from one more."""
        self.count += 1
        for name, _, value in features(example):
            self._seen[name].add(value)

    def allows(self, example: Example) -> bool:
        """Whether the example is within what was drawn."""
        return all(self._allows(*feature) for feature in features(example))

    def _allows(self, name: str, rule: Rule, value: Any) -> bool:
        seen = self._seen.get(name)
        if seen is None:
            return False
        if rule is Rule.RANGE:
            return bool(min(seen) <= value <= max(seen))
        return value in seen or (rule is Rule.SAME and len(seen) > 1)


def features(example: Example) -> Iterator[Feature]:
    """Everything about an example that a device may be built for."""
    layer, inputs = example.layer, example.inputs
    yield "kind", Rule.MEMBER, layer.kind
    for name, size in zip("CHW", inputs.shape[1:], strict=True):
        yield f"input {name}", Rule.RANGE, size
    if not isinstance(layer, MacLayer):
        return
    for axis, size in enumerate(layer.weight.shape):
        yield f"weight axis {axis} of {layer.weight.ndim}", Rule.RANGE, size
    yield "weight", Rule.SAME, (layer.weight.shape, layer.weight.tobytes())
    yield "has a bias", Rule.MEMBER, layer.bias is not None
    yield "bias", Rule.SAME, None if layer.bias is None else layer.bias.tobytes()
    for name in ("stride", "pad", "dilation", "groups", "pad_end"):
        yield name, Rule.MEMBER, getattr(layer, name, None)
    yield from _leaves("contract", layer.contract)


def _leaves(path: str, value: Any) -> Iterator[Feature]:
    """The fields of a contract; not what depends on the number of channels."""
    if is_dataclass(value):
        yield path, Rule.MEMBER, type(value).__name__
        for field in fields(value):
            if field.name not in PER_CHANNEL:
                yield from _leaves(f"{path}.{field.name}", getattr(value, field.name))
    else:
        yield path, Rule.MEMBER, repr(value)
