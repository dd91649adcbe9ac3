"""ImageSet: the images of a data set as a network takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from hwsim.errors import InputError
from hwsim.images.decode import fit
from hwsim.images.sources import Source
from hwsim.network.preprocessing import ChannelOrder, Preprocessing


@dataclass(frozen=True, eq=False)
class Image:
    """One image as the network takes it. pixels: uint8 C, H, W.  label: its class, or None."""

    name: str
    pixels: np.ndarray
    label: int | None
    preprocessing: Preprocessing

    @property
    def real(self) -> np.ndarray:
        """float32 C, H, W = (pixel - mean) * scale."""
        return self.preprocessing.real(self.pixels)


@dataclass(frozen=True, eq=False)
class ImageSet(Sequence[Image]):
    """A lazy sequence of images: pixels are read and decoded when asked for, and not kept.

    indices: which images of the source, in order; a slice of an ImageSet is an ImageSet.
    """

    source: Source
    preprocessing: Preprocessing
    indices: range

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> ImageSet: ...
    def __getitem__(self, index: int | slice) -> Image | ImageSet:
        if isinstance(index, slice):
            return ImageSet(self.source, self.preprocessing, self.indices[index])
        labels = self.source.labels
        label = None if labels is None else int(labels[self.indices[index]])
        return Image(self.name(index), self.pixels(index), label, self.preprocessing)

    @property
    def labels(self) -> np.ndarray | None:
        """The class of each image, int64 of shape N, or None where the data have no labels."""
        labels = self.source.labels
        return None if labels is None else labels[np.asarray(self.indices, dtype=np.intp)]

    def name(self, index: int) -> str:
        """What a report calls this image."""
        return self.source.name(self.indices[index])

    def pixels(self, index: int) -> np.ndarray:
        """uint8 C, H, W in the network's channel order and size."""
        gray = self.preprocessing.channel_order is ChannelOrder.GRAY
        return fit(self.source.read(self.indices[index], gray), self.preprocessing)

    def real(self, index: int) -> np.ndarray:
        """float32 C, H, W = (pixel - mean) * scale."""
        return self.preprocessing.real(self.pixels(index))

    def pixel_batches(self, size: int) -> Iterator[np.ndarray]:
        """The pixels in order, uint8 N, C, H, W with N = size, the last batch with what is left."""
        if size < 1:
            raise InputError(f"a batch of {size} images; at least 1 is needed.")
        for start in range(0, len(self), size):
            yield np.stack([self.pixels(index) for index in range(start, min(start + size, len(self)))])

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """The real numbers in order, float32 N, C, H, W with N = size, the last batch with what is left."""
        for pixels in self.pixel_batches(size):
            yield self.preprocessing.real(pixels)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.preprocessing.shape))
        return f"<ImageSet: {len(self)} images of {shape} {self.preprocessing.channel_order.name}>"
