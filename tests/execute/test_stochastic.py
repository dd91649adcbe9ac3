"""A network whose layers draw: banks shared in the order of execution, resets, batches, and what the trace tells."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import hwsim
from hwsim.arith.rounding import Rounding
from hwsim.backends.registry import native_available
from hwsim.cli import main
from hwsim.contract.stochastic import Lfsr, Reset, StochasticRounding, Tail
from hwsim.demo.story import MODEL, WEIGHTS
from hwsim.errors import ContractError, HwsimError, InputError
from hwsim.execute.plan import Plan
from hwsim.execute.score import score
from hwsim.execute.trace import run
from hwsim.layers import Events
from oracles.registers import Bank, rounded_by
from support.networks import branching, pixels

BACKENDS = ["spec", "jit", pytest.param("native", marks=pytest.mark.skipif(not native_available(), reason="no C core"))]
SHARED = StochasticRounding(Lfsr(16), Lfsr(16).seeds_apart(3, 1000), tail=Tail.IDLE)
OTHER = replace(SHARED, seeds=(7,))
RULES = {"conv1": SHARED, "right": OTHER, "right:rescale": SHARED, "wide": SHARED, "fc": OTHER}


def drawing(reset: Reset):
    """The branching network with two banks: one of three layers, in which a fourth layer's draws do not matter."""
    network = branching()
    for name, rule in RULES.items():
        network = network.with_rounding(name, replace(rule, reset=reset))
    return network


