"""The contract of a multiply-accumulate unit with a minifloat in it: operands, product, accumulation. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.contract.accumulator import Schedule, check_kind
from hwsim.contract.mac import MAX_OPERAND_BITS, Output, check_format
from hwsim.errors import ContractError
from hwsim.formats.catalog import BINARY32
from hwsim.formats.fixed import FixedPoint
from hwsim.formats.minifloat import Minifloat
from hwsim.formats.pow2 import PowerOfTwo


@dataclass(frozen=True)
class FloatOutput:
    """The last stage of a layer whose codes are minifloats: code = activation(round(value)); overflow is the format's own."""

    format: Minifloat
    rounding: Rounding = Rounding.TIES_EVEN
    activation: Activation = Activation.NONE

    def __post_init__(self) -> None:
        for name, kind in (("format", Minifloat), ("rounding", Rounding), ("activation", Activation)):
            check_kind(f"FloatOutput.{name}", getattr(self, name), kind)


@dataclass(frozen=True)
class ExactSum:
    """A fixed-point register as wide as every sum needs: no step rounds, and the order is of no account."""


@dataclass(frozen=True)
class FloatAccumulator:
    """A register in a named float format: acc = round(acc + step) at every step, in the declared order.

    format, rounding: of the register.  product: the format to which each product is rounded (by product_rounding) before it
    is added, or None: exact products, so that a step rounds once.  schedule: order, lanes, pairing of the tree (each of its
    sums is rounded to the register's format), bias; no widths, no spill.
    """

    format: Minifloat = BINARY32
    rounding: Rounding = Rounding.TIES_EVEN
    product: Minifloat | None = None
    product_rounding: Rounding = Rounding.TIES_EVEN
    schedule: Schedule = Schedule()

    def __post_init__(self) -> None:
        check_kind("FloatAccumulator.format", self.format, Minifloat)
        for name in ("rounding", "product_rounding"):
            check_kind(f"FloatAccumulator.{name}", getattr(self, name), Rounding)
        if self.product is not None:
            check_kind("FloatAccumulator.product", self.product, Minifloat)
        check_kind("FloatAccumulator.schedule", self.schedule, Schedule)
        tree = self.schedule.tree
        for name, value in (("tree.bits", tree.bits), ("tree.overflow", tree.overflow), ("spill", self.schedule.spill)):
            if value is not None:
                raise ContractError(f"FloatAccumulator.schedule.{name}: found {value!r}, allowed None: sums are floats.")


@dataclass(frozen=True)
class FloatMacContract:
    """The multiply-accumulate datapath with a minifloat among its operands, or a float accumulator.

    input: FixedPoint or Minifloat.  weight: FixedPoint, PowerOfTwo or Minifloat.  bias: its own format; None for the
    register's (binary32 for an ExactSum).  output: an Output or a FloatOutput.
    Products are exact, whatever the operands' formats: significand times significand.

    >>> from hwsim.formats.catalog import E4M3
    >>> FloatMacContract(E4M3, E4M3, FloatOutput(E4M3)).accumulator
    ExactSum()
    """

    input: FixedPoint | Minifloat
    weight: FixedPoint | PowerOfTwo | Minifloat
    output: Output | FloatOutput
    accumulator: ExactSum | FloatAccumulator = ExactSum()
    bias: FixedPoint | Minifloat | None = None
    bias_rounding: Rounding = Rounding.TIES_EVEN

    def __post_init__(self) -> None:
        if not isinstance(self.input, Minifloat):
            check_format("input", self.input, MAX_OPERAND_BITS)
        if not isinstance(self.weight, (Minifloat, PowerOfTwo)):
            check_format("weight", self.weight, MAX_OPERAND_BITS, per_channel=True)
        if not isinstance(self.output, (Output, FloatOutput)):
            raise ContractError(f"FloatMacContract.output: found {self.output!r}, allowed an Output or a FloatOutput.")
        if isinstance(self.output, Output):
            self.output.fixed_rounding("FloatMacContract")
        if not isinstance(self.accumulator, (ExactSum, FloatAccumulator)):
            raise ContractError(
                f"FloatMacContract.accumulator: found {self.accumulator!r}, allowed an ExactSum or a FloatAccumulator."
            )
        if not isinstance(self.bias, (Minifloat, type(None))):
            check_format("bias", self.bias, 64, per_channel=True)
        check_kind("FloatMacContract.bias_rounding", self.bias_rounding, Rounding)

    def bias_format(self, channels: int) -> FixedPoint | Minifloat:
        """Return the bias's format, resolved."""
        if self.bias is not None:
            return self.bias
        return self.accumulator.format if isinstance(self.accumulator, FloatAccumulator) else BINARY32
