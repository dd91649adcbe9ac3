"""Kernels of the jit backend for sums with a minifloat in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.arith.exact_sum import to_limbs
from hwsim.backends.base import Kernel, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit import float_loops, loops
from hwsim.backends.jit.float_doubles import constants, double_sums, rounds_alike
from hwsim.backends.jit.kernels import JitKernel
from hwsim.backends.jit.ordered import integer_kernel
from hwsim.backends.threads import over_rows
from hwsim.contract.accumulator import PaddedTaps, Schedule, ZeroSkip
from hwsim.contract.float_mac import FloatMacContract
from hwsim.contract.stochastic import Tail
from hwsim.formats.catalog import BINARY32
from hwsim.layers import Convolution, FullyConnected, Layer, MacLayer, Shape
from hwsim.layers.float_unit import FloatUnit, Terms, order_of, span_of, terms_of

DOUBLE_BITS = 54  # a two's complement number of so many bits is an integer that float64 holds
INT64_BITS = 62


def mac_kernel(layer: Layer, shapes: Sequence[Shape]) -> Kernel:
    """Return the kernel of a convolution or a fully connected layer: in integers, exact sum, or float register."""
    assert isinstance(layer, MacLayer)
    if not isinstance(layer.contract, FloatMacContract):
        return integer_kernel(layer, shapes)
    unit = layer.unit
    assert isinstance(unit, FloatUnit)
    if unit.accumulator is not None:
        return FloatRegisterKernel(layer, shapes)
    widest = max(unit.proven_bits, span_of(unit.contract.input).largest.bit_length() + 1)
    return ExactSumKernel(layer, shapes) if widest <= INT64_BITS else WideSumKernel(layer, shapes)


class FloatMacKernel(JitKernel):
    """What the kernels share: geometry, weights as terms [K][C/groups][R][S], inputs as terms with their padding in place."""

    layer: MacLayer
    unit: FloatUnit

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        weight = self.layer.weight
        if isinstance(layer, Convolution):
            self.padding, self.groups = layer.padding, layer.groups
            self.stride, self.dilation = layer.stride, layer.dilation
        else:
            assert isinstance(layer, FullyConnected)
            weight = weight.reshape(len(weight), *shapes[0])
            self.padding, self.groups, self.stride, self.dilation = ((0, 0), (0, 0)), 1, (1, 1), (1, 1)
        assert isinstance(self.layer.unit, FloatUnit)
        self.unit = self.layer.unit
        self.steps = (*self.stride, *self.dilation, self.groups)
        self.weight_terms = Terms(*(np.ascontiguousarray(part.reshape(weight.shape)) for part in self.unit.weight_terms))

    def staged(self, x: Buffer) -> Terms:
        """Return the inputs as terms [N][H][W][C], +0 in the padding."""
        terms = terms_of(np.ascontiguousarray(x.inner), self.unit.contract.input)
        border = ((0, 0), *zip(*self.padding, strict=True), (0, 0))
        return Terms(*(np.pad(part, border) for part in terms))

    def flags(self, x: Terms, shape: tuple[int, ...]) -> np.ndarray:
        """Return what NaN and infinities make of each output; an empty array where there are none."""
        if not x.kind.any():
            return np.empty((0, 0, 0, 0), dtype=np.int64)
        flags, w = np.empty(shape, dtype=np.int64), self.weight_terms
        zero = (x.significand == 0).astype(np.int64)
        w_zero = (w.significand == 0).astype(np.int64)
        rows = shape[0] * shape[1]
        over_rows(float_loops.special_sums, rows, x.sign, x.kind, zero, w.sign, w_zero, self.steps, flags)
        return flags

    def room(self, taps: Taps, shape: tuple[int, ...], words: tuple[int, ...] = ()) -> np.ndarray:
        """Return room for the accumulators, empty where nobody asked for them."""
        wanted = (*shape, *words)
        return np.empty((0,) * len(wanted) if taps.acc is None else wanted, dtype=np.int64)


class ExactSumKernel(FloatMacKernel):
    """Sums proven to fit: integers on the operands' grids, in float64 where that holds them all, else in int64."""

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        unit, w = self.unit, self.weight_terms
        contract, channels = unit.contract, range(len(w.sign))
        self.x_grid = span_of(contract.input).exponent
        widest = max(unit.proven_bits, span_of(contract.input).largest.bit_length() + 1)
        self.number = np.dtype(np.float64 if widest <= DOUBLE_BITS else np.int64)
        w_grid = np.array([span_of(contract.weight, k).exponent for k in channels], dtype=np.int64).reshape(-1, 1, 1, 1)
        self.weight = np.ascontiguousarray(self._integers(w, w_grid).transpose(2, 3, 1, 0).astype(self.number))
        self.bias = np.array(unit.aligned_bias, dtype=np.int64)
        self.exponents = np.array(unit.exponents, dtype=np.int64)

    @staticmethod
    def _integers(terms: Terms, grid: np.ndarray | int) -> np.ndarray:
        finite = (terms.kind == 0) & (terms.significand != 0)
        integers = np.where(finite, terms.significand, 0) << np.where(finite, terms.exponent - grid, 0)
        return np.asarray(np.where(terms.sign == 1, -integers, integers))

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        x = self.staged(inputs[0])
        codes = self.empty(out.n)
        rows, shape = out.n * self.output_shape.h, codes.shape
        totals = np.empty(shape, dtype=self.number)
        staged = np.ascontiguousarray(self._integers(x, self.x_grid).astype(self.number))
        over_rows(loops.product_sums, rows, staged, self.weight, self.stride, self.dilation, (0, 0), self.groups, totals)
        flags, acc, f = self.flags(x, shape), self.room(taps, shape), BINARY32.layout
        last = (totals, self.bias, self.exponents, flags, f, self.unit.finish, codes, acc)
        taps.events[1] += over_rows(float_loops.finish_totals, rows, *last)
        out.inner[...] = codes
        if taps.acc is not None and self.unit.acc_words is None:
            taps.acc[...] = acc
        elif taps.acc is not None:  # the register is wider than what these sums are proven to need
            taps.acc[..., 0], taps.acc[..., 1:] = acc, acc[..., None] >> 63


