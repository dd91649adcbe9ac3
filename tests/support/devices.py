"""A small layer, and devices that are right or bad about it, for the tests of hwsim.testing."""

from __future__ import annotations

import numpy as np

import hwsim
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.formats import FixedPoint
from hwsim.layers import Convolution, Layer

S8 = FixedPoint(8, 4)
# Two products of small numbers are beyond 12 bits, and the output shows all that an accumulator of 12 bits holds.
SATURATING = MacContract(S8, S8, Output(S8), Accumulator(12, overflow=hwsim.Overflow.SATURATE))
WEIGHT = np.array([[[[3, -2], [1, 0]]], [[[-1, 2], [0, 7]]]])
LAYER = Convolution(SATURATING, WEIGHT, np.array([8, -8]))
"""One input channel, two output channels, 2 x 2 taps."""
INPUTS = np.array([[[[1, 2, 3], [4, 5, 6]]], [[[-9, 8, 7], [0, 1, -2]]]])
"""Two images of 2 x 3 pixels: outputs of 2 x 2 x 1 x 2."""


def model(layer: Layer, inputs: np.ndarray) -> np.ndarray:
    """The right device: the specification."""
    return hwsim.run_layer(layer, inputs, backend="spec").codes
