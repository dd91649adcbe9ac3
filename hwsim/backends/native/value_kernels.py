"""Native kernels of layers other than multiply-accumulate that a minifloat enters or leaves: maxima, sums, casts."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.backends.native.kernels import WIDE, NativeKernel, address, new_pool
from hwsim.backends.native.library import Library
from hwsim.formats import FixedPoint, Minifloat
from hwsim.layers import AveragePool, EltwiseSum, ImageEncoding, Layer, MaxPool, ReLU, Rescale, Window
from hwsim.layers.base import AnyOutput, Real
from hwsim.layers.float_output import finish_rule
from hwsim.layers.float_values import sum_bits, sum_grid
from hwsim.layers.image import MEAN_LENGTH

SUM_BITS = 126
MAX_WINDOW = 1 << 20


def new_float(library: Library, fmt: Minifloat) -> Any:
    """Return an hw_float."""
    return library.ffi.new("hw_float *", list(fmt.layout))


class FloatMaxPoolKernel(NativeKernel):
    """Maximum over windows, of numbers."""

    layer: MaxPool

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        assert isinstance(self.layer.format, Minifloat)
        pool = new_pool(library, self.layer.window, self.input_shapes[0])
        return library.lib.hw_float_max_pool_new(pool, new_float(library, self.layer.format), isa, status)


class FloatValueKernel(NativeKernel):
    """One code to one code; the C core works out a table where codes are narrow."""

    def new_value(self, library: Library, fmt: Real) -> Any:
        """Return an hw_float_value that reads this format."""
        value = library.ffi.new("hw_float_value *")
        value.c, value.h, value.w = self.output_shape
        value.scale, value.input_bits, value.input_signed = 1, fmt.bits, int(fmt.signed)
        if isinstance(fmt, Minifloat):
            value.input = new_float(library, fmt)[0]
        else:
            value.input_fixed, value.input_exponent = 1, -fmt.fl()
        return value


def set_output(library: Library, value: Any, output: AnyOutput) -> None:
    """Fill the output stage of an hw_float_value or an hw_float_sum. TRAP computes what WRAP does; who stops is the caller."""
    rule = finish_rule(output)
    value.output_fixed, value.output_length = 1 - rule.is_float, rule.fractional_length
    value.output.rounding, value.output.activation = rule.mode, rule.activation
    if isinstance(output.format, Minifloat):
        value.out = new_float(library, output.format)[0]
        return
    value.output.acc_bits, value.output.low, value.output.high = WIDE, rule.low, rule.high
    value.output.overflow = 0 if rule.overflow in (Overflow.WRAP, Overflow.TRAP) else 1


class FloatReluKernel(FloatValueKernel):
    """max(code, +0)."""

    layer: ReLU

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        value = self.new_value(library, self.layer.format)
        value.relu = 1
        return library.lib.hw_float_value_new(value, isa, status)


class CastKernel(FloatValueKernel):
    """From one format to another."""

    layer: Rescale

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        value = self.new_value(library, self.layer.format)
        set_output(library, value, self.layer.output)
        return library.lib.hw_float_value_new(value, isa, status)


class FloatImageKernel(FloatValueKernel):
    """Pixels to minifloats."""

    layer: ImageEncoding

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator; the C core copies the mean."""
        layer = self.layer
        value = self.new_value(library, layer.input_formats[0])
        mean = np.ascontiguousarray(layer.mean, dtype=np.int64)
        value.mean, value.mean_per_pixel = address(library, mean, "int64_t"), int(mean.shape[1:] != (1, 1))
        value.mean_shift, value.scale, value.input_exponent = MEAN_LENGTH, layer.scale_mantissa, layer.exponent
        set_output(library, value, layer.output)
        return library.lib.hw_float_value_new(value, isa, status)


class FloatSumKernel(NativeKernel):
    """The exact sum of several inputs, or under windows of one input an average."""

    layer: EltwiseSum | AveragePool

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator; the C core copies what it is given."""
        layer, new, owned = self.layer, library.ffi.new, sum_operands(library, self.layer)
        value = new("hw_float_sum *")
        value.n, value.divides = len(layer.input_formats), int(isinstance(layer, AveragePool))
        value.grid = sum_grid(layer.input_formats, layer.output, bool(value.divides))
        value.format, value.fixed, value.bits, value.exponent = owned
        window = layer.window if isinstance(layer, AveragePool) else Window((1, 1))
        value.window = new_pool(library, window, self.input_shapes[0])[0]
        value.window.count = int(layer.count) if isinstance(layer, AveragePool) else 0
        set_output(library, value, layer.output)
        return library.lib.hw_float_sum_new(value, isa, status)


def sum_operands(library: Library, layer: EltwiseSum | AveragePool) -> tuple[Any, Any, Any, Any]:
    """Return the inputs' formats, which of them are fixed point, their bits and the exponents of those."""
    formats, new = layer.input_formats, library.ffi.new
    layouts = new("hw_float[]", len(formats))
    for i, fmt in enumerate(formats):
        if isinstance(fmt, Minifloat):
            layouts[i] = new_float(library, fmt)[0]
    fixed = new("int32_t[]", [int(isinstance(fmt, FixedPoint)) for fmt in formats])
    bits = new("int32_t[]", [fmt.bits for fmt in formats])
    exponents = [-fmt.fl() if isinstance(fmt, FixedPoint) else 0 for fmt in formats]
    return layouts, fixed, bits, new("int32_t[]", exponents)


def sums_beyond(layer: Layer) -> bool:
    """Return whether a sum with minifloats may need more bits than the C core adds, whatever the image's size."""
    if isinstance(layer, AveragePool):
        kernel = layer.window.kernel
        terms, divides = (MAX_WINDOW if kernel is None else kernel[0] * kernel[1]), True
    elif isinstance(layer, EltwiseSum):
        terms, divides = len(layer.formats), False
    else:
        return False
    formats = layer.input_formats
    return sum_bits(formats, terms, sum_grid(formats, layer.output, divides)) > SUM_BITS
