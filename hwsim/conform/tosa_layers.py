"""Each TOSA operator as a layer of hwsim: operator, attributes and operands in TOSA's layouts -> the layer's codes.

COMPUTE[operator](test, backend) returns the integers of the operator's result, unsigned ones as such.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.conform.tosa_tools import TosaTest
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.contract.operand import Operand
from hwsim.contract.reciprocals import full_reciprocals
from hwsim.contract.scaling import Multiplier
from hwsim.execute.single import run_layer
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import (
    ArithmeticShiftRight,
    AveragePool,
    Clamp,
    Concat,
    Convolution,
    EltwiseMax,
    EltwiseMin,
    EltwiseProduct,
    EltwiseSum,
    FullyConnected,
    Layer,
    MaxPool,
    Pad,
    Rescale,
    ResizeNearest,
    Shape,
    Slice,
)
from hwsim.layers.conv import MAX_PADDED
from hwsim.layers.deconv import Deconvolution
from hwsim.layers.lookup import LookupTable
from hwsim.layers.move import tosa_sampling
from hwsim.layers.pool import CountRule, Window

Compute = Callable[[TosaTest, str], np.ndarray]

BITS = {"BOOL": 2, "INT4": 4, "INT8": 8, "INT16": 16, "INT32": 32, "INT48": 48}
"""Of the formats that carry TOSA's types: the narrowest format of hwsim has two bits."""


def codes_of(kind: str, zero_point: int = 0, unsigned: bool = False) -> Affine:
    """Return TOSA's integers as a format: scale 1, since TOSA keeps no scales.

    zero_point: as TOSA stores it, in a signed type.

    >>> codes_of("INT8", -1, unsigned=True).zero_point
    255
    """
    bits = BITS[kind]
    return Affine(bits, 1.0, zero_point % (1 << bits) if unsigned else zero_point, not unsigned)


def as_unsigned(codes: np.ndarray, kind: str) -> np.ndarray:
    """Return the unsigned integers that TOSA stores in a signed type."""
    return codes.astype(np.int64) % (1 << BITS[kind])


def to_planes(pixels: np.ndarray) -> np.ndarray:
    """[N][H][W][C] -> [N][C][H][W]."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def from_planes(planes: np.ndarray) -> np.ndarray:
    """[N][C][H][W] -> [N][H][W][C]."""
    return planes.transpose(0, 2, 3, 1)


def to_lanes(tensor: np.ndarray) -> np.ndarray:
    """A tensor of any rank -> [1][C][M][1], its last axis the channels; a scalar has one."""
    channels = tensor.shape[-1] if tensor.ndim else 1
    return np.ascontiguousarray(tensor.reshape(-1, channels).T)[None, :, :, None]


def from_lanes(lanes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of to_lanes."""
    return lanes[0, :, :, 0].T.reshape(shape)


def run(layer: Layer, *inputs: np.ndarray, backend: str) -> np.ndarray:
    """Return a layer's codes."""
    return run_layer(layer, *inputs, backend=backend, acc=False).codes


def accumulated(x: str, x_zero: int, weight: str, weight_zero: int, output: str) -> MacContract:
    """The contract of TOSA's sums of products: exact ones in a register as wide as the output, which is the register."""
    register = Accumulator(bits=BITS[output], overflow=Overflow.WRAP)
    return MacContract(
        codes_of(x, x_zero), codes_of(weight, weight_zero), Output(codes_of(output), overflow=Overflow.WRAP), register
    )


def _scalar(array: np.ndarray) -> int:
    return int(array.reshape(-1)[0])


def _bias(bias: np.ndarray, channels: int) -> np.ndarray:
    return np.broadcast_to(bias.astype(np.int64), (channels,))


def conv2d(test: TosaTest, backend: str) -> np.ndarray:
    """A Convolution; TOSA's weights are [K][R][S][C]."""
    weight = test.arrays[1].transpose(0, 3, 1, 2)
    return _convolve(test, weight, 1, backend)


def depthwise_conv2d(test: TosaTest, backend: str) -> np.ndarray:
    """A Convolution with as many groups as input channels; TOSA's weights are [R][S][C][M], output channel c * M + m."""
    r, s, c, m = test.arrays[1].shape
    weight = test.arrays[1].reshape(r, s, c * m).transpose(2, 0, 1)[:, None]
    return _convolve(test, weight, c, backend)


