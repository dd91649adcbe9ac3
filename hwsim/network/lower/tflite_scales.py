"""How TensorFlow Lite's reference kernels make an output stage of real scales: which products are float32, which double.

Scales are float32 numbers as the file keeps them. Each operator's kernel derives its multiplier in its own way, and a last
bit of it changes codes; the rules below are those of LiteRT 2.3.0, BUILTIN_REF.
"""

from __future__ import annotations

import numpy as np

from hwsim.arith.rounding import Rounding, round_ratio
from hwsim.arith.scale import Scaling
from hwsim.contract import Multiplier, Output
from hwsim.contract.scaling import float64_multiplier, make_multiplier, quantized_multiplier, reduced_multiplier
from hwsim.errors import ContractError
from hwsim.formats import Affine
from hwsim.network.tflite_schema import Fused

F = np.float32
REAL_BOUNDS: dict[Fused, tuple[float | None, float | None]] = {
    Fused.NONE: (None, None),
    Fused.RELU: (0.0, None),
    Fused.RELU_N1_TO_1: (-1.0, 1.0),
    Fused.RELU6: (0.0, 6.0),
}


def quiet() -> np.errstate:
    """What float32 does not hold becomes infinity, 0 or no number at all, and is refused as a scale."""
    return np.errstate(all="ignore")


def double_real(*scales: float) -> float:
    """s1 * s2 * .. / s_last in double: int8 and int16 convolutions, fully connected layers, QUANTIZE, MEAN.

    >>> double_real(0.5, 0.25, 2.0)
    0.0625
    """
    real = scales[0]
    for scale in scales[1:-1]:
        real *= scale
    return real / scales[-1]


def mixed_real(input_scale: float, weight_scale: float, output_scale: float) -> float:
    """s_in * s_w rounded to float32, then / s_out in double: uint8 convolutions.

    >>> mixed_real(0.1, 0.1, 1.0) == double_real(0.1, 0.1, 1.0)
    False
    """
    with quiet():
        return float(F(input_scale) * F(weight_scale)) / output_scale


def float32_real(*scales: float) -> float:
    """s1 * s2 * .. / s_last, each step rounded to float32: MUL, and rectifiers that stand alone.

    >>> float32_real(0.5, 0.25, 2.0)
    0.0625
    """
    real = F(scales[0])
    with quiet():
        for scale in scales[1:-1]:
            real *= F(scale)
        return float(real / F(scales[-1]))


def twice_rounded(reals: list[float]) -> Multiplier:
    """MultiplyByQuantizedMultiplier of 32-bit values: the doubling high half, then a shift whose ties go away from zero."""
    return make_multiplier(Scaling.HIGH_MULTIPLY, [quantized_multiplier(real) for real in reals])


def once_rounded(reals: list[float]) -> Multiplier:
    """MultiplyByQuantizedMultiplier of 64-bit values: 15 bits of the multiplier, one rounding."""
    return make_multiplier(Scaling.MULTIPLY, [reduced_multiplier(*quantized_multiplier(real)) for real in reals])


def in_double(reals: list[float]) -> Multiplier:
    """round(double(acc) * real): fully connected layers."""
    return make_multiplier(Scaling.FLOAT64, [float64_multiplier(real) for real in reals])


ROUNDING = {
    Scaling.HIGH_MULTIPLY: Rounding.TIES_AWAY,
    Scaling.MULTIPLY: Rounding.TIES_UP,
    Scaling.FLOAT64: Rounding.TIES_AWAY,
}
"""Of the last step of each."""


def stage(fmt: Affine, scaling: Multiplier, fused: Fused) -> Output:
    """Return the output stage: scale, zero point, the activation's clamp, and what the type holds."""
    low, high = clamp(fmt, fused)
    return Output(fmt, ROUNDING[scaling.rule], scaling=scaling, clamp_low=low, clamp_high=high)


def clamp(fmt: Affine, fused: Fused) -> tuple[int | None, int | None]:
    """Codes at which a fused activation clips: zero_point + round(bound / scale), a float32 quotient, ties away.

    >>> clamp(Affine(8, 0.5, 3), Fused.RELU6), clamp(Affine(8, 0.01, 3), Fused.RELU6)
    ((3, 15), (3, 127))
    """
    ends: list[int | None] = []
    for real, limit in zip(REAL_BOUNDS[fused], (max, min), strict=True):
        if real is None:
            ends.append(None)
            continue
        with quiet():
            quotient = float(F(real) / F(fmt.step()))
        if abs(quotient) >= 1 << 31:
            raise ContractError(
                f"a fused activation at {real:g}: found scale {fmt.step():g}, allowed is one of which it is below 2**31."
            )
        code = fmt.zero() + round_ratio(*quotient.as_integer_ratio(), Rounding.TIES_AWAY)
        ends.append(min(max(code, fmt.low), fmt.high) if limit is max else max(min(code, fmt.high), fmt.low))
    return ends[0], ends[1]
