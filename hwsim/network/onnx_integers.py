"""ONNX operators that quantize: a graph that holds them is read as a float Network with Quantize nodes in it.

QuantizeLinear and QONNX's Quant become a Quantize; DequantizeLinear of what was quantized is that same tensor; an operator on
integers (QLinearConv) is the float operator between two of them. lower/onnx_quantized.py makes the layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding, round_ratio
from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint
from hwsim.network.finite import not_finite
from hwsim.network.graph import ChannelShuffle, Concat, Dropout, Flatten, Op, Pooling, PoolMethod, ResizeNearest, Slice
from hwsim.network.lower.onnx_quantized_layers import affine, dequantize_linear, quantize_linear
from hwsim.network.onnx_attributes import allow, take
from hwsim.network.onnx_build import Build, OnnxNode, Tensor, Value
from hwsim.network.onnx_operators import OPERATORS

QONNX_DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")

ROUNDINGS = {
    "ROUND": Rounding.TIES_EVEN,
    "HALF_EVEN": Rounding.TIES_EVEN,
    "CEIL": Rounding.CEIL,
    "FLOOR": Rounding.FLOOR,
    "ROUND_TO_ZERO": Rounding.TOWARD_ZERO,
    "DOWN": Rounding.TOWARD_ZERO,
    "UP": Rounding.AWAY_FROM_ZERO,
    "HALF_UP": Rounding.TIES_AWAY,
    "HALF_DOWN": Rounding.TIES_TO_ZERO,
}
"""QONNX's names; its half up and half down look at the magnitude."""

Grid = Affine | FixedPoint


@dataclass(frozen=True, eq=False)
class Quantize(Op):
    """y = what the format's code nearest to x is worth.

    raw: what comes in are these codes already.  overflow: SATURATE_SYMMETRIC where a fixed point's smallest code is not used.
    """

    format: Grid
    rounding: Rounding = Rounding.TIES_EVEN
    overflow: Overflow = Overflow.SATURATE
    raw: bool = False


@dataclass(frozen=True, eq=False)
class Accumulated(Op):
    """y = x: the int32 sum of ConvInteger or MatMulInteger goes out as it is."""


def moves_codes(op: Op) -> bool:
    """Whether the codes of the output are codes of the inputs."""
    if isinstance(op, Pooling):
        return op.method is PoolMethod.MAX
    return isinstance(op, (ChannelShuffle, Concat, Dropout, Flatten, ResizeNearest, Slice))


@dataclass(frozen=True, eq=False)
class Stored:
    """A constant that the file has in integers. axis: where its output channels lie, if they are told apart."""

    codes: np.ndarray
    format: Grid
    axis: int


