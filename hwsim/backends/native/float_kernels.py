"""The native kernel of multiply-accumulate layers with a minifloat in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.arith.exact_sum import to_words
from hwsim.arith.minifloat import FloatLayout
from hwsim.arith.overflow import Overflow
from hwsim.backends.native.kernels import MacKernel, NativeKernel
from hwsim.backends.native.library import Library
from hwsim.contract.accumulator import PaddedTaps, Schedule, ZeroSkip
from hwsim.contract.float_mac import FloatAccumulator
from hwsim.contract.stochastic import Tail
from hwsim.formats import FixedPoint, Minifloat
from hwsim.layers import Convolution, Layer, MacLayer, Shape
from hwsim.layers.float_unit import FloatUnit


def mac_kernel(layer: Layer, shapes: Sequence[Shape]) -> NativeKernel:
    """Return the kernel for the layer's kind of contract."""
    assert isinstance(layer, MacLayer)
    return FloatMacKernel(layer, shapes) if isinstance(layer.unit, FloatUnit) else MacKernel(layer, shapes)


class FloatMacKernel(NativeKernel):
    """Convolution, and fully connected as the convolution whose kernel covers its input, under a FloatMacContract."""

    layer: MacLayer

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator; the C core copies all operands."""
        unit = self.layer.unit
        assert isinstance(unit, FloatUnit)
        conv = library.ffi.new("hw_float_conv *")
        filling = Filling(library, conv, unit)
        filling.geometry(self.layer, self.input_shapes[0])
        filling.operands()
        if unit.accumulator is None:
            filling.exact_sum()
        else:
            filling.float_register(unit.accumulator, self.tap_table(unit.accumulator.schedule))
        filling.output()
        return library.lib.hw_float_conv_new(conv, isa, status)

    def tap_table(self, schedule: Schedule) -> np.ndarray:
        """Return the table of steps: [steps][lanes] taps, -1 for an idle lane."""
        return schedule.table(*self.layer.extents(self.input_shapes[0]))

    @property
    def path(self) -> str:
        """How the C core computes it, as "exact doubles"."""
        return self.library.ffi.string(self.library.lib.hw_op_path(self.op)).decode()


class Filling:
    """An hw_float_conv on its way to the C core; it keeps alive what that points to."""

    def __init__(self, library: Library, conv: Any, unit: FloatUnit) -> None:
        self.library, self.conv, self.unit = library, conv, unit
        self.owned: list[Any] = []

    def pointer(self, values: Any, dtype: str) -> Any:
        """Return a pointer to an array of that type."""
        array = np.ascontiguousarray(values, dtype=dtype)
        self.owned.append(array)
        return self.library.ffi.cast(f"const {dtype}_t *", array.ctypes.data)

    def layout(self, layout: FloatLayout) -> Any:
        """Return an hw_float."""
        made = self.library.ffi.new("hw_float *", list(layout))
        self.owned.append(made)
        return made[0]

    def geometry(self, layer: MacLayer, shape: Shape) -> None:
        """Sizes, stride, padding, dilation, groups."""
        conv, kernel = self.conv, shape[1:]
        conv.stride_h = conv.stride_w = conv.dilation_h = conv.dilation_w = conv.groups = 1
        if isinstance(layer, Convolution):
            (conv.stride_h, conv.stride_w), (conv.pad_h, conv.pad_w) = layer.stride, layer.pad
            (conv.dilation_h, conv.dilation_w), conv.groups = layer.dilation, layer.groups
            conv.pad_end_h, conv.pad_end_w = layer.padding[1]
            kernel = layer.kernel
        conv.c, conv.k, (conv.r, conv.s) = shape.c, layer.channels, kernel

    def operands(self) -> None:
        """Inputs as codes of a format, weights as numbers."""
        conv, x, weights = self.conv, self.unit.contract.input, self.unit.weight_terms
        conv.in_low, conv.in_high, conv.input_fixed = x.low, x.high, int(isinstance(x, FixedPoint))
        if isinstance(x, Minifloat):
            conv.input = self.layout(x.layout)
        else:
            conv.input_exponent = -x.fl()
        conv.weight_sign = self.pointer(weights.sign, "uint8")
        conv.weight_significand = self.pointer(weights.significand, "int32")
        conv.weight_exponent = self.pointer(weights.exponent, "int32")

    def exact_sum(self) -> None:
        """The register in words, on the grid of each channel."""
        conv, unit = self.conv, self.unit
        words = unit.register.words
        conv.exact, conv.words = 1, words
        conv.grid = self.pointer(unit.exponents, "int32")
        conv.bias = self.pointer([to_words(bias, words) for bias in unit.aligned_bias], "int64")
        conv.lanes = conv.steps = 1

    def float_register(self, register: FloatAccumulator, table: np.ndarray) -> None:
        """The register's format, and the order of the steps."""
        conv, schedule, walk = self.conv, register.schedule, self.unit.walk
        conv.register_format, conv.register_rounding = self.layout(register.format.layout), walk.mode
        if register.product is not None:
            conv.product_rounds, conv.product = 1, self.layout(register.product.layout)
            conv.product_rounding = int(register.product_rounding)
        conv.words, conv.bias = 1, self.pointer(self.unit.bias_codes, "int64")
        conv.table, (conv.steps, conv.lanes) = self.pointer(table, "int64"), table.shape
        conv.pairing, conv.bias_last, conv.packed = walk.pairing, walk.bias_last, int(schedule.tail is Tail.PACKED)
        conv.skip_padded = int(schedule.padded is PaddedTaps.SKIPPED)
        conv.skip_zero_inputs = int(schedule.skip_zeros in (ZeroSkip.INPUT, ZeroSkip.EITHER))
        conv.skip_zero_weights = int(schedule.skip_zeros in (ZeroSkip.WEIGHT, ZeroSkip.EITHER))

    def output(self) -> None:
        """The last stage. TRAP computes what WRAP does; who stops is the caller."""
        conv, finish = self.conv, self.unit.finish
        conv.output.rounding, conv.output.activation = finish.mode, finish.activation
        if finish.is_float:
            conv.out = self.layout(finish.layout)
            return
        conv.output_fixed, conv.output_length = 1, finish.fractional_length
        conv.output.overflow = int(finish.overflow not in (Overflow.WRAP, Overflow.TRAP))
        conv.output.acc_bits, conv.output.low, conv.output.high = 64, finish.low, finish.high
