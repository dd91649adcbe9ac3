"""What no kernel takes: every backend refuses it with the same sentence."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.contract import Output
from hwsim.errors import ContractError
from hwsim.execute.single import run_layer
from hwsim.formats import FixedPoint
from hwsim.layers import Concat, EltwiseSum, ReLU, Shape

S8, U5 = FixedPoint(8, 0), FixedPoint(5, 0, signed=False)
SHAPE = Shape(2, 3, 5)


def ones(n=1, shape=SHAPE, dtype=np.int8, value=1):
    return np.full((n, *shape), value, dtype)


@pytest.mark.parametrize(
    ("layer", "inputs", "said"),
    [
        (ReLU(S8), [ones(value=1.0, dtype=float)], "input 0: found elements of type float64, allowed integer codes in -128..127"),
        (ReLU(S8), [ones(value=True, dtype=bool)], "found elements of type bool, allowed integer codes in -128..127"),
        (ReLU(S8), [ones(value=128, dtype=int)], "found 128 at (n, c, y, x) = (0, 0, 0, 0), allowed integer codes in -128..127"),
        (ReLU(S8), [ones(value=-129, dtype=int)], "found -129 at (n, c, y, x) = (0, 0, 0, 0), allowed integer codes"),
        (ReLU(U5), [ones(value=-1)], "found -1 at (n, c, y, x) = (0, 0, 0, 0), allowed integer codes in 0..31"),
        (ReLU(U5), [ones(value=32)], "found 32 at (n, c, y, x) = (0, 0, 0, 0), allowed integer codes in 0..31"),
        (ReLU(S8), [ones(value=(1 << 64) - 1, dtype=np.uint64)], "found 18446744073709551615 at"),
        (ReLU(S8), [ones(shape=(2, 5, 3))], "input 0 has shape (1, 2, 5, 3), allowed (N, 2, 3, 5)"),
        (ReLU(S8), [ones()[0]], "input 0 has shape (2, 3, 5), allowed (N, 2, 3, 5)"),
        (ReLU(S8), [ones(), ones()], "found 2 inputs, allowed 1"),
        (EltwiseSum((S8, S8), Output(S8)), [ones()], "found 1 inputs, allowed 2"),
        (EltwiseSum((S8, S8), Output(S8)), [ones(1), ones(2)], "found inputs of 1, 2 images"),
        (EltwiseSum((S8, S8), Output(S8)), [ones(2), ones(1)], "found inputs of 2, 1 images"),
        (Concat(S8, 2), [ones(3), ones(2)], "found inputs of 3, 2 images"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(target, layer, inputs, said):
    with target.chosen() as backend:
        kernel = backend.prepare(layer, [SHAPE] * len(layer.input_formats))
        with pytest.raises(ContractError) as caught:
            kernel(inputs)
    assert said in str(caught.value) and str(caught.value).endswith(".")


def test_the_first_code_that_does_not_fit_is_named_with_its_position():
    codes = np.zeros((2, 3, 5, 7), dtype=np.int64)
    codes[1, 2, 0, 4], codes[1, 2, 0, 3], codes[1, 2, 4, 0] = 300, -129, 200
    with pytest.raises(ContractError, match=r"input 0: found -129 at \(n, c, y, x\) = \(1, 2, 0, 3\), allowed"):
        run_layer(ReLU(S8), codes, backend="spec")
