"""What the C core is told of a declared order and of a shift-add unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hwsim.backends.native.library import Library
from hwsim.contract.accumulator import PaddedTaps, Schedule, ZeroSkip
from hwsim.contract.stochastic import Tail
from hwsim.layers import MacLayer

MAX_FACTOR = 65535
"""What the C core multiplies by; larger powers of two are shifted."""


class Operands:
    """Fills an hw_conv with weights, walk and shift-add unit, and keeps alive what it points to until it is made.

    table: makes the table of steps.
    """

    def __init__(self, library: Library, layer: MacLayer, table: Callable[[Schedule], np.ndarray]) -> None:
        self.ffi, self.layer, self.table = library.ffi, layer, table
        self.kept: list[Any] = []

    def pointer(self, values: Any, dtype: str, kind: str) -> Any:
        """Return the address of the values as a contiguous array of the type."""
        array = np.ascontiguousarray(values, dtype=dtype)
        self.kept.append(array)
        return self.ffi.cast(f"const {kind} *", array.ctypes.data)

    def fill(self, conv: Any) -> None:
        """Weights or fields, bias, shifts, and the walk where an order is declared."""
        numbers, factors = self.layer.numbers, self.layer.integer.factors
        if factors is not None and np.abs(factors).max() <= MAX_FACTOR:
            conv.weights = self.pointer(factors, "int32", "int32_t")
        else:
            conv.shift_add = self.shift_add()
        conv.bias = self.pointer(numbers.bias, "int64", "int64_t")
        conv.product_shift = self.pointer(numbers.product_shift, "int32", "int32_t")
        conv.shift = self.pointer(numbers.epilogue.shift, "int32", "int32_t")
        if numbers.walk is not None:
            conv.walk = self.walk()

    def shift_add(self) -> Any:
        """Return the hw_shift_add."""
        unit, fields = self.layer.integer.contract.product, self.layer.integer.fields
        assert unit is not None and fields is not None
        negative, exponent, nonzero = fields
        made = self.ffi.new("hw_shift_add *")
        self.kept.append(made)
        made.negative, made.nonzero = self.pointer(negative, "uint8", "uint8_t"), self.pointer(nonzero, "uint8", "uint8_t")
        made.exponent = self.pointer(exponent, "int8", "int8_t")
        made.guard_bits, made.rounding, made.sign_after = unit.guard_bits, int(unit.rounding), int(unit.sign_order)
        return made

    def walk(self) -> Any:
        """Return the hw_walk."""
        numbers, schedule = self.layer.numbers, self.layer.integer.contract.accumulator.schedule
        assert numbers.walk is not None and schedule is not None
        w, table = numbers.walk, self.table(schedule)
        made = self.ffi.new("hw_walk *")
        self.kept.append(made)
        made.steps, made.lanes = table.shape
        made.taps = self.pointer(table, "int32", "int32_t")
        made.packed = int(schedule.tail is Tail.PACKED)
        made.skip_padded = int(schedule.padded is PaddedTaps.SKIPPED)
        made.skip_zero_inputs = int(schedule.skip_zeros in (ZeroSkip.INPUT, ZeroSkip.EITHER))
        made.skip_zero_weights = int(schedule.skip_zeros in (ZeroSkip.WEIGHT, ZeroSkip.EITHER))
        made.pairing, made.tree_overflow = w.pairing, w.tree_overflow
        made.levels, made.level_bits = len(numbers.level_bits), self.pointer(numbers.level_bits, "int32", "int32_t")
        made.overflow, made.rounding, made.bias_last = w.overflow, w.rounding, w.bias_last
        made.drop = self.pointer(numbers.drop, "int32", "int32_t")
        made.step_shift = self.pointer(numbers.step_shift, "int32", "int32_t")
        made.spill_every, made.spill_bits, made.spill_shift = w.spill_every, w.spill_bits, w.spill_shift
        made.spill_rounding, made.spill_overflow, made.spill_last = w.spill_rounding, w.spill_overflow, w.spill_last
        return made
