"""Image -> codes: the first layer of every network, an integer datapath like the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from hwsim.contract.resolve import Epilogue, resolve_output
from hwsim.errors import ContractError
from hwsim.formats.fixed import FixedPoint
from hwsim.layers.base import AnyOutput, Bounds, Cell, Codes, Events, Real, Shape, finish, one_input, rounded_range
from hwsim.layers.float_output import finish_exact
from hwsim.layers.float_values import check_stage, has_float, integer_output, words

PIXEL = FixedPoint(8, 0, signed=False)
MEAN_LENGTH = 16
MAX_EXPONENT = 600  # beyond what any minifloat holds


@dataclass(frozen=True, eq=False)
class ImageEncoding:
    """code = fit(round((pixel - mean) * scale * 2**fl_out)), all in integers.

    mean: int64 codes [C][1][1] or [C][H][W] on the grid 2**-16.  scale = scale_mantissa * 2**-scale_length, mantissa at most
    24 bits (a float32).  So (pixel << 16) - mean has at most 26 bits, the product 50, and one shift rounds it:
    shift = 16 + scale_length - fl_out.  To a minifloat the same exact product is rounded once; with a Multiplier in the output
    stage, which then counts the 16 + scale_length binary places, to an affine format.
    """

    mean: np.ndarray
    scale_mantissa: int
    scale_length: int
    output: AnyOutput

    kind: ClassVar[str] = "image_encoding"

    def __post_init__(self) -> None:
        given = np.asarray(self.mean)
        limit = 256 << MEAN_LENGTH
        if given.dtype.kind not in "iu" or given.ndim != 3 or not -limit <= given.min(initial=0) <= given.max(initial=0) <= limit:
            raise ContractError(
                f"image_encoding.mean: found shape {given.shape}, {given.dtype} {given.min(initial=0)}..{given.max(initial=0)}; "
                f"allowed codes [C][1][1] or [C][H][W] within +-256 on the grid 2**-{MEAN_LENGTH}."
            )
        mean = given.astype(np.int64)
        mean.setflags(write=False)
        object.__setattr__(self, "mean", mean)
        if not isinstance(self.scale_mantissa, int) or not 0 < self.scale_mantissa < 1 << 24:
            raise ContractError(f"image_encoding.scale_mantissa: found {self.scale_mantissa!r}, allowed 1..2**24 - 1.")
        check_stage(self.kind, self.output)
        if self.in_floats:
            self._check_exponent()
        else:
            self.epilogue  # noqa: B018  refuse now what cannot be resolved

    def _check_exponent(self) -> None:
        if not isinstance(self.scale_length, int) or abs(self.exponent) > MAX_EXPONENT:
            low, high = -MAX_EXPONENT - MEAN_LENGTH, MAX_EXPONENT - MEAN_LENGTH
            raise ContractError(f"image_encoding.scale_length: found {self.scale_length!r}, allowed {low}..{high}.")

    @classmethod
    def from_real(cls, mean: float | Sequence[float] | np.ndarray, scale: float, output: AnyOutput) -> ImageEncoding:
        """Build from real numbers: mean per channel or [C][H][W] (rounded to 2**-16), scale to the nearest float32."""
        real = np.atleast_1d(np.asarray(mean, dtype=np.float64))
        if not (np.abs(real) <= 256).all() or not 0 < scale < 2.0**64:
            raise ContractError(f"image_encoding: mean {mean!r}, scale {scale!r}; allowed means in -256..256 and scales above 0.")
        codes = np.rint(real * (1 << MEAN_LENGTH)).astype(np.int64)
        mantissa, exponent = math.frexp(float(np.float32(scale)))
        integer, length = int(mantissa * (1 << 24)), 24 - exponent
        while integer and integer % 2 == 0:
            integer, length = integer // 2, length - 1
        return cls(codes.reshape(-1, 1, 1) if codes.ndim == 1 else codes, integer, length, output)

    @property
    def input_formats(self) -> tuple[FixedPoint, ...]:
        """8-bit unsigned pixels."""
        return (PIXEL,)

    @property
    def output_format(self) -> Real:
        """Format of the output codes."""
        return self.output.format

    @cached_property
    def in_floats(self) -> bool:
        """Whether the codes are minifloats."""
        return has_float((self.output.format,))

    @property
    def exponent(self) -> int:
        """The exact product's last bit means 2**exponent."""
        return -(MEAN_LENGTH + self.scale_length)

    @cached_property
    def epilogue(self) -> Epilogue:
        """The shift, limits and modes, of codes that are integers."""
        bits = 10 + MEAN_LENGTH + self.scale_mantissa.bit_length()
        return resolve_output(integer_output(self.kind, self.output), (MEAN_LENGTH + self.scale_length,), bits, self.kind)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The image's shape; a full mean must match it."""
        shape = one_input(self.kind, inputs)
        if self.mean.shape not in ((shape.c, 1, 1), tuple(shape)):
            raise ContractError(
                f"image_encoding.mean: found shape {self.mean.shape}, allowed {(shape.c, 1, 1)} or {tuple(shape)}."
            )
        return shape

    @property
    def bounds(self) -> Bounds:
        """The smallest pixel under the largest mean, and the largest under the smallest."""
        if self.in_floats:
            return words(self.output)
        low = ((PIXEL.low << MEAN_LENGTH) - int(self.mean.max())) * self.scale_mantissa
        high = ((PIXEL.high << MEAN_LENGTH) - int(self.mean.min())) * self.scale_mantissa
        return Bounds(None, rounded_range((low, high), 0, self.epilogue))

    def spec(self, inputs: Sequence[Codes], n: int, k: int, y: int, x: int) -> Cell:
        """One output in plain ints."""
        full = self.mean.shape[1:] != (1, 1)
        mean = int(self.mean[k, y if full else 0, x if full else 0])
        value = ((inputs[0][n][k][y][x] << MEAN_LENGTH) - mean) * self.scale_mantissa
        if self.in_floats:
            code, event = finish_exact(value, self.exponent, self.output)
            return Cell(code, None, Events(0, event))
        code, event = finish(value, 0, self.epilogue)
        return Cell(code, None, Events(0, event))
