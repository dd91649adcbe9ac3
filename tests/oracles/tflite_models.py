"""Small quantized models for LiteRT and hwsim alike: an image enters, one operator follows, of drawn sizes and scales.

Pixels are codes, so every code reaches the operator; what reads two tensors reads the image and the image requantized.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwsim.network.caffe_input import Wish
from oracles.litert import Op, T, build, constant

FUSED = (0, 0, 0, 1, 2, 3)
LIMITS = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
STRETCH = 256
"""16-bit input codes are (pixel - 128) * 256."""


class Draft:
    """A model that is being drawn: tensors and operators, the image first."""

    def __init__(self, dtype: str, seed: int, channels: int | None = None) -> None:
        self.rng, self.dtype, (self.low, self.high) = np.random.default_rng(seed), dtype, LIMITS[dtype]
        channels = channels or int(self.rng.choice([1, 3]))
        rows, columns = (int(n) for n in self.rng.integers(3, 9, 2))
        self.tensors = [T((1, rows, columns, channels), dtype, (self.scale(),), (self.zero(),), name="image")]
        self.ops: list[Op] = []
        # what 16-bit kernels add, and how their options name it
        self.bias_types = (np.int64, 4) if self.rng.random() < 0.5 else (np.int32, 2)

    def scale(self, near: float = 0.1, octaves: float = 3) -> float:
        """A float32 scale around `near`; every fourth is a power of two times it."""
        exponent = self.rng.uniform(-octaves, octaves)
        return float(np.float32(near * 2.0 ** (round(exponent) if self.rng.random() < 0.25 else exponent)))

    def zero(self) -> int:
        """A zero point, often at an end; 0 with 16 bits."""
        if self.dtype == "int16":
            return 0
        return int(self.rng.choice([self.low, self.high, 0, *self.rng.integers(self.low, self.high + 1, 3)]))

    def fused(self) -> int:
        """A fused activation, none half of the time."""
        return int(self.rng.choice(FUSED))

    def add(self, tensor: T) -> int:
        """Add a tensor; return its index."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def codes(self, shape: tuple[int, ...], dtype: str | None = None) -> np.ndarray:
        """Codes of the whole type."""
        low, high = LIMITS[dtype or self.dtype]
        return self.rng.integers(low, high + 1, shape).astype(dtype or self.dtype)

    def op(
        self,
        code: str,
        inputs: tuple[int, ...],
        out: T,
        options: str = "",
        fields: Mapping[str, Any] | None = None,
        version: int = 1,
    ) -> int:
        """Add an operator and its output; return the output's index."""
        output = self.add(out)
        self.ops.append(Op(code, inputs, (output,), options, fields or {}, version))
        return output

    def like(self, index: int, scale: float | None = None, zero: int | None = None) -> T:
        """A tensor of that one's shape, with a scale and zero point of its own."""
        scale, zero = scale or self.scale(self.tensors[index].scales[0], 2), self.zero() if zero is None else zero
        return T(self.tensors[index].shape, self.dtype, (scale,), (zero,))

    def bias_type(self) -> dict[str, int]:
        """The option of 16-bit layers that names their bias."""
        return {"quantizedBiasType": self.bias_types[1]} if self.dtype == "int16" else {}

    def model(self) -> bytes:
        """The file: from the image to the last tensor."""
        return build(self.tensors, self.ops, [0], [len(self.tensors) - 1])


def weights(draft: Draft, shape: tuple[int, ...], axis: int, scales: int) -> T:
    """Weights: int8 without zero point, one scale or `scales` of them on `axis`; uint8 with one scale and zero point."""
    if draft.dtype == "uint8":
        return constant(draft.codes(shape), (draft.scale(0.01),), (int(draft.rng.integers(0, 256)),))
    count = scales if draft.rng.random() < 0.7 else 1
    return constant(draft.codes(shape, "int8"), tuple(draft.scale(0.01) for _ in range(count)), (0,) * count, axis)


