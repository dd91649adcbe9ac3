"""TensorFlow's first eight-bit scheme (2017): ranges found at run time, and weights alone stored in eight bits.

Between [low, high] lie 256 levels, level 0 at low. A convolution takes uint8 codes of input and weights, sums (x - zx)(w - zw) in
32 bits, and the range of the sums that are there, 0 included, becomes that of its uint8 output: so a layer's scale is another for
each image.  All else (bias, activations, pooling) runs in float32 between: codes become real numbers behind each convolution and
are quantized again, by what is there, before the next.
Source: TensorFlow, core/kernels/quantization_utils.h, quantize_op.cc, quantized_conv_ops.cc, requantization_range_op.cc and
tools/graph_transforms (quantize_nodes, quantize_weights).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hwsim.errors import InputError
from hwsim.network import ops
from hwsim.network.graph import Network, Node
from hwsim.network.lower.fold import fold
from hwsim.quantize.float_layers import float_layer, windows

F32 = np.float32
LEVELS = 256
HIGHEST, LOWEST = (1 << 31) - 1, -(1 << 31)
SMALL = 1024
"""Weights of fewer elements stay in float: quantize_weights leaves them (its minimum_size)."""


@dataclass(frozen=True, eq=False)
class Levels:
    """uint8 codes and the real numbers of code 0 and code 255, float32.

    >>> quantized(np.array([-1.0, 0.0, 3.0], dtype=np.float32)).codes.tolist()
    [0, 64, 255]
    """

    codes: np.ndarray
    low: float
    high: float

    @property
    def zero(self) -> int:
        """The code of real 0, which may lie outside 0..255: round(0 * scale) - round(low * scale), in doubles."""
        return 0 if self.low == self.high else -int(_away(float(self.low) * _double_scale(self.low, self.high)))

    @property
    def level(self) -> np.float32:
        """The real value of one code, float32."""
        return F32((F32(self.high) - F32(self.low)) / F32(LEVELS - 1))

    def real(self) -> np.ndarray:
        """Dequantize, MIN_FIRST: round(low / scale) * scale + code * scale, in float32."""
        if self.low == self.high:
            return np.full(self.codes.shape, F32(self.low))
        scale = F32(float(F32(self.high) - F32(self.low)) / (LEVELS - 1.0))
        lowest = F32(_away(F32(F32(self.low) / scale))) * scale
        return np.asarray(lowest + self.codes.astype(F32) * scale, dtype=F32)


def _away(x: np.ndarray | float) -> np.ndarray:
    """round(x) as C has it: ties away from zero; exact, since half a unit is taken off the fraction alone."""
    whole = np.trunc(x)
    return np.asarray(whole + np.copysign(np.abs(np.asarray(x) - whole) >= 0.5, x))


def _double_scale(low: float, high: float) -> float:
    """Codes per real unit, in doubles, of a float32 difference."""
    return LEVELS / (float(F32(high) - F32(low)) * (LEVELS / (LEVELS - 1.0)))


def nudged(low: float, high: float) -> tuple[float, float]:
    """The range that QuantizeV2 takes: 0 in it, and at least a hundredth of max(1, |low|, |high|) wide.

    >>> nudged(0.5, 0.5)[1] == float(np.float32(0.5)), nudged(0.0, 0.0)[1] == float(np.float32(0.01))
    (True, True)
    """
    least = F32(max(F32(1.0), abs(F32(low)), abs(F32(high)))) / F32(100.0)
    bottom = F32(min(F32(0.0), F32(low)))
    return float(bottom), float(max(F32(0.0), F32(high), bottom + least))


def quantized(real: np.ndarray) -> Levels:
    """QuantizeV2, MIN_FIRST, by the array's own smallest and largest value: code = round(x * scale) - round(low * scale).

    real: float32, finite.  scale and products are float32; ties away.
    """
    return quantized_between(real, *nudged(float(real.min()), float(real.max())))


def quantized_between(real: np.ndarray, low: float, high: float) -> Levels:
    """The same by a given range, low < high."""
    scale = F32((LEVELS - 1.0) / float(F32(high) - F32(low)))
    codes = _away(real.astype(F32) * scale) - _away(F32(low) * scale)
    return Levels(np.clip(codes, 0, LEVELS - 1).astype(np.uint8), low, high)


def min_combined(real: np.ndarray, low: float, high: float) -> Levels:
    """QuantizeV2, MIN_COMBINED: code = floor((x - low) * scale + 1/2) in float32; x within the range first."""
    scale = F32(F32(LEVELS - 1) / (F32(high) - F32(low)))
    inside = np.minimum(np.maximum(real.astype(F32), F32(low)), F32(high))
    return Levels(np.floor((inside - F32(low)) * scale + F32(0.5)).astype(np.uint8), low, high)


def sum_range(x: Levels, w: Levels) -> tuple[np.float32, np.float32]:
    """The real numbers that the smallest and the largest int32 stand for: one is worth a level of x times a level of w."""
    step = F32(x.level * w.level)
    return F32(step * F32(LOWEST)), F32(step * F32(HIGHEST))


def real_sum(value: int, low: np.float32, high: np.float32) -> np.float32:
    """QuantizedToFloat of an int32, in doubles, the lowest number rounded by a float32 scale, as TensorFlow has it."""
    steps = 1 << 32
    scale = float(high - low) * (steps / (steps - 1.0)) / steps
    lowest = float(_away(F32(low / F32(scale)))) * float(F32(scale))
    return F32(lowest + (float(value) - LOWEST) * scale)


def requantized(sums: np.ndarray, low: np.float32, high: np.float32) -> Levels:
    """RequantizationRange, then Requantize: 32-bit sums to uint8 by the smallest and largest that are there, 0 included.

    code = ((sum * scale >> 32) + offset_in - offset_out + 2**15) >> 16, the three constants cut off behind 16 binary places.
    """
    new_low = min(F32(0.0), real_sum(int(sums.min()), low, high))
    new_high = real_sum(int(sums.max()), low, high)
    span, new_span = F32(high - low), F32(new_high - new_low)
    if new_span == 0:
        scale = offset_in = offset_out = 0
    else:
        scale = int(255.0 * (1 << 16) * float(span) / float(new_span))
        middle = F32(float(F32(low + high)) / 2.0)
        offset_in = int(F32(F32(middle * F32(255.0 / float(new_span))) * F32(1 << 16)))
        offset_out = int((1 << 16) * (float(new_low) * 255.0) / float(new_span))
    wide = int(np.abs(sums).max()) * scale >= 1 << 63  # sums that are all negative, and near each other
    scaled = np.array([int(v) * scale >> 32 for v in sums.ravel()]) if wide else sums.ravel() * scale >> 32
    codes = (scaled + offset_in - offset_out + (1 << 15)) >> 16
    return Levels(np.clip(codes, 0, LEVELS - 1).astype(np.uint8).reshape(sums.shape), float(new_low), float(new_high))


def multiplied(op: ops.Convolution | ops.InnerProduct, x: Levels, w: Levels) -> Levels:
    """QuantizedConv2D or QuantizedMatMul of one image, requantized. x: [C][H][W].  The sums are exact int32."""
    left = x.codes.astype(np.float64) - x.zero
    right = w.codes.astype(np.float64) - w.zero
    if isinstance(op, ops.InnerProduct):
        sums = right @ left.ravel()
        sums = sums.reshape(-1, 1, 1)
    else:
        sums = convolved(op, left, right)
    reach = float(np.abs(sums).max())
    if reach > HIGHEST:
        raise InputError(f"a sum reaches {reach:.0f}, allowed are 32 bits; TensorFlow's first scheme has no wider one.")
    return requantized(sums.astype(np.int64), *sum_range(x, w))


def convolved(op: ops.Convolution, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The convolution of one image in float64: exact for integers and sums below 2**53. x: [C][H][W], w: [K][C/G][R][S]."""
    end = op.pad if op.pad_end is None else op.pad_end
    padded = np.pad(x, ((0, 0), (op.pad[0], end[0]), (op.pad[1], end[1])))
    taps = windows(padded, w.shape[2:], op.stride, op.dilation)  # C, Y, X, R, S
    c, y, width, r, s = taps.shape
    per_group, channels = c // op.groups, len(w) // op.groups
    parts = []
    for g in range(op.groups):
        columns = taps[g * per_group : (g + 1) * per_group].transpose(0, 3, 4, 1, 2).reshape(per_group * r * s, y * width)
        parts.append(w[g * channels : (g + 1) * channels].reshape(channels, -1) @ columns)
    return np.concatenate(parts).reshape(len(w), y, width)


