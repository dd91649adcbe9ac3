"""Which layers draw noise, and the draws of each."""

from __future__ import annotations

from functools import lru_cache

from hwsim.contract.draws import Draws
from hwsim.contract.float_mac import FloatMacContract
from hwsim.contract.resolve import Epilogue
from hwsim.contract.stochastic import StochasticRounding
from hwsim.layers.base import Layer, Shape


def epilogue_of(layer: Layer) -> Epilogue | None:
    """Return a layer's last stage, resolved; None where it has none."""
    if isinstance(getattr(layer, "contract", None), FloatMacContract) or getattr(layer, "in_floats", False):
        return None
    resolved = getattr(layer, "numbers", layer)
    epilogue = getattr(resolved, "epilogue", None)
    return epilogue if isinstance(epilogue, Epilogue) else None


def draws_of(epilogue: Epilogue, shape: Shape) -> Draws | None:
    """Return the draws for one image of a layer of this output shape, or None where nothing is drawn.

    epilogue: with one shift per channel, or one for all of them.
    """
    if epilogue.stochastic is None:
        return None
    return _draws(epilogue.stochastic, shape, epilogue.shift)


@lru_cache(maxsize=64)
def _draws(rule: StochasticRounding, shape: Shape, shift: tuple[int, ...]) -> Draws:
    return Draws(rule, (shape.c, shape.h, shape.w), shift if len(shift) == shape.c else shift * shape.c)


def noise_of(epilogue: Epilogue, shape: Shape, at: tuple[int, int, int], first_turn: int) -> int:
    """Return the noise of output (k, y, x); first_turn: in which the image's first output draws, since the last reset."""
    draws = draws_of(epilogue, shape)
    return 0 if draws is None else draws.noise(*at, first_turn)
