"""Fully connected: one sum over the whole input of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hwsim.errors import ContractError
from hwsim.layers.base import Shape, one_input
from hwsim.layers.integer_unit import Extents
from hwsim.layers.mac import MacLayer, checked_weights


@dataclass(frozen=True, eq=False)
class FullyConnected(MacLayer):
    """acc[n,k] = bias[k] + sum over i of x[n,i] * w[k,i], the input flattened in the order (c, y, x).

    weight: codes [K][C*H*W].  bias: codes [K] or None.  The output has shape (K, 1, 1).
    """

    kind: ClassVar[str] = "fully_connected"

    def __post_init__(self) -> None:
        weight = checked_weights("fully_connected.weight", self.weight, self.contract.weight, "KI")
        object.__setattr__(self, "weight", weight)
        super().__post_init__()

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """(K, 1, 1)."""
        shape = one_input(self.kind, inputs)
        if shape.c * shape.h * shape.w != self.weight.shape[1]:
            raise ContractError(
                f"fully_connected: found an input of {shape.c} x {shape.h} x {shape.w} = {shape.c * shape.h * shape.w} codes, "
                f"allowed {self.weight.shape[1]}, one per weight."
            )
        return Shape(self.channels, 1, 1)

    def extents(self, shape: Shape) -> Extents:
        """The input's channels, rows and columns."""
        return shape.c, shape.h, shape.w

    def taps(self, image: Sequence[Sequence[Sequence[int]]], k: int, y: int, x: int) -> tuple[list[int], list[bool]]:
        """Return the whole input; nothing is padded."""
        codes = [code for plane in image for row in plane for code in row]
        return codes, [False] * len(codes)
