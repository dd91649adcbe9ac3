"""What every layer is: attributes, a resolved contract and codes, with a specification in plain Python ints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from hwsim.arith import requantize as arith
from hwsim.arith.lfsr import noise_bits, round_shift_stochastic
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding, round_shift
from hwsim.arith.scale import HIGH, Scaling, scale_value
from hwsim.contract.float_mac import FloatOutput
from hwsim.contract.mac import Output
from hwsim.contract.resolve import Epilogue
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint, Format, Minifloat

Real = FixedPoint | Affine | Minifloat
"""Formats of what flows between layers."""

AnyOutput = Output | FloatOutput
"""The last stage of a layer that computes."""


class Shape(NamedTuple):
    """Channels, height and width of one tensor of one image."""

    c: int
    h: int
    w: int


class Events(NamedTuple):
    """How often an exact result did not fit before overflow: steps, by place.

    accumulator, tree, spill: all steps there; without a declared order, the accumulator's end alone.  output: outputs.
    transient_*: those of them in outputs whose exact final value fits the accumulator. The rest is persistent.
    """

    accumulator: int = 0
    output: int = 0
    tree: int = 0
    spill: int = 0
    transient_accumulator: int = 0
    transient_tree: int = 0
    transient_spill: int = 0

    def plus(self, other: Events) -> Events:
        """Add place by place."""
        return Events(*(a + b for a, b in zip(self, other, strict=True)))


class Shares(NamedTuple):
    """How many outputs of a layer were proven free of events by their bounds, by their sums, and walked step by step.

    All are 0 where no order is declared: nothing is to be walked.
    """

    static: int = 0
    sums: int = 0
    walked: int = 0


class Cell(NamedTuple):
    """One output of a layer as the specification computes it. acc: after the bias, before requantize; None without one."""

    code: int
    acc: int | None
    events: Events


Range = tuple[int, int]
"""Smallest and largest value, both included."""


class Bounds(NamedTuple):
    """What can happen with inputs free in their formats: proven, never left, whatever the codes.

    accumulator: the exact sum at the accumulator's end, bias included; None where there is no accumulator.
    output: the rounded result before the output's overflow, so where it lies within the format there are no events.
    """

    accumulator: Range | None
    output: Range


Codes = Sequence[Sequence[Sequence[Sequence[int]]]]
"""One input of spec(): plain ints indexed [n][c][y][x], as ndarray.tolist() gives them."""


class Layer(Protocol):
    """A kind of layer. It has no name and no edges: the network has those."""

    kind: ClassVar[str]

    @property
    def input_formats(self) -> tuple[Real, ...]:
        """Format of the codes of each input."""

    @property
    def output_format(self) -> Real:
        """Format of the output codes."""

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the output's shape; ContractError where the inputs do not match the attributes."""

    @property
    def bounds(self) -> Bounds:
        """Worst-case range of the accumulator and of the output before overflow."""

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """Compute one output in plain Python ints."""


class OneInput:
    """What layers share that read one input of a declared `format` and, unless they say otherwise, keep its shape."""

    kind: ClassVar[str]
    format: Real

    @property
    def input_formats(self) -> tuple[Real, ...]:
        """Format of the one input."""
        return (self.format,)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's shape."""
        return one_input(self.kind, inputs)


class Unchanged(OneInput):
    """A layer whose output codes are input codes, in the same format."""

    @property
    def output_format(self) -> Real:
        """The input's format."""
        return self.format

    @property
    def bounds(self) -> Bounds:
        """Any code of the format."""
        return Bounds(None, (self.format.low, self.format.high))


class Requantized(OneInput):
    """A layer that ends in an output stage of its own."""

    output: AnyOutput

    @property
    def output_format(self) -> Real:
        """Format of the output codes."""
        return self.output.format


def finish(value: int, k: int, epilogue: Epilogue, noise: int = 0) -> tuple[int, int]:
    """(code, event) of an exact value of output channel k: the leaf, with the epilogue's numbers; noise: where it draws."""
    e = epilogue
    if e.stochastic is not None:
        return arith.finish_stochastic(value, e.shift[k], noise, e.overflow, e.activation, e.bits, e.signed, e.low, e.high)
    return arith.finish(value, e.multiplier[k], e.shift[k], e.stage)


