"""The contract of a layer's datapath: formats, accumulator, rounding, overflow, activation. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.errors import ContractError
from hwsim.formats.fixed import FixedPoint

MAX_OPERAND_BITS = 16
MAX_OUTPUT_BITS = 32
MAX_SHIFT = 62


@dataclass(frozen=True)
class Accumulator:
    """A signed register of `bits` that wraps; events are counted at its end.

    bits: 2..64.  fractional_length: its grid, None for the product's own (finest over input x weight, per channel).
    require_proof: refuse a layer whose exact sum could leave the register (weights' L1 norm times the input range).
    """

    bits: int = 32
    fractional_length: int | tuple[int, ...] | None = None
    require_proof: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or not 2 <= self.bits <= 64:
            raise ContractError(f"Accumulator.bits: found {self.bits!r}, allowed an integer in 2..64.")
        if not isinstance(self.require_proof, bool):
            raise ContractError(f"Accumulator.require_proof: found {self.require_proof!r}, allowed True or False.")
        if self.fractional_length is not None:
            object.__setattr__(self, "fractional_length", self.grid().fractional_length)

    def grid(self) -> FixedPoint:
        """Return the register as a format; its grid must be declared."""
        if self.fractional_length is None:
            raise ContractError("Accumulator.fractional_length: found None where a resolved grid is needed.")
        return FixedPoint(self.bits, self.fractional_length, True)

    @property
    def low(self) -> int:
        """Smallest content."""
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        """Largest content."""
        return (1 << (self.bits - 1)) - 1


@dataclass(frozen=True)
class Output:
    """The last stage of every computing layer: code = activation(overflow(round(value))).

    format: of the output codes (at most 32 bits).  rounding first, overflow second.
    """

    format: FixedPoint
    rounding: Rounding = Rounding.TIES_EVEN
    overflow: Overflow = Overflow.SATURATE
    activation: Activation = Activation.NONE

    def __post_init__(self) -> None:
        check_format("Output.format", self.format, MAX_OUTPUT_BITS)
        for name, kind in (("rounding", Rounding), ("overflow", Overflow), ("activation", Activation)):
            _check_enum(f"Output.{name}", getattr(self, name), kind)

    @property
    def low(self) -> int:
        """Smallest code that the overflow mode lets through."""
        return self.format.low_limit(self.overflow)

    @property
    def high(self) -> int:
        """Largest code."""
        return self.format.high


@dataclass(frozen=True)
class MacContract:
    """The multiply-accumulate datapath of a convolution or a fully connected layer.

    input, weight: operands of at most 16 bits; `weight` may have one fractional length per output channel.
    bias: its own format, or None for the default: the accumulator's grid and width.
    bias_rounding: used where the bias is finer than the accumulator's grid.
    accumulator, output: see there.

    >>> s8 = FixedPoint(8, 4)
    >>> MacContract(s8, FixedPoint(8, 7), Output(s8)).product_length(0)
    11
    """

    input: FixedPoint
    weight: FixedPoint
    output: Output
    accumulator: Accumulator = Accumulator()
    bias: FixedPoint | None = None
    bias_rounding: Rounding = Rounding.TIES_EVEN

    def __post_init__(self) -> None:
        check_format("input", self.input, MAX_OPERAND_BITS)
        check_format("weight", self.weight, MAX_OPERAND_BITS, per_channel=True)
        if not isinstance(self.output, Output):
            raise ContractError(f"MacContract.output: found {self.output!r}, allowed an Output.")
        if not isinstance(self.accumulator, Accumulator):
            raise ContractError(f"MacContract.accumulator: found {self.accumulator!r}, allowed an Accumulator.")
        if self.bias is not None:
            check_format("bias", self.bias, 64, per_channel=True)
        _check_enum("MacContract.bias_rounding", self.bias_rounding, Rounding)

    def product_length(self, channel: int) -> int:
        """fl_product = fl_input + fl_weight[k]."""
        return self.input.fl() + self.weight.fl(channel)

    def accumulator_length(self, channel: int) -> int:
        """Return the accumulator's fractional length for output channel k: declared, else the product's."""
        declared = self.accumulator.fractional_length
        if declared is None:
            return self.product_length(channel)
        return declared[channel] if isinstance(declared, tuple) else declared

    def bias_length(self, channel: int) -> int:
        """Return the bias's fractional length for output channel k: declared, else the accumulator's."""
        return self.accumulator_length(channel) if self.bias is None else self.bias.fl(channel)

    def bias_format(self, channels: int) -> FixedPoint:
        """Return the bias's format, resolved: by default on the accumulator's grid and as wide as the accumulator."""
        if self.bias is not None:
            return self.bias
        lengths = tuple(self.accumulator_length(k) for k in range(channels))
        return FixedPoint(self.accumulator.bits, lengths if len(set(lengths)) > 1 else lengths[0], True)


def check_format(name: str, value: object, max_bits: int = MAX_OUTPUT_BITS, per_channel: bool = False) -> None:
    """Refuse what is no FixedPoint of at most `max_bits`, and one length per channel where a single one is allowed."""
    if not isinstance(value, FixedPoint):
        raise ContractError(f"{name}: found {value!r}, allowed a FixedPoint.")
    if value.bits > max_bits:
        raise ContractError(f"{name}: found {value.bits} bits, allowed at most {max_bits} here.")
    if value.per_channel and not per_channel:
        raise ContractError(f"{name}: found one fractional length per channel, allowed a single one here.")


def _check_enum(name: str, value: object, kind: type[IntEnum]) -> None:
    if not isinstance(value, kind):
        names = ", ".join(member.name for member in kind)
        raise ContractError(f"{name}: found {value!r}, allowed {kind.__name__}: {names}.")
