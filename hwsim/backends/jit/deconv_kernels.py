"""Deconvolution in the jit backend: the convolution of the input spread out, by the kernels that convolutions have.

Where an order is declared, the taps stand the other way round and what lies between the pixels is padding: two kernels here
say so, the rest is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.backends.base import Kernel, Prepare, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit.float_kernels import FloatRegisterKernel, mac_kernel
from hwsim.backends.jit.kernels import JitKernel
from hwsim.backends.jit.move_kernels import MoveKernel
from hwsim.backends.jit.ordered import OrderedMacKernel
from hwsim.backends.jit.walk import Reads
from hwsim.contract import Schedule
from hwsim.layers import Deconvolution, Layer, Shape


def turned(table: np.ndarray, layer: Deconvolution) -> np.ndarray:
    """Return a table of a deconvolution's taps as its convolution numbers them."""
    return np.where(table < 0, table, layer.tap_order[table])


class SpreadOrderedKernel(OrderedMacKernel):
    """The convolution of an input spread out, in the deconvolution's order."""

    def __init__(self, layer: Deconvolution, shape: Shape) -> None:
        self.origin_layer, self.pixels_shape, self.canvas = layer, shape, layer.spread(shape)
        super().__init__(layer.convolution, [self.canvas.output_shape([shape])])

    def tap_table(self, schedule: Schedule) -> np.ndarray:
        """The deconvolution's order."""
        return turned(super().tap_table(schedule), self.origin_layer)

    def reads(self, x: np.ndarray, border: tuple[int, int]) -> Reads:
        """Where the taps lie, and where among them the pixels."""
        found, (top, left) = super().reads(x, border), self.canvas.lead
        (down, right), (_, h, w) = self.canvas.stride, self.pixels_shape
        inside = (top, top + (h - 1) * down + 1, left, left + (w - 1) * right + 1)
        return found._replace(inside=inside, apart=self.canvas.stride)


class SpreadRegisterKernel(FloatRegisterKernel):
    """The convolution of an input spread out by a float register, in the deconvolution's order."""

    def __init__(self, layer: Deconvolution, shape: Shape) -> None:
        self.origin_layer, self.pixels_shape, self.canvas = layer, shape, layer.spread(shape)
        super().__init__(layer.convolution, [self.canvas.output_shape([shape])])

    def tap_table(self, schedule: Schedule) -> np.ndarray:
        """The deconvolution's order."""
        return turned(super().tap_table(schedule), self.origin_layer)

    def pixels(self) -> np.ndarray:
        """Where the pixels lie."""
        _, h, w = self.pixels_shape
        rows, columns = (
            [self.canvas.source(axis, i, extent) is not None for i in range(self.canvas.size[axis - 1])]
            for axis, extent in ((1, h), (2, w))
        )
        return np.logical_and.outer(rows, columns).astype(np.int64)


def spread_kernel(layer: Deconvolution, shape: Shape) -> Kernel:
    """Return the kernel that computes the deconvolution from its input spread out."""
    convolution, spread = layer.convolution, layer.spread(shape).output_shape([shape])
    kernel = mac_kernel(convolution, [spread])
    if isinstance(kernel, OrderedMacKernel):
        return SpreadOrderedKernel(layer, shape)
    return SpreadRegisterKernel(layer, shape) if isinstance(kernel, FloatRegisterKernel) else kernel


class DeconvolutionKernel(JitKernel):
    """Spreads the input out, then convolves."""

    layer: Deconvolution

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        spread = self.layer.spread(shapes[0])
        self.mover, self.inner = MoveKernel(spread, shapes), spread_kernel(self.layer, shapes[0])

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        canvas = self.mover.output_shape
        room = Buffer.allocate(out.n, canvas, self.layer.input_formats[0].dtype)
        self.mover.run(inputs, room, Taps())
        self.inner.run([room], out, taps)


DECONV_TABLE: dict[str, Prepare] = {"deconvolution": DeconvolutionKernel}
