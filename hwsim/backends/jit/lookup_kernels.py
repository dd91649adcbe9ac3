"""The kernel of the lookup-table layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import hwsim.backends.jit.leaves  # noqa: F401  registers the leaves before they are compiled into the loop
from hwsim.arith.lookup import table_value
from hwsim.backends.base import Prepare, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit.compile import compiled
from hwsim.backends.jit.kernels import JitKernel
from hwsim.backends.threads import over_rows
from hwsim.layers import Layer, LookupTable, Shape


@compiled
def look_up_rows(first, last, x, low, table, fraction_bits, dropped_bits, rounding, codes):
    """codes = the table's values at x - low, int64 [N][H][W][C]; nothing to count."""
    _, height, width, channels = codes.shape
    for i in range(first, last):
        n, y = i // height, i % height
        for column in range(width):
            for k in range(channels):
                codes[n, y, column, k] = table_value(table, x[n, y, column, k] - low, fraction_bits, dropped_bits, rounding)
    return 0


class LookupKernel(JitKernel):
    """One value of the table for each code."""

    layer: LookupTable

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        self.table = self.layer.table.astype(np.int64)

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        codes, layer = self.empty(out.n), self.layer
        x = np.ascontiguousarray(inputs[0].inner, dtype=np.int64)
        rule = (layer.fraction_bits, layer.dropped_bits, int(layer.rounding))
        over_rows(look_up_rows, out.n * self.output_shape.h, x, layer.format.low, self.table, *rule, codes)
        out.inner[...] = codes


LOOKUP_TABLE: dict[str, Prepare] = {"lookup_table": LookupKernel}
