"""The parts of a drawn multiply-accumulate layer: its contract, its channels with their weights and biases, and how they meet.

Weights hold +-1 code often, so that any sum can be reached; biases lie at the register's ends, at a tie of the output, at 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from hwsim.arith.rounding import round_shift
from hwsim.contract import FloatMacContract, MacContract, Output
from hwsim.contract.mac import signed_width
from hwsim.contract.scaling import LIMITS
from hwsim.errors import ContractError, InputError
from hwsim.formats import Affine, FixedPoint, Format, IntegerFormat
from hwsim.layers import MacLayer
from hwsim.testing.contract_strategies import NARROWER, contracts_of
from hwsim.testing.corners import corner_codes, extremes, unit_codes, zero_code, zero_codes
from hwsim.testing.strategies import LONG_TILE, any_code, laid_out, one_code
from hwsim.testing.wishes import Wishes, clipped, draw_from

FINE = 1 << 16
BIASES: tuple[Callable[[int, int, int, int, int], int], ...] = (
    lambda low, high, half, least, most: 0,
    lambda low, high, half, least, most: 1,
    lambda low, high, half, least, most: -1,
    lambda low, high, half, least, most: high - most // 2,
    lambda low, high, half, least, most: low - least // 2,
    lambda low, high, half, least, most: high,
    lambda low, high, half, least, most: low,
    lambda low, high, half, least, most: half,
    lambda low, high, half, least, most: -half,
    lambda low, high, half, least, most: high - most // 4,
    lambda low, high, half, least, most: low - least // 4,
)
"""Biases on the accumulator's grid: small ones, the least and the largest that it takes, half a unit of the output, and those
from which the products of the channel, least..most, just reach beyond the register."""

class Weights(Enum):
    """What an array of weights looks like. UNITS: +-1 code and 0.  ALTERNATING: both ends in turn.  POSITIVE: one sign."""

    MIXED = "mixed"
    SPARSE = "sparse"
    UNITS = "units"
    ALTERNATING = "alternating"
    POSITIVE = "positive"
    ENDS = "ends"


@dataclass(frozen=True)
class Given:
    """A contract for one layer. own: drawn for it, so that it may be cut and narrowed; narrower: by how much, None for not."""

    contract: Any
    own: bool = False
    narrower: int | None = None


def given_contract(draw: DrawFn, contract: Any, channels: int | None, taps: int) -> Given:
    """The contract that the caller gave, or one that follows his wishes for a layer of this size."""
    if isinstance(contract, Wishes):
        own = draw(contracts_of(replace(contract, channels=channels, max_taps=taps)))
        return Given(own, True, draw_from(draw, (*NARROWER, None)))
    found = draw(contract) if isinstance(contract, SearchStrategy) else contract
    if not isinstance(found, (MacContract, FloatMacContract)):
        raise InputError(f"contract: found {found!r} drawn from {contract!r}, allowed a MacContract or a FloatMacContract.")
    return Given(found)


# ---- weights and biases


@dataclass(frozen=True)
class Row:
    """One output channel as it is drawn: weight codes of channel 0, and where its bias lies (None: the layer has none)."""

    weight: list[int]
    bias: tuple[int, int] | int | None


def draw_rows(draw: DrawFn, given_for: Given, taps: int, max_channels: int, biased: bool | None) -> list[Row]:
    """Draw output channels: a list, so that shrinking can drop a channel with all that is in it."""
    contract = given_for.contract
    count = None if given_for.own else channels_of(contract)
    least, most = (1, max_channels) if count is None else (count, count)
    kind, long = draw_from(draw, (*Weights, Weights.ENDS, Weights.MIXED)), draw(st.integers(0, 3)) == 3
    given = draw(st.booleans()) if biased is None else biased
    rows = st.builds(Row, _row_weights(contract.weight, taps, kind, long), _bias_places(contract) if given else st.none())
    return draw(st.lists(rows, min_size=least, max_size=most))


def _row_weights(fmt: Format, taps: int, kind: Weights, long: bool) -> SearchStrategy[list[int]]:
    """Codes of one channel: some entries, repeated over the taps, or zeros behind them.

    An entry is drawn alike whatever the kind, so that shrinking can take the simplest kind and keep the entries.
    """
    size = min(taps, LONG_TILE) if long else 1
    entries = st.tuples(st.integers(0, 7), any_code(fmt, 0, True))
    tiles = st.lists(entries, min_size=size, max_size=max(size, 8))

    def laid(tile: list[tuple[int, int]]) -> list[int]:
        made = [_weight(fmt, kind, at, *entry) for at, entry in enumerate(tile)]
        return [made[at % len(made)] if at < len(made) or kind is not Weights.SPARSE else zero_code(fmt) for at in range(taps)]

    return tiles.map(laid)


def _weight(fmt: Format, kind: Weights, at: int, which: int, code: int) -> int:
    """The code of one entry. The ends come before +-1, the farther one first: one tap there is simpler than many taps."""
    (low, high), zero, units = extremes(fmt), zero_code(fmt), unit_codes(fmt)
    if kind is Weights.UNITS:
        choice: tuple[int, ...] = (zero, *units)
    elif kind is Weights.ALTERNATING:
        choice = (zero, *((high, low)[at % 2],) * 5, units[-1], units[0])
    elif kind is Weights.POSITIVE:
        choice = (zero, high, units[0], high)
    elif kind is Weights.ENDS:
        choice = (zero, high, low, high, low, high, low, units[0])
    else:
        corners, far = corner_codes(fmt), (low, high) if low < 0 else (high, low)
        choice = (zero, *far, units[0], units[-1], corners[code % len(corners)], code, code)
    return choice[which % len(choice)]


def _bias_places(contract: Any) -> SearchStrategy[Any]:
    if isinstance(contract, FloatMacContract):
        return one_code(contract.bias_format(1), 0, finite=True)
    return st.tuples(st.integers(0, 2 * len(BIASES)), st.integers(-FINE, FINE))


def channels_of(contract: Any) -> int | None:
    """Return how many output channels a contract tells apart; None where all are alike."""
    fmt, scaling = contract.weight, getattr(contract.output, "scaling", None)
    found = [getattr(fmt, "channels", None), scaling.channels if scaling is not None else None]
    lengths = (getattr(part, "fractional_length", None) for part in (fmt, contract.bias, contract.accumulator))
    found += [len(several) for several in lengths if isinstance(several, tuple)]
    return max((count for count in found if count is not None), default=None)


def cut(contract: Any, channels: int) -> Any:
    """Return the contract of the first so many of the output channels that it tells apart."""
    parts = {name: getattr(contract, name) for name in ("weight", "bias", "accumulator")}
    for name, part in parts.items():
        if isinstance(getattr(part, "fractional_length", None), tuple):
            parts[name] = replace(part, fractional_length=_first(part.fractional_length, channels))
        if isinstance(part, Affine):
            parts[name] = replace(part, scale=_first(part.scale, channels), zero_point=_first(part.zero_point, channels))
    output, scaling = contract.output, getattr(contract.output, "scaling", None)
    if scaling is not None:
        few = replace(scaling, multiplier=_first(scaling.multiplier, channels), shift=_first(scaling.shift, channels))
        output = replace(output, scaling=few)
    return replace(contract, output=output, **parts)


def _first(part: Any, channels: int) -> Any:
    return part[:channels] if isinstance(part, tuple) else part


def built(make: Callable[..., Any], given_for: Given, rows: list[Row], shape: tuple[int, ...]) -> Any:
    """The layer of these channels; its weights are halved until a register that must be proven safe is."""
    contract, narrower = given_for.contract, given_for.narrower
    if given_for.own and (told := channels_of(contract)) is not None and told > len(rows):
        contract = cut(contract, len(rows))
    channels = np.array([row.weight for row in rows])
    weight = laid_out(contract.weight, (len(rows), *shape), channels.ravel().tolist())
    while True:
        try:
            plain = make(contract, weight, None)
            break
        except ContractError as refused:
            zero = zero_codes(contract.weight, weight.shape)
            if (weight == zero).all():
                raise InputError(f"contract: no layer of shape {weight.shape} can have {contract!r}: {refused}") from None
            weight = _halved(weight, zero, contract.weight)
    if narrower is not None and isinstance(contract, MacContract) and not contract.accumulator.require_proof:
        contract = narrowed(contract, plain, narrower)
        plain = make(contract, weight, None)
    if rows[0].bias is None:
        return plain
    biases = [row.bias if isinstance(row.bias, int) else _bias_code(plain, k, *row.bias) for k, row in enumerate(rows)]  # type: ignore
    try:
        return make(contract, weight, np.array(biases, dtype=np.int64))
    except ContractError:  # beyond the largest number of a float register; or no bias leaves a register proven safe
        return make(contract, weight, np.full(len(biases), zero_code(contract.bias_format(plain.channels)), dtype=np.int64))


def narrowed(contract: MacContract, plain: MacLayer, more: int) -> MacContract:
    """Return the contract with registers around what sums of these weights need, so that inputs can make them overflow.

    more: bits that the accumulator has beyond those of any sum; no register is made wider.  The output's grid follows.
    """
    accumulator, schedule, shift = contract.accumulator, contract.accumulator.schedule, plain.numbers.step_shift
    ends = [(low << s, high << s) if s > 0 else (low >> -s, high >> -s) for (low, high), s in zip(plain.sums, shift, strict=True)]
    need = max(max(signed_width(low), signed_width(high)) for low, high in ends)
    less = accumulator.bits - clipped(need + more, 2, accumulator.bits)
    if schedule is not None:
        tree, spill = schedule.tree, schedule.spill
        if tree.bits is not None and tree.overflow is not None:
            wide, used = (max(signed_width(end) for end in ends) for ends in (contract.product_range, _largest_product(plain)))
            tree = replace(tree, bits=tuple(max(2, bits - wide + used) for bits in tree.bits))
        if spill is not None:
            spill = replace(spill, bits=max(2, spill.bits - less))
        schedule = replace(schedule, tree=tree, spill=spill)
    fewer = replace(accumulator, bits=accumulator.bits - less, schedule=schedule)
    return replace(contract, accumulator=fewer, output=_with_less_shift(contract.output, min(plain.numbers.epilogue.shift), less))


def _largest_product(plain: MacLayer) -> tuple[int, int]:
    """The smallest and the largest product of any input with these weights."""
    unit, fmt = plain.integer, plain.contract.input
    found = [unit.products_at(code, k) for code in (fmt.low, fmt.high) for k in range(plain.channels)]
    return min(int(products.min()) for products in found), max(int(products.max()) for products in found)


def _with_less_shift(output: Output, shift: int, less: int) -> Output:
    """The output stage for values that are `less` bits smaller, as far as its shift goes."""
    fewer = min(less, max(shift - 1, 0))
    if output.scaling is None:
        fmt = output.format
        if isinstance(fmt, FixedPoint) and isinstance(fmt.fractional_length, int):
            return replace(output, format=replace(fmt, fractional_length=min(fmt.fractional_length + fewer, 256)))
        return output
    given, least = output.scaling.shift, LIMITS[output.scaling.rule][0]
    if isinstance(given, tuple):
        return replace(output, scaling=replace(output.scaling, shift=tuple(max(s - less, least, 0) for s in given)))
    return replace(output, scaling=replace(output.scaling, shift=max(given - less, least, 0)))


def _halved(weight: np.ndarray, zero: np.ndarray, fmt: Format) -> np.ndarray:
    """Every code halfway to real 0; words of sign and fields are 0 at once."""
    if not isinstance(fmt, IntegerFormat):
        return zero
    apart = weight.astype(np.int64) - zero
    return np.asarray((zero + np.sign(apart) * (np.abs(apart) // 2)).astype(weight.dtype))


def _bias_code(plain: MacLayer, k: int, which: int, part: int) -> int:
    """The bias of a channel: one of BIASES, or `part` of FINE of what the register holds."""
    numbers, contract = plain.numbers, plain.contract
    assert isinstance(contract, MacContract)
    room = (1 << 63) - 1 - max(numbers.exact_high, -numbers.exact_low)
    low, high = max(contract.accumulator.low, -room), min(contract.accumulator.high, room)
    if contract.accumulator.require_proof:
        low, high = max(low, numbers.acc_low - numbers.exact_low), min(high, numbers.acc_high - numbers.exact_high)
    half = 1 << clipped(numbers.epilogue.shift[k] - 1, 0, 62)
    shift = numbers.step_shift[k]
    least, most = (end << shift if shift > 0 else end >> -shift for end in plain.sums[k])
    target = BIASES[which % len(BIASES)](low, high, half, least, most) if which < 2 * len(BIASES) else high * part // FINE
    fmt, finer = contract.bias_format(plain.channels), contract.bias_length(k) - contract.accumulator_length(k)
    return _on_grid(clipped(target, low, high), finer, contract, fmt, (low, high))


def _on_grid(target: int, shift: int, contract: MacContract, fmt: Any, ends: tuple[int, int]) -> int:
    """The bias's code whose value on the accumulator's grid is nearest to the target, and no further than the ends."""
    code = clipped(target >> -shift if shift < 0 else target << shift, fmt.low, fmt.high)
    while code and not ends[0] <= round_shift(code, shift, contract.bias_rounding) <= ends[1]:
        code = code + 1 if code < 0 else code - 1
    return code
