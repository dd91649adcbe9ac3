"""Softmax in integers, over the channels at each pixel: a fixed-point exponential, their sum, one reciprocal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import ClassVar, NamedTuple

from hwsim.arith.gemmlowp import ONE, softmax_exponential, softmax_share, softmax_term
from hwsim.arith.requantize import Stage, finish_scaled
from hwsim.contract.mac import Activation, Output, check_format
from hwsim.contract.resolve import Epilogue, resolve_output
from hwsim.contract.scaling import quantized_multiplier
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers.base import Bounds, Cell, Codes, Events, Requantized, Shape, one_input

MAX_CHANNELS = 4095
RADIUS = 31 << 26
"""How far below the largest logit an exponential is taken, in codes shifted left: 31, as Q5.26."""


class SoftmaxNumbers(NamedTuple):
    """What the leaves take. reach: the largest distance from the row's maximum, in codes, that counts.  bits: of a share of 1."""

    multiplier: int
    left: int
    reach: int
    bits: int
    rounding: int


@dataclass(frozen=True)
class SoftmaxFixed(Requantized):
    """code = fit(round(exp(x_k) / (sum over channels of exp(x)) * 2**bits) + zero_point), x = (code - largest) * scale.

    All in integers: x is a Q5.26 number, (code - largest) << left_shift times multiplier / 2**31. A channel is not summed and
    gives real 0 where that left shift alone leaves 31 as Q5.26.  output: an Affine of scale 2**-bits, bits in 1..16, so that
    a share of 1 is 2**bits; its rounding is the last of the chain.  At most 4095 channels, whose sum 32 bits hold.
    Source: TensorFlow Lite, SOFTMAX of 8-bit codes (kernels/internal/reference/softmax.h), TIES_AWAY; gemmlowp's fixed point.

    >>> from hwsim.arith.rounding import Rounding
    >>> u8 = Affine(8, 0.5, 0, signed=False)
    >>> layer = SoftmaxFixed.from_scale(u8, 0.5, Output(Affine(8, 1 / 256, 0, signed=False), Rounding.TIES_AWAY))
    >>> [layer.spec([[[[[7]], [[9]]]]], 0, k, 0, 0).code for k in range(2)]  # 1 / (1 + e) and e / (1 + e), of 256
    [69, 187]
    """

    format: FixedPoint | Affine
    multiplier: int
    left_shift: int
    output: Output

    kind: ClassVar[str] = "softmax_fixed"

    def __post_init__(self) -> None:
        check_format("softmax_fixed.format", self.format, 16)
        if type(self.multiplier) is not int or not 0 < self.multiplier <= ONE:
            raise ContractError(f"softmax_fixed.multiplier: found {self.multiplier!r}, allowed an integer in 1..{ONE}.")
        if type(self.left_shift) is not int or not 0 <= self.left_shift <= 30:
            raise ContractError(f"softmax_fixed.left_shift: found {self.left_shift!r}, allowed an integer in 0..30.")
        if not isinstance(self.output, Output):
            raise ContractError(f"softmax_fixed.output: found {self.output!r}, allowed an Output.")
        if self.output.scaling is not None or self.output.activation is not Activation.NONE:
            raise ContractError(
                "softmax_fixed.output: found a scaling or an activation, allowed a format, rounding and overflow."
            )
        self.numbers  # noqa: B018  refuse now what cannot be resolved

    @classmethod
    def from_scale(cls, fmt: FixedPoint | Affine, scale: float, output: Output) -> SoftmaxFixed:
        """multiplier / 2**31 * 2**left_shift = min(scale * 2**26, 2**31 - 1): 31 bits of it; scale: beta times the input's."""
        multiplier, shift = quantized_multiplier(min(scale * (1 << 26), (1 << 31) - 1.0))
        if shift > 31:
            raise ContractError(f"softmax_fixed: found a scale of {scale!r}, allowed from 2**-27.")
        return cls(fmt, multiplier, 31 - shift, output)

    @cached_property
    def numbers(self) -> SoftmaxNumbers:
        """The integers of the chain."""
        fmt = self.output.format
        step = Fraction(fmt.step()) if isinstance(fmt, Affine) else Fraction(0)
        bits = step.denominator.bit_length() - 1
        if step != Fraction(1, 1 << bits) or not 1 <= bits <= 16:
            raise ContractError(
                f"softmax_fixed.output.format: found {fmt}, allowed an Affine with a scale of 1/2 down to 1/65536."
            )
        rounding = self.output.fixed_rounding(self.kind)
        return SoftmaxNumbers(self.multiplier, self.left_shift, RADIUS >> self.left_shift, bits, int(rounding))

    @cached_property
    def epilogue(self) -> Epilogue:
        """The output stage, behind the share's own rounding."""
        return resolve_output(self.output, (0,), 32, self.kind)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's shape, of at most 4095 channels."""
        shape = one_input(self.kind, inputs)
        if shape.c > MAX_CHANNELS:
            raise ContractError(
                f"softmax_fixed: found {shape.c} channels, allowed at most {MAX_CHANNELS}: 32 bits hold their sum."
            )
        return shape

    @property
    def bounds(self) -> Bounds:
        """A share is 0 to 2**bits: a product of Q0.31 numbers is below 2**31, and shifted by 31 - bits or more."""
        low, high = (value + self.output.format.zero() for value in (0, 1 << self.numbers.bits))
        stage = self.epilogue.stage
        return Bounds(None, (max(low, stage.clamp_low), min(high, stage.clamp_high)))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        row = tuple(plane[y][x] for plane in inputs[0][n])
        code, event = _row(row, self.numbers, self.epilogue.stage)[k]
        return Cell(code, None, Events(0, event))


@lru_cache(maxsize=64)
def _row(row: tuple[int, ...], p: SoftmaxNumbers, stage: Stage) -> list[tuple[int, int]]:
    """(code, event) of each channel: kept, since every output of a pixel needs them all."""
    largest = max(row)
    distances = [largest - code for code in row]
    taken = [softmax_exponential(-d, p.multiplier, p.left) if d <= p.reach else None for d in distances]
    total = sum(softmax_term(e) for e in taken if e is not None)
    shares = [0 if e is None else softmax_share(e, total, p.bits, p.rounding) for e in taken]
    return [finish_scaled(share, stage) for share in shares]
