"""Regenerate the checked-in golden packages byte for byte: `python golden/regenerate.py [FOLDER]`, or `make golden`.

Each package is small and shows one thing. The specification computes them, so they depend on no compiler; numbers come from
a few lines of integer arithmetic, so they depend on no library's random numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))  # a checkout needs no installation

import numpy as np  # noqa: E402

from hwsim.arith.accumulate import Pairing  # noqa: E402
from hwsim.arith.lfsr import LfsrForm  # noqa: E402
from hwsim.arith.overflow import Overflow  # noqa: E402
from hwsim.arith.rounding import Rounding  # noqa: E402
from hwsim.arith.shift_add import SignOrder  # noqa: E402
from hwsim.contract import (  # noqa: E402
    Accumulator,
    Activation,
    Axis,
    BiasPoint,
    DrawOrder,
    ExactSum,
    FloatAccumulator,
    FloatMacContract,
    FloatOutput,
    Lfsr,
    MacContract,
    Multiplier,
    Order,
    Output,
    PaddedTaps,
    Reset,
    Scaling,
    Schedule,
    ShiftAdd,
    Spill,
    StochasticRounding,
    Tail,
    Tree,
    ZeroSkip,
)
from hwsim.contract.scaling import make_multiplier, quantized_multiplier  # noqa: E402
from hwsim.execute.single import run_layer  # noqa: E402
from hwsim.execute.trace import LayerTrace, Trace, run  # noqa: E402
from hwsim.formats import Affine, FixedPoint, Minifloat, PowerOfTwo, ZeroCode  # noqa: E402
from hwsim.formats.catalog import BINARY16, E4M3, E5M2  # noqa: E402
from hwsim.golden.layout import ByteOrder, Layout, MemoryLayout  # noqa: E402
from hwsim.golden.write import write_golden  # noqa: E402
from hwsim.layers import (  # noqa: E402
    ArithmeticShiftRight,
    AveragePool,
    ChannelShuffle,
    Clamp,
    Concat,
    Convolution,
    CountRule,
    Deconvolution,
    EltwiseMax,
    EltwiseMin,
    EltwiseProduct,
    EltwiseSum,
    Flatten,
    FlattenOrder,
    FullyConnected,
    HostLRN,
    ImageEncoding,
    IntegerLRN,
    MaxPool,
    Pad,
    PReLU,
    Region,
    ReLU,
    Rescale,
    ResizeNearest,
    Sampling,
    Shape,
    Slice,
    Softmax,
    SoftmaxFixed,
    SteppedLRN,
    Window,
)
from hwsim.layers.lrn_table import TableDesign  # noqa: E402
from hwsim.layers.tables import sigmoid, table_layer, tanh  # noqa: E402
from hwsim.network.preprocessing import ChannelOrder, Preprocessing  # noqa: E402
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode  # noqa: E402

S8, U8 = FixedPoint(8, 4), FixedPoint(8, 4, signed=False)
COMMAND = ("python", "golden/regenerate.py")


def numbers(seed: int, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """Integers low..high from Knuth's 64-bit linear congruence (MMIX), its upper half: the same on every machine, for ever."""
    state, values = seed, []
    for _ in range(int(np.prod(shape))):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        values.append(low + (state >> 32) % (high - low + 1))
    return np.array(values, dtype=np.int64).reshape(shape)


def convolution_ties() -> tuple[LayerTrace, Layout]:
    """3x3, stride 2, pad 1, two groups; a shift per channel, one of them to the left; weights of +-1 and +-2 make many ties."""
    lengths = (3, 2, 1, 0, -3, 4)
    contract = MacContract(U8, FixedPoint(3, lengths), Output(FixedPoint(8, 2), Rounding.TIES_EVEN), Accumulator(20))
    weight = numbers(1, (6, 2, 3, 3), -2, 2)
    layer = Convolution(contract, weight, numbers(2, (6,), -60, 60), stride=(2, 2), pad=(1, 1), groups=2)
    return _named("conv_ties", layer, numbers(3, (1, 4, 7, 5), 0, 31)), Layout()


