"""The multiply-accumulate unit with a minifloat in it: exact products, then an exact sum or a float register in order.

What the contract leaves open, and every backend keeps to:

* Products are exact. Fixed-point zeros and zeros of powers of two are +0; so are a padded tap's input, an idle lane and a
  skipped tap.
* The bias is rounded once, by bias_rounding, to the exact sum's grid or to the register's format; none is +0.
* An exact sum lies on the product's grid (per channel where the weights' is) and has one zero, +0. Its register is as wide as
  the formats, the number of taps and the biases at hand ask for. A NaN or an infinity among its products decides the output
  as it would a float's: NaN, or infinity where all infinite products agree; the register holds the sum of the others.
* An event of a float register is an add whose finite exact result rounds beyond the largest number. It is transient if the
  exact sum of all unrounded products and the bias rounds to a finite number of the register's format.
* Weights and biases are finite; inputs may be what the layer before made of an overflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from hwsim.arith import float_finish
from hwsim.arith.accumulate import arrange
from hwsim.arith.exact_sum import Register, Span, fixed_span, float_span, power_span, register_of, to_words
from hwsim.arith.float_walk import FloatWalk, float_walk, multiply_terms, round_term, unpack_term
from hwsim.arith.minifloat import cast_float, float_from_fixed, infinity_code, is_infinite, is_nan, nan_code, round_pack, unpack
from hwsim.arith.rounding import round_shift
from hwsim.contract.accumulator import BiasPoint, PaddedTaps, Schedule, ZeroSkip
from hwsim.contract.float_mac import FloatAccumulator, FloatMacContract
from hwsim.contract.stochastic import Tail
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint, Format, Minifloat, PowerOfTwo
from hwsim.formats.catalog import BINARY32
from hwsim.layers.base import Bounds, Cell, Events, Range
from hwsim.layers.float_output import finish_rule
from hwsim.layers.integer_unit import Extents

Term = tuple[int, int, int, int]
"""(sign, significand, exponent, kind): see arith.float_walk."""
ZERO: Term = (0, 0, 0, 0)


class Terms(NamedTuple):
    """Operands as terms, four int64 arrays of one shape."""

    sign: np.ndarray
    significand: np.ndarray
    exponent: np.ndarray
    kind: np.ndarray


def terms_of(codes: np.ndarray, fmt: Format) -> Terms:
    """Return what codes stand for; the channels of a per-channel format lie on the first axis."""
    if isinstance(fmt, Minifloat):
        wide = codes.astype(np.int64)
        kind = is_infinite(wide, fmt.layout) * 1 + is_nan(wide, fmt.layout) * 2
        sign, significand, exponent = unpack(wide, fmt.layout)
        return Terms(sign, significand, exponent, kind.astype(np.int64))
    if isinstance(fmt, PowerOfTwo):
        negative, exponent, nonzero = (field.astype(np.int64) for field in fmt.fields(codes))
        return Terms(negative, nonzero, exponent, np.zeros_like(negative))
    wide = codes.astype(np.int64)
    lengths = np.array([fmt.fl(k) for k in range(len(codes))] if fmt.per_channel else [fmt.fl()], dtype=np.int64)
    exponent = np.broadcast_to(-lengths.reshape(-1, *[1] * (codes.ndim - 1)), codes.shape)
    return Terms((wide < 0).astype(np.int64), np.abs(wide), np.ascontiguousarray(exponent), np.zeros_like(wide))


def span_of(fmt: Format, channel: int = 0) -> Span:
    """Return the span of a format's numbers."""
    if isinstance(fmt, Minifloat):
        return float_span(fmt.layout)
    if isinstance(fmt, PowerOfTwo):
        return power_span(fmt.exp_min, fmt.exp_max)
    return fixed_span(fmt.fl(channel), fmt.low, fmt.high)


def check_finite(name: str, codes: np.ndarray, fmt: Format) -> None:
    """Refuse NaN and infinity among codes, with the position of the first."""
    if not isinstance(fmt, Minifloat):
        return
    kind = terms_of(codes, fmt).kind
    if kind.any():
        where = tuple(int(i) for i in np.argwhere(kind)[0])
        what = "NaN" if kind[where] == 2 else "infinity"
        raise ContractError(f"{name}: found {what} (code {codes[where]:#x}) at position {where}, allowed are finite numbers.")


@lru_cache(maxsize=256)
def order_of(schedule: Schedule, extents: Extents) -> tuple[int, ...]:
    """Return the schedule's table of taps, flat."""
    return tuple(schedule.table(*extents).ravel().tolist())


