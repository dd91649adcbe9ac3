"""Layers with a minifloat in them: every path of the C core against the specification, and large ones against numpy.

numpy's oracles share nothing with hwsim: Python ints of ldexp'ed values for exact sums, its own float32 and float16 for
float registers, one add at a time in declared order.
"""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from hwsim.arith.accumulate import Pairing
from hwsim.arith.requantize import Activation
from hwsim.backends.base import Taps
from hwsim.backends.native import NATIVE
from hwsim.backends.native.float_kernels import Filling
from hwsim.contract.accumulator import Axis, BiasPoint, Order, Schedule, Tree
from hwsim.contract.float_mac import ExactSum, FloatAccumulator, FloatMacContract, FloatOutput
from hwsim.contract.mac import Output
from hwsim.formats import FixedPoint, catalog
from hwsim.formats.catalog import BFLOAT16, BINARY16, BINARY32, E4M3, E5M2
from hwsim.layers import Convolution, FullyConnected, Shape
from oracles.cases import Case
from oracles.compare import Outcome, assert_same, by_spec
from oracles.float_cases import float_case
from oracles.float_sizes import PAIRS, host_case


def computed(layer, x: np.ndarray) -> Outcome:
    """With and without a tap, which asks for another last stage."""
    kernel = NATIVE.prepare(layer, [Shape(*x.shape[1:])])
    taps, untapped = Taps.for_layer(layer, len(x), kernel.output_shape, acc=True), Taps()
    codes = np.array(kernel([x], taps).codes)
    np.testing.assert_array_equal(kernel([x], untapped).codes, codes)
    assert (untapped.counters == taps.counters).all() and taps.shared.static + taps.shared.walked == codes.size
    acc = taps.acc
    if acc.ndim == 5:  # words of 64 bits, little end first
        acc = sum(acc[..., i].astype(object) % (1 << 64) << (64 * i) for i in range(acc.shape[-1] - 1)) + (
            acc[..., -1].astype(object) << (64 * (acc.shape[-1] - 1))
        )
    return Outcome(codes, np.moveaxis(acc, 3, 1), taps.counted)


@pytest.mark.parametrize("number", range(2 * len(PAIRS)))
def test_host_floats_give_what_the_specification_says(isa, number):
    case = host_case(number)
    assert_same(case, f"native on {isa}", by_spec(case), computed(case.layer, case.inputs[0]))


@pytest.mark.parametrize("number", range(40))
def test_any_contract_gives_what_the_specification_says(library, number):
    case = float_case(number)
    assert_same(case, "native", by_spec(case), computed(case.layer, case.inputs[0]))


def uneven(case: Case, end: tuple[int, int]) -> Case:
    """The case with other padding below and to the right."""
    return Case(f"{case.name} {end}", replace(case.layer, pad_end=end), case.inputs)


@pytest.mark.parametrize("number", range(12))
def test_padding_may_differ_at_the_end(isa, number):
    for case in (host_case(number), float_case(number)):
        if isinstance(case.layer, Convolution):
            end = (number % 3, 2 - number % 2)
            bare = uneven(case, end)
            assert_same(bare, f"native on {isa}", by_spec(bare), computed(bare.layer, bare.inputs[0]))


def test_some_drawn_layers_are_convolutions():
    assert sum(isinstance(host_case(number).layer, Convolution) for number in range(12)) > 3


def test_the_drawn_layers_reach_every_path(library):
    paths = set()
    for number in range(2 * len(PAIRS)):
        case = host_case(number)
        paths.add(NATIVE.prepare(case.layer, [Shape(*case.inputs[0].shape[1:])]).path)
    assert paths >= {"integers", "exact floats", "exact doubles", "floats in order", "fused floats in order"}
    assert paths >= {"tree of floats", "floats rounded in order", "doubles rounded in order"}


# ---- large layers

GEOMETRY = {"stride": (2, 1), "pad": (1, 2), "dilation": (1, 2), "groups": 2}
SHAPE, KERNEL, CHANNELS = Shape(14, 9, 11), (3, 2), 70  # 35 channels a group: a whole block of 32 and a part of one


