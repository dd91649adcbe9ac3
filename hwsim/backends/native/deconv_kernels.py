"""Deconvolution in the native backend: the input spread out by one operator of the C core, convolved by another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.backends.base import Kernel, Step, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.native.float_kernels import FloatMacKernel
from hwsim.backends.native.kernels import MacKernel
from hwsim.backends.native.move_kernels import MoveKernel
from hwsim.backends.native.program import Calls
from hwsim.contract.accumulator import PaddedTaps, Schedule, ZeroSkip
from hwsim.layers import Deconvolution, Layer, Shape
from hwsim.layers.float_unit import FloatUnit


def turned(schedule: Schedule, layer: Deconvolution, extents: tuple[int, int, int]) -> np.ndarray:
    """Return the schedule's table of the deconvolution's taps as its convolution numbers them."""
    table = schedule.table(*extents)
    return np.where(table < 0, table, layer.tap_order[table])


class TurnedMacKernel(MacKernel):
    """The convolution of the spread input, in the deconvolution's order."""

    def __init__(self, layer: Deconvolution, shape: Shape) -> None:
        self.origin_layer = layer
        super().__init__(layer.convolution, [shape])

    def tap_table(self, schedule: Schedule) -> np.ndarray:
        """The deconvolution's order."""
        return turned(schedule, self.origin_layer, self.layer.extents(self.input_shapes[0]))


class TurnedFloatKernel(FloatMacKernel):
    """The same with a minifloat in it."""

    def __init__(self, layer: Deconvolution, shape: Shape) -> None:
        self.origin_layer = layer
        super().__init__(layer.convolution, [shape])

    def tap_table(self, schedule: Schedule) -> np.ndarray:
        """The deconvolution's order."""
        return turned(schedule, self.origin_layer, self.layer.extents(self.input_shapes[0]))


def skips_beyond(layer: Layer) -> bool:
    """Return whether a deconvolution leaves out padded taps in steps that matter: the C core takes what is spread for pixels."""
    if not isinstance(layer, Deconvolution):
        return False
    schedule = getattr(layer.contract.accumulator, "schedule", None)
    if schedule is None or schedule.padded is PaddedTaps.STEPS or schedule.skip_zeros in (ZeroSkip.INPUT, ZeroSkip.EITHER):
        return False
    return isinstance(layer.unit, FloatUnit) or not all(layer.numbers.static)


class DeconvolutionKernel(Kernel):
    """Spreads the input out, then convolves, in one call."""

    backend = "native"
    layer: Deconvolution

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        spread = self.layer.spread(shapes[0])
        self.mover: Any = MoveKernel(spread, shapes)
        kind = TurnedFloatKernel if isinstance(self.layer.unit, FloatUnit) else TurnedMacKernel
        self.inner: Any = kind(self.layer, self.mover.output_shape)

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        canvas = Buffer.allocate(out.n, self.mover.output_shape, self.layer.input_formats[0].dtype)
        move = Step(self.mover, tuple(inputs), canvas, Taps())
        Calls([move, Step(self.inner, (canvas,), out, taps)]).run()
