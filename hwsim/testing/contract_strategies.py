"""Hypothesis strategies of accumulators and whole numeric contracts: everything that the constructors take, nothing they refuse.

Registers are drawn around the width that their sums need, so that most of them can overflow; every limit of
contract/resolve.py is kept by construction, for any weights and at most `max_taps` of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from hwsim.arith.accumulate import Pairing
from hwsim.arith.lfsr import Alignment, LfsrForm
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.arith.shift_add import SignOrder
from hwsim.contract import (
    Accumulator,
    Activation,
    Axis,
    BiasPoint,
    DrawOrder,
    FloatMacContract,
    Lfsr,
    MacContract,
    Multiplier,
    Order,
    Output,
    PaddedTaps,
    Reset,
    RoundAt,
    Schedule,
    ShiftAdd,
    Spill,
    StochasticRounding,
    Tail,
    Tree,
    ZeroSkip,
)
from hwsim.contract.accumulator import MAX_TREE_BITS
from hwsim.contract.mac import MAX_OPERAND_BITS, ROUNDINGS, operand_range, real_step, signed_width
from hwsim.contract.scaling import LIMITS
from hwsim.formats import Affine, FixedPoint, Minifloat, PowerOfTwo
from hwsim.testing.bounds import check_bounds, check_int
from hwsim.testing.float_contracts import float_contract
from hwsim.testing.strategies import (
    Product,
    affine_formats,
    fixed_formats,
    pow2_formats,
    some_bits,
    zero_points,
)
from hwsim.testing.wishes import MAX_TAPS, Wishes, clipped, draw_from, register_wishes, wishes_of

MULTIPLIER_BITS = {Scaling.HIGH_MULTIPLY: 31, Scaling.FLOAT32: 24, Scaling.FLOAT64: 53}
VALUE_BITS = {Scaling.MULTIPLY: 60, Scaling.HIGH_MULTIPLY: 32, Scaling.DOUBLE_ROUND: 60, Scaling.FLOAT32: 64, Scaling.FLOAT64: 37}
"""Widest accumulator whose values a rule of scaling takes with a multiplier of at least 3 bits."""

NARROWER = (-1, 0, -2, 1, -1, -3, -5)
"""How much wider than a usual sum a register is drawn; the simplest overflows by a single product."""

@dataclass(frozen=True)
class Sums:
    """What the accumulator has to hold: widths of one product, of a usual sum and of the largest one, and the products' grids."""

    product_bits: int
    usual_bits: int
    most_bits: int
    grids: tuple[int, ...] = (0,)

    @property
    def spread(self) -> int:
        """By how many bits the channels' grids differ."""
        return max(self.grids) - min(self.grids)


def accumulators(
    min_bits: int = 2,
    max_bits: int = 64,
    *,
    overflow: Iterable[Overflow] | None = None,
    roundings: Iterable[Rounding] | None = None,
    scheduled: bool | None = None,
    max_lanes: int = 4,
) -> SearchStrategy[Accumulator]:
    """Registers of min_bits..max_bits: with and without a declared order, trees, spills, dropped bits and own grids.

    overflow: modes of all registers, None for all but TRAP.  roundings: None for all.  scheduled: whether an order is declared,
    None for both; only Overflow.WRAP does without.  Shrinks to few bits, WRAP, no order.

    >>> accumulators(scheduled=False, overflow=[Overflow.SATURATE])
    Traceback (most recent call last):
    ...
    hwsim.errors.InputError: accumulators: found scheduled=False with overflow SATURATE, allowed is WRAP, the only mode whose \
result no order decides.
    """
    check_bounds("accumulators", "bits", min_bits, max_bits, 2, 64)
    wishes = register_wishes("accumulators", overflow, roundings, scheduled, max_lanes)
    return _free_accumulators(min_bits, max_bits, wishes)


@st.composite
def _free_accumulators(draw: DrawFn, low: int, high: int, wishes: Wishes) -> Accumulator:
    bits = draw(some_bits(low, high))
    made = _accumulator(draw, wishes, Sums(clipped(bits - 2, 2, 16), bits, 48), bits)
    return made


