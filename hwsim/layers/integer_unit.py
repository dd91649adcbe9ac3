"""The integer multiply-accumulate unit of a layer: products, the walk of the accumulator, requantize, and their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwsim.arith.accumulate import accumulate, arrange, total_of, walk
from hwsim.arith.rounding import round_shift
from hwsim.arith.shift_add import shift_add_product
from hwsim.contract.accumulator import PaddedTaps, ZeroSkip
from hwsim.contract.mac import MacContract
from hwsim.contract.resolve import MacNumbers, resolve_mac, split_shift
from hwsim.contract.stochastic import Tail
from hwsim.formats.integer import IntegerFormat
from hwsim.formats.pow2 import PowerOfTwo
from hwsim.layers.base import Bounds, Cell, Events, finish, rounded_range

Extents = tuple[int, int, int]
"""Taps of one output along (c, r, s)."""


@dataclass(frozen=True, eq=False)
class IntegerUnit:
    """A MacContract with its operands: weight codes [K][taps], bias codes [K] or None; kind: of layer, for errors."""

    contract: MacContract
    weight: np.ndarray
    bias: np.ndarray | None
    kind: str

    @property
    def channels(self) -> int:
        """Number of output channels K."""
        return len(self.weight)

    @cached_property
    def fields(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """(negative, exponent, nonzero) of each PowerOfTwo weight, int64 [K][taps]; None for other weights."""
        if not isinstance(self.contract.weight, PowerOfTwo):
            return None
        negative, exponent, nonzero = self.contract.weight.fields(self.weight)
        return negative.astype(np.int64), exponent.astype(np.int64), nonzero.astype(np.int64)

    @cached_property
    def weight_zeros(self) -> np.ndarray:
        """The zero point of each output channel's weights, int64 [K]."""
        fmt = self.contract.weight
        zeros = [fmt.zero(k) for k in range(self.channels)] if isinstance(fmt, IntegerFormat) else [0] * self.channels
        return np.array(zeros, dtype=np.int64)

    @cached_property
    def factors(self) -> np.ndarray | None:
        """factors[k, tap] with product = (x - zero point) * factor, int64; None where a shift-add unit rounds."""
        if self.fields is None:
            return self.weight.astype(np.int64) - self.weight_zeros[:, np.newaxis]
        product = self.contract.product
        assert product is not None and isinstance(self.contract.weight, PowerOfTwo)
        if not product.is_exact(self.contract.weight):
            return None
        negative, exponent, nonzero = self.fields
        return (nonzero << (exponent + product.guard_bits)) * (1 - 2 * negative)

    def product(self, x: int, k: int, tap: int) -> int:
        """Return what the multiplier makes of a code: (x - zx)(w - zw), or the shift-add unit's sum; then rounded, if so said."""
        unit = self.contract.product
        x -= self.contract.input.zero()
        if self.fields is None:
            exact = x * (int(self.weight[k, tap]) - int(self.weight_zeros[k]))
        else:
            assert unit is not None
            negative, exponent, nonzero = (int(field[k, tap]) for field in self.fields)
            exact = shift_add_product(x, negative, exponent, unit.guard_bits, unit.rounding, unit.sign_order) if nonzero else 0
        return int(round_shift(exact, split_shift(self.contract, k)[0], self.contract.accumulator.rounding))

    def products_at(self, x: int | np.ndarray, k: int) -> np.ndarray:
        """products_at(x)[tap] = product(x, k, tap), int64; x: one code for all taps, or int64 [taps]."""
        factors, unit = self.factors, self.contract.product
        x = x - self.contract.input.zero()
        if factors is not None:
            exact = factors[k] * x
        else:
            assert unit is not None and self.fields is not None
            exact = np.zeros(self.weight.shape[1], dtype=np.int64)
            x = np.broadcast_to(x, exact.shape)
            negative, exponent, nonzero = (field[k] for field in self.fields)
            for sign, e in np.unique(np.stack([negative, exponent]), axis=1).T.tolist():
                chosen = (negative == sign) & (exponent == e)
                exact[chosen] = shift_add_product(x[chosen], sign, e, unit.guard_bits, unit.rounding, unit.sign_order)
            exact *= nonzero
        return np.asarray(round_shift(exact, split_shift(self.contract, k)[0], self.contract.accumulator.rounding))

    @cached_property
    def sums(self) -> list[tuple[int, int]]:
        """Per output channel (N, P): bounds of the sum of any of its products, with inputs free in their range.

        Products are monotone in the input. A padded tap is 0, which every format holds, so it changes nothing.
        """
        low, high = self.contract.input.low, self.contract.input.high
        found = []
        for k in range(self.channels):
            ends = self.products_at(low, k), self.products_at(high, k)
            found.append((int(np.minimum(*ends).clip(None, 0).sum()), int(np.maximum(*ends).clip(0, None).sum())))
        return found

    @cached_property
    def numbers(self) -> MacNumbers:
        """The datapath's integers: shifts, aligned biases, limits, proven bounds and the walk."""
        bias = None if self.bias is None else self.bias.tolist()
        return resolve_mac(self.contract, self.sums, bias, self.weight.shape[1], self.kind)

    @cached_property
    def bounds(self) -> Bounds:
        """Where nothing can overflow both ends are reached by some input, if no bit is dropped; elsewhere they may be wider."""
        p = self.numbers
        outputs = []
        for k, (low, high) in enumerate(self.sums):
            content = (p.acc_low, p.acc_high)
            if p.static[k] or p.walk is None:
                exact = ((low << p.step_shift[k]) + p.bias[k], (high << p.step_shift[k]) + p.bias[k])
                content = exact if p.acc_low <= exact[0] and exact[1] <= p.acc_high else content
            outputs.append(rounded_range(content, k, p.epilogue))
        return Bounds((p.exact_low, p.exact_high), (min(low for low, _ in outputs), max(high for _, high in outputs)))

    def cell(self, codes: Sequence[int], padded: Sequence[bool], extents: Extents, k: int, noise: int = 0) -> Cell:
        """One output in plain ints. codes, padded: of the taps in the order (c, r, s); noise: where it draws."""
        products = [self.product(x, k, tap) for tap, x in enumerate(codes)]
        p = self.numbers
        if p.walk is None:
            acc, left = accumulate(total_of(products), p.product_shift[k], p.bias[k], p.acc_bits, p.acc_low, p.acc_high)
            code, event = finish(acc, k, p.epilogue, noise)
            return Cell(code, acc, Events(left, event))
        acc, persistent, tree, accumulator, spill, _ = self.walked(codes, padded, extents, k)
        code, event = finish(acc, k, p.epilogue, noise)
        transient = (0, 0, 0) if persistent else (accumulator, tree, spill)
        return Cell(code, acc, Events(accumulator, event, tree, spill, *transient))

    def walked(
        self, codes: Sequence[int], padded: Sequence[bool], extents: Extents, k: int
    ) -> tuple[int, int, int, int, int, int]:
        """Walk one output in the declared order; see arith.accumulate.walk for what is returned."""
        p, schedule = self.numbers, self.contract.accumulator.schedule
        assert p.walk is not None and schedule is not None
        products = [self.product(x, k, tap) for tap, x in enumerate(codes)]
        skipped = [int(self.skips(x, pad, k, tap)) for tap, (x, pad) in enumerate(zip(codes, padded, strict=True))]
        taps = schedule.table(*extents).ravel().tolist()
        steps = [0] * len(taps)
        count = arrange(products, skipped, taps, schedule.lanes, schedule.tail is Tail.PACKED, steps)
        return walk(steps, count, p.level_bits, p.step_shift[k], p.bias[k], p.walk)

    def skips(self, x: int, padded: bool, k: int, tap: int) -> bool:
        """Return whether the contract leaves a tap out."""
        schedule = self.contract.accumulator.schedule
        assert schedule is not None
        if padded and schedule.padded is PaddedTaps.SKIPPED:
            return True
        by_input = schedule.skip_zeros in (ZeroSkip.INPUT, ZeroSkip.EITHER) and x == self.contract.input.zero()
        return by_input or schedule.skip_zeros in (ZeroSkip.WEIGHT, ZeroSkip.EITHER) and bool(self.zero_weights[k, tap])

    @cached_property
    def zero_weights(self) -> np.ndarray:
        """Which weights stand for real 0, bool [K][taps]."""
        return self.factors == 0 if self.fields is None else self.fields[2] == 0  # type: ignore[return-value]
