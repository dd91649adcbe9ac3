"""How many windows a pooling layer has, and what an average divides by, from Caffe's published formulas."""

from math import ceil

import pytest

from hwsim.layers import CountRule, Shape, Window
from hwsim.layers.pool import pooled_extent
from oracles.layers import pooled

SIZES = [(e, k, s, p) for e in range(1, 12) for k in range(1, 6) for s in range(1, 7) for p in range(k) if e + 2 * p >= k]


@pytest.mark.parametrize("ceil_mode", [False, True], ids=["floor", "ceil"])
def test_windows_are_those_that_can_be_counted(ceil_mode):
    for extent, kernel, stride, pad in SIZES:
        found = pooled_extent(extent, kernel, stride, pad, ceil_mode)
        assert found == pooled(extent, kernel, stride, pad, ceil_mode), (extent, kernel, stride, pad)


def caffe(extent: int, kernel: int, stride: int, pad: int) -> int:
    """pooling_layer.cpp, Reshape: ceil, then "clip the last pooling" if there is padding."""
    outputs = ceil((extent + 2 * pad - kernel) / stride) + 1
    if pad and (outputs - 1) * stride >= extent + pad:
        outputs -= 1
    return outputs


def test_ceil_mode_is_caffes_but_for_windows_that_see_nothing():
    for extent, kernel, stride, pad in SIZES:
        theirs = caffe(extent, kernel, stride, pad)
        empty = pad == 0 and (theirs - 1) * stride >= extent  # Caffe keeps such a window, whose maximum is -FLT_MAX
        assert pooled_extent(extent, kernel, stride, pad, True) == theirs - empty, (extent, kernel, stride, pad)
        assert not empty or stride > kernel


def test_caffes_divisor_is_the_window_cut_at_the_padded_image():
    for extent, kernel, stride, pad in SIZES:
        window, shape = Window((kernel, 1), (stride, 1), (pad, 0), True), Shape(1, extent, 1)
        for i in range(window.output_shape(shape).h):
            start = i * stride - pad
            end = min(start + kernel, extent + pad)
            assert window.divisor(shape, i, 0, CountRule.CAFFE) == end - start
            assert window.divisor(shape, i, 0, CountRule.INCLUDE_PADDING) == kernel
            assert window.divisor(shape, i, 0, CountRule.EXCLUDE_PADDING) == min(end, extent) - max(start, 0) > 0
