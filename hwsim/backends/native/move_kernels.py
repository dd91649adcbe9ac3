"""Kernels of the native backend for codes that are moved, looked up, or scaled on either side of zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.backends.native.kernels import WIDE, NativeKernel, address, set_output
from hwsim.backends.native.library import Library
from hwsim.layers import Flatten, FlattenOrder, LookupTable, PReLU
from hwsim.layers.move import Moved

NOWHERE = -1


class MoveKernel(NativeKernel):
    """Each axis takes a place of the input's, or the constant."""

    layer: Moved

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator; the C core copies the places."""
        made, kept = library.ffi.new("hw_move *"), [self._places(axis) for axis in range(3)]
        made.in_c, made.in_h, made.in_w = self.input_shapes[0]
        made.c, made.h, made.w = self.output_shape
        made.channels, made.rows, made.columns = (address(library, places, "int32_t") for places in kept)
        made.fill = self.layer.fill
        op = library.lib.hw_move_new(made, status)
        del kept
        return op

    def _places(self, axis: int) -> np.ndarray:
        extent = self.input_shapes[0][axis]
        found = (self.layer.source(axis, i, extent) for i in range(self.output_shape[axis]))
        return np.array([NOWHERE if place is None else place for place in found], dtype=np.int32)


class FlattenKernel(NativeKernel):
    """The image as channels of one pixel."""

    layer: Flatten

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        return library.lib.hw_flatten_new(int(self.layer.order is FlattenOrder.HWC), status)


class LookupKernel(NativeKernel):
    """One value for each code."""

    layer: LookupTable

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator; the C core works every code out."""
        layer, made = self.layer, library.ffi.new("hw_lookup *")
        table = layer.table.astype(np.int64)
        made.low, made.high, made.entries, made.table = (
            layer.format.low,
            layer.format.high,
            len(table),
            address(library, table, "int64_t"),
        )
        made.fraction_bits, made.dropped_bits, made.rounding = layer.fraction_bits, layer.dropped_bits, int(layer.rounding)
        op = library.lib.hw_lookup_new(made, status)
        del table
        return op


class PReluKernel(NativeKernel):
    """One side or the other."""

    layer: PReLU

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator."""
        layer, made = self.layer, library.ffi.new("hw_prelu *")
        slopes = layer.slopes.astype(np.int32)
        made.c, made.slopes, made.slope = self.output_shape.c, len(slopes), address(library, slopes, "int32_t")
        made.low, made.high, made.zero = layer.format.low, layer.format.high, layer.format.zero()
        for i, (multiplier, shift) in enumerate(layer.sides):
            made.multiplier[i], made.shift[i] = multiplier, shift
        kept = (slopes, set_output(library, made.output, layer.epilogue, WIDE))
        op = library.lib.hw_prelu_new(made, status)
        del kept
        return op
