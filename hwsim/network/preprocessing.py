"""From pixels to the numbers that enter a network: real = (pixel - mean) * scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from hwsim.errors import InputError
from hwsim.network.finite import not_finite

MAX_SIDE = 16384
"""Longest side of an input image in pixels: a guard against a size that was mistyped or forged."""


class ChannelOrder(Enum):
    """Which colour each of the C axes holds; the value is the number of channels and the letters in order."""

    RGB = "RGB"
    BGR = "BGR"
    GRAY = "L"

    @property
    def channels(self) -> int:
        return len(self.value)


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """real[c, y, x] = (pixel[c, y, x] - mean[c, y, x]) * scale.

    channel_order: order of the C axis.  size: (height, width) that the network takes, in pixels.
    mean: one number per channel (or a single one for all), or a float array of shape C, H, W.
    crop: an image at least as large as size is cropped around its centre (Caffe's crop_size); otherwise it is resized.

    >>> Preprocessing(ChannelOrder.BGR, (227, 227), mean=(104.0, 117.0, 123.0)).real_range()
    (-123.0, 151.0)
    """

    channel_order: ChannelOrder
    size: tuple[int, int]
    mean: tuple[float, ...] | np.ndarray = (0.0,)
    scale: float = 1.0
    crop: bool = False

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(1 <= side <= MAX_SIDE for side in self.size):
            raise InputError(f"preprocessing: size {self.size} is not (height, width) with sides of 1..{MAX_SIDE}.")
        if not (math.isfinite(self.scale) and self.scale != 0):
            raise InputError(f"preprocessing: scale {self.scale} is not a finite number other than 0.")
        object.__setattr__(self, "mean", self._checked_mean())

    def _checked_mean(self) -> tuple[float, ...] | np.ndarray:
        channels = self.channel_order.channels
        mean = np.array(self.mean, dtype=np.float32)
        if (bad := not_finite(mean)) is not None:
            raise InputError(f"preprocessing: the mean holds a number that is not finite, {bad}; give finite ones.")
        if mean.ndim == 3 and mean.shape == (channels, *self.size):
            mean.setflags(write=False)
            return mean
        if mean.ndim <= 1 and mean.size in (1, channels):
            return tuple(float(value) for value in np.broadcast_to(mean.reshape(-1), (channels,)))
        raise InputError(
            f"preprocessing: a mean of shape {mean.shape} does not fit images of shape {self.shape}; "
            f"give 1 or {channels} numbers, or an array of that shape."
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape C, H, W of one image."""
        return (self.channel_order.channels, *self.size)

    def __str__(self) -> str:
        """One line for people: what happens to a pixel before the network sees it."""
        height, width = self.size
        mean = "its mean image" if isinstance(self.mean, np.ndarray) else f"({', '.join(f'{m:g}' for m in self.mean)})"
        fitted = "cropped" if self.crop else "resized"
        return f"{self.channel_order.name} {width}x{height}, {fitted}; real = (pixel - {mean}) * {self.scale:g}"

    def mean_array(self) -> np.ndarray:
        """The mean as float32, of shape C, 1, 1 or C, H, W."""
        mean = np.asarray(self.mean, dtype=np.float32)
        return mean if mean.ndim == 3 else mean.reshape(-1, 1, 1)

    def real(self, pixels: np.ndarray) -> np.ndarray:
        """real = (pixel - mean) * scale in float32; pixels: uint8 of shape C, H, W or N, C, H, W."""
        return (pixels.astype(np.float32) - self.mean_array()) * np.float32(self.scale)

    def real_range(self) -> tuple[float, float]:
        """Smallest and largest real value that any image can give."""
        mean = self.mean_array()
        ends = (float(-mean.max()) * self.scale, float(255 - mean.min()) * self.scale)
        return min(ends), max(ends)
