"""Layers that do not multiply, with minifloats: every target gives the specification's codes and events, or says it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.backends.base import Taps
from hwsim.backends.buffers import Buffer
from hwsim.errors import BackendError
from hwsim.layers import Shape
from oracles.cases import Case
from oracles.compare import Outcome, assert_same, by_spec, shapes
from oracles.float_layer_cases import KINDS, float_layer_case

CASES = 40


def alone(backend, case: Case) -> Outcome:
    """Run from arrays into a new buffer."""
    kernel = backend.prepare(case.layer, shapes(case))
    taps = Taps()
    out = kernel(case.inputs, taps)
    assert out.codes.dtype == case.layer.output_format.dtype
    return Outcome(out.codes, None, taps.counted)


def slice_of(fmt, n: int, shape: Shape, border: tuple[int, int]) -> Buffer:
    """Return the middle channels of a wider buffer whose other codes are all 1."""
    wide = Buffer.allocate(n, Shape(shape.c + 8, shape.h, shape.w), fmt.dtype, border)
    wide.codes[...] = 1
    return wide.channels(3, shape.c)


def amid(backend, case: Case) -> Outcome:
    """From slices into a slice, twice; what lies around them stays."""
    kernel, n, taps = backend.prepare(case.layer, shapes(case)), len(case.inputs[0]), Taps()
    inputs = []
    for x, fmt, shape in zip(case.inputs, case.layer.input_formats, shapes(case), strict=True):
        inputs.append(slice_of(fmt, n, shape, (1, 2)))
        inputs[-1].codes[...] = x
    before = [piece.padded.copy() for piece in inputs]
    out = slice_of(case.layer.output_format, n, kernel.output_shape, (2, 1))
    for _ in range(2):
        taps.events[:] = 0
        assert kernel(inputs, taps, out) is out
    codes = out.codes.copy()
    out.codes[...] = 1
    assert out.padded.sum() == n * (out.shape.c + 8) * out.shape.h * out.shape.w, f"{case.name}: written beside the output"
    for piece, was in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(piece.padded, was, f"{case.name}: an input was written")
    return Outcome(codes, None, taps.counted)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer_format_rounding_and_window(target, kind):
    computed = 0
    for i in range(CASES):
        case = float_layer_case(kind, i)
        with target.chosen() as backend:
            try:
                backend.prepare(case.layer, shapes(case))
            except BackendError as refused:
                assert target.backend == "native" and kind in str(refused) and "jit" in str(refused)
                continue
            computed += 1
            assert_same(case, f"{target} alone", by_spec(case), alone(backend, case))
            if target.backend != "spec":
                assert_same(case, f"{target} amid a network", by_spec(case), amid(backend, case))
    assert computed == CASES or target.backend == "native"
