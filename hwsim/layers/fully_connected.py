"""Fully connected: one sum over the whole input of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hwsim.arith.accumulate import dot
from hwsim.errors import ContractError
from hwsim.layers.base import Cell, Codes, Shape, checked_codes, one_input
from hwsim.layers.mac import MacLayer


@dataclass(frozen=True, eq=False)
class FullyConnected(MacLayer):
    """acc[n,k] = bias[k] + sum over i of x[n,i] * w[k,i], the input flattened in the order (c, y, x).

    weight: codes [K][C*H*W].  bias: codes [K] or None.  The output has shape (K, 1, 1).
    """

    kind: ClassVar[str] = "fully_connected"

    def __post_init__(self) -> None:
        weight = checked_codes("fully_connected.weight", self.weight, self.contract.weight, "KI")
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

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        flat = [code for plane in inputs[0][n] for row in plane for code in row]
        return self.end(dot(flat, self.weight[k].tolist()), k)
