"""One layer of each kind that moves codes, looks them up, has slopes or scatters, with the shape of its input."""

from __future__ import annotations

import numpy as np

from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, Axis, MacContract, Order, Output, Scaling, Schedule
from hwsim.contract.scaling import Multiplier, quantized_multiplier
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import (
    ChannelShuffle,
    Clamp,
    Deconvolution,
    Flatten,
    FlattenOrder,
    LookupTable,
    Pad,
    PReLU,
    ResizeNearest,
    Sampling,
    Slice,
)

SHAPE = (6, 4, 5)
S8, A8, S16 = FixedPoint(8, 3), Affine(8, 0.25, -3), FixedPoint(16, 9)
HALF = Multiplier(Scaling.HIGH_MULTIPLY, *quantized_multiplier(0.5))
SCALED = Output(Affine(8, 0.5, 7), Rounding.TIES_AWAY, scaling=HALF, clamp_low=7)
RNG = np.random.default_rng(20)
WEIGHT, BIAS = RNG.integers(-128, 128, (4, 3, 3, 2)), RNG.integers(-999, 999, 4)
ORDERED = Accumulator(32, schedule=Schedule(Order.RSC, lanes=2, lane_axis=Axis.C))

LAYERS = {
    "pad": Pad(A8, (0, 1, 2), (1, 0, 3)),
    "pad with a code": Pad(S8, (0, 1, 2), (0, 0, 0), -7),
    "slice": Slice(A8, (5, 0, 4), (0, 4, -1), (-2, 1, -3)),
    "resize": ResizeNearest(S8, Sampling(1, 2), Sampling(3, 4, -1, Rounding.TIES_DOWN), (8, 6)),
    "resize by its rule": ResizeNearest(A8, Sampling(5, 9, 2, float32=True), Sampling(1, 1)),
    "shuffle": ChannelShuffle(S8, 3),
    "flatten": Flatten(A8, FlattenOrder.HWC),
    "clamp": Clamp(A8, -3, 21),
    "table": LookupTable(A8, S8, np.arange(127, -129, -1)),
    "line": LookupTable(S16, FixedPoint(23, 9), RNG.integers(-(1 << 15), 1 << 15, 513), 7, 0, Rounding.TIES_EVEN),
    "leaky": PReLU(S8, FixedPoint(6, 8), np.array([26]), Output(FixedPoint(8, 2))),
    "slopes": PReLU(A8, A8, np.arange(-3, 15, 3), SCALED, HALF),
    "deconvolution": Deconvolution(MacContract(S8, S8, Output(S8)), WEIGHT, BIAS, (2, 1), (-1, 0), (1, 2), 2, (0, -2)),
    "affine deconvolution": Deconvolution(MacContract(A8, A8, SCALED, ORDERED), WEIGHT, None, (3, 2), (1, 1), groups=2),
}


def inputs(name: str) -> np.ndarray:
    """Codes of two images for a layer, the same in every run."""
    f = LAYERS[name].input_formats[0]
    return np.random.default_rng(len(name)).integers(f.low, f.high, (2, *SHAPE), endpoint=True)
