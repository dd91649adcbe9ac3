"""What elementwise layers share that compute in float32, step by step, between integers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hwsim.contract.mac import TIES, Output
from hwsim.contract.operand import FloatSteps
from hwsim.contract.resolve import Epilogue, resolve_output
from hwsim.errors import ContractError

STEP_BITS = 62


def check_steps(kind: str, steps: FloatSteps, operands: int) -> None:
    """Refuse scales that are not one for each operand."""
    if len(steps.scales) != operands:
        raise ContractError(
            f"{kind}.operands: found {len(steps.scales)} scales, allowed one for each of the {operands} operands."
        )


def steps_epilogue(kind: str, output: Output) -> Epilogue:
    """Return the output stage behind the float steps, whose integers it takes as they are."""
    if output.scaling is not None:
        raise ContractError(f"{kind}.output.scaling: found one behind FloatSteps, whose divisor scales; allowed None.")
    if output.rounding not in TIES:
        names = ", ".join(mode.name for mode in TIES)
        raise ContractError(f"{kind}.output.rounding: found {output.rounding!r} behind FloatSteps, allowed {names}.")
    return resolve_output(output, (output.format.fl(),), STEP_BITS, kind)


@lru_cache(maxsize=256)
def float_codes(steps: FloatSteps) -> tuple[tuple[int, ...], int]:
    """Return the binary32 codes of the scales, and that of the divisor."""
    codes = np.array([*steps.scales, steps.divisor], dtype=np.float32).view(np.uint32).tolist()
    return tuple(codes[:-1]), codes[-1]