def convolution_wrap() -> tuple[LayerTrace, Layout]:
    """A 12-bit accumulator that wraps and counts it; output symmetric; two images; channel tiles, two lanes, big-endian."""
    output = Output(FixedPoint(6, 0), Rounding.FLOOR, Overflow.SATURATE_SYMMETRIC)
    contract = MacContract(S8, FixedPoint(5, 2), output, Accumulator(12))
    layer = Convolution(contract, numbers(4, (3, 3, 2, 3), -16, 15), numbers(5, (3,), -900, 900), dilation=(1, 2))
    codes = MemoryLayout("NHWCc", (("C", 2),), lanes=2, byte_order=ByteOrder.BIG)
    weights = MemoryLayout("KRSCc", (("C", 2),), lanes=4, byte_order=ByteOrder.BIG)
    return _named("conv_wrap", layer, numbers(6, (2, 3, 3, 7), -128, 127)), Layout(codes, weights, MemoryLayout("K", lanes=3))


def fully_connected_s16() -> tuple[LayerTrace, Layout]:
    """16-bit operands, a 48-bit accumulator on a grid finer than the product's, output that saturates."""
    wide = FixedPoint(16, 8)
    contract = MacContract(wide, FixedPoint(16, 12), Output(FixedPoint(16, 3), Rounding.TIES_UP), Accumulator(48, 22))
    layer = FullyConnected(contract, numbers(7, (5, 42), -32768, 32767), numbers(8, (5,), -(1 << 32), 1 << 32))
    return _named("fc", layer, numbers(9, (1, 7, 3, 2), -32768, 32767)), Layout(codes=MemoryLayout("NHWC"))


def ristretto() -> tuple[LayerTrace, Layout]:
    """Ristretto's CPU path: ties away, a bias in the weights' format, ReLU behind the saturated output, depthwise."""
    weight = FixedPoint(8, 7)
    output = Output(FixedPoint(8, -2), Rounding.TIES_AWAY, activation=Activation.RELU_AFTER_REQUANTIZE)
    contract = MacContract(FixedPoint(8, -1), weight, output, Accumulator(64, 7), bias=weight)
    layer = Convolution(contract, numbers(10, (3, 1, 2, 2), -128, 127), np.array([127, -128, 5]), groups=3)
    return _named("depthwise", layer, numbers(11, (1, 3, 4, 5), -128, 127)), Layout(codes=MemoryLayout("NCHW", lanes=3))


def convolution_saturating() -> tuple[LayerTrace, Layout]:
    """A 16-bit accumulator that saturates at every step of a declared order, a tree that wraps, a spill that rounds."""
    tree = Tree(Pairing.HALVES, (14, 15), Overflow.WRAP)
    spill = Spill(every=3, bits=12, shift=3, rounding=Rounding.TIES_AWAY, overflow=Overflow.SATURATE_SYMMETRIC)
    skips = {"padded": PaddedTaps.SKIPPED, "skip_zeros": ZeroSkip.INPUT}
    schedule = Schedule(Order.RSC, 3, Axis.C, tree=tree, bias=BiasPoint.LAST, spill=spill, **skips)
    accumulator = Accumulator(16, overflow=Overflow.SATURATE, dropped_bits=1, rounding=Rounding.FLOOR, schedule=schedule)
    contract = MacContract(S8, FixedPoint(8, 5), Output(FixedPoint(12, 3), Rounding.TIES_AWAY), accumulator)
    layer = Convolution(contract, numbers(15, (4, 5, 3, 2), -128, 127), numbers(16, (4,), -32768, 32767), pad=(1, 0))
    stimulus = numbers(17, (1, 5, 4, 6), -192, 127)  # what lies below the range becomes zeros, to be skipped
    codes = np.where(stimulus < -128, 0, stimulus)
    return _named("conv_saturate", layer, codes), Layout(codes=MemoryLayout("NHWC"))


def powers_of_two() -> tuple[LayerTrace, Layout]:
    """Shift-add units of two guard bits: products round down before the sign, a code is given up for zero, lanes are packed."""
    weight = PowerOfTwo(-6, 0, ZeroCode.LAST)
    product = ShiftAdd(2, Rounding.FLOOR, SignOrder.AFTER_ROUNDING)
    accumulator = Accumulator(11, overflow=Overflow.SATURATE, schedule=Schedule(Order.CRS, 2, Axis.S, Tail.PACKED))
    contract = MacContract(S8, weight, Output(FixedPoint(8, 3)), accumulator, product=product)
    choice = numbers(18, (3, 2, 3, 3), 0, len(weight.codes) - 1)
    layer = Convolution(contract, np.array(weight.codes)[choice], numbers(19, (3,), -500, 500), stride=(2, 1))
    layout = Layout(weights=MemoryLayout("KCRS", lanes=9))
    return _named("pow2", layer, numbers(20, (1, 2, 7, 5), -128, 127)), layout