def _convolve(test: TosaTest, weight: np.ndarray, groups: int, backend: str) -> np.ndarray:
    x, _, bias, x_zero, weight_zero = test.arrays
    contract = accumulated(test.types[0], _scalar(x_zero), test.types[1], _scalar(weight_zero), test.output_type)
    top, bottom, left, right = test.attributes["pad"]
    planes, biases = to_planes(x), _bias(bias, len(weight))
    if (x.shape[1] + top + bottom) * (x.shape[2] + left + right) * x.shape[3] > MAX_PADDED:
        return from_planes(_by_output(test, contract, planes, weight, biases, groups, backend))
    stride, dilation = tuple(test.attributes["stride"]), tuple(test.attributes["dilation"])
    layer = Convolution(contract, weight, biases, stride, (top, left), dilation, groups, pad_end=(bottom, right))
    return from_planes(run(layer, planes, backend=backend))


def _by_output(
    test: TosaTest, contract: MacContract, planes: np.ndarray, weight: np.ndarray, bias: np.ndarray, groups: int, backend: str
) -> np.ndarray:
    """Convolve where padding would make gigabytes: each output alone, by the part of the kernel that lies on the image.

    The taps in the padding are left out: their products are 0.
    """
    (top, bottom, left, right), dilation = test.attributes["pad"], test.attributes["dilation"]
    rows = _on_image(planes.shape[2], weight.shape[2], top, bottom, test.attributes["stride"][0], dilation[0])
    columns = _on_image(planes.shape[3], weight.shape[3], left, right, test.attributes["stride"][1], dilation[1])
    out = np.empty((len(planes), len(weight), len(rows), len(columns)), np.int64)
    for (y, (taps_y, image_y)), (x, (taps_x, image_x)) in product(enumerate(rows), enumerate(columns)):
        part, patch = weight[:, :, taps_y, taps_x], planes[:, :, image_y, image_x]
        if not part.size:  # all in the padding: one tap of zero weight leaves the bias
            part, patch = np.full_like(weight[:, :, :1, :1], _scalar(test.arrays[4])), planes[:, :, :1, :1]
        layer = Convolution(contract, part, bias, groups=groups)
        out[:, :, y, x] = run(layer, patch, backend=backend)[:, :, 0, 0]
    return out


