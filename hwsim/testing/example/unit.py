"""The unit's contract, and the layers that it can compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.formats import FixedPoint
from hwsim.layers import Convolution, FullyConnected
from hwsim.testing.campaign import require_hypothesis
from hwsim.testing.example.jobs import DEFAULT, Widths

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def contract(shift: int = 0, relu: bool = False, widths: Widths = DEFAULT) -> MacContract:
    """Return what mac.v computes: saturate at every step, then shift right with ties to even, saturate.

    >>> contract(5).output.format, contract(5).accumulator.bits
    (FixedPoint(bits=8, fractional_length=-5, signed=True), 20)
    """
    activation = Activation.RELU_BEFORE_REQUANTIZE if relu else Activation.NONE
    return MacContract(
        FixedPoint(widths.x, 0),
        FixedPoint(widths.w, 0),
        Output(FixedPoint(widths.out, -shift), Rounding.TIES_EVEN, Overflow.SATURATE, activation),
        Accumulator(widths.acc, overflow=Overflow.SATURATE),
    )


def contracts(widths: Widths = DEFAULT) -> SearchStrategy[MacContract]:
    """A strategy of the unit's contracts: every shift, the two ends more often, with and without ReLU; simplest is shift 0."""
    require_hypothesis()
    from hypothesis import strategies as st

    last = (1 << widths.shift) - 1
    shifts = st.one_of(st.integers(0, last), st.integers(0, last), st.sampled_from((0, last)))
    return st.builds(contract, shifts, st.booleans(), st.just(widths))


def layers(widths: Widths = DEFAULT) -> SearchStrategy[Convolution | FullyConnected]:
    """A strategy of small layers that the unit computes, with a bias, in which corners are likely."""
    require_hypothesis()
    from hypothesis import strategies as st

    from hwsim.testing import conv_layers, fc_layers

    mine = contracts(widths)
    connected = fc_layers(max_channels=3, max_taps=8, contract=mine, biased=True)
    return st.one_of(connected, conv_layers(max_channels=2, max_kernel=2, contract=mine, biased=True))
