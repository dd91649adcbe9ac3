"""Where codes live between kernels: N H W C inside a border of real 0, channels contiguous, slack at both ends.

A padded tap is then a plain read of the border, a kernel row of S taps x C channels is contiguous, and a concatenation
costs nothing: its branches write into channel slices of one joint buffer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.layers.base import Shape

SLACK_BYTES = 8192
ALIGNMENT = 64


@dataclass(frozen=True)
class Buffer:
    """Codes of one tensor. padded: array (N, H + 2 bh, W + 2 bw, pitch), first..first+c are this tensor's channels.

    Kernels write only the inner pixels and only their channels; the border stays real 0, the zero point. There are at least
    SLACK_BYTES of readable memory before and after the array's data, so that vector loads may run over the ends.
    """

    padded: np.ndarray
    border: tuple[int, int]
    first: int
    shape: Shape

    @classmethod
    def allocate(cls, n: int, shape: Shape, dtype: np.dtype, border: tuple[int, int] = (0, 0), fill: int = 0) -> Buffer:
        """Return a buffer for n images, full of `fill`: the code of real 0."""
        full = (n, shape.h + 2 * border[0], shape.w + 2 * border[1], shape.c)
        size = int(np.prod(full)) * np.dtype(dtype).itemsize
        raw = np.zeros(size + 2 * SLACK_BYTES + ALIGNMENT, dtype=np.uint8)
        start = SLACK_BYTES + -(raw.ctypes.data + SLACK_BYTES) % ALIGNMENT
        padded = raw[start : start + size].view(dtype).reshape(full)
        if fill:
            padded[...] = fill
        return cls(padded, border, 0, shape)

    @classmethod
    def from_codes(cls, codes: np.ndarray, dtype: np.dtype, border: tuple[int, int] = (0, 0), fill: int = 0) -> Buffer:
        """Return a buffer that holds a copy of codes [N][C][H][W] in a border of `fill`."""
        n, c, h, w = codes.shape
        buffer = cls.allocate(n, Shape(c, h, w), dtype, border, fill)
        buffer.codes[...] = codes
        return buffer

    @property
    def codes(self) -> np.ndarray:
        """The codes as a view [N][C][H][W]; writing to it writes the buffer."""
        return self.inner.transpose(0, 3, 1, 2)

    @property
    def inner(self) -> np.ndarray:
        """The codes as a view [N][H][W][C], without the border."""
        (bh, bw), (c, h, w) = self.border, self.shape
        return self.padded[:, bh : bh + h, bw : bw + w, self.first : self.first + c]

    @property
    def bordered(self) -> np.ndarray:
        """The codes as a view [N][H + 2 bh][W + 2 bw][C], with the border."""
        return self.padded[..., self.first : self.first + self.shape.c]

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.padded)

    def channels(self, first: int, count: int) -> Buffer:
        """Return the view of `count` channels from `first` on: one branch of a concatenation."""
        return Buffer(self.padded, self.border, self.first + first, Shape(count, self.shape.h, self.shape.w))