def contracts(
    min_bits: int = 2,
    max_bits: int = MAX_OPERAND_BITS,
    *,
    products: Iterable[Product] | None = None,
    overflow: Iterable[Overflow] | None = None,
    roundings: Iterable[Rounding] | None = None,
    scheduled: bool | None = None,
    stochastic: bool = True,
    max_lanes: int = 4,
    max_taps: int = 64,
    channels: int | None = None,
    input: FixedPoint | Affine | Minifloat | None = None,
) -> SearchStrategy[MacContract | FloatMacContract]:
    """Contracts of a multiply-accumulate unit, which any layer of at most max_taps taps can have.

    min_bits, max_bits: of the operands.  products: what multiplies, None for all.  overflow: modes of all registers and of the
    output, None for all but TRAP, which ends a run with an error.  roundings: modes everywhere, None for all; a rule of scaling
    that takes ties only keeps to its own where none of them is left.  scheduled: whether the order is declared.
    stochastic: whether outputs may be rounded by noise.  channels: formats and multipliers may differ between so many output
    channels; None: they do not.  input: the input's format, given.
    Shrinks to small fixed point, no declared order, default modes.

    >>> from hwsim.formats.catalog import E4M3
    >>> contracts(products=[Product.FIXED], input=E4M3)
    Traceback (most recent call last):
    ...
    hwsim.errors.InputError: contracts: found input=E4M3 bias 7 FN with products FIXED, which take no such format; \
allowed is one that they take.
    """
    check_int("contracts: max_taps", max_taps, 1, MAX_TAPS)
    if channels is not None:
        check_int("contracts: channels", channels, 1, 4096)
    wishes = wishes_of("contracts", min_bits, max_bits, products, overflow, roundings, scheduled, max_lanes, input)
    return contracts_of(replace(wishes, max_taps=max_taps, channels=channels, stochastic=stochastic))


@st.composite
def contracts_of(draw: DrawFn, wishes: Wishes) -> MacContract | FloatMacContract:
    """Contracts of checked wishes."""
    product = draw_from(draw, wishes.products)
    return float_contract(draw, wishes) if product is Product.FLOAT else _integer_contract(draw, wishes, product)


def _integer_contract(draw: DrawFn, wishes: Wishes, product: Product) -> MacContract:
    x, weight, unit = _operands(draw, wishes, product)
    sums = _sums(draw, wishes, x, weight, unit)
    accumulator = _accumulator(draw, wishes, sums, None)
    lengths = _lengths(accumulator, sums)
    output = _output(draw, wishes, accumulator.bits, lengths, _plain_output(x, weight))
    bias = _own_bias(draw, accumulator.bits, lengths) if wishes.own_bias and draw(st.integers(0, 3)) == 3 else None
    rounding = draw_from(draw, wishes.roundings)
    made = MacContract(x, weight, output, accumulator, bias, rounding, unit)
    return _with_exact_tree(draw, made)


def _own_bias(draw: DrawFn, bits: int, lengths: tuple[int, ...]) -> FixedPoint:
    """A bias on a grid a little coarser or finer than the accumulator's, alike for all channels or not."""
    finer, several = draw(st.integers(-3, 6)), draw(st.booleans())
    grid = tuple(own + finer for own in lengths) if several and len(lengths) > 1 else max(lengths) + finer
    return FixedPoint(draw(st.integers(2, min(bits, 62))), grid, draw(st.sampled_from((True, False))))


def _operands(draw: DrawFn, wishes: Wishes, product: Product) -> tuple[Any, Any, ShiftAdd | None]:
    bounds = (wishes.min_bits, wishes.max_bits)
    fixed, several = fixed_formats(*bounds), fixed_formats(*bounds, channels=wishes.channels)
    if product is Product.FIXED:
        return wishes.input or draw(fixed), draw(several), None
    if product is Product.AFFINE:
        return _affine_operands(draw, wishes)
    x = wishes.input or draw(fixed)
    assert isinstance(x, FixedPoint)
    weight = draw(pow2_formats(max_bits=clipped(wishes.max_bits, 1, 8)))
    if draw(st.booleans()):
        unit = ShiftAdd(draw(st.integers(0, 8)), draw_from(draw, wishes.roundings), draw_from(draw, SignOrder))
        return x, weight, unit
    return x, weight, ShiftAdd(max(0, -weight.exp_min))


