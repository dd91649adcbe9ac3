"""The narrowest accumulators: each column is what scoring the whole network again says, and one bit less is not."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import hwsim
from hwsim.arith.overflow import Overflow
from hwsim.contract import Accumulator, Order, Schedule
from hwsim.contract.stochastic import Lfsr, Reset, StochasticRounding
from hwsim.demo.story import MODEL, TRAINING, WEIGHTS
from hwsim.errors import InputError, ProofError
from hwsim.execute.plan import Plan
from hwsim.execute.score import Accuracy
from hwsim.execute.single import run_layer
from hwsim.images import ImageSet
from hwsim.layers import Events, FullyConnected, MacLayer
from hwsim.network.quantized import QuantizedNetwork
from hwsim.proofs.minimize import Search, Walk, minimize_accumulators
from hwsim.proofs.minimize_report import Column, LayerWidths, Minimized, Stop, Trial
from hwsim.proofs.minimize_run import Judge, Measured
from hwsim.proofs.narrow import with_width
from hwsim.proofs.prove import prove
from support.networks import branching, pixels
from support.pictures import words

CALIBRATION = 30
NARROW = Accumulator(16, overflow=Overflow.SATURATE_SYMMETRIC, schedule=Schedule(Order.RSC))


@pytest.fixture(scope="module")
def digits():
    """The demo's images: those that it learned from, and those that it did not."""
    found = hwsim.images("digits", hwsim.read(MODEL, WEIGHTS).preprocessing)
    return found[:CALIBRATION], found[TRAINING : TRAINING + 200]


@pytest.fixture(scope="module", params=["exact32", "16 bits, symmetric"])
def network(request, digits):
    q = hwsim.quantize(hwsim.read(MODEL, WEIGHTS), digits[0], bits=8)
    return q if request.param == "exact32" else q.with_accumulator(None, NARROW)


@pytest.fixture(scope="module")
def found(network, digits) -> Minimized:
    return minimize_accumulators(network, *digits, margin=3)


def test_the_proven_column_is_the_certificates(network, found):
    shapes = network.shapes()
    assert [layer.name for layer in found.layers] == ["conv1", "conv2", "ip1", "ip2"] and found.left == ()
    for layer in found.layers:
        node = network[layer.name]
        proof = prove(node.layer, shapes[node.inputs[0]])
        assert (layer.proven, layer.rule, layer.declared) == (proof.layer_bits, proof.rule_bits, proof.declared_bits)
    assert found.wholes[Column.PROVEN].same == 200 and found.wholes[Column.PROVEN].accuracy == found.exact
    assert not any(events.accumulator for events in found.wholes[Column.PROVEN].events.values())


def test_the_datas_width_has_no_event_on_calibration_and_one_bit_less_has(network, found, digits):
    trace = hwsim.run(found.network(Column.PROVEN), digits[0])
    for layer in found.layers:
        at = {
            bits: run_layer(with_width(network[layer.name].layer, bits), *trace[layer.name].inputs)
            for bits in (layer.data - 1, layer.data)
        }
        assert at[layer.data].events.accumulator == 0 < at[layer.data - 1].events.accumulator


def test_every_price_is_what_scoring_the_saved_network_says(found, digits, tmp_path):
    for column in Column:
        saved = hwsim.load(found.network(column).save(tmp_path / f"{column.value}.hwnet"))
        for layer in found.layers:
            accumulator = saved[layer.name].layer.contract.accumulator
            assert accumulator.bits == layer.bits(column) and not accumulator.require_proof
        score = hwsim.score(saved, digits[1])
        whole = found.wholes[column]
        assert score.fixed == whole.accuracy
        assert {layer.name: score.events[layer.name] for layer in found.layers} == whole.events
    assert found.points(found.wholes[Column.SATURATING].accuracy.right) <= 3
    assert sum(events.accumulator for events in found.wholes[Column.SATURATING].events.values()) > 0


