"""Real limits as codes: a clip fused into an output stage, and what becomes of its codes when the format changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hwsim.contract import FloatOutput, Output
from hwsim.errors import InputError
from hwsim.formats import FixedPoint, Minifloat
from hwsim.network import ops


def real_code(fmt: Any, value: float) -> int:
    """Return the code nearest to a real number, ties to even; what is beyond the format's ends becomes the end."""
    if isinstance(fmt, Minifloat):
        return int(replace(fmt, saturate=True).encode(value))
    return int(fmt.encode(value))


def clamp_codes(fmt: FixedPoint, clip: ops.Clip) -> tuple[int | None, int | None]:
    """Return the codes at which a format clips; None where a limit lies beyond the format, which then saturates before.

    >>> clamp_codes(FixedPoint(8, 4, signed=False), ops.Clip(0.0, 6.0)), clamp_codes(FixedPoint(8, 5), ops.Clip(-5.0, 1.0))
    ((0, 96), (None, 32))
    """
    low = None if clip.low is None else fmt.round_real(clip.low)
    high = None if clip.high is None else fmt.round_real(clip.high)
    if low is not None and low < fmt.low:
        low = None
    if high is not None and high > fmt.high:
        high = None
    return (None if low is None else min(low, fmt.high)), (None if high is None else max(high, fmt.low))


def clipped(stage: Output | FloatOutput, clip: ops.Clip) -> Output:
    """Return an output stage that clips, too."""
    if not isinstance(stage, Output) or not isinstance(stage.format, FixedPoint):
        raise InputError("a Clip has no minifloats yet; choose a scheme of integers.")
    low, high = clamp_codes(stage.format, clip)
    return replace(stage, clamp_low=low, clamp_high=high)


def on_format(stage: Output, fmt: FixedPoint) -> Output:
    """Return the output stage in another format of the same kind, its clamp where it was in real numbers."""
    old = stage.format
    if not isinstance(old, FixedPoint):
        return replace(stage, format=fmt)
    ends = [None if code is None else float(old.decode(code)) for code in (stage.clamp_low, stage.clamp_high)]
    low, high = clamp_codes(fmt, ops.Clip(*ends))
    return replace(stage, format=fmt, clamp_low=low, clamp_high=high)
