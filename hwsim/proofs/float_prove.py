"""Prove what the registers of a layer with minifloats hold: rounding is monotone, too, so extreme inputs settle it.

An exact sum needs the bits of its weights' and biases' worst case. A float register rounds at every add, and a rounded sum is
monotone in what is added: if neither the largest nor the smallest products carry an add beyond the largest number, no finite
input does; and if they do, they are the witness. The extreme inputs are run: each output channel reads its own, as one group
of a convolution that takes the same taps in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from hwsim.contract.accumulator import BiasPoint, PaddedTaps, Schedule, ZeroSkip
from hwsim.contract.float_mac import FloatMacContract, FloatOutput
from hwsim.contract.mac import signed_width
from hwsim.contract.stochastic import Tail
from hwsim.errors import ContractError
from hwsim.execute.single import run_layer
from hwsim.formats import FixedPoint, Format, Minifloat
from hwsim.layers import Convolution, MacLayer, Shape
from hwsim.layers.float_unit import FloatUnit
from hwsim.proofs.live import live_sets, widest

REGROUPED = "taps are left out, so that the products that meet, and with them the roundings, depend on the output or its input"


@dataclass(frozen=True, eq=False)
class FloatCertificate:
    """What a layer's sums of minifloats can reach, whatever finite numbers it reads.

    low, high: of each channel, the ends of the sum at the accumulator's end, real numbers: of the exact sum, and of a float
    register where it is safe.  bits: int64 [K], of the register that holds an exact sum in any order; None for a float
    register.  declared_bits: what the formats and the number of taps ask for; of a float register, its own.
    safe: bool [K], no add overflows.  headroom: int64 [K], how often the largest content doubles within the largest number,
    negative where an add overflows (then of the exact sum); None for an exact sum.
    tight: one bit less, or the extreme input of a channel that is not safe, has a witness; else `reason` says why it may not.
    """

    name: str
    layer: MacLayer
    shape: Shape
    low: tuple[Fraction, ...]
    high: tuple[Fraction, ...]
    declared_bits: int
    bits: np.ndarray | None
    safe: np.ndarray
    headroom: np.ndarray | None
    tight: bool
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; real numbers as numerator and power of two: 3 * 2**-4 is [3, -4]."""
        return {
            "name": self.name,
            "kind": self.layer.kind,
            "low": [_dyadic(end) for end in self.low],
            "high": [_dyadic(end) for end in self.high],
            "declared": self.declared_bits,
            "bits": None if self.bits is None else self.bits.tolist(),
            "safe": self.safe.tolist(),
            "headroom": None if self.headroom is None else self.headroom.tolist(),
            "tight": self.tight,
            "reason": self.reason,
        }


def _dyadic(value: Fraction) -> list[int]:
    return [value.numerator, 1 - value.denominator.bit_length()]


def prove_float(layer: MacLayer, shape: Shape, name: str | None = None) -> FloatCertificate:
    """certificate = what this layer's sums of minifloats reach, and whether an add can overflow.

    Errors: ContractError where the contract has no minifloat in it.

    >>> from hwsim.contract import FloatAccumulator
    >>> from hwsim.execute.single import Linear
    >>> from hwsim.formats.catalog import BINARY16, E4M3
    >>> contract = FloatMacContract(E4M3, E4M3, FloatOutput(E4M3), FloatAccumulator(BINARY16))
    >>> proof = prove_float(Linear().layer(np.array([[0x38, 0xB8]]), contract), Shape(2, 1, 1))  # weights 1 and -1
    >>> proof.high, proof.safe.tolist(), proof.headroom.tolist()
    ((Fraction(896, 1),), [True], [6])
    """
    unit = layer.unit
    if not isinstance(unit, FloatUnit):
        raise ContractError(
            f"{layer.kind}.contract: found a MacContract, allowed here a FloatMacContract; prove() takes integers."
        )
    layer.output_shape([shape])
    called = layer.kind if name is None else name
    masks = [live.taps for live in widest(live_sets(layer, shape))]
    return (_exact if unit.accumulator is None else _rounded)(layer, unit, shape, masks, called)


