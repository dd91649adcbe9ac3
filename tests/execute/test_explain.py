"""An explanation is the specification's own story: its rows join, and they end in the specification's code and events."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.arith.shift_add import SignOrder
from hwsim.contract import (
    Accumulator,
    Axis,
    BiasPoint,
    Lfsr,
    MacContract,
    Order,
    Output,
    Reset,
    Schedule,
    ShiftAdd,
    Spill,
    StochasticRounding,
    Tail,
    Tree,
)
from hwsim.errors import ContractError, InputError, OverflowTrap
from hwsim.execute.explain import explain, explain_layer
from hwsim.execute.explanation import Explanation, Kind
from hwsim.execute.single import run_layer
from hwsim.execute.trace import run
from hwsim.formats import FixedPoint, PowerOfTwo
from hwsim.layers import Convolution
from oracles.cases import Case
from oracles.compare import shapes
from oracles.ordered_cases import ordered_cases
from support.networks import branching, pixels

S8 = FixedPoint(8, 0)
NOISE = StochasticRounding(Lfsr(8), seeds=(1, 77, 200))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A layer with a declared order, or without one; some round by noise."""
    case = draw(ordered_cases())
    contract, kind = case.layer.contract, draw(st.integers(0, 9))
    if kind == 0:
        contract = replace(contract, accumulator=Accumulator(draw(st.integers(8, 40))))
    if kind in (1, 2):
        contract = replace(contract, output=replace(contract.output, rounding=NOISE))
    try:
        return Case(case.name, replace(case.layer, contract=contract), case.inputs)
    except ContractError:
        assume(False)
        raise


def check_story(found: Explanation) -> None:
    """The rows join, and each adds what it says."""
    held = 0 if found.rows[:1] and found.rows[0].kind is not Kind.SUM else None
    for row in found.rows:
        assert held is None or row.before == held
        assert row.adds is None or row.exact == row.before + row.adds
        assert row.after == row.exact or any(row.events)
        assert found.low <= row.after <= found.high
        held = row.after
    assert found.acc == (held or 0)
    taken = [lane.tap for row in found.rows for lane in row.lanes if lane.tap is not None]
    assert len(set(taken)) == len(taken), "no tap is taken twice"


@settings(max_examples=150)
@given(cases(), st.data())
def test_the_last_row_is_the_specifications_cell(case: Case, data: st.DataObject) -> None:
    layer, codes = case.layer, case.inputs[0]
    shape = (len(codes), *layer.output_shape(shapes(case)))
    n, k, y, x = (data.draw(st.integers(0, size - 1)) for size in shape)
    found = explain(layer, (n, k, y, x), codes, first_turn=7 * n)
    cell = layer.spec([codes.tolist()], n, k, y, x, 7 * n)
    check_story(found)
    assert (found.acc, found.code, found.events) == (cell.acc, cell.code, cell.events)
    tree, accumulator, spill = (sum(row.events[i] for row in found.rows) for i in range(3))
    assert (tree, accumulator, spill, found.ending.event) == tuple(cell.events[i] for i in (2, 0, 3, 1))
    ordered = layer.contract.accumulator.schedule is not None
    transient = (accumulator, tree, spill) if ordered and not found.persistent else (0, 0, 0)
    assert tuple(cell.events[4:]) == transient
    assert json.loads(json.dumps(found.to_json()))["code"] == cell.code
    assert str(found).count("\n") > 3


def test_products_and_taps_are_the_convolutions() -> None:
    """Against numpy: what each step reads, and the exact end, which no register limits here."""
    rng = np.random.default_rng(3)
    codes, weights = rng.integers(-128, 128, (1, 5, 4, 7)), rng.integers(-128, 128, (2, 5, 2, 3))
    for schedule in (None, Schedule(Order.SCR, lanes=2, lane_axis=Axis.R), Schedule(Order.RSC, lanes=3, tail=Tail.PACKED)):
        layer = Convolution(MacContract(S8, S8, Output(S8), Accumulator(32, schedule=schedule)), weights, np.array([77, -99]))
        found = explain(layer, (0, 1, 2, 3), codes)
        lanes = [lane for row in found.rows for lane in row.lanes if lane.tap is not None]
        assert {lane.tap for lane in lanes} == set(np.ndindex(5, 2, 3))
        for lane in lanes:
            c, r, s = lane.tap
            assert (lane.x, lane.w) == (codes[0, c, 2 + r, 3 + s], weights[1, c, r, s])
            assert lane.product == lane.x * lane.w
            assert lane.how == f"{lane.x} * {lane.w} = {lane.product}"
        assert found.acc == found.rows[-1].unlimited == (codes[0, :, 2:4, 3:6] * weights[1]).sum() - 99


