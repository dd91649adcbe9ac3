"""Layers that look at one position at a time: ReLU, rescale and the sum of several inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from hwsim.arith.minifloat import relu_float
from hwsim.contract.mac import operand_range, signed_width
from hwsim.contract.resolve import Epilogue, resolve_output
from hwsim.errors import ContractError
from hwsim.formats import Affine, Minifloat
from hwsim.layers.base import (
    AnyOutput,
    Bounds,
    Cell,
    Codes,
    Events,
    Real,
    Requantized,
    Shape,
    Unchanged,
    finish,
    one_input,
    rounded_range,
)
from hwsim.layers.draws import noise_of
from hwsim.layers.float_output import finish_code
from hwsim.layers.float_values import (
    check_float_output,
    check_no_affine,
    check_real,
    check_stage,
    has_float,
    integer_format,
    integer_output,
    words,
)


@dataclass(frozen=True)
class ReLU(Unchanged):
    """code = max(code, zero point), where it stands alone; behind a layer that computes it is that layer's activation.

    Of minifloats, zeros become +0 and NaN passes.
    """

    format: Real

    kind: ClassVar[str] = "relu"

    def __post_init__(self) -> None:
        check_real("relu.format", self.format)

    @property
    def bounds(self) -> Bounds:
        """Any code of the format that is not negative."""
        zero = 0 if isinstance(self.format, Minifloat) else self.format.zero()
        return Bounds(None, (zero, self.format.high))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        code = inputs[0][n][k][y][x]
        if isinstance(self.format, Minifloat):
            return Cell(int(relu_float(code, self.format.layout)), None, Events())
        return Cell(max(code, integer_format(self.kind, self.format).zero()), None, Events())


@dataclass(frozen=True)
class Rescale(Requantized):
    """code = fit(round((code - zero_in) * 2**(fl_out - fl_in)) + zero_out): from one format to another, explicit and visible.

    With a Multiplier in the output stage that scales instead; it may have one entry for each channel, and a clamp stands
    behind it: so ReLU6 between two affine formats is a rescale.

    Where one of them is a minifloat: the same number, rounded once (a cast); a zero keeps its sign.
    """

    format: Real
    output: AnyOutput

    kind: ClassVar[str] = "rescale"

    def __post_init__(self) -> None:
        check_real("rescale.format", self.format)
        check_stage(self.kind, self.output)
        if self.in_floats:
            check_no_affine(self.kind, (self.format, self.output.format))
            check_float_output(self.kind, self.output)
        else:
            self.epilogue  # noqa: B018  refuse now what cannot be resolved

    @cached_property
    def in_floats(self) -> bool:
        """Whether a minifloat enters or leaves."""
        return has_float((self.format, self.output.format))

    @cached_property
    def epilogue(self) -> Epilogue:
        """The shift, limits and modes, of a rescale in integers."""
        fmt, output = integer_format(self.kind, self.format), integer_output(self.kind, self.output)
        bits = max(signed_width(end) for end in operand_range(fmt))
        channels = (output.scaling.channels if output.scaling is not None else None) or 1
        return resolve_output(output, (fmt.fl(),) * channels, bits, self.kind, draws=True)

    @property
    def per_channel(self) -> bool:
        """Whether each channel has a multiplier of its own."""
        return not self.in_floats and len(self.epilogue.shift) > 1

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's shape; as many channels as multipliers, where there are several."""
        shape = one_input(self.kind, inputs)
        if self.per_channel and shape.c != len(self.epilogue.shift):
            raise ContractError(
                f"rescale.output.scaling: found {len(self.epilogue.shift)} multipliers for {shape.c} channels; "
                "give one, or one for each."
            )
        return shape

    @property
    def bounds(self) -> Bounds:
        """The format's range, rescaled."""
        if self.in_floats:
            return words(self.output)
        low, high = operand_range(integer_format(self.kind, self.format))
        ranges = [rounded_range((low, high), k, self.epilogue) for k in range(len(self.epilogue.shift))]
        return Bounds(None, (min(low for low, _ in ranges), max(high for _, high in ranges)))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int, first_turn: int = 0) -> Cell:
        """One output in plain ints; first_turn: where it draws, the turn since the last reset in which image n begins."""
        image = inputs[0][n]
        if self.in_floats:
            assert not isinstance(self.format, Affine)  # check_grids
            code, event = finish_code(image[k][y][x], self.format, self.output)
            return Cell(code, None, Events(0, event))
        shape = Shape(len(image), len(image[0]), len(image[0][0]))
        value, channel = image[k][y][x] - integer_format(self.kind, self.format).zero(), k if self.per_channel else 0
        code, event = finish(value, channel, self.epilogue, noise_of(self.epilogue, shape, (k, y, x), first_turn))
        return Cell(code, None, Events(0, event))
