"""The average of a window: an exact division, rounded once. By a reciprocal it is requantize.finish."""

from hwsim.arith.requantize import Activation, finish_scaled
from hwsim.arith.rounding import round_ratio


def average(total, count, lift, offset, stage):
    """average(t) = (code, event) of round((t + count * offset) * 2**lift / count), ReLU before it if it stands there.

    total: of code - zero_point.  offset: what is added back to each position before the division, behind ReLU.  int64: both
    (|total| + count * |offset|) << lift and count << -lift fit 62 bits.

    >>> from hwsim.arith.overflow import Overflow
    >>> from hwsim.arith.requantize import NO_CLAMP, Stage
    >>> from hwsim.arith.rounding import Rounding
    >>> away = Stage(0, Rounding.TIES_AWAY, 0, *NO_CLAMP, Overflow.SATURATE, Activation.NONE, 8, 1, -128, 127)
    >>> average(-7, 2, 0, 0, away), average(-7, 2, 0, 10, away)  # -3.5, and 6.5
    ((-4, 0), (7, 0))
    """
    if stage.activation == Activation.RELU_BEFORE_REQUANTIZE:
        total = max(total, 0)
    total = (total + count * offset) << max(lift, 0)
    return finish_scaled(round_ratio(total, count << max(-lift, 0), stage.rounding), stage)
