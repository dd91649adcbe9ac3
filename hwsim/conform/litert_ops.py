"""The suite litert: generated models of one operator, and what TensorFlow Lite's reference kernels make of them.

A case is the bytes of a .tflite file. hwsim reads them as it reads any file, takes the layers that the reader makes of the
operator, and runs them; LiteRT runs the same bytes with its resolver BUILTIN_REF. Shapes have axes of different length, scales
and zero points are random, and biases lie where the outputs are spread over all codes, clipped ones included. Random sums seldom
tell one rounding from another, so in every second model all scales are powers of two, and every third one that has a bias has
nothing else: its accumulators lie on and beside the ties.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwsim.conform.report import Progress
from hwsim.conform.suite import Case, Suite
from hwsim.contract.requantizers import TFLITE_RULES
from hwsim.errors import InputError
from hwsim.execute.single import run_layer
from hwsim.layers import Layer, Shape
from hwsim.network.lower.tflite import COMBINATIONS, OPERATORS
from hwsim.network.lower.tflite_combine import pair
from hwsim.network.lower.tflite_site import Site, plane_shape
from hwsim.network.tflite_file import parse_tflite

if TYPE_CHECKING:
    from hwsim.conform.litert_models import T

SHAPES = 30
"""Models for each operator and type."""

MANY = 64
"""Channels of a crafted model."""

LIMITS = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
FUSED = (0, 0, 1, 2, 3)
"""NONE twice, RELU, RELU_N1_TO_1, RELU6, by the schema's code."""


class Model(NamedTuple):
    """The bytes of a .tflite file and what it is fed, in the order of its inputs."""

    data: bytes
    feeds: tuple[np.ndarray, ...]


def open_suite(operators: Sequence[str] | None, progress: Progress | None) -> Suite:
    """The generated models; InputError where LiteRT is not installed."""
    try:
        from hwsim.conform.litert_models import VERSION
    except ImportError:
        raise InputError("suite litert: ai-edge-litert is not installed here; `pip install ai-edge-litert` brings it.") from None
    names = [name for name in MAKERS if operators is None or name in operators]
    cases = [_case(name, dtype, number) for name in names for dtype in MAKERS[name][1] for number in range(SHAPES)]
    return Suite("litert", "generated single operators, quantized", f"LiteRT {VERSION}, BUILTIN_REF", cases)


class Generated:
    """A model made when it is first needed: its name is its seed."""

    def __init__(self, operator: str, dtype: str, number: int) -> None:
        self.operator, self.dtype, self.number = operator, dtype, number
        self.name = f"{operator.lower()}_{dtype}_{number}"

    @cached_property
    def model(self) -> Model:
        """The model."""
        return MAKERS[self.operator][0](Draw(self.name, self.dtype, self.number))

    def expected(self) -> np.ndarray:
        """What the reference kernel gives."""
        from hwsim.conform.litert_models import Reference

        return Reference(self.model.data).run(*self.model.feeds)

    def compute(self, backend: str) -> np.ndarray:
        """What hwsim's layers give, in TensorFlow's order of axes."""
        model = parse_tflite(self.model.data, self.name)
        (operator,) = model.operators
        if operator.name == "TRANSPOSE_CONV":  # it reads a size first; the reader takes the image, weights and bias
            operator = replace(operator, inputs=(operator.inputs[2], operator.inputs[1], *operator.inputs[3:]))
        codes = [_planes(feed) for feed in self.model.feeds]
        shape = plane_shape(model.tensors[model.inputs[0]], self.name)
        site = Site(model, operator, self.name, shape, TFLITE_RULES)
        for layer in _layers(site, codes):
            codes = [run_layer(layer, *codes, backend=backend, acc=False).codes]
        return codes[0].transpose(0, 2, 3, 1).reshape(model.tensors[operator.outputs[0]].shape)


def _layers(site: Site, codes: Sequence[np.ndarray]) -> list[Layer]:
    """The layers that hwsim's reader makes of the operator."""
    if site.operator.name in COMBINATIONS:
        return COMBINATIONS[site.operator.name](site, pair(site, [Shape(*planes.shape[1:]) for planes in codes]))
    return OPERATORS[site.operator.name](site)


