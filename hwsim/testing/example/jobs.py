"""From a layer to the jobs of the unit: one line for each output, its products in the contract's order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding
from hwsim.contract.mac import MacContract
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint
from hwsim.layers import Convolution, FullyConnected, Layer, MacLayer, Shape

HEADER = "the header of mac.v says which contract it has"


@dataclass(frozen=True)
class Widths:
    """The parameters of mac.v, in bits.

    Errors: ContractError where the accumulator does not hold an output code or a product, or where a shift goes beyond it.

    >>> Widths(acc=12)
    Traceback (most recent call last):
    hwsim.errors.ContractError: Widths.acc: found 12, allowed from 15, which holds a code and a product.
    """

    x: int = 8
    w: int = 8
    acc: int = 20
    out: int = 8
    shift: int = 4

    def __post_init__(self) -> None:
        for field in fields(self):
            bits = getattr(self, field.name)
            if type(bits) is not int or not 2 <= bits <= 24:
                raise ContractError(f"Widths.{field.name}: found {bits!r}, allowed an integer in 2..24.")
        least = max(self.out, self.x + self.w - 1)
        if self.acc < least:
            raise ContractError(f"Widths.acc: found {self.acc}, allowed from {least}, which holds a code and a product.")
        if (1 << self.shift) - 1 > self.acc:
            largest = (self.acc + 1).bit_length() - 1
            raise ContractError(
                f"Widths.shift: found {self.shift}, allowed up to {largest}, whose shifts do not go beyond {self.acc} bits."
            )


DEFAULT = Widths()


def signed_range(bits: int) -> tuple[int, int]:
    """Smallest and largest number of so many bits.

    >>> signed_range(8)
    (-128, 127)
    """
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def fitting(layer: Layer, widths: Widths) -> MacLayer:
    """Return the layer; ContractError, with the first thing that differs, unless its contract is the unit's."""
    if not isinstance(layer, (Convolution, FullyConnected)):
        raise ContractError(f"mac.v: found a layer of kind {layer.kind}, allowed a convolution or a fully connected layer.")
    contract = layer.contract
    if not isinstance(contract, MacContract):
        raise ContractError(f"mac.v: found a {type(contract).__name__}, allowed a MacContract; {HEADER}.")
    for what, found, allowed in _settings(layer, contract, widths):
        if found != allowed:
            raise ContractError(f"mac.v: found {what} {_named(found)}, allowed {_named(allowed)}; {HEADER}.")
    for what, ends, allowed in _ranges(layer, contract, widths):
        if not allowed[0] <= min(ends) <= max(ends) <= allowed[1]:
            raise ContractError(f"mac.v: found {what} {min(ends)}..{max(ends)}, allowed {allowed[0]}..{allowed[1]}; {HEADER}.")
    return layer


def _settings(layer: MacLayer, contract: MacContract, widths: Widths) -> Iterator[tuple[str, object, object]]:
    """(what, found, allowed) of all that the unit has but one of."""
    acc, output, p = contract.accumulator, contract.output, layer.numbers
    yield "format of the input", type(contract.input), FixedPoint
    yield "format of the weights", type(contract.weight), FixedPoint
    yield "accumulator of bits", acc.bits, widths.acc
    yield "accumulator overflow", acc.overflow, Overflow.SATURATE
    assert p.walk is not None  # an accumulator that saturates has an order
    yield "lanes", p.walk.lanes, 1
    yield "a bias that comes last", bool(p.walk.bias_last), False
    yield "steps between spills", p.walk.spill_every, 0
    yield "shifts of the products", set(p.product_shift), {0}
    yield "format of the output", type(output.format), FixedPoint
    yield "output of bits", output.format.bits, widths.out
    yield "signed output", output.format.signed, True
    yield "output overflow", output.overflow, Overflow.SATURATE
    yield "rounding", output.rounding, Rounding.TIES_EVEN
    yield "output stage of a shift alone", p.epilogue.plain, True


def _named(value: object) -> str:
    if isinstance(value, type):
        return value.__name__
    return getattr(value, "name", None) or str(value)


def _ranges(layer: MacLayer, contract: MacContract, widths: Widths) -> Iterator[tuple[str, tuple[int, ...], tuple[int, int]]]:
    """(what, values, range allowed)."""
    assert isinstance(contract.input, FixedPoint) and isinstance(contract.weight, FixedPoint)
    yield "input codes", (contract.input.low, contract.input.high), signed_range(widths.x)
    yield "weight codes", (contract.weight.low, contract.weight.high), signed_range(widths.w)
    yield "shifts of the output", layer.numbers.epilogue.shift, (0, (1 << widths.shift) - 1)


def output_shape(layer: MacLayer, inputs: np.ndarray) -> tuple[int, int, int, int]:
    """(N, K, H, W) of the output."""
    return len(inputs), *layer.output_shape([Shape(*inputs.shape[1:])])


def jobs(layer: MacLayer, inputs: np.ndarray) -> list[str]:
    """One line for each output (n, k, y, x), row-major: COUNT SHIFT RELU BIAS, then x and w of each product in order.

    inputs: codes [N][C][H][W].  A padded tap is a product with x = 0: what a skipped one adds, too.

    >>> from hwsim.testing.example import contract
    >>> layer = FullyConnected(contract(shift=3), np.array([[5, -6], [7, 8]]), np.array([100, -1]))
    >>> jobs(layer, np.array([[[[1]], [[2]]]]))
    ['2 3 0 100 1 5 2 -6', '2 3 0 -1 1 7 2 8']
    """
    p, schedule = layer.numbers, layer.integer.contract.accumulator.schedule
    assert schedule is not None  # an accumulator that saturates has an order
    relu = int(p.epilogue.activation != Activation.NONE)
    order = [tap for tap in schedule.table(*layer.extents(Shape(*inputs.shape[1:]))).ravel().tolist() if tap >= 0]
    weights = layer.weight.reshape(layer.channels, -1).tolist()
    _, channels, height, width = output_shape(layer, inputs)
    lines = []
    for image in inputs.tolist():
        for k in range(channels):
            head = f"{len(order)} {p.epilogue.shift[k]} {relu} {p.bias[k]}"
            for y in range(height):
                for x in range(width):
                    codes, _ = layer.taps(image, k, y, x)
                    lines.append(" ".join([head, *(f"{codes[tap]} {weights[k][tap]}" for tap in order)]))
    return lines


def operands(layer: MacLayer, inputs: np.ndarray) -> int:
    """Return how many products the unit makes of an input code and a weight code that are both not zero, over all outputs.

    >>> from hwsim.testing.example import contract
    >>> operands(FullyConnected(contract(), np.array([[5, 0], [7, 8]])), np.array([[[[1]], [[2]]]]))
    3
    """
    pairs = [line.split()[4:] for line in jobs(layer, inputs)]
    return sum(x != "0" and w != "0" for line in pairs for x, w in zip(line[::2], line[1::2], strict=True))
