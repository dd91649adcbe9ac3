"""Contracts as text and back: nothing is lost, defaults are not written, and what is edited wrongly gets one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwsim
from hwsim.arith.accumulate import Pairing
from hwsim.arith.lfsr import Alignment, LfsrForm
from hwsim.arith.minifloat import Specials
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.arith.shift_add import SignOrder
from hwsim.contract import (
    Accumulator,
    Activation,
    Axis,
    BiasPoint,
    DrawOrder,
    ExactSum,
    FloatAccumulator,
    FloatMacContract,
    FloatOutput,
    Lfsr,
    MacContract,
    Multiplier,
    Order,
    Output,
    PaddedTaps,
    Reset,
    RoundAt,
    Scaling,
    Schedule,
    ShiftAdd,
    Spill,
    StochasticRounding,
    Tail,
    Tree,
    ZeroSkip,
)
from hwsim.errors import ContractError, HwsimError
from hwsim.formats import Affine, FixedPoint, Minifloat, PowerOfTwo, ZeroCode
from hwsim.formats.catalog import BINARY16, E4M3, FORMATS
from hwsim.network.contract_stanzas import contract_stanza, output_stanza, read_contract, read_output
from hwsim.network.lower.settle import codes, with_grid
from hwsim.network.quantized import Source
from hwsim.network.records import format_stanza, read_format, record
from hwsim.network.strict import Fields
from support.networks import branching, pixels

CHANNELS = 3
roundings, overflows = st.sampled_from(Rounding), st.sampled_from(Overflow)
lengths = st.integers(-12, 12)
fixed = st.builds(FixedPoint, st.integers(2, 16), lengths)
weights = st.one_of(fixed, st.builds(FixedPoint, st.integers(2, 16), st.tuples(lengths, lengths, lengths)))
powers = st.builds(
    lambda low, span, zero: PowerOfTwo(low, low + span, zero), st.integers(-8, 0), st.integers(0, 7), st.sampled_from(ZeroCode)
)
specials = st.sampled_from([Specials.IEEE, Specials.FN])
any_minifloats = st.builds(
    Minifloat, st.integers(2, 8), st.integers(1, 23), st.integers(-20, 20), st.booleans(), specials, st.booleans()
)
minifloats = st.one_of(st.sampled_from(sorted(FORMATS.values(), key=str)), any_minifloats)
spills = st.builds(Spill, st.integers(1, 9), st.integers(2, 12), st.integers(0, 5), roundings, overflows, st.booleans())


@st.composite
def schedules(draw, sums_are_floats=False):
    lanes, pairing = draw(st.integers(1, 5)), draw(st.sampled_from(Pairing))
    levels = Tree(pairing).levels(lanes)
    tree = Tree(pairing)
    if not sums_are_floats and draw(st.booleans()):
        tree = Tree(pairing, tuple(draw(st.lists(st.integers(2, 62), min_size=levels, max_size=levels))), draw(overflows))
    order, tail = draw(st.sampled_from(Order)), draw(st.sampled_from(Tail))
    axis = Axis(order.value[-1]) if tail is Tail.PACKED else draw(st.sampled_from(Axis))
    rest = [draw(st.sampled_from(kind)) for kind in (BiasPoint, PaddedTaps, ZeroSkip)]
    spill = None if sums_are_floats else draw(st.none() | spills)
    return Schedule(order, lanes, axis, tail, tree, *rest, spill)


@st.composite
def accumulators(draw):
    declared = draw(st.none() | lengths | st.tuples(lengths, lengths, lengths))
    dropped = 0 if declared is not None else draw(st.integers(0, 6))
    modes = draw(overflows), dropped, draw(roundings), draw(st.sampled_from(RoundAt))
    return Accumulator(draw(st.integers(12, 64)), declared, draw(st.booleans()), *modes, draw(st.none() | schedules()))


outputs = st.builds(Output, fixed, roundings, overflows, st.sampled_from(Activation))
float_outputs = st.builds(FloatOutput, minifloats, roundings, st.sampled_from(Activation))


@st.composite
def integer_contracts(draw):
    bias = draw(st.none() | weights)
    if draw(st.booleans()):
        return MacContract(draw(fixed), draw(weights), draw(outputs), draw(accumulators()), bias, draw(roundings))
    product = draw(st.none() | st.builds(ShiftAdd, st.integers(0, 9), roundings, st.sampled_from(SignOrder)))
    return MacContract(draw(fixed), draw(powers), draw(outputs), draw(accumulators()), bias, draw(roundings), product)


float_accumulators = st.builds(
    FloatAccumulator, minifloats, roundings, st.none() | minifloats, roundings, schedules(sums_are_floats=True)
)
float_contracts = st.builds(
    FloatMacContract,
    fixed | minifloats,
    weights | powers | minifloats,
    outputs | float_outputs,
    st.just(ExactSum()) | float_accumulators,
    st.none() | fixed | minifloats,
    roundings,
)


def stanza_of(contract) -> dict[str, Any]:
    """The part of a layer's stanza that its contract fills, as a file holds it."""
    stanza = contract_stanza(contract, CHANNELS) | {"output": output_stanza(contract.output)}
    return json.loads(json.dumps(stanza))


