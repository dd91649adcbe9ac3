"""Layout: where each code lies in a memory. Data only; one address iterator serves the writer, the readers and the inverse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np

from hwsim.errors import ContractError

MAX_LANES = 4096
MAX_TILE = 65536


class ByteOrder(Enum):
    """Which byte of a word comes first in a raw binary image."""

    LITTLE = "little"
    BIG = "big"


@dataclass(frozen=True)
class MemoryLayout:
    """address * lanes + lane = position, counted through the axes of `order`, the last one fastest.

    order: one capital letter per axis, slowest first ("NCHW", "NHWC"). A tiled axis appears twice: its capital letter counts
    tiles, its small letter the place within a tile ("NCHWc" with tiles (("C", 16),)). The last tile is filled up with zeros.
    lanes: codes per word; lane 0 is the least significant.  byte_order: of a whole word in raw binary images.

    >>> MemoryLayout("NHWCc", (("C", 4),), lanes=4).positions((1, 3, 1, 2))  # -1 is padding
    array([ 0,  2,  4, -1,  1,  3,  5, -1])
    """

    order: str
    tiles: tuple[tuple[str, int], ...] = ()
    lanes: int = 1
    byte_order: ByteOrder = ByteOrder.LITTLE

    def __post_init__(self) -> None:
        if not isinstance(self.order, str) or not isinstance(self.byte_order, ByteOrder):
            raise ContractError(f"layout: found {self.order!r}, {self.byte_order!r}; allowed are a text and a ByteOrder.")
        if not _is_count(self.lanes, MAX_LANES):
            raise ContractError(f"layout.lanes: found {self.lanes!r}, allowed an integer in 1..{MAX_LANES}.")
        tiled = "".join(axis for axis, _ in self.tiles)
        capitals = "".join(sorted(a for a in self.order if a.isupper()))
        small = sorted(a for a in self.order if not a.isupper())
        if len(set(capitals)) != len(capitals) or sorted(tiled.lower()) != small or len(set(tiled)) != len(tiled):
            raise ContractError(
                f"layout.order: found {self.order!r} with tiles {dict(self.tiles)}; allowed is each axis once as a capital "
                f"letter, and each tiled axis once more as a small letter."
            )
        for axis, size in self.tiles:
            if len(axis) != 1 or axis not in capitals or not _is_count(size, MAX_TILE):
                raise ContractError(
                    f"layout.tiles: found {axis!r}: {size!r}, allowed an axis of {self.order!r} and a size in 1..{MAX_TILE}."
                )

    @property
    def axes(self) -> str:
        """The axes that this layout orders, sorted."""
        return "".join(sorted(a for a in self.order if a.isupper()))

    def padded_shape(self, shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
        """Return the shape with each tiled axis filled up to whole tiles. axes: the array's own, as in "NCHW"."""
        tiles = dict(self.tiles)
        return tuple(-(-extent // tiles.get(a, 1)) * tiles.get(a, 1) for a, extent in zip(axes, shape, strict=True))

    def words(self, shape: tuple[int, ...], axes: str = "NCHW") -> int:
        """Return how many words an array takes, the last one filled up."""
        total = 1
        for extent in self.padded_shape(shape, axes):
            total *= extent
        return -(-total // self.lanes)

    def positions(self, shape: tuple[int, ...], axes: str = "NCHW") -> np.ndarray:
        """For every position, in order of (address, lane): the row-major index of the code that lies there, or -1 (padding)."""
        return _positions(self, tuple(shape), axes)

    def coordinate(self, shape: tuple[int, ...], address: int, lane: int, axes: str = "NCHW") -> tuple[int, ...] | None:
        """From a word's address and a lane back to the coordinate of the code that lies there, or None for padding.

        >>> MemoryLayout("NHWC").coordinate((1, 3, 1, 2), 4, 0)
        (0, 1, 0, 1)
        """
        index = int(self.positions(shape, axes)[address * self.lanes + lane])
        return None if index < 0 else tuple(int(i) for i in np.unravel_index(index, shape))

    def place(self, shape: tuple[int, ...], coordinate: tuple[int, ...], axes: str = "NCHW") -> tuple[int, int]:
        """Return (address, lane) of a coordinate."""
        index = np.ravel_multi_index(coordinate, shape)
        return divmod(int(np.flatnonzero(self.positions(shape, axes) == index)[0]), self.lanes)

    def to_json(self) -> dict[str, Any]:
        """Return the layout as plain data."""
        return {
            "order": self.order,
            "tiles": dict(self.tiles),
            "lanes": self.lanes,
            "byte_order": self.byte_order.value,
        }


@lru_cache(maxsize=4)
def _positions(layout: MemoryLayout, shape: tuple[int, ...], axes: str) -> np.ndarray:
    """The one address iterator: number the codes, fill up the tiles, split the tiled axes, and put the axes in order."""
    if "".join(sorted(axes)) != layout.axes:
        raise ContractError(f"layout: order {layout.order!r} does not arrange the axes {axes!r}; each must appear once.")
    index = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    padded = layout.padded_shape(shape, axes)
    index = np.pad(index, [(0, p - s) for p, s in zip(padded, shape, strict=True)], constant_values=-1)
    tiles, split, letters = dict(layout.tiles), [], ""
    for axis, extent in zip(axes, padded, strict=True):
        size = tiles.get(axis, 1)
        split += [extent // size, size] if axis in tiles else [extent]
        letters += axis + axis.lower() if axis in tiles else axis
    flat = index.reshape(split).transpose([letters.index(a) for a in layout.order]).ravel()
    positions = np.pad(flat, (0, -len(flat) % layout.lanes), constant_values=-1)
    positions.setflags(write=False)
    return positions


def _is_count(value: object, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= high


@dataclass(frozen=True)
class Layout:
    """The layouts of one package: of activations (stimulus, accumulator, expected), of weights, and of biases.

    codes arranges N C H W, weights K C R S (fully connected: C is the flattened input, R and S are 1), bias arranges K.
    """

    codes: MemoryLayout = field(default_factory=lambda: MemoryLayout("NCHW"))
    weights: MemoryLayout = field(default_factory=lambda: MemoryLayout("KCRS"))
    bias: MemoryLayout = field(default_factory=lambda: MemoryLayout("K"))

    def __post_init__(self) -> None:
        for name, axes in (("codes", "CHNW"), ("weights", "CKRS"), ("bias", "K")):
            value = getattr(self, name)
            if not isinstance(value, MemoryLayout) or value.axes != axes:
                raise ContractError(f"Layout.{name}: found {value!r}, allowed a MemoryLayout of the axes {' '.join(axes)}.")

    def to_json(self) -> dict[str, Any]:
        """Return the layouts as plain data."""
        return {name: getattr(self, name).to_json() for name in ("codes", "weights", "bias")}


def tiles_of(value: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Return a mapping {axis: size} as MemoryLayout holds it."""
    return tuple(sorted(value.items()))
