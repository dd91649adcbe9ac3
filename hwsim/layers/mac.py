"""What convolution and fully connected layers share: the MAC contract resolved, its bounds, the end of a sum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from hwsim.arith.accumulate import accumulate
from hwsim.contract.mac import MacContract
from hwsim.contract.resolve import MacNumbers, resolve_mac
from hwsim.errors import ContractError
from hwsim.formats.fixed import FixedPoint
from hwsim.layers.base import Bounds, Cell, Events, checked_codes, finish, rounded_range


@dataclass(frozen=True, eq=False)
class MacLayer:
    """A layer of multiply-accumulate units: weight codes [K]..., bias codes [K] or None, and their contract."""

    contract: MacContract
    weight: np.ndarray
    bias: np.ndarray | None = None

    def __post_init__(self) -> None:
        channels = len(self.weight)
        self.contract.weight.lengths(channels)
        if self.contract.accumulator.fractional_length is not None:
            self.contract.accumulator.grid().lengths(channels)
        if self.bias is not None:
            fmt = self.contract.bias_format(channels)
            fmt.lengths(channels)
            object.__setattr__(self, "bias", checked_codes(f"{self.kind}.bias", self.bias, fmt, "K"))
            if len(self.bias) != channels:
                raise ContractError(f"{self.kind}.bias: found {len(self.bias)} codes, allowed {channels}, one per channel.")
        self.numbers  # noqa: B018  resolve now: a contract that cannot be built is refused when it is constructed

    kind: ClassVar[str] = "mac"

    @property
    def channels(self) -> int:
        """Number of output channels K."""
        return len(self.weight)

    @property
    def input_formats(self) -> tuple[FixedPoint, ...]:
        """Format of the one input."""
        return (self.contract.input,)

    @property
    def output_format(self) -> FixedPoint:
        """Format of the output codes."""
        return self.contract.output.format

    @cached_property
    def sums(self) -> list[tuple[int, int]]:
        """Per output channel (N, P): the smallest and largest exact sum of products with inputs free in their range.

        Padded taps are 0, which every format holds, so they change nothing.
        """
        low, high = self.contract.input.low, self.contract.input.high
        flat = self.weight.reshape(self.channels, -1).astype(np.int64)
        positive = np.where(flat > 0, flat, 0).sum(axis=1).tolist()
        negative = np.where(flat < 0, flat, 0).sum(axis=1).tolist()
        return [(p * low + n * high, p * high + n * low) for p, n in zip(positive, negative, strict=True)]

    @cached_property
    def numbers(self) -> MacNumbers:
        """The datapath's integers: shifts, aligned biases, limits and proven bounds."""
        bias = None if self.bias is None else self.bias.tolist()
        return resolve_mac(self.contract, self.sums, bias, self.kind)

    @cached_property
    def bounds(self) -> Bounds:
        """Both ends are reached by some input; where the exact sum can leave the register, the output's may be wider."""
        p = self.numbers
        outputs = []
        for k, (low, high) in enumerate(self.sums):
            exact = ((low << p.product_shift[k]) + p.bias[k], (high << p.product_shift[k]) + p.bias[k])
            wraps = exact[0] < p.acc_low or exact[1] > p.acc_high
            outputs.append(rounded_range((p.acc_low, p.acc_high) if wraps else exact, k, p.epilogue))
        return Bounds((p.exact_low, p.exact_high), (min(low for low, _ in outputs), max(high for _, high in outputs)))

    def end(self, total: int, k: int) -> Cell:
        """Finish the exact sum of products of output channel k: align, add the bias, wrap, requantize; count events."""
        p = self.numbers
        acc, left = accumulate(total, p.product_shift[k], p.bias[k], p.acc_bits, p.acc_low, p.acc_high)
        code, event = finish(acc, k, p.epilogue)
        return Cell(code, acc, Events(left, event))