def _affine_operands(draw: DrawFn, wishes: Wishes) -> tuple[Any, Any, None]:
    """Both affine; or one of them fixed point, of integers, beside an affine one."""
    bounds = (wishes.min_bits, wishes.max_bits)
    integers = fixed_formats(*bounds, min_fractional_length=0, max_fractional_length=0)
    affine = affine_formats(*bounds, narrow=None)
    which = draw(st.integers(0, 4))
    x = wishes.input or draw(integers if which == 3 else affine)
    mixed = which == 4 and isinstance(x, Affine)
    weight = draw(integers if mixed else affine_formats(*bounds, narrow=None, channels=wishes.channels))
    return x, weight, None


def _sums(draw: DrawFn, wishes: Wishes, x: Any, weight: Any, unit: ShiftAdd | None) -> Sums:
    if isinstance(weight, PowerOfTwo):
        assert unit is not None
        low, high = unit.bounds(x, weight)
        grids: tuple[int, ...] = (x.fl() + unit.guard_bits,)
    else:
        corners = [a * b for a in operand_range(x) for b in operand_range(weight)]
        low, high = min(0, *corners), max(0, *corners)
        grids = tuple(x.fl() + weight.fl(k) for k in range((wishes.channels or 1) if weight.per_channel else 1))
    taps, size = draw(st.integers(1, wishes.max_taps)), max(-low, high)
    return Sums(signed_width(size), signed_width(size * taps), signed_width(size * wishes.max_taps), grids)


def _lengths(accumulator: Accumulator, sums: Sums) -> tuple[int, ...]:
    """The accumulator's fractional length of each channel that is told apart."""
    if accumulator.fractional_length is None:
        return tuple(grid - accumulator.dropped_bits for grid in sums.grids)
    declared = accumulator.fractional_length
    return declared if isinstance(declared, tuple) else (declared,)


def _accumulator(draw: DrawFn, wishes: Wishes, sums: Sums, bits: int | None) -> Accumulator:
    """A register around the width that the sums need; bits: given."""
    scheduled = draw_from(draw, wishes.scheduled)
    room = clipped(62 - sums.most_bits - sums.spread, 0, 62)
    finer, dropped, declared = 0, 0, draw(st.integers(0, 3)) == 3
    if declared:
        least = -4 if scheduled else 0
        finer = draw(st.one_of(st.integers(least, min(6, room)), st.integers(least, room)))
    elif scheduled and draw(st.integers(0, 3)) == 3:
        dropped = draw(st.integers(1, 6))
    shift = max(finer, 0) + sums.spread
    safe = clipped(sums.most_bits + shift + 2, 2, 64)
    if bits is None:
        near = clipped(sums.usual_bits + finer - dropped + draw_from(draw, NARROWER), 2, 64)
        bits = draw_from(draw, (near,) * 6 + (safe, draw(st.integers(2, 64))))
    overflow = draw_from(draw, wishes.overflow) if scheduled else Overflow.WRAP
    proof = bits >= sums.most_bits + shift + 2 and draw(st.booleans())
    schedule = _schedule(draw, wishes, sums.product_bits, bits, shift, proof) if scheduled else None
    grid: int | tuple[int, ...] | None = max(sums.grids) + finer if declared else None
    if declared and len(sums.grids) > 1 and draw(st.booleans()):
        grid = tuple(own + finer for own in sums.grids)
    rounding, place = draw_from(draw, wishes.roundings), draw_from(draw, RoundAt)
    return Accumulator(bits, grid, proof, overflow, dropped, rounding, place, schedule)


