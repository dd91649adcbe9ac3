"""Kernels of the native backend: each turns a layer's resolved numbers into one operator of the C core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.arith.operand import Term
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import NO_CLAMP
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.backends.base import Kernel, Step, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.native.library import Library, isa_number, require
from hwsim.backends.native.order import Operands
from hwsim.backends.native.program import Calls
from hwsim.contract.accumulator import Schedule
from hwsim.contract.mac import Activation
from hwsim.contract.resolve import Epilogue
from hwsim.errors import BackendError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import (
    AveragePool,
    Clamp,
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
from hwsim.layers.float_values import integer_format
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


def set_output(library: Library, output: Any, e: Epilogue, acc_bits: int, channels: int = 1) -> Any:
    """Fill an hw_output; return what it points to, to be kept until the operator is made.

    channels: of the operator's stage. TRAP computes what WRAP does: who stops is the caller. Into a narrow format nothing can
    wrap, and TRAP saturates: it counts the same events, and nobody sees the codes.
    """
    output.acc_bits, output.rounding, output.activation = acc_bits, int(e.rounding), int(e.activation)
    whole = e.high - e.low == (1 << e.bits) - 1
    output.overflow = 0 if e.overflow is Overflow.WRAP or (e.overflow is Overflow.TRAP and whole) else 1
    output.low, output.high, output.zero_point = e.low, e.high, e.zero_point
    output.scaling, output.clamps = int(e.scaling), int((e.clamp_low, e.clamp_high) != NO_CLAMP)
    output.clamp_low, output.clamp_high = e.clamp_low, e.clamp_high
    multiplier = per_channel(e.multiplier, channels, np.int64)
    output.multiplier = address(library, multiplier, "int64_t")
    return multiplier


def per_channel(values: tuple[int, ...], channels: int, dtype: type) -> np.ndarray:
    """Return one number for each channel, of one for all or one for each."""
    return np.ascontiguousarray(np.broadcast_to(np.array(values, dtype=dtype), (channels,)))


class MacKernel(NativeKernel):
    """Convolution, and fully connected as the convolution whose kernel covers its input."""

    layer: MacLayer

    @property
    def input_border(self) -> tuple[int, int]:
        """The padding, the wider one where two sides differ, so that padded taps are plain reads."""
        if not isinstance(self.layer, Convolution):
            return (0, 0)
        before, after = self.layer.padding
        return max(before[0], after[0]), max(before[1], after[1])

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
            conv.pad_end_h, conv.pad_end_w = layer.padding[1]
        else:
            assert isinstance(self.layer, FullyConnected)
            kernel = shape[1:]
            conv.stride_h = conv.stride_w = conv.dilation_h = conv.dilation_w = conv.groups = 1
        conv.c, conv.k, (conv.r, conv.s) = shape.c, self.layer.channels, kernel
        conv.in_low, conv.in_high = self.layer.contract.input.low, self.layer.contract.input.high
        conv.in_zero = self.layer.pad_code
        operands = Operands(library, self.layer, self.tap_table)
        operands.fill(conv)
        kept = set_output(library, conv.output, self.layer.numbers.epilogue, self.layer.numbers.acc_bits, conv.k)
        made = library.lib.hw_conv_new(conv, isa, status)
        del kept
        return made

    def tap_table(self, schedule: Schedule) -> np.ndarray:
        """Return the table of steps: [steps][lanes] taps, -1 for an idle lane."""
        return schedule.table(*self.layer.extents(self.input_shapes[0]))

    @property
    def path(self) -> str:
        """How the C core computes it, as "amx s8s8s32"."""
        return self.library.ffi.string(self.library.lib.hw_op_path(self.op)).decode()


def new_pool(library: Library, window: Window, shape: Shape) -> Any:
    """Return an hw_pool with the window's sizes."""
    pool = library.ffi.new("hw_pool *")
    pool.r, pool.s = window.kernel_for(shape)
    pool.stride_h, pool.stride_w = window.stride
    (pool.pad_h, pool.pad_w), (pool.pad_end_h, pool.pad_end_w) = window.pad, window.after
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
        layer, pool = self.layer, new_pool(library, self.layer.window, self.input_shapes[0])
        pool.count, pool.zero, pool.offset = int(layer.count), layer.zero, layer.offset
        kept = [set_output(library, pool.output, layer.epilogue, WIDE)]
        if layer.division is None:
            pool.shift = -layer.lift
        else:
            counts = layer.counts(self.input_shapes[0])
            entries = [layer.reciprocal(count) for count in counts]
            kept += [np.array(counts, dtype=np.int64), np.array([m for m, _ in entries], dtype=np.int64)]
            kept.append(np.array([s for _, s in entries], dtype=np.int32))
            pool.reciprocals, pool.counts = len(counts), address(library, kept[1], "int64_t")
            pool.multiplier, pool.multiplier_shift = address(library, kept[2], "int64_t"), address(library, kept[3], "int32_t")
        made = library.lib.hw_average_pool_new(pool, isa, status)
        del kept
        return made