def test_each_way_down_is_scored_with_that_layer_alone_and_ends_where_the_margin_is_lost(network, found, digits):
    for layer in found.layers:
        assert [trial.bits for trial in layer.trials] == list(range(layer.data, layer.alone - 2, -1))
        assert layer.stop is Stop.MARGIN
        assert found.points(layer.trials[-1].right) > 3 >= max(found.points(t.right) for t in layer.trials[:-1])
    layer = found["ip1"]
    acc = network["ip1"].layer.contract.accumulator
    for trial in (layer.trials[-2], layer.trials[-1]):
        mode = Overflow.SATURATE if acc.overflow is Overflow.WRAP else acc.overflow
        alone = with_width(network["ip1"].layer, trial.bits, mode, acc.schedule or Schedule())
        exact = found.network(Column.PROVEN)
        score = hwsim.score(
            replace(exact, nodes=tuple(replace(n, layer=alone) if n.name == "ip1" else n for n in exact)), digits[1]
        )
        assert (score.fixed.right, score.events["ip1"].accumulator) == (trial.right, trial.events)


def test_a_network_that_overflows_as_declared_is_told_so(network, found, digits):
    if network["ip1"].layer.contract.accumulator.bits == 32:
        assert found.declared is None and found.to_json()["declared"] is None
        return
    score = hwsim.score(network, digits[1])
    assert found.declared is not None and score.fixed == found.declared.accuracy
    assert {name: score.events[name] for name in found.declared.events} == found.declared.events
    assert "as declared: top-1" in str(found)


def test_the_table_the_json_and_the_picture_say_the_same(found):
    data, text, shown = found.to_json(), str(found), words(found.plot())
    assert json.loads(json.dumps(data)) == data
    assert data["scoring_images"] == 200 and "of 200 scoring images" in text
    for layer, told in zip(found.layers, data["layers"], strict=True):
        row = next(line.split() for line in text.splitlines() if line.startswith(layer.name))
        assert row[2:7] == [str(told[key]) for key in ("declared", "rule", "proven", "data", "saturating")]
        assert row[7:] == [f"{told['price']:+.2f}", str(told["together"])]
        assert layer.name in shown and f" {told['price']:+.2f}" in shown
    assert "&lt;" not in text and "<td>conv1</td>" in found._repr_html_()


class Pixels:
    """A source of images that lie in memory."""

    def __init__(self, arrays: np.ndarray, labels: np.ndarray | None) -> None:
        self.arrays, self.labels = arrays, labels

    def __len__(self) -> int:
        return len(self.arrays)

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int, gray: bool) -> np.ndarray:
        return self.arrays[index].transpose(1, 2, 0)[..., ::-1]


def drawn_images(network, count: int, labelled: bool = True) -> ImageSet:
    """Random images; every second one is nearly grey, the first among them."""
    arrays = pixels(count)
    arrays[::2] = 112 + arrays[::2] // 64
    labels = np.random.default_rng(1).integers(0, 4, count) if labelled else None
    return ImageSet(Pixels(arrays, labels), network.preprocessing, range(count))


def noisy() -> QuantizedNetwork:
    """Branches, concatenations, and two layers that draw from one bank of registers, from image to image."""
    rule = StochasticRounding(Lfsr(16), Lfsr(16).seeds_apart(3, 1000), reset=Reset.NEVER)
    return branching().with_rounding("left", rule).with_rounding("wide", rule)


def some_differ(network, images: ImageSet, name: str) -> MacLayer:
    """A layer so narrow that it saturates in some images, but not in all, nor in the first."""
    layer, codes = network[name].layer, hwsim.run(network, images)[name].inputs[0]
    own = run_layer(layer, codes).codes
    for bits in range(24, 10, -1):
        narrow = with_width(layer, bits, Overflow.SATURATE)
        differs = (run_layer(narrow, codes).codes != own).any(axis=(1, 2, 3))
        if differs.any():
            assert not differs[0] and not differs.all()
            return narrow
    raise AssertionError("no width saturates")


