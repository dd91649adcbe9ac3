"""Outcomes of a case, and the comparison that knows no tolerance and names the first difference."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

from hwsim.layers import Events, MacLayer, Shape
from oracles.cases import Case


class Outcome(NamedTuple):
    """Codes and accumulators [N][K][H][W] (acc None where there is none), events."""

    codes: np.ndarray
    acc: np.ndarray | None
    events: Events


def shapes(case: Case) -> list[Shape]:
    return [Shape(*x.shape[1:]) for x in case.inputs]


@cache
def by_spec(case: Case) -> Outcome:
    """What the specification says, output by output."""
    n, shape = len(case.inputs[0]), case.layer.output_shape(shapes(case))
    inputs = [x.tolist() for x in case.inputs]
    codes = np.zeros((n, *shape), dtype=object)
    acc = np.zeros((n, *shape), dtype=object) if isinstance(case.layer, MacLayer) else None
    events = Events()
    for at in np.ndindex(*codes.shape):
        cell = case.layer.spec(inputs, *at)
        codes[at] = cell.code
        if acc is not None:
            acc[at] = cell.acc
        events = events.plus(cell.events)
    return Outcome(codes, acc, events)


def assert_same(case: Case, who: str, want: Outcome, got: Outcome) -> None:
    """Equal codes, accumulators and events, or the layer, the first coordinate and both values."""
    head = f"{who}: {case.name}\n{case.layer!r}\ninput {case.inputs[0].shape}\n"
    for what, a, b in (("acc", want.acc, got.acc), ("code", want.codes, got.codes)):
        if a is None or b is None:
            continue
        if a.shape != b.shape:
            pytest.fail(f"{head}{what}: shape {b.shape}, not {a.shape}", pytrace=False)
        different = np.argwhere(a.astype(object) != b.astype(object))
        if len(different):
            at = tuple(int(i) for i in different[0])
            said = f"{what} at (n, k, y, x) = {at} is {b[at]}, not {a[at]}; {len(different)} of {a.size} differ"
            pytest.fail(head + said, pytrace=False)
    if Events(*want.events) != Events(*got.events):
        said = f"events are {got.events}, not {want.events}"
        pytest.fail(head + said, pytrace=False)