def _accumulated(draft: Draft, weight: T, taps: int, crafted: int, source: int = 0) -> tuple[T, T]:
    """Bias and output of a sum of so many products: scales such that codes are spread, and biases near ties."""
    wide = draft.dtype == "int16"
    step = draft.tensors[source].scales[0] * np.array(weight.scales, np.float64)
    reach = 100.0 * (10000.0 if wide else 100.0) * np.sqrt(taps)
    out = T((), draft.dtype, (float(np.float32(step.max() * reach / (8000 if wide else 40))),), (draft.zero(),))
    real = np.broadcast_to(step / out.scales[0], (crafted,))
    near = draft.rng.integers(-100, 100, crafted) * (200 if wide else 1) + draft.rng.choice([0, 0.5], crafted)
    bias, limit = np.round(near / real) + draft.rng.integers(-2, 3, crafted), 1 << 29
    far = draft.rng.random(crafted) < 0.1
    bias = np.where(far, draft.rng.integers(-limit, limit, crafted), np.clip(bias, -limit, limit))
    scales = tuple(float(np.float32(s)) for s in step)
    kind = draft.bias_types[0] if wide else np.int32
    return constant(bias.astype(kind), scales, (0,) * len(scales)), out


def _shaped(out: T, shape: tuple[int, ...]) -> T:
    return T(shape, out.dtype, out.scales, out.zero_points)