def stochastic() -> tuple[LayerTrace, Layout]:
    """Three images rounded by two 16-bit registers that are never loaded again: each image goes on where the last one ended."""
    rule = StochasticRounding(
        Lfsr(16, form=LfsrForm.GALOIS), (0xACE1, 0x1D0B), clocks=3, order=DrawOrder.YXK, tail=Tail.IDLE, reset=Reset.NEVER
    )
    lengths = (3, 2, -3)  # the last channel drops no bit and does not draw
    contract = MacContract(U8, FixedPoint(6, lengths), Output(FixedPoint(8, 1), rule), Accumulator(24))
    layer = Convolution(contract, numbers(21, (3, 2, 2, 2), -32, 31), numbers(22, (3,), -900, 900))
    trace = run_layer(layer, numbers(23, (3, 2, 4, 3), 0, 255).astype(np.uint8), backend="spec", first_image=5)
    return replace(trace, name="stochastic"), Layout()


def minifloat_exact() -> tuple[LayerTrace, Layout]:
    """E5M2 summed exactly in a register of 69 bits, two words each in npy; one rounding at the end, to E4M3 that saturates."""
    output = FloatOutput(replace(E4M3, saturate=True), Rounding.TIES_EVEN, Activation.RELU_AFTER_REQUANTIZE)
    contract = FloatMacContract(E5M2, E5M2, output, ExactSum(), BINARY16, Rounding.TIES_AWAY)
    middle = np.array([code for code in range(256) if 0x20 <= code & 0x7F < 0x4C])
    weight = middle[numbers(24, (3, 2, 2, 3), 0, len(middle) - 1)]
    weight[1:, 1, 0, 1] = 0xFB, 0x01  # the largest number's negative, and the smallest one
    stimulus = middle[numbers(25, (1, 2, 4, 5), 0, len(middle) - 1)]
    stimulus[0, 1, 2, 1:4] = 0x01, 0x7B, 0x81
    layer = Convolution(contract, weight, numbers(27, (3,), 0, 0x5FFF), pad=(0, 1))
    layout = Layout(codes=MemoryLayout("NHWC", lanes=2, byte_order=ByteOrder.BIG))
    return _named("minifloat_exact", layer, stimulus), layout


def minifloat_ordered() -> tuple[LayerTrace, Layout]:
    """E4M3 times powers of two, rounded to two bits; a register of 1 + 4 + 5 bits, rounded at each add of tree and order."""
    register = Minifloat(4, 5, saturate=True)
    schedule = Schedule(Order.SRC, 3, Axis.C, Tail.PACKED, Tree(Pairing.ADJACENT), BiasPoint.LAST, skip_zeros=ZeroSkip.WEIGHT)
    accumulator = FloatAccumulator(register, Rounding.TIES_EVEN, Minifloat(4, 2), Rounding.TOWARD_ZERO, schedule)
    contract = FloatMacContract(E4M3, PowerOfTwo(-5, 2), Output(FixedPoint(12, 3), Rounding.TIES_AWAY), accumulator)
    weight = numbers(28, (4, 3, 2, 2), 0, 8) + 16 * numbers(29, (4, 3, 2, 2), 0, 1)
    layer = Convolution(contract, np.where(weight == 16, 0, weight), numbers(30, (4,), 0, 0x17F))
    stimulus = numbers(31, (1, 3, 4, 5), 0x28, 0x67) + 128 * numbers(32, (1, 3, 4, 5), 0, 1)
    return _named("minifloat_ordered", layer, stimulus), Layout()


def affine() -> tuple[LayerTrace, Layout]:
    """TensorFlow Lite's convolution: zero points, a scale per channel, two roundings, ReLU6 as a clamp, padding at the end."""
    reals = (0.0078, 0.0039, 0.0153)
    scaling = make_multiplier(Scaling.HIGH_MULTIPLY, [quantized_multiplier(0.0235 * real / 0.0313) for real in reals])
    output = Output(Affine(8, 0.0313, -116), Rounding.TIES_AWAY, scaling=scaling, clamp_low=-116, clamp_high=76)
    contract = MacContract(Affine(8, 0.0235, 5), Affine(8, reals, narrow=True), output)
    weight, bias = numbers(33, (3, 2, 3, 2), -127, 127), np.array([20000, -900, 7000])
    layer = Convolution(contract, weight, bias, stride=(1, 2), pad=(0, 0), pad_end=(2, 1))
    return _named("affine", layer, numbers(34, (1, 2, 5, 6), -128, 127)), Layout(codes=MemoryLayout("NHWC"))


