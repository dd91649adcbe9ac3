"""The leaves of arith/, made callable from compiled code: the very functions that the specification calls."""

from __future__ import annotations

from numba.extending import register_jitable

from hwsim.arith import accumulate, overflow, requantize, rounding

LEAVES = (
    rounding.increment,
    rounding.round_shift,
    rounding.round_ratio,
    overflow.wrap_signed,
    overflow.wrap_unsigned,
    overflow.wrap,
    overflow.fits,
    overflow.saturate,
    overflow.sum_fits,
    requantize.fit,
    requantize.requantize,
    requantize.finish_rounded,
    requantize.finish,
    accumulate.accumulate,
)

for _leaf in LEAVES:
    register_jitable(_leaf)