class IntegerBuild(Build):
    """A Build that knows of which constants the file has codes, and which tensors hold integers.

    origin: the file's node that a node of the Network comes from.  stored: by name of tensor.  whole: names of integer tensors.
    formats: of the codes that a node of the Network stands for.  pixels: the input, where its numbers are codes.
    """

    def __init__(self, opset: int) -> None:
        super().__init__(opset)
        self.stored: dict[str, Stored] = {}
        self.origin: dict[str, OnnxNode] = {}
        self.whole: set[str] = set()
        self.formats: dict[str, Grid] = {}
        self.pixels: dict[Tensor, Tensor] = {}
        self.qonnx = False
        self._now: OnnxNode | None = None

    def emit(self, name: str, op: Op, inputs: tuple[Tensor, ...], flat: bool = False) -> Tensor:
        made = super().emit(name, op, inputs, flat)
        if self._now is not None:
            self.origin[made.node] = self._now
        if isinstance(op, Quantize):
            self.formats[made.node] = op.format
        elif moves_codes(op):
            behind = {self.formats.get(tensor.node) for tensor in inputs}
            if len(behind) == 1 and (fmt := behind.pop()) is not None:
                self.formats[made.node] = fmt
        return made

    def convert(self, node: OnnxNode) -> Value | tuple[Value, ...]:
        """What a node stands for; InputError where an operator on real numbers would read integers."""
        self._now = node
        if node.domain == "com.microsoft":
            return self._microsoft(node)
        qonnx = node.domain in QONNX_DOMAINS
        if node.kind in QUANTIZERS and (node.domain in ("", "ai.onnx") or qonnx):
            self.qonnx |= qonnx
            return QUANTIZERS[node.kind](self, node)
        if node.kind not in OPERATORS or node.domain not in ("", "ai.onnx"):
            known = ", ".join(sorted({**OPERATORS, **QUANTIZERS}))
            raise InputError(f"hwsim does not know this operator; it reads {known}.")
        integers = [name for name in node.inputs if name in self.whole]
        if integers and node.kind not in ON_CODES:
            raise InputError(f"it reads the integers {integers[0]!r}; hwsim lets {', '.join(ON_CODES)} do that.")
        if integers:
            self.whole.update(node.outputs)
        result = OPERATORS[node.kind](self, node)
        if node.kind in ("Transpose", "Identity") and node.inputs[0] in self.stored:
            self._moved(node, result)
        return result

    def _microsoft(self, node: OnnxNode) -> Value:
        from hwsim.network.onnx_microsoft import MICROSOFT  # it builds on this file

        if node.kind in ("QuantizeLinear", "DequantizeLinear"):
            return QUANTIZERS[node.kind](self, node)
        if node.kind not in MICROSOFT:
            raise InputError(f"hwsim does not know this operator; of {node.domain} it reads {', '.join(MICROSOFT)}.")
        return MICROSOFT[node.kind](self, node)

    def _moved(self, node: OnnxNode, result: Value | tuple[Value, ...]) -> None:
        """Let a stored constant that is only transposed stay stored."""
        old = self.stored[node.inputs[0]]
        if node.kind == "Transpose" and old.codes.ndim == 2 and isinstance(result, np.ndarray):
            turned = node.attributes.get("perm", (1, 0)) == (1, 0)
            old = replace(old, codes=old.codes.T, axis=1 - old.axis) if turned else old
        if node.kind == "Identity" or old.codes.ndim == 2:
            self.stored[node.outputs[0]] = old

    def grid(self, node: OnnxNode, scale: int, zero: int, dtype: Any) -> Affine:
        """The format that inputs `scale` and `zero` give, of a tensor of this type."""
        found, zeros = self.constant(node, scale), self.constant(node, zero)
        if found is None:
            raise InputError("it has no scale; give it as a constant.")
        bits = {"uint4": 4, "int4": 4}.get(str(dtype))
        return affine(found, zeros, np.dtype("u1" if str(dtype) == "uint4" else "i1" if str(dtype) == "int4" else dtype), bits)


ON_CODES = (
    "Concat", "Dropout", "Flatten", "Identity", "MaxPool", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
)  # fmt: skip
"""Operators that do to integers what they do to the numbers these stand for."""


def _quantize_linear(build: IntegerBuild, node: OnnxNode) -> Value:
    a = take(node, axis=1, saturate=1, block_size=0, output_dtype=0, precision=0)
    allow("block_size", a["block_size"], 0)
    zero = build.constant(node, 2)
    dtype = np.dtype(np.uint8) if zero is None else zero.dtype
    if zero is None and a["output_dtype"]:
        dtype = np.dtype({2: "u1", 3: "i1", 4: "u2", 5: "i2"}.get(a["output_dtype"], "V1"))
    if dtype.kind not in "iu" or dtype.itemsize > 2:
        raise InputError(f"its zero point has type {dtype}; 8 or 16 bits are needed.")
    fmt = build.grid(node, 1, 2, dtype)
    value = build.value(node.inputs[0])
    build.whole.update(node.outputs)
    if isinstance(value, np.ndarray):
        axis = a["axis"] % max(value.ndim, 1)
        _check_axis(fmt, value, axis)
        if value.dtype.kind != "f" or (bad := not_finite(value)) is not None:
            found = bad if value.dtype.kind == "f" else f"type {value.dtype}"
            raise InputError(f"it quantizes a constant that holds {found}; finite real numbers are needed.")
        codes = quantize_linear(value, fmt, axis)
        build.stored[node.outputs[0]] = Stored(codes, fmt, axis)
        return codes
    return _quantized(build, node, build.tensor(node.inputs[0]), Quantize(_single(fmt)))


