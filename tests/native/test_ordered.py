"""Declared orders in the C core: every code, accumulator, event and flag is the specification's, on every instruction set.

Small contracts at random, near the edge of their registers; then sizes that fill register blocks, beside sampled outputs.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.arith.shift_add import SignOrder
from hwsim.backends.base import Kernel, Taps
from hwsim.backends.native import NATIVE, info
from hwsim.backends.spec import SPEC
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.contract.accumulator import Axis, BiasPoint, Order, PaddedTaps, RoundAt, Schedule, Spill, Tree, ZeroSkip
from hwsim.contract.product import ShiftAdd
from hwsim.contract.stochastic import Tail
from hwsim.errors import ContractError
from hwsim.formats.fixed import FixedPoint
from hwsim.formats.pow2 import PowerOfTwo
from hwsim.layers import Convolution, MacLayer, Shape

overflows = st.sampled_from(list(Overflow))
roundings = st.sampled_from(list(Rounding))
GROUPS = ((1, 1, 3), (1, 5, 18), (2, 2, 4), (1, 8, 33), (3, 1, 6), (1, 2, 40))


@st.composite
def trees(draw, lanes: int) -> Tree:
    pairing = draw(st.sampled_from(list(Pairing)))
    levels = Tree(pairing).levels(lanes)
    if draw(st.integers(0, 2)) == 0:
        return Tree(pairing)
    bits = draw(st.lists(st.integers(2, 24), min_size=levels, max_size=levels))
    return Tree(pairing, tuple(bits), draw(overflows))


@st.composite
def schedules(draw, bits: int) -> Schedule:
    lanes = draw(st.sampled_from([1, 1, 1, 2, 3, 4, 7]))
    order, axis, tail = draw(st.sampled_from(list(Order))), draw(st.sampled_from(list(Axis))), draw(st.sampled_from(list(Tail)))
    if tail is Tail.PACKED:
        axis = Axis(order.value[-1])
    spill = None
    if draw(st.integers(0, 2)) == 0:
        wide = draw(st.integers(2, bits))
        shift = draw(st.integers(0, min(4, 64 - wide)))
        spill = Spill(draw(st.integers(1, 9)), wide, shift, draw(roundings), draw(overflows), draw(st.booleans()))
    padded, zeros = draw(st.sampled_from(list(PaddedTaps))), draw(st.sampled_from(list(ZeroSkip)))
    return Schedule(order, lanes, axis, tail, draw(trees(lanes)), draw(st.sampled_from(list(BiasPoint))), padded, zeros, spill)


@st.composite
def contracts(draw) -> MacContract:
    x = FixedPoint(draw(st.sampled_from([4, 8, 8, 8, 16])), 4, draw(st.booleans()))
    product = None
    weight: FixedPoint | PowerOfTwo = FixedPoint(draw(st.sampled_from([3, 8, 8, 16])), 6, draw(st.integers(0, 3)) > 0)
    if draw(st.integers(0, 3)) == 0:
        weight = PowerOfTwo(draw(st.integers(-8, -4)), draw(st.integers(-3, 1)))
        product = ShiftAdd(draw(st.integers(0, 9)), draw(roundings), draw(st.sampled_from(list(SignOrder))))
    bits = draw(st.sampled_from([2, 8, 12, 15, 16, 17, 20, 24, 31, 32, 33, 40, 62, 63, 64]))
    drop, finer = draw(st.sampled_from([0, 0, 0, 1, 4])), draw(st.sampled_from([0, 0, 0, 3, 30, 50]))
    length = None if drop or not finer else 4 + (6 if product is None else product.guard_bits) + finer
    round_at = draw(st.sampled_from(list(RoundAt)))
    overflow = draw(overflows)
    accumulator = Accumulator(bits, length, False, overflow, drop, draw(roundings), round_at, draw(schedules(bits)))
    output = Output(FixedPoint(8, 2), draw(roundings), Overflow.SATURATE, draw(st.sampled_from(list(Activation))))
    return MacContract(x, weight, output, accumulator, product=product)


def random_codes(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...], spread: float) -> np.ndarray:
    """Codes within `spread` of the range, one in eight at an end, one in eight zero."""
    drawn = (rng.integers(low, high, size=shape, endpoint=True) * spread).astype(np.int64)
    where = rng.random(shape)
    ends = np.where(rng.random(shape) < 0.5, low, high)
    return np.where(where < spread / 8, ends, np.where(where > 7 / 8, 0, drawn))


@st.composite
def cases(draw) -> tuple[Convolution, np.ndarray]:
    try:
        contract = draw(contracts())
    except ContractError:
        assume(False)
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    groups, share, k = draw(st.sampled_from(GROUPS))
    r, s = draw(st.sampled_from([(1, 1), (2, 3), (3, 2), (3, 3)]))
    spread = draw(st.sampled_from([0.05, 0.3, 1.0]))
    shape = (k, share, r, s)
    if isinstance(contract.weight, PowerOfTwo):
        weight = rng.choice(contract.weight.codes, shape)
    else:
        weight = random_codes(rng, contract.weight.low, contract.weight.high, shape, spread)
    acc = contract.accumulator
    bias = random_codes(rng, max(acc.low, -(1 << 61)), min(acc.high, 1 << 61), (k,), draw(st.sampled_from([0.0, 0.5, 1.0])))
    window = {"stride": draw(st.sampled_from([1, 2])), "pad": draw(st.integers(0, 2)), "groups": groups}
    try:
        layer = Convolution(contract, weight, bias if draw(st.booleans()) else None, **window)
        spread = draw(st.sampled_from([0.2, 1.0]))
        x = random_codes(rng, contract.input.low, contract.input.high, (2, share * groups, 4, 5), spread)
        layer.output_shape([Shape(*x.shape[1:])])
        layer.extents(Shape(*x.shape[1:]))
    except ContractError:
        assume(False)
    return layer, x


def run(backend, layer: MacLayer, x: np.ndarray, acc: bool = True) -> tuple[np.ndarray, Taps]:
    shape = Shape(*x.shape[1:])
    out = layer.output_shape([shape])
    taps = Taps.for_layer(layer, len(x), out, acc=acc)
    taps.flags = np.zeros((len(x), out.h, out.w, out.c), dtype=np.uint8) if acc else None
    kernel: Kernel = backend.prepare(layer, [shape])
    return kernel([x], taps).codes.copy(), taps


@pytest.fixture(params=info().instruction_sets)
def isa(request, monkeypatch) -> str:
    monkeypatch.setenv("HWSIM_ISA", request.param)
    return request.param


@settings(max_examples=150, deadline=None)
@given(case=cases(), threads=st.sampled_from([1, 2]))
def test_any_declared_order_computes_what_the_specification_does(case, threads: int) -> None:
    layer, x = case
    codes, taps = run(SPEC, layer, x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWSIM_THREADS", str(threads))
        for name in info().instruction_sets:
            patch.setenv("HWSIM_ISA", name)
            found, counted = run(NATIVE, layer, x)
            assert (found == codes).all() and (counted.acc == taps.acc).all(), name
            assert counted.counted == taps.counted and (counted.flags == taps.flags).all(), name
            fast, counted = run(NATIVE, layer, x, acc=False)
            assert (fast == codes).all() and counted.counted == taps.counted, name
            assert sum(counted.shared) == (codes.size if layer.numbers.walk is not None else 0)


def by_planes(layer: Convolution, x: np.ndarray) -> tuple[np.ndarray, int, int, np.ndarray]:
    """(acc [N][K][Y][X], events, transient events, outputs with events): one add of whole planes for each tap, in order.

    For lanes = 1, the bias first, no grid but the product's, and no spill: what the fast walk takes. In int64.
    """
    acc, (r, s), pad = layer.contract.accumulator, layer.kernel, layer.pad[0]
    wraps = acc.overflow in (Overflow.WRAP, Overflow.TRAP)
    shift, out = layer.numbers.product_shift[0], layer.output_shape([Shape(*x.shape[1:])])
    padded = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    bias = np.zeros(len(layer.weight), dtype=np.int64) if layer.bias is None else layer.bias.astype(np.int64)
    held = np.broadcast_to(bias[None, :, None, None], (len(x), *out)).copy()
    exact, events, span = held.copy(), np.zeros(held.shape, dtype=np.int64), 1 << min(acc.bits, 62)
    assert acc.schedule is not None
    extents = (layer.weight.shape[1], r, s)
    order = acc.schedule.order.value
    for at in np.ndindex(*(extents[axis] for axis in order)):
        c, i, j = (at[order.index(axis)] for axis in range(3))
        window, weights = padded[:, c, i : i + out.h, j : j + out.w], layer.weight[:, c, i, j].astype(np.int64)
        product = (window[:, None] * weights[:, None, None]) << shift
        exact += product
        held += product
        events += (held < acc.low) | (held > acc.high)
        held = (held - acc.low) % span + acc.low if wraps else held.clip(acc.low, acc.high)
    fits = (exact >= acc.low) & (exact <= acc.high)
    return held, int(events.sum()), int(events[fits].sum()), events > 0


# name: (input, output channels, kernel, pad, bits of input, weight, accumulator, bits that its grid is finer)
BLOCKS = {
    "16 bits over a padded raster": (Shape(40, 13, 15), 70, 3, 1, 8, 8, 16, 0),
    "12 bits": (Shape(64, 9, 11), 33, 1, 0, 8, 8, 12, 0),
    "16 bits, a finer grid": (Shape(20, 9, 11), 32, 3, 1, 6, 6, 16, 3),
    "20 bits": (Shape(48, 10, 12), 50, 3, 1, 8, 8, 20, 0),
    "31 bits, wider operands": (Shape(30, 6, 7), 17, 3, 1, 16, 8, 24, 0),
    "36 bits, a finer grid": (Shape(40, 8, 9), 40, 3, 1, 8, 8, 36, 16),
    "62 bits, a finer grid": (Shape(40, 8, 9), 40, 3, 1, 8, 8, 60, 40),
}


@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_registers_hold_what_whole_planes_do(name: str, overflow: Overflow, isa: str) -> None:
    order = (Order.CRS, Order.RSC, Order.RCS)[len(name) % 3]
    shape, k, kernel, pad, x_bits, w_bits, bits, finer = BLOCKS[name]
    rng = np.random.default_rng(len(name) + int(overflow))
    f, w = FixedPoint(x_bits, 0), FixedPoint(w_bits, 0)
    accumulator = Accumulator(bits, finer or None, overflow=overflow, schedule=Schedule(order))
    contract = MacContract(f, w, Output(FixedPoint(8, -6)), accumulator)
    weight = random_codes(rng, w.low, w.high, (k, shape.c, kernel, kernel), 0.8)
    high = (1 << (bits - 1)) - 1
    bias = rng.choice([-1, 1], k) * (high - rng.integers(0, high // 16, k))
    weight[k // 2 :], bias[k // 2 :] = weight[k // 2 :] // 32, 0  # most of these are proven, the others walked
    layer = Convolution(contract, weight, bias, pad=pad)
    x = random_codes(rng, f.low, f.high, (2, *shape), 0.5)
    acc, events, transient, walked = by_planes(layer, x)
    codes, taps = run(NATIVE, layer, x)
    assert taps.acc is not None and (taps.acc.transpose(0, 3, 1, 2) == acc).all()
    assert (taps.counted.accumulator, taps.counted.transient_accumulator) == (events, transient) and events > transient > 0
    assert taps.shared.walked >= walked.sum() > 0 and sum(taps.shared) == codes.size
    again, counted = run(NATIVE, layer, x, acc=False)
    assert (again == codes).all() and counted.counted == taps.counted


# name: (channels, kernel, order, taps after which the weights' sign changes)
TURNS = {
    "1x1": (256, 1, Order.CRS, 64),
    "channels last": (64, 3, Order.RSC, 64),
    "rows first": (64, 3, Order.RCS, 192),
    "channels first": (64, 3, Order.CRS, 144),
}


@pytest.mark.parametrize("name", TURNS)
def test_sums_that_just_fit_are_proven_and_those_that_just_do_not_are_walked(name: str, isa: str) -> None:
    """The sums rise and fall; the whole order's positive products alone would leave the register by far."""
    c, kernel, order, turn = TURNS[name]
    schedule = Schedule(order)
    accumulator = Accumulator(16, overflow=Overflow.SATURATE, schedule=schedule)
    contract = MacContract(FixedPoint(8, 0), FixedPoint(8, 0), Output(FixedPoint(8, -8)), accumulator)
    place = np.argsort(schedule.table(c, kernel, kernel)[:, 0])
    signs = np.where(place // turn % 2 == 0, 100, -100).reshape(c, kernel, kernel)
    k = np.arange(36)
    falls, misses = k % 4 >= 2, k % 2
    weight = np.where(falls, -1, 1)[:, None, None, None] * signs
    bias = np.where(falls, -32768 + 100 * turn - misses, 32767 - 100 * turn + misses)
    layer = Convolution(contract, weight, bias)
    x = np.ones((1, c, kernel + 2, kernel + 16), dtype=np.int64)
    acc, events, transient, walked = by_planes(layer, x)
    codes, taps = run(NATIVE, layer, x)
    assert taps.acc is not None and (taps.acc.transpose(0, 3, 1, 2) == acc).all()
    again, fast = run(NATIVE, layer, x, acc=False)
    assert (again == codes).all() and (walked == misses[None, :, None, None]).all()
    for seen in (taps, fast):
        assert (seen.counted.accumulator, seen.counted.transient_accumulator) == (events, transient)
        assert (seen.shared.sums, seen.shared.walked) == (codes.size // 2, codes.size // 2)