def _exact(layer: MacLayer, unit: FloatUnit, shape: Shape, masks: list[np.ndarray], name: str) -> FloatCertificate:
    """An exact sum: its bits in any order, the bias among the others."""
    sums = _exact_sums(unit, masks)
    bias, units = unit.aligned_bias, [Fraction(2) ** e for e in unit.exponents]
    ends = [(low + min(b, 0), high + max(b, 0)) for (low, high), b in zip(sums, bias, strict=True)]
    bits = np.array([max(2, signed_width(low), signed_width(high)) for low, high in ends], dtype=np.int64)
    low, high = (tuple((s[i] + b) * u for s, b, u in zip(sums, bias, units, strict=True)) for i in (0, 1))
    safe = np.ones(len(bits), dtype=bool)
    return FloatCertificate(name, layer, shape, low, high, unit.register.bits, bits, safe, None, True)


def _exact_sums(unit: FloatUnit, masks: list[np.ndarray]) -> list[tuple[int, int]]:
    """Per channel the ends of the exact sum of products, over the outputs' sets of taps."""
    parts = [replace(unit, weight=unit.weight[:, mask]).sums for mask in masks]
    return [(min(low for low, _ in same), max(high for _, high in same)) for same in zip(*parts, strict=True)]


@dataclass(frozen=True, eq=False)
class _Probe:
    """Each channel as a group of its own, which reads the smallest and the largest products of each set of taps in turn."""

    layer: Convolution
    images: np.ndarray

    @classmethod
    def of(cls, layer: MacLayer, unit: FloatUnit, shape: Shape, masks: list[np.ndarray]) -> _Probe:
        """Return the probe of all channels; their taps keep their places (c, r, s), and so their order."""
        low, zero, high = _inputs(unit.contract.input)
        negative = unit.weight_terms.sign.astype(bool)
        ends = (np.where(negative, high, low), np.where(negative, low, high))
        extents = layer.extents(shape)
        images = [np.where(mask, end, zero).reshape(-1, *extents[1:]) for mask in masks for end in ends]
        weight = unit.weight.reshape(-1, *extents)
        contract = replace(unit.contract, output=FloatOutput(unit.contract.accumulator.format))  # type: ignore[union-attr]
        return cls(Convolution(contract, weight, unit.bias, groups=len(weight)), np.stack(images))

    def channel(self, k: int) -> _Probe:
        """Return one channel's."""
        layer, c = self.layer, self.layer.weight.shape[1]
        bias = None if layer.bias is None else layer.bias[k : k + 1]
        alone = Convolution(_of_channel(layer.contract, k), layer.weight[k : k + 1], bias)  # type: ignore[arg-type]
        return _Probe(alone, self.images[:, k * c : (k + 1) * c])

    def overflows(self) -> np.ndarray:
        """Return the channels in which an add overflows, bool [K]."""
        events = run_layer(self.layer, self.images, acc=False).events
        if self.layer.channels == 1 or not events.accumulator + events.tree:
            return np.full(self.layer.channels, events.accumulator + events.tree > 0)
        return np.concatenate([self.channel(k).overflows() for k in range(self.layer.channels)])

    def ends(self) -> list[tuple[Fraction, Fraction]]:
        """Return what the register ends with, by channel; 0 where that is no number."""
        acc = run_layer(self.layer, self.images).acc
        assert acc is not None
        fmt = self.layer.contract.accumulator.format  # type: ignore[union-attr]
        reals = [[fmt.decode(code) for code in codes] for codes in acc.reshape(len(acc), -1).T.tolist()]
        finite = [[value if isinstance(value, Fraction) else Fraction(0) for value in line] for line in reals]
        return [(min(line), max(line)) for line in finite]

    def without_bias(self) -> _Probe:
        """Return what is summed before a bias that comes last."""
        return replace(self, layer=replace(self.layer, bias=None))