def _schedule(draw: DrawFn, wishes: Wishes, product_bits: int, bits: int, shift: int, wide: bool) -> Schedule:
    """A declared order; wide: nothing narrower than the accumulator, which is proven safe."""
    order, lanes, tail = draw_from(draw, Order), draw(st.integers(1, wishes.max_lanes)), draw_from(draw, (Tail.IDLE, Tail.PACKED))
    axis = draw_from(draw, Axis) if tail is Tail.IDLE else Axis[order.name[-1]]
    tree = Tree(draw_from(draw, Pairing))
    if not wide and lanes > 1 and draw(st.booleans()):
        most = clipped(63 - shift, 2, MAX_TREE_BITS)
        widths = tuple(clipped(product_bits + draw_from(draw, NARROWER[:5]), 2, most) for _ in range(tree.levels(lanes)))
        tree = Tree(tree.pairing, widths, draw_from(draw, wishes.overflow))
    spill = _spill(draw, wishes, bits) if not wide and draw(st.integers(0, 2)) == 2 else None
    point, padded, zeros = draw_from(draw, BiasPoint), draw_from(draw, PaddedTaps), draw_from(draw, ZeroSkip)
    return Schedule(order, lanes, axis, tail, tree, point, padded, zeros, spill)


def _spill(draw: DrawFn, wishes: Wishes, bits: int) -> Spill:
    width = clipped(bits - draw(st.integers(0, 4)), 2, bits)
    shift = draw(st.integers(0, min(4, 64 - width)))
    rounding, overflow = draw_from(draw, wishes.roundings), draw_from(draw, wishes.overflow)
    return Spill(draw(st.integers(1, 4)), width, shift, rounding, overflow, draw(st.booleans()))


def _with_exact_tree(draw: DrawFn, contract: MacContract) -> MacContract:
    """Now and then, widths that no level can overflow, and that are declared without an overflow mode."""
    schedule = contract.accumulator.schedule
    if schedule is None or schedule.lanes == 1 or schedule.tree.bits is not None or draw(st.integers(0, 3)) < 3:
        return contract
    bits = tuple(min(need + draw(st.integers(0, 2)), MAX_TREE_BITS) for need in contract.exact_level_bits)
    tree = replace(schedule.tree, bits=bits)
    return replace(contract, accumulator=replace(contract.accumulator, schedule=replace(schedule, tree=tree)))


def _plain_output(x: Any, weight: Any) -> Affine | bool:
    """Whether a shift may lead to the output: False where real scales ask for a multiplier; of affine codes, its only format."""
    if isinstance(weight, PowerOfTwo) or not (isinstance(x, Affine) or isinstance(weight, Affine)):
        return True
    if weight.per_channel:
        return False
    step = real_step(x) * real_step(weight)
    return Affine(8, float(step)) if Fraction(float(step)) == step and step.denominator < 1 << 40 else False


def _output(draw: DrawFn, wishes: Wishes, bits: int, lengths: tuple[int, ...], plain: Affine | bool) -> Output:
    """An output stage for values of `bits` bits; plain: see _plain_output."""
    width = draw(some_bits(2, 16) if draw(st.integers(0, 7)) < 7 else st.integers(1, wishes.max_output_bits))
    signed = draw(st.sampled_from((True, False)))
    if plain is False or draw(st.integers(0, 3)) == 3:
        return _multiplied_output(draw, wishes, bits, width, signed, plain is not True)
    if isinstance(plain, Affine):
        return _affine_output(draw, wishes, replace(plain, bits=max(2, width), signed=signed), None, wishes.roundings)
    spread = max(lengths) - min(lengths)
    least = spread - (64 - bits)
    shift = clipped(draw(st.one_of(st.integers(0, 6), st.integers(-3, 4).map(lambda near: bits - width + near))), least, 62)
    fmt = FixedPoint(width, clipped(max(lengths) - shift, -256, 256), signed)
    return _staged(draw, wishes, fmt, None, wishes.roundings, wishes.stochastic)


