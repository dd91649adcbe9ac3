"""The leaves of the walk, each against its meaning: registers exhaustively at 4 bits, and at the edge of int64 when compiled."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.arith import accumulate
from hwsim.arith.accumulate import Pairing, Place, Walk, add_to, add_tree, arrange, register_range, spill, walk
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from oracles.exact import fitted, limits, rounded

MODES = pytest.mark.parametrize("mode", list(Overflow), ids=lambda m: m.name)


@pytest.fixture(scope="module")
def compiled() -> SimpleNamespace:
    """The leaves as numba compiles them."""
    numba = pytest.importorskip("numba")
    import hwsim.backends.jit.leaves  # noqa: F401  registers what they call

    return SimpleNamespace(**{leaf.__name__: numba.njit(leaf) for leaf in (accumulate.add_to, accumulate.register_range)})


def held(exact: int, bits: int, mode: Overflow) -> tuple[int, int]:
    """Return (content, event) of a register, by the oracle."""
    low, high = limits(bits, True, mode)
    return fitted(exact, mode, bits, True), int(not low <= exact <= high)


@MODES
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_a_register_takes_every_sum_as_its_mode_says(mode, bits):
    low, high = limits(bits, True, mode)
    assert register_range(bits, mode) == (low, high)
    for acc in range(low, high + 1):
        for x in range(-40, 41):
            assert add_to(acc, x, bits, low, high, mode) == held(acc + x, bits, mode)


@MODES
@given(bits=st.sampled_from([2, 16, 32, 61, 62, 63, 64]), data=st.data())
def test_compiled_registers_never_leave_int64(compiled, mode, bits, data):
    low, high = limits(bits, True, mode)
    acc = data.draw(st.integers(low, high) | st.sampled_from([low, low + 1, 0, high - 1, high]))
    ends = [-(1 << 63), (1 << 63) - 1, low - acc, high - acc, low - acc - 1, high - acc + 1]
    x = data.draw(st.sampled_from([v for v in ends if -(1 << 63) <= v < 1 << 63]) | st.integers(-(1 << 63), (1 << 63) - 1))
    assert compiled.register_range(bits, mode) == (low, high)
    assert compiled.add_to(acc, x, bits, low, high, mode) == held(acc + x, bits, mode)


@pytest.mark.parametrize(
    ("pairing", "shape"),
    [
        (Pairing.ADJACENT, lambda a, b, c, d, e: [[a + b, c + d, e], [a + b + c + d, e], [a + b + c + d + e]]),
        (Pairing.HALVES, lambda a, b, c, d, e: [[a + d, b + e, c], [a + d + c, b + e], [a + b + c + d + e]]),
        (Pairing.CHAIN, lambda a, b, c, d, e: [[a + b], [a + b + c], [a + b + c + d], [a + b + c + d + e]]),
    ],
)
@given(values=st.lists(st.integers(-9, 9), min_size=5, max_size=5), bits=st.integers(2, 6), at=st.integers(0, 3))
def test_a_tree_of_five_lanes_adds_what_the_picture_shows(pairing, shape, values, bits, at):
    """One narrow level among wide ones counts the sums that the picture has there; wide levels count none."""
    levels = shape(*values)
    at = min(at, len(levels) - 1)
    wide = [20] * len(levels)
    assert add_tree(list(values), wide, pairing, Overflow.TRAP) == (sum(values), 0)
    narrow = [*wide[:at], bits, *wide[at + 1 :]]
    low, high = limits(bits, True)
    assert add_tree(list(values), narrow, pairing, Overflow.WRAP)[1] == sum(not low <= v <= high for v in levels[at])


@MODES
def test_every_level_of_a_tree_overflows_by_its_mode(mode):
    for a in range(-8, 8):
        for b in range(-8, 8):
            for c in range(-8, 8, 3):
                first, one = held(a + b, 4, mode)
                other, two = held(c, 4, mode)
                last, three = held(first + other, 3, mode)
                assert add_tree([a, b, c], [4, 3], Pairing.ADJACENT, mode) == (last, one + two + three)


@pytest.mark.parametrize(
    ("skipped", "packed", "steps"),
    [
        ([0, 0, 0, 0, 0], 0, [[1, 2], [3, 0], [4, 5]]),
        ([1, 0, 0, 0, 0], 0, [[0, 2], [3, 0], [4, 5]]),
        ([0, 0, 1, 0, 0], 0, [[1, 2], [4, 5]]),
        ([1, 1, 1, 1, 1], 0, []),
        ([0, 0, 0, 0, 0], 1, [[1, 2], [3, 4], [5, 0]]),
        ([1, 0, 0, 1, 0], 1, [[2, 3], [5, 0]]),
        ([1, 0, 0, 1, 1], 1, [[2, 3]]),
        ([1, 1, 1, 1, 1], 1, []),
    ],
)
def test_idle_lanes_wait_and_packed_ones_close_up(skipped, packed, steps):
    products = [0 if skip else value for value, skip in zip([1, 2, 3, 4, 5], skipped, strict=True)]
    taps = [0, 1, 2, 3, 4, -1] if packed else [0, 1, 2, -1, 3, 4]
    room = [99] * len(taps)
    count = arrange(products, skipped, taps, 2, packed, room)
    assert [room[2 * i : 2 * i + 2] for i in range(count)] == steps


@MODES
@given(acc=st.integers(-128, 127), bits=st.integers(2, 8), shift=st.integers(0, 4), data=st.data())
def test_a_spill_rounds_then_overflows_then_comes_back(mode, acc, bits, shift, data):
    rounding = data.draw(st.sampled_from(list(Rounding)))
    low, high = limits(bits, True, mode)
    rules = walk_of(spill_bits=bits, spill_low=low, spill_high=high, spill_overflow=mode, spill_shift=shift)
    rules = rules._replace(spill_rounding=rounding)
    kept, spilled = held(rounded(Fraction(acc, 2**shift), rounding), bits, mode)
    back, reloaded = held(kept * 2**shift, 8, Overflow.SATURATE)
    assert spill(acc, rules) == (back, spilled, reloaded)


def test_a_spill_that_rounds_up_at_the_top_does_not_come_back_into_the_register():
    rules = walk_of(spill_bits=8, spill_low=-128, spill_high=127, spill_shift=4, spill_rounding=Rounding.TIES_EVEN)
    assert spill(127, rules) == (127, 0, 1)  # 7.94 is stored as 8, and 8 * 16 is 128
    assert spill(119, rules) == (112, 0, 0)
    assert walk([127], 1, (), 0, 0, rules._replace(spill_every=1, spill_last=1, overflow=Overflow.TRAP)) == (
        -128,
        1,
        0,
        1,
        0,
        Place.ACCUMULATOR,
    )


def walk_of(**rules: int) -> Walk:
    """Return an 8-bit saturating accumulator of one lane, without what the rules say."""
    plain = Walk(1, 0, 0, 8, -128, 127, Overflow.SATURATE, Rounding.FLOOR, 0, 0, 2, -2, 1, 0, 0, 0, 0)
    return plain._replace(**rules)


@pytest.mark.parametrize(
    ("products", "bias", "rules", "acc", "persistent", "events", "first"),
    [
        ([100, 100, -50], 0, {}, 77, 1, (0, 1, 0), -1),
        ([100, 100, -80], 0, {}, 47, 0, (0, 1, 0), -1),
        ([100, 100, -80], 0, {"overflow": Overflow.WRAP}, 120, 0, (0, 2, 0), -1),
        ([100, 100, -80], 0, {"overflow": Overflow.TRAP}, 120, 0, (0, 2, 0), 4 + Place.ACCUMULATOR),
        ([-100, -100], 0, {"overflow": Overflow.SATURATE_SYMMETRIC, "low": -127}, -127, 1, (0, 1, 0), -1),
        ([-100, -28], 0, {"overflow": Overflow.SATURATE_SYMMETRIC, "low": -127}, -127, 1, (0, 1, 0), -1),
        ([-100, -28], 0, {}, -128, 0, (0, 0, 0), -1),
        ([100, -100], 100, {}, 27, 0, (0, 1, 0), -1),
        ([100, -100], 100, {"bias_last": 1}, 100, 0, (0, 0, 0), -1),
        ([100], 100, {"bias_last": 1, "overflow": Overflow.TRAP}, -56, 1, (0, 1, 0), 4 + Place.ACCUMULATOR),
        ([], 5, {"bias_last": 1}, 5, 0, (0, 0, 0), -1),
        ([], 5, {}, 5, 0, (0, 0, 0), -1),
        ([20, 20, -20], 0, {"spill_every": 2, "spill_bits": 6, "spill_low": -32, "spill_high": 31}, -44, 0, (0, 0, 1), -1),
        ([20, 20], 0, {"spill_every": 2, "spill_bits": 6, "spill_low": -32, "spill_high": 31}, 40, 0, (0, 0, 0), -1),
        (
            [20, 20],
            0,
            {"spill_every": 9, "spill_bits": 6, "spill_low": -32, "spill_high": 31, "spill_last": 1, "spill_overflow": 3},
            -24,
            0,
            (0, 0, 1),
            4 + Place.SPILL,
        ),
    ],
)
def test_a_walk_step_by_step(products, bias, rules, acc, persistent, events, first):
    got = walk(list(products), len(products), (), 0, bias, walk_of(**rules))
    assert got == (acc, persistent, *events, first)


def test_a_step_is_rounded_behind_its_tree_and_shifted_left_exactly():
    halves = walk_of(lanes=2, rounding=Rounding.TIES_AWAY)
    assert walk([1, 0, 1, 0], 2, (8,), -1, 0, halves)[0] == 2  # one half and one half, each rounded up
    assert walk([1, 1, 0, 0], 2, (8,), -1, 0, halves)[0] == 1
    assert walk([1, 1, 0, 0], 2, (8,), 3, 0, halves)[0] == 16