class RuntimeRanges:
    """A float network run in the first scheme: every convolution and fully connected layer in uint8, ranges per image.

    Errors: InputError for an operation that this run does not have.
    """

    def __init__(self, network: Network) -> None:
        self.network = fold(network)
        self.weights = {
            node.name: quantized(node.op.weight)
            for node in self.network
            if isinstance(node.op, (ops.Convolution, ops.InnerProduct))
        }

    def outputs(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """{layer: float32 [C][H][W]} of one image of real numbers, float32 [C][H][W]."""
        found: dict[str, np.ndarray] = {}
        for node in self.network:
            found[node.name] = self._compute(node, [found[name] for name in node.inputs], image)
        return found

    def _compute(self, node: Node, inputs: list[np.ndarray], image: np.ndarray) -> np.ndarray:
        if isinstance(node.op, ops.Input):
            return image.astype(F32)
        if isinstance(node.op, (ops.Convolution, ops.InnerProduct)):
            real = multiplied(node.op, quantized(inputs[0]), self.weights[node.name]).real()
            return real if node.op.bias is None else real + node.op.bias.reshape(-1, 1, 1)
        return float_layer(node.name, node.op, inputs)

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """Logits, float32 [N][K], of uint8 pixels [N][C][H][W]."""
        preprocessing = self.network.preprocessing
        if preprocessing is None:
            raise InputError(f"network {self.network.name!r} does not say how pixels enter it; give read() a mean and a scale.")
        name = self.network.logits
        return np.stack([self.outputs(image)[name].ravel() for image in preprocessing.real(pixels)])


def weights_only(network: Network) -> Network:
    """Return the float network with each large weight tensor rounded to 256 levels between its smallest and largest value.

    What is stored is a byte per weight and two numbers per layer; what runs is float.  Tensors of fewer than 1024 elements stay.
    """
    return replace(network, nodes=tuple(replace(node, op=_stored(node.op)) for node in network))


def _stored(op: ops.Op) -> ops.Op:
    if not isinstance(op, (ops.Convolution, ops.Deconvolution, ops.InnerProduct)) or op.weight.size < SMALL:
        return op
    low, high = float(op.weight.min()), float(op.weight.max())
    if low == high:  # as quantize_weights moves an end where both are one
        low, high = (low, low + 1.0) if abs(low) < 1e-6 else (low, 2 * low) if low > 0 else (low, low / 2)
    return replace(op, weight=quantized_between(op.weight, low, high).real())
