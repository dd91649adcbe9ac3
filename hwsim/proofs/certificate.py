"""The certificate of a layer: what its registers are asked to hold in the worst case, and the width that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.contract.accumulator import register_low
from hwsim.contract.mac import MacContract, signed_width
from hwsim.errors import ContractError
from hwsim.golden.write import layer_digest
from hwsim.layers import MacLayer, Shape

SCHEMA = "hwsim.overflow/1"
NARROWEST = 2
"""No register has fewer bits."""


def width_for(low: int, high: int, overflow: Overflow) -> int:
    """Return the fewest bits of a signed register that holds low..high without an event.

    >>> width_for(-128, 127, Overflow.WRAP), width_for(-128, 127, Overflow.SATURATE_SYMMETRIC), width_for(0, 0, Overflow.WRAP)
    (8, 9, 2)
    """
    bits = max(NARROWEST, signed_width(low), signed_width(high))
    return bits + (low < register_low(bits, overflow))


def narrowed(values: np.ndarray) -> np.ndarray:
    """Return Python ints as int64 where it holds them all.

    >>> narrowed(np.array([1, -5], dtype=object)).dtype, narrowed(np.array([1 << 63], dtype=object)).dtype
    (dtype('int64'), dtype('O'))
    """
    wide = values.dtype == object and any(not -(1 << 63) <= value < 1 << 63 for value in values.tolist())
    return values if wide else values.astype(np.int64)


@dataclass(frozen=True, eq=False)
class InputRange:
    """Codes that a layer may read: low[c]..high[c] in input channel c, both ends included; int64 [C]."""

    low: np.ndarray
    high: np.ndarray

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.int64))
        if self.low.ndim != 1 or self.low.shape != self.high.shape or (self.low > self.high).any():
            raise ContractError("InputRange: found ends of other shapes or the wrong way round, allowed low[c] <= high[c].")

    @classmethod
    def of(cls, layer: MacLayer, shape: Shape) -> InputRange:
        """Return every code of the layer's input format."""
        fmt = layer.input_formats[0]
        return cls(np.full(shape.c, fmt.low), np.full(shape.c, fmt.high))


@dataclass(frozen=True, eq=False)
class Ends:
    """Smallest and largest exact value that a register is asked to hold, whatever the inputs; per output channel.

    low, high: int64 [K], on the register's grid; Python ints in an array of objects where int64 does not hold them.
    low_at, high_at: int64 [K][3], an output (y, x) and the step at which an input that reaches the end there does so first,
    counting the steps that are taken; a bias that comes last is the step behind the others, and what a register holds before
    any is step 0.  Where no order is declared, and at an end that may not be reached, the step is 0 and says nothing.
    """

    low: np.ndarray
    high: np.ndarray
    low_at: np.ndarray
    high_at: np.ndarray

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, narrowed(getattr(self, name)))

    def widths(self, overflow: Overflow) -> np.ndarray:
        """Return the fewest bits of each channel's register, int64 [K]."""
        both = zip(self.low.tolist(), self.high.tolist(), strict=True)
        return np.array([width_for(low, high, overflow) for low, high in both], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Certificate:
    """No register of a layer overflows, for any input in its range, from these widths on.

    name: of the layer in its network.  layer, shape, inputs: what is proven of: contract and operands, input shape, codes.
    accumulator: of the register behind the tree. The tree and the spill buffer are as declared, and what they clip is clipped;
    a spill buffer is never wider than the accumulator.
    tree: of each level's registers, first to last.  spill: of the buffer, on its own grid; None where there is none.
    tight: bool [K]; both ends of the accumulator are reached, so that one bit less has a witness, and those of the spill
    buffer; elsewhere the bounds are proven, and `reason` says why they may be too wide. Ends of the tree are reached there, too,
    unless what is read decides which of more than a dozen taps meet: then they are those of the most extreme products, which
    need not come to meet.
    """

    name: str
    layer: MacLayer
    shape: Shape
    inputs: InputRange
    accumulator: Ends
    tree: tuple[Ends, ...]
    spill: Ends | None
    tight: np.ndarray
    reason: str | None = None

    @property
    def contract(self) -> MacContract:
        """The layer's contract."""
        assert isinstance(self.layer.contract, MacContract)
        return self.layer.contract

    @property
    def bits(self) -> np.ndarray:
        """The smallest accumulator of each output channel that cannot overflow and holds its bias, int64 [K]."""
        overflow = self.contract.accumulator.overflow
        alone = [width_for(min(bias, 0), max(bias, 0), overflow) for bias in self.layer.numbers.bias]
        return np.maximum(self.accumulator.widths(overflow), alone)

    @property
    def layer_bits(self) -> int:
        """The smallest accumulator that serves all channels."""
        return int(self.bits.max())

    @property
    def declared_bits(self) -> int:
        """The accumulator that the contract declares."""
        return self.contract.accumulator.bits

    @property
    def safe(self) -> np.ndarray:
        """Channels whose declared accumulator cannot overflow, bool [K]."""
        return self.bits <= self.declared_bits

    @property
    def rule_bits(self) -> int:
        """The rule of thumb: bits of the largest product + ceil(log2(products and bias))."""
        terms = int(self.layer.weight[0].size) + (self.layer.bias is not None)
        return max(map(signed_width, self.contract.product_range)) + (terms - 1).bit_length()

    def to_json(self) -> dict[str, Any]:
        """Return the certificate as plain data: schema, what it is of (the layer by its digest), and every end by channel."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "kind": self.layer.kind,
            "layer_sha256": layer_digest(self.layer),
            "input_shape": list(self.shape),
            "input_range": {"low": self.inputs.low.tolist(), "high": self.inputs.high.tolist()},
            "accumulator": ends_json(self.accumulator) | {"bits": self.bits.tolist(), "declared": self.declared_bits},
            "tree": [ends_json(level) for level in self.tree],
            "spill": None if self.spill is None else ends_json(self.spill),
            "tight": self.tight.tolist(),
            "reason": self.reason,
            "log2_rule": self.rule_bits,
        }


def ends_json(ends: Ends) -> dict[str, Any]:
    """Return a register's ends as plain lists."""
    return {name: getattr(ends, name).tolist() for name in ("low", "high", "low_at", "high_at")}