def saturated() -> Explanation:
    """100 + 100 - 50 - 50 in 8 bits, lane by lane."""
    contract = MacContract(S8, S8, Output(S8), Accumulator(8, overflow=Overflow.SATURATE))
    return explain(hwsim.Linear().layer(np.array([[100, 100, -50, -50]]), contract), (0, 0, 0, 0), np.ones((1, 4, 1, 1), int))


def test_a_transient_overflow_reads_as_one() -> None:
    found = saturated()
    assert [(row.before, row.exact, row.after, row.unlimited) for row in found.rows] == [
        (0, 100, 100, 100),
        (100, 200, 127, 200),
        (127, 77, 77, 150),
        (77, 27, 27, 100),
    ]
    assert [found.event_text(row) for row in found.rows] == ["", "accumulator (transient)", "", ""]
    assert (found.persistent, found.code, found.unit) == (False, 27, Fraction(1))


def test_the_step_is_noted_at_which_a_trap_stops() -> None:
    """The tree's first overflow is in step 0, the spill's behind step 1, the accumulator's in step 2: who says TRAP first."""
    wrap, trap = Overflow.WRAP, Overflow.TRAP
    modes = {(trap, trap, trap): [0], (wrap, trap, trap): [2], (wrap, wrap, trap): [3], (wrap, wrap, wrap): []}
    for (tree, spill, register), stops in modes.items():
        steps = Schedule(lanes=2, tree=Tree(bits=(7,), overflow=tree), spill=Spill(2, 6, overflow=spill))
        contract = MacContract(S8, S8, Output(S8), Accumulator(7, overflow=register, schedule=steps))
        layer = hwsim.Linear().layer(np.array([[60, 60, 2, 42, -30, -20]]), contract)
        found = explain(layer, (0, 0, 0, 0), np.ones((1, 6, 1, 1), int))
        assert [row.events for row in found.rows] == [(1, 0, 0), (0, 0, 0), (0, 0, 1), (0, 1, 0)]
        assert [i for i, row in enumerate(found.rows) if "TRAP stops here" in row.note] == stops
        if stops:
            with pytest.raises(OverflowTrap) as trapped:
                run_layer(layer, np.ones((1, 6, 1, 1), int), backend="spec")
            assert trapped.value.step == found.rows[stops[0]].step


def test_the_first_overflow_is_found() -> None:
    """Against the specification, output by output in row-major order."""
    rng = np.random.default_rng(5)
    x, w = rng.integers(-90, 128, (2, 2, 3, 4)), rng.integers(-128, 128, (3, 2, 2, 2))
    for bits in (15, 16):
        spill = Schedule(spill=Spill(3, bits - 1))
        contract = MacContract(S8, S8, Output(S8), Accumulator(bits, overflow=Overflow.SATURATE, schedule=spill))
        layer = hwsim.Conv2d().layer(w, contract)
        cells = {at: layer.spec([x.tolist()], *at).events for at in np.ndindex(2, 3, 2, 3)}
        with_events = [at for at, events in cells.items() if events.accumulator + events.spill]
        assert explain(layer, inputs=x).at == with_events[0] > (0, 0, 0, 0)
    quiet = hwsim.Conv2d().layer(w, MacContract(S8, S8, Output(S8)))
    with pytest.raises(InputError, match="convolution: no output has an overflow before its last stage"):
        explain(quiet, None, x)


def test_shift_add_says_how_it_shifts() -> None:
    weight = PowerOfTwo(-4, 2)
    codes = weight.encode_array(np.array([-0.125, 2.0, 0.0, 0.5])).reshape(1, 4)
    texts = {}
    for sign in SignOrder:
        contract = MacContract(S8, weight, Output(S8), product=ShiftAdd(1, Rounding.FLOOR, sign))
        found = explain(hwsim.Linear().layer(codes, contract), (0, 0, 0, 0), np.array([[[5]], [[-3]], [[9]], [[7]]]))
        texts[sign] = [lane.how for lane in found.rows[0].lanes]
    rest = ["-3 * +2^1: ((-3 << 1) << 1) = -12", "9 * 0 = 0", "7 * +2^-1: ((7 << 1) >> 1) = 7"]
    assert texts[SignOrder.BEFORE_ROUNDING] == ["5 * -2^-3: ((-5 << 1) >> 3) = -2", *rest]
    assert texts[SignOrder.AFTER_ROUNDING] == ["5 * -2^-3: -((5 << 1) >> 3) = -1", *rest]


