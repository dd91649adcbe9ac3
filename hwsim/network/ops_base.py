"""What every operation of a float Network is, the image that enters, and the checks that operations share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwsim.errors import InputError
from hwsim.network.finite import not_finite
from hwsim.network.preprocessing import MAX_SIDE, Preprocessing

Shape = tuple[int, int, int]
Pair = tuple[int, int]

MAX_ELEMENTS = 1 << 31
"""Most elements of one tensor of one image: beyond it a shape is a mistake or an attack."""


class Op:
    """What one node computes; a frozen dataclass for each kind."""

    inputs: ClassVar[tuple[int, int | None]] = (1, 1)
    """Fewest and most inputs (None: any number)."""

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """Shape of the one output; raises InputError where the inputs do not fit."""
        return inputs[0]

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        """Multiply-accumulates for one image."""
        return 0

    def parameters(self) -> int:
        """Number of learned numbers."""
        return sum(value.size for value in vars(self).values() if isinstance(value, np.ndarray))


def weights(op: object, field: str, ndim: int) -> np.ndarray:
    """Freeze one float32 array of an operation, checked for its number of axes and for finite values."""
    with np.errstate(over="ignore"):  # what became infinite is refused below
        array = np.ascontiguousarray(getattr(op, field), dtype=np.float32)
    if array is getattr(op, field) and array.flags.writeable:
        array = array.copy()
    if array.ndim != ndim or array.size == 0:
        raise InputError(f"{field} has shape {array.shape}; {ndim} axes with at least one element are needed.")
    if (bad := not_finite(array)) is not None:
        raise InputError(f"{field} holds a number that is not finite, {bad}; a network with NaN or infinity cannot be used.")
    array.setflags(write=False)
    object.__setattr__(op, field, array)
    return array


def vector(op: object, field: str, length: int) -> None:
    """Freeze one optional float32 vector of an operation."""
    if getattr(op, field) is None:
        return
    if weights(op, field, 1).size != length:
        raise InputError(f"{field} has {getattr(op, field).size} elements; {length} output channels need {length}.")


def pair(op: object, field: str, low: int) -> None:
    """Check one (vertical, horizontal) attribute."""
    value = getattr(op, field)
    if len(value) != 2 or not all(isinstance(v, int) and low <= v <= MAX_SIDE for v in value):
        raise InputError(f"{field} is {value}; it must be (vertical, horizontal), whole, {low}..{MAX_SIDE}.")


def end_padding(op: object) -> None:
    """Check pad_end, (bottom, right); what equals pad, (top, left), is stored as None."""
    if getattr(op, "pad_end") is None:  # noqa: B009  a field of some operations only
        return
    pair(op, "pad_end", 0)
    if op.pad_end == op.pad:  # type: ignore[attr-defined]
        object.__setattr__(op, "pad_end", None)


def same_channels(shape: Shape, channels: int) -> Shape:
    """Return the shape if it has this many channels."""
    if shape[0] != channels:
        raise InputError(f"the input has {shape[0]} channels; the layer has numbers for {channels}.")
    return shape


@dataclass(frozen=True, eq=False)
class Input(Op):
    """The image that enters; preprocessing says how pixels become real numbers, or is None where nobody said it."""

    inputs: ClassVar[tuple[int, int | None]] = (0, 0)
    shape: Shape
    preprocessing: Preprocessing | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or not all(1 <= side <= MAX_SIDE for side in self.shape):
            raise InputError(f"input shape {self.shape} is not (C, H, W) with sides of 1..{MAX_SIDE}.")
        if self.preprocessing is not None and self.preprocessing.shape != self.shape:
            raise InputError(f"input shape {self.shape} does not match the preprocessing's {self.preprocessing.shape}.")

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return self.shape