@pytest.mark.parametrize("make", [branching, noisy])
@pytest.mark.parametrize("batch", [3, 64])
def test_computing_only_what_differs_gives_what_whole_networks_give(make, batch, monkeypatch):
    """Events of a fully connected layer that saturates all the time depend on every code that reaches it."""
    network = make()
    images = drawn_images(network, 7)
    judge = Judge(network, images, images.labels)
    monkeypatch.setattr(judge, "batch", batch)
    layers = {name: network[name].layer for name in ("conv1", "left", "right", "wide", "fc")}
    narrow = {name: with_width(layer, 18, Overflow.SATURATE) for name, layer in layers.items()}
    some = [{name: some_differ(network, images, name), "fc": narrow["fc"]} for name in ("conv1", "right")]
    variants = [{}, *some, *({name: narrow[name], "fc": narrow["fc"]} for name in layers)]
    variants += [narrow, layers]
    for _ in range(2):
        for variant, measured in zip(variants, judge.measure(variants), strict=True):
            whole = replace(network, nodes=tuple(replace(n, layer=variant.get(n.name, n.layer)) for n in network))
            plan, counted = Plan(whole, "jit"), dict.fromkeys(variant, Events())
            guesses = []
            for i, image in enumerate(images):
                guesses.append(int(plan.run(image.pixels[None], first_image=i)[0].argmax()))
                for bound in plan.bound:
                    if bound.node.name in variant:
                        counted[bound.node.name] = counted[bound.node.name].plus(bound.step.taps.counted)
            assert measured.guesses.tolist() == guesses and measured.events == counted
            assert measured.accuracy.right == int((np.array(guesses) == images.labels).sum())
    assert judge.passes == 2 and judge.runs == 2 * len(variants)


def test_every_backend_finds_the_same():
    network = branching()
    images = drawn_images(network, 6)
    found = [minimize_accumulators(network, images, images, margin=30, backend=name) for name in ("jit", "auto")]
    assert len({json.dumps(each.to_json() | {"seconds": 0}, sort_keys=True) for each in found}) == 1
    assert all(layer.trials for layer in found[0].layers) and found[0].wholes[Column.SATURATING].events["fc"]
    biased = max(np.abs(network["left"].layer.numbers.bias))
    assert found[0]["left"].stop is Stop.REFUSED and found[0]["left"].alone == int(biased).bit_length() + 1
    assert "since the bias does not fit them: conv1, left, right, wide\n" in str(found[0])


def walked(layer, first: int, top: int, least: int, right: dict[int, int]) -> Walk:
    """A walk with these answers."""
    walk = Walk(layer, first, top, least)
    while (bits := walk.next()) is not None:
        walk.trials.append(Trial(bits, right[bits], 0))
    return walk


def biased(bias: int) -> FullyConnected:
    s8 = hwsim.FixedPoint(8, 0)
    contract = hwsim.MacContract(s8, s8, hwsim.Output(s8), Accumulator(24))
    return hwsim.Linear().layer(np.array([[1, 2, 3]]), contract, np.array([bias]))


def test_a_walk_stops_before_the_first_loss_though_accuracy_comes_back_below_it():
    walk = walked(biased(3), 12, 14, 90, {12: 95, 11: 90, 10: 89, 9: 99})
    assert (walk.alone.bits, walk.stop, len(walk.trials)) == (11, Stop.MARGIN, 3)


def test_a_walk_goes_up_where_the_datas_width_already_loses_too_much():
    walk = walked(biased(3), 12, 15, 90, {12: 10, 13: 89, 14: 90, 15: 99})
    assert (walk.alone.bits, walk.stop, len(walk.trials)) == (14, Stop.MARGIN, 3)
    told = LayerWidths("fc", "fully_connected", 24, 18, 15, 12, alone=14, together=14, trials=tuple(walk.trials), stop=walk.stop)
    assert told.right_alone == 90


def test_a_walk_ends_at_the_bias_and_at_the_narrowest_register():
    never = dict.fromkeys(range(2, 20), 95)
    walk = walked(biased(300), 12, 14, 90, never)
    assert (walk.alone.bits, walk.stop) == (10, Stop.REFUSED), "300 needs ten bits with its sign"
    assert walked(biased(1), 12, 14, 90, never).stop is Stop.NARROWEST


RIGHT = {
    "conv1": {20: 100, 19: 96, 18: 91, 17: 80},
    "right": {21: 100, 20: 96, 19: 92, 18: 80},
    "both": {(18, 19): 53, (19, 19): 70, (18, 20): 80, (19, 20): 90, (18, 21): 90, (20, 20): 96, (19, 21): 95},
}
"""Right answers of a hundred that a judge makes up, by width."""