def _check_axis(fmt: Grid, array: np.ndarray, axis: int) -> None:
    """Refuse scales per channel that are not as many as the places along the axis."""
    if not fmt.per_channel:
        return
    count = len(fmt.fractional_length) if isinstance(fmt, FixedPoint) else fmt.channels  # type: ignore[arg-type]
    if axis >= array.ndim or array.shape[axis] != count:
        raise InputError(f"it has {count} scales along axis {axis} of shape {array.shape}; one for each place is needed.")


def _single(fmt: Grid) -> Grid:
    if fmt.per_channel:
        raise InputError(
            "it quantizes a computed tensor with one scale per channel; hwsim has that for weights, a single one else."
        )
    return fmt


def _quantized(build: IntegerBuild, node: OnnxNode, source: Tensor, op: Quantize) -> Tensor:
    """A Quantize node; a tensor that has this format already stays as it is."""
    if build.formats.get(source.node) == op.format and not op.raw:
        return source
    return build.emit(f"{node.name}" if node.name else node.outputs[0], op, (source,), source.flat)


def _dequantize_linear(build: IntegerBuild, node: OnnxNode) -> Value:
    a = take(node, axis=1, block_size=0, output_dtype=0)
    allow("block_size", a["block_size"], 0)
    value = build.value(node.inputs[0])
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "iu":
            raise InputError(f"it dequantizes a constant of type {value.dtype}; integers are needed.")
        fmt = build.grid(node, 1, 2, value.dtype)
        axis = a["axis"] % max(value.ndim, 1)
        _check_axis(fmt, value, axis)
        build.stored[node.outputs[0]] = Stored(value, fmt, axis)
        return dequantize_linear(value, fmt, axis)
    return as_format(build, node, node.inputs[0], 1, 2)


def as_format(build: IntegerBuild, node: OnnxNode, name: str, scale: int, zero: int) -> Tensor:
    """The integers of a tensor, which must have this scale and zero point; the image's pixels get it here."""
    source = build.tensor(name)
    zeros = build.constant(node, zero)
    known = build.formats.get(source.node)
    dtype = np.dtype(np.uint8) if zeros is None else zeros.dtype
    fmt = _single(build.grid(node, scale, zero, dtype))
    if known is None:
        return _image_codes(build, name, source, fmt)
    if known != fmt:
        raise InputError(f"it reads {name!r} as {fmt}, but what wrote it gives {known}; restore the file.")
    return source


def _image_codes(build: IntegerBuild, name: str, source: Tensor, fmt: Grid) -> Tensor:
    """The network's input, whose numbers are codes themselves."""
    if source.node != build.nodes[0].name or name not in build.whole:
        raise InputError(f"it reads {name!r} as {fmt}, but no operator before quantizes that; put a QuantizeLinear there.")
    if source not in build.pixels:
        build.pixels[source] = build.emit(f"{name}:codes", Quantize(fmt, raw=True), (source,), source.flat)
    made = build.pixels[source]
    if build.formats[made.node] != fmt:
        raise InputError(f"it reads {name!r} as {fmt}, but an operator before as {build.formats[made.node]}; one is needed.")
    return made


def stored_input(build: IntegerBuild, node: OnnxNode, index: int, scale: int, zero: int, axis: int) -> str:
    """Dequantize a constant of integers; return the name under which the float operator finds it."""
    codes = build.constant(node, index)
    if codes is None or codes.dtype.kind not in "iu":
        raise InputError("its weights must be a constant of integers.")
    name = f"{node.inputs[index]}:real:{node.name}:{index}"
    fmt = build.grid(node, scale, zero, codes.dtype) if scale >= 0 else _unscaled(build, node, zero, codes)
    _check_axis(fmt, codes, axis)
    build.stored[name] = Stored(codes, fmt, axis)
    build.values[name] = dequantize_linear(codes, fmt, axis)
    return name


