"""Stochastic rounding rules for Hypothesis: short registers and long ones, lanes that divide no extent, every option."""

from __future__ import annotations

from hypothesis import strategies as st

from hwsim.arith.lfsr import Alignment, LfsrForm
from hwsim.contract.stochastic import DrawOrder, Lfsr, Reset, StochasticRounding, Tail


@st.composite
def lfsrs(draw) -> Lfsr:
    width = draw(st.sampled_from([4, 8, 16, 16, 32, 64]) | st.integers(2, 64))
    form = draw(st.sampled_from(list(LfsrForm)))
    if draw(st.integers(0, 3)):
        return Lfsr(width, form=form)
    rest = draw(st.sets(st.integers(1, width - 1), max_size=4))
    return Lfsr(width, (width, *sorted(rest, reverse=True)), form, allow_short=True)


@st.composite
def rules(draw, resets=st.sampled_from(list(Reset))) -> StochasticRounding:
    lfsr = draw(lfsrs())
    return StochasticRounding(
        lfsr,
        seeds=tuple(draw(st.lists(st.integers(1, (1 << lfsr.width) - 1), min_size=1, max_size=5))),
        clocks=draw(st.sampled_from([1, 1, 2, 3, 7])),
        order=draw(st.sampled_from(list(DrawOrder))),
        tail=draw(st.sampled_from(list(Tail))),
        alignment=draw(st.sampled_from(list(Alignment))),
        reset=draw(resets),
        zero_shift_draws=draw(st.booleans()),
    )