def test_a_trace_explains_its_own_outputs() -> None:
    x, w = np.arange(-9, 9).reshape(1, 2, 3, 3), np.arange(16).reshape(2, 2, 2, 2)
    trace = hwsim.Conv2d().run(x, w, MacContract(S8, S8, Output(S8)), backend="spec")
    for at in np.ndindex(1, 2, 2, 2):
        assert hwsim.explain(trace, at).acc == trace.acc[at]
    with pytest.raises(InputError, match="found inputs beside a trace"):
        hwsim.explain(trace, (0, 0, 0, 0), x)


def test_every_layer_of_a_network_is_explained_from_its_pixels() -> None:
    network, batch = branching(), pixels(2)
    trace = run(network, batch, "spec")
    for node in network.mac_nodes:
        acc = trace[node.name].acc
        for at in ((0,) * 4, tuple(size - 1 for size in acc.shape)):
            found = explain_layer(network, batch, node.name, at, "jit")
            assert (found.name, found.acc, found.code) == (node.name, acc[at], trace[node.name].codes[at])
    assert explain_layer(network, batch[1], "fc", (0, 3, 0, 0)).acc == trace["fc"].acc[1, 3, 0, 0]


def test_the_output_that_stopped_a_run_is_explained() -> None:
    network, batch = branching(overflow=Overflow.TRAP), pixels(1)
    with pytest.raises(OverflowTrap) as trapped:
        run(network, batch, "jit")
    found = explain_layer(network, batch, trapped.value.layer, trapped.value.coordinate)
    assert found.ending.event == 1
    assert "an event at the output" in str(found)


def test_a_trace_knows_what_each_image_drew() -> None:
    """Registers that are never loaded again: the third image draws what the first left."""
    rule = StochasticRounding(Lfsr(9), (1, 300), reset=Reset.NEVER)
    contract = MacContract(S8, S8, Output(FixedPoint(8, -7), rule))
    x, w = np.arange(-27, 27).reshape(3, 2, 3, 3), np.arange(16).reshape(2, 2, 2, 2)
    trace = run_layer(hwsim.Conv2d().layer(w, contract), x, backend="spec", first_image=5)
    found = [explain(trace, at) for at in np.ndindex(3, 2, 2, 2)]
    assert [one.code for one in found] == trace.codes.ravel().tolist()
    noises = {one.at: (one.acc, one.ending.steps[1]) for one in found}
    assert noises[2, 1, 1, 0][1].endswith(", lane 1 in turn 30"), "8 draws of an image take 4 turns; 5 * 4 + 2 * 4 + 2"
    acc, said = noises[0, 0, 0, 0]
    assert said == f"requantize: ({acc} + noise {Lfsr(9).state(1, 20) >> 2}) >> 7 = {trace.codes[0, 0, 0, 0]}, lane 0 in turn 20"


def test_what_cannot_be_explained_is_refused() -> None:
    layer = hwsim.Linear().layer(np.ones((2, 4), int), MacContract(S8, S8, Output(S8)))
    good = np.ones((1, 4, 1, 1), int)
    for at in ((0, 2, 0, 0), (0, 0, 0), (0, 0, 0, 0.5), "0000", (1, 0, 0, 0), (0, -1, 0, 0)):
        with pytest.raises(InputError, match=r"found output .*, allowed \(n, k, y, x\) from \(0, 0, 0, 0\) to \(0, 1, 0, 0\)"):
            explain(layer, at, good)
    with pytest.raises(InputError, match=r"inputs reach -200\.\.1, allowed -128\.\.127"):
        explain(layer, (0, 0, 0, 0), np.array([1, 1, 1, -200]).reshape(1, 4, 1, 1))
    for bad in (None, np.ones(4, int), good.astype(float)):
        with pytest.raises(InputError, match=r"allowed codes \[N\]\[C\]\[H\]\[W\]"):
            explain(layer, (0, 0, 0, 0), bad)


@pytest.mark.parametrize("kind", ["undeclared", "tree and spill", "many steps"])
def test_every_kind_of_picture_is_drawn(kind: str, tmp_path) -> None:
    taps = 300 if kind == "many steps" else 10
    x, w = np.arange(taps).reshape(1, taps, 1, 1) % 50, np.full((1, taps), 3)
    tree = Schedule(lanes=4, tree=Tree(bits=(8, 8), overflow=Overflow.WRAP), spill=Spill(1, 7, 1), bias=BiasPoint.LAST)
    schedule = {"undeclared": None, "tree and spill": tree, "many steps": Schedule()}[kind]
    layer = hwsim.Linear().layer(w, MacContract(S8, S8, Output(S8), Accumulator(9, schedule=schedule)), np.array([5]))
    explain(layer, (0, 0, 0, 0), x).plot(tmp_path / "explained.svg")
    assert (tmp_path / "explained.svg").read_bytes().startswith(b"<?xml")
