"""Golden packages of layers that move, look up, have slopes or scatter: written, read again, and checked by what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hwsim
from hwsim.execute.single import run_layer
from support.moving_layers import LAYERS, inputs


@pytest.mark.parametrize("name", LAYERS)
def test_a_package_passes_its_own_check(name, tmp_path):
    trace = replace(run_layer(LAYERS[name], inputs(name), backend="jit"), name="only")
    report = hwsim.check(hwsim.write_golden(trace, tmp_path / "p"))
    assert report.passed, str(report)
    again = hwsim.read_golden(tmp_path / "p")
    np.testing.assert_array_equal(run_layer(again["only"].layer, inputs(name), backend="spec").codes, trace.codes)
