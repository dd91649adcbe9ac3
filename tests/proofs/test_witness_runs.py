"""Witnesses run: by every backend the same events and contents, at the named step; and as golden packages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.arith.accumulate import Place
from hwsim.arith.overflow import Overflow
from hwsim.contract import Accumulator, Axis, BiasPoint, MacContract, Order, Output, PaddedTaps, Schedule, Spill, Tree, ZeroSkip
from hwsim.errors import BackendError, ContractError
from hwsim.execute.single import Conv2d, Deconv2d, Linear
from hwsim.execute.trace import LayerTrace
from hwsim.formats import FixedPoint
from hwsim.layers import MacLayer, Shape
from hwsim.proofs.prove import prove
from hwsim.proofs.witness import Witness, find_witness, witnesses
from oracles.witness_cases import smalls
from oracles.witness_runs import cut_out, flagged, trapped_at

BACKENDS = ("spec", "jit", "native")
U8, S8 = FixedPoint(8, 0, False), FixedPoint(8, 0)


def confirmed(found: Witness, name: str, spec: LayerTrace | None = None) -> bool:
    """A backend runs the whole tensor: it counts and flags the events, leaves the contents; and stops at the step, if it can."""
    place = Place[found.place.upper()]
    ran = found.trace(name)
    assert flagged(found.runnable, found.inputs, place, name)[found.at]
    assert (ran.acc[found.at], ran.codes[found.at]) == (found.acc, found.code)
    assert ran.events == (found.trace("spec") if spec is None else spec).events and getattr(ran.events, found.place) > 0
    alone = cut_out(found)
    if alone is None:
        return False
    assert trapped_at(*alone, name) == (found.place, (0, 0, 0, 0), found.step)
    return True


def all_of(found: Witness) -> list[Witness]:
    return [w for w in (found, found.visible, found.other) if w is not None]


@pytest.mark.parametrize("name", BACKENDS)
@settings(max_examples=25)
@given(small=smalls(1 << 60), place=st.sampled_from([Place.ACCUMULATOR, Place.ACCUMULATOR, Place.TREE, Place.SPILL]))
def test_every_backend_overflows_at_the_named_step(name, small, place):
    found = find_witness(small.layer, small.shape, prove(small.layer, small.shape, small.inputs), place=place)
    for witness in [] if found is None else all_of(found):
        try:
            if confirmed(witness, name):
                event(f"stopped at the named step: {witness.place}")
        except BackendError:
            assert name == "native", "which may lack an order"


def middling() -> list[tuple[str, MacLayer, Shape]]:
    """Layers of some hundred taps, whose inputs nobody can enumerate: (what, layer, shape)."""
    rng = np.random.default_rng(7)
    weight = np.clip(rng.normal(0, 30, size=(3, 13, 3, 3)), -127, 127).astype(np.int64)
    bias = rng.integers(-20000, 20000, size=3)
    order = Schedule(Order.RSC, lanes=16, lane_axis=Axis.C)
    tree = Tree(bits=(15, 15, 16, 16), overflow=Overflow.SATURATE)
    schedules = {
        "sixteen lanes": order,
        "one lane": Schedule(bias=BiasPoint.LAST),
        "narrow tree": replace(order, tree=tree),
        "spills": replace(order, spill=Spill(3, 13, 2)),
        "skipped padding": replace(order, padded=PaddedTaps.SKIPPED),
        "skipped zeros": replace(order, skip_zeros=ZeroSkip.EITHER),
    }
    found = []
    for what, schedule in schedules.items():
        for mode in (Overflow.SATURATE, Overflow.WRAP):
            acc = Accumulator(16, overflow=mode, schedule=schedule)
            contract = MacContract(U8, S8, Output(FixedPoint(8, -6)), acc)
            found.append((f"{what}, {mode.name}", Conv2d(pad=1, stride=2).layer(weight, contract, bias), Shape(13, 5, 4)))
    contract = MacContract(U8, S8, Output(FixedPoint(8, -6)), Accumulator(16))
    found.append(("no order", Conv2d().layer(weight, contract, bias), Shape(13, 3, 4)))
    found.append(("up", Deconv2d(stride=2, pad=1).layer(weight, contract, bias), Shape(13, 2, 3)))
    flat = Linear().layer(weight.reshape(3, -1), replace(contract, accumulator=Accumulator(15, schedule=order)), bias // 2)
    return [*found, ("connected", flat, Shape(13, 3, 3))]


MIDDLING = middling()


@pytest.mark.parametrize(("what", "layer", "shape"), MIDDLING, ids=[what for what, _, _ in MIDDLING])
def test_a_layer_of_hundreds_of_taps_overflows_in_every_register(what, layer, shape):
    proof = prove(layer, shape, name=what)
    found = witnesses([proof])
    assert found and found[0].place == "accumulator"
    assert ("tree" in what) == any(w.place == "tree" for w in found)
    assert ("spill" in what) == any(w.place == "spill" for w in found)
    stopped = []
    for each in [each for one in found for each in all_of(one)]:
        spec = each.trace("spec")
        stopped += [confirmed(each, name, spec) for name in BACKENDS]
    assert any(stopped) == (layer.contract.accumulator.schedule is not None), "no order, no step"
    assert (found[0].fewest or "spill" in what) and found[0].nonzeros <= 4, "a buffer that wraps may hide it"
    assert found[0].visible is not None and found[0].visible.nonzeros <= 8


@pytest.mark.parametrize("bits", [62, 63, 64])
@pytest.mark.parametrize("mode", [Overflow.WRAP, Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC])
def test_registers_at_the_edge_of_int64_have_witnesses(bits, mode):
    acc = Accumulator(bits, 46, overflow=mode, schedule=Schedule(bias=BiasPoint.LAST))
    contract = MacContract(S8, S8, Output(FixedPoint(16, -10)), acc, FixedPoint(62, 46))
    layer = Linear().layer(np.array([[127, -127, 127, -100, 127, 127, 90]]), contract, np.array([(1 << 60) - 5]))
    found = find_witness(layer, Shape(7, 1, 1))
    if bits == 64:
        assert found is None, "no sum of more than 64 bits can be declared"
        return
    assert found.fewest
    for name in BACKENDS:
        assert confirmed(found, name)


def test_a_package_holds_the_witness_and_explains_its_step(tmp_path):
    _, layer, shape = MIDDLING[0]
    (found,) = witnesses([prove(layer, shape, name="fire2/expand3x3")])
    package = found.write(tmp_path / "witness")
    assert hwsim.check(package).passed
    told = hwsim.explain_golden(package, "fire2/expand3x3", found.at)
    first = next(row for row in told.rows if row.events.accumulator)
    assert (first.step, first.exact, told.acc, told.persistent) == (found.step, found.asked, found.acc, found.persistent)
    assert hwsim.explain_golden(package, "fire2/expand3x3").events.accumulator, "the first output that overflows, unasked"
    with pytest.raises(hwsim.HwsimError, match="exists"):
        found.write(tmp_path / "witness")
    found.visible.write(tmp_path / "witness", force=True)


def test_what_is_no_input_of_a_layer_is_refused():
    layer = Linear().layer(np.array([[100, 100]]), MacContract(U8, S8, Output(S8), Accumulator(15)))
    found = find_witness(layer, Shape(2, 1, 1))
    with pytest.raises(ContractError, match=r"Witness.inputs: found shape \(3,\)"):
        replace(found, inputs=np.zeros(3))
