"""A MAC unit in plain Python loops that shares nothing with hwsim's arithmetic, and faults to plant in it, one at a time.

The unit: signed operands, an accumulator that is loaded with the bias and saturates at every step, in the order (c, r, s);
then a shift that rounds ties to even, and an output that saturates. Stride, padding with zeros; no groups, no dilation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Unit:
    """One unit; a fault replaces one of its methods. bits: of the accumulator.  left: what a call leaves behind."""

    bits: int = 12
    shift: int = 4
    left: int = 0

    def __call__(self, layer: Any, inputs: np.ndarray) -> np.ndarray:
        """Device under test: codes [N][K][H][W] for a convolution."""
        assert layer.contract.accumulator.bits == self.bits
        weight, images = layer.weight.tolist(), inputs.tolist()
        bias = [0] * len(weight) if layer.bias is None else layer.bias.tolist()
        (sy, sx), (py, px), (ey, ex) = layer.stride, layer.pad, layer.pad if layer.pad_end is None else layer.pad_end
        rows = (inputs.shape[2] + py + ey - len(weight[0][0])) // sy + 1
        columns = (inputs.shape[3] + px + ex - len(weight[0][0][0])) // sx + 1
        return np.array(
            [
                [
                    [
                        [self.output(image, weight[k], bias[k], y * sy - py, x * sx - px) for x in range(columns)]
                        for y in range(rows)
                    ]
                    for k in range(len(weight))
                ]
                for image in images
            ]
        )

    def output(self, image: list, kernel: list, bias: int, top: int, start: int) -> int:
        acc = self.load(bias)
        for tap, (c, r, s) in enumerate(self.taps(kernel)):
            x = self.read(image[c], top + r, start + s)
            acc = self.add(acc, self.product(x, kernel[c][r][s], tap, len(kernel) * len(kernel[0]) * len(kernel[0][0])))
        return self.clip(self.round(self.finish(acc, bias)))

    def taps(self, kernel: list) -> list[tuple[int, int, int]]:
        return [(c, r, s) for c in range(len(kernel)) for r in range(len(kernel[0])) for s in range(len(kernel[0][0]))]

    def load(self, bias: int) -> int:
        return bias

    def read(self, plane: list, row: int, column: int) -> int:
        inside = 0 <= row < len(plane) and 0 <= column < len(plane[0])
        return plane[row][column] if inside else 0

    def product(self, x: int, w: int, tap: int, taps: int) -> int:
        return x * w

    def add(self, acc: int, product: int) -> int:
        high = 2 ** (self.bits - 1) - 1
        return max(-high - 1, min(high, acc + product))

    def finish(self, acc: int, bias: int) -> int:
        return acc

    def round(self, acc: int) -> int:
        unit = 2**self.shift
        floor, rest = divmod(acc, unit)
        return floor + (2 * rest > unit or (2 * rest == unit and floor % 2 == 1))

    def clip(self, value: int) -> int:
        return max(-128, min(127, value))


def wrapped(value: int, bits: int) -> int:
    """Two's complement of so many bits."""
    return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def saturated(value: int, bits: int) -> int:
    """The nearest number of so many bits."""
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, value))


def _ties(rule: Callable[[int, int], bool]) -> Callable[[Unit, int], int]:
    """A rounding whose ties alone are odd: rule(floor, acc) says whether a tie goes up."""

    def round_(self: Unit, acc: int) -> int:
        unit = 2**self.shift
        floor, rest = divmod(acc, unit)
        return floor + (2 * rest > unit or (2 * rest == unit and rule(floor, acc)))

    return round_


def _sticky(self: Unit, acc: int, product: int) -> int:
    if abs(acc + product) > 2 ** (self.bits - 1) - 1:
        self.left = 1
    return 2 ** (self.bits - 1) - 1 if self.left else saturated(acc + product, self.bits)


def _keeps(self: Unit, acc: int, bias: int) -> int:
    self.left = acc
    return acc


FAULTS: dict[str, dict[str, Callable[..., Any]]] = {
    "accumulator wraps": {"add": lambda self, acc, p: wrapped(acc + p, self.bits)},
    "accumulator one bit short": {"add": lambda self, acc, p: saturated(acc + p, self.bits - 1)},
    "accumulator saturates at the end alone": {
        "add": lambda self, acc, p: acc + p,
        "finish": lambda self, acc, bias: saturated(acc, self.bits),
    },
    "ties up": {"round": _ties(lambda floor, acc: True)},
    "ties down": {"round": _ties(lambda floor, acc: False)},
    "ties away from zero": {"round": _ties(lambda floor, acc: acc > 0)},
    "ties wrong for negative numbers": {"round": _ties(lambda floor, acc: floor % 2 == (acc > 0))},
    "ties wrong above an odd quotient": {"round": _ties(lambda floor, acc: floor % 4 == 1)},
    "no rounding": {"round": lambda self, acc: acc >> self.shift},
    "bias missing": {"load": lambda self, bias: 0},
    "bias a step late": {"load": lambda self, bias: 0, "finish": lambda self, acc, bias: saturated(acc + bias, self.bits)},
    "bias twice where it is negative": {"load": lambda self, bias: bias * (1 + (bias < 0))},
    "output saturates to -127": {"clip": lambda self, value: max(-127, min(127, value))},
    "output wraps": {"clip": lambda self, value: wrapped(value, 8)},
    "output off by one at its end": {"clip": lambda self, value: 126 if value == 127 else max(-128, min(127, value))},
    "-128 * -128 is -16384": {"product": lambda self, x, w, tap, taps: -16384 if x == w == -128 else x * w},
    "weights unsigned": {"product": lambda self, x, w, tap, taps: x * (w % 256)},
    "first product lost": {"product": lambda self, x, w, tap, taps: x * w * (tap > 0)},
    "last product lost": {"product": lambda self, x, w, tap, taps: x * w * (tap < taps - 1)},
    "order backwards": {"taps": lambda self, kernel: Unit.taps(self, kernel)[::-1]},
    "padding reads the first pixel": {
        "read": lambda self, plane, row, column: plane[0][0] if row < 0 else Unit.read(self, plane, row, column),
    },
    "carry into bit 8 lost": {"add": lambda self, acc, p: saturated(acc + p - 256 * (acc & 255 == 255 and p > 0), self.bits)},
    "accumulator not cleared": {"load": lambda self, bias: saturated(bias + self.left, self.bits), "finish": _keeps},
    "saturation sticks": {"add": _sticky},
}
STATE = {"accumulator not cleared", "saturation sticks"}
"""Faults that leave something behind from one output, and one call, to the next."""


def planted(name: str) -> Unit:
    """A unit with one fault."""
    unit = type("Unit", (Unit,), {**FAULTS[name], "reset": lambda self: setattr(self, "left", 0)})
    return unit()
