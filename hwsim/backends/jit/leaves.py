"""The leaves of arith/, made callable from compiled code: the very functions that the specification calls."""

from __future__ import annotations

from numba.extending import register_jitable

from hwsim.arith import accumulate, lfsr, minifloat, overflow, requantize, rounding, shift_add

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
    requantize.finish_stochastic,
    accumulate.accumulate,
    accumulate.add_to,
    accumulate.register_range,
    accumulate.add_tree,
    accumulate.total_of,
    accumulate.arrange,
    accumulate.spill,
    accumulate.walk,
    shift_add.negate,
    shift_add.shift_add_product,
    lfsr.parity,
    lfsr.shift_in,
    lfsr.lfsr_step,
    lfsr.characteristic,
    lfsr.times_x,
    lfsr.multiply_residues,
    lfsr.x_power,
    lfsr.lfsr_jump,
    lfsr.noise_bits,
    lfsr.round_shift_stochastic,
    minifloat.bit_length,
    minifloat.shift_right_sticky,
    minifloat.unpack,
    minifloat.is_nan,
    minifloat.is_infinite,
    minifloat.nan_code,
    minifloat.zero_code,
    minifloat.infinity_code,
    minifloat.relu_float,
    minifloat.overflows_outward,
    minifloat.pack,
    minifloat.round_pack,
    minifloat.add_exact,
    minifloat.add_infinities,
    minifloat.add_floats,
    minifloat.multiply_floats,
    minifloat.multiply_add_floats,
    minifloat.cast_float,
    minifloat.float_from_fixed,
    minifloat.fixed_from_float,
)

for _leaf in LEAVES:
    register_jitable(_leaf)