def _planes(feed: np.ndarray) -> np.ndarray:
    """[1][H][W][C] or [1][C] -> [1][C][H][W]."""
    pixels = feed if feed.ndim == 4 else feed[:, None, None, :]
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _case(operator: str, dtype: str, number: int) -> Case:
    made = Generated(operator, dtype, number)
    return Case(operator, made.name, made.compute, made.expected)


class Draw:
    """Random numbers of one model. name: its seed.  dtype: of what flows.

    tied: whether all scales are powers of two.  crafted: whether accumulators are biases alone, on and beside ties.
    """

    def __init__(self, name: str, dtype: str, number: int) -> None:
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.dtype, (self.low, self.high) = dtype, LIMITS[dtype]
        self.tied, self.crafted = number % 2 == 1, number % 3 == 2

    def number(self, low: int, high: int) -> int:
        """One of low..high."""
        return int(self.rng.integers(low, high + 1))

    def scale(self, around: float = 0.05) -> float:
        """A float32 near `around`."""
        drawn = around * np.exp(self.rng.uniform(-0.7, 0.7))
        return float(2.0 ** np.rint(np.log2(drawn))) if self.tied else float(np.float32(drawn))

    def coarser(self, x: T) -> T:
        """An output of x's shape whose scale is up to ten times as large: two roundings are then far from one."""
        return self.tensor(x.shape, self.scale(x.scales[0] * float(np.exp(self.rng.uniform(-0.5, 2.0)))))

    def zero(self) -> int:
        """A zero point; 16-bit codes have none."""
        return 0 if self.dtype == "int16" else self.number(self.low, self.high)

    def codes(self, shape: tuple[int, ...], dtype: str | None = None, low: int | None = None) -> np.ndarray:
        """Codes of the whole range, its ends made likely."""
        kind = dtype or self.dtype
        least, most = LIMITS[kind]
        least = least if low is None else low
        drawn, ends = self.rng.integers(least, most + 1, shape), self.rng.random(shape)
        return np.where(ends < 0.03, least, np.where(ends > 0.97, most, drawn)).astype(kind)

    def tensor(self, shape: tuple[int, ...], scale: float | None = None, zero: int | None = None) -> T:
        """What flows."""
        from hwsim.conform.litert_models import T

        return T(shape, self.dtype, (self.scale() if scale is None else scale,), (self.zero() if zero is None else zero,))

    def weights(self, shape: tuple[int, ...], axis: int) -> T:
        """Weights: uint8 with a zero point, else int8 with a scale for each channel on `axis`, -128 not used.

        Crafted ones are all real 0.
        """
        from hwsim.conform.litert_models import constant

        if self.dtype == "uint8":
            zero = self.number(0, 255)
            return constant(np.full(shape, zero, np.uint8) if self.crafted else self.codes(shape), (self.scale(0.01),), (zero,))
        scales = tuple(self.scale(0.01) for _ in range(shape[axis]))
        codes = np.zeros(shape, np.int8) if self.crafted else self.codes(shape, "int8", -127)
        return constant(codes, scales, (0,) * len(scales), axis)

    def bias(self, x: T, weight: T, output: T, taps: int) -> T:
        """A bias of the size that the sum of the products has, on the products' scales; crafted: on and beside ties."""
        from hwsim.conform.litert_models import constant

        channels, wide = output.shape[-1], self.dtype == "int16"
        scales = tuple(float(np.float32(x.scales[0]) * np.float32(scale)) for scale in weight.scales)
        reach = int((self.high - self.low) * 40 * np.sqrt(taps))
        codes = self.rng.integers(-reach, reach + 1, channels)
        if self.crafted:
            ties = self.rng.integers(self.low, self.high + 1, channels) / 2 + 0.5
            codes = np.rint(ties * output.scales[0] / np.array(scales)).astype(np.int64) + self.rng.integers(-1, 2, channels)
        return constant(codes.astype(np.int64 if wide else np.int32), scales, (0,) * len(scales))

    def output(self, shape: tuple[int, ...], x: T, weight: T, taps: int) -> T:
        """An output whose codes the sums spread over, a little beyond them; crafted: 2 to 2,000 products wide."""
        product = x.scales[0] * float(np.median(weight.scales))
        if self.crafted:
            return self.tensor(shape, self.scale(product * 2.0 ** self.number(1, 11)))
        return self.tensor(shape, self.scale(80 * product * float(np.sqrt(taps))))


