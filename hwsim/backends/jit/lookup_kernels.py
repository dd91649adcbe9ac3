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
    """One value of the table for each code: all are worked out once, since there are at most 2**16."""

    layer: LookupTable

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        given, low = self.layer, self.layer.format.low
        x = np.arange(low, given.format.high + 1, dtype=np.int64).reshape(1, 1, 1, -1)
        rule = (given.fraction_bits, given.dropped_bits, int(given.rounding))
        values = np.empty_like(x)
        look_up_rows(0, 1, x, low, given.table.astype(np.int64), *rule, values)
        self.values = values.ravel().astype(given.output_format.dtype)

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        out.inner[...] = self.values[inputs[0].inner.astype(np.intp) - self.layer.format.low]


LOOKUP_TABLE: dict[str, Prepare] = {"lookup_table": LookupKernel}
