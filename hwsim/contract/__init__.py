"""The numeric contract: everything that can change a bit, as frozen data."""

from hwsim.contract.dialects import DIALECTS, EXACT32, RISTRETTO_CPU, RISTRETTO_GPU, BiasRule, Dialect, RangeRule
from hwsim.contract.mac import Accumulator, Activation, MacContract, Output

__all__ = [
    "DIALECTS",
    "EXACT32",
    "RISTRETTO_CPU",
    "RISTRETTO_GPU",
    "Accumulator",
    "Activation",
    "BiasRule",
    "Dialect",
    "MacContract",
    "Output",
    "RangeRule",
]
