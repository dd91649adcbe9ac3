"""ReLU stands behind the declared clamp: where the clamp ends below 0, every code is 0, with a tap of the sums and without."""

from __future__ import annotations

import numpy as np
import pytest

import hwsim

S8 = hwsim.FixedPoint(8, 0)


@pytest.mark.parametrize("kept", [True, False], ids=["acc kept", "codes alone"])
@pytest.mark.parametrize("taps", [1, 40])
@pytest.mark.parametrize("high", [-3, -1, 0, 5])
def test_a_clamp_that_ends_below_zero(high: int, taps: int, kept: bool, isa: str) -> None:
    output = hwsim.Output(hwsim.FixedPoint(4, 0), activation=hwsim.Activation.RELU_AFTER_REQUANTIZE, clamp_high=high)
    layer = hwsim.Linear().layer(np.eye(1, taps, dtype=int), hwsim.MacContract(S8, S8, output, hwsim.Accumulator(16)))
    values = range(-9, 10)
    inputs = np.array([np.full((taps, 1, 1), value) for value in values])
    found = hwsim.run_layer(layer, inputs, backend="native", acc=kept).codes.ravel().tolist()
    assert found == [max(min(value, high, 7), 0) for value in values]
