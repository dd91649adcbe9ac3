"""The numeric contract: everything that can change a bit, as frozen data."""

from hwsim.arith.scale import Scaling
from hwsim.contract.accumulator import (
    Accumulator,
    Axis,
    BiasPoint,
    Order,
    PaddedTaps,
    RoundAt,
    Schedule,
    Spill,
    Tree,
    ZeroSkip,
)
from hwsim.contract.dialects import (
    DIALECTS,
    EXACT32,
    RISTRETTO_CPU,
    RISTRETTO_GPU,
    BiasRule,
    Dialect,
    Minifloats,
    RangeRule,
    Scheme,
)
from hwsim.contract.float_mac import ExactSum, FloatAccumulator, FloatMacContract, FloatOutput
from hwsim.contract.mac import Activation, MacContract, Output
from hwsim.contract.product import ShiftAdd
from hwsim.contract.scaling import Multiplier
from hwsim.contract.stochastic import DrawOrder, Lfsr, Reset, StochasticRounding, Tail

__all__ = [
    "DIALECTS",
    "EXACT32",
    "RISTRETTO_CPU",
    "RISTRETTO_GPU",
    "Accumulator",
    "Activation",
    "Axis",
    "BiasPoint",
    "BiasRule",
    "Dialect",
    "DrawOrder",
    "ExactSum",
    "FloatAccumulator",
    "FloatMacContract",
    "FloatOutput",
    "Lfsr",
    "MacContract",
    "Multiplier",
    "Minifloats",
    "Order",
    "Output",
    "PaddedTaps",
    "RangeRule",
    "Reset",
    "RoundAt",
    "Schedule",
    "Scaling",
    "Scheme",
    "ShiftAdd",
    "Spill",
    "StochasticRounding",
    "Tail",
    "Tree",
    "ZeroSkip",
]
