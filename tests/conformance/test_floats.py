"""Contracts with a minifloat in them: every target gives the specification's codes, accumulators and events.

Each layer runs alone, and amid a network's memory: inputs are channel slices of buffers full of other codes, under a border
of zero bytes, which is no zero in a format that gives another code up for it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwsim.arith.exact_sum import from_words
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.backends.base import Taps
from hwsim.backends.buffers import Buffer
from hwsim.contract.accumulator import Axis, Order, Schedule
from hwsim.contract.float_mac import ExactSum, FloatAccumulator, FloatMacContract, FloatOutput
from hwsim.contract.mac import Output
from hwsim.errors import OverflowTrap
from hwsim.execute.single import run_layer
from hwsim.formats import FixedPoint, Specials, catalog
from hwsim.layers import Convolution, Shape
from oracles.cases import Case, generator
from oracles.compare import Outcome, assert_same, by_spec, shapes
from oracles.float_cases import FLOATS, float_case, words

CASES = 80


def whole(layer, acc: np.ndarray) -> np.ndarray:
    """Accumulators as Python ints, whatever their words; their type is the tap's."""
    acc = np.moveaxis(acc, 3, 1)
    assert acc.dtype == layer.unit.acc_dtype
    if layer.unit.acc_words is None:
        return acc
    flat = [from_words(row) for row in acc.reshape(-1, acc.shape[-1]).tolist()]
    return np.array(flat, dtype=object).reshape(acc.shape[:-1])


def alone(backend, case: Case) -> Outcome:
    kernel = backend.prepare(case.layer, shapes(case))
    taps = Taps.for_layer(case.layer, len(case.inputs[0]), kernel.output_shape, acc=True)
    out = kernel(case.inputs, taps)
    assert out.codes.dtype == case.layer.output_format.dtype
    return Outcome(out.codes, whole(case.layer, taps.acc), taps.counted)


def amid(backend, case: Case) -> Outcome:
    """From a slice into a slice, twice; what lies around them stays."""
    kernel, (x,) = backend.prepare(case.layer, shapes(case)), case.inputs
    n, c, h, w = x.shape
    (bh, bw), full = kernel.input_border, kernel.output_shape
    wide = Buffer.allocate(n, Shape(c + 8, h, w), case.layer.input_formats[0].dtype, (bh + 1, bw + 2))
    wide.codes[...] = 1
    piece = wide.channels(3, c)
    piece.codes[...] = x
    joint = Buffer.allocate(n, Shape(full.c + 8, full.h, full.w), case.layer.output_format.dtype, (2, 1))
    joint.codes[...] = 1
    before, taps = wide.padded.copy(), Taps()
    for _ in range(2):
        taps.events[:] = 0
        out = kernel([piece], taps, joint.channels(3, full.c))
    codes = out.codes.copy()
    out.codes[...] = 1
    assert (wide.padded == before).all() and (joint.codes == 1).all() and joint.padded.sum() == joint.codes.sum()
    return Outcome(codes, None, taps.counted)


def conforms(target, case: Case) -> None:
    with target.chosen() as backend:
        assert_same(case, f"{target} alone", by_spec(case), alone(backend, case))
        if target.backend != "spec":
            assert_same(case, f"{target} amid a network", by_spec(case), amid(backend, case))


@pytest.mark.parametrize("part", range(4))
def test_every_kind_of_operand_accumulation_order_and_output(target, part):
    for i in range(part, CASES, 4):
        conforms(target, float_case(i))


@pytest.mark.parametrize("part", range(2))
def test_registers_that_a_processors_own_floats_may_compute(target, part):
    for i in range(part, CASES, 2):
        conforms(target, float_case(i, plain=True))


