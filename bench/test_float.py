"""Convolutions with minifloats in the C core: GMAC/s of both accumulations on one core.

Equality first: every code is compared with the jit backend's, and the events with it. The layer is 64 -> 64 channels, 3x3 on
28 x 28 pixels (23 million multiply-accumulates), E4M3, E5M2, binary16 and Ristretto's format in and out, events counted.
"""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.backends.base import Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.jit import JIT
from hwsim.backends.native import NATIVE, info
from hwsim.contract.accumulator import Schedule
from hwsim.contract.float_mac import ExactSum, FloatAccumulator, FloatMacContract, FloatOutput
from hwsim.formats import Minifloat
from hwsim.formats.catalog import BINARY16, BINARY32, E4M3, E5M2, RISTRETTO_E4M3
from hwsim.layers import Convolution, Shape

FORMATS = {"e4m3": E4M3, "e5m2": E5M2, "binary16": BINARY16, "ristretto e4m3": RISTRETTO_E4M3}
ACCUMULATIONS = {
    "exact": ExactSum(),
    "binary32 in order": FloatAccumulator(BINARY32),
    "binary16 in order": FloatAccumulator(BINARY16),
    "binary32, 4 lanes": FloatAccumulator(BINARY32, schedule=Schedule(lanes=4)),
}
SHAPE = Shape(64, 28, 28)
MACS = 64 * 64 * 9 * 28 * 28


def drawn(rng: np.random.Generator, fmt: Minifloat, shape: tuple[int, ...]) -> np.ndarray:
    """Codes of both signs over eight binades below 1: as trained weights and activations lie, few sums overflow."""
    one, spread = fmt.layout.bias << fmt.man_bits, 8 << fmt.man_bits
    magnitude = np.maximum(one - rng.integers(0, spread, shape), 0)
    return (magnitude | rng.integers(0, 2, shape) << fmt.layout.sign_shift).astype(fmt.dtype)


def layer_of(fmt: Minifloat, accumulation: ExactSum | FloatAccumulator) -> tuple[Convolution, np.ndarray]:
    rng = np.random.default_rng(3)
    contract = FloatMacContract(fmt, fmt, FloatOutput(fmt), accumulation)
    return Convolution(contract, drawn(rng, fmt, (64, 64, 3, 3)), None, pad=1), drawn(rng, fmt, (1, *SHAPE))


@pytest.mark.parametrize("isa", info().instruction_sets)
@pytest.mark.parametrize("accumulation", ACCUMULATIONS)
@pytest.mark.parametrize("name", FORMATS)
def test_native(benchmark, monkeypatch, name: str, accumulation: str, isa: str) -> None:
    """Both accumulations; `extra_info` has the path and GMAC/s of the fastest round."""
    monkeypatch.setenv("HWSIM_ISA", isa)
    monkeypatch.setenv("HWSIM_THREADS", "1")
    layer, x = layer_of(FORMATS[name], ACCUMULATIONS[accumulation])
    kernel, taps, truth = NATIVE.prepare(layer, [SHAPE]), Taps(), Taps()
    source = Buffer.from_codes(x, FORMATS[name].dtype, kernel.input_border)
    out = kernel([source], taps)
    expected = JIT.prepare(layer, [SHAPE])([x], truth)
    assert (out.codes == expected.codes).all() and taps.counted == truth.counted
    benchmark.group = f"float {accumulation}"
    benchmark.pedantic(lambda: kernel([source], taps, out), warmup_rounds=3, rounds=20, iterations=1)
    assert (out.codes == expected.codes).all()
    benchmark.extra_info.update(path=kernel.path, gmacs=round(MACS / benchmark.stats.stats.min / 1e9, 2))
