"""GMAC/s of the C core on the layers of SqueezeNet v1.0, synthetic codes: python -m bench.bench_native_layers [ISA ...].

Every layer is timed alone, then all of them as one call, pixels in to logits out, events counted. HWSIM_THREADS counts.
The codes are random but the formats are those of a quantized network, so that few outputs saturate.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hwsim.backends.base import Step, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.native import NATIVE, require
from hwsim.backends.native.library import chosen_threads
from hwsim.backends.native.program import Calls
from hwsim.contract.mac import Activation, MacContract, Output
from hwsim.formats.fixed import FixedPoint
from hwsim.layers import AveragePool, Convolution, CountRule, ImageEncoding, Layer, MaxPool, Shape, Window

REPEATS = 30
FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}
CODE = FixedPoint(8, 4)


@dataclass
class Chain:
    """Layers bound one after the other."""

    rng: np.random.Generator
    code: FixedPoint
    steps: dict[str, Step] = field(default_factory=dict)

    def add(self, name: str, layer: Layer, source: Buffer, out: Buffer | None = None, border: int = 0) -> Buffer:
        """Append a layer that reads `source`; return its output, with a border for the layer after it."""
        kernel = NATIVE.prepare(layer, [source.shape])
        if out is None:
            out = Buffer.allocate(source.n, kernel.output_shape, layer.output_format.dtype, (border, border))
        self.steps[name] = Step(kernel, (source,), out, Taps())
        return out

    def conv(self, name: str, source: Buffer, channels: int, size: int, out: Buffer | None = None, **geometry: int) -> Buffer:
        """Append a convolution with ReLU."""
        fan_in = source.shape.c * size * size
        weight = FixedPoint(8, 6 + int(np.log2(fan_in) / 2))
        output = Output(self.code, activation=Activation.RELU_BEFORE_REQUANTIZE)
        codes = self.rng.integers(-127, 128, (channels, source.shape.c, size, size)).astype(np.int8)
        bias = self.rng.integers(-1000, 1000, channels)
        layer = Convolution(MacContract(self.code, weight, output), codes, bias, **geometry)
        return self.add(name, layer, source, out)


def squeezenet(batch: int = 1, code: FixedPoint = CODE) -> Chain:
    """Build SqueezeNet v1.0 with random weights."""
    chain = Chain(np.random.default_rng(1), code)
    pixels = Buffer.allocate(batch, Shape(3, 227, 227), np.dtype(np.uint8))
    pixels.codes[...] = chain.rng.integers(0, 256, pixels.codes.shape)
    encoding = ImageEncoding.from_real([104, 117, 123], 0.05, Output(code))
    x = chain.conv("conv1", chain.add("encode", encoding, pixels), 96, 7, stride=2)
    pool = Window((3, 3), (2, 2), ceil_mode=True)
    for number, (squeeze, expand) in FIRES.items():
        if number in (2, 5, 9):
            x = chain.add(f"pool{number}", MaxPool(code, pool), x)
        n, (_, h, w) = batch, x.shape
        inner = Buffer.allocate(n, Shape(squeeze, h, w), code.dtype, (1, 1))
        joint = Buffer.allocate(n, Shape(2 * expand, h, w), code.dtype)
        chain.conv(f"fire{number}/squeeze", x, squeeze, 1, inner)
        chain.conv(f"fire{number}/1x1", inner, expand, 1, joint.channels(0, expand))
        chain.conv(f"fire{number}/3x3", inner, expand, 3, joint.channels(expand, expand), pad=1)
        x = joint
    x = chain.conv("conv10", x, 1000, 1)
    chain.add("average", AveragePool(code, Window(None), CountRule.EXCLUDE_PADDING, Output(FixedPoint(16, 8))), x)
    return chain


def fastest(run: Callable[[], None]) -> float:
    """Return the shortest of several runs, in seconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def macs(step: Step) -> int:
    """Return the multiply-accumulates of one step."""
    layer = step.kernel.layer
    if not isinstance(layer, Convolution):
        return 0
    _, h, w = step.kernel.output_shape
    return step.out.n * h * w * int(layer.weight.size)


def report(isa: str, batch: int, code: FixedPoint) -> None:
    """Print one line per layer, and the sum."""
    os.environ["HWSIM_ISA"] = isa
    steps = squeezenet(batch, code).steps
    total = 0.0
    print(f"--- {isa}, {chosen_threads()} threads, batch {batch}, {code.bits} bits")
    for name, step in steps.items():
        seconds = fastest(Calls([step]).run)
        total += seconds
        rate = f"{macs(step) / seconds / 1e9:8.1f} GMAC/s" if macs(step) else ""
        print(f"{name:16} {seconds * 1e6:9.1f} us {rate}  {getattr(step.kernel, 'path', '')}")
    whole = fastest(Calls(list(steps.values())).run)
    count = sum(map(macs, steps.values()))
    print(f"layers one by one {total * 1e3:.2f} ms; one call {whole * 1e3:.2f} ms, {count / whole / 1e9:.0f} GMAC/s")


def main() -> None:
    """Time the instruction sets named on the command line, or all."""
    bits = int(os.environ.get("BITS", "8"))
    for isa in sys.argv[1:] or require().instruction_sets[::-1]:
        report(isa, int(os.environ.get("BATCH", "1")), FixedPoint(bits, bits - 4))


if __name__ == "__main__":
    main()
