"""The study: every planted fault searched for by hwsim's strategies, and by uniform codes on layers of the same shapes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from hwsim.execute.single import run_layer
from hwsim.layers import MacLayer
from hwsim.testing import BitMismatch, assert_bit_exact, inputs
from hwsim.testing.example.device import MacUnit
from hwsim.testing.example.faults import FAULTS, Fault
from hwsim.testing.example.jobs import operands
from hwsim.testing.example.table import Passed, Row, Search, Study
from hwsim.testing.example.unit import layers

Example = tuple[MacLayer, np.ndarray]
"""A layer, and codes [N][C][H][W] for it."""

Progress = Callable[[int, int], None]


def study(
    faults: Sequence[Fault] = FAULTS, *, budget: int = 2000, seeds: Sequence[int] = (0, 1, 2), progress: Progress | None = None
) -> Study:
    """Search for every fault, with each seed in `budget` examples at most; pass the correct unit through as many.

    Both searches stop at the first example that shows the fault; hwsim's is then reduced. The uniform search takes layers of the
    shapes and contracts and images of the sizes that hwsim's strategies draw, and draws every weight, bias and input code
    uniformly; the time to draw shapes is not counted, and that to draw hwsim's examples is.
    """
    total = len(seeds) * (len(faults) + 1) + 1
    tell = progress or (lambda done, of: None)
    shapes = [drawn(budget, seed) for seed in seeds]
    rows, done = [], 1
    for one in faults:
        searches = []
        for examples, seed in zip(shapes, seeds, strict=True):
            tell(done, total)
            searches.append((search(one, budget, seed), search_uniformly(one, examples, seed)))
            done += 1
        rows.append(Row(one, tuple(steered for steered, _ in searches), tuple(uniformly for _, uniformly in searches)))
    passes = []
    for seed in seeds:
        tell(done, total)
        passes.append(passed(budget, seed))
        done += 1
    return Study(budget, tuple(seeds), tuple(rows), tuple(passes))


def search(fault: Fault, budget: int, seed: int) -> Search:
    """Search by hwsim's strategies and reduce what is found, as any test of a device does."""
    begun, examples, left = processor_seconds(), None, None
    with MacUnit(fault) as unit, tempfile.TemporaryDirectory() as folder:
        try:
            assert_bit_exact(unit, layers(), max_examples=budget, seed=seed, runs=1, save=folder)
        except BitMismatch as found:
            example = found.report.example
            examples, left = found.report.effort.example, operands(example.layer, example.inputs)
    return Search(examples, processor_seconds() - begun, left)


def passed(budget: int, seed: int) -> Passed:
    """Hold the correct unit to as many examples; BitMismatch where it fails one."""
    begun = processor_seconds()
    with MacUnit() as unit, tempfile.TemporaryDirectory() as folder:
        result = assert_bit_exact(unit, layers(), max_examples=budget, seed=seed, save=folder)
    return Passed(result.examples, result.outputs, processor_seconds() - begun)


def processor_seconds() -> float:
    """Return what this process and those that it has ended, simulators, have used: who else is busy does not count."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def drawn(count: int, seed: int) -> list[Example]:
    """Return so many examples of hwsim's strategies."""
    found: list[Example] = []

    @seeded(seed)
    @settings(max_examples=count, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def collect(data: Any) -> None:
        layer = data.draw(layers())
        found.append((layer, data.draw(inputs(layer))))

    collect()
    return found


def uniform(example: Example, rng: np.random.Generator) -> Example:
    """Return a layer of the same shape and contract and an input of the same shape, every code uniform in its format."""
    layer, x = example
    contract = layer.integer.contract

    def codes(fmt: Any, shape: tuple[int, ...]) -> np.ndarray:
        return rng.integers(fmt.low, fmt.high, shape, endpoint=True)

    bias = None if layer.bias is None else codes(contract.bias_format(layer.channels), layer.bias.shape)
    return replace(layer, weight=codes(contract.weight, layer.weight.shape), bias=bias), codes(contract.input, x.shape)


def search_uniformly(fault: Fault, shapes: Sequence[Example], seed: int) -> Search:
    """Search by uniform codes, one example for each shape."""
    begun = processor_seconds()
    with MacUnit(fault) as unit:
        examples = _first_wrong(unit, shapes, np.random.default_rng(seed))
    return Search(examples, processor_seconds() - begun)


def _first_wrong(unit: MacUnit, shapes: Sequence[Example], rng: np.random.Generator) -> int | None:
    for count, shape in enumerate(shapes):
        layer, x = uniform(shape, rng)
        if not np.array_equal(unit(layer, x), run_layer(layer, x).codes):
            return count + 1
    return None
