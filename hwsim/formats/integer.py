"""What formats of integer codes share: width, sign, limits and storage. FixedPoint and Affine say what a code means."""

from __future__ import annotations

import numpy as np

from hwsim.arith.overflow import Overflow, code_max, code_min, saturate, wrap
from hwsim.errors import ContractError


class IntegerFormat:
    """Codes of `bits` bits, two's complement or unsigned; arithmetic sees code - zero(k), on a grid of fl(k) binary places."""

    bits: int
    signed: bool

    @property
    def per_channel(self) -> bool:
        """True if output channels differ in what a code means."""
        raise NotImplementedError

    def fl(self, channel: int = 0) -> int:
        """fl(k) = fractional length of output channel k."""
        raise NotImplementedError

    def lengths(self, channels: int) -> tuple[int, ...]:
        """Return the fractional length of each of `channels` output channels; ContractError where their number differs."""
        raise NotImplementedError

    def zero(self, channel: int = 0) -> int:
        """zero(k) = the code of real 0 in output channel k."""
        return 0

    @property
    def low(self) -> int:
        """Smallest code."""
        return code_min(self.bits, self.signed)

    @property
    def high(self) -> int:
        """Largest code."""
        return code_max(self.bits, self.signed)

    @property
    def dtype(self) -> np.dtype:
        """Storage type of the codes: int8/uint8, int16/uint16, int32/uint32 or int64, the narrowest that holds them."""
        width = 8 if self.bits <= 8 else 16 if self.bits <= 16 else 32 if self.bits <= 32 else 64
        return np.dtype(f"{'int' if self.signed or width == 64 else 'uint'}{width}")

    def fit(self, code: int, overflow: Overflow) -> int:
        """fit(x) = x where it fits, else as the overflow mode says."""
        low = self.low_limit(overflow)
        if overflow == Overflow.TRAP and not low <= code <= self.high:
            raise ContractError(f"code {code} does not fit {self.low}..{self.high} ({self}).")
        if overflow == Overflow.WRAP:
            return wrap(code, self.bits, self.signed)
        return saturate(code, low, self.high)

    def low_limit(self, overflow: Overflow) -> int:
        """Return the smallest code that the overflow mode lets through: -high under SATURATE_SYMMETRIC, else low."""
        return -self.high if overflow == Overflow.SATURATE_SYMMETRIC and self.signed else self.low


def along(values: np.ndarray, ndim: int, axis: int) -> np.ndarray:
    """Return a vector of channels as an array of `ndim` axes that broadcasts along `axis`."""
    shape = [1] * ndim
    shape[axis] = len(values)
    return values.reshape(shape)


def as_float64(where: str, real: np.ndarray) -> np.ndarray:
    """Return numbers as float64, which must hold each of them exactly; where: the method that the sentence names."""
    array = np.asarray(real)
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise ContractError(f"{where}: found dtype {array.dtype}, allowed integers and floats up to 64 bits.")
    if array.dtype.kind in "iu" and array.size and max(-int(array.min()), int(array.max())) > 1 << 53:
        raise ContractError(f"{where}: found integers beyond 2**53, allowed is what float64 holds; use encode.")
    return array.astype(np.float64)


def finite_float64(where: str, real: np.ndarray) -> np.ndarray:
    """Return numbers as float64; ContractError where one of them is not finite."""
    array = as_float64(where, real)
    if not np.isfinite(array).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ContractError(f"{where}: {array[at]} at position {at}; only finite values have codes.")
    return array


def check_int(field: str, value: object, low: int, high: int) -> None:
    """Refuse what is no integer in low..high; field: as the sentence names it, "FixedPoint.bits"."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ContractError(f"{field}: found {value!r}, allowed an integer in {low}..{high}.")
