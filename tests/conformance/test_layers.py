"""One body over every target: codes, accumulators and events are those of the specification, and nothing else is touched.

Each layer runs twice: alone, from plain arrays; and amid a network's memory, where its inputs are channel slices of wider
buffers full of other codes, its output is a slice of a joint buffer under a border, and nobody taps the accumulator.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from hwsim.backends.base import Taps, zero_of
from hwsim.backends.buffers import Buffer
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.formats import FixedPoint
from hwsim.layers import Convolution, Events, Shape
from oracles.cases import FAMILIES, Case, codes, family, generator
from oracles.compare import Outcome, assert_same, by_spec, shapes
from oracles.generate import cases
from oracles.targets import TARGETS

BEFORE, BEHIND = 3, 5


def alone(backend, case: Case) -> Outcome:
    """Run from arrays into a new buffer, with the accumulator tapped."""
    kernel = backend.prepare(case.layer, shapes(case))
    taps = Taps.for_layer(case.layer, len(case.inputs[0]), kernel.output_shape, acc=True)
    out = kernel(case.inputs, taps)
    assert out.codes.dtype == case.layer.output_format.dtype
    acc = None if taps.acc is None else taps.acc.transpose(0, 3, 1, 2)
    return Outcome(out.codes, acc, taps.counted)


def joint(f, n: int, shape: Shape, border: tuple[int, int], seed: int) -> tuple[Buffer, Buffer]:
    """Return a wide buffer full of codes under a border of the zero point, and the slice of it that a tensor gets."""
    wide = Buffer.allocate(n, Shape(shape.c + BEFORE + BEHIND, shape.h, shape.w), f.dtype, border, zero_of(f))
    rng = np.random.default_rng(seed)
    wide.codes[...] = rng.integers(f.low, f.high, size=wide.codes.shape, endpoint=True, dtype=np.int64)
    return wide, wide.channels(BEFORE, shape.c)


def outside(wide: Buffer, inner: Buffer) -> np.ndarray:
    """Return everything in a wide buffer but the slice's own pixels."""
    everything = wide.padded.copy()
    (bh, bw), (c, h, w) = inner.border, inner.shape
    everything[:, bh : bh + h, bw : bw + w, inner.first : inner.first + c] = 0
    return everything


def amid(backend, case: Case) -> Outcome:
    """Run from slices into a slice, twice, without the accumulator."""
    kernel = backend.prepare(case.layer, shapes(case))
    n, layer = len(case.inputs[0]), case.layer
    extra = (kernel.input_border[0] + 1, kernel.input_border[1] + 2)
    inputs = []
    for i, x in enumerate(case.inputs):
        _, piece = joint(layer.input_formats[i], n, shapes(case)[i], extra, seed=i)
        piece.codes[...] = x
        inputs.append(piece)
    before = [piece.padded.copy() for piece in inputs]
    wide, out = joint(layer.output_format, n, kernel.output_shape, (2, 1), seed=99)
    around = outside(wide, out)
    taps = Taps()
    for _ in range(2):
        taps.events[:] = 0
        assert kernel(inputs, taps, out) is out
    np.testing.assert_array_equal(outside(wide, out), around, f"{case.name}: written beside the output\n{layer!r}")
    for piece, was in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(piece.padded, was, f"{case.name}: an input was written\n{layer!r}")
    return Outcome(out.codes.copy(), None, taps.counted)


def conforms(target, case: Case) -> None:
    with target.chosen() as backend:
        assert_same(case, f"{target} alone", by_spec(case), alone(backend, case))
        if target.backend != "spec":
            assert_same(case, f"{target} amid a network", by_spec(case), amid(backend, case))


@pytest.mark.parametrize("name", FAMILIES)
def test_hard_cases(target, name):
    for case in family(name):
        conforms(target, case)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(case=cases())
def test_generated_layers(target, case):
    conforms(target, case)


@pytest.mark.parametrize("operand", [8, 16])
@pytest.mark.parametrize("bits", [8, 40])
@pytest.mark.parametrize("fast", [t for t in TARGETS if t.backend != "spec"], ids=str)
def test_events_are_counted_beyond_16_bits_in_every_lane(fast, bits, operand):
    """Every sum leaves an 8-bit accumulator, and every content of the wide one the output: 93,000 times in each channel."""
    fast.need()
    x, weight = FixedPoint(operand, 0), np.ones((17, 4, 1, 1), np.int8)
    out = Output(FixedPoint(8, 0))
    layer = Convolution(MacContract(x, FixedPoint(8, 0), out, Accumulator(bits)), weight)
    inputs = np.full((1, 4, 300, 310), 127)
    size = 17 * 300 * 310
    want = 4 * 127 if bits == 40 else 4 * 127 - 512
    with fast.chosen() as backend:
        taps = Taps()
        codes = backend.prepare(layer, [Shape(4, 300, 310)])([inputs], taps).codes
    assert (codes == min(want, 127)).all()
    assert taps.counted == (Events(0, size) if bits == 40 else Events(size, 0))


@pytest.mark.parametrize("native", [t for t in TARGETS if t.backend == "native"], ids=str)
def test_one_native_kernel_serves_many_callers_at_once(native):
    """A prepared kernel is immutable: eight callers in four threads get their own results."""
    native.need()
    with native.chosen() as backend, ThreadPoolExecutor(4) as pool:
        for name in ("conv groups17 c17 k17 s8 fl 3", "conv 65 in 33 out 3x3", "conv 64 in 64 out"):
            case = next(c for c in (*family("geometry"), *family("vector_edges")) if c.name == name)
            kernel = backend.prepare(case.layer, shapes(case))
            f, shape = case.layer.input_formats[0], case.inputs[0].shape
            batches = [codes(generator(f"{name} {i}"), f, shape) for i in range(8)]
            want = [kernel([x]).codes.copy() for x in batches]
            for _ in range(5):
                for a, b in zip(want, pool.map(kernel, [[x] for x in batches]), strict=True):
                    np.testing.assert_array_equal(b.codes, a, name)


def test_a_concatenation_in_place_is_not_copied(target):
    """Branches that already lie in the joint buffer stay as they are, and their codes are the concatenation's."""
    case = next(c for c in family("elementwise") if c.name.startswith("concat s8 "))
    total = sum(x.shape[1] for x in case.inputs)
    with target.chosen() as backend:
        kernel = backend.prepare(case.layer, shapes(case))
        f, n = case.layer.output_format, len(case.inputs[0])
        out = Buffer.allocate(n, Shape(total, *case.inputs[0].shape[2:]), f.dtype, (1, 1))
        pieces, first = [], 0
        for x in case.inputs:
            pieces.append(out.channels(first, x.shape[1]))
            pieces[-1].codes[...] = x
            first += x.shape[1]
        kernel(pieces, Taps(), out)
    assert_same(case, f"{target} in place", by_spec(case), Outcome(out.codes, None, (0, 0)))
    assert not out.padded[:, 0].any() and not out.padded[:, -1].any()
