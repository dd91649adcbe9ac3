"""What elementwise layers share that compute in float32, step by step, between integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, reduce
from math import prod
from typing import NamedTuple

import numpy as np

from hwsim.arith.float_steps import float_integer, float_term, fused_term, offset_term
from hwsim.arith.minifloat import add_floats, multiply_floats
from hwsim.arith.rounding import Rounding
from hwsim.contract.mac import TIES, Activation, Output
from hwsim.contract.operand import FloatSteps
from hwsim.contract.resolve import Epilogue, resolve_output
from hwsim.errors import ContractError
from hwsim.formats.catalog import BINARY32

STEP_BITS = 62


class StepCodes(NamedTuple):
    """FloatSteps as codes of binary32. offset: 0 where there is none."""

    scales: tuple[int, ...]
    divisor: int
    offset: int


def check_steps(kind: str, steps: FloatSteps, scales: int) -> None:
    """Refuse another number of scales."""
    if len(steps.scales) != scales:
        raise ContractError(f"{kind}: found FloatSteps with {len(steps.scales)} scales, allowed {scales}.")


def steps_epilogue(kind: str, output: Output, steps: FloatSteps) -> Epilogue:
    """Return the output stage behind the float steps, whose integers it takes as they are."""
    if output.scaling is not None:
        raise ContractError(f"{kind}.output.scaling: found one behind FloatSteps, whose scales are all; allowed None.")
    if output.rounding not in TIES:
        names = ", ".join(mode.name for mode in TIES)
        raise ContractError(f"{kind}.output.rounding: found {output.rounding!r} behind FloatSteps, allowed {names}.")
    epilogue = resolve_output(output, (output.format.fl(),), STEP_BITS, kind)
    if steps.offset is None:
        return epilogue
    if output.activation is not Activation.NONE:
        raise ContractError(f"{kind}.output.activation: found {output.activation.name} with an offset, allowed is a clamp.")
    return replace(epilogue, zero_point=0)


@lru_cache(maxsize=256)
def step_codes(steps: FloatSteps) -> StepCodes:
    """Return the numbers as codes of binary32."""
    numbers = [*steps.scales, steps.divisor, steps.offset or 0.0]
    codes = np.array(numbers, dtype=np.float32).view(np.uint32).tolist()
    return StepCodes(tuple(codes[:-2]), codes[-2], codes[-1])


def summed_in_steps(values: Sequence[int], zeros: Sequence[int], steps: FloatSteps, rounding: Rounding) -> int:
    """The integer of a sum; values: of code - zero."""
    f, p = BINARY32.layout, step_codes(steps)
    if steps.offset is None:
        terms = [float_term(value, scale, f) for value, scale in zip(values, p.scales, strict=True)]
        total = reduce(lambda a, b: add_floats(a, f, b, f, f, Rounding.TIES_EVEN)[0], terms)
        return int(float_integer(total, p.divisor, rounding, f))
    total = p.offset
    for value, zero, scale in zip(reversed(values), reversed(zeros), reversed(p.scales), strict=True):
        total = fused_term(value + zero, scale, total, f)
    return int(float_integer(total, p.divisor, rounding, f))


def multiplied_in_steps(values: Sequence[int], steps: FloatSteps, rounding: Rounding) -> int:
    """The integer of a product; values: of code - zero."""
    f, p = BINARY32.layout, step_codes(steps)
    if steps.offset is not None:
        return int(float_integer(offset_term(prod(values), p.scales[0], p.offset, f), p.divisor, rounding, f))
    terms = [float_term(value, scale, f) for value, scale in zip(values, p.scales, strict=True)]
    whole = reduce(lambda a, b: multiply_floats(a, f, b, f, f, Rounding.TIES_EVEN)[0], terms)
    return int(float_integer(whole, p.divisor, rounding, f))
