"""Golden packages of layers that move, look up, have slopes or scatter: written, read again, and checked by what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hwsim
from hwsim.contract import MacContract, Output
from hwsim.errors import InputError
from hwsim.execute.single import run_layer
from hwsim.formats import FixedPoint
from hwsim.layers import Convolution, Deconvolution
from support.moving_layers import LAYERS, inputs


@pytest.mark.parametrize("name", LAYERS)
def test_a_package_passes_its_own_check(name, tmp_path):
    trace = replace(run_layer(LAYERS[name], inputs(name), backend="jit"), name="only")
    report = hwsim.check(hwsim.write_golden(trace, tmp_path / "p"))
    assert report.passed, str(report)
    again = hwsim.read_golden(tmp_path / "p")
    np.testing.assert_array_equal(run_layer(again["only"].layer, inputs(name), backend="spec").codes, trace.codes)


S8 = FixedPoint(8, 0)
KERNEL = np.ones((1, 1, 3, 3), int)
ROOMY = [
    Deconvolution(MacContract(S8, S8, Output(S8)), KERNEL, dilation=(4000, 4000), pad=(8000, 8000), pad_end=(0, 0)),
    Convolution(MacContract(S8, S8, Output(S8)), KERNEL, stride=(6000, 6000), pad_end=(6000, 6000)),
]


@pytest.mark.parametrize("layer", ROOMY, ids=lambda layer: layer.kind)
def test_room_out_of_proportion_is_refused_before_it_is_taken(layer, tmp_path):
    trace = replace(run_layer(layer, np.ones((1, 1, 3, 3), int), backend="spec"), name="roomy")
    with pytest.raises(InputError, match=r"roomy: found .* allowed is (a )?much (less|smaller)"):
        hwsim.check(hwsim.write_golden(trace, tmp_path / "p"))
