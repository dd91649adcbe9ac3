"""The numeric contract: everything that can change a bit, as frozen data."""

from hwsim.contract.dialects import DIALECTS, EXACT32, RISTRETTO_CPU, RISTRETTO_GPU, BiasRule, Dialect, RangeRule
from hwsim.contract.mac import Accumulator, Activation, MacContract, Output
from hwsim.contract.product import ShiftAdd
from hwsim.contract.stochastic import DrawOrder, Lfsr, Reset, StochasticRounding, Tail

__all__ = [
    "DIALECTS",
    "EXACT32",
    "RISTRETTO_CPU",
    "RISTRETTO_GPU",
    "Accumulator",
    "Activation",
    "BiasRule",
    "Dialect",
    "DrawOrder",
    "Lfsr",
    "MacContract",
    "Output",
    "RangeRule",
    "Reset",
    "ShiftAdd",
    "StochasticRounding",
    "Tail",
]