def checked(network, images, first_image: int, trace):
    """Clock both banks from power-up, and round every accumulator of the trace by what they hand out."""
    banks = {rule: Bank(rule) for rule in {drawn.draws.rule for drawn in trace if drawn.draws}}
    for image in range(first_image + len(images)):
        for bank in banks.values():
            bank.image_begins()
        for layer in (trace[node.name] for node in network.nodes):
            if layer.draws is None:
                continue
            bank, n = banks[layer.draws.rule], image - first_image
            shift, shape = (
                layer.layer.epilogue.shift if layer.acc is None else layer.layer.numbers.epilogue.shift,
                layer.codes.shape[1:],
            )
            shift = list(shift) * (shape[0] // len(shift))
            if layer.draws.rule.reset is Reset.LAYER:
                bank.reset()
            turn, before = bank.turn, bank.states
            noise = bank.layer(shape, shift)
            if n < 0:
                continue
            assert (layer.draws.first_turns[n], layer.draws.before(n)) == (turn, before), (layer.name, image)
            assert layer.draws.after(n) == bank.states and turn + layer.draws.turns == bank.turn
            values = (layer.inputs[0] if layer.acc is None else layer.acc)[n]
            f = layer.layer.output_format
            for at in np.ndindex(*shape):
                value = int(values[at])
                if layer.acc is not None and layer.name != "fc":
                    value = max(value, 0)  # their ReLU stands before
                code = min(max(rounded_by(value, noise[at], shift[at[0]]), f.low), f.high)
                assert code == layer.codes[(n, *at)], (layer.name, image, at)


@pytest.mark.parametrize("reset", list(Reset))
def test_every_layer_of_every_image_draws_from_its_bank(reset):
    network, images = drawing(reset), pixels(2)
    checked(network, images, 1, run(network, images, "jit", first_image=1))


@pytest.mark.parametrize("reset", list(Reset))
@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_and_batches_draw_the_same(backend, reset):
    network, images = drawing(reset), pixels(4 if backend != "spec" else 2)
    whole = run(network, images, "jit", first_image=3)
    together = run(network, images, backend, first_image=3)
    for a, b in zip(whole, together, strict=True):
        assert a.codes.tolist() == b.codes.tolist() and a.events == b.events and a.draws == b.draws, a.name
    plan = Plan(network, backend)
    for i in range(len(images)):
        plan.run(images[i : i + 1], first_image=3 + i)
        for bound in plan.bound:
            assert bound.step.out.codes.tolist() == whole[bound.node.name].codes[i : i + 1].tolist(), bound.node.name
    fixed = run(branching(), images, "jit")
    assert fixed["conv1"].acc.tolist() == whole["conv1"].acc.tolist()
    assert fixed["conv1"].codes.tolist() != whole["conv1"].codes.tolist()


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_score_counts_its_images_from_power_up(batch):
    network, images = drawing(Reset.NEVER), pixels(5)
    alone = [run(network, images[i], "jit", first_image=i) for i in range(5)]
    answers = [int(trace.top(1)[0, 0]) for trace in alone]
    found = score(network, ((images[i], answers[i]) for i in range(5)), 5, "jit", batch=batch)
    assert found.fixed.right == 5
    for name in RULES:
        total = Events()
        for trace in alone:
            total = total.plus(trace[name].events)
        assert found.events[name] == total, name


def test_the_trace_tells_the_draws_in_words_and_in_json():
    network, images = drawing(Reset.NEVER), pixels(3)
    trace = run(network, images, "jit", first_image=2)
    assert [layer.name for layer in trace if layer.draws is not None] == list(RULES)
    told = str(trace)
    for name in RULES:
        first, last = trace[name].draws.lines()
        assert f"\n{name} drew, {first}\n" in told and f"\n{name} drew, {last}\n" in told
    assert "image 0: turns " in told and "image 2: turns " in told
    assert "drew, image 0" in trace._repr_html_()
    data = json.loads(json.dumps(trace.to_json()))
    by_name = {layer["name"]: layer for layer in data["layers"]}
    assert [name for name in by_name if "draws" in by_name[name]] == list(RULES)
    images = by_name["wide"]["draws"]["images"]
    assert [image["first_turn"] for image in images] == list(trace["wide"].draws.first_turns)
    assert tuple(images[2]["after"]) == trace["wide"].draws.after(2)
    assert by_name["fc"]["draws"]["rule"]["seeds"] == [7] and by_name["fc"]["draws"]["rule"]["reset"] == "NEVER"
    assert "draws" not in run(branching(), pixels(), "jit").to_json()["layers"][1] and "drew" not in str(
        run(branching(), pixels())
    )


def test_rescales_behind_a_layer_round_as_it_does():
    network = branching().with_rounding("left", SHARED)
    assert network["left"].layer.contract.output.rounding == SHARED
    rescaled = network.with_bits("left", output=7)["joint:left"].layer
    assert rescaled.output.rounding == SHARED and rescaled.epilogue.stochastic == SHARED
    assert network.with_rounding("left", Rounding.FLOOR)["left"].layer.contract.output.rounding is Rounding.FLOOR


@pytest.mark.parametrize("image", [-1, 1 << 62, 1.5, True])
def test_an_image_that_cannot_be_counted_is_refused(image):
    with pytest.raises(InputError, match="first_image: found .*, allowed an integer from 0") as caught:
        run(drawing(Reset.NEVER), pixels(), "jit", first_image=image)
    assert isinstance(caught.value, HwsimError)


def test_layers_that_cannot_draw_are_named():
    for name, kind, error in (("data", "image_encoding", ContractError), ("pool", "max_pool", InputError)):
        with pytest.raises(error, match=f"network 'branching', layer '{name}': .*{kind}"):
            branching().with_rounding(name, SHARED)


def test_a_layer_alone_takes_the_image_as_a_parameter():
    s8 = hwsim.FixedPoint(8, 4)
    rule = replace(SHARED, reset=Reset.NEVER)
    contract = hwsim.MacContract(s8, s8, hwsim.Output(s8, rule))
    from hwsim.execute.single import run_layer

    layer = hwsim.Conv2d().layer(np.full((3, 1, 1, 1), 5), contract)
    x = np.arange(-60, 60).reshape(2, 1, 6, 10)
    both, second = run_layer(layer, x), run_layer(layer, x[1], first_image=1)
    assert both.codes[1].tolist() == second.codes[0].tolist() != run_layer(layer, x[1]).codes[0].tolist()
    assert both.draws.after(0) == second.draws.before(0)


def test_a_saved_network_draws_as_before_and_the_command_prints_it(onnxruntime, tmp_path, capsys):
    read = hwsim.read(MODEL, WEIGHTS)
    q = hwsim.quantize(read, hwsim.images("digits", read.preprocessing, limit=50))
    rule = replace(SHARED, reset=Reset.IMAGE)
    name = q.mac_nodes[0].name
    drawing = q.with_rounding(name, rule)
    folder = drawing.save(tmp_path / "drawing.hwnet")
    image = hwsim.images("digits", q.preprocessing)[3]
    want, again = hwsim.run(drawing, image), hwsim.run(hwsim.load(folder), image)
    assert again[name].codes.tolist() == want[name].codes.tolist() != hwsim.run(q, image)[name].codes.tolist()
    assert again[name].draws == want[name].draws and want[name].draws.rule == rule
    outputs = []
    for options in ((), ("--json",)):
        with pytest.raises(SystemExit) as left:
            main(["run", str(folder), "--input", "digits", "--index", "3", *options])
        assert left.value.code == 0
        outputs.append(capsys.readouterr().out)
    assert f"{name} drew, {want[name].draws.lines()[0]}\n" in outputs[0]
    layer = next(layer for layer in json.loads(outputs[1])["layers"] if layer["name"] == name)
    assert layer["draws"] == json.loads(json.dumps(want[name].draws.to_json()))