def _unscaled(build: IntegerBuild, node: OnnxNode, zero: int, codes: np.ndarray) -> Affine:
    return affine(np.float32(1), build.constant(node, zero), codes.dtype)


def operator(build: IntegerBuild, node: OnnxNode, kind: str, names: tuple[str, ...], outer: Op) -> Tensor:
    """The float operator with this node's attributes, and what stands behind it."""
    inner = OnnxNode(f"{node.name}:sum", kind, "", names, (f"{node.outputs[0]}:sum",), node.attributes)
    build._now = inner
    made = OPERATORS[kind](build, inner)
    build._now = node
    assert isinstance(made, Tensor)
    build.whole.update(node.outputs)
    return build.emit(node.name, outer, (made,), made.flat)


def output_quantize(build: IntegerBuild, node: OnnxNode, scale: int, zero: int) -> Quantize:
    """The Quantize of an operator's result, with the scale and zero point that two of its inputs give."""
    zeros = build.constant(node, zero)
    return Quantize(_single(build.grid(node, scale, zero, np.dtype(np.uint8) if zeros is None else zeros.dtype)))


def stored_bias(build: IntegerBuild, node: OnnxNode, index: int) -> list[str]:
    """The name of an operator's int32 bias, on the products' grid; none where it is left out."""
    bias = build.constant(node, index)
    if bias is None:
        return []
    if bias.dtype != np.int32 or bias.ndim > 2:
        raise InputError(f"its biases have type {bias.dtype} and shape {bias.shape}; int32 numbers are needed.")
    name = f"{node.name}:bias"
    build.stored[name] = Stored(bias, Affine(32, 1.0), 0)
    build.values[name] = bias.astype(np.float32)
    return [name]


def _qlinear_conv(build: IntegerBuild, node: OnnxNode) -> Tensor:
    x = as_format(build, node, node.inputs[0], 1, 2)
    weight = stored_input(build, node, 3, 4, 5, 0)
    build.values[f"{node.name}:x"] = x
    names = [f"{node.name}:x", weight]
    names += stored_bias(build, node, 8)
    return operator(build, node, "Conv", tuple(names), output_quantize(build, node, 6, 7))


def _flattened(build: IntegerBuild, node: OnnxNode, x: Tensor) -> str:
    build.values[f"{node.name}:x"] = x
    return f"{node.name}:x"


def _qlinear_matmul(build: IntegerBuild, node: OnnxNode) -> Tensor:
    take(node)
    x = as_format(build, node, node.inputs[0], 1, 2)
    weight = stored_input(build, node, 3, 4, 5, 1)
    return operator(build, node, "MatMul", (_flattened(build, node, x), weight), output_quantize(build, node, 6, 7))


def _integer(kind: str, axis: int) -> Callable[[IntegerBuild, OnnxNode], Tensor]:
    """ConvInteger, MatMulInteger: zero points, no scales; the image's pixels are worth one each."""

    def convert(build: IntegerBuild, node: OnnxNode) -> Tensor:
        source, zeros = build.tensor(node.inputs[0]), build.constant(node, 2)
        known = build.formats.get(source.node)
        if zeros is not None and (zeros.size != 1 or zeros.dtype.kind not in "iu"):
            raise InputError(f"its x_zero_point is {zeros.size} numbers of type {zeros.dtype}; one integer is needed.")
        zero = 0 if zeros is None else int(zeros.reshape(-1)[0])
        if known is None:
            fmt = affine(np.float32(1), zeros, np.uint8 if zeros is None else zeros.dtype)
            source = _image_codes(build, node.inputs[0], source, _single(fmt))
        elif known.zero() != zero:
            raise InputError(f"its x_zero_point is {zero}; what wrote {node.inputs[0]!r} has {known.zero()}.")
        weight = stored_input(build, node, 1, -1, 3, axis)
        return operator(build, node, kind, (_flattened(build, node, source), weight), Accumulated())

    return convert


