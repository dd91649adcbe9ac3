"""Draws, reached by jumping, against registers of single bits that hand their states out one after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.arith.lfsr import Alignment
from hwsim.contract import Output
from hwsim.contract.draws import Draws
from hwsim.contract.stochastic import Lfsr, Reset, StochasticRounding
from hwsim.errors import ContractError
from hwsim.execute.draws import Drawn, Registers
from hwsim.formats import FixedPoint
from hwsim.layers import AveragePool, CountRule, EltwiseSum, HostLRN, ImageEncoding, Region, Rescale, Window
from oracles.draw_rules import rules
from oracles.registers import Bank

RULE = StochasticRounding(Lfsr(8))
S8 = FixedPoint(8, 0)


@st.composite
def layers(draw) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    shape = draw(st.tuples(*[st.integers(1, 4)] * 3))
    return shape, tuple(draw(st.lists(st.integers(-2, 12) | st.just(0), min_size=shape[0], max_size=shape[0])))


@settings(max_examples=60)
@given(rules(), st.lists(layers(), min_size=1, max_size=3), st.integers(1, 3))
def test_layers_and_images_draw_what_the_clocked_bank_draws(rule, network, images):
    """One bank runs through all layers of all images; every layer jumps to its own first turn."""
    bank = Bank(rule)
    drawing = [(f"layer{i}", Draws(rule, shape, shift)) for i, (shape, shift) in enumerate(network)]
    registers = Registers(drawing)
    for image in range(images):
        bank.image_begins()
        for name, draws in drawing:
            want = bank.layer(draws.shape, list(draws.shift))
            drawn = registers.drawn(name, image, 1)
            noise = draws.noise_array(drawn.first_turns[0])
            assert {at: int(noise[at]) for at in np.ndindex(*draws.shape)} == want
            some = list(want)[:: max(len(want) // 3, 1)]
            assert [draws.noise(*at, drawn.first_turns[0]) for at in some] == [want[at] for at in some]
            assert drawn.after(0) == bank.states and drawn.first_turns[0] + drawn.turns == bank.turn
    firsts = [registers.drawn(name, 0, images).first_turns for name, _ in drawing]
    assert firsts == [tuple(registers.drawn(name, i, 1).first_turns[0] for i in range(images)) for name, _ in drawing]


def test_equal_rules_share_a_bank_and_different_ones_do_not():
    rule = replace(RULE, reset=Reset.NEVER)
    other = replace(rule, seeds=(2,))
    draws = [Draws(r, (1, 1, n), (3,)) for r, n in ((rule, 5), (other, 7), (rule, 11))]
    registers = Registers(zip("abc", draws, strict=True))
    assert [registers.drawn(name, 0, 3).first_turns for name in "abc"] == [(0, 16, 32), (0, 7, 14), (5, 21, 37)]


def test_draws_tell_themselves_in_words_and_as_data():
    lanes = Lfsr(12).seeds_apart(6, 5)
    drawn = Drawn(StochasticRounding(Lfsr(12), lanes), 4, (0, 4, 8))
    first, last = drawn.lines()
    assert first.startswith("image 0: turns 0..3, lanes 0x001 ") and " .. (6 lanes) -> 0x" in first
    assert last.startswith("image 2: turns 8..11, lanes ")
    data = drawn.to_json()
    assert data["rule"]["order"] == "YXK" and data["rule"]["lfsr"]["polynomial"] == list(Lfsr(12).polynomial)
    assert data["images"][1] == {"first_turn": 4, "before": list(drawn.before(1)), "after": list(drawn.after(1))}
    assert Drawn(drawn.rule, 0, (7,)).lines()[0].startswith("image 0: no turn")


@pytest.mark.parametrize(
    ("build", "where"),
    [
        (lambda out: AveragePool(S8, Window(None), CountRule.CAFFE, out), "average_pool"),
        (lambda out: EltwiseSum((S8, S8), out), "eltwise_sum"),
        (lambda out: HostLRN(S8, Region.ACROSS_CHANNELS, 3, 1.0, 0.5, 1.0, out), "host_lrn"),
        (lambda out: ImageEncoding.from_real(0.0, 1.0, out), "image_encoding"),
    ],
)
def test_who_cannot_draw_refuses_when_constructed(build, where):
    build(Output(FixedPoint(8, -2)))
    with pytest.raises(ContractError) as caught:
        build(Output(FixedPoint(8, -2), RULE))
    said = str(caught.value)
    assert said.startswith(f"{where}.output.rounding: found a StochasticRounding, allowed here are FLOOR, CEIL,")
    assert said.endswith(".") and said.count(". ") == 0


def test_an_output_takes_a_rounding_or_a_rule():
    assert Output(S8, RULE).rounding is RULE
    for bad in ("STOCHASTIC", None, Lfsr(8)):
        with pytest.raises(ContractError, match="Output.rounding: found "):
            Output(S8, bad)


def test_the_proven_output_range_holds_the_most_noise():
    """A register of 4 bits in the low bits of an 8-bit fraction adds 15 at most, and in the high bits 240."""
    for alignment, high in ((Alignment.LOW, (32767 + 15) >> 8), (Alignment.HIGH, (32767 + 240) >> 8)):
        rule = StochasticRounding(Lfsr(4), alignment=alignment)
        assert Rescale(FixedPoint(16, 8), Output(S8, rule)).bounds.output == (-128, high)
