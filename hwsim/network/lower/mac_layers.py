"""Layers of multiply-accumulate units: their contracts from the ranges, the widths and the dialect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hwsim.contract import Accumulator, BiasRule, Dialect, FloatMacContract, MacContract, Output, Schedule, Scheme
from hwsim.formats import FixedPoint, PowerOfTwo
from hwsim.layers import Convolution, Deconvolution, FullyConnected, Layer
from hwsim.network import ops
from hwsim.network.lower.settle import Real, codes, with_grid
from hwsim.network.lower.sites import MAC, Site
from hwsim.network.quantized import Source
from hwsim.network.ranges import ceil_log2, covering_length, covering_minifloat

if TYPE_CHECKING:
    from hwsim.network.lower.layers import Lowering


def mac_layer(lowering: Lowering, site: Site, fmt: Real) -> Layer:
    """Return the layer of a site that multiplies and accumulates, reading codes of this format."""
    op = site.op
    assert isinstance(op, MAC)
    source, output = Source(op.weight, op.bias), lowering.output(site)
    contract: MacContract | FloatMacContract
    if lowering.in_floats:
        register = lowering.widths.minifloats.accumulator
        weight = lowering.minifloat or covering_minifloat(float(np.abs(op.weight).max()))
        contract = FloatMacContract(fmt, weight, output, register, None, lowering.dialect.rounding)
    else:
        assert isinstance(fmt, FixedPoint) and isinstance(output, Output)
        contract = _integer_contract(lowering, site, source, fmt, output)
    stored, bias_codes = codes(contract, source)
    if isinstance(op, ops.InnerProduct):
        return FullyConnected(contract, stored, bias_codes)
    if isinstance(op, ops.Deconvolution):
        (bottom, right), more = op.pad_end or op.pad, op.output_padding
        end = (bottom - more[0], right - more[1])
        return Deconvolution(contract, stored, bias_codes, op.stride, op.pad, op.dilation, op.groups, end)
    return Convolution(contract, stored, bias_codes, op.stride, op.pad, op.dilation, op.groups, op.pad_end)


def _integer_contract(lowering: Lowering, site: Site, source: Source, fmt: FixedPoint, output: Output) -> MacContract:
    dialect, weight = lowering.dialect, _weight_format(lowering, source, fmt)
    if dialect.shifts is not None and isinstance(weight, FixedPoint):
        weight = _moved(weight, (output.format.fl() - fmt.fl() + s for s in dialect.shifts))
    stores_bias = dialect.bias is not BiasRule.ACCUMULATOR and source.bias is not None
    bias = weight if stores_bias and isinstance(weight, FixedPoint) else None
    if bias is not None and dialect.bias is BiasRule.OWN_FORMAT:
        bias = _own_bias(dialect, source, fmt, weight, output)  # type: ignore[arg-type]
    contract = MacContract(fmt, weight, output, dialect.accumulator, bias, dialect.rounding)
    contract = with_grid(contract, len(source.weight))
    return _fitted(contract, source, lowering.ranges[site.name].largest) if dialect.fit_accumulator else contract


def _moved(fmt: FixedPoint, ends: Iterable[int]) -> FixedPoint:
    """The format with its fractional lengths moved into the range between these ends."""
    low, high = ends
    lengths = fmt.fractional_length if isinstance(fmt.fractional_length, tuple) else (fmt.fractional_length,)
    within = tuple(min(max(length, low), high) for length in lengths)
    return replace(fmt, fractional_length=within if fmt.per_channel else within[0])


def _own_bias(dialect: Dialect, source: Source, fmt: FixedPoint, weight: FixedPoint, output: Output) -> FixedPoint:
    """A format of the bias's own: as wide as the weights, on the finest grid that holds it, within the shifts that there are."""
    assert source.bias is not None
    low, high = min(float(source.bias.min()), 0.0), max(float(source.bias.max()), 0.0)
    own = FixedPoint(weight.bits, covering_length(low, high, weight.bits, True))
    least, most = dialect.bias_shifts or (-256, 256)
    products = [fmt.fl() + length for length in weight.lengths(len(source.weight))]
    least = min(0, least + max(products) - output.format.fl())
    return _moved(own, (max(products) - most, min(products) - least))


def _fitted(contract: MacContract, source: Source, seen: float) -> MacContract:
    """The contract with the accumulator's grid that holds twice what was seen of the output, and the bias."""
    channels, bits = len(source.weight), contract.accumulator.bits
    largest = max(seen, 0.0 if source.bias is None else float(np.abs(source.bias).max()))
    length = bits - 2 - (ceil_log2(largest) if largest else 0)
    if length >= max(contract.product_length(k) for k in range(channels)):
        return contract
    schedule = contract.accumulator.schedule or Schedule()
    accumulator = replace(contract.accumulator, fractional_length=length, dropped_bits=0, schedule=schedule)
    return replace(contract, accumulator=accumulator)


def _weight_format(lowering: Lowering, source: Source, fmt: FixedPoint) -> FixedPoint | PowerOfTwo:
    dialect, widths, rule = lowering.dialect, lowering.widths, lowering.weight_rule
    most, powers = None, widths.scheme is Scheme.POWER_OF_TWO
    if dialect.bias == BiasRule.ACCUMULATOR and not dialect.fit_accumulator:
        most = bias_room(source.bias, fmt, dialect.accumulator, len(source.weight))
    return (rule.powers if powers else rule.format)(source.weight, widths.weights, most)


def bias_room(bias: np.ndarray | None, fmt: FixedPoint, accumulator: Accumulator, channels: int) -> np.ndarray:
    """Return the largest fractional length of each channel's weights at which the bias takes at most half the accumulator.

    On the products' grid a bias has the code bias * 2**(fl_in + fl_weight): weights of almost nothing beside a large bias
    would need a grid so fine that the accumulator cannot hold the bias.
    """
    if bias is None:
        return np.full(channels, 256)
    room = accumulator.bits - 2 - fmt.fl() + accumulator.dropped_bits
    return np.array([min(room - ceil_log2(abs(b)), 256) if b else 256 for b in bias.tolist()])
