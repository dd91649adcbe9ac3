"""Accumulators in declared order, one thread, events counted: the walk alone, SqueezeNet whole, and the peers in the same run.

Equality first: sampled outputs of what is timed are compared with the specification. `extra_info` has GMAC/s of the fastest
round, and the shares of outputs that were proven by bounds, proven by sums, and walked. Read the ratios, not the times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import hwsim
from bench import peer
from bench.conftest import Subject
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.backends.base import Step, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.native import NATIVE, info
from hwsim.backends.native.program import Calls
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.contract.accumulator import Order, Schedule
from hwsim.contract.dialects import EXACT32
from hwsim.contract.product import ShiftAdd
from hwsim.execute.plan import Plan
from hwsim.formats import FixedPoint, PowerOfTwo
from hwsim.layers import Convolution, MacLayer, Shape

S8 = FixedPoint(8, 0)
SHAPE, CHANNELS, KERNEL = Shape(256, 14, 14), 256, 3
MACS = SHAPE.c * KERNEL**2 * CHANNELS * SHAPE.h * SHAPE.w
ROUNDS = {"warmup_rounds": 2, "rounds": 15, "iterations": 1}
SAMPLES = 12

# bits: (bits by which the accumulator's grid is finer than the product's, overflow)
WIDTHS = {
    "12": (12, 0, Overflow.SATURATE),
    "16": (16, 0, Overflow.SATURATE),
    "16 wrapping": (16, 0, Overflow.WRAP),
    "20": (20, 0, Overflow.SATURATE),
    "32": (32, 0, Overflow.SATURATE),
    "40": (40, 0, Overflow.SATURATE),
    "63": (63, 36, Overflow.SATURATE_SYMMETRIC),
}


def assert_sampled(layer: MacLayer, x: np.ndarray, codes: np.ndarray) -> None:
    """Some outputs of the first image are the specification's."""
    rng, image = np.random.default_rng(0), [x[:1].tolist()]
    for _ in range(SAMPLES):
        k, y, column = (int(rng.integers(extent)) for extent in codes.shape[1:])
        assert layer.spec(image, 0, k, y, column).code == codes[0, k, y, column]


def time_layer(benchmark, layer: Convolution, x: np.ndarray) -> Taps:
    kernel, taps, counted = NATIVE.prepare(layer, [SHAPE]), Taps(), Taps()
    source = Buffer.from_codes(x, layer.contract.input.dtype, kernel.input_border)
    out = kernel([source], counted)
    assert_sampled(layer, x, out.codes)
    benchmark.pedantic(Calls([Step(kernel, (source,), out, taps)]).run, **ROUNDS)
    benchmark.extra_info["GMAC/s"] = round(MACS / benchmark.stats.stats.min / 1e9, 2)
    benchmark.extra_info["shares"] = tuple(counted.shared)
    benchmark.extra_info["path"] = kernel.path
    return counted


@pytest.fixture(params=info().instruction_sets)
def isa(request, monkeypatch) -> str:
    monkeypatch.setenv("HWSIM_ISA", request.param)
    monkeypatch.setenv("HWSIM_THREADS", "1")
    return request.param


@pytest.mark.parametrize("name", WIDTHS)
def test_walk_alone(benchmark, isa: str, name: str) -> None:
    """int8, lanes = 1, no output provable: biases lie at the registers' ends."""
    bits, finer, overflow = WIDTHS[name]
    rng, high = np.random.default_rng(1), (1 << (bits - 1)) - 1
    accumulator = Accumulator(bits, finer or None, overflow=overflow, schedule=Schedule())
    bias = rng.choice([-1, 1], CHANNELS) * (high - rng.integers(0, 1 << min(bits - 2, 14), CHANNELS))
    weight = rng.integers(-127, 128, (CHANNELS, SHAPE.c, KERNEL, KERNEL))
    layer = Convolution(MacContract(S8, S8, Output(FixedPoint(8, -8)), accumulator), weight, bias, pad=1)
    benchmark.group = "ordered walk alone"
    counted = time_layer(benchmark, layer, rng.integers(-128, 128, (1, *SHAPE)))
    assert counted.shared.walked > 0.99 * sum(counted.shared) and counted.counted.accumulator > 0