@dataclass(frozen=True, eq=False)
class FloatUnit:
    """A FloatMacContract with its operands: weight codes [K][taps], bias codes [K] or None; kind: of layer, for errors."""

    contract: FloatMacContract
    weight: np.ndarray
    bias: np.ndarray | None
    kind: str

    def __post_init__(self) -> None:
        if self.bias is not None:
            check_finite(f"{self.kind}.bias", self.bias, self.contract.bias_format(self.channels))
        if self.accumulator is None:
            self.register  # noqa: B018  refuse now what cannot be resolved
        else:
            self.bias_codes  # noqa: B018

    @property
    def channels(self) -> int:
        """Number of output channels K."""
        return len(self.weight)

    @property
    def accumulator(self) -> FloatAccumulator | None:
        """The float register, or None for an exact sum."""
        return self.contract.accumulator if isinstance(self.contract.accumulator, FloatAccumulator) else None

    @cached_property
    def weight_terms(self) -> Terms:
        """The weights as terms, [K][taps]."""
        return terms_of(self.weight, self.contract.weight)

    @cached_property
    def finish(self) -> float_finish.FloatFinish:
        """The output stage as plain ints."""
        return finish_rule(self.contract.output)

    # ---- the exact sum

    @property
    def exponents(self) -> tuple[int, ...]:
        """The product's grid of each channel: its last bit means 2**exponent."""
        x = span_of(self.contract.input).exponent
        return tuple(x + span_of(self.contract.weight, k).exponent for k in range(self.channels))

    @cached_property
    def aligned_bias(self) -> tuple[int, ...]:
        """The biases on the exact sum's grids, rounded by bias_rounding where they are finer."""
        if self.bias is None:
            return (0,) * self.channels
        terms = terms_of(self.bias, self.contract.bias_format(self.channels))
        mode = self.contract.bias_rounding
        found = []
        for k, exponent in enumerate(self.exponents):
            sign, significand, at = int(terms.sign[k]), int(terms.significand[k]), int(terms.exponent[k])
            shift = min(exponent - at, significand.bit_length() + 2)  # what lies further down rounds alike
            found.append(round_shift(-significand if sign else significand, shift, mode))
        return tuple(found)

    @cached_property
    def register(self) -> Register:
        """The exact sum's register: of the widest channel, on the grid of channel 0 (`exponents` has the others)."""
        x, most = span_of(self.contract.input), 0
        for k in range(self.channels):
            w = span_of(self.contract.weight, k)
            most = max(most, register_of(x, w, self.weight.shape[1], abs(self.aligned_bias[k])).bits)
        return Register(self.exponents[0], most)

    @cached_property
    def sums(self) -> list[Range]:
        """Per channel (N, P): bounds of the sum of any of its products on the channel's grid, with inputs free and finite."""
        x, w = self.contract.input, self.weight_terms
        low, high = (x.low, x.high) if isinstance(x, FixedPoint) else (-span_of(x).largest, span_of(x).largest)
        found = []
        for k in range(self.channels):
            at = np.where(w.significand[k], w.exponent[k] - span_of(self.contract.weight, k).exponent, 0)
            positive, negative = (_scaled_sum(w.significand[k] * (w.sign[k] == sign), at) for sign in (0, 1))
            found.append((positive * low - negative * high, positive * high - negative * low))
        return found

    @property
    def proven_bits(self) -> int:
        """Bits that the exact sum is proven to need with these weights and biases, whatever the finite input."""
        most = max(max(-low, high) + abs(bias) for (low, high), bias in zip(self.sums, self.aligned_bias, strict=True))
        return most.bit_length() + 1

    # ---- the float register

    @cached_property
    def bias_codes(self) -> tuple[int, ...]:
        """The biases in the float register's format, rounded by bias_rounding."""
        assert self.accumulator is not None
        f, mode = self.accumulator.format.layout, self.contract.bias_rounding
        if self.bias is None:
            return (f.zero,) * self.channels
        fmt, found = self.contract.bias_format(self.channels), []
        for k, code in enumerate(self.bias.tolist()):
            if isinstance(fmt, Minifloat):
                made, event = cast_float(code, fmt.layout, f, mode)
            else:
                made, event = float_from_fixed(code, fmt.fl(k), f, mode)
            if event:
                raise ContractError(
                    f"{self.kind}.bias: found code {code} at position ({k},), beyond the largest number of the accumulator's "
                    f"format {self.accumulator.format}; give the accumulator more exponent bits."
                )
            found.append(made)
        return tuple(found)

    @cached_property
    def walk(self) -> FloatWalk:
        """The declared order's rules as plain ints."""
        assert self.accumulator is not None
        schedule = self.accumulator.schedule
        return FloatWalk(
            lanes=int(schedule.lanes),
            pairing=int(schedule.tree.pairing),
            mode=int(self.accumulator.rounding),
            bias_last=int(schedule.bias is BiasPoint.LAST),
        )

    @cached_property
    def witness(self) -> Register:
        """A register that holds every unrounded sum, biases included, of all channels."""
        assert self.accumulator is not None
        x, f = span_of(self.contract.input), self.accumulator.format
        widest = Register(0, 1)
        least = min((int(e) for m, e in self._bias_parts if m), default=0)
        finest = min(min(self.exponents), least)
        for k in range(self.channels):
            w = span_of(self.contract.weight, k)
            most = span_of(f).largest << max(span_of(f).exponent - finest, 0)
            found = register_of(x, w, self.weight.shape[1], most, finest)
            widest = max(widest, found, key=lambda r: r.bits)
        return Register(finest, widest.bits)

    @property
    def _bias_parts(self) -> list[tuple[int, int]]:
        """(significand, exponent) of each bias in the register's format."""
        assert self.accumulator is not None
        return [unpack(code, self.accumulator.format.layout)[1:] for code in self.bias_codes]

    # ---- one output

    def operand(self, code: int, padded: bool) -> Term:
        """Return the term of an input code."""
        fmt = self.contract.input
        if padded:
            return ZERO
        if isinstance(fmt, Minifloat):
            return unpack_term(code, fmt.layout)
        return int(code < 0), abs(code), -fmt.fl(), 0

    def weight_term(self, k: int, tap: int) -> Term:
        """Return the term of a weight."""
        sign, significand, exponent, kind = (int(part[k, tap]) for part in self.weight_terms)
        return sign, significand, exponent, kind

    def skips(self, x: Term, padded: bool, w: Term) -> bool:
        """Return whether the contract leaves a tap out; both zeros are zero."""
        if self.accumulator is None:
            return False
        schedule = self.accumulator.schedule
        if padded and schedule.padded is PaddedTaps.SKIPPED:
            return True
        by_input = schedule.skip_zeros in (ZeroSkip.INPUT, ZeroSkip.EITHER) and x[1] == 0 and x[3] == 0
        return by_input or schedule.skip_zeros in (ZeroSkip.WEIGHT, ZeroSkip.EITHER) and w[1] == 0

    def cell(self, codes: Sequence[int], padded: Sequence[bool], extents: Extents, k: int) -> Cell:
        """One output in plain ints. codes, padded: of the taps in the order (c, r, s)."""
        products, skipped = [], []
        for tap, (code, pad) in enumerate(zip(codes, padded, strict=True)):
            x, w = self.operand(code, pad), self.weight_term(k, tap)
            skipped.append(self.skips(x, pad, w))
            products.append(ZERO if skipped[-1] else multiply_terms(*x, *w))
        if self.accumulator is None:
            return self._summed(products, k)
        return self._walked(products, skipped, extents, k, self.accumulator)

    def _summed(self, products: list[Term], k: int) -> Cell:
        """The exact sum, rounded once."""
        exponent = self.exponents[k]
        acc = self.aligned_bias[k] + exact_sum(products, exponent)
        special = special_of(products)
        if special is None:
            code, event = float_finish.finish_exact(int(acc < 0), abs(acc), exponent, 0, self.finish)
        else:
            code, event = float_finish.finish_code(special, BINARY32.layout, self.finish)
        return Cell(code, acc, Events(0, event))

    def _walked(self, products: list[Term], skipped: list[bool], extents: Extents, k: int, register: FloatAccumulator) -> Cell:
        """The float register after the declared order."""
        f, schedule = register.format.layout, register.schedule
        entering, at_product = self._entering(products, register)
        taps = order_of(schedule, extents)
        lanes = [0] * len(taps)
        terms = [0 if skip else tap + 1 for tap, skip in enumerate(skipped)]
        count = arrange(terms, skipped, taps, schedule.lanes, schedule.tail is Tail.PACKED, lanes)
        sign, significand, exponent, kind = (list(part) for part in zip(ZERO, *entering, strict=True))
        held, bias = [0] * schedule.lanes, self.bias_codes[k]
        acc, at_tree, at_accumulator = float_walk(lanes, count, sign, significand, exponent, kind, held, bias, self.walk, f)
        at_tree += at_product
        code, event = float_finish.finish_code(acc, f, self.finish)
        fits = bool(at_tree + at_accumulator) and self._fits(products, k, register)
        return Cell(code, acc, Events(at_accumulator, event, at_tree, 0, at_accumulator * fits, at_tree * fits, 0))

    @staticmethod
    def _entering(products: list[Term], register: FloatAccumulator) -> tuple[list[Term], int]:
        """Return the products as they enter the sum, rounded where the contract says, and the events of that."""
        if register.product is None:
            return products, 0
        f, events, entering = register.product.layout, 0, []
        for product in products:
            code, event = round_term(*product, f, register.product_rounding)
            entering.append(unpack_term(code, f))
            events += event
        return entering, events

    def _fits(self, products: list[Term], k: int, register: FloatAccumulator) -> bool:
        """Return whether the exact sum with the bias rounds to a finite number of the register's format."""
        if any(kind for _, _, _, kind in products):
            return False
        bias = unpack_term(self.bias_codes[k], register.format.layout)
        total, grid = exact_sum([*products, bias], self.witness.exponent), self.witness.exponent
        event = round_pack(int(total < 0), abs(total), grid, register.rounding, register.format.layout)[1]
        return not event

    # ---- the accumulator in a trace

    @property
    def acc_dtype(self) -> np.dtype:
        """Type of a trace's accumulators: the codes' of a float register, else int64."""
        return np.dtype(np.int64) if self.accumulator is None else self.accumulator.format.dtype

    @property
    def acc_words(self) -> int | None:
        """Length of the last axis of a trace's accumulators: words of an exact sum beyond 64 bits, little end first."""
        return None if self.accumulator is not None or self.register.bits <= 64 else self.register.words

    def acc_entry(self, acc: int) -> int | list[int]:
        """Return an accumulator as a trace holds it: itself, or its words."""
        return acc if self.acc_words is None else to_words(acc, self.acc_words)

    def acc_reals(self, acc: np.ndarray) -> np.ndarray:
        """Return the float64 values, nearly, of a trace's accumulators, [N][K][H][W] and perhaps words."""
        if self.accumulator is not None:
            return self.accumulator.format.to_real(acc)
        exponents = np.array(self.exponents).reshape(1, -1, 1, 1)
        if self.acc_words is None:
            return np.asarray(np.ldexp(acc.astype(np.float64), exponents))
        negative = acc[..., -1:] < 0
        words = np.where(negative, ~acc, acc).astype(np.uint64).astype(np.float64)  # ~acc = -acc - 1: no cancelling words
        magnitude = sum(np.ldexp(words[..., i], 64 * i + exponents) for i in range(self.acc_words))
        return np.asarray(np.where(negative[..., 0], -magnitude, magnitude))

    @property
    def bounds(self) -> Bounds:
        """The exact sum's range, None for a float register; at the output, whatever its words hold."""
        fmt = self.contract.output.format
        if self.accumulator is not None:
            return Bounds(None, (fmt.low, fmt.high))
        low = min(n + b for (n, _), b in zip(self.sums, self.aligned_bias, strict=True))
        high = max(p + b for (_, p), b in zip(self.sums, self.aligned_bias, strict=True))
        return Bounds((low, high), (fmt.low, fmt.high))


def _scaled_sum(significand: np.ndarray, shift: np.ndarray) -> int:
    """Return the sum of significand << shift; float64 holds each exponent's part, below 2**24 * 2**28."""
    parts = np.bincount(shift, weights=significand.astype(np.float64))
    return sum(int(part) << i for i, part in enumerate(parts.tolist()))


def exact_sum(terms: list[Term], exponent: int) -> int:
    """Return the sum of the finite terms in units of 2**exponent, none of which is finer."""
    total = 0
    for sign, significand, at, kind in terms:
        if significand and not kind:
            total += (-significand if sign else significand) << (at - exponent)
    return total


def special_of(terms: list[Term]) -> int | None:
    """Return the binary32 code of what NaN and infinite terms sum to, None where all are finite."""
    signs = {sign for sign, _, _, kind in terms if kind == 1}
    if any(kind == 2 for *_, kind in terms) or len(signs) == 2:
        return int(nan_code(BINARY32.layout))
    return int(infinity_code(signs.pop(), BINARY32.layout)) if signs else None