def drawn(rng: np.random.Generator, fmt, shape: tuple[int, ...], spread: int) -> np.ndarray:
    """Codes of both signs, `spread` binades around 1, one in twenty a zero or subnormal."""
    one = fmt.layout.bias << fmt.man_bits
    magnitude = np.clip(one + rng.integers(-spread << fmt.man_bits, spread << fmt.man_bits, shape), 0, fmt.layout.largest)
    magnitude = np.where(rng.random(shape) < 0.05, rng.integers(0, 1 + (1 << fmt.man_bits), shape), magnitude)
    return (magnitude | rng.integers(0, 2, shape) << fmt.layout.sign_shift).astype(fmt.dtype)


def build(fmt, accumulator, output, spread: int) -> tuple[np.ndarray, Convolution]:
    rng = np.random.default_rng(fmt.bits * 31 + spread)
    weight = drawn(rng, fmt, (CHANNELS, SHAPE.c // 2, *KERNEL), spread)
    bias = drawn(rng, BINARY32, (CHANNELS,), 3)
    contract = FloatMacContract(fmt, fmt, output, accumulator, bias=BINARY32)
    return drawn(rng, fmt, (2, *SHAPE), spread), Convolution(contract, weight, bias, **GEOMETRY)


def windows(x: np.ndarray, layer: Convolution) -> np.ndarray:
    """im2col: reals [tap][N][1][Y][X] of each group, taps in the order (c, r, s), zeros where padded."""
    (ph, pw), (sh, sw), (dh, dw) = layer.pad, layer.stride, layer.dilation
    padded = np.pad(layer.contract.input.to_real(x), ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    _, h, w = layer.output_shape([SHAPE])
    per_group = layer.weight.shape[1]
    taps = [
        padded[:, g * per_group + c, r * dh : r * dh + sh * (h - 1) + 1 : sh, s * dw : s * dw + sw * (w - 1) + 1 : sw]
        for g in range(layer.groups) for c in range(per_group) for r in range(KERNEL[0]) for s in range(KERNEL[1])
    ]  # fmt: skip
    return np.stack(taps).reshape(layer.groups, -1, len(x), 1, h, w)


def products_of(x: np.ndarray, layer: Convolution) -> np.ndarray:
    """Every product as an exact float64, [tap][N][K][Y][X]."""
    weight = layer.contract.weight.to_real(layer.weight).reshape(layer.groups, CHANNELS // layer.groups, -1)
    parts = [inputs * w.T[:, None, :, None, None] for inputs, w in zip(windows(x, layer), weight, strict=True)]
    return np.concatenate(parts, axis=2)


def bias_of(layer: Convolution) -> np.ndarray:
    return BINARY32.to_real(layer.bias)[None, :, None, None]


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("fmt", [E4M3, E5M2, BINARY16, BFLOAT16, catalog.RISTRETTO_E4M3], ids=str)
def test_binary32_in_order_is_what_numpy_adds(isa, fmt, threads, monkeypatch):
    monkeypatch.setenv("HWSIM_THREADS", threads)
    x, layer = build(fmt, FloatAccumulator(BINARY32), FloatOutput(BINARY32), 4)
    got = computed(layer, x)
    acc = np.broadcast_to(bias_of(layer).astype(np.float32), got.codes.shape)
    for product in products_of(x, layer):
        acc = acc + product.astype(np.float32)
    np.testing.assert_array_equal(got.acc, acc.view(np.uint32))
    np.testing.assert_array_equal(got.codes, acc.view(np.uint32))
    assert not any(got.events)


@pytest.mark.parametrize(("fmt", "spread"), [(E4M3, 5), (E5M2, 9), (BINARY16, 9)], ids=str)
def test_binary16_in_order_is_what_numpy_rounds(isa, fmt, spread):
    """float64 holds each sum, but for products under 2**-40 of it, which reach no midpoint of binary16."""
    x, layer = build(fmt, FloatAccumulator(BINARY16, schedule=Schedule(bias=BiasPoint.LAST)), FloatOutput(BINARY16), spread)
    got, acc = computed(layer, x), 0.0
    first_infinite = np.zeros(got.codes.shape, dtype=int)
    with np.errstate(over="ignore"):
        for product in [*products_of(x, layer), np.broadcast_to(bias_of(layer).astype(np.float16), got.codes.shape)]:
            finite = np.isfinite(acc)
            acc = (np.asarray(acc, dtype=np.float64) + product).astype(np.float16)
            first_infinite += finite & np.isinf(acc)
    np.testing.assert_array_equal(got.acc, acc.view(np.uint16))
    assert got.events.accumulator == first_infinite.sum() and got.events.output == 0
    assert first_infinite.any() == (spread == 9)


@pytest.mark.parametrize("pairing", Pairing)
def test_a_tree_of_binary32_is_what_numpy_adds(isa, pairing):
    schedule = Schedule(Order.RSC, lanes=4, lane_axis=Axis.C, tree=Tree(pairing))
    x, layer = build(E5M2, FloatAccumulator(BINARY32, schedule=schedule), FloatOutput(BINARY32), 9)
    got, products = computed(layer, x), products_of(x, layer).astype(np.float32)
    acc = np.broadcast_to(bias_of(layer).astype(np.float32), got.codes.shape)
    c, (rows, columns) = SHAPE.c // 2, KERNEL
    for r in range(rows):
        for s in range(columns):
            for first in range(0, c, 4):
                lane = [products[(i * rows + r) * columns + s] if i < c else np.zeros_like(acc) for i in range(first, first + 4)]
                if pairing == Pairing.ADJACENT:
                    acc = acc + ((lane[0] + lane[1]) + (lane[2] + lane[3]))
                elif pairing == Pairing.HALVES:
                    acc = acc + ((lane[0] + lane[2]) + (lane[1] + lane[3]))
                else:
                    acc = acc + (((lane[0] + lane[1]) + lane[2]) + lane[3])
    np.testing.assert_array_equal(got.acc, acc.view(np.uint32))


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize(("fmt", "spread", "grid"), [(E4M3, 8, -18), (E5M2, 16, -32), (BINARY16, 15, -48)], ids=str)
def test_exact_sums_are_those_of_python_ints(isa, fmt, spread, grid, threads, monkeypatch):
    monkeypatch.setenv("HWSIM_THREADS", threads)
    output = Output(FixedPoint(32, 3), activation=Activation.RELU_AFTER_REQUANTIZE)
    x, layer = build(fmt, ExactSum(), output, spread)
    got = computed(layer, x)
    products = np.ldexp(products_of(x, layer), -grid)  # integers below 2**90 with at most 22 bits: exact
    want = sum(product.astype(object) * 1 for product in np.frompyfunc(int, 1, 1)(products))
    bias = np.array([round(float(b)) for b in np.ldexp(BINARY32.to_real(layer.bias), -grid)], dtype=object)
    np.testing.assert_array_equal(got.acc, want + bias[None, :, None, None])
    rounded = np.frompyfunc(lambda v: max(min(round(v / (1 << (-grid - 3))), 2**31 - 1), -(2**31)), 1, 1)
    if fmt is E4M3:  # true division of these ints is exact in float64
        np.testing.assert_array_equal(got.codes, np.maximum(rounded(got.acc), 0).astype(np.int64))


def test_an_infinity_or_nan_among_the_inputs_touches_its_outputs_alone(isa):
    x, layer = build(E5M2, FloatAccumulator(BINARY16), FloatOutput(E5M2), 3)
    clean = computed(layer, x)
    x[0, 3, 4, 5], x[1, 8, 2, 2] = 0x7C, 0x7F  # infinity, NaN
    got = computed(layer, x)
    real = E5M2.to_real(got.codes)
    assert not np.isnan(real[0, :35]).all() and np.isinf(real[0, :35]).any()
    assert np.isnan(real[1, 35:]).any()
    same = got.codes == clean.codes
    assert same[0, 35:].all() and same[1, :35].all() and same.mean() > 0.9


def test_a_vector_through_a_fully_connected_layer(isa):
    rng = np.random.default_rng(5)
    contract = FloatMacContract(E4M3, E4M3, FloatOutput(BINARY32), FloatAccumulator(replace(BINARY32, saturate=True)))
    layer = FullyConnected(contract, drawn(rng, E4M3, (45, 3 * 4 * 5), 5))
    x = drawn(rng, E4M3, (7, 3, 4, 5), 5)
    got = computed(layer, x)
    acc = np.zeros((7, 45), dtype=np.float32)
    for i in range(60):
        acc = acc + np.outer(E4M3.to_real(x.reshape(7, 60)[:, i]), E4M3.to_real(layer.weight[:, i])).astype(np.float32)
    np.testing.assert_array_equal(got.codes[:, :, 0, 0], acc.view(np.uint32))


def test_a_program_that_flushes_subnormals_and_rounds_to_zero_changes_nothing(library, tmp_path, monkeypatch):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("no C compiler that can set the control register of an x86 processor")
    (tmp_path / "flush.c").write_text("void set(unsigned word) { __builtin_ia32_ldmxcsr(word); }")
    subprocess.run([compiler, "-shared", "-fPIC", "flush.c", "-o", "flush.so"], cwd=tmp_path, check=True)
    control = ctypes.CDLL(str(tmp_path / "flush.so"))
    monkeypatch.setenv("HWSIM_THREADS", "1")
    rng = np.random.default_rng(7)
    contract = FloatMacContract(BINARY32, E4M3, FloatOutput(BINARY32), FloatAccumulator(BINARY32))
    layer = Convolution(contract, drawn(rng, E4M3, (5, 4, 3, 3), 3))
    x = rng.integers(1, 1 << 22, (1, 4, 6, 7)).astype(np.uint32)  # subnormal numbers all
    want = computed(layer, x)
    flush_and_toward_zero = 0x1F80 | 1 << 15 | 1 << 6 | 3 << 13
    try:
        control.set(flush_and_toward_zero)
        kernel = NATIVE.prepare(layer, [Shape(*x.shape[1:])])
        codes = kernel([x]).codes
    finally:
        control.set(0x1F80)
    np.testing.assert_array_equal(codes, want.codes)
    assert want.codes.any()


def refusal(library, accumulator, **fields) -> tuple[int, int]:
    """(code, value) of what the C core says of a contract with some fields changed; (0, 0) where it takes it."""
    ffi, lib = library.ffi, library.lib
    x, layer = build(E4M3, accumulator, FloatOutput(E4M3), 2)
    conv, status = ffi.new("hw_float_conv *"), ffi.new("hw_status *")
    filling = Filling(library, conv, layer.unit)
    filling.geometry(layer, SHAPE)
    filling.operands()
    if layer.unit.accumulator is None:
        filling.exact_sum()
    else:
        register = layer.unit.accumulator
        filling.float_register(register, register.schedule.table(*layer.extents(SHAPE)))
    filling.output()
    for name, value in fields.items():
        setattr(conv, name, value)
    lib.hw_op_free(lib.hw_float_conv_new(conv, lib.HW_ISA_AUTO, status))
    return status.code, status.value


def test_what_would_leave_a_register_or_an_array_is_refused_as_data(library):
    ffi, lib, taps = library.ffi, library.lib, 7 * 3 * 2
    assert refusal(library, ExactSum()) == refusal(library, FloatAccumulator()) == (lib.HW_OK, 0)
    finer = ffi.new(f"int32_t[{CHANNELS}]", [-17] * CHANNELS)  # products of E4M3 reach down to 2**-18
    assert refusal(library, ExactSum(), grid=finer)[0] == lib.HW_OUT_OF_RANGE
    far = ffi.new(f"int32_t[{CHANNELS * taps}]", [1201] * CHANNELS * taps)
    assert refusal(library, ExactSum(), weight_exponent=far)[0] == lib.HW_OUT_OF_RANGE
    beyond = ffi.new(f"int64_t[{taps}]", [taps] * taps)
    assert refusal(library, FloatAccumulator(), table=beyond) == (lib.HW_OUT_OF_RANGE, taps)
    assert refusal(library, FloatAccumulator(), lanes=4097) == (lib.HW_BAD_ARGUMENT, 4097)
    assert refusal(library, FloatAccumulator(), register_rounding=10) == (lib.HW_BAD_ARGUMENT, 10)
    assert refusal(library, ExactSum(), words=65) == (lib.HW_BAD_ARGUMENT, 65)
    wide = ffi.new("hw_float *", [24, 27, *list(E4M3.layout)[2:]])
    assert refusal(library, ExactSum(), out=wide[0]) == (lib.HW_BAD_ARGUMENT, 24)
