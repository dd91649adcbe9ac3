"""What a strategy is asked for, checked where it is called: impossible bounds are an InputError that names them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from hypothesis.strategies import SearchStrategy

from hwsim.errors import InputError

T = TypeVar("T")


def check_int(where: str, value: object, low: int, high: int) -> None:
    """Refuse what is no integer in low..high; where: "fixed_formats: max_bits"."""
    if type(value) is not int or not low <= value <= high:
        raise InputError(f"{where}: found {value!r}, allowed an integer in {low}..{high}.")


def check_bounds(where: str, name: str, low: int, high: int, least: int, most: int) -> None:
    """Refuse min_<name> and max_<name> that are no integers in least..most, or leave nothing between them.

    >>> check_bounds("fixed_formats", "bits", 9, 8, 1, 16)
    Traceback (most recent call last):
    ...
    hwsim.errors.InputError: fixed_formats: found min_bits=9 above max_bits=8, so that nothing is left to draw; \
allowed is 1 <= min_bits <= max_bits <= 16.
    """
    for bound, value in ((f"min_{name}", low), (f"max_{name}", high)):
        check_int(f"{where}: {bound}", value, least, most)
    if low > high:
        raise InputError(
            f"{where}: found min_{name}={low} above max_{name}={high}, so that nothing is left to draw; "
            f"allowed is {least} <= min_{name} <= max_{name} <= {most}."
        )


def chosen(where: str, given: Iterable[T] | None, allowed: Iterable[T], default: Iterable[T] | None = None) -> tuple[T, ...]:
    """Return what a strategy may choose among, in the order of `allowed`, the simplest first.

    given: the caller's choice, None for `default` (None: all allowed).  Errors: nothing, or something that is not allowed.
    """
    every = tuple(allowed)
    if given is None:
        return every if default is None else tuple(default)
    names = ", ".join(str(getattr(value, "name", value)) for value in every)
    found = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    if not found:
        raise InputError(f"{where}: found nothing to choose from, allowed at least one of {names}.")
    for value in found:
        if value not in every:
            raise InputError(f"{where}: found {value!r}, allowed are {names}.")
    return tuple(value for value in every if value in found)


def check_strategy(where: str, value: object, *kinds: type) -> None:
    """Refuse what is neither of a kind nor a strategy."""
    if not isinstance(value, (*kinds, SearchStrategy)):
        names = ", ".join(kind.__name__ for kind in kinds)
        raise InputError(f"{where}: found {value!r}, allowed {names}, or a strategy of these.")
