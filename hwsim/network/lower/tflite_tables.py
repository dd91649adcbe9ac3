"""TensorFlow Lite's 8-bit operators that are any function of one code: tables of float32 steps, one entry for each code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.arith.rounding import Rounding, round_ratio
from hwsim.errors import InputError
from hwsim.formats import Affine
from hwsim.layers import Layer, LookupTable
from hwsim.layers.tables import tflite_table
from hwsim.network.lower.tflite_scales import quiet
from hwsim.network.lower.tflite_site import Site

F = np.float32


def curve(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Site], list[Layer]]:
    """LOGISTIC or TANH: a function of float32 numbers."""

    def make(site: Site) -> list[Layer]:
        x, out = site.input_format(0), site.output_format()
        if site.operator.name == "LOGISTIC" and out.step() != 1 / 256:
            raise InputError(f"{site.where}: found the output scale {out.step():g}, allowed 1/256, as TensorFlow Lite has it.")
        with quiet():  # what float32 does not hold makes entries that are refused
            return [tflite_table(function, x, out)]

    return make


def joined(x: Affine, out: Affine) -> Layer:
    """A branch of a CONCATENATION of uint8 on another grid: code * r - z_in * r in float32 steps, r = s_in * (1 / s_out)."""
    with quiet():
        factor = F(x.step()) * (F(1) / F(out.step()))
        offset = F(-x.zero()) * factor
        scaled = [F(code) * factor + offset for code in range(x.low, x.high + 1)]
    if not np.isfinite(scaled).all():
        raise InputError(
            f"a branch of {x} is joined into {out}, and float32 does not hold their ratio; choose scales nearer to one."
        )
    low, high = out.low - out.zero(), out.high - out.zero()
    near = [float(min(max(value, F(low - 1)), F(high + 1))) for value in scaled]
    whole = [round_ratio(*value.as_integer_ratio(), Rounding.TIES_AWAY) + out.zero() for value in near]
    return LookupTable(x, out, np.clip(np.array(whole), out.low, out.high))
