"""Who draws when: every order, tail, lane count and reset against registers clocked one turn after the other."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.arith.lfsr import Alignment, LfsrForm, lfsr_step, noise_bits
from hwsim.arith.overflow import wrap_signed
from hwsim.contract.draws import Draws, jump_array
from hwsim.contract.polynomials import MAXIMAL, mask_of
from hwsim.contract.stochastic import DrawOrder, Lfsr, Reset, StochasticRounding, Tail
from hwsim.errors import ContractError

SHAPE = (3, 2, 5)  # pairwise different, and no multiple of the lanes below


def clocked(rule: StochasticRounding, shape: tuple[int, int, int], shift: tuple[int, ...], turn: int) -> np.ndarray:
    """Return the noise of a layer by clocking every lane once per turn from power-up, and handing states out in order."""
    lfsr = rule.lfsr
    registers = [wrap_signed(seed, 64) for seed in rule.seeds]

    def clock() -> None:
        for lane in range(rule.lanes):
            for _ in range(rule.clocks):
                registers[lane] = lfsr_step(registers[lane], lfsr.taps, lfsr.width, lfsr.form)

    for _ in range(turn):
        clock()
    noise, lane = np.zeros(shape, dtype=np.int64), 0
    extents = [shape["KYX".index(name)] for name in rule.order.name]
    for slow, middle in product(range(extents[0]), range(extents[1])):
        for fast in range(extents[2]):
            at = dict(zip(rule.order.name, (slow, middle, fast), strict=True))
            k = at["K"]
            if shift[k] <= 0 and not rule.zero_shift_draws:
                continue
            if lane == rule.lanes:
                clock()
                lane = 0
            noise[k, at["Y"], at["X"]] = noise_bits(registers[lane], lfsr.width, shift[k], rule.alignment)
            lane += 1
        if rule.tail is Tail.IDLE and lane:
            lane = rule.lanes
    return noise


@st.composite
def rules(draw) -> StochasticRounding:
    width = draw(st.integers(2, 64) | st.just(64))
    return StochasticRounding(
        Lfsr(width, form=draw(st.sampled_from(list(LfsrForm)))),
        seeds=tuple(draw(st.lists(st.integers(1, (1 << width) - 1), min_size=1, max_size=4))),
        clocks=draw(st.integers(1, 5)),
        order=draw(st.sampled_from(list(DrawOrder))),
        tail=draw(st.sampled_from(list(Tail))),
        alignment=draw(st.sampled_from(list(Alignment))),
        zero_shift_draws=draw(st.booleans()),
    )


shifts = st.tuples(*[st.integers(-1, 12) | st.just(0)] * SHAPE[0])


@given(rules(), shifts, st.integers(0, 20))
def test_jumps_draw_what_the_clocked_array_draws(rule, shift, turn):
    want = clocked(rule, SHAPE, shift, turn)
    draws = Draws(rule, SHAPE, shift)
    assert draws.noise_array(turn).tolist() == want.tolist()
    for at in [(0, 0, 0), (1, 1, 2), (2, 1, 4)]:
        assert draws.noise(*at, turn) == want[at]


@given(rules(), shifts)
def test_each_place_is_taken_once_and_the_turns_are_full(rule, shift):
    draws = Draws(rule, SHAPE, shift)
    places = [draws.place(*at) for at in np.ndindex(*SHAPE)]
    taken = [place for place in places if place is not None]
    assert len(set(taken)) == len(taken) == len(draws.channels) * SHAPE[1] * SHAPE[2]
    assert all(0 <= turn < draws.turns and 0 <= lane < rule.lanes for turn, lane in taken)
    assert draws.turns == (max(turn for turn, _ in taken) + 1 if taken else 0)


@settings(max_examples=15)
@given(rules(), shifts, st.integers(0, 50), st.data())
def test_any_split_of_the_outputs_draws_the_same_bits(rule, shift, turn, data):
    """Rows dealt to threads in any order: each reaches its draws alone, from the seeds."""
    draws = Draws(rule, SHAPE, shift)
    outputs = data.draw(st.permutations(list(np.ndindex(*SHAPE))))
    parts = np.zeros(SHAPE, dtype=np.int64)
    for at in outputs:
        parts[at] = draws.noise(*at, turn)
    assert parts.tolist() == draws.noise_array(turn).tolist()


@settings(max_examples=40)
@given(rules(), st.integers(0, 1 << 40), st.integers(0, 30))
def test_states_are_handed_on_from_layer_to_layer(rule, turn, more):
    handed_on = StochasticRounding(rule.lfsr, rule.states(turn), rule.clocks)
    assert handed_on.states(more) == rule.states(turn + more)
    assert rule.states(0) == rule.seeds


@pytest.mark.parametrize("form", list(LfsrForm), ids=lambda form: form.name)
@pytest.mark.parametrize("width", [2, 7, 8, 9, 31, 33, 63, 64])
def test_an_array_jumps_as_its_elements(width, form):
    lfsr = Lfsr(width, form=form)
    seeds = [((1 << width) - 1) // d or 1 for d in range(1, 20)]
    codes = np.array([wrap_signed(seed, 64) for seed in seeds], dtype=np.int64)
    for steps in (0, 1, 5, 1 << 70):
        assert jump_array(lfsr, codes, steps).tolist() == [wrap_signed(lfsr.state(seed, steps), 64) for seed in seeds]


def test_resets_count_the_turns_that_went_before():
    turns = (7, 0, 5)
    for reset, want in [
        (Reset.LAYER, [0, 0, 0, 0, 0, 0]),
        (Reset.IMAGE, [0, 7, 7, 0, 7, 7]),
        (Reset.NEVER, [0, 7, 7, 12, 19, 19]),
    ]:
        rule = StochasticRounding(Lfsr(5), reset=reset)
        assert [rule.first_turn(image, layer, turns) for image in range(2) for layer in range(3)] == want


def test_an_output_that_drops_nothing_draws_only_if_declared():
    for draws_too, want in [(False, [(0, 0), None, (1, 0)]), (True, [(0, 0), (1, 0), (2, 0)])]:
        rule = StochasticRounding(Lfsr(5), zero_shift_draws=draws_too)
        draws = Draws(rule, (3, 1, 1), (2, 0, 1))
        assert [draws.place(k, 0, 0) for k in range(3)] == want
        assert draws.noise_array()[1, 0, 0] == 0


def test_a_layer_that_drops_nothing_takes_no_turn():
    draws = Draws(StochasticRounding(Lfsr(5)), SHAPE, (0, -2, 0))
    assert draws.turns == 0 and not draws.noise_array().any()


def test_seeds_apart_share_one_sequence():
    lfsr = Lfsr(16, form=LfsrForm.GALOIS)
    seeds = lfsr.seeds_apart(4, 100, seed=7)
    assert [lfsr.state(7, 100 * lane) for lane in range(4)] == list(seeds)
    assert [lfsr.state(seed, 100) for seed in seeds[:-1]] == list(seeds[1:])


@given(rules())
def test_repr_rebuilds_the_rule(rule):
    assert eval(repr(rule)) == rule


def test_the_default_polynomial_is_the_table_s_and_stands_resolved():
    for width, polynomial in MAXIMAL.items():
        assert Lfsr(width).polynomial == polynomial and Lfsr(width).taps == mask_of(polynomial)
    assert Lfsr(4, [4, 3]) == Lfsr(4)
    assert StochasticRounding(Lfsr(8), 77) == StochasticRounding(Lfsr(8), [77]) == StochasticRounding(Lfsr(8), (77,))


def test_a_short_polynomial_passes_where_it_is_allowed():
    short = Lfsr(4, (4, 2), allow_short=True)
    states = [short.state(1, steps) for steps in range(15)]
    assert len(set(states)) == 6 and states[6] == 1


RULE = StochasticRounding(Lfsr(8))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Lfsr(1), "Lfsr.width: found 1, allowed an integer in 2..64"),
        (lambda: Lfsr(65), "Lfsr.width: found 65, allowed an integer in 2..64"),
        (lambda: Lfsr(True), "Lfsr.width: found True"),
        (lambda: Lfsr(8, (8, 4)), "Lfsr.polynomial: found (8, 4), which is not of full period 2**8 - 1; allowed are primitive"),
        (lambda: Lfsr(64, (64, 1)), "is not of full period 2**64 - 1"),
        (lambda: Lfsr(8, (8,)), "is not of full period"),
        (lambda: Lfsr(8, (7, 6)), "Lfsr.polynomial: found (7, 6), allowed the descending exponents 8..1"),
        (lambda: Lfsr(8, (8, 4, 5)), "found (8, 4, 5), allowed the descending exponents"),
        (lambda: Lfsr(8, (8, 4, 4), allow_short=True), "found (8, 4, 4), allowed the descending exponents"),
        (lambda: Lfsr(8, (8, 6, 5, 4, 0)), "found (8, 6, 5, 4, 0), allowed the descending exponents"),
        (lambda: Lfsr(8, ()), "found (), allowed the descending exponents"),
        (lambda: Lfsr(8, 0xB8), "found 184, allowed the descending exponents"),
        (lambda: Lfsr(8, (8, 6.0)), "found (8, 6.0), allowed the descending exponents"),
        (lambda: Lfsr(8, form=1), "Lfsr.form: found 1, allowed LfsrForm: FIBONACCI, GALOIS"),
        (lambda: Lfsr(8, allow_short=1), "Lfsr.allow_short: found 1, allowed True or False"),
        (lambda: Lfsr(8).seeds_apart(0, 1), "lanes: found 0, allowed an integer in 1..4096"),
        (lambda: Lfsr(8).seeds_apart(2, -1), "distance: found -1, allowed an integer >= 0"),
        (lambda: Lfsr(8).seeds_apart(2, 1, 0), "seed: found 0, allowed an integer in 1..255"),
        (lambda: StochasticRounding(8), "StochasticRounding.lfsr: found 8, allowed Lfsr"),
        (lambda: StochasticRounding(Lfsr(8), (5, 0)), "StochasticRounding.seeds[1]: found 0, allowed an integer in 1..255"),
        (lambda: StochasticRounding(Lfsr(8), 256), "seeds[0]: found 256, allowed an integer in 1..255"),
        (lambda: StochasticRounding(Lfsr(8), ()), "StochasticRounding.seeds: found (), allowed 1..4096 seeds, one per lane"),
        (lambda: StochasticRounding(Lfsr(8), "1"), "StochasticRounding.seeds: found '1'"),
        (lambda: StochasticRounding(Lfsr(8), (1.0,)), "seeds[0]: found 1.0"),
        (lambda: StochasticRounding(Lfsr(8), clocks=0), "StochasticRounding.clocks: found 0, allowed an integer in 1.."),
        (lambda: StochasticRounding(Lfsr(8), order="YXK"), "order: found 'YXK', allowed DrawOrder: KYX, KXY, YKX"),
        (lambda: StochasticRounding(Lfsr(8), tail=None), "tail: found None, allowed Tail: PACKED, IDLE"),
        (lambda: StochasticRounding(Lfsr(8), alignment=0), "alignment: found 0, allowed Alignment: HIGH, LOW"),
        (lambda: StochasticRounding(Lfsr(8), reset="image"), "reset: found 'image', allowed Reset: LAYER, IMAGE, NEVER"),
        (lambda: StochasticRounding(Lfsr(8), zero_shift_draws=None), "zero_shift_draws: found None, allowed True or False"),
        (lambda: Draws(RULE, (3, 0, 2), (1, 1, 1)), "Draws.shape: found (3, 0, 2)"),
        (lambda: Draws(RULE, (3, 1, 2), (1, 1)), "Draws.shift: found 2 shifts, allowed one for each of 3 channels"),
        (lambda: Draws(RULE, (1, 1, 2), (63,)), "Draws.shift: found 63, allowed at most 62"),
    ],
)
def test_a_contract_refuses_in_one_sentence(build, said):
    with pytest.raises(ContractError) as caught:
        build()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