def back(stanza: dict[str, Any], fmt):
    fields = Fields(stanza, "net.hwnet/network.json: layer 'a'")
    contract = read_contract(fields, fmt, CHANNELS)
    fields.done()
    return contract


@given(st.data())
def test_an_integer_contract_comes_back(data):
    try:
        contract = data.draw(integer_contracts())
    except ContractError:  # a tree too narrow, a spill wider than its accumulator: refused when built
        return
    if contract.accumulator.fractional_length is None:
        contract = with_grid(contract, CHANNELS)  # as settling leaves it
    assert back(stanza_of(contract), contract.input) == contract


def test_an_order_that_is_the_default_one_is_still_declared():
    """It wraps like none, but the event is counted at each step: not the same contract."""
    f, output = FixedPoint(8, 0), Output(FixedPoint(8, 0))
    for accumulator in (Accumulator(16, schedule=Schedule()), Accumulator(16), Accumulator(16, overflow=Overflow.SATURATE)):
        contract = with_grid(MacContract(f, f, output, accumulator), CHANNELS)
        assert back(stanza_of(contract), f) == contract


@given(float_contracts)
def test_a_float_contract_comes_back(contract):
    assert back(stanza_of(contract), contract.input) == contract


scales = st.floats(2.0**-60, 2.0**60, allow_subnormal=False)
zeros = st.integers(-100, 100)
affines = st.builds(Affine, st.integers(8, 16), scales, zeros, st.just(True), st.booleans())
affine_weights = affines | st.builds(
    Affine, st.integers(8, 16), st.tuples(scales, scales, scales), zeros | st.tuples(zeros, zeros, zeros)
)
numbers = st.integers(0, (1 << 24) - 1)
multipliers = st.builds(
    Multiplier,
    st.sampled_from([rule for rule in Scaling if rule is not Scaling.SHIFT]),
    numbers | st.tuples(numbers, numbers, numbers),
    st.integers(2, 62),
)
clamps = st.none() | st.integers(-100, 0), st.none() | st.integers(0, 100)


def scaled_output(fmt, overflow, scaling, low, high) -> Output:
    """An output stage with a multiplier; what wraps uses every code."""
    fmt = replace(fmt, narrow=False) if overflow is Overflow.WRAP else fmt
    return Output(fmt, Rounding.TIES_UP, overflow, Activation.NONE, scaling, low, high)


scaled = st.builds(scaled_output, affines, overflows, multipliers, *clamps)


@given(affines, affine_weights, scaled, st.sampled_from([Accumulator(32), Accumulator(62)]))
def test_an_affine_contract_comes_back(fmt, weight, output, accumulator):
    contract = with_grid(MacContract(fmt, weight, output, accumulator), CHANNELS)
    assert back(stanza_of(contract), fmt) == contract


def test_an_affine_bias_has_its_grid_from_input_and_weights():
    """bias code = bias / (scale of the input * scale of the channel's weights), rounded once."""
    fmt, weight = Affine(8, 0.5, 3), Affine(8, (0.25, 0.125, 1.0))
    contract = MacContract(fmt, weight, Output(fmt, Rounding.TIES_AWAY, scaling=Multiplier(Scaling.MULTIPLY, 1, 3)))
    source = Source(np.ones((3, 1), dtype=np.float32), np.array([1.0, -1.0, 0.3], dtype=np.float32))
    assert [a.tolist() for a in codes(contract, source)] == [[[4], [8], [1]], [8, -16, 1]]


