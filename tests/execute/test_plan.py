"""A plan computes what the layers' specifications say, in whatever buffers it lays out."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow
from hwsim.backends.registry import native_available
from hwsim.errors import InputError, OverflowTrap
from hwsim.execute.plan import Plan
from hwsim.execute.trace import run
from hwsim.layers import Events
from support.networks import branching, pixels

BACKENDS = ["spec", "jit", pytest.param("native", marks=pytest.mark.skipif(not native_available(), reason="no C core"))]


def by_spec(network, image):
    """Every node by its layer's spec() on nested lists: no plan, no buffers, no kernels."""
    codes, cells = {}, {}
    for node in network.nodes:
        inputs = [codes[name] for name in node.inputs] or [image[None].tolist()]
        c, h, w = network.shapes()[node.name]
        cells[node.name] = [[[node.layer.spec(inputs, 0, k, y, x) for x in range(w)] for y in range(h)] for k in range(c)]
        codes[node.name] = [[[[cell.code for cell in row] for row in plane] for plane in cells[node.name]]]
    return codes, cells


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_layer_of_a_branching_network_equals_its_specification(backend):
    network, image = branching(), pixels()[0]
    codes, cells = by_spec(network, image)
    trace = run(network, image, backend)
    for layer in trace:
        assert layer.codes.tolist() == codes[layer.name], layer.name
        flat = [cell for plane in cells[layer.name] for row in plane for cell in row]
        total = Events(sum(c.events.accumulator for c in flat), sum(c.events.output for c in flat))
        assert layer.events == total, layer.name
        if layer.acc is not None:
            assert layer.acc.ravel().tolist() == [cell.acc for cell in flat], layer.name
    assert any(layer.events.output for layer in trace), "the example must have events, or counting them is not tested"


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_a_batch_gives_what_its_images_give_alone(backend):
    network, images = branching(), pixels(3)
    together = Plan(network, backend, batch=3).run(images)
    alone = [Plan(network, backend).run(images[i : i + 1])[0].tolist() for i in range(3)]
    assert together.tolist() == alone


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_a_plan_that_runs_twice_gives_the_same_and_its_borders_stay_zero(backend):
    network, images = branching(), pixels(2)
    plan = Plan(network, backend)
    first = plan.run(images[:1])
    second = plan.run(images[1:])
    assert plan.run(images[:1]).tolist() == first.tolist() != second.tolist()
    for bound in plan.bound:
        out = bound.step.out
        border = out.bordered.copy()
        border[:, out.border[0] : out.border[0] + out.shape.h, out.border[1] : out.border[1] + out.shape.w] = 0
        assert not border.any(), bound.node.name


def test_branches_of_a_concat_lie_in_its_buffer():
    plan = Plan(branching(), "jit")
    joint = plan.buffers["outer"].padded
    for name in ("joint", "left", "right:rescale", "wide"):
        assert plan.buffers[name].padded is joint
    assert plan.buffers["right"].padded is not joint


@pytest.mark.parametrize("backend", BACKENDS)
def test_trap_stops_at_the_first_event_in_row_major_order(backend):
    saturating, image = branching(), pixels()[0]
    _, cells = by_spec(saturating, image)
    first = next(
        (0, k, y, x)
        for k, plane in enumerate(cells["left"])
        for y, row in enumerate(plane)
        for x, cell in enumerate(row)
        if cell.events.output
    )
    with pytest.raises(OverflowTrap) as caught:
        run(branching(overflow=Overflow.TRAP), image, backend)
    assert (caught.value.layer, caught.value.place, caught.value.coordinate) == ("left", "output", first)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (np.zeros((1, 3, 7, 12), np.uint8), "shape (1, 3, 7, 12)"),
        (np.zeros((1, 3, 7, 11), np.int16), "type int16"),
        (np.zeros((3, 3, 7, 11), np.uint8), "3 images, allowed 1..2"),
        (np.zeros((0, 3, 7, 11), np.uint8), "0 images"),
    ],
)
def test_a_batch_that_does_not_fit_is_named(batch, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(").replace(")", r"\)")):
        Plan(branching(), "spec", batch=2).run(batch)


def test_the_trace_answers_by_name_and_ranks_ties_by_the_lower_class():
    trace = run(branching(), pixels()[0], "spec")
    assert trace["conv1"].codes.shape == (1, 5, 7, 11)
    assert trace.probabilities.sum() == pytest.approx(1.0)
    assert trace.top(4)[0].tolist() == sorted(range(4), key=lambda k: (-int(trace.logits[0, k]), k))
    with pytest.raises(InputError, match="no layer 'conv9'; it has data, conv1"):
        trace["conv9"]
    assert "conv1" in str(trace) and "<table>" in trace._repr_html_()
