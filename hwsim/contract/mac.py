"""The contract of a layer's datapath: formats, accumulator, rounding, overflow, activation. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding, round_shift
from hwsim.arith.scale import Scaling
from hwsim.contract.accumulator import Accumulator, RoundAt, check_kind
from hwsim.contract.product import ShiftAdd
from hwsim.contract.scaling import Multiplier
from hwsim.contract.stochastic import StochasticRounding
from hwsim.errors import ContractError
from hwsim.formats.affine import Affine
from hwsim.formats.fixed import FixedPoint
from hwsim.formats.integer import IntegerFormat
from hwsim.formats.pow2 import PowerOfTwo

MAX_OPERAND_BITS = 16
MAX_OUTPUT_BITS = 48
MAX_SHIFT = 62

TIES = (Rounding.TIES_UP, Rounding.TIES_DOWN, Rounding.TIES_AWAY, Rounding.TIES_TO_ZERO, Rounding.TIES_EVEN, Rounding.TIES_ODD)
ROUNDINGS = {Scaling.DOUBLE_ROUND: (Rounding.TIES_UP,), Scaling.FLOAT32: TIES, Scaling.FLOAT64: TIES}
"""Roundings that a rule of scaling leaves open; any where it is not listed."""


@dataclass(frozen=True)
class Output:
    """The last stage of every computing layer: code = activation(overflow(clamp(round(scale * value) + zero_point))).

    format: of the output codes (at most 48 bits), which names the zero point.  rounding first, overflow second;
    StochasticRounding draws its noise between ReLU before requantize and the overflow, as any rounding stands there.
    scaling: None for the shift that follows from the fractional lengths; rounding is then all there is to say, and with a
    Multiplier it is that of the rule's last step.  clamp_low, clamp_high: codes at which a declared activation clips (ReLU6,
    say); what they cut off is no overflow event.  None where there is none.
    """

    format: FixedPoint | Affine
    rounding: Rounding | StochasticRounding = Rounding.TIES_EVEN
    overflow: Overflow = Overflow.SATURATE
    activation: Activation = Activation.NONE
    scaling: Multiplier | None = None
    clamp_low: int | None = None
    clamp_high: int | None = None

    def __post_init__(self) -> None:
        check_format("Output.format", self.format, MAX_OUTPUT_BITS)
        if not isinstance(self.rounding, StochasticRounding):
            check_kind("Output.rounding", self.rounding, Rounding)
        for name, kind in (("overflow", Overflow), ("activation", Activation)):
            check_kind(f"Output.{name}", getattr(self, name), kind)
        if self.scaling is not None:
            check_kind("Output.scaling", self.scaling, Multiplier)
            self._check_scaling(self.scaling.rule)
        self._check_clamp()
        if isinstance(self.format, Affine) and self.activation is Activation.RELU_AFTER_REQUANTIZE:
            raise ContractError(
                "Output.activation: found RELU_AFTER_REQUANTIZE with an Affine format; allowed is clamp_low=zero_point."
            )
        if isinstance(self.format, Affine) and self.format.narrow and self.overflow is Overflow.WRAP:
            raise ContractError(
                "Output.overflow: found WRAP with a narrow format, whose smallest code it may give; allowed are SATURATE, "
                "SATURATE_SYMMETRIC and TRAP, or a format that is not narrow."
            )

    def _check_scaling(self, rule: Scaling) -> None:
        allowed = ROUNDINGS.get(rule, tuple(Rounding))
        if self.rounding not in allowed:
            shown = self.rounding.name if isinstance(self.rounding, Rounding) else repr(self.rounding)
            raise ContractError(
                f"Output.rounding: found {shown} with {rule.name}, allowed {', '.join(mode.name for mode in allowed)}."
            )

    def _check_clamp(self) -> None:
        low, high = self.clamp_low, self.clamp_high
        for name, value in (("clamp_low", low), ("clamp_high", high)):
            if value is not None and (type(value) is not int or not self.format.low <= value <= self.format.high):
                raise ContractError(
                    f"Output.{name}: found {value!r}, allowed None or a code in {self.format.low}..{self.format.high}."
                )
        if low is not None and high is not None and low > high:
            raise ContractError(f"Output.clamp_low: found {low}, allowed at most clamp_high {high}.")
        if (low is not None or high is not None) and isinstance(self.rounding, StochasticRounding):
            raise ContractError("Output.clamp_low: found a clamp with a StochasticRounding, allowed a fixed rounding with it.")

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

    input, weight: operands of at most 16 bits, of which the zero point is subtracted before they are multiplied; a weight may
    have one fractional length, scale or zero point per output channel.
    product: None for an exact multiplier; a ShiftAdd for PowerOfTwo weights (None takes the exact one).
    bias: its own format, or None for the default: the accumulator's grid and width.
    bias_rounding: used where the bias is finer than the accumulator's grid.
    accumulator, output: see there.

    >>> s8 = FixedPoint(8, 4)
    >>> MacContract(s8, FixedPoint(8, 7), Output(s8)).product_length(0)
    11
    """

    input: FixedPoint | Affine
    weight: FixedPoint | Affine | PowerOfTwo
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
        self._check_grids()
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
        if isinstance(self.input, FixedPoint):
            self.product.bounds(self.input, self.weight)

    def _check_grids(self) -> None:
        """Real scales are kept by a Multiplier alone: without one, affine codes must already be on the output's grid."""
        affine = [f for f in (self.input, self.weight, self.output.format) if isinstance(f, Affine)]
        if affine and isinstance(self.input, Affine) and isinstance(self.weight, PowerOfTwo):
            raise ContractError("MacContract.input: found an Affine with PowerOfTwo weights, allowed a FixedPoint.")
        if not affine or self.output.scaling is not None or isinstance(self.weight, PowerOfTwo):
            return
        for k in range(getattr(self.weight, "channels", None) or 1):
            product = real_step(self.input) * real_step(self.weight, k)
            if product != real_step(self.output.format) or self.output.format.fl():
                raise ContractError(
                    f"MacContract.output: found no scaling from products of {float(product):g} to {self.output.format} "
                    f"(channel {k}); give Output.scaling, or an output scale equal to the products'."
                )

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
            assert self.product is not None and isinstance(self.input, FixedPoint)
            low, high = self.product.bounds(self.input, self.weight)
        else:
            corners = [a * b for a in operand_range(self.input) for b in operand_range(self.weight)]
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
        lost = int(tree.overflow is Overflow.SATURATE_SYMMETRIC)  # whose registers lack the lowest code
        terms = (level + 2 if tree.pairing is Pairing.CHAIN else min(2 << level, lanes) for level in range(tree.levels(lanes)))
        return tuple(max(2, signed_width(low * n - lost), signed_width(high * n)) for n in terms)  # no register is narrower

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