@given(fixed | weights | powers | minifloats | affine_weights)
def test_a_format_comes_back(fmt):
    assert read_format(json.loads(json.dumps(format_stanza(fmt))), "here", 16, CHANNELS) == fmt


lfsrs = st.builds(Lfsr, st.integers(2, 64), form=st.sampled_from(LfsrForm))


@given(lfsrs, st.lists(st.integers(1, 3), min_size=1, max_size=5), st.data())
def test_stochastic_rounding_comes_back(lfsr, seeds, data):
    kinds = (DrawOrder, Tail, Alignment, Reset)
    rule = StochasticRounding(lfsr, tuple(seeds), data.draw(st.integers(1, 99)), *(data.draw(st.sampled_from(k)) for k in kinds))
    stanza = json.loads(json.dumps({"output": format_stanza(FixedPoint(8, 4)) | {"rounding": record(rule)}}))
    stanza["output"] |= {"overflow": "SATURATE", "activation": "NONE"}
    assert read_output(Fields(stanza, "here")) == Output(FixedPoint(8, 4), rule)


def test_what_is_at_its_default_is_not_written():
    s8 = FixedPoint(8, 4)
    plain = contract_stanza(MacContract(s8, s8, Output(s8)), 3)
    assert plain["accumulator"] == {"bits": 32, "require_proof": False}
    assert "product" not in plain
    saturating = contract_stanza(MacContract(s8, s8, Output(s8), Accumulator(16, overflow=Overflow.SATURATE)), 3)
    assert saturating["accumulator"] == {"bits": 16, "require_proof": False, "overflow": "SATURATE"}
    powers_of_two = contract_stanza(MacContract(s8, PowerOfTwo(-8, -1), Output(s8)), 3)
    assert "product" not in powers_of_two and powers_of_two["weight"] == {"exp_min": -8, "exp_max": -1, "zero": "FIRST"}
    narrow = contract_stanza(MacContract(s8, PowerOfTwo(-8, -1), Output(s8), product=ShiftAdd(2)), 3)
    assert narrow["product"] == {"guard_bits": 2}
    assert format_stanza(E4M3) == {"minifloat": "e4m3"}
    assert format_stanza(Minifloat(3, 7))["exp_bits"] == 3


def edited(tmp_path: Path, name: str, **changes) -> Path:
    """The branching network in a file, with fields of one layer changed by hand."""
    folder = branching().save(tmp_path / "net.hwnet")
    document = json.loads((folder / "network.json").read_text())
    node = next(node for node in document["nodes"] if node["name"] == name)
    node.update(changes)
    (folder / "network.json").write_text(json.dumps(document))
    return folder


def test_one_layer_edited_to_powers_of_two_is_listed_and_its_codes_follow(tmp_path):
    folder = edited(tmp_path, "left", weight={"exp_min": -8, "exp_max": -1}, accumulator={"bits": 40, "require_proof": True})
    opened = hwsim.load(folder)
    assert opened.edited == ("left",)
    layer, source = opened["left"].layer, opened["left"].source
    assert layer.contract.weight == PowerOfTwo(-8, -1) and layer.contract.product == ShiftAdd(8)
    assert (layer.weight == PowerOfTwo(-8, -1).encode_array(source.weight)).all()
    again = hwsim.load(opened.save(tmp_path / "again.hwnet"))
    assert again.edited == () and again["left"].layer.contract == layer.contract


ORDERED = {
    "bits": 20,
    "require_proof": False,
    "overflow": "SATURATE",
    "dropped_bits": 2,
    "rounding": "FLOOR",
    "round_at": "STEP",
    "schedule": {
        "order": "RSC",
        "lanes": 4,
        "tree": {"pairing": "HALVES", "bits": [17, 18], "overflow": "WRAP"},
        "bias": "LAST",
        "padded": "SKIPPED",
        "skip_zeros": "EITHER",
        "spill": {"every": 3, "bits": 16, "shift": 2, "overflow": "SATURATE", "last": True},
    },
}


