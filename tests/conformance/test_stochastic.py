"""Layers that round by an LFSR's noise: every target draws what registers of single bits hand out, image after image.

The accumulators are those of the same layer under a fixed rounding, which the other tests hold to their oracles; codes and
output events follow from them by Fraction and by oracles.registers.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwsim.arith.accumulate import Place
from hwsim.arith.lfsr import Alignment
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.backends.base import Taps
from hwsim.contract import Accumulator, MacContract, Output, Schedule
from hwsim.contract.stochastic import DrawOrder, Lfsr, Reset, StochasticRounding, Tail
from hwsim.errors import OverflowTrap
from hwsim.execute.single import run_layer
from hwsim.formats import FixedPoint
from hwsim.layers import Convolution, MacLayer, Rescale, Shape
from oracles.cases import Case, codes
from oracles.draw_rules import rules
from oracles.exact import fitted, limits
from oracles.generate import mac_cases, outputs
from oracles.ordered_cases import ordered_cases
from oracles.registers import Bank, rounded_by
from oracles.targets import TARGETS

quiet = st.sampled_from([mode for mode in Overflow if mode is not Overflow.TRAP])


def with_rounding(layer, rounding):
    """Return a convolution, a fully connected layer or a rescale that rounds so."""
    if isinstance(layer, MacLayer):
        contract = replace(layer.contract, output=replace(layer.contract.output, rounding=rounding))
        return replace(layer, contract=contract)
    return replace(layer, output=replace(layer.output, rounding=rounding))


@st.composite
def rescales(draw) -> Case:
    x = FixedPoint(draw(st.integers(2, 32)), draw(st.integers(-4, 12)))
    shape = draw(st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 5, 17]), st.integers(1, 5), st.integers(1, 5)))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    return Case("rescale", Rescale(x, draw(outputs(x.fl()))), (codes(rng, x, shape, 0.2),))


def expected(layer, values: np.ndarray, first_image: int) -> tuple[np.ndarray, int, list[tuple[int, ...]]]:
    """Codes, output events and where they were, of exact values [N][K][H][W], by clocking a bank from power-up."""
    output = layer.contract.output if isinstance(layer, MacLayer) else layer.output
    shifts = (layer.numbers if isinstance(layer, MacLayer) else layer).epilogue.shift
    shape = values.shape[1:]
    shift = list(shifts) if len(shifts) == shape[0] else list(shifts) * shape[0]
    bank, f = Bank(output.rounding), output.format
    low, high = limits(f.bits, f.signed, output.overflow)
    found, events = np.zeros(values.shape, dtype=object), []
    for image in range(first_image + len(values)):
        bank.image_begins()
        noise = bank.layer(shape, shift)
        if image < first_image:
            continue
        for at in np.ndindex(*shape):
            n = image - first_image
            value = int(values[(n, *at)])
            if output.activation is Activation.RELU_BEFORE_REQUANTIZE:
                value = max(value, 0)
            exact = rounded_by(value, noise[at], shift[at[0]])
            if not low <= exact <= high:
                events.append((n, *at))
            code = fitted(exact, output.overflow, f.bits, f.signed)
            found[(n, *at)] = max(code, 0) if output.activation is Activation.RELU_AFTER_REQUANTIZE else code
    return found, len(events), events


@settings(max_examples=45, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(case=mac_cases() | ordered_cases(quiet) | rescales(), rule=rules(), first=st.sampled_from([0, 0, 1, 3]))
def test_generated_layers_draw_as_the_clocked_bank(target, case, rule, first):
    layer = with_rounding(case.layer, rule)
    with target.chosen():
        fixed = run_layer(with_rounding(case.layer, Rounding.FLOOR), *case.inputs, backend=target.backend)
        got = run_layer(layer, *case.inputs, backend=target.backend, first_image=first)
        bare = run_layer(layer, *case.inputs, backend=target.backend, first_image=first, acc=False)
    values = case.inputs[0] if fixed.acc is None else fixed.acc
    want, events, _ = expected(layer, values, first)
    assert got.codes.tolist() == bare.codes.tolist() == want.tolist(), layer
    assert got.events == bare.events == fixed.events._replace(output=events)
    assert (got.acc is None) == (fixed.acc is None) and (got.acc is None or got.acc.tolist() == fixed.acc.tolist())
    assert got.shares == fixed.shares and got.backend == fixed.backend == target.backend


def test_every_option_draws_as_the_clocked_bank(target):
    """A short register against fractions shorter and longer than it, beside channels that drop nothing or shift left."""
    rng, x = np.random.default_rng(8), FixedPoint(16, 0)
    weight = FixedPoint(8, (12, 0, 3, 6, -2))
    inputs = codes(rng, x, (2, 2, 2, 3), 0.1)
    plain = MacContract(x, weight, Output(FixedPoint(24, 0)), Accumulator(32))
    layer = Convolution(plain, codes(rng, weight, (5, 2, 1, 1)))
    values = run_layer(layer, inputs, backend="spec").acc
    for order, tail, alignment, reset, zero in product(DrawOrder, Tail, Alignment, Reset, (False, True)):
        rule = StochasticRounding(Lfsr(5), (1, 9, 30), 2, order, tail, alignment, reset, zero)
        drawing = with_rounding(layer, rule)
        want, events, _ = expected(drawing, values, 1)
        with target.chosen():
            got = run_layer(drawing, inputs, backend=target.backend, first_image=1)
        assert got.codes.tolist() == want.tolist() and got.events.output == events, rule


def test_flags_tell_the_events_of_registers_and_not_those_that_the_noise_makes(target):
    rng, s8 = np.random.default_rng(3), FixedPoint(8, 0)
    rule = StochasticRounding(Lfsr(8), (3, 99))
    accumulator = Accumulator(16, overflow=Overflow.SATURATE, schedule=Schedule())
    layer = Convolution(MacContract(s8, s8, Output(FixedPoint(8, -6), rule), accumulator), codes(rng, s8, (5, 7, 2, 1)))
    x = codes(rng, s8, (2, 7, 4, 3))
    with target.chosen() as backend:
        kernel = backend.prepare(layer, [Shape(7, 4, 3)])
        taps = Taps.for_layer(layer, 2, kernel.output_shape, acc=True)
        taps.flags = np.full((2, *taps.acc.shape[1:]), 0xA5, dtype=np.uint8)
        kernel([x], taps)
    flagged = [layer.spec([x.tolist()], *at).events.accumulator > 0 for at in np.ndindex(2, *kernel.output_shape)]
    assert taps.counted.output and any(flagged)
    assert taps.flags.transpose(0, 3, 1, 2).ravel().tolist() == [flag << Place.ACCUMULATOR for flag in flagged]


def large(rule: StochasticRounding, overflow: Overflow = Overflow.SATURATE) -> tuple[Convolution, np.ndarray]:
    """Return a layer of 3 x 60,000 outputs, more than a task of any backend takes at once, and its input."""
    rng = np.random.default_rng(5)
    s8 = FixedPoint(8, 4)
    weight = FixedPoint(8, tuple(int(v) for v in rng.integers(-2, 9, 20)))
    contract = MacContract(s8, weight, Output(FixedPoint(8, 4), rule, overflow), Accumulator(24))
    layer = Convolution(contract, codes(rng, weight, (20, 2, 1, 1)))
    return layer, codes(rng, s8, (3, 2, 50, 60))


LONG = [
    StochasticRounding(Lfsr(16), Lfsr(16).seeds_apart(7, 99), 3, DrawOrder.KYX, reset=Reset.NEVER),
    StochasticRounding(Lfsr(64), Lfsr(64).seeds_apart(64, 1 << 50), 1, DrawOrder.XKY, Tail.IDLE, reset=Reset.NEVER),
    StochasticRounding(Lfsr(23), (5,), 1, DrawOrder.YXK, zero_shift_draws=True),
]


@cache
def clocked(rule: StochasticRounding):
    """A large layer with what the clocked bank says of its first two images, from image 1 on."""
    layer, x = large(rule)
    fixed = run_layer(with_rounding(layer, Rounding.FLOOR), x[:2], backend="jit")
    return layer, x, expected(layer, fixed.acc, 1)[:2]


@pytest.mark.parametrize("fast", [t for t in TARGETS if t.backend != "spec"], ids=str)
@pytest.mark.parametrize("rule", LONG, ids=lambda rule: f"{rule.lanes} lanes of {rule.lfsr.width} bits")
def test_many_tasks_draw_one_sequence(fast, rule):
    fast.need()
    layer, x, (want, events) = clocked(rule)
    with fast.chosen():
        got = run_layer(layer, x[:2], backend=fast.backend, first_image=1)
    np.testing.assert_array_equal(got.codes, want.astype(np.int64))
    assert got.events.output == events > 0


def test_an_image_draws_the_same_in_any_batch(target):
    layer, x = large(LONG[0])
    x = x[:, :, :4, :5]
    with target.chosen():
        whole = run_layer(layer, x, backend=target.backend, first_image=2)
        alone = [run_layer(layer, x[i : i + 1], backend=target.backend, first_image=2 + i) for i in range(3)]
    assert whole.codes.tolist() == [trace.codes[0].tolist() for trace in alone]
    assert whole.draws.first_turns == tuple(trace.draws.first_turns[0] for trace in alone)
    assert len({trace.codes.tobytes() for trace in alone}) == 3


def test_trap_names_the_first_event_that_the_noise_makes(target):
    """Values of 127 and 1/8 leave 8 bits for 1 of 8 noises: the place of the first event is the registers' affair."""
    rule = StochasticRounding(Lfsr(9), (3, 300), order=DrawOrder.XYK, reset=Reset.NEVER)
    layer = Rescale(FixedPoint(16, 3), Output(FixedPoint(8, 0), rule, Overflow.TRAP))
    one = MacContract(FixedPoint(16, 3), FixedPoint(8, 0), Output(FixedPoint(8, 0), rule, Overflow.TRAP), Accumulator(24))
    mac = Convolution(one, np.ones((3, 1, 1, 1), np.int8))
    places = set()
    for first in range(6):
        for subject, x in ((layer, np.full((2, 3, 2, 2), 127 * 8 + 1)), (mac, np.full((2, 1, 2, 2), 127 * 8 + 1))):
            values = np.full((2, 3, 2, 2), 127 * 8 + 1)
            _, _, where = expected(subject, values, first)
            with target.chosen(), pytest.raises(OverflowTrap) as caught:
                run_layer(subject, x, backend=target.backend, first_image=first)
            assert str(sorted(where)[0]) in str(caught.value)
            places.add(sorted(where)[0])
    assert len(places) > 2
