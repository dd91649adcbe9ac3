"""Output stages of TensorFlow Lite's operators: a requantizer's multiplier, and the codes at which a fused activation clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.arith.rounding import Rounding, round_ratio
from hwsim.contract import Output
from hwsim.contract.requantizers import Requantizer
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
    """What float32 does not hold becomes infinity, 0 or no number at all, and is refused where it would become a code."""
    return np.errstate(all="ignore")


def stage(
    rule: Requantizer,
    first: float,
    seconds: Sequence[float],
    out: Affine,
    fused: Fused = Fused.NONE,
    divisor: float | None = None,
) -> Output:
    """Return the output stage that scales by first * seconds[k] / the output's scale, as the rule derives and rounds it.

    divisor: what stands for the output's scale, if not that itself.
    """
    low, high = clamp(out, fused)
    scaling = rule.multiplier(first, seconds, out.step() if divisor is None else divisor)
    return Output(out, rule.rounding, scaling=scaling, clamp_low=low, clamp_high=high)


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
        if not abs(quotient) < 1 << 31:
            raise ContractError(
                f"a fused activation at {real:g}: found scale {fmt.step():g}, allowed is one of which it is below 2**31."
            )
        code = fmt.zero() + round_ratio(*quotient.as_integer_ratio(), Rounding.TIES_AWAY)
        ends.append(min(max(code, fmt.low), fmt.high) if limit is max else max(min(code, fmt.high), fmt.low))
    return ends[0], ends[1]