PLAIN = Term(0, 1, 1, 0, int(Scaling.SHIFT), int(Rounding.FLOOR))
"""A code less its zero point, as it is."""


def set_operand(to: Any, fmt: FixedPoint | Affine, term: Term) -> None:
    """Fill an hw_operand."""
    to.low, to.high, to.zero, to.align, to.sign = fmt.low, fmt.high, fmt.zero(), term.left, term.sign
    to.scaling, to.multiplier, to.shift, to.rounding = term.scaling, term.multiplier, term.shift, term.rounding


def new_sum(
    library: Library, channels: int, operands: Sequence[tuple[FixedPoint | Affine, Term]], e: Epilogue, isa: int, status: Any
) -> Any:
    """Return the operator that scales each operand, adds and finishes."""
    made, terms = library.ffi.new("hw_sum *"), library.ffi.new("hw_operand[]", len(operands))
    for to, (fmt, term) in zip(terms, operands, strict=True):
        set_operand(to, fmt, term)
    shifts = per_channel(e.shift, channels, np.int32)
    made.c, made.n, made.terms, made.shift = channels, len(operands), terms, address(library, shifts, "int32_t")
    kept = set_output(library, made.output, e, WIDE, channels)
    op = library.lib.hw_sum_new(made, isa, status)
    del kept
    return op


class EltwiseSumKernel(NativeKernel):
    """The sum of several inputs."""

    layer: EltwiseSum

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        operands = tuple(zip(self.layer.fixed, self.layer.terms, strict=True))
        return new_sum(library, self.output_shape.c, operands, self.layer.epilogue, isa, status)


class RescaleKernel(NativeKernel):
    """From one format to another: a sum of one."""

    layer: Rescale

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        fmt = integer_format(self.layer.kind, self.layer.format)
        return new_sum(library, self.output_shape.c, [(fmt, PLAIN)], self.layer.epilogue, isa, status)


class ReluKernel(NativeKernel):
    """max(code, zero point): a sum of one, without a shift."""

    layer: ReLU

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        fmt = integer_format(self.layer.kind, self.layer.format)
        return new_sum(library, self.output_shape.c, [(fmt, PLAIN)], clip_epilogue(fmt, fmt.zero(), fmt.high), isa, status)


class ClampKernel(NativeKernel):
    """min(max(code, low), high): likewise."""

    layer: Clamp

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        fmt = self.layer.format
        epilogue = clip_epilogue(fmt, self.layer.low, self.layer.high)
        return new_sum(library, self.output_shape.c, [(fmt, PLAIN)], epilogue, isa, status)


def clip_epilogue(f: FixedPoint | Affine, low: int, high: int) -> Epilogue:
    """Return the epilogue that leaves every code of the format as it is, but for what lies outside of low..high."""
    stays = (Rounding.FLOOR, Overflow.SATURATE, Activation.NONE)
    return Epilogue((0,), *stays, f.bits, f.signed, f.low, f.high, zero_point=f.zero(), clamp_low=low, clamp_high=high)


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
        kept = set_output(library, encode.output, layer.epilogue, WIDE)
        made = library.lib.hw_encode_new(encode, isa, status)
        del kept
        return made
