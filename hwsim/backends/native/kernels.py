"""Kernels of the native backend: each turns a layer's resolved numbers into one operator of the C core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.backends.base import Kernel, Step, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.native.library import Library, isa_number, require
from hwsim.backends.native.order import Operands
from hwsim.backends.native.program import Calls
from hwsim.contract.mac import Activation
from hwsim.contract.resolve import Epilogue
from hwsim.errors import BackendError
from hwsim.formats import FixedPoint
from hwsim.layers import (
    AveragePool,
    Concat,
    Convolution,
    EltwiseSum,
    FullyConnected,
    ImageEncoding,
    Layer,
    MacLayer,
    MaxPool,
    ReLU,
    Rescale,
    Shape,
    Window,
)
from hwsim.layers.float_unit import FloatUnit
from hwsim.layers.image import MEAN_LENGTH

WIDE = 64


class NativeKernel(Kernel):
    """A kernel that is one operator of the C core, freed with the kernel."""

    backend = "native"

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        self.library = require()
        status = self.library.ffi.new("hw_status *")
        made = self.make(self.library, isa_number(), status)
        self.library.check(status, layer.kind)
        self.op = self.library.ffi.gc(made, self.library.lib.hw_op_free)

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        raise NotImplementedError

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        Calls([Step(self, tuple(inputs), out, taps)]).run()


def address(library: Library, array: np.ndarray, kind: str) -> Any:
    """Return a pointer to a contiguous array, which the caller keeps alive."""
    return library.ffi.cast(f"const {kind} *", array.ctypes.data)


def set_output(output: Any, e: Epilogue, acc_bits: int) -> None:
    """Fill an hw_output. TRAP computes what WRAP does; who stops is the caller."""
    overflow = 0 if e.overflow in (Overflow.WRAP, Overflow.TRAP) else 1
    output.acc_bits, output.rounding, output.overflow = acc_bits, int(e.rounding), overflow
    output.activation, output.low, output.high = int(e.activation), e.low, e.high


class MacKernel(NativeKernel):
    """Convolution, and fully connected as the convolution whose kernel covers its input."""

    layer: MacLayer

    @property
    def input_border(self) -> tuple[int, int]:
        """The padding, so that padded taps are plain reads of zeros."""
        return self.layer.pad if isinstance(self.layer, Convolution) else (0, 0)

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator; the C core copies the weights."""
        if isinstance(self.layer.unit, FloatUnit):
            raise BackendError("backend native has no kernel for this contract with a minifloat in it; choose backend jit.")
        shape, kernel = self.input_shapes[0], self.layer.weight.shape[2:]
        conv = library.ffi.new("hw_conv *")
        if isinstance(self.layer, Convolution):
            layer = self.layer
            (conv.stride_h, conv.stride_w), (conv.pad_h, conv.pad_w) = layer.stride, layer.pad
            (conv.dilation_h, conv.dilation_w), conv.groups = layer.dilation, layer.groups
        else:
            assert isinstance(self.layer, FullyConnected)
            kernel = shape[1:]
            conv.stride_h = conv.stride_w = conv.dilation_h = conv.dilation_w = conv.groups = 1
        conv.c, conv.k, (conv.r, conv.s) = shape.c, self.layer.channels, kernel
        conv.in_low, conv.in_high = self.layer.contract.input.low, self.layer.contract.input.high
        operands = Operands(library, self.layer, shape)
        operands.fill(conv)
        set_output(conv.output, self.layer.numbers.epilogue, self.layer.numbers.acc_bits)
        return library.lib.hw_conv_new(conv, isa, status)

    @property
    def path(self) -> str:
        """How the C core computes it, as "amx s8s8s32"."""
        return self.library.ffi.string(self.library.lib.hw_op_path(self.op)).decode()


def new_pool(library: Library, window: Window, shape: Shape) -> Any:
    """Return an hw_pool with the window's sizes."""
    pool = library.ffi.new("hw_pool *")
    pool.r, pool.s = window.kernel_for(shape)
    pool.stride_h, pool.stride_w = window.stride
    pool.pad_h, pool.pad_w = window.pad
    return pool


class MaxPoolKernel(NativeKernel):
    """Maximum over windows."""

    layer: MaxPool

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        pool = new_pool(library, self.layer.window, self.input_shapes[0])
        return library.lib.hw_max_pool_new(pool, isa, status)


class AveragePoolKernel(NativeKernel):
    """Average over windows."""

    layer: AveragePool

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        pool = new_pool(library, self.layer.window, self.input_shapes[0])
        pool.count, pool.shift = int(self.layer.count), -self.layer.lift
        set_output(pool.output, self.layer.epilogue, WIDE)
        return library.lib.hw_average_pool_new(pool, isa, status)


def new_sum(library: Library, channels: int, align: Sequence[int], e: Epilogue, isa: int, status: Any) -> Any:
    """Return the operator that aligns, adds and finishes."""
    output = library.ffi.new("hw_output *")
    set_output(output, e, WIDE)
    shifts = library.ffi.new("int32_t[]", list(align))
    return library.lib.hw_sum_new(channels, len(align), shifts, e.shift[0], output, isa, status)


class EltwiseSumKernel(NativeKernel):
    """The sum of several inputs."""

    layer: EltwiseSum

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        return new_sum(library, self.output_shape.c, self.layer.align, self.layer.epilogue, isa, status)


class RescaleKernel(NativeKernel):
    """From one format to another: a sum of one."""

    layer: Rescale

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        return new_sum(library, self.output_shape.c, (0,), self.layer.epilogue, isa, status)


class ReluKernel(NativeKernel):
    """max(code, 0): a sum of one, without a shift."""

    layer: ReLU

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        assert isinstance(self.layer.format, FixedPoint)
        return new_sum(library, self.output_shape.c, (0,), relu_epilogue(self.layer.format), isa, status)


def relu_epilogue(f: FixedPoint) -> Epilogue:
    """Return the epilogue that leaves every code of the format as it is, and then takes max(code, 0)."""
    relu = Activation.RELU_AFTER_REQUANTIZE
    return Epilogue((0,), Rounding.FLOOR, Overflow.SATURATE, relu, f.bits, f.signed, f.low, f.high)


class ConcatKernel(NativeKernel):
    """The inputs' channels one after the other; a branch that already lies in its place is not copied."""

    layer: Concat

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        return library.lib.hw_concat_new(self.layer.count, status)


class ImageEncodingKernel(NativeKernel):
    """Pixels to codes."""

    layer: ImageEncoding

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator; the C core copies the mean."""
        layer, shape = self.layer, self.output_shape
        encode = library.ffi.new("hw_encode *")
        encode.c, encode.h, encode.w = shape
        mean = np.ascontiguousarray(layer.mean, dtype=np.int64)
        encode.mean, encode.mean_per_pixel = address(library, mean, "int64_t"), int(mean.shape[1:] != (1, 1))
        encode.mean_shift, encode.scale, encode.shift = MEAN_LENGTH, layer.scale_mantissa, layer.epilogue.shift[0]
        set_output(encode.output, layer.epilogue, WIDE)
        return library.lib.hw_encode_new(encode, isa, status)