def row_case(name: str, fmt, accumulator, channels: int, k: int, output=None, bias=None) -> Case:
    """A 3 x 3 convolution that vector kernels fill: more channels than any register has lanes, and some over."""
    rng = generator(name)
    contract = FloatMacContract(fmt, fmt, output or FloatOutput(fmt), accumulator, bias)
    weight = words(rng, fmt, (k, channels, 3, 3), finite=True)
    layer = Convolution(contract, weight, words(rng, contract.bias_format(k), (k,), finite=True), pad=1)
    return Case(name, layer, (words(rng, fmt, (1, channels, 2, 5), finite=True).astype(fmt.dtype),))


LANES = {("e4m3", "binary16"), ("binary16", "binary32"), ("e5m2", "bfloat16")}
NAMED = {name: catalog.FORMATS[name] for name in ("e4m3", "e5m2", "e3m4_ieee", "ristretto_e4m3", "binary16", "bfloat16")}


@pytest.mark.parametrize("register", [None, "binary32", "binary16", "bfloat16"])
@pytest.mark.parametrize("name", NAMED)
def test_many_channels_in_the_ways_of_a_vector_unit(target, name, register):
    schedule = Schedule(Order.RSC, lanes=4 if (name, register) in LANES else 1, lane_axis=Axis.C)
    accumulator = ExactSum() if register is None else FloatAccumulator(catalog.FORMATS[register], schedule=schedule)
    bias = NAMED[name] if register is not None else None
    conforms(target, row_case(f"{name} into {register}", NAMED[name], accumulator, 17, 19, bias=bias))


@pytest.mark.parametrize("mode", list(Rounding), ids=lambda mode: mode.name)
def test_every_rounding_of_a_register_and_of_its_output(target, mode):
    accumulator = FloatAccumulator(catalog.BFLOAT16, mode, None, mode, Schedule())
    conforms(target, row_case(f"register {mode.name}", catalog.E4M3, accumulator, 5, 3, FloatOutput(catalog.E5M2, mode)))


@pytest.mark.parametrize(
    ("operand", "register", "factors"),
    [
        (catalog.BFLOAT16, catalog.BFLOAT16, (13, 21)),
        (catalog.E3M4_IEEE, catalog.BFLOAT16, (13, 21)),
        (catalog.BINARY32, catalog.BINARY32, (97 * 257, 673)),
    ],
    ids=str,
)
@pytest.mark.parametrize("sign", [1, -1])
def test_what_lies_far_below_a_tie_still_breaks_it(target, operand, register, factors, sign):
    """A product halfway between two numbers of the register, and a bias further below than float64 has bits."""
    a, b = factors
    assert (a * b).bit_length() == register.man_bits + 2 and a * b % 4 == 1  # so that a tie goes down, to the even one
    contract = FloatMacContract(operand, operand, FloatOutput(catalog.BINARY32), FloatAccumulator(register), catalog.BINARY32)
    bias = catalog.BINARY32.encode_array(np.array([2.0**-60, -(2.0**-60), 0.0]))
    scale = 2.0 ** -(max(a, b).bit_length() - 1)
    weight = np.full((3, 1, 1, 1), operand.encode(sign * a * scale), dtype=operand.dtype)
    x = np.full((1, 1, 1, 3), operand.encode(b * scale), dtype=operand.dtype)
    case = Case(f"tie {operand} {register}", Convolution(contract, weight, bias), (x,))
    above, below, tie = (register.decode(int(code)) for code in by_spec(case).acc[0, :, 0, 0])
    assert above > below and tie == (below if sign > 0 else above)
    conforms(target, case)


