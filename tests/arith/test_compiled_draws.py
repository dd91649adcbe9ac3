"""The leaves of shift-add products and of shift registers keep their value when numba compiles them for int64."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.arith import lfsr, shift_add
from hwsim.arith.lfsr import Alignment, LfsrForm
from hwsim.arith.overflow import wrap_signed
from hwsim.arith.rounding import Rounding
from hwsim.arith.shift_add import SignOrder
from hwsim.contract.polynomials import MAXIMAL, mask_of

NAMES = ("shift_add_product", "lfsr_step", "lfsr_jump", "noise_bits", "round_shift_stochastic", "parity")
forms = st.sampled_from(list(LfsrForm))
widths = st.integers(2, 64) | st.sampled_from([62, 63, 64])


@pytest.fixture(scope="module")
def compiled() -> SimpleNamespace:
    numba = pytest.importorskip("numba")
    import hwsim.backends.jit.leaves as jit

    return SimpleNamespace(**{leaf.__name__: numba.njit(leaf) for leaf in jit.LEAVES if leaf.__name__ in NAMES})


def agree(leaf: Callable, plain: Callable, *arguments: int) -> None:
    assert leaf(*map(int, arguments)) == plain(*arguments), arguments


def states(width: int) -> st.SearchStrategy[int]:
    edges = st.sampled_from([0, 1, (1 << width) - 1, 1 << (width - 1)])
    return (edges | st.integers(0, (1 << width) - 1)).map(lambda state: wrap_signed(state, 64))


@given(
    x=st.integers(-(1 << 15), (1 << 15) - 1),
    negative=st.integers(0, 1),
    exponent=st.integers(-62, 30),
    guard_bits=st.integers(0, 16),
    mode=st.sampled_from(list(Rounding)),
    order=st.sampled_from(list(SignOrder)),
)
def test_shift_add_product(compiled, x, negative, exponent, guard_bits, mode, order):
    agree(compiled.shift_add_product, shift_add.shift_add_product, x, negative, exponent, guard_bits, mode, order)


@given(width=widths, form=forms, data=st.data())
def test_lfsr_step(compiled, width, form, data):
    agree(compiled.lfsr_step, lfsr.lfsr_step, data.draw(states(width)), mask_of(MAXIMAL[width]), width, form)


@settings(max_examples=200)
@given(width=widths, form=forms, steps=st.integers(0, (1 << 63) - 1) | st.integers(0, 99), data=st.data())
def test_lfsr_jump(compiled, width, form, steps, data):
    agree(compiled.lfsr_jump, lfsr.lfsr_jump, data.draw(states(width)), steps, mask_of(MAXIMAL[width]), width, form)


@given(width=widths, shift=st.integers(-2, 62), alignment=st.sampled_from(list(Alignment)), data=st.data())
def test_noise_bits(compiled, width, shift, alignment, data):
    agree(compiled.noise_bits, lfsr.noise_bits, data.draw(states(width)), width, shift, alignment)


@given(x=st.integers(-(1 << 63), (1 << 63) - 1), shift=st.integers(0, 62), data=st.data())
def test_round_shift_stochastic(compiled, x, shift, data):
    noise = data.draw(st.integers(0, (1 << shift) - 1) | st.just((1 << shift) - 1))
    agree(compiled.round_shift_stochastic, lfsr.round_shift_stochastic, x, shift, noise)


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_parity(compiled, x):
    agree(compiled.parity, lfsr.parity, x)


@pytest.mark.parametrize("form", list(LfsrForm), ids=lambda form: form.name)
@pytest.mark.parametrize("width", range(2, 21))
def test_compiled_registers_run_through_all_states(compiled, width, form):
    numba = pytest.importorskip("numba")
    step = compiled.lfsr_step
    if not hasattr(compiled, "period"):

        @numba.njit
        def period(taps, width, form):
            state, steps = step(1, taps, width, form), 1
            while state != 1:
                state, steps = step(state, taps, width, form), steps + 1
            return steps

        compiled.period = period
    assert compiled.period(mask_of(MAXIMAL[width]), width, int(form)) == 2**width - 1
