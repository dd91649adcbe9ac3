"""What the reducer tries: to take parts of an example away, then to make its attributes, codes and contract simpler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from hwsim.formats import Format
from hwsim.layers import Convolution, Deconvolution, FullyConnected, MacLayer
from hwsim.testing.judge import Example
from hwsim.testing.resteer import resteer
from hwsim.testing.shrink import Move, Search
from hwsim.testing.simpler import simpler_codes, simpler_contracts, with_channels, zero_of

Count = Callable[[Example], int]
Without = Callable[[Example, int, int], "Example | None"]
SINGLY = 24
"""So many codes that are not zero are made simpler one by one; more of them together only."""


def cut(search: Search, count: Count, without: Without, least: int = 1) -> None:
    """Take away as much as possible of what is counted: all, halves, quarters, single ones; `least` must stay."""
    step = count(search.current) // (1 + least)
    while step >= 1:
        at = 0
        while at < count(search.current):
            end = min(at + step, count(search.current))
            stays = count(search.current) - (end - at)
            if stays < least or not search.attempt(without, search.current, at, end):
                at += step
        step //= 2


def mac(example: Example) -> MacLayer:
    """The example's layer, which multiplies and accumulates."""
    assert isinstance(example.layer, MacLayer)
    return example.layer


def images(search: Search) -> None:
    """One image, the one that is wrong; else as few as possible."""
    place = search.verdict.place
    if place is not None:
        search.attempt(_inputs, search.current, search.current.inputs[place[0] : place[0] + 1])
    cut(search, lambda e: len(e.inputs), lambda e, a, b: _inputs(e, np.delete(e.inputs, slice(a, b), axis=0)))


def one_output(search: Search) -> None:
    """Only what the wrong output reads: one channel, the kernel over its patch, no padding, stride 1."""
    for inner in (True, False):
        place = search.verdict.place
        known = place is not None and place[0] < len(search.current.inputs)
        if known and isinstance(search.current.layer, (Convolution, FullyConnected)):
            search.attempt(_patch, search.current, place, inner)


def _patch(example: Example, place: tuple[int, int, int, int], inner: bool) -> Example | None:
    """inner: without the taps that lie in the padding."""
    layer, inputs, (n, k, y, x) = mac(example), example.inputs, place
    if isinstance(layer, FullyConnected):
        return _kept_channels(Example(layer, inputs[n : n + 1]), [k])
    assert isinstance(layer, Convolution)
    codes, padded = layer.taps(inputs[n].tolist(), k, y, x)
    shape = layer.weight.shape[1:]
    patch, outside = np.array(codes).reshape(1, *shape), np.array(padded).reshape(shape)
    weight = layer.weight[k : k + 1]
    if inner:
        rows, columns = ~outside.all(axis=(0, 2)), ~outside.all(axis=(0, 1))
        if not rows.any() or not columns.any():
            return None
        patch, weight = patch[:, :, rows][:, :, :, columns], weight[:, :, rows][:, :, :, columns]
    bias = None if layer.bias is None else layer.bias[k : k + 1]
    contract = with_channels(layer.contract, layer.channels, [k])
    return Example(Convolution(contract, weight, bias), patch.astype(inputs.dtype))


def _inputs(example: Example, inputs: np.ndarray) -> Example:
    return Example(example.layer, np.ascontiguousarray(inputs))


def _weights(example: Example, weight: np.ndarray, inputs: np.ndarray | None = None) -> Example:
    return Example(replace(mac(example), weight=weight), example.inputs if inputs is None else np.ascontiguousarray(inputs))


def _kept_channels(example: Example, kept: list[int]) -> Example:
    """The same layer with some of its output channels, all of one group's or of all groups'."""
    layer = mac(example)
    bias = None if layer.bias is None else layer.bias[kept]
    return Example(
        replace(layer, contract=with_channels(layer.contract, layer.channels, kept), weight=layer.weight[kept], bias=bias),
        example.inputs,
    )


def flat(search: Search) -> None:
    """A fully connected layer's input as channels alone."""
    if isinstance(search.current.layer, FullyConnected):
        search.attempt(_inputs, search.current, search.current.inputs.reshape(len(search.current.inputs), -1, 1, 1))


def groups(search: Search) -> None:
    """Fewer groups, with all that belongs to them."""
    cut(search, lambda e: getattr(e.layer, "groups", 1), _without_groups)