def _window(extent: int, kernel: int, stride: int, dilation: int, valid: bool) -> int:
    """Outputs along an axis."""
    return (extent - (kernel - 1) * dilation - 1) // stride + 1 if valid else -(-extent // stride)


def _convolution(depthwise: bool, draw: Draw) -> Model:
    from hwsim.conform.litert_models import single

    h, w, c = draw.number(5, 11), draw.number(6, 13), draw.number(1, 5)
    r, s, stride, dilation = draw.number(1, 4), draw.number(1, 5), draw.number(1, 3), draw.number(1, 2)
    if (r - 1) * dilation >= h or (s - 1) * dilation >= w or stride > 1:
        dilation = 1
    if draw.crafted:
        h = w = c = r = s = stride = dilation = 1
    multiplier = MANY if draw.crafted else draw.number(1, 3)
    k = c * multiplier if depthwise or draw.crafted else draw.number(1, 7)
    valid = draw.number(0, 1)
    x = draw.tensor((1, h, w, c))
    weight = draw.weights((1, r, s, k) if depthwise else (k, r, s, c), 3 if depthwise else 0)
    taps = r * s * (1 if depthwise else c)
    shape = (1, _window(h, r, stride, dilation, bool(valid)), _window(w, s, stride, dilation, bool(valid)), k)
    fields: dict[str, Any] = {"strideH": stride, "strideW": stride, "dilationHFactor": dilation, "dilationWFactor": dilation}
    fields |= {"padding": valid, "fusedActivationFunction": FUSED[draw.number(0, 4)]}
    fields |= {"depthMultiplier": multiplier} if depthwise else {}
    name, options = ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions") if depthwise else ("CONV_2D", "Conv2DOptions")
    output = draw.output(shape, x, weight, taps)
    inputs = [x, weight, draw.bias(x, weight, output, taps)]
    return Model(single(name, options, fields, inputs, output, 3), (draw.codes(x.shape),))


def _fully_connected(draw: Draw) -> Model:
    from hwsim.conform.litert_models import single

    inputs, outputs = draw.number(3, 70), draw.number(8, 60)
    x = draw.tensor((1, inputs))
    weight = draw.weights((outputs, inputs), 0)
    if draw.dtype != "uint8":
        weight = type(weight)(weight.shape, weight.dtype, weight.scales[:1], (0,), 0, weight.data)
    fields = {"fusedActivationFunction": FUSED[draw.number(0, 4)]}
    output = draw.output((1, outputs), x, weight, inputs)
    bias = draw.bias(x, weight, output, inputs)
    return Model(single("FULLY_CONNECTED", "FullyConnectedOptions", fields, [x, weight, bias], output, 4), (draw.codes(x.shape),))


def _pool(name: str, draw: Draw) -> Model:
    from hwsim.conform.litert_models import single

    h, w, c = draw.number(5, 11), draw.number(6, 13), draw.number(1, 5)
    r, s, stride, valid = draw.number(1, 5), draw.number(1, 5), draw.number(1, 3), draw.number(0, 1)
    x = draw.tensor((1, h, w, c))
    shape = (1, _window(h, r, stride, 1, bool(valid)), _window(w, s, stride, 1, bool(valid)), c)
    fields = {"strideH": stride, "strideW": stride, "filterHeight": r, "filterWidth": s}
    fields |= {"padding": valid, "fusedActivationFunction": FUSED[draw.number(0, 4)]}
    output = draw.tensor(shape, x.scales[0], x.zero_points[0])
    return Model(single(name, "Pool2DOptions", fields, [x], output, 2), (draw.codes(x.shape),))


