"""Scoring counts what it says, with memory that does not grow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow
from hwsim.contract import Accumulator
from hwsim.errors import InputError, OverflowTrap
from hwsim.execute.plan import Plan
from hwsim.execute.score import score
from hwsim.execute.trace import run
from hwsim.layers import Events
from hwsim.quantize.float_twin import float_twin
from support.networks import branching, pixels


def test_top1_top5_agreement_gained_and_lost_are_counted_by_hand():
    network, images = branching(), pixels(5)
    guesses = [int(np.argmax(Plan(network, "jit").run(images[i : i + 1])[0])) for i in range(5)]
    labels = [guesses[0], (guesses[1] + 1) % 4, guesses[2], (guesses[3] + 1) % 4, guesses[4]]
    floats = np.zeros((5, 4), np.float32)
    float_guesses = [guesses[0], labels[1], (guesses[2] + 2) % 4, guesses[3], guesses[4]]
    floats[range(5), float_guesses] = 1
    served = iter(range(5))
    seen = []

    def baseline(batch):
        return np.stack([floats[next(served)] for _ in batch])

    items = [(images[i], labels[i]) for i in range(5)]
    result = score(network, iter(items), 5, "jit", baseline, lambda done, total: seen.append((done, total)), batch=2)
    assert (result.fixed.right, result.baseline.right, result.agreeing) == (3, 3, 3)
    assert (result.gained, result.lost) == ((2,), (1,))
    assert result.fixed.right5 == 5, "four classes: each is among the first five"
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert "60.00%" in str(result) and result.to_json()["gained"] == [2]


def test_events_of_a_score_are_the_sum_over_its_images():
    network, images = branching(), pixels(3)
    total = np.zeros(len(Events._fields), np.int64)
    for i in range(3):
        plan = Plan(network, "jit")
        plan.run(images[i : i + 1])
        total += next(b.step.taps.events for b in plan.bound if b.node.name == "left")
    result = score(network, [(image, 0) for image in images], 3, "jit", batch=2)
    assert tuple(result.events["left"]) == tuple(total) and total[1] > 0


def test_a_name_from_a_file_is_text_in_a_notebook():
    network = replace(branching(), name="<script>")
    result = score(network, [(pixels(1)[0], 0)], 1, "spec")
    assert "&lt;script&gt;" in result._repr_html_()
    assert "<script>" not in result._repr_html_()


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_trap_names_the_image_by_its_number_whatever_the_batch(batch):
    network = branching().with_accumulator("conv1", Accumulator(17, overflow=Overflow.TRAP))
    image, gray = pixels()[0], np.full_like(pixels()[0], 112)
    with pytest.raises(OverflowTrap) as alone:
        run(network, image, "jit")
    with pytest.raises(OverflowTrap) as caught:
        score(network, [(gray, 0)] * 3 + [(image, 0)], 4, "jit", batch=batch)
    _, *place = alone.value.coordinate
    assert caught.value.coordinate == (3, *place)
    assert (caught.value.layer, caught.value.place, caught.value.step) == (alone.value.layer, alone.value.place, alone.value.step)


def test_no_images_is_refused():
    with pytest.raises(InputError, match="no images"):
        score(branching(), [], 0, "spec")


def test_the_float_twin_keeps_names_and_drops_rescales():
    twin = float_twin(branching())
    names = [node.name for node in twin.nodes]
    assert "right:rescale" not in names and "conv1:linear" in names
    assert twin["joint"].inputs == ("left", "right")
    assert twin.logits == "fc"
