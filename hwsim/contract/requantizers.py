"""Schools of requantizing affine codes: by which rule the accumulator is scaled, and how its multiplier follows from scales.

Data and sources; a dialect holds one AffineRules. The rules themselves are in arith/scale.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.contract.accumulator import check_kind
from hwsim.contract.scaling import (
    Multiplier,
    float32_multiplier,
    float64_multiplier,
    make_multiplier,
    quantized_multiplier,
    reduced_multiplier,
)
from hwsim.errors import ContractError


class ScaleProduct(Enum):
    """In which floats input scale * weight scale / output scale is computed, left to right.

    DOUBLES: all of it.  FLOAT32_PRODUCT: the product is rounded to float32, the quotient is a double.  FLOAT32: all of it.
    """

    DOUBLES = "doubles"
    FLOAT32_PRODUCT = "float32_product"
    FLOAT32 = "float32"

    def real(self, first: float, second: float, output: float) -> float:
        """real = first * second / output, as this school rounds it; ContractError where floats do not hold it.

        >>> ScaleProduct.DOUBLES.real(0.1, 0.7, 0.3) == 0.1 * 0.7 / 0.3
        True
        """
        with np.errstate(over="ignore", under="ignore"):
            if self is ScaleProduct.DOUBLES:
                found = np.float64(first) * np.float64(second) / np.float64(output)
            elif self is ScaleProduct.FLOAT32_PRODUCT:
                found = np.float64(np.float32(first) * np.float32(second)) / np.float64(np.float32(output))
            else:
                found = np.float32(first) * np.float32(second) / np.float32(output)
        if not 0 < found < np.inf:
            raise ContractError(
                f"scales {first!r} * {second!r} / {output!r}: found {float(found)!r} in {self.value}, allowed a number above 0; "
                "choose scales nearer to each other."
            )
        return float(found)


@dataclass(frozen=True)
class Requantizer:
    """From the accumulator to codes: the rule, its last rounding, and how its multiplier follows from the scales.

    reduced: the multiplier keeps 15 of its 31 bits (MULTIPLY alone), for accumulators of up to 48 bits.

    >>> Requantizer(Scaling.MULTIPLY, Rounding.TIES_UP).multiplier(0.5, (0.25, 0.5), 0.125)
    Multiplier(rule=<Scaling.MULTIPLY: 1>, multiplier=1073741824, shift=(30, 29))
    """

    rule: Scaling
    rounding: Rounding
    scales: ScaleProduct = ScaleProduct.DOUBLES
    reduced: bool = False

    def __post_init__(self) -> None:
        check_kind("Requantizer.rounding", self.rounding, Rounding)
        check_kind("Requantizer.scales", self.scales, ScaleProduct)
        if not isinstance(self.rule, Scaling) or self.rule is Scaling.SHIFT:
            raise ContractError(f"Requantizer.rule: found {self.rule!r}, allowed every Scaling but SHIFT.")
        if self.reduced and self.rule is not Scaling.MULTIPLY:
            raise ContractError(f"Requantizer.reduced: found True with {self.rule.name}, allowed with MULTIPLY.")

    def multiplier(self, first: float, seconds: Sequence[float], output: float) -> Multiplier:
        """Return the Multiplier of first * seconds[k] / output: input, weight and output scales, or two inputs' of a product."""
        pairs = [self.pair(self.scales.real(first, second, output)) for second in seconds]
        multipliers, shifts = {m for m, _ in pairs}, {s for _, s in pairs}
        if len(multipliers) == 1 and len(shifts) > 1:
            return Multiplier(self.rule, pairs[0][0], tuple(s for _, s in pairs))
        return make_multiplier(self.rule, pairs)

    def ratio(self, source: float, output: float) -> Multiplier:
        """Return the Multiplier from codes of one scale to codes of another."""
        return self.multiplier(source, (1.0,), output)

    def pair(self, real: float) -> tuple[int, int]:
        """Return (multiplier, shift) of one real scale."""
        if self.rule is Scaling.FLOAT32:
            return float32_multiplier(float(np.float32(real)))
        if self.rule is Scaling.FLOAT64:
            return float64_multiplier(real)
        m, shift = quantized_multiplier(real)
        return reduced_multiplier(m, shift) if self.reduced else (m, shift)


@dataclass(frozen=True)
class AffineRules:
    """What the scheme AFFINE takes from a dialect: a requantizer for each kind of operator.

    convolution: also depthwise and transposed ones; `unsigned` where codes and weights are, None for the same.
    elementwise: sums and changes of scale; product: of two tensors, None for the same.
    wide, wide_dense: convolutions and fully connected layers (None: the same) of codes of more than 8 bits, which are symmetric,
    with an accumulator of `wide_bits`: 48 for a 64-bit bias.  With a 32-bit bias it is `convolution`, and 32 bits.
    sum_shift: by how many bits the operands of a sum are
    shifted left before they are scaled, and `wide_sum_shift` for more than 8 bits; None where sums are computed in float32.
    """

    convolution: Requantizer
    fully_connected: Requantizer
    elementwise: Requantizer
    wide: Requantizer
    unsigned: Requantizer | None = None
    product: Requantizer | None = None
    sum_shift: int | None = 20
    wide_sum_shift: int | None = 15
    wide_dense: Requantizer | None = None
    wide_bits: int = 48


DOUBLE = Requantizer(Scaling.HIGH_MULTIPLY, Rounding.TIES_AWAY)
"""gemmlowp's two roundings."""

SINGLE = Requantizer(Scaling.MULTIPLY, Rounding.TIES_UP)
"""One rounding of the exact product."""

REDUCED = Requantizer(Scaling.MULTIPLY, Rounding.TIES_UP, reduced=True)
"""One rounding of a 48-bit accumulator times 15 bits."""

IN_DOUBLE = Requantizer(Scaling.FLOAT64, Rounding.TIES_AWAY)
IN_FLOAT = Requantizer(Scaling.FLOAT32, Rounding.TIES_EVEN, ScaleProduct.FLOAT32)
TOSA_DOUBLE = Requantizer(Scaling.DOUBLE_ROUND, Rounding.TIES_UP)

UINT8_DOUBLE = Requantizer(Scaling.HIGH_MULTIPLY, Rounding.TIES_AWAY, ScaleProduct.FLOAT32_PRODUCT)
PRODUCT_DOUBLE = Requantizer(Scaling.HIGH_MULTIPLY, Rounding.TIES_AWAY, ScaleProduct.FLOAT32)

TFLITE_RULES = AffineRules(DOUBLE, IN_DOUBLE, DOUBLE, REDUCED, UINT8_DOUBLE, PRODUCT_DOUBLE, wide_dense=IN_DOUBLE)
TFLITE_SINGLE_RULES = AffineRules(SINGLE, SINGLE, SINGLE, REDUCED)
TOSA_RULES = AffineRules(TOSA_DOUBLE, TOSA_DOUBLE, TOSA_DOUBLE, REDUCED)
CMSIS_NN_RULES = AffineRules(DOUBLE, DOUBLE, DOUBLE, REDUCED)
ONNXRUNTIME_RULES = AffineRules(IN_FLOAT, IN_FLOAT, IN_FLOAT, IN_FLOAT, sum_shift=None, wide_sum_shift=None)
