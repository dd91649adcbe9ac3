"""Kernels of the jit backend for a declared order: exact sums where they are proven to be the answer, else the walk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.backends.base import Kernel, Taps
from hwsim.backends.jit.kernels import MAX_INT32_SUM, MacKernel
from hwsim.backends.jit.walk import Path, Products, Reads, rounded_sums, walk_rows
from hwsim.backends.threads import over_rows
from hwsim.contract.accumulator import PaddedTaps, Schedule, ZeroSkip
from hwsim.contract.stochastic import Tail
from hwsim.formats.pow2 import PowerOfTwo
from hwsim.layers import Layer, MacLayer, Shape

NOTHING = np.empty((0, 0), dtype=np.int64)
NO_FLAGS = np.empty((0, 0), dtype=np.uint8)


def integer_kernel(layer: Layer, shapes: Sequence[Shape]) -> Kernel:
    """Return the kernel of a MacContract: the plain one where no order is declared, or none can matter."""
    assert isinstance(layer, MacLayer)
    if layer.numbers.walk is None:
        return (MacKernel if layer.integer.factors is not None else RoundedMacKernel)(layer, shapes)
    return (MacKernel if all(layer.numbers.static) else OrderedMacKernel)(layer, shapes)


class RoundedMacKernel(MacKernel):
    """Convolution and fully connected with a shift-add unit that rounds, where no order is declared: sums of its products."""

    def lay_out(self) -> None:
        """Lay out the fields of the weights."""
        self.products, self.weight = self._products(), NOTHING

    def _products(self) -> Products:
        unit, p = self.layer.integer, self.layer.numbers
        factors = NOTHING
        if unit.factors is not None:  # an int32 holds any code of 16 bits
            factors = unit.factors if isinstance(unit.contract.weight, PowerOfTwo) else unit.factors.astype(np.int32)
        negative, exponent, nonzero, how = NO_FLAGS, NOTHING, NO_FLAGS, (0, 0, 0)
        if unit.factors is None:
            assert unit.fields is not None and unit.contract.product is not None
            negative, nonzero = unit.fields[0].astype(np.uint8), unit.fields[2].astype(np.uint8)
            exponent, product = unit.fields[1], unit.contract.product
            how = (product.guard_bits, int(product.rounding), int(product.sign_order))
        drop = np.array(p.drop, dtype=np.int64)
        return Products(factors, negative, exponent, nonzero, how, drop, int(unit.contract.accumulator.rounding))

    def reads(self, x: np.ndarray, border: tuple[int, int]) -> Reads:
        """Where the taps of the outputs lie in an input under this border."""
        h, w = self.input_shapes[0][1:]
        inside = (border[0], border[0] + h, border[1], border[1] + w)
        kernel = self.layer.extents(self.input_shapes[0])
        return Reads(x, self.stride, self.dilation, self.origin(border), inside, (1, 1), kernel, self.groups)

    def sums(self, x: np.ndarray, border: tuple[int, int], weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """sums()[n,y,x,k] = sum of the products under the kernel, each as the unit rounds it."""
        totals = np.empty(shape, dtype=np.int64)
        over_rows(rounded_sums, shape[0] * self.output_shape.h, self.reads(x, border), self.products, totals)
        return totals


class OrderedMacKernel(RoundedMacKernel):
    """Convolution and fully connected, output by output in the declared order where the sums prove nothing."""

    def lay_out(self) -> None:
        """Lay out the table of steps, the registers, and the weights for the sums and for the walk."""
        p = self.layer.numbers
        reach = p.total_high - p.total_low  # no sum of |w * x| is larger
        self.by_sums = p.exact and reach < 1 << 62
        if self.by_sums:
            self.weight = self.factors(reach <= MAX_INT32_SUM)
            self.size = np.abs(self.weight)
        self.products = self._products()
        self.path = self._path()

    def _path(self) -> Path:
        p, schedule = self.layer.numbers, self.layer.integer.contract.accumulator.schedule
        assert p.walk is not None and schedule is not None
        by_weight = schedule.skip_zeros in (ZeroSkip.WEIGHT, ZeroSkip.EITHER)
        by_input = schedule.skip_zeros in (ZeroSkip.INPUT, ZeroSkip.EITHER)
        return Path(
            table=self.tap_table(schedule),
            packed=int(schedule.tail is Tail.PACKED),
            skips=(int(schedule.padded is PaddedTaps.SKIPPED), int(by_input), int(by_weight)),
            zero_weights=self.layer.integer.zero_weights.astype(np.uint8) if by_weight else NO_FLAGS,
            level_bits=np.array(p.level_bits, dtype=np.int64),
            step_shift=np.array(p.step_shift, dtype=np.int64),
            bias=self.bias,
            node_low=np.array(p.node_low, dtype=np.int64),
            node_high=np.array(p.node_high, dtype=np.int64),
            static=np.array(p.static, dtype=np.uint8),
            by_sums=int(self.by_sums),
            walk=p.walk,
        )

    def tap_table(self, schedule: Schedule) -> np.ndarray:
        """Return the taps in the declared order, `lanes` to a step, -1 for an idle lane."""
        return schedule.table(*self.layer.extents(self.input_shapes[0])).ravel()

    def compute(
        self,
        x: np.ndarray,
        border: tuple[int, int],
        codes: np.ndarray,
        acc: np.ndarray,
        flags: np.ndarray,
        taps: Taps,
    ) -> None:
        """Fill codes, and acc and flags unless they are empty; count events and shares."""
        totals = sizes = np.empty((0, 0, 0, 0), dtype=np.int64)
        if self.by_sums:
            totals = MacKernel.sums(self, x, border, self.weight, codes.shape)
            sizes = MacKernel.sums(self, np.abs(x), border, self.size, codes.shape)
        reads, rows = self.reads(x, border), len(codes) * self.output_shape.h
        ending = (self.multiplier, self.shift, self.stage)
        taps.counters += over_rows(walk_rows, rows, reads, self.products, self.path, totals, sizes, *ending, codes, acc, flags)