def _two(name: str, draw: Draw) -> Model:
    """ADD, SUB or MUL of two inputs of one shape."""
    from hwsim.conform.litert_models import single

    shape = (1, draw.number(2, 7), draw.number(3, 9), draw.number(1, 5))
    a, b = draw.tensor(shape), draw.tensor(shape)
    around = a.scales[0] * b.scales[0] * draw.high / 2 if name == "MUL" else a.scales[0] + b.scales[0]
    fields: dict[str, Any] = {"fusedActivationFunction": FUSED[draw.number(0, 4)]}
    fields |= {} if name == "MUL" else {"potScaleInt16": False}
    output = draw.tensor(shape, draw.scale(around))
    return Model(single(name, f"{name.title()}Options", fields, [a, b], output, 2), (draw.codes(shape), draw.codes(shape)))


def _one(name: str, draw: Draw) -> Model:
    """QUANTIZE, RELU, RELU6 or RELU_N1_TO_1: from one scale to another."""
    from hwsim.conform.litert_models import single

    shape = (1, draw.number(2, 7), draw.number(3, 9), draw.number(1, 5))
    x = draw.tensor(shape)
    options = "QuantizeOptions" if name == "QUANTIZE" else ""
    return Model(single(name, options, {}, [x], draw.coarser(x), 2), (draw.codes(shape),))


def _extreme(name: str, draw: Draw) -> Model:
    """MAXIMUM or MINIMUM of two inputs of one shape and format."""
    from hwsim.conform.litert_models import single

    a = draw.tensor((1, draw.number(2, 7), draw.number(3, 9), draw.number(1, 5)))
    b, output = (draw.tensor(a.shape, a.scales[0], a.zero_points[0]) for _ in range(2))
    return Model(single(name, "MaximumMinimumOptions", {}, [a, b], output, 2), (draw.codes(a.shape), draw.codes(a.shape)))


def _pad(draw: Draw) -> Model:
    from hwsim.conform.litert_models import constant, single

    h, w, c = draw.number(2, 7), draw.number(3, 9), draw.number(1, 5)
    amounts = np.array([[0, 0], *([draw.number(0, 3), draw.number(0, 4)] for _ in range(3))], np.int32)
    x = draw.tensor((1, h, w, c))
    shape = tuple(int(side + before + after) for side, (before, after) in zip(x.shape, amounts, strict=True))
    output = draw.tensor(shape, x.scales[0], x.zero_points[0])
    return Model(single("PAD", "PadOptions", {}, [x, constant(amounts)], output, 2), (draw.codes(x.shape),))


def _resize(draw: Draw) -> Model:
    from hwsim.conform.litert_models import constant, single

    x = draw.tensor((1, draw.number(2, 9), draw.number(3, 11), draw.number(1, 4)))
    size, mode = (draw.number(1, 17), draw.number(2, 19)), draw.number(0, 2)
    output = draw.tensor((1, *size, x.shape[3]), x.scales[0], x.zero_points[0])
    fields = {"alignCorners": mode == 1, "halfPixelCenters": mode == 2}
    inputs = [x, constant(np.array(size, np.int32))]
    model = single("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", fields, inputs, output, 3)
    return Model(model, (draw.codes(x.shape),))


def _softmax(draw: Draw) -> Model:
    from hwsim.conform.litert_models import T, single

    x = draw.tensor((1, draw.number(2, 60)), draw.scale(0.1))
    output = T(x.shape, draw.dtype, (1 / 256,), (draw.low,))
    return Model(single("SOFTMAX", "SoftmaxOptions", {"beta": 1.0}, [x], output, 2), (draw.codes(x.shape),))


def _curve(name: str, draw: Draw) -> Model:
    """LOGISTIC or TANH: their output scales are fixed."""
    from hwsim.conform.litert_models import T, single

    x = draw.tensor((1, draw.number(2, 7), draw.number(3, 9), draw.number(1, 5)), draw.scale(0.04))
    middle = 0 if draw.low else 128
    scale, zero = (1 / 256, draw.low) if name == "LOGISTIC" else (1 / 128, middle)
    return Model(single(name, "", {}, [x], T(x.shape, draw.dtype, (scale,), (zero,)), 2), (draw.codes(x.shape),))


def _leaky(draw: Draw) -> Model:
    from hwsim.conform.litert_models import single

    x = draw.tensor((1, draw.number(2, 7), draw.number(3, 9), draw.number(1, 5)))
    output, alpha = draw.coarser(x), float(np.float32(draw.rng.uniform(0.01, 0.6)))
    return Model(single("LEAKY_RELU", "LeakyReluOptions", {"alpha": alpha}, [x], output, 2), (draw.codes(x.shape),))


