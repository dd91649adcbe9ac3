"""What a layer becomes when it reads other formats: most take them as they are, those that hold codes of a format move these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hwsim.arith.rounding import Rounding
from hwsim.formats import FixedPoint
from hwsim.layers import Clamp, Concat, ImageEncoding, IntegerLRN, Layer, LookupTable, Pad
from hwsim.network import ops
from hwsim.network.lower.clip import clamp_codes, real_code
from hwsim.network.lower.curves import function_table

Formats = tuple[Any, ...]


def refitted(layer: Layer, formats: Formats) -> Layer:
    """Return a layer without weights that reads these formats; the very same where it does already.

    What is real stays: a clamp's ends, a padding's constant, the function that a table stands for. A format that cannot hold it
    gets the nearest code.
    """
    if tuple(layer.input_formats) == formats:
        return layer
    return REFIT.get(type(layer), _taken)(layer, formats)


def _taken(layer: Any, formats: Formats) -> Layer:
    """The formats stand in a field of the layer."""
    found: Layer = replace(layer, formats=formats) if hasattr(layer, "formats") else replace(layer, format=formats[0])
    return found


def _kept(layer: ImageEncoding, formats: Formats) -> Layer:
    """An image has no producer."""
    return layer


def _counted(layer: Concat, formats: Formats) -> Layer:
    """All branches have one format."""
    return Concat(formats[0], len(formats))


def _normalized(layer: IntegerLRN, formats: Formats) -> Layer:
    return layer.rebuilt(formats[0])


def _clamped(layer: Clamp, formats: Formats) -> Layer:
    """An end that was the format's is the new format's: it clipped nothing."""
    old, new = layer.format, formats[0]
    if not (isinstance(old, FixedPoint) and isinstance(new, FixedPoint)):
        return replace(layer, format=new)
    low = None if layer.low == old.low else float(old.decode(layer.low))
    high = None if layer.high == old.high else float(old.decode(layer.high))
    codes = clamp_codes(new, ops.Clip(low, high))
    return Clamp(new, new.low if codes[0] is None else codes[0], new.high if codes[1] is None else codes[1])


def _looked_up(layer: LookupTable, formats: Formats) -> Layer:
    """A table of a known function is made anew; another one is of codes, and stays."""
    if layer.function is None or not isinstance(formats[0], FixedPoint) or not isinstance(layer.output_format, FixedPoint):
        return replace(layer, format=formats[0])
    return function_table(layer.function, formats[0], layer.output_format, Rounding.TIES_EVEN)


def _padded(layer: Pad, formats: Formats) -> Layer:
    code = None if layer.code is None else real_code(formats[0], float(layer.format.decode(layer.code)))
    return replace(layer, format=formats[0], code=code)


REFIT: dict[type, Callable[[Any, Formats], Layer]] = {
    ImageEncoding: _kept,
    Concat: _counted,
    IntegerLRN: _normalized,
    Clamp: _clamped,
    LookupTable: _looked_up,
    Pad: _padded,
}
"""Kinds that do more than take the formats."""