def test_an_accumulator_edited_by_hand_is_the_one_that_runs(tmp_path):
    opened = hwsim.load(edited(tmp_path, "right", accumulator=ORDERED))
    tree = Tree(Pairing.HALVES, (17, 18), Overflow.WRAP)
    spill = Spill(3, 16, 2, overflow=Overflow.SATURATE, last=True)
    rest = (BiasPoint.LAST, PaddedTaps.SKIPPED, ZeroSkip.EITHER, spill)
    schedule = Schedule(Order.RSC, 4, Axis.C, Tail.IDLE, tree, *rest)
    expected = Accumulator(20, None, False, Overflow.SATURATE, 2, Rounding.FLOOR, RoundAt.STEP, schedule)
    assert opened.edited == ("right",)
    assert opened["right"].layer.contract.accumulator == expected


def test_a_declared_grid_stays_and_one_that_follows_moves(tmp_path):
    ordered = {"bits": 40, "require_proof": False, "overflow": "SATURATE", "integer_bits": 30}
    opened = hwsim.load(edited(tmp_path, "left", accumulator=ordered))
    assert opened["left"].layer.contract.accumulator.fractional_length == 10
    again = hwsim.load(opened.save(tmp_path / "again.hwnet"))
    assert again["left"].layer.contract == opened["left"].layer.contract
    assert again.with_bits("left", weights=6)["left"].layer.contract.accumulator.fractional_length == 10
    (tmp_path / "b").mkdir()
    register, bias = {"bits": 48, "require_proof": False}, {"bits": 8, "integer_bits": -10, "signed": True}
    biased = hwsim.load(edited(tmp_path / "b", "left", bias=bias, accumulator=register))
    assert biased["left"].layer.contract.accumulator.fractional_length == 18
    assert "integer_bits" not in biased["left"].to_json()["accumulator"], "it follows from the bias, so it is not stored"


def test_layers_edited_to_minifloats_run_beside_integer_ones(tmp_path):
    """An exact sum, a float register in a declared order, and fixed point in one network; packed and computed again."""
    folder = edited(tmp_path, "left", weight={"minifloat": "e4m3"}, accumulator={"exact": True}, bias={"minifloat": "binary16"})
    document = json.loads((folder / "network.json").read_text())
    right = next(node for node in document["nodes"] if node["name"] == "right")
    right["weight"] = {"exp_bits": 3, "man_bits": 4, "bias": 9, "saturate": True}
    right["accumulator"] = {"format": {"minifloat": "binary16"}, "schedule": {"lanes": 4, "order": "RSC"}}
    (folder / "network.json").write_text(json.dumps(document))
    opened = hwsim.load(folder)
    assert opened.edited == ("left", "right")
    left, register = opened["left"].layer.contract, opened["right"].layer.contract.accumulator
    assert (left.weight, left.bias, left.accumulator) == (E4M3, BINARY16, ExactSum())
    assert register == FloatAccumulator(BINARY16, schedule=Schedule(Order.RSC, 4))
    assert opened["right"].layer.contract.weight == Minifloat(3, 4, bias=9, saturate=True)
    again = hwsim.load(opened.save(tmp_path / "again.hwnet"))
    assert again.edited == () and str(again).splitlines()[1:] == str(opened).splitlines()[1:]
    codes = E4M3.to_real(opened["left"].layer.weight)
    assert np.abs(codes - opened["left"].source.weight).max() <= 2.0**-5, "half a unit in the last place below 1"
    trace = hwsim.run(again, pixels(1), backend="spec")
    assert hwsim.check(hwsim.write_golden(trace, tmp_path / "pkg", layers=["left", "right", "joint"]), spec_outputs=50).passed


MINIFLOAT_OUTPUT = {"minifloat": "e4m3", "saturate": True, "rounding": "TIES_EVEN", "activation": "NONE"}


def test_a_unit_in_integers_that_reads_minifloats_is_named_with_what_to_do(tmp_path):
    folder = edited(tmp_path, "conv1", output=MINIFLOAT_OUTPUT, accumulator={"exact": True})
    with pytest.raises(HwsimError, match="layer 'left', reads: found the minifloat .* through a rescale to bits and") as caught:
        hwsim.load(folder)
    assert str(caught.value).startswith(str(folder))