def affine_unsigned() -> tuple[LayerTrace, Layout]:
    """Weights of unsigned codes with a zero point of their own, an accumulator that wraps, one rounding, output saturated."""
    scaling = Multiplier(Scaling.MULTIPLY, 23170, 24)
    output = Output(Affine(8, 0.5, 128, signed=False), Rounding.TIES_UP, scaling=scaling)
    contract = MacContract(Affine(8, 0.0625, 77, signed=False), Affine(8, 0.125, 140, signed=False), output, Accumulator(16))
    layer = FullyConnected(contract, numbers(35, (4, 30), 90, 180), numbers(36, (4,), -30000, 30000))
    return _named("affine_unsigned", layer, numbers(37, (2, 5, 3, 2), 0, 255)), Layout()


def _named(name: str, layer: Convolution | FullyConnected, codes: np.ndarray) -> LayerTrace:
    return replace(run_layer(layer, codes.astype(layer.contract.input.dtype), backend="spec"), name=name)


def network() -> tuple[Trace, Layout]:
    """Every other kind of layer: image, rescale, both poolings and all count rules, sum, ReLU, concat, LRN and softmax."""
    image = ImageEncoding.from_real((104.0, 116.5, 122.25), 0.0625, Output(S8, Rounding.TIES_AWAY))
    low = FixedPoint(8, 6)
    contract = MacContract(S8, FixedPoint(8, 7), Output(S8, activation=Activation.RELU_BEFORE_REQUANTIZE))
    conv = Convolution(contract, numbers(12, (3, 3, 1, 1), -90, 127), numbers(13, (3,), -9999, 9999))
    window = Window((3, 2), (2, 1), (1, 1), ceil_mode=True)
    nodes = (
        QuantizedNode("data", (), image),
        QuantizedNode("conv/1x1", ("data",), conv),
        QuantizedNode("pool max", ("conv/1x1",), MaxPool(S8, window)),
        *(QuantizedNode(f"pool {c.name.lower()}", ("data",), AveragePool(S8, window, c, Output(S8))) for c in CountRule),
        QuantizedNode("rescale", ("pool caffe",), Rescale(S8, Output(low, Rounding.TIES_ODD))),
        QuantizedNode("sum", ("pool max", "rescale"), EltwiseSum((S8, low), Output(S8, Rounding.TIES_TO_ZERO))),
        QuantizedNode("relu", ("pool include_padding",), ReLU(S8)),
        QuantizedNode("concat", ("sum", "relu", "pool exclude_padding"), Concat(S8, 3)),
        QuantizedNode("lrn", ("concat",), HostLRN(S8, Region.ACROSS_CHANNELS, 5, 1.0, 0.75, 1.0, Output(low))),
        QuantizedNode("global", ("lrn",), AveragePool(low, Window(None), CountRule.EXCLUDE_PADDING, Output(FixedPoint(16, 12)))),
        QuantizedNode("prob", ("global",), Softmax(FixedPoint(16, 12))),
    )
    preprocessing = Preprocessing(ChannelOrder.BGR, (5, 4), (104.0, 116.5, 122.25), 0.0625)
    q = QuantizedNetwork("every_layer", nodes, Shape(3, 5, 4), preprocessing, "by hand")
    pixels = numbers(14, (1, 3, 5, 4), 0, 255).astype(np.uint8)
    return run(q, pixels, backend="spec"), Layout(codes=MemoryLayout("NHWCc", (("C", 4),), lanes=4))


def more_layers() -> tuple[Trace, Layout]:
    """Kinds that move codes or look them up, integer LRN with its table, transposed convolution."""
    image = ImageEncoding.from_real((128.0,), 0.03125, Output(S8))
    contract = MacContract(S8, FixedPoint(8, 7), Output(S8), Accumulator(24))
    weight, bias = numbers(38, (4, 1, 3, 2), -90, 90), numbers(39, (4,), -9999, 9999)
    spread = Deconvolution(contract, weight, bias, stride=(2, 1), pad=(1, 0))
    lrn = IntegerLRN.from_real(S8, Region.ACROSS_CHANNELS, 3, 1.0, 0.75, 1.0, Output(FixedPoint(8, 6)), TableDesign(32))
    low = FixedPoint(8, 6)
    nodes = (
        QuantizedNode("data", (), image),
        QuantizedNode("pad", ("data",), Pad(S8, (0, 1, 0), (0, 0, 2), 7)),
        QuantizedNode("deconv", ("pad",), spread),
        QuantizedNode("clamp", ("deconv",), Clamp(S8, -40, 96)),
        QuantizedNode("shuffle", ("clamp",), ChannelShuffle(S8, 2)),
        QuantizedNode("lrn", ("shuffle",), lrn),
        QuantizedNode("slice", ("lrn",), Slice(low, (1, 0, 1), (4, 5, 5), (2, 1, 2))),
        QuantizedNode("resize", ("slice",), ResizeNearest(low, Sampling(2, 3), Sampling(1, 2), (4, 3))),
        QuantizedNode("flatten", ("resize",), Flatten(low, FlattenOrder.HWC)),
    )
    preprocessing = Preprocessing(ChannelOrder.GRAY, (3, 4), (128.0,), 0.03125)
    q = QuantizedNetwork("more_layers", nodes, Shape(1, 3, 4), preprocessing, "by hand")
    return run(q, numbers(40, (1, 1, 3, 4), 0, 255).astype(np.uint8), backend="spec"), Layout()