@pytest.mark.parametrize("fmt", [f for f in FLOATS if f.specials != Specials.NONE and f.bits <= 16], ids=str)
def test_nan_and_infinity_among_the_inputs_decide_the_output(target, fmt):
    rng = generator(f"specials {fmt}")
    case = row_case(f"specials {fmt}", fmt, ExactSum(), 3, 5)
    x = rng.integers(0, 1 << fmt.bits, size=(2, 3, 4, 5)).astype(fmt.dtype)
    special = [code for code in range(1 << fmt.bits) if not np.isfinite(float(fmt.decode(code)))]
    x = np.where(rng.random(x.shape) < 0.06, rng.choice(special, size=x.shape), x).astype(fmt.dtype)
    weight = np.where(rng.random(case.layer.weight.shape) < 0.3, fmt.layout.zero, case.layer.weight).astype(fmt.dtype)
    for accumulator in (ExactSum(), FloatAccumulator()):  # zeros among the weights: infinity times zero is NaN
        layer = replace(case.layer, weight=weight, contract=replace(case.layer.contract, accumulator=accumulator))
        conforms(target, Case(f"{case.name} {layer.contract.accumulator}", layer, (x,)))


@pytest.mark.parametrize("accumulator", [ExactSum(), FloatAccumulator()], ids=["exact", "register"])
def test_trap_stops_at_the_first_output_that_does_not_fit(target, accumulator):
    """Row-major: the first image holds zeros, so that the first event lies in the second."""
    rng = generator("float trap")
    contract = FloatMacContract(catalog.E4M3, catalog.E4M3, Output(FixedPoint(8, 0), overflow=Overflow.TRAP), accumulator)
    weight = catalog.E4M3.encode_array(rng.normal(size=(3, 2, 2, 3)))
    x = catalog.E4M3.encode_array(rng.normal(size=(2, 2, 5, 7)) * 18)
    x[0] = 0
    layer = Convolution(contract, weight)
    outputs = np.ndindex(2, *layer.output_shape([Shape(2, 5, 7)]))
    first = next(at for at in outputs if layer.spec([x.tolist()], *at).events.output)
    with target.chosen(), pytest.raises(OverflowTrap) as trapped:
        run_layer(layer, x, backend=target.backend)
    assert trapped.value.coordinate == first and first > (1, 0, 0, 0)


@pytest.mark.parametrize("overshoot", [0, 1, 40, 300])
def test_sums_at_the_edge_of_each_way_to_hold_them(target, overshoot):
    """Fixed point of 16 bits times minifloats whose binades end in float64, in int64, and beyond any word."""
    fmt = replace(catalog.BFLOAT16, bias=127 + overshoot)
    rng = generator(f"edge {overshoot}")
    for binades in (4, 20, 27, 30, 60):
        weight = (rng.integers(0, binades, size=(3, 2, 2, 3)) + 100 << 7) | rng.integers(0, 128, size=(3, 2, 2, 3))
        contract = FloatMacContract(FixedPoint(16, 3), fmt, FloatOutput(catalog.BINARY32), ExactSum(), FixedPoint(8, 3))
        layer = Convolution(contract, weight | rng.integers(0, 2, size=weight.shape) << 15, rng.integers(-128, 128, size=3))
        x = rng.choice([-32768, 32767, 1, 0, -1, 12345], size=(1, 2, 3, 4)).astype(np.int16)
        conforms(target, Case(f"edge {overshoot} {binades}", layer, (x,)))


@pytest.mark.parametrize("accumulator", [ExactSum(), FloatAccumulator(catalog.BINARY16)], ids=["exact", "register"])
def test_padding_may_differ_at_the_end(target, accumulator):
    contract = FloatMacContract(catalog.E4M3, catalog.E4M3, FloatOutput(catalog.E4M3), accumulator)
    rng = generator("uneven")
    weight, x = rng.integers(40, 70, (3, 2, 3, 2)), rng.integers(40, 70, (2, 2, 5, 7)).astype(np.uint8)
    case = Case("uneven", Convolution(contract, weight, None, (2, 1), (0, 1), (1, 1), 1, (2, 0)), (x,))
    with target.chosen() as backend:
        if backend.can(case.layer):
            got = backend.prepare(case.layer, shapes(case))([x]).codes
            np.testing.assert_array_equal(got, by_spec(case).codes.astype(np.int64))