def operand_range(fmt: FixedPoint | Affine) -> tuple[int, int]:
    """Smallest and largest code - zero_point, over all channels.

    >>> operand_range(Affine(8, 0.5, 3))
    (-131, 124)
    """
    zeros = fmt.zero_point if isinstance(fmt, Affine) and isinstance(fmt.zero_point, tuple) else (fmt.zero(),)
    return fmt.low - max(zeros), fmt.high - min(zeros)


def real_step(fmt: FixedPoint | Affine, channel: int = 0) -> Fraction:
    """Return what one code is worth: the scale, or 2**-fractional_length."""
    return Fraction(fmt.step(channel)) if isinstance(fmt, Affine) else Fraction(2) ** -fmt.fl(channel)


def check_format(name: str, value: object, max_bits: int = MAX_OUTPUT_BITS, per_channel: bool = False) -> None:
    """Refuse what is no format of integers of at most `max_bits`, and one per channel where a single one is allowed."""
    if not isinstance(value, IntegerFormat):
        raise ContractError(f"{name}: found {value!r}, allowed a FixedPoint or an Affine.")
    if value.bits > max_bits:
        raise ContractError(f"{name}: found {value.bits} bits, allowed at most {max_bits} here.")
    if value.per_channel and not per_channel:
        what = "fractional length" if isinstance(value, FixedPoint) else "scale or zero point"
        raise ContractError(f"{name}: found one {what} per channel, allowed a single one here.")
