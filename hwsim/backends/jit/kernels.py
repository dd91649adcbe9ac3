"""Kernels of the jit backend: each lays out its numbers once, then runs a compiled loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.backends.base import Kernel, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit import loops
from hwsim.backends.threads import over_rows
from hwsim.contract.resolve import Epilogue
from hwsim.layers import Concat, Convolution, FullyConnected, Layer, MacLayer, Shape

MAX_INT32_SUM = (1 << 31) - 1


def scales_of(e: Epilogue, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (multiplier, shift) of each output channel, int64 [K]."""
    each = (np.array(values, dtype=np.int64) for values in (e.multiplier, e.shift))
    multiplier, shift = (np.ascontiguousarray(np.broadcast_to(values, (channels,))) for values in each)
    return multiplier, shift


class JitKernel(Kernel):
    """A kernel that runs compiled loops."""

    backend = "jit"

    def empty(self, n: int) -> np.ndarray:
        """Return room for the codes of n images: int64 [N][H][W][K], copied to the buffer at the end."""
        c, h, w = self.output_shape
        return np.empty((n, h, w, c), dtype=np.int64)


class MacKernel(JitKernel):
    """Convolution, and fully connected as the convolution whose kernel covers its input: exact sums, finished at their end.

    For contracts without a declared order, and for those whose every output is proven free of events by its bounds.
    """

    layer: MacLayer

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        if isinstance(layer, Convolution):
            self.stride, self.pad, self.dilation, self.groups = layer.stride, layer.pad, layer.dilation, layer.groups
            before, after = layer.padding
            self.border = (max(before[0], after[0]), max(before[1], after[1]))
        else:
            assert isinstance(layer, FullyConnected)
            self.stride, self.pad, self.dilation, self.groups = (1, 1), (0, 0), (1, 1), 1
            self.border = (0, 0)
        numbers = self.layer.numbers
        self.product_shift = np.array(numbers.product_shift, dtype=np.int64)
        self.bias = np.array(numbers.bias, dtype=np.int64)
        self.multiplier, self.shift = scales_of(numbers.epilogue, self.layer.channels)
        self.stage = numbers.epilogue.stage
        self.lay_out()

    def lay_out(self) -> None:
        """Lay out the weights."""
        numbers = self.layer.numbers
        self.weight = self.factors(max(-numbers.total_low, numbers.total_high) <= MAX_INT32_SUM)

    def factors(self, narrow: bool) -> np.ndarray:
        """Return what multiplies, [R][S][C/groups][K]; narrow: whether int32 holds every sum."""
        factors = self.layer.integer.factors
        assert factors is not None
        taps = self.layer.extents(self.input_shapes[0])
        return np.ascontiguousarray(factors.reshape(-1, *taps).transpose(2, 3, 1, 0), dtype=np.int32 if narrow else np.int64)

    @property
    def input_border(self) -> tuple[int, int]:
        """The padding, the wider one where two sides differ."""
        return self.border

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        codes = self.empty(out.n)
        acc = np.empty((0, 0, 0, 0) if taps.acc is None else codes.shape, dtype=np.int64)
        flags = np.empty((0, 0, 0, 0) if taps.flags is None else codes.shape, dtype=np.uint8)
        x = np.ascontiguousarray(inputs[0].bordered, dtype=np.int32)
        if self.layer.pad_code:
            x = x - np.int32(self.layer.pad_code)
        self.compute(x, inputs[0].border, codes, acc, flags, taps)
        out.inner[...] = codes
        if taps.acc is not None:
            taps.acc[...] = acc
        if taps.flags is not None:
            taps.flags[...] = flags

    def compute(
        self,
        x: np.ndarray,
        border: tuple[int, int],
        codes: np.ndarray,
        acc: np.ndarray,
        flags: np.ndarray,
        taps: Taps,
    ) -> None:
        """Fill codes, and acc and flags unless they are empty; count."""
        totals = self.sums(x, border, self.weight, codes.shape)
        p, rows = self.layer.numbers, len(codes) * self.output_shape.h
        register = (p.acc_bits, p.acc_low, p.acc_high)
        numbers = (self.product_shift, self.bias, register, self.multiplier, self.shift, self.stage)
        taps.events[:2] += over_rows(loops.finish_sums, rows, totals, *numbers, codes, acc, flags)
        if p.walk is not None:
            taps.shares[0] += codes.size

    def sums(self, x: np.ndarray, border: tuple[int, int], weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """sums()[n,y,x,k] = sum of x * weight under the kernel, exact in the weights' type."""
        totals = np.empty(shape, dtype=weight.dtype)
        rows = shape[0] * self.output_shape.h
        over_rows(loops.product_sums, rows, x, weight, self.stride, self.dilation, self.origin(border), self.groups, totals)
        return totals

    def origin(self, border: tuple[int, int]) -> tuple[int, int]:
        """Where tap (0, 0) of output (0, 0) lies in an input under this border."""
        return (border[0] - self.pad[0], border[1] - self.pad[1])


class ConcatKernel(JitKernel):
    """Copy each input to its channels; a branch that already lies there is not copied."""

    layer: Concat

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        first = 0
        for branch in inputs:
            target = out.channels(first, branch.shape.c)
            first += branch.shape.c
            if branch.padded is not target.padded or branch.first != target.first:
                target.inner[...] = branch.inner
