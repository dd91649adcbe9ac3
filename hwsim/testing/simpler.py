"""Which of two examples is the smaller one, and what is simpler than a code or a contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from hwsim.arith.minifloat import is_nan
from hwsim.errors import ContractError
from hwsim.formats import Format, IntegerFormat, Minifloat, PowerOfTwo
from hwsim.layers import Convolution, Deconvolution, FullyConnected, MacLayer
from hwsim.testing.judge import Example

Cost = tuple[int, ...]
FORMATS = (IntegerFormat, Minifloat, PowerOfTwo)


def zero_of(fmt: Format, channel: int = 0) -> int:
    """The code of real 0, or of what is nearest to it where none is."""
    return fmt.zero(channel) if isinstance(fmt, IntegerFormat) else int(fmt.encode(0.0))


def zeros_like(codes: np.ndarray, fmt: Format) -> np.ndarray:
    """The zero codes of an array whose first axis counts the format's channels."""
    if isinstance(fmt, IntegerFormat) and fmt.per_channel:
        zeros = np.array([fmt.zero(k) for k in range(len(codes))], dtype=np.int64)
        return np.broadcast_to(zeros.reshape(-1, *[1] * (codes.ndim - 1)), codes.shape)
    return np.full(codes.shape, zero_of(fmt), dtype=np.int64)


def size_of(code: int, fmt: Format, zero: int) -> int:
    """How far a code is from zero: in codes; of a float, how many of its bits are not those of 1.0."""
    if isinstance(fmt, IntegerFormat):
        return abs(code - zero)
    if code == zero:
        return 0
    one = int(fmt.encode(1.0))
    return 1 + (code ^ one).bit_count()


def simpler_codes(code: int, fmt: Format, zero: int) -> Iterator[int]:
    """Codes that are simpler than this one, the simplest first: zero, one step, half the way, three quarters, .. one less.

    >>> from hwsim.formats import FixedPoint
    >>> list(simpler_codes(-9, FixedPoint(8, 0), 0))
    [0, -1, -5, -7, -8]
    """
    size = size_of(code, fmt, zero)
    if isinstance(fmt, IntegerFormat):
        sign = 1 if code > zero else -1
        steps = [size >> part for part in range(1, size.bit_length())]  # half of it off, a quarter, .. and 1
        found = [zero, zero + sign, *(zero + sign * (size - step) for step in steps)]
    else:
        one, top = int(fmt.encode(1.0)), 1 << (fmt.bits - 1)
        found = [zero, one, one | top, *(code ^ (1 << bit) for bit in range(fmt.bits))]
    for simpler in dict.fromkeys(found):
        if fmt.low <= simpler <= fmt.high and size_of(simpler, fmt, zero) < size and _stands_for_a_number(simpler, fmt):
            yield simpler


def _stands_for_a_number(code: int, fmt: Format) -> bool:
    if isinstance(fmt, Minifloat):
        return not is_nan(code, fmt.layout)
    return not isinstance(fmt, PowerOfTwo) or code in fmt.codes


def cost(example: Example) -> Cost:
    """(codes that are not zero, codes at all, attributes, bias, contract, magnitudes): smaller comes first, place by place."""
    layer, inputs = example.layer, example.inputs
    fmt = layer.input_formats[0]
    zeros = np.full(inputs.shape, zero_of(fmt))
    used, size = int(np.count_nonzero(inputs != zeros)), _size(inputs, fmt, zeros)
    if not isinstance(layer, MacLayer):
        return used, inputs.size, 0, 0, 0, size
    own = _own_cost(layer)
    return used + own[0], inputs.size + own[1], _attributes(layer, inputs), own[2], own[3], size + own[4]


_OWN: WeakKeyDictionary[MacLayer, Cost] = WeakKeyDictionary()


def _own_cost(layer: MacLayer) -> Cost:
    """(weights that are not zero, weights, bias, contract, magnitudes), counted once: a large layer may keep its weights."""
    if layer not in _OWN:
        weight, fmt = layer.weight, layer.contract.weight
        zeros = zeros_like(weight, fmt)
        size, bias = _size(weight, fmt, zeros), 0
        if layer.bias is not None:
            bias = 1 + int(np.count_nonzero(layer.bias))
            size += _size(layer.bias, layer.contract.bias_format(layer.channels), np.zeros(layer.bias.shape, dtype=np.int64))
        _OWN[layer] = int(np.count_nonzero(weight != zeros)), weight.size, bias, complexity(layer.contract), size
    return _OWN[layer]


NARROW = 32
"""Bits up to which int64 holds the sum of all distances from zero that fit a memory."""


def _size(codes: np.ndarray, fmt: Format, zeros: np.ndarray) -> int:
    """The sum of all codes' distances from zero, exact."""
    if isinstance(fmt, IntegerFormat):
        kind = np.int64 if fmt.bits <= NARROW else object
        return int(np.abs(codes.astype(kind) - zeros.astype(kind)).sum())
    pairs = zip(codes.ravel().tolist(), zeros.ravel().tolist(), strict=True)
    return sum(size_of(code, fmt, zero) for code, zero in pairs)


def _attributes(layer: MacLayer, inputs: np.ndarray) -> int:
    if isinstance(layer, FullyConnected):
        return int(inputs.shape[2] * inputs.shape[3] > 1)
    assert isinstance(layer, (Convolution, Deconvolution))
    ends = (0, 0) if layer.pad_end is None else layer.pad_end
    pads = sum(abs(p) for p in (*layer.pad, *ends))
    return sum(layer.stride) + sum(layer.dilation) + layer.groups + pads + (layer.pad_end is not None)


def complexity(contract: Any) -> int:
    """How many fields of a contract, at any depth, are not what they are by default; formats do not count."""
    if isinstance(contract, FORMATS) or not is_dataclass(contract):
        return 0
    found = 0
    for field in fields(contract):
        value = getattr(contract, field.name)
        if field.default is not MISSING:
            found += value != field.default
        found += complexity(value)
    return found


def simpler_contracts(contract: Any) -> Iterator[Any]:
    """The same contract with one field, at any depth, set to its default."""
    if isinstance(contract, FORMATS) or not is_dataclass(contract) or isinstance(contract, type):
        return
    for field in fields(contract):
        value = getattr(contract, field.name)
        options = [] if field.default is MISSING or value == field.default else [field.default]
        for option in (*options, *simpler_contracts(value)):
            try:
                yield replace(contract, **{field.name: option})
            except ContractError:  # the fields depend on each other
                continue


PER_CHANNEL = ("fractional_length", "scale", "zero_point", "multiplier", "shift")
"""Fields that may have one number per output channel."""


def with_channels(contract: Any, channels: int, kept: list[int]) -> Any:
    """The same contract for some of its output channels."""
    if not is_dataclass(contract) or isinstance(contract, type):
        return contract
    changed = {}
    for field in fields(contract):
        value = getattr(contract, field.name)
        if field.name in PER_CHANNEL and isinstance(value, tuple) and len(value) == channels:
            changed[field.name] = tuple(value[k] for k in kept)
        elif is_dataclass(value) and (new := with_channels(value, channels, kept)) is not value:
            changed[field.name] = new
    return replace(contract, **changed) if changed else contract
