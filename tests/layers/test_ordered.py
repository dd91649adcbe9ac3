"""The specification's walk against plain loops: accumulators, codes and the events of every place, output by output."""

from __future__ import annotations

import numpy as np
from hypothesis import event, given, settings

from oracles.compare import shapes
from oracles.ordered import expected_output
from oracles.ordered_cases import ordered_cases


@settings(max_examples=150)
@given(ordered_cases())
def test_the_walk_is_the_loop_that_the_contract_tells(case):
    layer, x = case.layer, case.inputs[0]
    for at in list(np.ndindex(len(x), *layer.output_shape(shapes(case))))[:40]:
        cell, want = layer.spec([x.tolist()], *at), expected_output(layer, x, *at)
        assert (cell.acc, cell.code, cell.events) == (want.acc, want.code, want.events), at
        for place, count in zip(cell.events._fields, cell.events, strict=True):
            if count:
                event(place)