def _prelu(draw: Draw) -> Model:
    from hwsim.conform.litert_models import constant, single

    x = draw.tensor((1, draw.number(2, 7), draw.number(3, 9), draw.number(2, 5)))
    slopes = constant(draw.codes((1, 1, x.shape[3])), (draw.scale(0.005),), (draw.zero(),))
    output = draw.coarser(x)
    return Model(single("PRELU", "", {}, [x, slopes], output, 1), (draw.codes(x.shape),))


def _transposed(draw: Draw) -> Model:
    from hwsim.conform.litert_models import constant, single

    h, w, c, k = draw.number(2, 6), draw.number(3, 7), draw.number(1, 4), draw.number(1, 5)
    r, s, stride, valid = draw.number(1, 4), draw.number(1, 5), draw.number(1, 3), draw.number(0, 1)
    if draw.crafted:
        h, w, c, k, r, s, stride = 1, 1, 1, MANY, 1, 1, 1
    x, weight = draw.tensor((1, h, w, c)), draw.weights((k, r, s, c), 0)
    shape = (1, *((side - 1) * stride + taps if valid else side * stride for side, taps in ((h, r), (w, s))), k)
    fields = {"strideH": stride, "strideW": stride, "padding": valid, "fusedActivationFunction": FUSED[draw.number(0, 4)]}
    output = draw.output(shape, x, weight, r * s * c)
    inputs = [constant(np.array(shape, np.int32)), weight, x, draw.bias(x, weight, output, r * s * c)]
    return Model(single("TRANSPOSE_CONV", "TransposeConvOptions", fields, inputs, output, 4), (draw.codes(x.shape),))


def _mean(draw: Draw) -> Model:
    from hwsim.conform.litert_models import constant, single

    h, w, c = draw.number(1, 9), draw.number(1, 8), draw.number(1, 7)
    x, axes = draw.tensor((1, h, w, c)), constant(np.array([1, 2], np.int32))
    output = draw.tensor((1, c), draw.scale(x.scales[0] / 2))
    return Model(single("MEAN", "ReducerOptions", {"keepDims": False}, [x, axes], output, 2), (draw.codes(x.shape),))


BYTES, ALL = ("uint8", "int8"), ("uint8", "int8", "int16")

MAKERS: dict[str, tuple[Callable[[Draw], Model], tuple[str, ...]]] = {
    "CONV_2D": (partial(_convolution, False), ALL),
    "DEPTHWISE_CONV_2D": (partial(_convolution, True), ALL),
    "FULLY_CONNECTED": (_fully_connected, ALL),
    "AVERAGE_POOL_2D": (partial(_pool, "AVERAGE_POOL_2D"), ALL),
    "MAX_POOL_2D": (partial(_pool, "MAX_POOL_2D"), ALL),
    "MEAN": (_mean, BYTES),
    "QUANTIZE": (partial(_one, "QUANTIZE"), ALL),
    "RELU": (partial(_one, "RELU"), BYTES),
    "RELU6": (partial(_one, "RELU6"), BYTES),
    "ADD": (partial(_two, "ADD"), ALL),
    "SUB": (partial(_two, "SUB"), ALL),
    "MUL": (partial(_two, "MUL"), ALL),
    "MAXIMUM": (partial(_extreme, "MAXIMUM"), BYTES),
    "MINIMUM": (partial(_extreme, "MINIMUM"), BYTES),
    "PAD": (_pad, ALL),
    "RESIZE_NEAREST_NEIGHBOR": (_resize, ALL),
    "SOFTMAX": (_softmax, BYTES),
    "LOGISTIC": (partial(_curve, "LOGISTIC"), BYTES),
    "TANH": (partial(_curve, "TANH"), BYTES),
    "LEAKY_RELU": (_leaky, BYTES),
    "PRELU": (_prelu, BYTES),
    "TRANSPOSE_CONV": (_transposed, ALL),
}
"""Operator -> how a model of it is made, and for which types."""
