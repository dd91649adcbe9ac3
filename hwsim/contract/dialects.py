"""Dialects: named templates without formats, resolved once into each layer. No code compares their names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract.mac import Accumulator, Activation


class BiasRule(Enum):
    """The bias's format: the accumulator's grid and width, or the weights' format (which saturates it)."""

    ACCUMULATOR = "accumulator"
    WEIGHT_FORMAT = "weight_format"


class RangeRule(Enum):
    """How an integer length follows from a range.

    COVER: the narrowest that holds the range (after the calibration method chose it).
    RISTRETTO: il = ceil(log2(max) + 1) for weights, ceil(log2(max)) for layer inputs and outputs, one bit short on purpose.
    """

    COVER = "cover"
    RISTRETTO = "ristretto"


@dataclass(frozen=True)
class Dialect:
    """A whole school of arithmetic: what a layer's contract is made of, but for the formats.

    requantize_inputs: each layer has an input format of its own, reached through a visible Rescale; else the producer's
    output format is the consumer's input format.
    unsigned_after_relu: a code that cannot be negative spends no bit on a sign.
    logit_bits: width of the network's last output, which the host reads.
    """

    name: str
    accumulator: Accumulator
    rounding: Rounding
    overflow: Overflow
    activation: Activation
    bias: BiasRule
    ranges: RangeRule
    requantize_inputs: bool
    unsigned_after_relu: bool
    logit_bits: int = 16
    source: str = ""


EXACT32 = Dialect(
    name="exact32",
    accumulator=Accumulator(32, require_proof=True),
    rounding=Rounding.TIES_EVEN,
    overflow=Overflow.SATURATE,
    activation=Activation.RELU_BEFORE_REQUANTIZE,
    bias=BiasRule.ACCUMULATOR,
    ranges=RangeRule.COVER,
    requantize_inputs=False,
    unsigned_after_relu=True,
    source="hwsim's default: 32-bit accumulators proven safe, one rounding per layer",
)

RISTRETTO_CPU = Dialect(
    name="ristretto_cpu",
    accumulator=Accumulator(64),
    rounding=Rounding.TIES_AWAY,
    overflow=Overflow.SATURATE,
    activation=Activation.RELU_AFTER_REQUANTIZE,
    bias=BiasRule.WEIGHT_FORMAT,
    ranges=RangeRule.RISTRETTO,
    requantize_inputs=True,
    unsigned_after_relu=False,
    source="Ristretto for Caffe, base_ristretto_layer.cpp: std::round is ties away",
)

RISTRETTO_GPU = replace(
    RISTRETTO_CPU,
    name="ristretto_gpu",
    rounding=Rounding.TIES_EVEN,
    source="Ristretto for Caffe, base_ristretto_layer.cu: rint is ties even; the published logs",
)

DIALECTS = {dialect.name: dialect for dialect in (EXACT32, RISTRETTO_CPU, RISTRETTO_GPU)}