def _inputs(fmt: FixedPoint | Minifloat) -> tuple[int, int, int]:
    """(smallest, zero, largest) of the finite codes, by what they stand for."""
    if isinstance(fmt, FixedPoint):
        return fmt.low, 0, fmt.high
    f = fmt.layout
    return f.largest | 1 << f.sign_shift, f.zero, f.largest


def _of_channel(contract: FloatMacContract, k: int) -> FloatMacContract:
    """The contract with channel k's grids alone."""
    weight, bias = (_of_one(fmt, k) for fmt in (contract.weight, contract.bias))
    return replace(contract, weight=weight, bias=bias)  # type: ignore[arg-type]


def _of_one(fmt: Format | None, k: int) -> Format | None:
    return replace(fmt, fractional_length=fmt.fl(k)) if isinstance(fmt, FixedPoint) and fmt.per_channel else fmt


def _rounded(layer: MacLayer, unit: FloatUnit, shape: Shape, masks: list[np.ndarray], name: str) -> FloatCertificate:
    """A float register: the extreme inputs, run."""
    register = unit.accumulator
    assert register is not None
    probe = _Probe.of(layer, unit, shape, masks)
    safe, largest = ~probe.overflows(), register.format.largest
    bias = [Fraction(register.format.decode(code)) for code in unit.bias_codes]
    units = [Fraction(2) ** e for e in unit.exponents]
    sums = [(n * u, p * u) for (n, p), u in zip(_exact_sums(unit, masks), units, strict=True)]
    loose = _regroups(register.schedule, masks)
    if loose:
        safe &= [_holds(max(-n, p) + abs(b), unit) for (n, p), b in zip(sums, bias, strict=True)]
    ends, before, headroom = [], probe.without_bias().ends(), []
    for k, ran in enumerate(probe.ends()):
        exact = (sums[k][0] + bias[k], sums[k][1] + bias[k])
        reached = (*ran, bias[k], *(before[k] if register.schedule.bias is BiasPoint.LAST else ()))
        most = max(map(abs, reached if safe[k] else (*exact, *sums[k], bias[k])))
        ends.append(ran if safe[k] and not loose else exact)
        headroom.append(_doublings(most, largest) if safe[k] else min(-1, _doublings(most, largest)))
    return FloatCertificate(
        name, layer, shape, tuple(e[0] for e in ends), tuple(e[1] for e in ends), register.format.bits, None, safe,
        np.array(headroom, dtype=np.int64), not loose, REGROUPED if loose else None,
    )  # fmt: skip


def _regroups(schedule: Schedule, masks: list[np.ndarray]) -> bool:
    """Whether the products that meet in a tree depend on more than the weights."""
    by_place = schedule.padded is PaddedTaps.SKIPPED and not all(mask.all() for mask in masks)
    by_input = schedule.skip_zeros in (ZeroSkip.INPUT, ZeroSkip.EITHER)
    return schedule.lanes > 1 and schedule.tail is Tail.PACKED and (by_place or by_input)


def _holds(most: Fraction, unit: FloatUnit) -> bool:
    """Whether sums up to `most` fit, however they are grouped: each of n roundings adds a share 2**-man_bits at most.

    (1 + u)**n <= 1 / (1 - n u); below the normal numbers a rounding adds less than the smallest of them.
    """
    register = unit.accumulator
    assert register is not None
    formats = [register.format] + ([register.product] if register.product is not None else [])
    count = 4 * unit.weight.shape[1]  # product, levels of the tree with idle lanes, register, bias
    share = 1 - sum(count * Fraction(1, 1 << f.man_bits) for f in formats)
    slack = sum(count * f.smallest_normal for f in formats)
    return share > 0 and most + slack <= register.format.largest * share


def _doublings(most: Fraction, largest: Fraction) -> int:
    """How often `most` doubles within `largest`, negative where it does not fit; of 0, as often as from one unit of it."""
    if most == 0:
        return largest.numerator.bit_length() + largest.denominator.bit_length() - 2
    ratio = largest / most
    estimate = ratio.numerator.bit_length() - ratio.denominator.bit_length()
    return estimate if Fraction(2) ** estimate <= ratio else estimate - 1
