"""Deconvolution as ONNX Runtime, LiteRT and TOSA's rules have it; declared orders and minifloats in plain loops; refusals."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.backends.registry import native_available
from hwsim.contract import Accumulator, MacContract, Output, PaddedTaps, Schedule
from hwsim.contract.scaling import make_multiplier, quantized_multiplier
from hwsim.contract.stochastic import Lfsr, StochasticRounding
from hwsim.errors import ContractError, OverflowTrap
from hwsim.execute.explain import explain
from hwsim.execute.single import run_layer
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import Deconvolution, Events, Shape
from oracles import tosa_rules
from oracles.cases import generator
from oracles.deconv_cases import assumed, scattered
from oracles.float_cases import float_case
from oracles.floats import output_at
from oracles.litert import Reference, T, constant, single
from oracles.onnx_oracle import run_node
from oracles.ordered import expected_output
from oracles.ordered_cases import ordered_cases

S8, S16 = FixedPoint(8, 0), FixedPoint(16, 0)
WIDE = MacContract(S8, S8, Output(S16), Accumulator(32))

ATTRIBUTES = [
    {},
    {"stride": (2, 3)},
    {"stride": (2, 2), "pad": (1, 0), "pad_end": (0, 1)},
    {"stride": (3, 2), "dilation": (2, 1), "output_padding": (2, 1)},
    {"stride": (2, 4), "pad": (1, 1), "output_padding": (1, 2), "groups": 3},
    {"dilation": (3, 2), "pad": (2, 2), "groups": 2},
]


@pytest.mark.parametrize("attributes", ATTRIBUTES, ids=str)
def test_accumulators_are_conv_transpose(onnxruntime, attributes):
    """In float32 every sum is an integer below 2**24, hence exact."""
    from onnx import TensorProto, helper

    rng, groups = generator(str(attributes)), attributes.get("groups", 1)
    stride, pad = attributes.get("stride", (1, 1)), attributes.get("pad", (0, 0))
    end, more = attributes.get("pad_end", pad), attributes.get("output_padding", (0, 0))
    dilation = attributes.get("dilation", (1, 1))
    x, weight = rng.integers(-128, 128, (2, 6, 5, 7)), rng.integers(-128, 128, (6, 6 // groups, 3, 2))  # C, K/groups, R, S
    bias = rng.integers(-999, 999, 6)
    node = helper.make_node(
        "ConvTranspose",
        ["x", "w", "b"],
        ["y"],
        kernel_shape=[3, 2],
        strides=stride,
        pads=[*pad, *end],
        output_padding=more,
        dilations=dilation,
        group=groups,
    )
    feeds = {"x": x.astype(np.float32), "w": weight.astype(np.float32), "b": bias.astype(np.float32)}
    want = run_node(onnxruntime, node, feeds, TensorProto.FLOAT)
    first = weight.reshape(groups, 6 // groups, 6 // groups, 3, 2).swapaxes(1, 2).reshape(6, 6 // groups, 3, 2)
    ends = tuple(e - m for e, m in zip(end, more, strict=True))
    layer = Deconvolution(WIDE, first, bias, stride, pad, dilation, groups, ends)
    np.testing.assert_array_equal(run_layer(layer, x, backend="jit").acc, want)


def test_accumulators_are_tosa_s_transpose_conv2d():
    rng = generator("tosa transpose conv")
    for _ in range(40):
        h, w, c, k = (int(v) for v in rng.integers(1, 5, 4))
        r, s, sy, sx = (int(v) for v in rng.integers(1, 5, 4))
        out_pad = [int(v) for v in (*rng.integers(1 - r, 4, 2), *rng.integers(1 - s, 4, 2))]  # top, bottom, left, right
        if (h - 1) * sy + out_pad[0] + out_pad[1] + r < 1 or (w - 1) * sx + out_pad[2] + out_pad[3] + s < 1:
            continue
        x, weight = rng.integers(-128, 128, (1, h, w, c)), rng.integers(-127, 128, (k, r, s, c))
        bias, zeros = rng.integers(-999, 999, k), [int(z) for z in rng.integers(-128, 128, 2)]
        attributes = {"out_pad": out_pad, "stride": (sy, sx)}
        arrays = [x, weight, bias, np.array(zeros[:1]), np.array(zeros[1:])]
        want = tosa_rules.transpose_conv2d(attributes, arrays, ["int8"] * 2, "int32").transpose(0, 3, 1, 2)
        contract = MacContract(Affine(8, 1.0, zeros[0]), Affine(8, 1.0, zeros[1]), Output(Affine(32, 1.0)), Accumulator(32))
        pads = (-out_pad[0], -out_pad[2]), (-out_pad[1], -out_pad[3])
        layer = Deconvolution(contract, weight.transpose(0, 3, 1, 2), bias, (sy, sx), pads[0], pad_end=pads[1])
        got = run_layer(layer, x.transpose(0, 3, 1, 2), backend="jit")
        np.testing.assert_array_equal(got.codes, want, str((attributes, x.shape, weight.shape)))


@pytest.mark.parametrize("same", [False, True], ids=["valid", "same"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3), (3, 2), (4, 1)], ids=str)
def test_codes_are_litert_s_transpose_conv(stride, same):
    """int8, one scale for each output channel; SAME cuts the odd row off behind."""
    rng = generator(f"litert {stride} {same}")
    h, w, c, k, kernel = 5, 4, 3, 6, (3, 4)
    x, weight = rng.integers(-128, 128, (1, h, w, c)).astype(np.int8), rng.integers(-127, 128, (k, *kernel, c)).astype(np.int8)
    scales = np.float32(rng.uniform(0.001, 0.01, k))
    x_scale, out_scale = np.float32(0.02), np.float32(0.015)
    bias = rng.integers(-3000, 3000, k).astype(np.int32)
    full = [(e - 1) * s + r for e, s, r in zip((h, w), stride, kernel, strict=True)]
    size = [e * s for e, s in zip((h, w), stride, strict=True)] if same else full
    cut = [max(f - e, 0) for f, e in zip(full, size, strict=True)]  # rows and columns that SAME leaves out
    inputs = [
        constant(np.array([1, *size, k], np.int32)),
        constant(weight, scales.tolist(), (0,) * k),
        T(x.shape, "int8", (float(x_scale),), (-7,)),
        constant(bias, (x_scale * scales).tolist(), (0,) * k),
    ]
    fields = {"padding": 0 if same else 1, "strideH": stride[0], "strideW": stride[1]}
    output = T((1, *size, k), "int8", (float(out_scale),), (11,))
    want = Reference(single("TRANSPOSE_CONV", "TransposeConvOptions", fields, inputs, output, 4)).run(x).transpose(0, 3, 1, 2)
    pairs = [quantized_multiplier(float(x_scale) * float(s) / float(out_scale)) for s in scales]
    stage = Output(Affine(8, float(out_scale), 11), Rounding.TIES_AWAY, scaling=make_multiplier(Scaling.HIGH_MULTIPLY, pairs))
    contract = MacContract(Affine(8, float(x_scale), -7), Affine(8, tuple(float(s) for s in scales)), stage, Accumulator(32))
    begin = tuple(n // 2 for n in cut)
    end = tuple(f - e - b for f, e, b in zip(full, size, begin, strict=True))
    layer = Deconvolution(contract, weight.transpose(0, 3, 1, 2), bias, stride, begin, pad_end=end)
    got = run_layer(layer, x.transpose(0, 3, 1, 2), backend="jit").codes
    np.testing.assert_array_equal(got, want)
    assert len(np.unique(want)) > 20


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(ordered_cases(), st.tuples(st.integers(-2, 2), st.integers(-1, 1)))
def test_the_walk_takes_the_taps_as_the_scattered_kernel_numbers_them(case, pad):
    made = assumed(scattered(case, pad))
    layer, x = made.layer, made.inputs[0]
    for at in list(np.ndindex(len(x), *layer.output_shape([Shape(*x.shape[1:])])))[:40]:
        cell, want = layer.spec([x.tolist()], *at), expected_output(layer, x, *at)
        assert (cell.acc, cell.code, cell.events) == (want.acc, want.code, want.events), at


def test_minifloats_are_those_of_plain_loops():
    found = 0
    for number in range(40):
        case = scattered(float_case(number))
        if case is None:
            continue
        layer, x = case.layer, case.inputs[0]
        for at in list(np.ndindex(len(x), *layer.output_shape([Shape(*x.shape[1:])])))[:12]:
            cell, (code, acc, events) = layer.spec([x.tolist()], *at), output_at(layer, x, at)
            assert (cell.code, cell.acc, tuple(cell.events)) == (code, acc, events), (number, at)
            found += 1
    assert found > 200


def test_an_output_that_no_tap_reaches_is_its_bias():
    layer = Deconvolution(WIDE, np.ones((2, 3, 1, 1), int), np.array([40, -7]), stride=(3, 4), pad=(-1, 0))
    acc = run_layer(layer, np.full((1, 3, 2, 2), 9), backend="jit").acc
    assert acc.shape == (1, 2, 6, 5)
    assert (acc[0, :, 0] == [[40], [-7]]).all() and (acc[0, :, 5] == [[40], [-7]]).all()
    assert (acc[0, :, 1::3, ::4] == [[[67]], [[20]]]).all()


def test_one_pixel_gives_the_kernel_itself():
    weight = np.arange(-15, 15).reshape(1, 2, 3, 5)
    layer = Deconvolution(WIDE, weight)
    assert (run_layer(layer, np.array([[[1]], [[0]]]), backend="spec").acc[0, 0] == weight[0, 0]).all()


def test_a_trap_stops_at_the_first_output_in_row_major_order():
    contract = replace(WIDE, output=Output(S8, overflow=Overflow.TRAP))
    layer = Deconvolution(contract, np.array([[[[1, 100]]]]), stride=(1, 2))
    for backend in ("spec", "jit", *["native"] * native_available()):
        with pytest.raises(OverflowTrap, match=r"deconvolution: first overflow at output \(n, k, y, x\) = \(0, 0, 1, 3\)"):
            run_layer(layer, np.array([[[1, 1], [1, 2]]]), backend=backend)


def test_a_deconvolution_draws_its_rounding():
    output = Output(FixedPoint(8, -4), StochasticRounding(Lfsr(16)))
    layer = Deconvolution(replace(WIDE, output=output), np.arange(1, 13).reshape(2, 1, 2, 3), stride=(2, 2))
    x = np.arange(-10, 10).reshape(1, 1, 4, 5)
    traces = [run_layer(layer, x, backend=backend) for backend in ("spec", "jit", *["native"] * native_available())]
    for other in traces[1:]:
        np.testing.assert_array_equal(traces[0].codes, other.codes)
    floor = traces[0].acc >> 4
    assert ((traces[0].codes == floor) | (traces[0].codes == floor + 1)).all()
    assert (traces[0].codes != floor).any()


def test_an_output_is_explained_tap_by_tap():
    contract = replace(WIDE, accumulator=Accumulator(32, schedule=Schedule()))
    layer = Deconvolution(contract, np.array([[[[1, 2, 3]]]]), np.array([5]), stride=(1, 2))
    found = explain(layer, (0, 0, 0, 2), np.array([[[1, 10]]]))
    assert [row.after for row in found.rows] == [5, 15, 15, 18]


def test_one_layer_runs_without_a_network():
    trace = hwsim.Deconv2d(stride=2, pad=(0, 1)).run(np.ones((1, 2, 2), int), np.ones((1, 1, 2, 3), int), WIDE, backend="jit")
    assert trace.acc[0, 0].tolist() == [[1, 2, 1]] * 4


REFUSED = [
    (lambda: Deconvolution(WIDE, np.ones((2, 3, 1), int)), "deconvolution.weight: found shape (2, 3, 1), allowed axes K C R S"),
    (lambda: Deconvolution(WIDE, np.ones((2, 3, 1, 1), int), stride=0), "deconvolution.stride: found 0, allowed"),
    (lambda: Deconvolution(WIDE, np.ones((2, 3, 1, 1), int), pad=1 << 16), "deconvolution.pad: found 65536, allowed"),
    (lambda: Deconvolution(WIDE, np.ones((2, 3, 1, 1), int), groups=3), "deconvolution.groups: found 3 for 2 output channels"),
    (
        lambda: Deconvolution(WIDE, np.ones((2, 3, 1, 1), int)).output_shape([Shape(2, 5, 7)]),
        "deconvolution: found 2 input channels, allowed 3 (3 per group, 1 groups).",
    ),
    (
        lambda: Deconvolution(WIDE, np.ones((2, 3, 1, 1), int), pad=(0, 4)).output_shape([Shape(3, 5, 7)]),
        "deconvolution.pad: ((0, 4), (0, 4)) leaves an output of 5 x -1, allowed from 1 x 1.",
    ),
    (
        lambda: Deconvolution(WIDE, np.ones((2, 3, 1, 1), int), stride=60000).output_shape([Shape(3, 5, 7)]),
        "codes large, allowed 268435456",
    ),
]


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_what_makes_no_sense_is_refused(make, said):
    with pytest.raises(ContractError, match=re.escape(said)) as caught:
        make()
    assert str(caught.value).endswith(".")


def test_what_the_c_core_lacks_is_computed_by_jit():
    """Padded taps that are no steps of an order that is walked."""
    schedule = Schedule(padded=PaddedTaps.SKIPPED)
    contract = replace(WIDE, accumulator=Accumulator(9, overflow=Overflow.SATURATE, schedule=schedule))
    layer = Deconvolution(contract, np.full((1, 1, 2, 2), 100), stride=(2, 2))
    x = np.arange(-10, 10).reshape(1, 4, 5)
    traces = [run_layer(layer, x, backend=backend) for backend in ("spec", "auto")]
    assert traces[1].backend == "jit" and traces[0].events == traces[1].events != Events()
    np.testing.assert_array_equal(traces[0].codes, traces[1].codes)
    assert explain(layer, None, x).at == (0, 0, 0, 0)
