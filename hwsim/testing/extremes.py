"""The corner inputs that every layer has: all zero, all at one end, and those that drive an output's sum as far as it goes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hwsim.formats import Format, Minifloat
from hwsim.layers import Layer, MacLayer, Shape
from hwsim.testing.simpler import zero_of

LAYERS, CHANNELS = 8, 2
"""Of so many of the drawn layers, and of so many of each one's output channels."""


def extreme_inputs(layer: Layer, shape: Shape) -> Iterator[np.ndarray]:
    """Yield codes [1][C][H][W]: constants, then for some outputs the inputs of their largest and of their smallest sum.

    >>> from hwsim.contract import MacContract, Output
    >>> from hwsim.formats import FixedPoint
    >>> from hwsim.layers import FullyConnected
    >>> s4 = FixedPoint(4, 0)
    >>> layer = FullyConnected(MacContract(s4, s4, Output(s4)), np.array([[3, -2]]))
    >>> [codes.ravel().tolist() for codes in extreme_inputs(layer, Shape(2, 1, 1))]
    [[0, 0], [-8, -8], [7, 7], [7, -8], [-8, 7]]
    """
    fmt = layer.input_formats[0]
    zero, low, high = zero_of(fmt), *ends(fmt)
    for code in (zero, low, high):
        yield np.full((1, *shape), code, dtype=np.int64)
    if not isinstance(layer, MacLayer):
        return
    for k in range(min(layer.channels, CHANNELS)):
        positive = _positive(layer, shape, k)
        for first, second in ((low, high), (high, low)):
            found = np.full((1, *shape), zero, dtype=np.int64)
            for place, rises in positive.items():
                found.flat[place] = second if rises else first
            yield found


def ends(fmt: Format) -> tuple[int, int]:
    """The codes of the smallest and of the largest number."""
    if isinstance(fmt, Minifloat):
        return int(fmt.encode(float(fmt.smallest))), int(fmt.encode(float(fmt.largest)))
    return fmt.low, fmt.high


def _positive(layer: MacLayer, shape: Shape, k: int) -> dict[int, bool]:
    """For each input that the middle output of a channel reads: whether the output rises with it."""
    index: list[list[list[int]]] = np.arange(int(np.prod(shape))).reshape(shape).tolist()  # type: ignore[assignment]
    _, rows, columns = layer.output_shape([shape])
    sources, padded = layer.taps(index, k, rows // 2, columns // 2)
    reals = layer.contract.weight.to_real(layer.weight)[k].ravel()
    return {source: bool(reals[tap] > 0) for tap, source in enumerate(sources) if not padded[tap]}
