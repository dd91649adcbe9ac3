"""The contract of a layer's datapath: formats, accumulator, rounding, overflow, activation. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding, round_shift
from hwsim.contract.accumulator import Accumulator, RoundAt, check_kind
from hwsim.contract.product import ShiftAdd
from hwsim.contract.stochastic import StochasticRounding
from hwsim.errors import ContractError
from hwsim.formats.fixed import FixedPoint
from hwsim.formats.pow2 import PowerOfTwo

MAX_OPERAND_BITS = 16
MAX_OUTPUT_BITS = 32
MAX_SHIFT = 62


@dataclass(frozen=True)
class Output:
    """The last stage of every computing layer: code = activation(overflow(round(value))).

    format: of the output codes (at most 32 bits).  rounding first, overflow second; StochasticRounding draws its noise
    between ReLU before requantize and the overflow, as any rounding stands there.
    """

    format: FixedPoint
    rounding: Rounding | StochasticRounding = Rounding.TIES_EVEN
    overflow: Overflow = Overflow.SATURATE
    activation: Activation = Activation.NONE

    def __post_init__(self) -> None:
        check_format("Output.format", self.format, MAX_OUTPUT_BITS)
        if not isinstance(self.rounding, StochasticRounding):
            check_kind("Output.rounding", self.rounding, Rounding)
        for name, kind in (("overflow", Overflow), ("activation", Activation)):
            check_kind(f"Output.{name}", getattr(self, name), kind)

    def fixed_rounding(self, where: str) -> Rounding:
        """Return the rounding of a layer that cannot draw; ContractError where it is stochastic."""
        if isinstance(self.rounding, StochasticRounding):
            raise ContractError(
                f"{where}.output.rounding: found a StochasticRounding, allowed here are {', '.join(r.name for r in Rounding)}; "
                "convolution, fully_connected and rescale can draw, so let a rescale behind this layer do it."
            )
        return self.rounding

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
    """The multiply-accumulate datapath of a convolution or a fully connected layer, in integers.

    input, weight: operands of at most 16 bits; a FixedPoint weight may have one fractional length per output channel.
    product: None for an exact multiplier; a ShiftAdd for PowerOfTwo weights (None takes the exact one).
    bias: its own format, or None for the default: the accumulator's grid and width.
    bias_rounding: used where the bias is finer than the accumulator's grid.
    accumulator, output: see there.

    >>> s8 = FixedPoint(8, 4)
    >>> MacContract(s8, FixedPoint(8, 7), Output(s8)).product_length(0)
    11
    """

    input: FixedPoint
    weight: FixedPoint | PowerOfTwo
    output: Output
    accumulator: Accumulator = Accumulator()
    bias: FixedPoint | None = None
    bias_rounding: Rounding = Rounding.TIES_EVEN
    product: ShiftAdd | None = None

    def __post_init__(self) -> None:
        check_format("input", self.input, MAX_OPERAND_BITS)
        self._check_product()
        if not isinstance(self.output, Output):
            raise ContractError(f"MacContract.output: found {self.output!r}, allowed an Output.")
        if not isinstance(self.accumulator, Accumulator):
            raise ContractError(f"MacContract.accumulator: found {self.accumulator!r}, allowed an Accumulator.")
        self._check_tree()
        if self.bias is not None:
            check_format("bias", self.bias, 64, per_channel=True)
        check_kind("MacContract.bias_rounding", self.bias_rounding, Rounding)

    def _check_product(self) -> None:
        if not isinstance(self.weight, PowerOfTwo):
            check_format("weight", self.weight, MAX_OPERAND_BITS, per_channel=True)
            if self.product is not None:
                raise ContractError(f"MacContract.product: found {self.product!r} with weights {self.weight}, allowed None.")
            return
        if self.product is None:
            object.__setattr__(self, "product", ShiftAdd(max(0, -self.weight.exp_min)))
        check_kind("MacContract.product", self.product, ShiftAdd)
        assert self.product is not None
        self.product.bounds(self.input, self.weight)

    def _check_tree(self) -> None:
        schedule = self.accumulator.schedule
        if schedule is None or schedule.tree.bits is None or schedule.tree.overflow is not None:
            return
        for level, (bits, need) in enumerate(zip(schedule.tree.bits, self.exact_level_bits, strict=True)):
            if bits < need:
                raise ContractError(
                    f"Schedule.tree.bits[{level}]: found {bits} without an overflow mode, allowed from {need}, which holds the "
                    f"sums of products {self.product_range}; widen the level or declare Tree.overflow."
                )

    @property
    def product_range(self) -> tuple[int, int]:
        """Smallest and largest product that the operands' formats allow, rounded if the contract rounds each product."""
        if isinstance(self.weight, PowerOfTwo):
            assert self.product is not None
            low, high = self.product.bounds(self.input, self.weight)
        else:
            corners = [a * b for a in (self.input.low, self.input.high) for b in (self.weight.low, self.weight.high)]
            low, high = min(0, *corners), max(0, *corners)
        acc = self.accumulator
        drop = acc.dropped_bits if acc.round_at is RoundAt.PRODUCT else 0
        return round_shift(low, drop, acc.rounding), round_shift(high, drop, acc.rounding)

    @property
    def exact_level_bits(self) -> tuple[int, ...]:
        """Width of each level of the adder tree at which no sum of products can overflow, whatever the weights."""
        schedule = self.accumulator.schedule
        if schedule is None:
            return ()
        lanes, tree = schedule.lanes, schedule.tree
        low, high = self.product_range
        terms = (level + 2 if tree.pairing is Pairing.CHAIN else min(2 << level, lanes) for level in range(tree.levels(lanes)))
        return tuple(max(2, signed_width(low * n), signed_width(high * n)) for n in terms)  # no register is narrower

    def product_length(self, channel: int) -> int:
        """fl_product = fl_input + fl_weight[k], or fl_input + guard_bits behind a shift-add unit."""
        if isinstance(self.weight, PowerOfTwo):
            assert self.product is not None
            return self.input.fl() + self.product.guard_bits
        return self.input.fl() + self.weight.fl(channel)

    def accumulator_length(self, channel: int) -> int:
        """Return the accumulator's fractional length for output channel k: declared, else the product's."""
        declared = self.accumulator.fractional_length
        if declared is None:
            return self.product_length(channel) - self.accumulator.dropped_bits
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


def signed_width(value: int) -> int:
    """Return the fewest bits of a two's complement register that holds the value.

    >>> signed_width(127), signed_width(-128), signed_width(128), signed_width(0)
    (8, 8, 9, 1)
    """
    return (value if value >= 0 else -value - 1).bit_length() + 1


def check_format(name: str, value: object, max_bits: int = MAX_OUTPUT_BITS, per_channel: bool = False) -> None:
    """Refuse what is no FixedPoint of at most `max_bits`, and one length per channel where a single one is allowed."""
    if not isinstance(value, FixedPoint):
        raise ContractError(f"{name}: found {value!r}, allowed a FixedPoint.")
    if value.bits > max_bits:
        raise ContractError(f"{name}: found {value.bits} bits, allowed at most {max_bits} here.")
    if value.per_channel and not per_channel:
        raise ContractError(f"{name}: found one fractional length per channel, allowed a single one here.")