def finish_rounded(rounded: int, epilogue: Epilogue) -> tuple[int, int]:
    """(code, event) of a value that is already scaled and rounded: the leaf, with the epilogue's numbers."""
    return arith.finish_scaled(rounded, epilogue.stage)


def rounded_range(value: Range, k: int, epilogue: Epilogue) -> Range:
    """Return the range of round(value / 2**shift[k]), behind a ReLU that stands before it: rounding is monotone.

    A stochastic rounding reaches from no noise to a register full of ones.
    """
    low, high = value
    if epilogue.activation == Activation.RELU_BEFORE_REQUANTIZE:
        low, high = max(low, 0), max(high, 0)
    shift, mode, rule = epilogue.shift[k], epilogue.rounding, epilogue.stochastic
    if rule is not None:
        noise = noise_bits((1 << rule.lfsr.width) - 1, rule.lfsr.width, shift, rule.alignment)
        return round_shift(low, shift, mode), round_shift_stochastic(high, shift, noise)
    return scaled_range(low, high, k, epilogue)


def scaled_range(low: int, high: int, k: int, epilogue: Epilogue) -> Range:
    """Return the range of clamp(scale(value) + zero_point)."""
    e, stage = epilogue, epilogue.stage
    ends = (end + e.zero_point for end in multiplied_range(low, high, e.multiplier[k], e.shift[k], e.scaling, e.rounding))
    found = tuple(min(max(end, stage.clamp_low), stage.clamp_high) for end in ends)
    return found[0], found[1]


def multiplied_range(low: int, high: int, multiplier: int, shift: int, rule: Scaling, rounding: Rounding) -> Range:
    """Return the range of scale(value): every rule of scaling is monotone where nothing wraps.

    HIGH_MULTIPLY shifts left within 32 bits: where that can wrap, any of its results is possible.
    """
    left = max(HIGH - shift, 0)
    if rule is Scaling.HIGH_MULTIPLY and not -(1 << 31) <= low << left <= high << left < 1 << 31:
        low, high, shift = -(1 << 31), (1 << 31) - 1, max(shift, HIGH)
    ends = tuple(scale_value(value, multiplier, shift, rule, rounding) for value in (low, high))
    return ends[0], ends[1]


def traps(output: AnyOutput) -> bool:
    """Return whether the first output event stops the run; a minifloat's overflow does not."""
    return isinstance(output, Output) and output.overflow == Overflow.TRAP


def pair(name: str, value: Any, low: int) -> tuple[int, int]:
    """Return (vertical, horizontal) from an int or a pair of ints, each at least `low`."""
    values = (value, value) if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else value
    good = isinstance(values, (tuple, list)) and len(values) == 2
    if not good or not all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) and low <= v < 1 << 16 for v in values):
        raise ContractError(f"{name}: found {value!r}, allowed an integer or a pair (vertical, horizontal) from {low} to 65535.")
    return int(values[0]), int(values[1])


def one_input(kind: str, inputs: Sequence[Shape]) -> Shape:
    """Return the only input's shape."""
    if len(inputs) != 1:
        raise ContractError(f"{kind}: found {len(inputs)} inputs, allowed exactly one.")
    return inputs[0]


def checked_codes(name: str, codes: np.ndarray, fmt: Format, axes: str) -> np.ndarray:
    """Return a read-only copy of codes in the format's dtype; every code must fit, and the axes' number must match."""
    codes = np.asarray(codes)
    if codes.dtype.kind not in "iu":
        raise ContractError(f"{name}: found dtype {codes.dtype}, allowed integer codes; encode real values by the format first.")
    if codes.ndim != len(axes) or 0 in codes.shape:
        raise ContractError(f"{name}: found shape {codes.shape}, allowed axes {' '.join(axes)}, none of them empty.")
    if int(codes.min()) < fmt.low or int(codes.max()) > fmt.high:
        raise ContractError(
            f"{name}: codes reach {codes.min()}..{codes.max()}, allowed {fmt.low}..{fmt.high} ({fmt}); saturate them first."
        )
    owned = codes.astype(fmt.dtype)
    owned.setflags(write=False)
    return owned
