"""The worked example: every fault planted into the MAC unit is found and shrunk to a few operands; the correct unit passes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.layers import MacLayer
from hwsim.testing import BitMismatch, assert_bit_exact
from hwsim.testing.example import FAULTS, Fault, MacUnit, fault
from hwsim.testing.example.study import drawn, search_uniformly

pytestmark = pytest.mark.slow

Shown = tuple[int, MacLayer, np.ndarray]
"""Number of the example, layer, codes [N][C][H][W]."""

SEEDS, EXAMPLES = range(200, 230), 100
"""At most 3,000 examples, 100 of each seed; the search ends when every fault is shown, after 300 from seed 200 on."""


@pytest.fixture(scope="module", autouse=True)
def icarus() -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is not installed (Debian: apt-get install iverilog)")


def examples() -> Iterator[Shown]:
    """The examples in order."""
    count = 0
    for seed in SEEDS:
        for layer, inputs in drawn(EXAMPLES, seed):
            count += 1
            yield count, layer, inputs


@pytest.fixture(scope="module")
def shown() -> dict[str, Shown]:
    """The first example that shows each fault; every example before the last is one that the correct unit has passed, too."""
    found: dict[str, Shown] = {}
    with ExitStack() as stack:
        correct = stack.enter_context(MacUnit())
        faulty = {one.name: stack.enter_context(MacUnit(one)) for one in FAULTS}
        for count, layer, inputs in examples():
            wanted = hwsim.run_layer(layer, inputs).codes
            assert np.array_equal(correct(layer, inputs), wanted)
            for name in [name for name in faulty if name not in found]:
                if not np.array_equal(faulty[name](layer, inputs), wanted):
                    found[name] = count, layer, inputs
            if len(found) == len(faulty):
                break
    return found


def pairs(layer: MacLayer, inputs: np.ndarray) -> int:
    """Products of two codes that are not zero, over all outputs of all images."""
    out = layer.output_shape([hwsim.layers.Shape(*inputs.shape[1:])])
    count = 0
    for image in inputs.tolist():
        for k, y, x in np.ndindex(*out):
            weights = layer.weight[k].ravel().tolist()
            count += sum(code != 0 and weight != 0 for code, weight in zip(layer.taps(image, k, y, x)[0], weights, strict=True))
    return count


@pytest.mark.parametrize("one", FAULTS, ids=lambda one: one.name)
def test_a_planted_fault_is_found_and_shrunk_to_at_most_four_operands(one: Fault, shown: dict, tmp_path: Path) -> None:
    assert one.name in shown, f"not shown by {len(SEEDS) * EXAMPLES} examples"
    _, layer, inputs = shown[one.name]
    with MacUnit(one) as unit, pytest.raises(BitMismatch) as failure:
        assert_bit_exact(unit, layer, inputs, fixed=False, runs=1, save=tmp_path)
    report = failure.value.report
    small, codes = report.example.layer, report.example.inputs
    assert pairs(small, codes) <= 4
    assert not report.effort.stopped and not report.own_fault
    with MacUnit() as correct:
        right = correct(small, codes)
    place = report.verdict.place
    explained = hwsim.explain(small, place, codes)
    assert explained.ending.code == right[place] != report.verdict.other[place]
    assert np.array_equal(right, report.verdict.expected)


def test_the_correct_unit_passes_as_any_device_does() -> None:
    from hwsim.testing.example import layers

    with MacUnit() as unit:
        passed = assert_bit_exact(unit, layers(), max_examples=60)
    assert passed.examples == 60 and passed.calls > 120


def test_uniform_codes_find_what_is_everywhere_and_not_what_lies_at_one_corner() -> None:
    shapes = drawn(EXAMPLES, SEEDS[0])
    assert search_uniformly(fault("bias-missing"), shapes, 0).examples is not None
    assert search_uniformly(fault("acc-high-by-one"), shapes, 0).examples is None