def _multiplied_output(draw: DrawFn, wishes: Wishes, bits: int, width: int, signed: bool, affine: bool) -> Output:
    scaling = _multiplier(draw, bits, width, wishes.channels)
    modes = ROUNDINGS.get(scaling.rule, wishes.roundings)
    modes = tuple(mode for mode in wishes.roundings if mode in modes) or modes
    if affine or draw(st.booleans()):
        return _affine_output(draw, wishes, Affine(max(2, width), 1.0, 0, signed), scaling, modes)
    return _staged(draw, wishes, FixedPoint(width, 0, signed), scaling, modes, False)


def _multiplier(draw: DrawFn, bits: int, width: int, channels: int | None) -> Multiplier:
    """A multiplier that brings values of `bits` bits to about `width` bits."""
    rule = draw_from(draw, [rule for rule, most in VALUE_BITS.items() if bits <= most])
    spare = 62 - bits if rule is Scaling.DOUBLE_ROUND else 63 - bits
    size = MULTIPLIER_BITS.get(rule) or draw(st.integers(2, clipped(spare, 2, 31)))
    low, high, _ = LIMITS[rule]
    count = channels if channels is not None and draw(st.booleans()) else 1
    pairs = []
    for _ in range(min(count, 4)):
        most = (1 << size) - 1
        m = draw(st.one_of(st.sampled_from((1 << (size - 1), most)), st.integers(1, most)))
        pairs.append((m, clipped(size + bits - width + draw(st.integers(-2, 3)), max(low, 0), high)))
    multipliers, shifts = zip(*(pairs[k % len(pairs)] for k in range(count)), strict=True)
    return Multiplier(rule, multipliers, shifts)


def _affine_output(draw: DrawFn, wishes: Wishes, fmt: Affine, scaling: Multiplier | None, modes: tuple) -> Output:
    narrow = draw(st.integers(0, 3)) == 3
    zero = draw(zero_points(fmt, narrow))
    return _staged(draw, wishes, replace(fmt, zero_point=zero, narrow=narrow), scaling, modes, False)


def _staged(draw: DrawFn, wishes: Wishes, fmt: Any, scaling: Multiplier | None, modes: tuple, stochastic: bool) -> Output:
    """Rounding, overflow, activation and clamp of an output of this format."""
    overflows = [mode for mode in (Overflow.SATURATE, *wishes.overflow) if mode in wishes.overflow]
    activations = list(Activation)
    if isinstance(fmt, Affine):
        activations.remove(Activation.RELU_AFTER_REQUANTIZE)
        kept: list[Overflow] = [mode for mode in overflows if mode != Overflow.WRAP]
        if fmt.narrow and kept:
            overflows = kept
        elif fmt.narrow:
            fmt = replace(fmt, narrow=False)
    overflow, activation = draw_from(draw, overflows), draw_from(draw, activations)
    if stochastic and draw(st.integers(0, 9)) == 9:
        return Output(fmt, _noise(draw), overflow, activation, scaling)
    low = high = None
    if draw(st.integers(0, 3)) == 3:
        low, high = sorted(draw(st.tuples(*[st.integers(fmt.low, fmt.high)] * 2)))
        low, high = draw_from(draw, ((low, high), (low, None), (None, high)))
    return Output(fmt, draw_from(draw, modes), overflow, activation, scaling, low, high)


def _noise(draw: DrawFn) -> StochasticRounding:
    width = draw(st.integers(2, 24))
    lfsr = Lfsr(width, form=draw_from(draw, LfsrForm))
    seeds = draw(st.lists(st.integers(1, (1 << width) - 1), min_size=1, max_size=4))
    rules = (draw_from(draw, (DrawOrder.YXK, *DrawOrder)), draw_from(draw, (Tail.PACKED, Tail.IDLE)), draw_from(draw, Alignment))
    resets = draw_from(draw, (Reset.LAYER, Reset.IMAGE, Reset.NEVER))
    return StochasticRounding(lfsr, tuple(seeds), draw(st.integers(1, 3)), *rules, resets, draw(st.booleans()))
