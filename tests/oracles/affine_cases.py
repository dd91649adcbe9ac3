"""Small layers with zero points, multipliers, clamps and uneven padding, drawn from a seed; contracts that hwsim refuses are
not drawn. Outputs are scaled to about their format's range, so that some saturate and most do not."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.contract import (
    Accumulator,
    Axis,
    BiasPoint,
    MacContract,
    Order,
    Output,
    PaddedTaps,
    Schedule,
    Tail,
    ZeroSkip,
)
from hwsim.contract.mac import ROUNDINGS
from hwsim.contract.reciprocals import Reciprocals
from hwsim.contract.scaling import Multiplier, make_multiplier
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import (
    AveragePool,
    Clamp,
    Concat,
    Convolution,
    CountRule,
    EltwiseSum,
    FullyConnected,
    ImageEncoding,
    MacLayer,
    MaxPool,
    ReLU,
    Rescale,
    Shape,
    Window,
)
from hwsim.layers.image import MEAN_LENGTH
from oracles.cases import Case

Rng = np.random.Generator
RULES = tuple(rule for rule in Scaling if rule is not Scaling.SHIFT)
BITS = {Scaling.FLOAT32: 24, Scaling.FLOAT64: 53}


def pick(rng: Rng, values):
    """Return one of the values."""
    values = list(values)
    return values[int(rng.integers(len(values)))]


def affine(rng: Rng, bits: int, signed: bool, channels: int | None = None) -> Affine:
    """Return codes with any zero point, often at an end or at 0; of weights, now and then one for each channel."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)

    def zero() -> int:
        return int(pick(rng, [low, high, 0, (low + high) // 2, int(rng.integers(low, high, endpoint=True))]))

    if channels is None or rng.random() < 0.5:
        return Affine(bits, 1.0, zero(), signed)
    return Affine(bits, tuple(float(v) for v in rng.integers(1, 4, channels)), tuple(zero() for _ in range(channels)), signed)


def operand(rng: Rng) -> Affine:
    return affine(rng, int(pick(rng, [8, 8, 8, 8, 2, 5, 9, 16])), bool(rng.random() < 0.5))


def codes_of(rng: Rng, fmt: Affine | FixedPoint, shape: tuple[int, ...], ends: float) -> np.ndarray:
    """Return codes anywhere in the range, a share at its ends, some at the zero point."""
    drawn = rng.integers(fmt.low, fmt.high, size=shape, endpoint=True)
    where = rng.random(shape)
    drawn = np.where(where < ends, np.where(rng.random(shape) < 0.5, fmt.low, fmt.high), drawn)
    zero = fmt.zero() if not fmt.per_channel else np.array(fmt.zeros(shape[0])).reshape(-1, *[1] * (len(shape) - 1))
    return np.where(where > 0.9, zero, drawn).astype(fmt.dtype)


def pair_of(rng: Rng, rule: Scaling, real: float) -> tuple[int, int]:
    """Return (multiplier, shift) near a real scale, with few bits or with all."""
    if rule is Scaling.HIGH_MULTIPLY:
        bits = 31
    elif rule in BITS:
        bits = BITS[rule]
    else:
        bits = int(pick(rng, [2, 8, 15, 20, 31]))
    mantissa, exponent = math.frexp(real)
    most = (1 << bits) - 1
    m = min(int(mantissa * (1 << bits)), most)
    return pick(rng, [m, m, m, most, 1 << bits - 1]), bits - exponent


def output_stage(rng: Rng, spread: float, channels: int) -> Output:
    """Return an output of any kind for values of about +-spread."""
    bits = int(pick(rng, [8, 8, 8, 8, 4, 16, 24, 32, 40, 48]))
    signed = bool(rng.random() < 0.6) or bits > 40
    fmt = affine(rng, bits, signed) if rng.random() < 0.9 else FixedPoint(bits, 0, signed)
    rule = pick(rng, RULES)
    reals = [2.0 ** (bits - 1) / max(spread, 1.0) * 2.0 ** rng.uniform(-3, 1) for _ in range(channels)]
    pairs = [pair_of(rng, rule, real) for real in reals]
    if rule is Scaling.HIGH_MULTIPLY and rng.random() < 0.1:
        pairs = [(m, int(rng.integers(0, 62))) for m, _ in pairs]
    scaling = make_multiplier(rule, pairs if rng.random() < 0.5 else pairs[:1] * channels)
    low, high = sorted(int(v) for v in rng.integers(fmt.low, fmt.high, size=2, endpoint=True))
    clamp = pick(rng, [(None, None), (None, None), (low, high), (low, None), (None, high), (fmt.zero(), None)])
    rounding = pick(rng, ROUNDINGS.get(rule, (Rounding.TIES_UP, Rounding.TIES_AWAY, Rounding.TIES_EVEN, *Rounding)))
    overflow = pick(rng, [Overflow.SATURATE, Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC, Overflow.WRAP])
    activation = Activation.RELU_BEFORE_REQUANTIZE if rng.random() < 0.15 else Activation.NONE
    return Output(fmt, rounding, overflow, activation, scaling, *clamp)


def spread_of(x: Affine, taps: int, weight_bits: int) -> float:
    return 2.0 ** (x.bits + weight_bits - 2.5) * math.sqrt(taps)


def accumulator(rng: Rng, x: Affine, weight_bits: int, taps: int, ordered: bool) -> Accumulator:
    need = x.bits + weight_bits + 1 + taps.bit_length()
    if not ordered:
        return Accumulator(int(pick(rng, [32, 32, 32, need - 2, need, 24, 48, 63])))
    order = pick(rng, Order)
    lanes, tail = int(pick(rng, [1, 1, 2, 3, 4, 8])), pick(rng, Tail)
    schedule = Schedule(
        order,
        lanes,
        Axis[order.name[-1]] if tail is Tail.PACKED else pick(rng, Axis),
        tail,
        bias=pick(rng, BiasPoint),
        padded=pick(rng, PaddedTaps),
        skip_zeros=pick(rng, [ZeroSkip.NONE, *ZeroSkip]),
    )
    overflow = pick(rng, [Overflow.SATURATE, Overflow.WRAP, Overflow.SATURATE_SYMMETRIC])
    bits = min(max(need - int(rng.integers(0, 6)), 4), 60)
    return Accumulator(int(pick(rng, [bits, bits, 16, 32, 40])), overflow=overflow, schedule=schedule)


def mac_case(rng: Rng, ordered: bool) -> Case:
    """Return a convolution of any geometry, often depthwise, or a fully connected layer."""
    kind = pick(rng, ["conv", "conv", "depthwise", "connected"])
    share, r, s = int(pick(rng, [1, 2, 3, 7, 16, 17])), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    groups, k = pick(rng, [(1, 1), (1, 3), (1, 17), (2, 4), (1, 33)])
    if kind == "depthwise":
        groups, share = int(pick(rng, [1, 2, 5, 16, 17, 35])), 1
        k = groups * int(pick(rng, [1, 1, 1, 2, 3]))
        r, s = pick(rng, [(3, 3), (3, 3), (5, 5), (1, 2), (4, 1), (r, s)])
    h, w = int(pick(rng, [3, 4, 5])), int(pick(rng, [4, 5, 6, 7, 18]))
    if kind == "connected":
        groups, r, s, h, w = 1, h, w % 5 + 1, h, w % 5 + 1
    taps = share * r * s
    x, weight_bits = operand(rng), int(pick(rng, [8, 8, 8, 4, 16]))
    weight_format = affine(rng, weight_bits, bool(rng.random() < 0.6), k)
    ends = float(pick(rng, [0.0, 0.3, 1.0]))
    acc = accumulator(rng, x, weight_bits, taps, ordered)
    contract = MacContract(x, weight_format, output_stage(rng, spread_of(x, taps, weight_bits), k), acc)
    shape = (k, taps) if kind == "connected" else (k, share, r, s)
    weight = codes_of(rng, weight_format, shape, ends)
    reach = min(1 << acc.bits - 2, int(spread_of(x, taps, weight_bits)) + 2)
    bias = rng.integers(-reach, reach, size=k) if rng.random() < 0.8 else None
    inputs = codes_of(rng, x, (int(pick(rng, [1, 1, 2])), share * groups, h, w), ends)
    if kind == "connected":
        return Case("generated", FullyConnected(contract, weight, bias), (inputs,))
    stride, dilation = (tuple(int(v) for v in rng.integers(1, 3, size=2)) for _ in range(2))
    pads = [tuple(int(v) for v in rng.integers(0, 4, size=2)) for _ in range(2)]
    layer = Convolution(contract, weight, bias, stride, pads[0], dilation, groups, pick(rng, [None, pads[1], pads[1]]))
    return Case("generated", layer, (inputs,))


def window_of(rng: Rng) -> Window:
    kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    pads = [tuple(int(rng.integers(0, size)) for size in kernel) for _ in range(2)]
    stride = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    return pick(rng, [Window(None), Window(kernel, stride, pads[0], bool(rng.random() < 0.5), pick(rng, [None, pads[1]]))])


def value_shape(rng: Rng) -> tuple[int, int, int, int]:
    return int(rng.integers(1, 3)), int(pick(rng, [1, 3, 16, 17, 35])), int(rng.integers(1, 6)), int(pick(rng, [1, 2, 5, 35]))


def pool_case(rng: Rng) -> Case:
    """Return a maximum, or an average: exactly divided, of codes, or by reciprocals with a change of scale in them."""
    fmt, window = operand(rng), window_of(rng)
    inputs = codes_of(rng, fmt, value_shape(rng), 0.3)
    if rng.random() < 0.3:
        return Case("generated", MaxPool(fmt, window), (inputs,))
    count, activation = pick(rng, CountRule), pick(rng, [Activation.NONE, Activation.NONE, Activation.RELU_BEFORE_REQUANTIZE])
    if rng.random() < 0.5:
        stage = output_stage(rng, 2.0**fmt.bits, 1)
        rule, clamp = stage.scaling.rule, (stage.clamp_low, stage.clamp_high)
        output = Output(stage.format, stage.rounding, stage.overflow, activation, None, *clamp)
        any_layer = AveragePool(fmt, window, count, Output(fmt))
        counts = any_layer.counts(Shape(*inputs.shape[1:]))
        pairs = [pair_of(rng, rule, 2.0 ** rng.uniform(-2, 1) / n) for n in counts]
        division = Reciprocals(rule, tuple(counts), tuple(m for m, _ in pairs), tuple(shift for _, shift in pairs))
        return Case("generated", AveragePool(fmt, window, count, output, False, division), (inputs,))
    of_codes = bool(rng.random() < 0.5)
    to = fmt if of_codes else affine(rng, int(pick(rng, [8, 8, 4, 16])), bool(rng.random() < 0.5))
    low, high = sorted(int(v) for v in rng.integers(to.low, to.high, size=2, endpoint=True))
    clamp = pick(rng, [(None, None), (low, high), (low, None)])
    output = Output(to, pick(rng, [Rounding.TIES_AWAY, *Rounding]), pick(rng, Overflow), activation, None, *clamp)
    return Case("generated", AveragePool(fmt, window, count, output, of_codes), (inputs,))


def rescale_case(rng: Rng) -> Case:
    fmt = affine(rng, int(pick(rng, [8, 8, 16, 24, 32, 48])), bool(rng.random() < 0.5))
    shape = value_shape(rng)
    layer = Rescale(fmt, output_stage(rng, 2.0 ** (fmt.bits - 1), shape[1]))
    return Case("generated", layer, (codes_of(rng, fmt, shape, 0.3),))


def moved_case(rng: Rng) -> Case:
    """Return a layer that scales nothing: ReLU, clamp, concat, codes up to 48 bits."""
    fmt = affine(rng, int(pick(rng, [8, 8, 16, 24, 48])), bool(rng.random() < 0.5))
    shape = value_shape(rng)
    low, high = sorted(int(v) for v in rng.integers(fmt.low, fmt.high, size=2, endpoint=True))
    layer = pick(rng, [ReLU(fmt), Clamp(fmt, low, high), Concat(fmt, 2)])
    parts = 2 if isinstance(layer, Concat) else 1
    return Case("generated", layer, tuple(codes_of(rng, fmt, shape, 0.3) for _ in range(parts)))


def image_case(rng: Rng) -> Case:
    shape = value_shape(rng)
    mean = rng.integers(-(1 << 24), 1 << 24, size=(shape[1], 1, 1)) >> int(rng.integers(0, 12))
    output = output_stage(rng, 2.0 ** (8 + MEAN_LENGTH), 1)
    layer = ImageEncoding(mean, int(pick(rng, [1, 1, 3, 127])), int(rng.integers(0, 8)), output)
    return Case("generated", layer, (rng.integers(0, 256, size=shape).astype(np.uint8),))


def sum_case(rng: Rng) -> Case:
    """Return a sum of affine operands: as they are, or each scaled on its own, as TensorFlow Lite adds."""
    from hwsim.contract.operand import Operand

    fmts = tuple(operand(rng) for _ in range(int(rng.integers(2, 4))))
    shape, operands = value_shape(rng), []
    left = int(pick(rng, [0, 4, 20]))
    for _ in fmts:
        rule = pick(rng, [Scaling.HIGH_MULTIPLY, Scaling.HIGH_MULTIPLY, *RULES])
        rounding = pick(rng, ROUNDINGS.get(rule, (Rounding.TIES_AWAY, *Rounding)))
        operands.append(
            Operand(left, Multiplier(rule, *pair_of(rng, rule, 2.0 ** rng.uniform(-3, 0))), rounding, bool(rng.random() < 0.3))
        )
    output = output_stage(rng, 2.0 ** (9 + left), 1)
    return Case("generated", EltwiseSum(fmts, output, tuple(operands)), tuple(codes_of(rng, f, shape, 0.3) for f in fmts))


MAKERS: dict[str, Callable[[Rng], Case]] = {
    "mac": lambda rng: mac_case(rng, ordered=False),
    "ordered": lambda rng: mac_case(rng, ordered=True),
    "pool": pool_case,
    "rescale": rescale_case,
    "moved": moved_case,
    "image": image_case,
    "sum": sum_case,
}


def affine_case(kind: str, seed: int) -> Case:
    """Return the case of a seed: the first that hwsim takes."""
    rng = np.random.default_rng([seed, sorted(MAKERS).index(kind)])
    while True:
        try:
            case = MAKERS[kind](rng)
            shape = case.layer.output_shape([Shape(*x.shape[1:]) for x in case.inputs])
        except ContractError:
            continue
        taps = case.layer.weight[0].size if isinstance(case.layer, MacLayer) else 1
        if len(case.inputs[0]) * shape.c * shape.h * shape.w * taps <= (8000 if kind == "ordered" else 40000):
            return Case(f"{kind} {seed}", case.layer, case.inputs)