def _on_image(extent: int, kernel: int, begin: int, end: int, stride: int, dilation: int) -> list[tuple[slice, slice]]:
    """For each output along an axis: which taps of the kernel lie on the image, and on which of its pixels."""
    spans = []
    for output in range((extent + begin + end - dilation * (kernel - 1) - 1) // stride + 1):
        origin = output * stride - begin
        first = max(-(origin // dilation), 0)
        last = min((extent - 1 - origin) // dilation, kernel - 1)
        if first > last:
            spans.append((slice(0, 0), slice(0, 0)))
            continue
        pixels = slice(origin + first * dilation, origin + last * dilation + 1, dilation)
        spans.append((slice(first, last + 1), pixels))
    return spans


def matmul(test: TosaTest, backend: str) -> np.ndarray:
    """For each matrix of the batch a FullyConnected, whose weights are the second operand's columns."""
    a, b, a_zero, b_zero = test.arrays
    contract = accumulated(test.types[0], _scalar(a_zero), test.types[1], _scalar(b_zero), test.output_type)
    out = [
        run(FullyConnected(contract, w.T), x[:, :, None, None], backend=backend)[:, :, 0, 0] for x, w in zip(a, b, strict=True)
    ]
    return np.stack(out)


ROUNDINGS = {
    "SINGLE_ROUND": Scaling.MULTIPLY,
    "DOUBLE_ROUND": Scaling.DOUBLE_ROUND,
    "INEXACT_ROUND": Scaling.MULTIPLY,  # any rule within the suite's range will do
}


def rescale(test: TosaTest, backend: str) -> np.ndarray:
    """A Rescale whose Multiplier is TOSA's; the channels are the last axis."""
    x, multiplier, shift, x_zero, out_zero = test.arrays
    options = test.attributes
    unsigned_in, unsigned_out = options["input_unsigned"], options["output_unsigned"]
    rule = ROUNDINGS[options["rounding_mode"]]
    scaling = Multiplier(rule, tuple(multiplier.tolist()), tuple(shift.tolist()))
    output = codes_of(test.output_type, _scalar(out_zero), unsigned_out)
    layer = Rescale(codes_of(test.types[0], _scalar(x_zero), unsigned_in), Output(output, Rounding.TIES_UP, scaling=scaling))
    codes = as_unsigned(x, test.types[0]) if unsigned_in else x
    return from_lanes(run(layer, to_lanes(codes), backend=backend), x.shape)


def arithmetic_right_shift(test: TosaTest, backend: str) -> np.ndarray:
    """An ArithmeticShiftRight, which rounds down, or half up."""
    kind, amount = codes_of(test.types[0]), FixedPoint(5, 0, False)
    rounding = Rounding.TIES_UP if test.attributes["round"] else Rounding.FLOOR
    return stretched(test, ArithmeticShiftRight((kind, amount), rounding), backend)


def stretched(test: TosaTest, layer: Layer, backend: str) -> np.ndarray:
    """Run a layer of two operands, stretched to one shape before."""
    a, b = np.broadcast_arrays(*test.arrays[:2])
    return from_lanes(run(layer, to_lanes(a), to_lanes(b), backend=backend), a.shape)


def clamp(test: TosaTest, backend: str) -> np.ndarray:
    """A Clamp."""
    kind = codes_of(test.types[0])
    low, high = (_limit(test, name) for name in ("min_val", "max_val"))
    layer = Clamp(kind, low, high)
    return from_lanes(run(layer, to_lanes(test.arrays[0]), backend=backend), test.arrays[0].shape)


def _limit(test: TosaTest, name: str) -> int:
    stored = bytes(test.attributes[name])[: BITS[test.types[0]] // 8]
    return int.from_bytes(stored, "little", signed=True)


def add(test: TosaTest, backend: str) -> np.ndarray:
    """An EltwiseSum."""
    kind = codes_of(test.output_type)
    return stretched(test, EltwiseSum((kind, kind), Output(kind, overflow=Overflow.WRAP)), backend)


def sub(test: TosaTest, backend: str) -> np.ndarray:
    """An EltwiseSum whose second operand is negated."""
    kind = codes_of(test.output_type)
    output = Output(kind, overflow=Overflow.WRAP)
    return stretched(test, EltwiseSum((kind, kind), output, (Operand(), Operand(negate=True))), backend)


def mul(test: TosaTest, backend: str) -> np.ndarray:
    """An EltwiseProduct; of int32 the shift, half up, stands in the output's fractional length."""
    kind, bits = FixedPoint(BITS[test.types[0]], 0), BITS[test.output_type]
    output = Output(FixedPoint(bits, -_scalar(test.arrays[2])), Rounding.TIES_UP, Overflow.WRAP)
    return stretched(test, EltwiseProduct((kind, kind), output), backend)


def maximum(test: TosaTest, backend: str) -> np.ndarray:
    """An EltwiseMax."""
    kind = codes_of(test.output_type)
    return stretched(test, EltwiseMax((kind, kind)), backend)


def minimum(test: TosaTest, backend: str) -> np.ndarray:
    """An EltwiseMin."""
    kind = codes_of(test.output_type)
    return stretched(test, EltwiseMin((kind, kind)), backend)


def negate(test: TosaTest, backend: str) -> np.ndarray:
    """An EltwiseSum of the negated operand and a constant 0."""
    x, x_zero, out_zero = test.arrays
    output = Output(codes_of(test.output_type, _scalar(out_zero)))
    kinds = codes_of(test.types[0], _scalar(x_zero)), codes_of(test.types[0])
    nothing, terms = np.zeros((1, 1, 1), np.int64), (Operand(negate=True), Operand())
    layer = EltwiseSum(kinds[:1], output, terms, constant=nothing, constant_format=kinds[1])
    return from_lanes(run(layer, to_lanes(x), backend=backend), x.shape)


def transpose_conv2d(test: TosaTest, backend: str) -> np.ndarray:
    """A Deconvolution; TOSA's weights are [K][R][S][C], and its out_pad adds where ours cuts off."""
    x, weight, bias, x_zero, weight_zero = test.arrays
    contract = accumulated(test.types[0], _scalar(x_zero), test.types[1], _scalar(weight_zero), test.output_type)
    top, bottom, left, right = test.attributes["out_pad"]
    stride = tuple(test.attributes["stride"])
    turned, biases = weight.transpose(0, 3, 1, 2), _bias(bias, len(weight))
    layer = Deconvolution(contract, turned, biases, stride, (-top, -left), pad_end=(-bottom, -right))
    return from_planes(run(layer, to_planes(x), backend=backend))


def max_pool2d(test: TosaTest, backend: str) -> np.ndarray:
    """A MaxPool."""
    layer = MaxPool(codes_of(test.types[0]), _window(test))
    return from_planes(run(layer, to_planes(test.arrays[0]), backend=backend))


def avg_pool2d(test: TosaTest, backend: str) -> np.ndarray:
    """An AveragePool by TOSA's reciprocals of the pixels that each window has on the image; half up."""
    x, x_zero, out_zero = test.arrays
    window, planes = _window(test), to_planes(x)
    shape, sizes = Shape(*planes.shape[1:]), test.expected.shape[1:3]
    rows, columns = ({window.counted(axis, shape, i, CountRule.EXCLUDE_PADDING) for i in range(sizes[axis])} for axis in range(2))
    division = full_reciprocals(sorted({r * c for r in rows for c in columns}))
    output = Output(codes_of(test.output_type, _scalar(out_zero)), Rounding.TIES_UP)
    kind = codes_of(test.types[0], _scalar(x_zero))
    layer = AveragePool(kind, window, CountRule.EXCLUDE_PADDING, output, division=division)
    return from_planes(run(layer, planes, backend=backend))


def _window(test: TosaTest) -> Window:
    top, bottom, left, right = test.attributes["pad"]
    return Window(tuple(test.attributes["kernel"]), tuple(test.attributes["stride"]), (top, left), pad_end=(bottom, right))


def pad(test: TosaTest, backend: str) -> np.ndarray:
    """For each axis a Pad of the channels, which are made of that axis."""
    x, padding, value = test.arrays
    x, kind = x.astype(np.int64), codes_of(test.types[0])
    for axis, (before, after) in enumerate(padding.reshape(-1, 2).tolist()):
        layer = Pad(kind, (before, 0, 0), (after, 0, 0), _scalar(value))
        x = along_channels(layer, x, axis, backend)
    return x


def slice_(test: TosaTest, backend: str) -> np.ndarray:
    """For each axis a Slice of the channels, which are made of that axis."""
    x, start, size = test.arrays
    x = x.astype(np.int64)
    for axis, (first, count) in enumerate(zip(start.tolist(), size.tolist(), strict=True)):
        lengths = _sides(x.shape, axis)
        layer = Slice(codes_of(test.types[0]), (first, 0, 0), (first + count, lengths[2], 1))
        x = along_channels(layer, x, axis, backend)
    return x


def along_channels(layer: Layer, x: np.ndarray, axis: int, backend: str) -> np.ndarray:
    """Run a layer that works on channels along any axis of a tensor of any rank."""
    out = run(layer, x.reshape(*_sides(x.shape, axis), 1), backend=backend)
    return out.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])


def _sides(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """How many elements lie before, on and behind an axis."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def resize(test: TosaTest, backend: str) -> np.ndarray:
    """A ResizeNearest; bilinear ones are left out of the suite."""
    x, scale, offset, _ = test.arrays
    rules = [tosa_sampling(int(scale[2 * i]), int(scale[2 * i + 1]), int(offset[i])) for i in range(2)]
    layer = ResizeNearest(codes_of(test.types[0]), rules[0], rules[1], test.expected.shape[1:3])
    return from_planes(run(layer, to_planes(x), backend=backend))


def table(test: TosaTest, backend: str) -> np.ndarray:
    """A LookupTable; of int16 with 7 bits between entries, none of which is dropped."""
    x, entries = test.arrays
    fraction_bits = 7 if test.types[0] == "INT16" else 0
    layer = LookupTable(codes_of(test.types[0]), codes_of(test.output_type), entries, fraction_bits)
    return from_lanes(run(layer, to_lanes(x), backend=backend), x.shape)


def concat(test: TosaTest, backend: str) -> np.ndarray:
    """A Concat along the channels, which are made of the axis that TOSA names."""
    axis = test.attributes["axis"]
    rows = [x.astype(np.int64).reshape(*_sides(x.shape, axis), 1) for x in test.arrays]
    return run(Concat(codes_of(test.types[0]), len(rows)), *rows, backend=backend).reshape(test.expected.shape)


COMPUTE: dict[str, Compute] = {
    "ADD": add,
    "ARITHMETIC_RIGHT_SHIFT": arithmetic_right_shift,
    "AVG_POOL2D": avg_pool2d,
    "CLAMP": clamp,
    "CONCAT": concat,
    "CONV2D": conv2d,
    "DEPTHWISE_CONV2D": depthwise_conv2d,
    "MATMUL": matmul,
    "MAXIMUM": maximum,
    "MAX_POOL2D": max_pool2d,
    "MINIMUM": minimum,
    "MUL": mul,
    "NEGATE": negate,
    "PAD": pad,
    "RESCALE": rescale,
    "RESIZE": resize,
    "SLICE": slice_,
    "SUB": sub,
    "TABLE": table,
    "TRANSPOSE_CONV2D": transpose_conv2d,
}