def values() -> tuple[Trace, Layout]:
    """Kinds that look at one position: tables, slopes, products, extremes, shifts; softmax and stepped LRN, too."""
    low, amount = FixedPoint(6, 3), FixedPoint(3, 0, signed=False)
    curve = table_layer(tanh, S8, FixedPoint(8, 7))
    line = table_layer(sigmoid, S8, FixedPoint(10, 10, signed=False), fraction_bits=3)
    probability = Output(Affine(8, 1 / 256, -128), Rounding.TIES_AWAY)
    amounts = numbers(43, (3, 1, 1), 0, 3)
    nodes = (
        QuantizedNode("data", (), ImageEncoding.from_real((128.0,) * 3, 0.0625, Output(S8))),
        QuantizedNode("tanh", ("data",), curve),
        QuantizedNode("sigmoid", ("data",), line),
        QuantizedNode("prelu", ("data",), PReLU(S8, FixedPoint(6, 5), numbers(41, (3,), -31, 31), Output(S8, Rounding.TIES_UP))),
        QuantizedNode("product", ("tanh", "sigmoid"), EltwiseProduct((FixedPoint(8, 7), line.output_format), Output(S8))),
        QuantizedNode("max", ("prelu", "data"), EltwiseMax((S8, S8))),
        QuantizedNode("min", ("max",), EltwiseMin((S8,), True, numbers(42, (3, 1, 1), -20, 90), S8)),
        QuantizedNode("shift", ("min",), ArithmeticShiftRight((S8,), Rounding.TIES_UP, True, amounts, amount)),
        QuantizedNode("float", ("shift",), Rescale(S8, FloatOutput(E4M3))),
        QuantizedNode("lrn", ("float",), SteppedLRN.from_real(E4M3, 3, 1.0, 0.75, 1.0)),
        QuantizedNode("fixed", ("lrn",), Rescale(E4M3, Output(low))),
        QuantizedNode("sum", ("fixed", "product"), EltwiseSum((low, S8), Output(S8))),
        QuantizedNode("share", ("sum",), SoftmaxFixed.from_scale(S8, 1 / 16, probability)),
    )
    preprocessing = Preprocessing(ChannelOrder.RGB, (3, 4), (128.0,) * 3, 0.0625)
    q = QuantizedNetwork("values", nodes, Shape(3, 3, 4), preprocessing, "by hand")
    return run(q, numbers(44, (1, 3, 3, 4), 0, 255).astype(np.uint8), backend="spec"), Layout()


PACKAGES: dict[str, Callable[[], tuple[Trace | LayerTrace, Layout]]] = {
    "affine": affine,
    "affine_unsigned": affine_unsigned,
    "conv_ties": convolution_ties,
    "conv_wrap": convolution_wrap,
    "every_layer": network,
    "more_layers": more_layers,
    "conv_saturate": convolution_saturating,
    "fc_s16": fully_connected_s16,
    "minifloat_exact": minifloat_exact,
    "minifloat_ordered": minifloat_ordered,
    "pow2": powers_of_two,
    "ristretto": ristretto,
    "stochastic": stochastic,
    "values": values,
}


def regenerate(folder: Path) -> None:
    """Write every package into the folder, in place of what stands there under its name."""
    for name, make in PACKAGES.items():
        trace, layout = make()
        package = write_golden(trace, folder / name, layout=layout, force=True, command=COMMAND)
        print(f"{name}: {package.bytes:,} bytes, {len(package.layers)} layer(s)")


if __name__ == "__main__":
    regenerate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