def _extent(extent: int, kernel: int, stride: int, dilation: int, valid: bool) -> int:
    return -(-(extent - (kernel - 1) * dilation) // stride) if valid else -(-extent // stride)


def convolution(dtype: str, seed: int) -> bytes:
    """CONV_2D or DEPTHWISE_CONV_2D."""
    draft = Draft(dtype, seed)
    rng, (_, rows, columns, channels) = draft.rng, draft.tensors[0].shape
    depthwise = bool(rng.integers(0, 2))
    kernel = [int(min(k, n)) for k, n in zip(rng.integers(1, 4, 2), (rows, columns), strict=True)]
    stride = [int(s) for s in rng.integers(1, 3, 2)]
    valid, dilation = bool(rng.integers(0, 2)), [1, 1]
    if stride == [1, 1] and rng.random() < 0.3:
        dilation = [int(d) for d in rng.integers(1, 3, 2)]
        valid = valid and all((k - 1) * d < n for k, d, n in zip(kernel, dilation, (rows, columns), strict=True))
    if depthwise:
        draft.bias_types = (np.int64, 4)  # its kernel takes no other
    multiplier = int(rng.integers(1, 4))
    made = channels * multiplier if depthwise else int(rng.integers(2, 40))
    grouped = not depthwise and channels > 1 and rng.random() < 0.2
    made = made * channels if grouped else made
    taps = 1 if depthwise or grouped else channels
    shape = (1, *kernel, made) if depthwise else (made, *kernel, taps)
    weight = weights(draft, shape, 3 if depthwise else 0, made)
    bias, out = _accumulated(draft, weight, kernel[0] * kernel[1] * taps, made)
    sizes = [_extent(n, k, s, d, valid) for n, k, s, d in zip((rows, columns), kernel, stride, dilation, strict=True)]
    fields = {"padding": int(valid), "strideH": stride[0], "strideW": stride[1], "fusedActivationFunction": draft.fused()}
    fields |= {"dilationHFactor": dilation[0], "dilationWFactor": dilation[1]}
    fields |= {"depthMultiplier": multiplier} if depthwise else draft.bias_type()
    inputs = (0, draft.add(weight), draft.add(bias))
    code, options = ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions") if depthwise else ("CONV_2D", "Conv2DOptions")
    draft.op(code, inputs, _shaped(out, (1, *sizes, made)), options, fields, 3)
    return draft.model()


def transposed(dtype: str, seed: int) -> bytes:
    """TRANSPOSE_CONV."""
    draft = Draft(dtype, seed)
    rng, (_, rows, columns, channels) = draft.rng, draft.tensors[0].shape
    kernel, stride = [int(k) for k in rng.integers(1, 5, 2)], [int(s) for s in rng.integers(1, 4, 2)]
    valid, made = bool(rng.integers(0, 2)), int(rng.integers(2, 20))
    weight = weights(draft, (made, *kernel, channels), 0, made)
    bias, out = _accumulated(draft, weight, kernel[0] * kernel[1] * channels, made)
    sizes = [(n - 1) * s + max(k, s) if valid else n * s for n, k, s in zip((rows, columns), kernel, stride, strict=True)]
    fields = {"padding": int(valid), "strideH": stride[0], "strideW": stride[1], "fusedActivationFunction": draft.fused()}
    shape = (1, *sizes, made)
    fields |= draft.bias_type()
    inputs = (draft.add(constant(np.array(shape, np.int32))), draft.add(weight), 0)
    if rng.random() < 0.7:
        inputs += (draft.add(bias),)
    draft.op("TRANSPOSE_CONV", inputs, _shaped(out, shape), "TransposeConvOptions", fields, 4)
    return draft.model()


def fully_connected(dtype: str, seed: int) -> bytes:
    """FULLY_CONNECTED behind a flatten, or of the image as it is."""
    draft = Draft(dtype, seed)
    image, made = draft.tensors[0], int(draft.rng.integers(2, 60))
    taps, source = int(np.prod(image.shape)), 0
    if draft.rng.random() < 0.5:
        size = draft.add(constant(np.array([1, taps], np.int32)))
        source = draft.op("RESHAPE", (0, size), T((1, taps), dtype, image.scales, image.zero_points))
    weight = weights(draft, (made, taps), 0, made)
    bias, out = _accumulated(draft, weight, taps, made)
    inputs = (source, draft.add(weight), draft.add(bias))
    fields = {"fusedActivationFunction": draft.fused()} | draft.bias_type()
    draft.op("FULLY_CONNECTED", inputs, _shaped(out, (1, made)), "FullyConnectedOptions", fields, 4)
    return draft.model()


def pool(dtype: str, seed: int) -> bytes:
    """AVERAGE_POOL_2D or MAX_POOL_2D."""
    draft = Draft(dtype, seed)
    image, rng = draft.tensors[0], draft.rng
    sizes = image.shape[1:3]
    kernel = [int(min(k, n)) for k, n in zip(rng.integers(1, 6, 2), sizes, strict=True)]
    stride, valid = [int(s) for s in rng.integers(1, 4, 2)], bool(rng.integers(0, 2))
    fields = {
        "padding": int(valid),
        "strideH": stride[0],
        "strideW": stride[1],
        "filterHeight": kernel[0],
        "filterWidth": kernel[1],
    }
    fields["fusedActivationFunction"] = draft.fused()
    outputs = [_extent(n, k, s, 1, valid) for n, k, s in zip(sizes, kernel, stride, strict=True)]
    code = str(rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
    draft.op(code, (0,), T((1, *outputs, image.shape[3]), dtype, image.scales, image.zero_points), "Pool2DOptions", fields)
    return draft.model()


def combination(dtype: str, seed: int) -> bytes:
    """ADD, SUB or MUL of the image and itself requantized, or a constant, of its shape or a code for each channel."""
    draft = Draft(dtype, seed)
    rng = draft.rng
    shape = draft.tensors[0].shape
    way = rng.integers(0, 3)
    if way == 0:
        other = draft.op("QUANTIZE", (0,), draft.like(0), "QuantizeOptions")
    else:
        shape = shape if way == 1 else (1, 1, 1, shape[3])
        other = draft.add(constant(draft.codes(shape), (draft.scale(draft.tensors[0].scales[0]),), (draft.zero(),)))
    code = str(rng.choice(["ADD", "SUB", "MUL"]))
    first, second = draft.tensors[0].scales[0], draft.tensors[other].scales[0]
    near = first * second * 30 if code == "MUL" else max(first, second)
    inputs = (0, other) if rng.random() < 0.5 else (other, 0)
    fields: dict[str, Any] = {"fusedActivationFunction": draft.fused()}
    fields |= {"potScaleInt16": False} if dtype == "int16" and code != "MUL" else {}
    draft.op(code, inputs, draft.like(0, draft.scale(near, 2)), f"{code.capitalize()}Options", fields)
    return draft.model()


def extreme(dtype: str, seed: int) -> bytes:
    """MAXIMUM or MINIMUM of the image and its pool, or a constant."""
    draft = Draft(dtype, seed)
    image, rng = draft.tensors[0], draft.rng
    same = draft.like(0, image.scales[0], image.zero_points[0])
    if rng.random() < 0.4:
        pool = {"padding": 0, "strideH": 1, "strideW": 1, "filterHeight": 2, "filterWidth": 2}
        other = draft.op("AVERAGE_POOL_2D", (0,), same, "Pool2DOptions", pool)
    else:
        shape = image.shape if rng.random() < 0.5 else (image.shape[3],)
        other = draft.add(constant(draft.codes(shape), image.scales, image.zero_points))
    code = str(rng.choice(["MAXIMUM", "MINIMUM"]))
    draft.op(code, (0, other) if rng.random() < 0.5 else (other, 0), same, "MaximumMinimumOptions")
    return draft.model()


def value(dtype: str, seed: int) -> bytes:
    """An operator that takes one code at a time: requantizing, rectifiers, curves."""
    draft = Draft(dtype, seed)
    codes = ["QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "PRELU", "LOGISTIC", "TANH"]
    code = codes[seed % len(codes)]
    options = {"QUANTIZE": "QuantizeOptions", "LEAKY_RELU": "LeakyReluOptions"}.get(code, "")
    fields = {"alpha": float(np.float32(draft.rng.choice([0.1, 0.01, 0.25])))} if code == "LEAKY_RELU" else {}
    inputs: tuple[int, ...] = (0,)
    out = draft.like(0)
    if code == "QUANTIZE" and draft.rng.random() < 0.3:
        other = "int8" if dtype == "uint8" else "uint8"
        out = T(out.shape, other, out.scales, (int(draft.rng.integers(*LIMITS[other])),))
    if code == "LOGISTIC":
        out = draft.like(0, 1 / 256, draft.low)
    if code == "PRELU":
        slopes = constant(draft.codes((1, 1, draft.tensors[0].shape[3])), (draft.scale(0.01),), (draft.zero(),))
        inputs = (0, draft.add(slopes))
    draft.op(code, inputs, out, options, fields)
    return draft.model()


def move(dtype: str, seed: int) -> bytes:
    """PAD, PADV2, RESIZE_NEAREST_NEIGHBOR, CONCATENATION or MEAN."""
    draft = Draft(dtype, seed)
    image, rng = draft.tensors[0], draft.rng
    quantization = (image.scales, image.zero_points)
    code = ["PAD", "PADV2", "RESIZE_NEAREST_NEIGHBOR", "CONCATENATION", "MEAN"][seed % 5]
    if code.startswith("PAD"):
        pads = rng.integers(0, 3, (4, 2)).astype(np.int32)
        pads[0] = 0
        shape = tuple(int(n) for n in np.array(image.shape) + pads.sum(1))
        inputs: tuple[int, ...] = (0, draft.add(constant(pads)))
        if code == "PADV2":
            inputs += (draft.add(constant(draft.codes((1,)), *quantization)),)
        draft.op(code, inputs, T(shape, dtype, *quantization), "PadOptions" if code == "PAD" else "PadV2Options")
    elif code == "RESIZE_NEAREST_NEIGHBOR":
        size = rng.integers(1, 20, 2).astype(np.int32)
        align, half = [(False, False), (True, False), (False, True)][int(rng.integers(0, 3))]
        fields = {"alignCorners": align, "halfPixelCenters": half}
        out = T((1, int(size[0]), int(size[1]), image.shape[3]), dtype, *quantization)
        draft.op(code, (0, draft.add(constant(size))), out, "ResizeNearestNeighborOptions", fields)
    elif code == "CONCATENATION":
        rescaled = dtype == "uint8" and rng.random() < 0.7
        other = draft.op(
            "QUANTIZE",
            (0,),
            draft.like(0, None if rescaled else image.scales[0], None if rescaled else image.zero_points[0]),
            "QuantizeOptions",
        )
        out = draft.like(0) if rescaled else draft.like(0, image.scales[0], image.zero_points[0])
        out = T((*out.shape[:3], 2 * out.shape[3]), dtype, out.scales, out.zero_points)
        draft.op(code, (0, other), out, "ConcatenationOptions", {"axis": int(rng.choice([3, -1]))})
    else:
        axes = constant(np.array([1, 2], np.int32))
        scale, zero = draft.scale(image.scales[0], 1.5), draft.zero()
        keep = bool(rng.integers(0, 2))
        shape = (1, 1, 1, image.shape[3]) if keep else (1, image.shape[3])
        draft.op(code, (0, draft.add(axes)), T(shape, dtype, (scale,), (zero,)), "ReducerOptions", {"keepDims": keep})
    return draft.model()


def softmax(dtype: str, seed: int) -> bytes:
    """SOFTMAX of a fully connected layer's codes."""
    draft = Draft(dtype, seed)
    taps, made = int(np.prod(draft.tensors[0].shape)), int(draft.rng.integers(2, 200))
    weight = weights(draft, (made, taps), 0, made)
    bias, out = _accumulated(draft, weight, taps, made)
    inputs = (0, draft.add(weight), draft.add(bias))
    logits = draft.op("FULLY_CONNECTED", inputs, _shaped(out, (1, made)), "FullyConnectedOptions", {}, 4)
    probabilities = T((1, made), dtype, (1 / 256,), (draft.low,))
    draft.op("SOFTMAX", (logits,), probabilities, "SoftmaxOptions", {"beta": float(draft.rng.choice([1.0, 0.5]))})
    return draft.model()


def inverted_residual(dtype: str, seed: int) -> bytes:
    """MobileNet v2 in small: expand, depthwise with a stride behind an explicit PAD or none, project, ADD, MEAN, classes."""
    draft = Draft(dtype, seed, 3)
    width = int(draft.rng.integers(4, 12))
    first = _layer(draft, 0, "CONV_2D", width, 3, int(draft.rng.integers(1, 3)), 3)
    block = _layer(draft, first, "CONV_2D", 3 * width, 1, 1, 3)
    block = _layer(draft, block, "DEPTHWISE_CONV_2D", 3 * width, 3, 1, 3)
    block = _layer(draft, block, "CONV_2D", width, 1, 1, 0)
    near = max(draft.tensors[first].scales[0], draft.tensors[block].scales[0])
    total = draft.op("ADD", (first, block), draft.like(first, draft.scale(near, 1)), "AddOptions", {"fusedActivationFunction": 0})
    source, last = draft.tensors[total], total
    if draft.rng.random() < 0.5:
        pads = draft.add(constant(np.array([[0, 0], [0, 1], [0, 1], [0, 0]], np.int32)))
        shape = (1, source.shape[1] + 1, source.shape[2] + 1, source.shape[3])
        last = draft.op("PAD", (total, pads), T(shape, dtype, source.scales, source.zero_points), "PadOptions")
    last = _layer(draft, last, "DEPTHWISE_CONV_2D", width, 2 if last != total else 3, 2, 3, last != total)
    tensor = draft.tensors[last]
    axes = draft.add(constant(np.array([1, 2], np.int32)))
    out = T((1, 1, 1, width), dtype, (draft.scale(tensor.scales[0], 1),), (draft.zero(),))
    pooled = draft.op("MEAN", (last, axes), out, "ReducerOptions", {"keepDims": True})
    weight = weights(draft, (10, width), 0, 10)
    bias, out = _accumulated(draft, weight, width, 10, pooled)
    inputs = (pooled, draft.add(weight), draft.add(bias))
    logits = draft.op("FULLY_CONNECTED", inputs, _shaped(out, (1, 10)), "FullyConnectedOptions", {}, 4)
    draft.op("SOFTMAX", (logits,), T((1, 10), dtype, (1 / 256,), (draft.low,)), "SoftmaxOptions", {"beta": 1.0})
    return draft.model()


def _layer(draft: Draft, source: int, code: str, made: int, kernel: int, stride: int, fused: int, valid: bool = False) -> int:
    """A convolution of a tensor, padded SAME unless valid."""
    _, rows, columns, channels = draft.tensors[source].shape
    depthwise = code[0] == "D"
    shape = (1, kernel, kernel, made) if depthwise else (made, kernel, kernel, channels)
    weight = weights(draft, shape, 3 if depthwise else 0, made)
    bias, out = _accumulated(draft, weight, kernel * kernel * (1 if depthwise else channels), made, source)
    sizes = [_extent(n, kernel, stride, 1, valid) for n in (rows, columns)]
    fields = {"padding": int(valid), "strideH": stride, "strideW": stride, "fusedActivationFunction": fused}
    fields |= {"depthMultiplier": 1} if depthwise else {}
    inputs = (source, draft.add(weight), draft.add(bias))
    options = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
    return draft.op(code, inputs, _shaped(out, (1, *sizes, made)), options, fields, 3)


def wide(dtype: str, seed: int) -> bytes:
    """16-bit codes: convolutions and fully connected layers with biases of 64 bits, or of 32, sums, products, pools."""
    kinds = (convolution, transposed, fully_connected, pool, combination, extreme)
    return kinds[seed % len(kinds)](dtype, seed)


MODELS: dict[str, Callable[[str, int], bytes]] = {
    "convolution": convolution,
    "transposed": transposed,
    "fully_connected": fully_connected,
    "pool": pool,
    "combination": combination,
    "extreme": extreme,
    "value": value,
    "move": move,
    "softmax": softmax,
    "inverted_residual": inverted_residual,
    "wide": wide,
}


def image_codes(model: T, count: int, seed: int) -> np.ndarray:
    """Pixels uint8 [N][C][H][W] that reach every code."""
    rng = np.random.default_rng(seed)
    _, rows, columns, channels = model.shape
    pixels = rng.integers(0, 256, (count, channels, rows, columns))
    pixels[: count // 2] = np.clip(rng.normal(128, 60, pixels[: count // 2].shape), 0, 255)
    return pixels.astype(np.uint8)


def as_codes(pixels: np.ndarray, dtype: str) -> np.ndarray:
    """The pixels as the model's input codes, N H W C."""
    moved = pixels.transpose(0, 2, 3, 1).astype(np.int64)
    return ((moved - 128) * STRETCH if dtype == "int16" else moved + LIMITS[dtype][0]).astype(dtype)


def as_planes(tensor: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A tensor of one image, flattened or not, as C, H, W."""
    channels, rows, columns = shape
    return tensor.reshape(rows, columns, channels).transpose(2, 0, 1)


def wish(image: Any) -> Wish:
    """What a reader is told of the pixels: nothing where they are codes."""
    return Wish((128.0,), STRETCH * image.scales[0]) if image.dtype == "int16" else Wish()


TYPES = {
    "wide": ("int16",),
}
"""Types of the codes of those that do not take uint8 and int8."""