def test_a_whole_network_edited_to_minifloats_is_packed_and_computed_again(tmp_path):
    folder = branching().save(tmp_path / "net.hwnet")
    document = json.loads((folder / "network.json").read_text())
    for node in document["nodes"]:
        if "weight" in node:
            node.update(weight={"minifloat": "e4m3"}, accumulator={"exact": True})
        if "output" in node:
            node["output"] = MINIFLOAT_OUTPUT | {"activation": node["output"]["activation"]}
        if "format" in node:
            node["format"] = {"minifloat": "e4m3", "saturate": True}
    (folder / "network.json").write_text(json.dumps(document))
    opened = hwsim.load(folder)
    assert opened.edited == tuple(node.name for node in opened)
    assert {node.layer.output_format for node in opened} == {replace(E4M3, saturate=True)}
    again = hwsim.load(opened.save(tmp_path / "again.hwnet"))
    assert again.edited == () and str(again).splitlines()[1:] == str(opened).splitlines()[1:]
    package = hwsim.write_golden(hwsim.run(again, pixels(1)), tmp_path / "pkg")
    assert hwsim.check(package, spec_outputs=20).passed


def test_an_output_edited_to_stochastic_rounding_draws(tmp_path):
    rule = {"lfsr": {"width": 16, "form": "GALOIS"}, "seeds": [1, 44257], "reset": "NEVER", "order": "KYX"}
    plain = branching()["left"].layer.contract.output
    folder = edited(tmp_path, "left", output=output_stanza(plain) | {"rounding": rule})
    opened = hwsim.load(folder)
    expected = StochasticRounding(Lfsr(16, form=LfsrForm.GALOIS), (1, 44257), order=DrawOrder.KYX, reset=Reset.NEVER)
    assert "left" in opened.edited and opened["left"].layer.contract.output.rounding == expected
    again = hwsim.load(opened.save(tmp_path / "again.hwnet"))
    assert again["left"].layer.contract == opened["left"].layer.contract
    stored = json.loads((tmp_path / "again.hwnet" / "network.json").read_text())
    left = next(node for node in stored["nodes"] if node["name"] == "left")
    polynomial = list(expected.lfsr.polynomial)
    assert left["output"]["rounding"] == rule | {"lfsr": {"width": 16, "polynomial": polynomial, "form": "GALOIS"}}
    trace = hwsim.run(opened, pixels(2), first_image=7)
    report = hwsim.check(hwsim.write_golden(trace, tmp_path / "pkg", layers=["left"]), spec_outputs=50)
    assert report.passed and trace["left"].draws.first_turns[0] == 7 * trace["left"].draws.turns


def acc(**changes: Any) -> dict[str, Any]:
    return {"accumulator": ORDERED | changes}


def scheduled(**changes: Any) -> dict[str, Any]:
    return acc(schedule=changes)


def out(**changes: Any) -> dict[str, Any]:
    plain = {"bits": 8, "integer_bits": 4, "signed": True, "rounding": "TIES_EVEN", "overflow": "WRAP", "activation": "NONE"}
    return {"output": {k: v for k, v in (plain | changes).items() if v is not None}}


def float_out(**changes: Any) -> dict[str, Any]:
    return out(**{"minifloat": "e4m3", "bits": None, "integer_bits": None, "signed": None, "overflow": None} | changes)