class MadeUp:
    """A judge that looks up its answers."""

    runs = 0

    def measure(self, variants):
        return [self.answer({name: layer.contract.accumulator.bits for name, layer in variant.items()}) for variant in variants]

    def answer(self, bits: dict[str, int]) -> Measured:
        right = (
            100 if not bits else RIGHT["both"][tuple(bits.values())] if len(bits) > 1 else RIGHT[min(bits)][min(bits.values())]
        )
        return Measured(Accuracy(100, right, 100), np.zeros(100), {name: Events() for name in bits})


def test_the_layer_that_gains_most_is_widened_and_of_equals_the_one_that_costs_most_alone():
    network, seen = branching(), {"conv1": 20, "right": 21}
    proofs = {name: prove(network[name].layer, network.shapes()[network[name].inputs[0]], name=name) for name in seen}
    search = Search(network, proofs, seen, MadeUp())  # type: ignore[arg-type]
    search.exact = MadeUp().answer({})
    search.saturating(Fraction(19, 2))
    assert {name: walk.alone.bits for name, walk in search.walks.items()} == {"conv1": 18, "right": 19}
    assert search.widened == ["right", "conv1", "conv1"]
    assert search.together == {"conv1": 20, "right": 20}


def test_a_certificate_that_an_image_refutes_is_no_certificate():
    network = branching()
    images = drawn_images(network, 4)
    proof = prove(network["fc"].layer, network.shapes()["pool"], name="fc")
    forged = replace(
        proof, accumulator=replace(proof.accumulator, low=proof.accumulator.low // 256, high=proof.accumulator.high // 256)
    )
    with pytest.raises(ProofError, match=r"refute the certificates of \['fc'\]"):
        minimize_accumulators(network, images, images, certificates={"fc": forged})


@pytest.mark.parametrize(
    ("events", "guesses", "refuted"),
    [
        (Events(), [1, 2], False),
        (Events(accumulator=1), [1, 2], True),
        (Events(output=5, tree=3), [1, 3], True),
        (Events(spill=1), [1, 3], False),
    ],
)
def test_an_event_or_another_answer_at_the_proven_widths_is_no_small_matter(events, guesses, refuted):
    search = Search(branching(), {}, {}, MadeUp())  # type: ignore[arg-type]
    search.exact = Measured(Accuracy(2, 2, 2), np.array([1, 2]), {})
    measured = Measured(Accuracy(2, 2, 2), np.array(guesses), {"fc": events})
    with pytest.raises(ProofError, match="fault of hwsim") if refuted else nullcontext():
        search._check_proven(measured)


def test_layers_that_accumulate_minifloats_are_left_and_said():
    network = branching().with_weights("wide", hwsim.minifloat("e4m3"))
    images = drawn_images(network, 4)
    seen = []
    found = minimize_accumulators(network, images, images, progress=lambda done, total: seen.append((done, total)))
    assert [name for name, _ in found.left] == ["wide"] and "wide is left as it is" in str(found)
    assert found.network(Column.DATA)["wide"].layer is network["wide"].layer
    assert seen[-1] == (8, 8) and all(done <= total for done, total in seen)
    with pytest.raises(InputError, match="column saturating was not asked for; give a margin"):
        found.network(Column.SATURATING)
    with pytest.raises(InputError, match="no layer 'wide'; it has conv1"):
        found["wide"]
    for name in ("conv1", "left", "right", "fc"):
        network = network.with_weights(name, hwsim.minifloat("e4m3"))
    with pytest.raises(InputError, match="no layer accumulates integers"):
        minimize_accumulators(network, images, images)


@pytest.mark.parametrize("margin", [-0.5, 101, float("nan"), float("inf"), True, "1"])
def test_a_margin_out_of_its_range_is_refused_before_any_work(margin):
    with pytest.raises(InputError, match=r"found margin .*, allowed 0\.\.100 points"):
        minimize_accumulators(branching(), "no such file", "no such file", margin=margin)


def test_scoring_images_need_labels_and_both_need_images():
    network = branching()
    images, bare = drawn_images(network, 3), drawn_images(network, 3, labelled=False)
    with pytest.raises(InputError, match="has no labels"):
        minimize_accumulators(network, images, bare)
    for sets in ((images[:0], images), (images, images[:0])):
        with pytest.raises(InputError, match="no scoring or no calibration images"):
            minimize_accumulators(network, *sets)
