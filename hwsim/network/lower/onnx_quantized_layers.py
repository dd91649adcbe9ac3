"""The arithmetic of ONNX's integer operators as onnxruntime does it on a CPU: contracts, multipliers, codes of constants.

accumulator: int32, modulo 2**32.  requantize: float32(acc) * scale in float32, to the nearest integer, ties to even, then the
zero point, then saturation.  scale = x_scale * w_scale / y_scale, in this order, each operation rounded to float32.
Source: onnxruntime core/providers/cpu/quantization/qlinearconv.cc, core/mlas/lib/quantize.cpp (MlasRequantizeOutput).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.contract.mac import real_step
from hwsim.contract.scaling import Multiplier, float32_multiplier, float64_multiplier, make_multiplier
from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint

DIALECT = "onnxruntime"
"""What a network says of the school that its contracts follow."""

WIDE_BITS = 48
"""Accumulator of operands wider than 8 bits, which onnxruntime has no integer kernel for."""


def requantizer(x_scale: float, w_scales: Sequence[float] | np.ndarray, y_scale: float) -> Multiplier:
    """x_scale * w_scale[k] / y_scale in float32, left to right, as the Multiplier of a float32 scale.

    >>> requantizer(0.5, [0.25], 2.0).real()
    Fraction(1, 16)
    """
    with np.errstate(all="ignore"):
        scales = np.float32(x_scale) * np.asarray(w_scales, np.float32) / np.float32(y_scale)
    return multiplier(scales)


def multiplier(scales: np.ndarray) -> Multiplier:
    """float32 scales, one or one per channel, as a Multiplier; InputError where one is not finite."""
    found = np.atleast_1d(np.asarray(scales, np.float32))
    if not np.isfinite(found).all():
        raise InputError(f"a product or quotient of its scales is {found[~np.isfinite(found)][0]}; finite ones are needed.")
    return make_multiplier(Scaling.FLOAT32, [float32_multiplier(float(s)) if s > 0 else (0, 0) for s in found])


def contract(x: Affine, w: Affine, y: Affine, clamp: tuple[int | None, int | None] = (None, None)) -> MacContract:
    """The datapath of QLinearConv and QLinearMatMul.

    >>> u8 = Affine(8, 0.5, 128, signed=False)
    >>> contract(u8, Affine(8, 0.25), u8).output.scaling.real()
    Fraction(1, 4)
    """
    scales = w.scale if isinstance(w.scale, tuple) else (w.scale,)
    assert not isinstance(x.scale, tuple) and not isinstance(y.scale, tuple)
    output = Output(y, Rounding.TIES_EVEN, scaling=requantizer(x.scale, scales, y.scale), clamp_low=clamp[0], clamp_high=clamp[1])
    return MacContract(x, w, output, Accumulator(32 if max(x.bits, w.bits) <= 8 else WIDE_BITS))


def sum_contract(x: Affine, w: Affine, clamp: tuple[int | None, int | None] = (None, None)) -> MacContract:
    """The datapath of ConvInteger and MatMulInteger: the accumulator itself, int32, is the output.

    A code of it is worth x_scale * w_scale, exactly.  With a weight scale per channel there is no one such worth: codes then
    lie on a grid 256 times as fine as the finest channel's, in 48 bits, by one float64 multiplication.

    >>> sum_contract(Affine(8, 0.5, 3), Affine(8, 0.25)).output.format
    Affine(bits=32, scale=0.125, zero_point=0, signed=True, narrow=False)
    """
    accumulator = Accumulator(32 if max(x.bits, w.bits) <= 8 else WIDE_BITS)
    scales = w.scale if isinstance(w.scale, tuple) else (w.scale,)
    if len(set(scales)) == 1:
        fmt = Affine(accumulator.bits, x.step() * scales[0])
        output = Output(fmt, overflow=Overflow.WRAP, clamp_low=clamp[0], clamp_high=clamp[1])
    else:
        finest = min(scales) / 256
        ratios = make_multiplier(Scaling.FLOAT64, [float64_multiplier(scale / finest) for scale in scales])
        output = Output(Affine(WIDE_BITS, x.step() * finest), scaling=ratios, clamp_low=clamp[0], clamp_high=clamp[1])
    return MacContract(x, w, output, accumulator)


def rescaling(x: Affine | FixedPoint, y: Affine, clamp: tuple[int | None, int | None] = (None, None)) -> Output:
    """The output stage from one format to another: scale = x_scale / y_scale, one float32 quotient."""
    with np.errstate(all="ignore"):
        scale = multiplier(np.float32(float(real_step(x))) / np.float32(y.step()))
    return Output(y, Rounding.TIES_EVEN, scaling=scale, clamp_low=clamp[0], clamp_high=clamp[1])


def quantize_linear(real: np.ndarray, fmt: Affine, axis: int = 0) -> np.ndarray:
    """code = saturate(round(float32(x / scale)) + zero_point), ties to even: QuantizeLinear of float32 numbers.

    A float32 quotient can be a tie where the exact one is not: this is a rule of its own, for the edges of a network.

    >>> quantize_linear(np.array([1.0, 3.0, -1e9], np.float32), Affine(8, 2.0, 3))
    array([   3,    5, -128], dtype=int8)
    """
    scale, zero = _spread(fmt.scale, np.float32, real.ndim, axis), _spread(fmt.zero_point, np.float64, real.ndim, axis)
    with np.errstate(all="ignore"):
        codes = np.rint(real.astype(np.float32) / scale).astype(np.float64) + zero
    return np.asarray(np.clip(codes, fmt.low, fmt.high).astype(fmt.dtype))


def dequantize_linear(codes: np.ndarray, fmt: Affine, axis: int = 0) -> np.ndarray:
    """real = float32((code - zero_point) * scale): DequantizeLinear.

    >>> dequantize_linear(np.array([5, 1], np.int8), Affine(8, 0.5, 3))
    array([ 1., -1.], dtype=float32)
    """
    with np.errstate(over="ignore"):
        return np.asarray(fmt.to_real(codes, axis).astype(np.float32))


def _spread(value: Any, dtype: Any, ndim: int, axis: int) -> np.ndarray:
    """A number, or one for each place along an axis."""
    array = np.asarray(value, dtype)
    return array.reshape([-1 if i == axis % ndim else 1 for i in range(ndim)]) if array.ndim else array


def affine(scale: np.ndarray, zero_point: np.ndarray | None, kind: np.dtype | type, bits: int | None = None) -> Affine:
    """The format of a tensor of this type of numpy with its scale and zero point, scalars or one per channel.

    bits: 4 for the types that numpy has no name for.  InputError where a scale is not positive and finite.

    >>> affine(np.float32(0.5), np.uint8(128), np.uint8)
    Affine(bits=8, scale=0.5, zero_point=128, signed=False, narrow=False)
    """
    dtype = np.dtype(kind)
    scales = np.atleast_1d(np.asarray(scale, np.float64))
    if scales.ndim != 1 or not scales.size or not ((scales > 0) & np.isfinite(scales)).all():
        found = scales.reshape(-1)[:4].tolist()
        raise InputError(f"the scales begin with {found}; positive finite numbers, at most one per channel, are needed.")
    if zero_point is not None and np.asarray(zero_point).dtype.kind not in "iu":
        raise InputError(f"its zero point has type {np.asarray(zero_point).dtype}; an integer is needed.")
    zeros = np.zeros(1, np.int64) if zero_point is None else np.atleast_1d(np.asarray(zero_point)).astype(np.int64)
    if zeros.ndim != 1 or not zeros.size or min(zeros.size, scales.size) > 1 and zeros.size != scales.size:
        raise InputError(f"{zeros.size} zero points for {scales.size} scales; as many, or 1, are needed.")
    one = (zeros == zeros[0]).all()
    return Affine(
        bits or 8 * dtype.itemsize,
        float(scales[0]) if scales.size == 1 else tuple(scales.tolist()),
        int(zeros[0]) if one else tuple(int(z) for z in zeros),
        dtype.kind == "i",
    )


def bias_codes(bias: np.ndarray, x: Affine, w: Affine, channels: int) -> np.ndarray:
    """Float biases on the accumulator's grid, x_scale * w_scale[k] in float32: int32, ties to even, saturated."""
    assert not isinstance(x.scale, tuple)
    steps = np.float32(x.scale) * np.broadcast_to(np.asarray(w.scale, np.float32), (channels,))
    return quantize_linear(bias, Affine(32, tuple(float(s) for s in steps))).astype(np.int64)
