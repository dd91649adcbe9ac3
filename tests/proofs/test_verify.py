"""The checker of certificates: true ones pass, false ones do not, and what is none is refused in a sentence."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.arith.shift_add import SignOrder
from hwsim.contract import (
    Accumulator,
    Axis,
    BiasPoint,
    MacContract,
    Output,
    PaddedTaps,
    Schedule,
    ShiftAdd,
    Spill,
    Tree,
    ZeroSkip,
)
from hwsim.contract.stochastic import Tail
from hwsim.errors import HwsimError, InputError, ProofError
from hwsim.execute.single import run_layer
from hwsim.formats import FixedPoint, PowerOfTwo
from hwsim.formats.catalog import E4M3
from hwsim.golden.write import layer_digest
from hwsim.layers import Convolution, Deconvolution, FullyConnected, Shape
from hwsim.proofs.certificate import InputRange
from hwsim.proofs.prove import prove
from hwsim.proofs.states import rounded
from hwsim.proofs.verify import verify
from hwsim.proofs.walks import Unit
from oracles import overflow as oracle
from oracles.exact import rounded as oracle_rounded
from oracles.overflow_cases import Small, Steps, small_layers

S8, S4, U4 = FixedPoint(8, 0), FixedPoint(4, 0), FixedPoint(4, 0, signed=False)
RNG = np.random.default_rng(12)


def told(proof) -> Any:
    """A certificate as a file gives it."""
    return json.loads(json.dumps(proof.to_json()))


def width(low: int, high: int, overflow: Overflow) -> int:
    """The narrowest register of at least two bits that holds both ends."""
    bits = 2
    while high >= 1 << (bits - 1) or low < -(1 << (bits - 1)) + (overflow == Overflow.SATURATE_SYMMETRIC):
        bits += 1
    return bits


def claimed(small: Small) -> Any:
    """The certificate that brute force over every input writes."""
    layer, shape, low, high = small
    found, overflow = oracle.brute_force(*small), layer.contract.accumulator.overflow

    def register(chosen) -> dict[str, Any]:
        asked = [chosen(each) for each in found]
        ends = {end: [getattr(each, end) for each in asked] for end in ("low", "high")}
        return ends | {f"{end}_at": [list(min(getattr(each, f"{end}_at"))) for each in asked] for end in ("low", "high")}

    accumulator, biases = register(lambda r: r.accumulator), [oracle.bias_of(layer, k) for k in range(layer.channels)]
    both = zip(accumulator["low"], accumulator["high"], biases, strict=True)
    spills = layer.contract.accumulator.schedule is not None and layer.contract.accumulator.schedule.spill is not None
    return {
        "schema": "hwsim.overflow/1",
        "name": "drawn",
        "kind": layer.kind,
        "layer_sha256": layer_digest(layer),
        "input_shape": list(shape),
        "input_range": {"low": low, "high": high},
        "accumulator": accumulator
        | {"bits": [width(min(a, b), max(c, b), overflow) for a, c, b in both], "declared": layer.contract.accumulator.bits},
        "tree": [register(lambda r, i=i: r.tree[i]) for i in range(len(found[0].tree))],
        "spill": register(lambda r: r.spill) if spills else None,
        "tight": [True] * layer.channels,
        "reason": None,
        "log2_rule": 9,
    }


@settings(max_examples=40)
@given(
    small_layers() | small_layers(Steps.NONE) | small_layers(Steps.SKIPPING),
    st.sampled_from(["low", "high"]),
    st.sampled_from([-1, 1]),
)
def test_what_brute_force_says_is_confirmed_and_one_more_or_less_refuted(small, end, by):
    claim, overflow = claimed(small), small.layer.contract.accumulator.overflow
    assert verify(claim, small.layer).unchecked == ()
    accumulator = claim["accumulator"]
    accumulator[end][0] += by
    bias, ends = oracle.bias_of(small.layer, 0), (accumulator["low"][0], accumulator["high"][0])
    assume(ends[0] <= ends[1])
    accumulator["bits"][0] = width(min(ends[0], bias), max(ends[1], bias), overflow)
    with pytest.raises(ProofError):
        verify(claim, small.layer)
    claim["tight"][0], claim["reason"] = False, "a bound"
    if (end == "low") == (by < 0):
        assert verify(claim, small.layer).unchecked == ()  # wider than need be, and said so
    else:
        with pytest.raises(ProofError):
            verify(claim, small.layer)


@settings(max_examples=40)
@given(small_layers() | small_layers(Steps.NONE) | small_layers(Steps.SKIPPING))
def test_what_the_prover_says_is_confirmed(small):
    proof = prove(small.layer, small.shape, InputRange(np.array(small.low), np.array(small.high)))
    assert verify(told(proof), small.layer).unchecked == ()


def convolution(schedule: Schedule | None, zeros: float = 0.0, weight_format=S8, **contract) -> Convolution:
    """Three channels of 18 taps; zeros: share of the weights that are 0, other ones in each channel."""
    contract = MacContract(S8, weight_format, Output(S8), Accumulator(20, schedule=schedule), **contract)
    weight = RNG.integers(weight_format.low, weight_format.high, (3, 2, 3, 3), endpoint=True)
    weight[RNG.random(weight.shape) < zeros] = 0
    return Convolution(contract, weight, RNG.integers(-900, 900, 3), pad=(1, 0), stride=(1, 2))


TREE = Tree(Pairing.HALVES, (15, 14, 16), Overflow.SATURATE)
PACKED = {"lanes": 4, "lane_axis": Axis.S, "tail": Tail.PACKED, "tree": Tree(bits=(14, 15), overflow=Overflow.SATURATE)}
SMALL = Spill(4, 13, 1, Rounding.CEIL, Overflow.SATURATE)
POWERS = PowerOfTwo(-7, -1)
FIXED = {
    "no order": convolution(None),
    "order": convolution(Schedule(bias=BiasPoint.LAST)),
    "tree and spill": convolution(Schedule(lanes=5, lane_axis=Axis.R, tree=TREE, spill=Spill(2, 17, 2, last=True))),
    "spill, but not the last": convolution(Schedule(spill=replace(SMALL, every=3))),
    "spill and the last": convolution(Schedule(spill=replace(SMALL, last=True))),
    "spill that cuts one side": convolution(Schedule(spill=Spill(3, 19, 0, overflow=Overflow.SATURATE_SYMMETRIC))),
    "zero weights close up": convolution(Schedule(**PACKED, skip_zeros=ZeroSkip.WEIGHT), 0.5),
    "zero weights left out": convolution(Schedule(spill=SMALL, skip_zeros=ZeroSkip.WEIGHT), 0.5),
    "padding closes up": convolution(Schedule(**PACKED, padded=PaddedTaps.SKIPPED)),
    "padding left out": convolution(Schedule(spill=SMALL, padded=PaddedTaps.SKIPPED)),
    "padding reads zeros": convolution(Schedule(spill=replace(SMALL, every=2), skip_zeros=ZeroSkip.INPUT)),
    "shifts and adds": convolution(None, 0, POWERS, product=ShiftAdd(2, Rounding.FLOOR, SignOrder.AFTER_ROUNDING)),
}
FIXED = {name: (layer, Shape(2, 4, 5)) for name, layer in FIXED.items()} | {
    "fully connected": (
        FullyConnected(
            MacContract(U4, S4, Output(S8), Accumulator(12, schedule=Schedule(lanes=2))), RNG.integers(-8, 8, (2, 12))
        ),
        Shape(3, 2, 2),
    ),
}


def certificate(name: str) -> Any:
    """Of a fixed layer, as a file gives it; codes are 3..100, where 0 must not come."""
    layer, shape = FIXED[name]
    narrow = InputRange([3, 3], [100, 90]) if name == "padding reads zeros" else None
    return told(prove(layer, shape, narrow, name="conv"))


def lies(claim: Any) -> Iterator[tuple[str, Any]]:
    """Every number that a true certificate could have said otherwise, one less and one more."""
    registers = {"accumulator": claim["accumulator"], "spill": claim["spill"]} | {str(i): r for i, r in enumerate(claim["tree"])}
    for name, register in ((name, register) for name, register in registers.items() if register is not None):
        for field in set(register) - {"declared"}:
            for k, by in product(range(len(register[field])), (-1, 1)):
                before = copy.deepcopy(register[field])
                if isinstance(before[k], int):
                    register[field][k] += by
                elif register[field[: -len("_at")]][k]:  # an end of 0 is what the register holds before its first step
                    register[field][k][2] += by
                yield f"{name}.{field}[{k}] {by:+}", claim if register[field] != before else None
                register[field] = before
    for by in (-1, 1):
        yield "declared", claim | {"accumulator": claim["accumulator"] | {"declared": claim["accumulator"]["declared"] + by}}


@pytest.mark.parametrize("name", FIXED)
def test_every_lie_is_refused(name) -> None:
    (layer, _), claim, refused = FIXED[name], certificate(name), 0
    assert verify(claim, layer).unchecked == ()
    for what, lie in lies(claim):
        if lie is None:
            continue
        with pytest.raises((ProofError, InputError), match="conv"):
            verify(lie, layer)
            pytest.fail(what)
        refused += 1
    assert refused > 20
    assert verify(claim, layer).unchecked == ()


def test_what_is_never_begun_is_never_spilled() -> None:
    """Where every tap is left out there is no last step, and the bias does not go to the buffer."""
    spill = Spill(1, 8, 2, Rounding.CEIL, last=True)
    for weight, ends in ((-1, [8, 9]), (3, [9, 12])):
        schedule = Schedule(skip_zeros=ZeroSkip.INPUT, spill=spill)
        contract = MacContract(FixedPoint(1, 0, signed=False), S4, Output(S8), Accumulator(12, schedule=schedule))
        small = Small(FullyConnected(contract, np.array([[weight]]), np.array([9])), Shape(1, 1, 1), [0], [1])
        claim = claimed(small)
        assert [claim["accumulator"]["low"][0], claim["accumulator"]["high"][0]] == ends
        assert verify(claim, small.layer).unchecked == ()


def test_spills_come_again_after_what_was_left_out() -> None:
    schedule = Schedule(skip_zeros=ZeroSkip.INPUT, spill=Spill(2, 5, 1, Rounding.TIES_UP, Overflow.SATURATE))
    contract = MacContract(FixedPoint(1, 0, signed=False), S4, Output(S8), Accumulator(12, schedule=schedule))
    small = Small(FullyConnected(contract, np.array([[7, 7, 6, 7, -8, 5, 7, 7]])), Shape(8, 1, 1), [0] * 8, [1] * 8)
    assert verify(claimed(small), small.layer).unchecked == ()


def test_bounds_know_that_a_step_may_be_left_out() -> None:
    """Too many codes to follow: a sum that some input reaches, spilled after every other step, must stay within the bounds."""
    schedule = Schedule(skip_zeros=ZeroSkip.INPUT, spill=Spill(2, 12, 0, overflow=Overflow.SATURATE))
    contract = MacContract(FixedPoint(12, 0, signed=False), S4, Output(S8), Accumulator(20, schedule=schedule))
    layer, shape = FullyConnected(contract, np.ones((1, 4), dtype=np.int64)), Shape(4, 1, 1)
    highest = int(run_layer(layer, np.full((1, 4, 1, 1), 4095)).acc.item())
    claim = told(prove(layer, shape)) | {"tight": [False], "reason": "bounds"}
    for high, unproven in ((40000, 0), (highest - 1, 1)):
        claim["accumulator"]["high"], claim["accumulator"]["bits"] = [high], [width(0, high, Overflow.WRAP)]
        claim["spill"]["high"] = [40000]
        assert len(verify(claim, layer).unproven) == unproven


def swapped(value: Any) -> Any:
    """Exchange the first two channels wherever there are channels."""
    if isinstance(value, dict):
        return {name: each if name == "input_range" else swapped(each) for name, each in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [swapped(each) for each in value]
    return [value[1], value[0], *value[2:]] if isinstance(value, list) and len(value) > 1 else value


def test_another_layers_certificate_is_refused() -> None:
    layer, shape = FIXED["tree and spill"]
    claim = told(prove(layer, shape, name="conv"))
    with pytest.raises(ProofError, match="conv"):
        verify(swapped(claim) | {"input_shape": claim["input_shape"]}, layer)
    weight = FIXED["order"][0].weight.copy()
    weight[1, 0, 1, 2] += 1 if weight[1, 0, 1, 2] < 0 else -1
    other, bias = replace(layer, weight=weight), replace(layer, bias=layer.bias + [0, 1, 0])
    for changed in (other, bias, FIXED["no order"][0], FIXED["fully connected"][0]):
        with pytest.raises(ProofError, match="other weights"):
            verify(claim, changed)
    exact, shape = FIXED["order"]
    claim = told(prove(exact, shape))
    other, bias = replace(exact, weight=weight), replace(exact, bias=exact.bias + [0, 1, 0])
    for changed in (other, bias):  # the digest is no secret: what it stands for is checked as well
        with pytest.raises(ProofError, match="channel [01]"):
            verify(claim | {"layer_sha256": layer_digest(changed)}, changed)
    with pytest.raises(ProofError, match="prove it again"):  # a smaller image has more of its taps in the padding
        verify(told(prove(exact, Shape(2, 1, 3))) | {"input_shape": list(shape)}, exact)


def test_bounds_are_no_ends() -> None:
    layer, shape = FIXED["order"]
    claim = told(prove(layer, shape))
    for k in range(3):
        claim["accumulator"]["high"][k] += 1
    claim |= {"tight": [False, True, False], "reason": "bounds"}
    with pytest.raises(ProofError, match="channel 1, accumulator: claims .* both are reached"):
        verify(claim, layer)
    assert verify(claim | {"tight": [False] * 3}, layer).unchecked == ()


def test_what_cannot_be_followed_is_not_passed_over() -> None:
    """Trees of eight bits that wrap, with eight lanes of eight-bit codes: bounds are checked, ends are not."""
    schedule = Schedule(lanes=8, lane_axis=Axis.C, tree=Tree(bits=(8, 8, 8), overflow=Overflow.WRAP))
    contract = MacContract(S8, S8, Output(S8), Accumulator(12, schedule=schedule))
    layer, shape = FullyConnected(contract, RNG.integers(-128, 128, (1, 24))), Shape(24, 1, 1)
    claim = told(prove(layer, shape, name="wraps", enumerated=0))
    assert verify(claim, layer).unchecked == ()
    tight = verify(claim | {"tight": [True], "reason": None}, layer)
    assert tight.unproven == () and "no fewer bits" in tight.unreached[0]
    for register in (claim["accumulator"], *claim["tree"]):
        register["high"][0] -= 1
    narrower = verify(claim, layer)
    assert "wraps" in narrower.unproven[0] and narrower.unreached == ()


ODD = (None, True, -1, 10**30, 1.5, float("nan"), "x", [], {}, [[]], [None], ["a"], [True], [10**40] * 3, [0] * 7, {"low": 1})


def paths(value: Any, at: tuple = ()) -> Iterator[tuple]:
    yield at
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(each, (*at, key))


def exchanged(value: Any, at: tuple, new: Any) -> Any:
    if not at:
        return new
    copied = copy.copy(value)
    copied[at[0]] = exchanged(value[at[0]], at[1:], new)
    return copied


def test_what_is_no_certificate_is_refused_in_a_sentence() -> None:
    layer, shape = FIXED["fully connected"]
    claim, taken = told(prove(layer, shape, name="fc")), set()
    for at, odd in product(paths(claim), ODD):
        damaged = exchanged(claim, at, odd)
        try:
            verify(damaged, layer)
            if json.dumps(damaged) != json.dumps(claim):
                taken.add(at)
        except HwsimError as error:
            assert str(error).endswith(".") and str(error).startswith("certificate of layer"), error
    assert taken == {("name",)}
    for name in claim:
        with pytest.raises(InputError, match="missing"):
            verify({key: value for key, value in claim.items() if key != name}, layer)
    with pytest.raises(InputError, match="unknown"):
        verify(claim | {"more": 1}, layer)


def test_minifloats_have_no_certificates() -> None:
    from hwsim.contract import FloatAccumulator, FloatMacContract, FloatOutput
    from hwsim.formats.catalog import named

    contract = FloatMacContract(E4M3, E4M3, FloatOutput(E4M3), FloatAccumulator(named("binary16")))
    layer = FullyConnected(contract, np.zeros((1, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="minifloats"):
        verify({"name": "x"}, layer)


def test_an_image_as_high_as_it_may_be_takes_no_time_of_its_own() -> None:
    layer = Convolution(MacContract(S8, S8, Output(S8)), np.array([[[[3], [-4], [5]]]]), pad=(1, 0))
    claim = told(prove(layer, Shape(1, 4, 1)))
    assert verify(claim | {"input_shape": [1, (1 << 28) - 2, 1]}, layer).unchecked == ()
    with pytest.raises(InputError, match="input_shape"):
        verify(claim | {"input_shape": [1, 1 << 28, 1]}, layer)


@pytest.mark.parametrize("mode", list(Rounding))
def test_rounding_is_that_of_fractions(mode) -> None:
    for x, shift in product(range(-40, 41), range(-2, 5)):
        assert rounded(x, shift, mode) == oracle_rounded(Fraction(x) / Fraction(2) ** shift, mode)


sides = st.tuples(
    st.integers(1, 2), st.integers(1, 4), st.integers(-2, 4), st.integers(1, 3), st.integers(-1, 4), st.integers(1, 14)
)


@settings(max_examples=120)
@given(sides, st.booleans())
def test_no_output_has_taps_that_were_not_walked(side, scattered) -> None:
    """Along one axis: the taps of every output are among those that were walked, and nothing else was."""
    stride, kernel, pad, dilation, pad_end, extent = side
    kind = Deconvolution if scattered else Convolution
    pads = (pad, pad_end) if scattered else (max(pad, 0), max(pad_end, 0))
    weight = np.ones((1, 1, kernel, 1), dtype=np.int64)
    contract = MacContract(S8, S8, Output(S8), Accumulator(32, schedule=Schedule()))
    layer = kind(contract, weight, None, (stride, 1), (pads[0], 0), (dilation, 1), 1, (pads[1], 0))
    try:
        outputs = layer.output_shape([Shape(1, extent, 1)]).h
    except HwsimError:
        assume(False)
    image = np.arange(1, extent + 1).reshape(1, extent, 1).tolist()
    unit = Unit(layer, Shape(1, extent, 1), [-128], [127])
    seen = set()
    for y in range(outputs):
        padded = layer.taps(image, 0, y, 0)[1]
        alive = tuple(tap for tap in range(kernel) if not padded[tap])
        assert unit.live(y, 0)[0] == alive
        seen.add(alive)
    walked = {rows for rows, _ in Unit(layer, Shape(1, extent, 1), [1], [127]).lives}
    assert walked == seen  # no range with 0 in it: none of them is covered by another
    assert all(any(set(rows) <= set(more) for more, _ in unit.lives) for rows in seen)