REFUSED = {
    "an unknown field": (acc(colour=1), "accumulator: the field 'colour' is unknown"),
    "a grid in other words": (acc(fractional_length=3), "'fractional_length' is unknown; give integer_bits"),
    "no mode": (acc(overflow="CLAMP"), "accumulator, overflow: found 'CLAMP', allowed one of WRAP"),
    "dropped bits": (acc(dropped_bits=63), "Accumulator.dropped_bits: found 63, allowed an integer in 0..62"),
    "two grids": (acc(integer_bits=9), "dropped_bits: found 2 beside a fractional_length"),
    "no schedule": (acc(schedule=3), "accumulator, schedule: found 3, allowed an object of named fields or null"),
    "no order": (scheduled(order="KRS"), "schedule, order: found 'KRS', allowed one of CRS"),
    "no lanes": (scheduled(lanes=0), "Schedule.lanes: found 0, allowed an integer in 1..4096"),
    "lanes as text": (scheduled(lanes="4"), "schedule, lanes: found '4', allowed an integer"),
    "many lanes": (scheduled(lanes=1 << 40), "Schedule.lanes: found 1099511627776"),
    "a level too many": (scheduled(lanes=2, tree={"bits": [9, 9]}), "Schedule.tree.bits: found 2 widths for 2 lanes"),
    "a narrow level": (scheduled(lanes=2, tree={"bits": [9]}), r"tree.bits\[0\]: found 9 without an overflow mode"),
    "a broken width": (scheduled(lanes=2, tree={"bits": [9.5]}), "tree, bits: found .9.5., allowed a list of at most 65,536"),
    "a spill without width": (scheduled(spill={"every": 3}), "schedule, spill: the field 'bits' is missing"),
    "a wide spill": (scheduled(spill={"every": 3, "bits": 21}), "Spill.bits: found 21, wider than the accumulator"),
    "an exponent beyond": ({"weight": {"exp_min": -63, "exp_max": -1}}, "PowerOfTwo.exp_min: found -63"),
    "exponents upside down": ({"weight": {"exp_min": 0, "exp_max": -1}}, "PowerOfTwo.exp_max: found -1"),
    "no zero": ({"weight": {"exp_min": -8, "exp_max": -1, "zero": "YES"}}, "weight, zero: found 'YES', allowed one of NONE"),
    "a product of fixed point": ({"product": {"guard_bits": 3}}, "MacContract.product: found .*, allowed None"),
    "negative guard bits": ({"product": {"guard_bits": -1}}, "ShiftAdd.guard_bits: found -1"),
    "an integer datapath": ({"weight": {"minifloat": "e4m3"}}, "weight: found the minifloat .* with an integer accumulator"),
    "a minifloat of no name": ({"weight": {"minifloat": "e9m9"}}, "weight, minifloat: found 'e9m9', allowed one of binary32"),
    "exponent bits": ({"weight": {"exp_bits": 9, "man_bits": 1}}, "Minifloat.exp_bits: found 9, allowed an integer in 2..8"),
    "a float output": (float_out(), "output: found the minifloat .* with an integer accumulator"),
    "a float output that wraps": (float_out(overflow="WRAP"), "output, overflow: found one beside a minifloat"),
    "no exact sum": ({"accumulator": {"exact": False}}, "accumulator, exact: found false, allowed true"),
    "an exact sum and bits": ({"accumulator": {"exact": True, "bits": 3}}, "accumulator: the field 'bits' is unknown"),
    "a register of no name": ({"accumulator": {"format": {"minifloat": 3}}}, "accumulator, format, minifloat: found 3"),
    "a float register that spills": (
        {"accumulator": {"format": {"minifloat": "binary16"}, "schedule": {"spill": {"every": 3, "bits": 16}}}},
        "FloatAccumulator.schedule.spill: found",
    ),
    "a rounding without register": (out(rounding={"seeds": [1]}), "output, rounding: the field 'lfsr' is missing"),
    "a short period": (
        out(rounding={"lfsr": {"width": 4, "polynomial": [4, 2]}}),
        "rounding, lfsr: Lfsr.polynomial: found .4, 2., which is not of full period",
    ),
    "a seed of zero": (out(rounding={"lfsr": {"width": 4}, "seeds": [0]}), r"StochasticRounding.seeds\[0\]: found 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_edit_names_file_layer_and_field(name, tmp_path):
    changes, sentence = REFUSED[name]
    folder = edited(tmp_path, "right", **changes)
    with pytest.raises(HwsimError, match=sentence) as caught:
        hwsim.load(folder)
    assert str(caught.value).startswith(str(folder)) and "layer 'right'" in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_saturating_names_differ_only_where_they_differ():
    assert format_stanza(replace(E4M3, saturate=True)) == {"minifloat": "e4m3", "saturate": True}
    assert read_format({"minifloat": "binary16"}, "here", 16) == BINARY16


GUIDE = Path(__file__).resolve().parents[2] / "docs" / "hwnet.md"
EXAMPLES = [line.strip() for line in GUIDE.read_text().splitlines() if line.startswith('    "')]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_of_the_guide_is_taken_and_comes_back(number, tmp_path):
    changes = json.loads("{" + EXAMPLES[number] + "}")
    opened = hwsim.load(edited(tmp_path, "right", **changes))
    again = hwsim.load(opened.save(tmp_path / "again.hwnet"))
    assert ("right" in opened.edited) == (changes != {"accumulator": {"bits": 32, "require_proof": True}})
    assert again["right"].layer.contract == opened["right"].layer.contract