def _without_groups(example: Example, first: int, last: int) -> Example | None:
    layer = example.layer
    assert isinstance(layer, (Convolution, Deconvolution))
    outputs, inputs = layer.channels // layer.groups, layer.weight.shape[1]
    kept = [k for k in range(layer.channels) if not first <= k // outputs < last]
    bias = None if layer.bias is None else layer.bias[kept]
    contract = with_channels(layer.contract, layer.channels, kept)
    smaller = replace(layer, contract=contract, weight=layer.weight[kept], bias=bias, groups=layer.groups - (last - first))
    return Example(smaller, np.delete(example.inputs, slice(first * inputs, last * inputs), axis=1))


def output_channels(search: Search) -> None:
    """Fewer output channels, as many of each group."""
    cut(search, lambda e: mac(e).channels // getattr(e.layer, "groups", 1), _without_outputs)


def _without_outputs(example: Example, first: int, last: int) -> Example:
    layer = mac(example)
    each = layer.channels // getattr(layer, "groups", 1)
    return _kept_channels(example, [k for k in range(layer.channels) if not first <= k % each < last])


def input_channels(search: Search) -> None:
    """Fewer input channels, as many of each group; of a fully connected layer, fewer taps."""
    cut(search, lambda e: mac(e).weight.shape[1], _without_inputs)


def _without_inputs(example: Example, first: int, last: int) -> Example:
    layer, inputs = mac(example), example.inputs
    weight = np.delete(layer.weight, slice(first, last), axis=1)
    if isinstance(layer, FullyConnected):
        flat = np.delete(inputs.reshape(len(inputs), -1), slice(first, last), axis=1)
        return _weights(example, weight, flat[:, :, None, None])
    each = layer.weight.shape[1]
    return _weights(example, weight, inputs[:, [c for c in range(inputs.shape[1]) if not first <= c % each < last]])


def kernel(search: Search) -> None:
    """Fewer rows and columns of the kernel, with those of the input below them, or alone."""
    if not isinstance(search.current.layer, (Convolution, Deconvolution)):
        return
    for axis in (2, 3):
        for along in (True, False):
            cut(search, partial(_extent, axis), partial(_without_taps, axis, along))


def _extent(axis: int, example: Example) -> int:
    return mac(example).weight.shape[axis]


def _without_taps(axis: int, along: bool, example: Example, first: int, last: int) -> Example | None:
    weight = np.delete(mac(example).weight, slice(first, last), axis=axis)
    if not along:
        return _weights(example, weight)
    if example.inputs.shape[axis] <= last - first:
        return None
    return _weights(example, weight, np.delete(example.inputs, slice(first, last), axis=axis))


def places(search: Search) -> None:
    """Fewer rows and columns of the input."""
    if search.fixed or isinstance(search.current.layer, FullyConnected):
        return
    for axis in (2, 3) if isinstance(search.current.layer, MacLayer) else (1, 2, 3):
        cut(search, partial(_side, axis), partial(_without_places, axis))


def _side(axis: int, example: Example) -> int:
    return example.inputs.shape[axis]


def _without_places(axis: int, example: Example, first: int, last: int) -> Example:
    return _inputs(example, np.delete(example.inputs, slice(first, last), axis=axis))


def attributes(search: Search) -> None:
    """Stride and dilation 1, no padding."""
    if not isinstance(search.current.layer, (Convolution, Deconvolution)):
        return
    simple = {"pad_end": None, "pad": (0, 0), "stride": (1, 1), "dilation": (1, 1)}
    for name, value in simple.items():
        search.attempt(_changed, search.current, name, value)
        for axis in (0, 1):
            search.attempt(_one_side, search.current, name, axis)


def _changed(example: Example, name: str, value: Any) -> Example:
    return Example(replace(mac(example), **{name: value}), example.inputs)


def _one_side(example: Example, name: str, axis: int) -> Example | None:
    value = getattr(example.layer, name)
    if value is None:
        return None
    least = 1 if name in ("stride", "dilation") else 0
    return _changed(example, name, tuple(least if i == axis else v for i, v in enumerate(value)))


@dataclass(frozen=True)
class Array:
    """One array of an example: get(example) -> codes, about(example, channel) -> (format, zero code), put(example, codes)."""

    get: Callable[[Example], np.ndarray]
    about: Callable[[Example, int], tuple[Format, int]]
    put: Callable[[Example, np.ndarray], Example]

    def zeros(self, example: Example) -> np.ndarray:
        """The zero codes of each of its places."""
        codes = self.get(example)
        zeros = [self.about(example, k)[1] for k in range(len(codes))]
        return np.broadcast_to(np.array(zeros).reshape(-1, *[1] * (codes.ndim - 1)), codes.shape)

    def used(self, example: Example) -> np.ndarray:
        """Indices of the codes that are not zero."""
        return np.flatnonzero(self.get(example) != self.zeros(example))

    def simpler(self, example: Example, index: int) -> list[int]:
        """What the code there may become."""
        codes = self.get(example)
        fmt, zero = self.about(example, int(np.unravel_index(index, codes.shape)[0]))
        return list(simpler_codes(int(codes.flat[index]), fmt, zero))

    def changed(self, example: Example, new: dict[int, int]) -> Example:
        """The example with other codes at some places."""
        codes = self.get(example).copy()
        for index, code in new.items():
            codes.flat[index] = code
        return self.put(example, codes)


def _input_format(example: Example, _: int) -> tuple[Format, int]:
    fmt = example.layer.input_formats[0]
    return fmt, zero_of(fmt)


def _weight_format(example: Example, channel: int) -> tuple[Format, int]:
    fmt = mac(example).contract.weight
    return fmt, zero_of(fmt, channel)


def _bias_format(example: Example, _: int) -> tuple[Format, int]:
    fmt = mac(example).contract.bias_format(mac(example).channels)
    return fmt, zero_of(fmt)


def _bias(example: Example) -> np.ndarray:
    bias = mac(example).bias
    return np.empty(0, dtype=np.int64) if bias is None else bias


INPUTS = Array(lambda e: e.inputs, _input_format, _inputs)
WEIGHTS = Array(lambda e: mac(e).weight, _weight_format, _weights)
BIAS = Array(_bias, _bias_format, lambda e, codes: _changed(e, "bias", codes))


def _zeroed(array: Array, search: Search) -> None:
    """As few codes as possible that are not zero."""

    def without(example: Example, first: int, last: int) -> Example:
        zeros = array.zeros(example)
        return array.changed(example, {int(i): int(zeros.flat[i]) for i in array.used(example)[first:last]})

    cut(search, lambda e: len(array.used(e)), without, least=0)


zero_inputs, zero_weights = partial(_zeroed, INPUTS), partial(_zeroed, WEIGHTS)


def no_bias(search: Search) -> None:
    """No bias, or as few codes of it as possible that are not zero."""
    search.attempt(_changed, search.current, "bias", None)
    _zeroed(BIAS, search)


def _smaller(array: Array, search: Search) -> None:
    """One code after the other, as far down as it goes; where there are many, all of them at once."""
    used = array.used(search.current).tolist()
    if len(used) > SINGLY:
        for which in (0, 1, 2):
            options = {i: array.simpler(search.current, i) for i in used}
            search.attempt(array.changed, search.current, {i: o[min(which, len(o) - 1)] for i, o in options.items() if o})
        return
    for index in used:
        while any(search.attempt(array.changed, search.current, {index: o}) for o in array.simpler(search.current, index)):
            pass


small_inputs, small_weights, small_bias = (partial(_smaller, array) for array in (INPUTS, WEIGHTS, BIAS))


def contracts(search: Search) -> None:
    """A contract with more of its fields as they are by default; only where a strategy is known to vary them."""
    while search.frame is not None and any(
        search.attempt(_changed, search.current, "contract", c) for c in simpler_contracts(mac(search.current).contract)
    ):
        pass


def of_macs(*moves: Move) -> Move:
    """The moves, where the layer multiplies and accumulates and may change."""

    def move(search: Search) -> None:
        for each in moves:
            if not search.fixed and isinstance(search.current.layer, MacLayer):
                each(search)

    return move


MOVES: tuple[Move, ...] = (
    images,
    of_macs(one_output, flat, groups, output_channels),
    zero_inputs,
    of_macs(zero_weights, input_channels, kernel),
    places,
    resteer,
    of_macs(attributes, no_bias),
    small_inputs,
    of_macs(small_weights, small_bias, contracts),
)
"""The order matters for speed alone: what takes most away comes first."""
