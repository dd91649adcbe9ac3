"""What convolution and fully connected layers share: operands, and the multiply-accumulate unit that their contract names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from hwsim.contract.float_mac import FloatMacContract
from hwsim.contract.mac import MacContract
from hwsim.contract.resolve import MacNumbers
from hwsim.errors import ContractError
from hwsim.formats import Format, IntegerFormat, Minifloat, PowerOfTwo
from hwsim.layers.base import Bounds, Cell, Codes, Real, Shape, checked_codes
from hwsim.layers.draws import noise_of
from hwsim.layers.float_unit import FloatUnit, check_finite
from hwsim.layers.integer_unit import Extents, IntegerUnit


@dataclass(frozen=True, eq=False)
class MacLayer:
    """A layer of multiply-accumulate units: weight codes [K]..., bias codes [K] or None, and their contract."""

    contract: MacContract | FloatMacContract
    weight: np.ndarray
    bias: np.ndarray | None = None

    def __post_init__(self) -> None:
        channels = len(self.weight)
        if isinstance(self.contract.weight, IntegerFormat):
            self.contract.weight.lengths(channels)
        if isinstance(self.contract, MacContract) and self.contract.accumulator.fractional_length is not None:
            self.contract.accumulator.grid().lengths(channels)
        if self.bias is not None:
            fmt = self.contract.bias_format(channels)
            if isinstance(fmt, IntegerFormat):
                fmt.lengths(channels)
            object.__setattr__(self, "bias", checked_codes(f"{self.kind}.bias", self.bias, fmt, "K"))
            if len(self.bias) != channels:
                raise ContractError(f"{self.kind}.bias: found {len(self.bias)} codes, allowed {channels}, one per channel.")
        if isinstance(self.unit, IntegerUnit):
            self.numbers  # noqa: B018  resolve now: a contract that cannot be built is refused when it is constructed

    kind: ClassVar[str] = "mac"

    @property
    def channels(self) -> int:
        """Number of output channels K."""
        return len(self.weight)

    @property
    def input_formats(self) -> tuple[Real, ...]:
        """Format of the one input."""
        return (self.contract.input,)

    @property
    def output_format(self) -> Real:
        """Format of the output codes."""
        return self.contract.output.format

    @cached_property
    def unit(self) -> IntegerUnit | FloatUnit:
        """The unit that computes: the contract with the operands."""
        weight = self.weight.reshape(self.channels, -1)
        if isinstance(self.contract, FloatMacContract):
            return FloatUnit(self.contract, weight, self.bias, self.kind)
        return IntegerUnit(self.contract, weight, self.bias, self.kind)

    @property
    def integer(self) -> IntegerUnit:
        """The unit of a MacContract; ContractError where the contract has a minifloat in it."""
        if isinstance(self.unit, IntegerUnit):
            return self.unit
        raise ContractError(f"{self.kind}.contract: found a FloatMacContract, allowed here a MacContract: a unit in integers.")

    @property
    def sums(self) -> list[tuple[int, int]]:
        """Per output channel (N, P): bounds of the sum of any of its products, with inputs free in their range."""
        return self.unit.sums

    @property
    def numbers(self) -> MacNumbers:
        """The datapath's integers, of a MacContract: shifts, aligned biases, limits and proven bounds."""
        return self.integer.numbers

    @property
    def bounds(self) -> Bounds:
        """Worst case at the accumulator and at the output."""
        return self.unit.bounds

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the output's shape; ContractError where the input does not match the attributes."""
        raise NotImplementedError

    def extents(self, shape: Shape) -> Extents:
        """Taps of one output along (c, r, s), for an input of this shape."""
        raise NotImplementedError

    @property
    def pad_code(self) -> int:
        """The code of a padded tap: real 0, the input's zero point."""
        fmt = self.contract.input
        return fmt.zero() if isinstance(fmt, IntegerFormat) else 0

    def taps(self, image: Sequence[Sequence[Sequence[int]]], k: int, y: int, x: int) -> tuple[list[int], list[bool]]:
        """Return the codes that one output reads, in the order (c, r, s), pad_code in the padding; and which are padded."""
        raise NotImplementedError

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int, first_turn: int = 0) -> Cell:
        """One output in plain ints: its taps, then the unit.

        first_turn: where the output draws its rounding, the turn since the last reset in which image n begins.
        """
        image = inputs[0][n]
        shape = Shape(len(image), len(image[0]), len(image[0][0]))
        if isinstance(self.unit, FloatUnit):
            return self.unit.cell(*self.taps(image, k, y, x), self.extents(shape), k)
        noise = noise_of(self.numbers.epilogue, self.output_shape([shape]), (k, y, x), first_turn)
        return self.unit.cell(*self.taps(image, k, y, x), self.extents(shape), k, noise)


def checked_weights(name: str, codes: np.ndarray, fmt: Format, axes: str) -> np.ndarray:
    """Return a read-only copy of weight codes in their format's dtype; every code must stand for a number."""
    owned = checked_codes(name, codes, fmt, axes)
    try:
        if isinstance(fmt, PowerOfTwo):
            fmt.fields(owned)
    except ContractError as error:
        raise ContractError(f"{name}: {error}") from None
    if isinstance(fmt, Minifloat):
        check_finite(name, owned, fmt)
    return owned