class WideSumKernel(FloatMacKernel):
    """Sums of any width, in limbs."""

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        limbs = self.unit.register.limbs
        self.bias = np.array([to_limbs(bias, limbs) for bias in self.unit.aligned_bias], dtype=np.int64)
        self.exponents = np.array(self.unit.exponents, dtype=np.int64)
        self.value = self._signed(self.weight_terms)

    @staticmethod
    def _signed(terms: Terms) -> np.ndarray:
        value = np.where(terms.sign == 1, -terms.significand, terms.significand)
        return np.where(terms.kind == 0, value, 0)

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        x, w = self.staged(inputs[0]), self.weight_terms
        codes = self.empty(out.n)
        flags, acc = self.flags(x, codes.shape), self.room(taps, codes.shape, (self.unit.register.words,))
        operands = (self._signed(x), x.exponent, self.value, w.exponent, self.steps)
        last = (self.bias, self.exponents, flags, BINARY32.layout, self.unit.finish, codes, acc)
        taps.events[1] += over_rows(float_loops.limb_sums, out.n * self.output_shape.h, *operands, *last)
        out.inner[...] = codes
        if taps.acc is not None:
            taps.acc[...] = acc[..., 0] if self.unit.acc_words is None else acc


class FloatRegisterKernel(FloatMacKernel):
    """A register that rounds at every add, in the declared order."""

    def __init__(self, layer: Layer, shapes: Sequence[Shape]) -> None:
        super().__init__(layer, shapes)
        register = self.unit.accumulator
        assert register is not None
        schedule, self.register = register.schedule, register
        self.order = self.tap_table(schedule)
        zeros = schedule.skip_zeros
        self.skip = (
            int(schedule.tail is Tail.PACKED),
            int(schedule.padded is PaddedTaps.SKIPPED),
            int(zeros in (ZeroSkip.INPUT, ZeroSkip.EITHER)),
            int(zeros in (ZeroSkip.WEIGHT, ZeroSkip.EITHER)),
        )
        product = register.product or register.format
        self.product = (int(register.product is not None), product.layout, int(register.product_rounding))
        self.bias = np.array(self.unit.bias_codes, dtype=np.int64)
        self.inside = self.pixels()
        self.witness = self.unit.witness
        self.doubles = self._doubles() if rounds_alike(self.unit, register) else None

    def tap_table(self, schedule: Schedule) -> np.ndarray:
        """Return the taps in the declared order, `lanes` to a step, -1 for an idle lane."""
        return np.array(order_of(schedule, self.layer.extents(self.input_shapes[0])), dtype=np.int64)

    def pixels(self) -> np.ndarray:
        """Return which places of an input with its padding are pixels, int64 [H][W]."""
        _, h, w = self.input_shapes[0]
        return np.pad(np.ones((h, w), dtype=np.int64), tuple(zip(*self.padding, strict=True)))

    def _doubles(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the taps (c, r, s) in order, the weights [taps][K] and the biases as float64."""
        w, f = self.weight_terms, self.register.format
        numbers = np.ldexp(np.where(w.sign == 1, -1.0, 1.0) * w.significand, w.exponent)
        taps = np.stack(np.unravel_index(self.order, w.sign.shape[1:]), axis=1).astype(np.int64)
        flat = numbers.reshape(len(numbers), -1)[:, self.order]
        return taps, np.ascontiguousarray(flat.T), f.to_real(self.bias)

    def run(self, inputs: Sequence[Buffer], out: Buffer, taps: Taps) -> None:
        """Compute into `out`."""
        codes = self.empty(out.n)
        taps.shares[2] += codes.size  # whatever adds them: every sum is walked
        acc, todo = self.room(taps, codes.shape), np.empty((0, 0, 0, 0), dtype=np.uint8)
        x, f, rows = self.staged(inputs[0]), self.register.format.layout, out.n * self.output_shape.h
        if self.doubles is not None and not x.kind.any():
            todo = np.empty(codes.shape, dtype=np.uint8)
            taps.events[1] += self._fast(x, codes, acc, todo)
        if not todo.size or todo.any():
            terms = (tuple(x), self.inside, tuple(self.weight_terms))
            rules = (self.steps, self.order, self.skip, self.unit.walk, self.product, self.bias)
            last = (self.witness.exponent, self.witness.limbs, f, self.unit.finish, codes, acc, todo)
            taps.events[:] += over_rows(float_loops.walk_sums, rows, *terms, *rules, *last)
        out.inner[...] = codes
        if taps.acc is not None:
            taps.acc[...] = acc

    def _fast(self, x: Terms, codes: np.ndarray, acc: np.ndarray, todo: np.ndarray) -> np.ndarray:
        """Compute in float64 what that can hold; return the output events, and in `todo` the outputs that are left."""
        assert self.doubles is not None
        taps, weights, bias = self.doubles
        numbers = np.ldexp(np.where(x.sign == 1, -1.0, 1.0) * x.significand, x.exponent)
        operands = (numbers, weights, taps, self.steps, bias, self.unit.walk.bias_last, constants(self.register))
        last = (self.register.format.layout, self.unit.finish, codes, acc, todo)
        return over_rows(double_sums, len(codes) * self.output_shape.h, *operands, *last)
