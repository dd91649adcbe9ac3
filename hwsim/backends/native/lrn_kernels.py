"""The kernel of the native backend for local response normalization in integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.backends.native.kernels import NativeKernel, address, set_output
from hwsim.backends.native.library import Library
from hwsim.layers import IntegerLRN, Region


class LRNKernel(NativeKernel):
    """Sum of squares, table, multiply."""

    layer: IntegerLRN

    def make(self, library: Library, isa: int, status: Any) -> Any:
        """Return the new operator; the C core copies the table."""
        layer, made = self.layer, library.ffi.new("hw_lrn *")
        rule, table = layer.lookup.rule, layer.table.astype(np.int64)
        made.low, made.high, made.zero = layer.format.low, layer.format.high, layer.format.zero()
        across, reach = layer.region == Region.ACROSS_CHANNELS, layer.local_size // 2
        c, h, w = self.output_shape
        made.reach_c, made.reach_h, made.reach_w = (min(reach, c), 0, 0) if across else (0, min(reach, h), min(reach, w))
        made.entries, made.table = len(table), address(library, table, "int64_t")
        made.shift, made.mantissa_bits, made.fraction_bits = rule.shift, rule.mantissa_bits, rule.fraction_bits
        made.dropped_bits, made.rounding, made.output_shift = rule.dropped_bits, rule.rounding, layer.epilogue.shift[0]
        kept = (table, set_output(library, made.output, layer.epilogue, max(layer.product_bits, 2)))
        op = library.lib.hw_lrn_new(made, status)
        del kept
        return op
