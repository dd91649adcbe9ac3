"""The hard cases that every implementation of every layer must get right: layers with their inputs, small and pointed.

A Case is one layer with codes for it. `tests/layers` holds the specification to the oracle on them, `tests/conformance`
holds every backend to the specification. Axis sizes differ pairwise wherever the case does not ask for others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from zlib import crc32

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.formats import FixedPoint
from hwsim.layers import (
    AveragePool,
    Concat,
    Convolution,
    CountRule,
    EltwiseSum,
    FullyConnected,
    HostLRN,
    ImageEncoding,
    MaxPool,
    Region,
    ReLU,
    Rescale,
    Softmax,
    Window,
)


@dataclass(frozen=True, eq=False)
class Case:
    """One layer and the codes [N][C][H][W] of each of its inputs."""

    name: str
    layer: object
    inputs: tuple[np.ndarray, ...]

    def __str__(self) -> str:
        return self.name


def generator(name: str) -> np.random.Generator:
    """Return the random numbers of a case: the same in every run, others in every case."""
    return np.random.default_rng(crc32(name.encode()))


def codes(rng: np.random.Generator, f: FixedPoint, shape: Sequence[int], ends: float = 0.2) -> np.ndarray:
    """Return codes of a format: most anywhere in its range, a share `ends` at its two ends, some zeros."""
    values = rng.integers(f.low, f.high, size=shape, endpoint=True, dtype=np.int64)
    choice = rng.random(shape)
    values = np.where(choice < ends, np.where(rng.random(shape) < 0.5, f.low, f.high), values)
    return np.where(choice > 0.9, 0, values).astype(f.dtype)


def s(bits: int, fl=0) -> FixedPoint:
    return FixedPoint(bits, fl)


def u(bits: int, fl=0) -> FixedPoint:
    return FixedPoint(bits, fl, signed=False)


S8_3, S8_6, ACC32 = s(8, 3), s(8, 6), Accumulator(32)


def spread_bits(x: FixedPoint, w: FixedPoint, taps: int) -> int:
    """Return about how many bits the standard deviation of a sum of random products has."""
    return x.bits + w.bits - (3 if x.signed and w.signed else 2) + taps.bit_length() // 2


def mac(
    name: str,
    x: FixedPoint = S8_3,
    w: FixedPoint = S8_6,
    out: FixedPoint | None = None,
    *,
    n: int = 1,
    c: int = 3,
    hw: tuple[int, int] = (5, 7),
    k: int = 2,
    rs: tuple[int, int] = (3, 2),
    acc: Accumulator = ACC32,
    bias: FixedPoint | None = None,
    biased: bool = True,
    rounding: Rounding = Rounding.TIES_EVEN,
    overflow: Overflow = Overflow.SATURATE,
    activation: Activation = Activation.NONE,
    fill: tuple[str, str] | None = None,
    ends: float = 0.2,
    connected: bool = False,
    groups: int = 1,
    **window,
) -> Case:
    """Build a multiply-accumulate case. fill: "low" or "high" codes everywhere, for inputs and weights."""
    rng = generator(name)
    taps = c // groups * (hw[0] * hw[1] if connected else rs[0] * rs[1])
    if out is None:
        length = x.fl() + w.fl() - max(spread_bits(x, w, taps) - 7, 0)
        out = s(8, length)
    contract = MacContract(x, w, Output(out, rounding, overflow, activation), acc, bias if isinstance(bias, FixedPoint) else None)
    shape = (k, c * hw[0] * hw[1]) if connected else (k, c // groups, *rs)
    weight = codes(rng, w, shape, ends)
    inputs = codes(rng, x, (n, c, *hw), ends)
    if fill is not None:
        inputs[...] = getattr(x, fill[0])
        weight[...] = getattr(w, fill[1])
    b = None if not biased else bias_codes(rng, contract, k, taps)
    layer = FullyConnected(contract, weight, b) if connected else Convolution(contract, weight, b, groups=groups, **window)
    return Case(name, layer, (inputs,))


def bias_codes(rng: np.random.Generator, contract: MacContract, k: int, taps: int) -> np.ndarray:
    """Return biases of about the size of the sums, the first two at the ends of the format (where that is 8 bits or less)."""
    f = contract.bias_format(k)
    reach = 1 << min(spread_bits(contract.input, contract.weight, taps), f.bits - 1, 40)
    values = [int(v) for v in rng.integers(-reach, reach, size=k, endpoint=True)]
    return np.array([min(max(v, f.low), f.high) for v in values], dtype=np.int64)


def with_bias(case: Case, values: Sequence[int]) -> Case:
    """Return the case with other biases, repeated over the channels."""
    layer = case.layer
    b = np.array([values[i % len(values)] for i in range(layer.channels)], dtype=np.int64)
    if isinstance(layer, FullyConnected):
        return Case(case.name, FullyConnected(layer.contract, layer.weight, b), case.inputs)
    other = Convolution(layer.contract, layer.weight, b, layer.stride, layer.pad, layer.dilation, layer.groups)
    return Case(case.name, other, case.inputs)


def geometry() -> Iterator[Case]:
    """Every attribute of a window, alone and together."""
    for stride, pad, dilation in [
        ((1, 1), (0, 0), (1, 1)),
        ((2, 3), (0, 0), (1, 1)),
        ((1, 1), (1, 2), (1, 1)),
        ((1, 1), (0, 0), (2, 3)),
        ((3, 2), (2, 1), (2, 1)),
        ((1, 2), (5, 4), (1, 2)),
    ]:
        for x in (s(8, 3), u(8, 3), s(16, 3)):
            name = f"conv stride{stride} pad{pad} dilation{dilation} {x}"
            yield mac(name, x, hw=(7, 11), rs=(3, 2), c=5, stride=stride, pad=pad, dilation=dilation)
    yield mac("conv 1x1", rs=(1, 1), c=7, hw=(3, 5))
    yield mac("conv 1x1 stride 2", rs=(1, 1), c=7, hw=(5, 3), stride=(2, 2))
    yield mac("conv kernel as large as the image", rs=(5, 7), hw=(5, 7))
    yield mac("conv kernel larger than the image", rs=(6, 9), hw=(5, 7), pad=(1, 2))
    yield mac("conv 11x11 stride 4, three channels", rs=(11, 11), hw=(19, 23), c=3, stride=(4, 4), n=1, k=5)
    yield mac("conv 7x7 stride 2 pad 3, three unsigned channels", u(8, 0), rs=(7, 7), hw=(9, 13), c=3, stride=(2, 2), pad=(3, 3))
    for groups, c, k in [(2, 6, 4), (3, 6, 3), (5, 5, 5), (7, 7, 14), (2, 34, 6), (17, 17, 17), (64, 64, 64)]:
        for x in (s(8, 3), u(8, 3), u(16, 3)):
            yield mac(f"conv groups{groups} c{c} k{k} {x}", x, groups=groups, c=c, k=k, hw=(4, 5), rs=(3, 2), pad=(1, 0))
    for n in (2, 3):
        yield mac(f"conv batch{n}", n=n, hw=(4, 5), pad=(1, 1), rs=(3, 3))
        yield mac(f"fully connected batch{n}", n=n, c=3, hw=(2, 5), k=7, connected=True)


def vector_edges() -> Iterator[Case]:
    """Channel counts and widths around the sizes of vectors and tiles."""
    for c in (1, 2, 3, 4, 15, 16, 17, 31, 33, 63, 64, 65, 129):
        x = (s(8, 3), u(8, 3), s(16, 2))[c % 3]
        yield mac(f"conv input channels {c} {x}", x, c=c, k=3, hw=(2, 5), rs=(1, 2))
    for k in (1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65):
        x = (u(8, 3), s(16, 2), s(8, 3))[k % 3]
        yield mac(f"conv output channels {k} {x}", x, c=5, k=k, hw=(3, 4), rs=(2, 2), pad=(1, 0))
    for width in (1, 15, 16, 17, 31, 32, 33, 47, 65):
        x = (s(8, 3), u(8, 3))[width % 2]
        yield mac(f"conv width {width} {x}", x, c=2, k=17, hw=(2, width), rs=(1, 3), pad=(0, 1))
    yield mac("conv 64 in 64 out", u(8, 3), c=64, k=64, hw=(3, 5), rs=(1, 1), n=2)
    yield mac("conv 65 in 33 out 3x3", s(8, 3), c=65, k=33, hw=(3, 4), rs=(3, 3), pad=(1, 1))
    for c, hw, k in [(1, (1, 1), 1), (1, (1, 1), 17), (65, (1, 1), 33), (3, (5, 7), 65), (17, (3, 5), 10), (129, (2, 3), 3)]:
        for x in (s(8, 3), u(8, 4), s(16, 3)):
            yield mac(f"fully connected c{c} {hw} k{k} {x}", x, c=c, hw=hw, k=k, connected=True)


OPERANDS = [s(1), u(1), s(2, 1), u(3), s(4), u(5), s(7), u(7), s(8), u(8), s(9), u(9), s(12), u(15), s(16), u(16)]


def operands() -> Iterator[Case]:
    """Every pair of operand widths and signs."""
    for i, (x, w) in enumerate(product(OPERANDS, OPERANDS)):
        c = (3, 17, 33, 5)[i % 4]
        shape = {"c": c, "k": (2, 5, 17)[i % 3], "hw": (2, 3), "rs": (1, 2)}
        yield mac(f"conv {x} times {w}", x, w, acc=Accumulator(48), **shape)
    for x, w in [(s(8), s(8)), (u(8), u(8)), (s(16), s(16)), (u(16), u(16)), (s(8), u(16)), (u(16), s(8))]:
        yield mac(f"fully connected {x} times {w}", x, w, c=7, hw=(3, 5), k=5, connected=True, acc=Accumulator(40))


def extremes() -> Iterator[Case]:
    """Sums that are as large as they can be: nothing saturates on the way, 16-bit pairs do not wrap in 32 bits."""
    pairs = [
        (s(8), s(8)),
        (u(8), s(8)),
        (s(8), u(8)),
        (u(8), u(8)),
        (s(16), s(16)),
        (u(16), s(16)),
        (s(16), u(16)),
        (u(16), u(16)),
        (s(16), s(8)),
        (u(8), s(16)),
        (s(7), s(8)),
        (u(7), s(8)),
        (s(15), s(16)),
    ]
    for (x, w), fill in product(pairs, product(("low", "high"), repeat=2)):
        if x.low == 0 and fill[0] == "low" or w.low == 0 and fill[1] == "low":
            continue
        for bits in (32, 64):
            name = f"conv all {fill[0]} {x} times all {fill[1]} {w} acc{bits}"
            yield mac(name, x, w, s(16, -12), c=67, k=3, hw=(2, 3), rs=(1, 2), pad=(0, 1), acc=Accumulator(bits), fill=fill)
    for x, w in [(s(16), s(16)), (u(16), u(16)), (s(8), s(8))]:
        name = f"fully connected all low or high, {x} times {w}, 2100 taps"
        fill = ("low", "low") if x.signed else ("high", "high")
        yield mac(name, x, w, s(16, -14), c=7, hw=(20, 15), k=2, connected=True, acc=Accumulator(64), fill=fill, biased=False)
    for bits in (8, 16):
        x = s(bits)
        case = mac(f"conv alternating ends {x}", x, x, s(16, -8), c=66, k=3, hw=(2, 3), rs=(1, 3), ends=1.0)
        yield case


def accumulators() -> Iterator[Case]:
    """Registers of every width, wrapping, with biases at their ends; product shifts; bias formats of their own."""
    for bits in (2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 47, 48, 61, 62, 63, 64):
        case = mac(f"conv accumulator of {bits} bits", out=s(8, 9 - max(bits - 9, 0) + 2), acc=Accumulator(bits), k=5)
        f = case.layer.contract.accumulator
        yield with_bias(case, [f.low, f.high, 0, f.low + 1, f.high - 1])
    for bits, x in [(63, s(16, 3)), (64, s(16, 3)), (64, u(16, 3)), (62, s(8, 3)), (64, s(8, 3))]:
        name = f"conv {x} product shift to the top of {bits} bits"
        acc = Accumulator(bits, x.fl() + 6 + bits - 30 - (x.bits - 8))
        case = mac(name, x, s(8, 6), s(16, 9), acc=acc, c=3, k=5, ends=0.5)
        yield with_bias(case, [acc.low, acc.high, 0, acc.low + 1, acc.high - 1])
    for shift in (1, 3, 8, 14):
        yield mac(f"conv product shift {shift}", acc=Accumulator(32, 9 + shift), c=3, k=5)
        yield mac(f"conv product shift {shift}, 24 bits wrap", acc=Accumulator(24, 9 + shift), c=3, k=5, out=s(16, 5))
    per_channel = s(8, (6, 3, 9, -2, 12))
    yield mac("conv weight grid per channel", s(8, 3), per_channel, s(8, 1), k=5, c=3)
    yield mac("fully connected weight grid per channel", u(8, 3), per_channel, s(8, 1), k=5, c=3, connected=True)
    yield mac("conv per channel onto one accumulator grid", s(8, 3), per_channel, s(8, 1), k=5, acc=Accumulator(40, 16))
    yield mac("conv accumulator grid per channel", s(8, 3), per_channel, s(8, 1), k=5, acc=Accumulator(32, (9, 8, 12, 4, 19)))
    for name, f in [
        ("finer", s(16, 14)),
        ("coarser", s(8, 2)),
        ("per channel", s(8, (1, 12, 9, -3, 17))),
        ("unsigned", u(8, 9)),
        ("wide", s(64, 50)),
    ]:
        for mode in (Rounding.FLOOR, Rounding.TIES_EVEN):
            case = mac(f"conv bias format {name} {mode.name}", k=5, bias=f, rounding=mode)
            layer, contract = case.layer, case.layer.contract
            again = MacContract(contract.input, contract.weight, contract.output, contract.accumulator, f, mode)
            bias = codes(generator(case.name), f, (5,)).astype(np.int64) >> max(f.bits - 40, 0)
            yield Case(case.name, Convolution(again, layer.weight, bias), case.inputs)
    yield mac("conv without bias", biased=False)


OUTPUTS = [s(8), u(8), s(1), u(1), s(5), s(16), u(16), s(32), u(32)]


def epilogues() -> Iterator[Case]:
    """All rounding modes x overflows x activations, each with right and left shifts over many values."""
    lengths = (0, 1, 2, 3, 5, 8, 10, -1, -4, 4, 6, 7, 9, 11, 12, 13, 14)
    ramp = np.concatenate([np.arange(-128, 128, 3), [-127, 127, 0, 1, -2, 64, 96, 112, 120]]).astype(np.int8)
    ramp = ramp.reshape(1, 1, 5, 19)
    for i, (mode, overflow, activation) in enumerate(product(Rounding, Overflow, Activation)):
        out = OUTPUTS[i % len(OUTPUTS)]
        name = f"epilogue {mode.name} {overflow.name} {activation.name} {out}"
        contract = MacContract(s(8), s(8, lengths), Output(out, mode, overflow, activation), Accumulator(24))
        rng = generator(name)
        weight = rng.choice([1, -1, 3, 97, -128, 127], size=(17, 1, 1, 1))
        bias = rng.integers(-40, 40, size=17)
        yield Case(name, Convolution(contract, weight, bias), (ramp,))
    for bits, out in product((20, 32, 33, 62, 64), (s(8, -2), s(32, 3), u(16, -1))):
        for mode in (Rounding.TIES_EVEN, Rounding.AWAY_FROM_ZERO):
            acc = Accumulator(bits, 9)
            case = mac(f"epilogue accumulator {bits} to {out} {mode.name}", out=out, acc=acc, k=5, rounding=mode)
            yield with_bias(case, [acc.low, acc.high, -1, acc.low + 1, acc.high - 7])
    for shift in (62, 61, 33, 32, 31):
        acc = Accumulator(64, 56)
        case = mac(f"epilogue right shift {shift}", s(4), s(4), s(32, 56 - shift), acc=acc, c=1, k=5, rs=(1, 1))
        half = 1 << (shift - 1)
        yield with_bias(case, [acc.low // 2, acc.high // 2, half, -half, half - 1])
    for shift in (1, 8, 24, 30):
        yield mac(f"epilogue left shift {shift}", s(4), s(4), s(32, shift), acc=Accumulator(16), overflow=Overflow.WRAP)


def pools() -> Iterator[Case]:
    """Windows over the edges, every count rule, floor and ceil, global."""
    shapes = [
        ((2, 2), (2, 2), (0, 0)),
        ((3, 3), (2, 2), (0, 0)),
        ((3, 2), (2, 3), (1, 1)),
        ((2, 3), (1, 1), (0, 2)),
        ((3, 3), (3, 2), (2, 2)),
        ((1, 1), (3, 3), (0, 0)),
        ((2, 2), (4, 5), (1, 1)),
    ]
    for i, ((kernel, stride, pad), ceil) in enumerate(product(shapes, (False, True))):
        window = Window(kernel, stride, pad, ceil)
        tag = f"{kernel} stride{stride} pad{pad} {'ceil' if ceil else 'floor'}"
        for f in ((s(8, 3), u(8, 3)), (s(16, 3), u(5, 3)), (s(8, 3), u(16, 3)))[i % 3]:
            name = f"max pool {tag} {f}"
            yield Case(name, MaxPool(f, window), (codes(generator(name), f, (2, (3, 17, 65)[i % 3], 5, 7)),))
        for j, rule in enumerate(CountRule):
            f = (s(8, 3), u(8, 3), s(16, 3), u(16, 3), s(3, 3))[(i + j) % 5]
            mode = list(Rounding)[(3 * i + j) % 10]
            name = f"average pool {tag} {rule.name} {f} {mode.name}"
            output = Output(s(8, (3, 2, 5)[(i + j) % 3]), mode)
            x = codes(generator(name), f, (2, (17, 3, 33)[i % 3], 7, 5))
            yield Case(name, AveragePool(f, window, rule, output), (x,))
    for hw in ((1, 1), (3, 5), (13, 13), (17, 2)):
        for f in (s(8, 3), u(8, 3), s(16, 3)):
            name = f"global pool {hw} {f}"
            x = codes(generator(name), f, (2, 19, *hw))
            yield Case("max " + name, MaxPool(f, Window(None)), (x,))
            yield Case("average " + name, AveragePool(f, Window(None), CountRule.CAFFE, Output(s(16, 6))), (x,))
    for i, (mode, overflow, activation) in enumerate(product(Rounding, Overflow, Activation)):
        f, out = (s(6, 2), u(4, 2), s(8, 2))[i % 3], OUTPUTS[i % 7]
        lift = (0, 3, -2, 1, -5)[i % 5]
        name = f"average pool {f} {mode.name} {overflow.name} {activation.name} lift {lift} {out}"
        output = Output(FixedPoint(out.bits, 2 + lift, out.signed), mode, overflow, activation)
        window, rule = Window((2, 3), (1, 2), (1, 1), True), list(CountRule)[i % 3]
        yield Case(name, AveragePool(f, window, rule, output), (codes(generator(name), f, (1, 5, 7, 11)),))
    lonely = codes(generator("extreme average"), s(16), (1, 3, 5, 7), ends=1.0)
    yield Case("average pool of extremes", AveragePool(s(16), Window((5, 7)), CountRule(1), Output(s(32, 9))), (lonely,))


def elementwise() -> Iterator[Case]:
    """Rescale, eltwise sum, ReLU, concat and image encoding."""
    for i, (mode, overflow, activation) in enumerate(product(Rounding, Overflow, Activation)):
        f = (s(8, 3), u(8, 3), s(16, 3), u(16, 3), s(32, 3))[i % 5]
        out = OUTPUTS[i % len(OUTPUTS)]
        shift = (2, -3, 0, 5, -1, 1, 7)[i % 7]
        name = f"rescale {f} by {shift} {mode.name} {overflow.name} {activation.name} {out}"
        output = Output(FixedPoint(out.bits, 3 - shift, out.signed), mode, overflow, activation)
        x = codes(generator(name), f, (2, (3, 17, 1)[i % 3], 5, 7))
        yield Case(name, Rescale(f, output), (x,))
        formats = [(s(8, 3), s(8, 5)), (u(8, 1), s(8, 1), s(16, 4)), (s(16, 9), u(16, -3))][i % 3]
        name = f"eltwise sum {i} {mode.name} {overflow.name} {activation.name} {out}"
        output = Output(FixedPoint(out.bits, max(f.fl() for f in formats) - shift, out.signed), mode, overflow, activation)
        inputs = tuple(codes(generator(f"{name} {j}"), f, (2, (1, 3, 18)[i % 3], 5, 7)) for j, f in enumerate(formats))
        yield Case(name, EltwiseSum(formats, output), inputs)
    for f in (s(8), u(8), s(16), u(16), s(1), u(1), s(32), u(32), s(5)):
        for c in (1, 17, 65):
            x = codes(generator(f"relu {f} {c}"), f, (2, c, 3, 5))
            yield Case(f"relu {f} {c} channels", ReLU(f), (x,))
        parts = tuple(codes(generator(f"concat {f} {c}"), f, (2, c, 3, 5)) for c in (1, 17, 2))
        yield Case(f"concat {f}", Concat(f, 3), parts)
    yield Case("concat of one", Concat(s(8), 1), (codes(generator("concat of one"), s(8), (1, 3, 2, 5)),))
    yield from encodings()


def encodings() -> Iterator[Case]:
    """Every pixel value under means and scales of every kind."""
    pixels = np.stack([np.arange(256), np.arange(256)[::-1], (np.arange(256) * 37) % 256]).astype(np.uint8)
    pixels = pixels.reshape(1, 3, 8, 32)
    full = generator("mean").uniform(90, 130, size=(3, 8, 32))
    for i, (mode, overflow, activation) in enumerate(product(Rounding, Overflow, Activation)):
        mean = ((104.0, 117.0, 123.0), (103.939, 116.779, 123.68), full, (0.0, 255.0, 256.0))[i % 4]
        scale = (1.0, 1 / 256, 0.017, 1 / 255, 2.0)[i % 5]
        out = ((s(8), u(8), s(16), s(4), u(1))[i % 5], (0, 7, 12, 3, -2)[(i // 2) % 5])
        name = f"image encoding {i} {mode.name} {overflow.name} {activation.name}"
        output = Output(FixedPoint(out[0].bits, out[1], out[0].signed), mode, overflow, activation)
        yield Case(name, ImageEncoding.from_real(mean, scale, output), (pixels,))


def host() -> Iterator[Case]:
    """LRN in float, along both kinds of neighbourhood, and softmax, whose codes pass."""
    for i, (region, size, beta) in enumerate(product(Region, (1, 3, 5), (0.75, 0.5, 0.6))):
        f = (s(8, 2), u(8, 3), s(16, 9), u(4, -1))[i % 4]
        mode, overflow = list(Rounding)[i % 10], list(Overflow)[i % 4]
        output = Output(FixedPoint((8, 5, 16)[i % 3], 3, f.signed), mode, overflow)
        name = f"host lrn {region.name} {size} {beta} {f} {mode.name} {overflow.name}"
        lrn = HostLRN(f, region, size, (1e-4, 0.7, 2.0)[i % 3], beta, (1.0, 2.0)[i % 2], output)
        yield Case(name, lrn, (codes(generator(name), f, (2, 7, 3, 5)),))
    for f in (s(8, 3), u(16, 4)):
        yield Case(f"softmax {f}", Softmax(f), (codes(generator(f"softmax {f}"), f, (3, 7, 1, 2)),))


FAMILIES = {
    "geometry": geometry,
    "vector_edges": vector_edges,
    "operands": operands,
    "extremes": extremes,
    "accumulators": accumulators,
    "epilogues": epilogues,
    "pools": pools,
    "elementwise": elementwise,
    "host": host,
}


@cache
def family(name: str) -> tuple[Case, ...]:
    """Return the cases of one family: the same objects at every call, so that each is specified once."""
    return tuple(FAMILIES[name]())
