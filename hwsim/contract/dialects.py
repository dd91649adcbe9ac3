"""Dialects: named templates without formats, resolved once into each layer. No code compares their names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract.float_mac import ExactSum, FloatAccumulator
from hwsim.contract.mac import Accumulator, Activation
from hwsim.contract.requantizers import (
    CMSIS_NN_RULES,
    ONNXRUNTIME_RULES,
    TFLITE_RULES,
    TFLITE_SINGLE_RULES,
    TOSA_RULES,
    AffineRules,
)
from hwsim.errors import ContractError
from hwsim.formats.catalog import BINARY16, BINARY32
from hwsim.formats.minifloat import Minifloat


class BiasRule(Enum):
    """The bias's format: the accumulator's grid and width, the weights' format (which saturates it), or one of its own.

    OWN_FORMAT: as wide as the weights, on the grid that holds it.
    """

    ACCUMULATOR = "accumulator"
    WEIGHT_FORMAT = "weight_format"
    OWN_FORMAT = "own_format"


class RangeRule(Enum):
    """How an integer length follows from a range.

    COVER: the narrowest that holds the range (after the calibration method chose it).
    RISTRETTO: il = ceil(log2(max) + 1) for weights, ceil(log2(max)) for layer inputs and outputs, one bit short on purpose.
    """

    COVER = "cover"
    RISTRETTO = "ristretto"


class Scheme(Enum):
    """Which kind of numbers a network stores and multiplies.

    DYNAMIC_FIXED_POINT: integers, each tensor on its own grid.  POWER_OF_TWO: weights +-2**e and a shift-add unit, activations
    as before.  MINIFLOAT: weights and activations.  AFFINE: scales and zero points from smallest and largest values.
    """

    DYNAMIC_FIXED_POINT = "dynamic_fixed_point"
    POWER_OF_TWO = "power_of_two"
    MINIFLOAT = "minifloat"
    AFFINE = "affine"


@dataclass(frozen=True)
class Minifloats:
    """What the scheme MINIFLOAT takes where the others take widths.

    format: of weights and activations, made saturating; None lets the dialect's range rule choose.
    accumulator: an exact sum, or a float register rounded at every add.
    logits: of the network's last output, which the host reads.
    """

    format: Minifloat | None = None
    accumulator: ExactSum | FloatAccumulator = ExactSum()
    logits: Minifloat = replace(BINARY16, saturate=True)

    def __post_init__(self) -> None:
        for name, value in (("format", self.format), ("logits", self.logits)):
            if not isinstance(value, Minifloat) and (value is not None or name == "logits"):
                raise ContractError(f"Minifloats.{name}: found {value!r}, allowed a Minifloat.")
        if self.format is not None and self.format.bits > BINARY32.bits:
            raise ContractError(f"Minifloats.format: found {self.format.bits} bits, allowed at most {BINARY32.bits}.")
        if not isinstance(self.accumulator, (ExactSum, FloatAccumulator)):
            raise ContractError(f"Minifloats.accumulator: found {self.accumulator!r}, allowed an ExactSum or a FloatAccumulator.")


@dataclass(frozen=True)
class Dialect:
    """A whole school of arithmetic: what a layer's contract is made of, but for the formats.

    requantize_inputs: each layer has an input format of its own, reached through a visible Rescale; else the producer's
    output format is the consumer's input format.
    unsigned_after_relu: a code that cannot be negative spends no bit on a sign.
    logit_bits: width of the network's last output, which the host reads.
    fit_accumulator: give each layer's accumulator the grid on which what was seen of its output leaves one bit free, where the
    products' grid does not; else the products' own, or as the accumulator says.
    per_channel: whether weights have a format for each output channel unless something else is asked for.
    shifts, bias_shifts: (least, most) right shift from the products' grid to the output's and to the bias's grid, to which the
    weights' and the bias's lengths are moved; the bias's least grows with the output's.  None where any will do.
    affine: what the scheme AFFINE takes; None where this school has no affine codes.
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
    fit_accumulator: bool = False
    source: str = ""
    per_channel: bool = True
    shifts: tuple[int, int] | None = None
    bias_shifts: tuple[int, int] | None = None
    affine: AffineRules | None = None


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
    per_channel=False,
    source="Ristretto for Caffe, base_ristretto_layer.cpp: std::round is ties away",
)

RISTRETTO_GPU = replace(
    RISTRETTO_CPU,
    name="ristretto_gpu",
    rounding=Rounding.TIES_EVEN,
    source="Ristretto for Caffe, base_ristretto_layer.cu: rint is ties even; the published logs",
)

DPU = replace(
    EXACT32,
    name="dpu",
    rounding=Rounding.TIES_UP,
    bias=BiasRule.OWN_FORMAT,
    unsigned_after_relu=False,
    logit_bits=8,
    per_channel=False,
    shifts=(0, 16),
    bias_shifts=(-16, 15),
    source="Vitis AI's quantizer: scales are powers of two, nearest with ties up (its `half up`), one length for all weights of "
    "a layer, bias of their width on a grid of its own; shift_cut within 0..16, shift_bias within shift_cut - 16..15",
)

TFLITE = Dialect(
    name="tflite",
    accumulator=Accumulator(32),
    rounding=Rounding.TIES_AWAY,
    overflow=Overflow.SATURATE,
    activation=Activation.NONE,
    bias=BiasRule.ACCUMULATOR,
    ranges=RangeRule.COVER,
    requantize_inputs=False,
    unsigned_after_relu=False,
    source="LiteRT 2.3.0, reference kernels: MultiplyByQuantizedMultiplier with two roundings; fully connected layers in doubles",
    affine=TFLITE_RULES,
)

TFLITE_SINGLE = replace(
    TFLITE,
    name="tflite_single",
    source="TensorFlow Lite built with TFLITE_SINGLE_ROUNDING: one rounding of the 64-bit product, ties up",
    affine=TFLITE_SINGLE_RULES,
)

TOSA = replace(
    TFLITE,
    name="tosa",
    source="TOSA specification, RESCALE with scale32 and DOUBLE_ROUND, as networks from TensorFlow Lite are legalized",
    affine=TOSA_RULES,
)

CMSIS_NN = replace(
    TFLITE,
    name="cmsis_nn",
    source="CMSIS-NN, arm_nn_requantize without CMSIS_NN_USE_SINGLE_ROUNDING; of 16-bit codes with a 64-bit bias "
    "arm_nn_requantize_s64 with REDUCE_MULTIPLIER, with a 32-bit bias arm_nn_requantize",
    affine=CMSIS_NN_RULES,
)

ONNXRUNTIME = replace(
    TFLITE,
    name="onnxruntime",
    rounding=Rounding.TIES_EVEN,
    source="ONNX Runtime, QLinearConv and MLAS's requantize: the accumulator as float32 times a float32 scale, ties to even",
    affine=ONNXRUNTIME_RULES,
)

DIALECTS = {
    dialect.name: dialect
    for dialect in (EXACT32, RISTRETTO_CPU, RISTRETTO_GPU, DPU, TFLITE, TFLITE_SINGLE, TOSA, CMSIS_NN, ONNXRUNTIME)
}
