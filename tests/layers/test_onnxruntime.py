"""Products, maxima and averages as ONNX Runtime has them: an oracle that is not ours."""

import numpy as np
import pytest

from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.formats import FixedPoint
from hwsim.layers import AveragePool, Convolution, CountRule, MaxPool, Window
from oracles.cases import Case, codes, generator
from oracles.compare import Outcome, assert_same, by_spec
from oracles.onnx_oracle import average_pool, convolve_integer, max_pool

FORMATS = [FixedPoint(8, 3), FixedPoint(8, 3, signed=False)]
WIDE = [FixedPoint(16, 3), FixedPoint(16, 3, signed=False)]
CONVOLUTIONS = [
    {},
    {"stride": (2, 3)},
    {"pad": (1, 2)},
    {"dilation": (2, 3)},
    {"stride": (3, 2), "pad": (2, 1), "dilation": (1, 2)},
    {"groups": 2, "pad": (1, 0)},
    {"groups": 6},
]


@pytest.mark.parametrize("attributes", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("x", FORMATS + WIDE, ids=str)
@pytest.mark.parametrize("w", FORMATS + WIDE, ids=str)
def test_accumulators_are_conv_integer(onnxruntime, x, w, attributes):
    rng = generator(f"{x}{w}{attributes}")
    groups = attributes.get("groups", 1)
    weight = codes(rng, w, (6, 6 // groups, 3, 2))
    inputs = codes(rng, x, (2, 6, 7, 11))
    layer = Convolution(MacContract(x, w, Output(FixedPoint(8, 0)), Accumulator(48)), weight, **attributes)
    case = Case(f"ConvInteger {x} {w} {attributes}", layer, (inputs,))
    ours = by_spec(case)
    want = convolve_integer(onnxruntime, inputs, layer)
    assert_same(case, "spec", Outcome(ours.codes, want, ours.events), ours)


WINDOWS = [
    ((2, 2), (2, 2), (0, 0)),
    ((3, 3), (2, 2), (1, 1)),
    ((3, 2), (2, 3), (1, 0)),
    ((2, 3), (1, 1), (1, 2)),
    ((4, 1), (3, 2), (0, 0)),
]


@pytest.mark.parametrize("ceil_mode", [False, True], ids=["floor", "ceil"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("f", FORMATS, ids=str)
def test_max_pool(onnxruntime, f, window, ceil_mode):
    w = Window(*window, ceil_mode)
    case = Case(f"MaxPool {f} {w}", MaxPool(f, w), (codes(generator(str(window)), f, (2, 3, 7, 11)),))
    assert_same(case, "spec", Outcome(max_pool(onnxruntime, case.inputs[0], w), None, (0, 0)), by_spec(case))


@pytest.mark.parametrize("count", [CountRule.EXCLUDE_PADDING, CountRule.INCLUDE_PADDING], ids=lambda rule: rule.name)
@pytest.mark.parametrize("window", [w for w in WINDOWS if w[0][0] * w[0][1] in (2, 4)] + [((4, 4), (2, 3), (2, 2))], ids=str)
@pytest.mark.parametrize("f", FORMATS, ids=str)
def test_average_pool_where_every_divisor_is_a_power_of_two(onnxruntime, f, window, count):
    w = Window(*window)
    # pad 2 of a 4 x 4 kernel leaves 2, 4 (and 3 at the far end of 7 rows) rows: only floor mode and even counts are exact
    inputs = codes(generator(str(window)), f, (2, 3, 8, 12))
    real = average_pool(onnxruntime, inputs, w, count == CountRule.INCLUDE_PADDING)
    for mode, rounds in [(Rounding.FLOOR, np.floor), (Rounding.CEIL, np.ceil), (Rounding.TIES_EVEN, np.rint)]:
        case = Case(f"AveragePool {f} {w} {count.name}", AveragePool(f, w, count, Output(f, mode)), (inputs,))
        exact = real * 64 == np.rint(real * 64)
        assert exact.mean() > 0.5
        ours = by_spec(case)
        want = np.where(exact, rounds(real).astype(int), ours.codes)
        assert_same(case, "spec", Outcome(want, None, (0, 0)), ours)
