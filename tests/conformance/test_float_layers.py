"""Layers that do not multiply, with minifloats: every target gives the specification's codes and events, or says it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.backends import trap
from hwsim.backends.base import Taps
from hwsim.backends.buffers import Buffer
from hwsim.contract.float_mac import FloatOutput
from hwsim.contract.mac import Output
from hwsim.errors import BackendError, OverflowTrap
from hwsim.execute.plan import choose, prepare
from hwsim.formats import FixedPoint, catalog
from hwsim.layers import AveragePool, CountRule, EltwiseSum, Events, HostLRN, MaxPool, Region, ReLU, Rescale, Shape, Window
from hwsim.network.quantized import QuantizedNode
from oracles.cases import Case, generator
from oracles.compare import Outcome, assert_same, by_spec, shapes
from oracles.float_layer_cases import KINDS, codes_of, float_layer_case
from oracles.float_layers import expected

CASES = 40
WIDE = ("average_pool", "eltwise_sum")  # sums beyond 126 bits are not in the C core


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
                assert target.backend == "native" and f"has no {kind} for this contract" in str(refused)
                continue
            computed += 1
            assert_same(case, f"{target} alone", by_spec(case), alone(backend, case))
            if target.backend != "spec":
                assert_same(case, f"{target} amid a network", by_spec(case), amid(backend, case))
    assert computed == CASES or target.backend == "native" and kind in WIDE and computed > CASES // 3


@pytest.mark.parametrize("fmt", [catalog.E4M3, catalog.E5M2_FNUZ, catalog.BFLOAT16, catalog.BINARY32], ids=str)
@pytest.mark.parametrize("window", [Window(None), Window((3, 3), (2, 2))], ids=str)
def test_maxima_beyond_one_block_of_channels_and_taps(target, fmt, window):
    """More channels than any kernel takes at once, and 90 pixels in the one window."""
    rng = generator(f"maxima {fmt} {window}")
    x = (
        rng.integers(0, fmt.layout.largest, size=(1, 131, 10, 9), endpoint=True)
        | rng.integers(0, 2, size=(131, 1, 1)) << fmt.bits - 1
    )
    x[:, 130, 3, 4] = fmt.encode(float("nan"))
    layers = (MaxPool(fmt, window), ReLU(fmt), Rescale(fmt, FloatOutput(catalog.E5M2)))
    with target.chosen() as backend:
        for layer in layers:
            case = Case(f"{layer.kind} {fmt}", layer, (x.astype(fmt.dtype),))
            assert_same(case, f"{target} alone", by_spec(case), alone(backend, case))


@pytest.mark.parametrize("length", [0, 60, 72, 75, 90])
@pytest.mark.parametrize("mode", [Rounding.TIES_EVEN, Rounding.AWAY_FROM_ZERO], ids=lambda mode: mode.name)
def test_quotients_are_exact_however_fine_the_output(target, length, mode):
    """The last bits of thirds, far below the numbers' own: a register that wraps shows them."""
    layer = AveragePool(
        catalog.E4M3, Window((1, 3), (1, 3)), CountRule.CAFFE, Output(FixedPoint(32, length), mode, Overflow.WRAP)
    )
    x = codes_of(generator("thirds"), catalog.E4M3, (1, 3, 5, 21))
    x[0, 0, 0, :9] = [0x01, 0, 0, 0x81, 0, 0, 0x38, 0, 0]
    case = Case(f"thirds at {length}", layer, (x,))
    codes, events = expected(layer, (x,))
    assert_same(case, "the specification", Outcome(codes, None, Events(0, events)), by_spec(case))
    with target.chosen() as backend:
        if backend.can(layer):
            assert_same(case, f"{target}", by_spec(case), alone(backend, case))


TRAPPING = Output(FixedPoint(8, 3), overflow=Overflow.TRAP)


@pytest.mark.parametrize("layer", [
    Rescale(catalog.E4M3, TRAPPING),
    EltwiseSum((catalog.E4M3,) * 2, TRAPPING),
    AveragePool(catalog.E4M3, Window((1, 1)), CountRule.CAFFE, TRAPPING),
    HostLRN(catalog.E4M3, Region.ACROSS_CHANNELS, 1, 0.0, 0.75, 1.0, TRAPPING),
], ids=lambda layer: layer.kind)  # fmt: skip
def test_the_first_number_that_does_not_fit_stops_the_run(target, layer):
    x = np.full((2, 3, 4, 5), 0x38, dtype=np.uint8)
    x[1, 2, 1, 3], x[1, 2, 3, 0] = 0x7E, 0x7F  # 448; NaN, which has no code
    inputs = [Buffer.from_codes(x, x.dtype, (0, 0))] * len(layer.input_formats)
    with target.chosen() as backend:
        kernel, taps = backend.prepare(layer, [Shape(3, 4, 5)] * len(inputs)), Taps()
        kernel(inputs, taps)
        with pytest.raises(OverflowTrap, match=r"one: first overflow at output \(n, k, y, x\) = \(1, 2, 1, 3\)"):
            trap.check("one", kernel, inputs, taps)
    assert taps.counted.output == 2


def average(fmt, output) -> AveragePool:
    return AveragePool(fmt, Window(None), CountRule.CAFFE, output)


@pytest.mark.parametrize(
    ("layer", "wide"),
    [
        (average(catalog.BINARY16, FloatOutput(catalog.BINARY16)), False),
        (average(catalog.BFLOAT16, FloatOutput(catalog.E4M3)), True),
        (average(catalog.E4M3, Output(FixedPoint(8, 3))), False),
        (average(catalog.E4M3, Output(FixedPoint(8, 200))), True),
        (EltwiseSum((catalog.E4M3, FixedPoint(8, 3)), FloatOutput(catalog.E4M3)), False),
        (EltwiseSum((catalog.E4M3, FixedPoint(8, 120)), FloatOutput(catalog.E4M3)), True),
    ],
)
def test_a_backend_named_computes_or_refuses_in_one_sentence_and_auto_chooses(layer, wide):
    shapes = [Shape(2, 3, 5)] * len(layer.input_formats)
    for backend in choose("auto"):
        refuses = wide and backend.name == "native"
        assert backend.can(layer) is not refuses
        if refuses:
            with pytest.raises(BackendError, match=f"no {layer.kind} for this contract; choose backend jit or auto"):
                backend.prepare(layer, shapes)
        else:
            backend.prepare(layer, shapes)
    chosen = prepare(QuantizedNode("one", ("a", "b")[: len(shapes)], layer), shapes, choose("auto"))[0]
    assert chosen.name == next(b.name for b in choose("auto") if b.name == "jit" or not wide)
