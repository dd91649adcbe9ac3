"""Native kernels of layers other than multiply-accumulate that a minifloat enters or leaves: maxima, and one code to one code."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.backends.native.kernels import WIDE, NativeKernel, address, new_pool
from hwsim.backends.native.library import Library
from hwsim.formats import Minifloat
from hwsim.layers import ImageEncoding, MaxPool, ReLU, Rescale
from hwsim.layers.base import AnyOutput, Real
from hwsim.layers.float_output import finish_rule
from hwsim.layers.image import MEAN_LENGTH


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
    """Fill the output stage of an hw_float_value. TRAP computes what WRAP does; who stops is the caller."""
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
