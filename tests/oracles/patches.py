"""Whole layers as float64 matrix products over patches (exact below 2**53), and what real values say of their codes."""

from __future__ import annotations

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.layers import Convolution, MacLayer

ROUNDS = {Rounding.TIES_EVEN: np.rint, Rounding.FLOOR: np.floor, Rounding.CEIL: np.ceil, Rounding.TOWARD_ZERO: np.trunc}


def product_sums(layer: MacLayer, x: np.ndarray) -> np.ndarray:
    """Exact sums of products, int64 [N][K][H][W]."""
    codes, weight = x.astype(np.float64), layer.weight.astype(np.float64)
    taps = weight[0].size
    assert taps * np.abs(codes).max() * np.abs(weight).max() < 2.0**53, "float64 would round"
    if not isinstance(layer, Convolution):
        total = codes.reshape(len(codes), -1) @ weight.T
        return total.astype(np.int64)[:, :, None, None]
    (py, px), (dy, dx), (sy, sx) = layer.pad, layer.dilation, layer.stride
    padded = np.pad(codes, ((0, 0), (0, 0), (py, py), (px, px)))
    extent = tuple(d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=(2, 3))[:, :, ::sy, ::sx, ::dy, ::dx]
    groups, share = layer.groups, weight.shape[1]
    parts = []
    for g in range(groups):
        kernels = weight.reshape(groups, -1, *weight.shape[1:])[g]
        seen = views[:, g * share : (g + 1) * share]
        patches = seen.transpose(0, 2, 3, 1, 4, 5).reshape(*seen.shape[:1], *seen.shape[2:4], -1)
        parts.append(patches @ kernels.reshape(len(kernels), -1).T)
    return np.concatenate(parts, axis=-1).transpose(0, 3, 1, 2).astype(np.int64)


def contents(layer: MacLayer, total: np.ndarray) -> tuple[np.ndarray, int]:
    """Return (accumulators after the bias, events), from the formats: bias and product brought to the accumulator's grid."""
    contract, channels = layer.contract, layer.channels
    acc = np.empty_like(total)
    for k in range(channels):
        product_grid = contract.input.fractional_length + contract.weight.lengths(channels)[k]
        declared = contract.accumulator.fractional_length
        grid = product_grid if declared is None else declared[k] if isinstance(declared, tuple) else declared
        bias = 0
        if layer.bias is not None:
            finer = grid - (grid if contract.bias is None else contract.bias.lengths(channels)[k])
            assert finer >= 0, "this oracle rounds no bias"
            bias = int(layer.bias[k]) * 2**finer
        acc[:, k] = total[:, k] * 2 ** (grid - product_grid) + bias
    bits = contract.accumulator.bits
    assert np.abs(acc.astype(np.float64)).max() < 2.0**62, "int64 would wrap"
    if bits > 62:
        return acc, 0
    span = 2**bits
    wrapped = (acc + span // 2) % span - span // 2
    return wrapped, int((wrapped != acc).sum())


def codes_from(layer: MacLayer, acc: np.ndarray) -> tuple[np.ndarray, int]:
    """Return (codes, events) of accumulators below 2**53, by float64 scaling, which is exact, and numpy's rounding."""
    contract, channels = layer.contract, layer.channels
    output = contract.output
    f = output.format
    assert output.overflow == Overflow.SATURATE
    value = np.empty(acc.shape)
    for k in range(channels):
        declared = contract.accumulator.fractional_length
        product_grid = contract.input.fractional_length + contract.weight.lengths(channels)[k]
        grid = product_grid if declared is None else declared[k] if isinstance(declared, tuple) else declared
        real = np.ldexp(acc[:, k].astype(np.float64), -grid)
        value[:, k] = np.ldexp(real, f.fractional_length)
    assert np.abs(acc.astype(np.float64)).max() < 2.0**53
    if output.activation == Activation.RELU_BEFORE_REQUANTIZE:
        value = np.maximum(value, 0)
    rounded = ROUNDS[output.rounding](value)
    low, high = (-(2 ** (f.bits - 1)), 2 ** (f.bits - 1) - 1) if f.signed else (0, 2**f.bits - 1)
    codes = np.clip(rounded, low, high)
    if output.activation == Activation.RELU_AFTER_REQUANTIZE:
        codes = np.maximum(codes, 0)
    return codes.astype(np.int64), int(((rounded < low) | (rounded > high)).sum())