@pytest.mark.parametrize("guard_bits", [8, 3], ids=["exact", "rounded"])
def test_powers_of_two(benchmark, isa: str, guard_bits: int) -> None:
    """int8 x +-2^-8..2^-1: exact products are integer factors, rounded ones are made one by one."""
    rng, weight = np.random.default_rng(2), PowerOfTwo(-8, -1)
    contract = MacContract(S8, weight, Output(FixedPoint(8, 0)), product=ShiftAdd(guard_bits, Rounding.TIES_EVEN))
    codes = rng.choice(weight.codes, (CHANNELS, SHAPE.c, KERNEL, KERNEL))
    benchmark.group = "powers of two"
    time_layer(benchmark, Convolution(contract, codes, None, pad=1), rng.integers(-128, 128, (1, *SHAPE)))


def test_apytypes(benchmark) -> None:
    """APyTypes' matrix product with an accumulator context of 16 bits. Timed, not compared: 0.5.1 gives sums beyond 16 bits."""
    apytypes = pytest.importorskip("apytypes")
    rng, n = np.random.default_rng(3), 64
    a, b = (apytypes.APyFixedArray.from_array(rng.integers(-128, 128, (n, n)), int_bits=8, frac_bits=0) for _ in range(2))
    benchmark.group = "ordered walk alone"
    with apytypes.APyFixedAccumulatorContext(int_bits=16, frac_bits=0, overflow=apytypes.OverflowMode.SAT):
        benchmark.pedantic(lambda: a @ b, warmup_rounds=1, rounds=10, iterations=1)
    benchmark.extra_info["GMAC/s"] = round(n**3 / benchmark.stats.stats.min / 1e9, 3)


@pytest.fixture(scope="session")
def narrow(squeezenet: Subject, data_dir) -> Callable[[Order, int, int, int], Plan]:
    """From an order and (weight bits, activation bits, accumulator bits) to SqueezeNet with a saturating accumulator."""
    images = hwsim.images(str(data_dir / "imagenet_val" / "calibration.txt"), squeezenet.net.preprocessing)[:16]

    def make(order: Order, weights: int, activations: int, accumulator: int) -> Plan:
        saturating = Accumulator(accumulator, overflow=Overflow.SATURATE, schedule=Schedule(order))
        dialect = replace(EXACT32, accumulator=saturating)
        return Plan(hwsim.quantize(squeezenet.net, images, bits=activations, weight_bits=weights, dialect=dialect), "native")

    return make


@pytest.mark.parametrize("order", [Order.CRS, Order.RSC], ids=lambda order: order.name)
@pytest.mark.parametrize("bits", [(8, 8, 16), (7, 7, 16), (6, 6, 16), (5, 6, 16), (5, 5, 12), (4, 4, 12)], ids=str)
def test_squeezenet(benchmark, monkeypatch, squeezenet: Subject, narrow, bits: tuple[int, int, int], order: Order) -> None:
    """SqueezeNet whole, one image; bits: of weights, activations, accumulators. RSC: what accelerators with channels last do."""
    monkeypatch.setenv("HWSIM_THREADS", "1")
    benchmark.group = "squeezenet in declared order, 1 thread"
    plan = narrow(order, *bits)
    plan.run(squeezenet.pixels[None])
    shares = np.sum([bound.step.taps.shares for bound in plan.bound], axis=0)
    for bound in plan.bound:
        if isinstance(bound.node.layer, MacLayer):
            assert_sampled(bound.node.layer, bound.step.inputs[0].codes, bound.step.out.codes)
    benchmark.pedantic(plan.execute, warmup_rounds=2, rounds=20, iterations=1)
    benchmark.extra_info["shares"] = [f"{share:.2%}" for share in shares / shares.sum()]


def test_onnxruntime(benchmark, squeezenet: Subject) -> None:
    """ONNX Runtime, float32, on the same network."""
    benchmark.group = "squeezenet in declared order, 1 thread"
    session, feed = peer.session(peer.float_model(squeezenet.net), 1), peer.feed(squeezenet.real[0])
    benchmark.pedantic(lambda: session.run(None, feed), warmup_rounds=2, rounds=20, iterations=1)