def _quant(build: IntegerBuild, node: OnnxNode) -> Value:
    """QONNX's Quant: scale, zero point and width are inputs; what comes out is real again."""
    a = take(node, signed=1, narrow=0, rounding_mode="ROUND")
    if a["rounding_mode"].upper() not in ROUNDINGS:
        raise InputError(f"rounding_mode is {a['rounding_mode']!r}; allowed are {', '.join(ROUNDINGS)}.")
    rounding = ROUNDINGS[a["rounding_mode"].upper()]
    fmt, axis = _qonnx_format(build, node, bool(a["signed"]), bool(a["narrow"]))
    value = build.value(node.inputs[0])
    overflow = Overflow.SATURATE_SYMMETRIC if a["narrow"] else Overflow.SATURATE
    if isinstance(value, np.ndarray):
        _check_axis(fmt, value, axis)
        codes = fmt.encode_array(np.atleast_1d(value), rounding, overflow, axis).reshape(value.shape)
        build.stored[node.outputs[0]] = Stored(np.asarray(codes), fmt, axis)
        return np.asarray(fmt.to_real(codes, axis).astype(np.float32))
    return _quantized(build, node, build.tensor(node.inputs[0]), Quantize(_single(fmt), rounding, overflow))


def _qonnx_format(build: IntegerBuild, node: OnnxNode, signed: bool, narrow: bool) -> tuple[Grid, int]:
    """(format, axis of the channels): powers of two without zero point are fixed point, everything else is affine."""
    scale, zero, width = (build.constant(node, i) for i in (1, 2, 3))
    if scale is None or zero is None or width is None or width.size != 1 or zero.size not in (1, scale.size):
        raise InputError("scales, zero points (one or as many) and one width are needed, all constants.")
    bits = float(width.reshape(-1)[0])
    if not (2 <= bits <= 32 and bits == int(bits)) or narrow and not signed:
        raise InputError(
            f"its width is {bits:g} bits{' narrow' if narrow else ''}; 2..32 whole ones are needed, narrow only if signed."
        )
    axis = int(np.argmax(scale.shape)) if scale.size > 1 else 0
    if scale.size > 1 and scale.shape[axis] != scale.size:
        raise InputError(f"its scales have shape {scale.shape}; one for all, or one per channel, is needed.")
    zeros = np.broadcast_to(zero.reshape(-1) if zero.size == scale.size else zero.reshape(-1)[:1], (scale.size,))
    scales = scale.astype(np.float64).reshape(-1)
    if (
        not scales.size
        or not ((scales > 0) & np.isfinite(scales)).all()
        or not ((np.abs(zeros) < 1 << 31) & (zeros == np.rint(zeros))).all()
    ):
        raise InputError("its scales must be positive and finite, its zero points whole numbers of 32 bits.")
    exponents = [math.frexp(s) for s in scales.tolist()]
    if not zeros.any() and all(mantissa == 0.5 for mantissa, _ in exponents):
        lengths = tuple(1 - exponent for _, exponent in exponents)
        return FixedPoint(int(bits), lengths if len(lengths) > 1 else lengths[0], signed), axis
    fmt = affine(scales, zeros.astype(np.int64), np.int64 if signed else np.uint64, int(bits))
    return replace(fmt, narrow=narrow), axis


QUANTIZERS: dict[str, Callable[[IntegerBuild, OnnxNode], Value]] = {
    "ConvInteger": _integer("Conv", 0),
    "DequantizeLinear": _dequantize_linear,
    "IntQuant": _quant,
    "MatMulInteger": _integer("MatMul", 1),
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "Quant": _quant,
    "QuantizeLinear": _quantize_linear,
}
"""Operator -> what reads it."""


def nearest(real: float, step: float, zero: int) -> int:
    """The code nearest to a real number, ties to even: where a declared activation clips."""
    return round_ratio(*(real / step).as_integer_ratio(), Rounding.TIES_EVEN) + zero
