"""What a caller of a strategy of contracts asked for, checked; and how the strategies draw from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract.mac import MAX_OPERAND_BITS
from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint, Minifloat
from hwsim.testing.bounds import check_bounds, check_int, chosen
from hwsim.testing.strategies import Product

MAX_TAPS = 1 << 16
REGISTER_OVERFLOWS = (Overflow.WRAP, Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC)
"""Modes of a register, the default first; TRAP, which ends a run with an error, is drawn where it is asked for."""

ALL_ROUNDINGS = (Rounding.TIES_EVEN, *(mode for mode in Rounding if mode is not Rounding.TIES_EVEN))
T = TypeVar("T")


@dataclass(frozen=True)
class Wishes:
    """What a caller of contracts() asked for, checked."""

    min_bits: int = 2
    max_bits: int = MAX_OPERAND_BITS
    products: tuple[Product, ...] = tuple(Product)
    overflow: tuple[Overflow, ...] = REGISTER_OVERFLOWS
    roundings: tuple[Rounding, ...] = ALL_ROUNDINGS
    scheduled: tuple[bool, ...] = (False, True)
    max_lanes: int = 4
    max_taps: int = 64
    channels: int | None = None
    input: FixedPoint | Affine | Minifloat | None = None
    stochastic: bool = False
    own_bias: bool = True
    max_output_bits: int = 48


def draw_from(draw: DrawFn, values: Iterable[T]) -> T:
    """Draw one of the values; the first is the simplest."""
    return draw(st.sampled_from(tuple(values)))


def clipped(value: int, low: int, high: int) -> int:
    """Return the value, or the end that it lies beyond."""
    return max(low, min(value, high))


def register_wishes(where: str, overflow: Any, roundings: Any, scheduled: bool | None, max_lanes: int) -> Wishes:
    check_int(f"{where}: max_lanes", max_lanes, 1, 256)
    modes = chosen(f"{where}: overflow", overflow, (*REGISTER_OVERFLOWS, Overflow.TRAP), REGISTER_OVERFLOWS)
    orders = chosen(f"{where}: scheduled", None if scheduled is None else (scheduled,), (False, True))
    if Overflow.WRAP not in modes:
        orders = tuple(order for order in orders if order)
    if not orders:
        names = ", ".join(mode.name for mode in modes)
        raise InputError(
            f"{where}: found scheduled=False with overflow {names}, allowed is WRAP, the only mode whose result no order decides."
        )
    return Wishes(
        overflow=modes, roundings=chosen(f"{where}: roundings", roundings, ALL_ROUNDINGS), scheduled=orders, max_lanes=max_lanes
    )


def wishes_of(
    where: str,
    min_bits: int,
    max_bits: int,
    products: Iterable[Product] | None,
    overflow: Iterable[Overflow] | None,
    roundings: Iterable[Rounding] | None,
    scheduled: bool | None,
    max_lanes: int = 4,
    given: Any = None,
) -> Wishes:
    """Return what a caller asked for, checked; where: the strategy that sentences name."""
    check_bounds(where, "bits", min_bits, max_bits, 2, MAX_OPERAND_BITS)
    registers = register_wishes(where, overflow, roundings, scheduled, max_lanes)
    return replace(registers, min_bits=min_bits, max_bits=max_bits, products=products_for(where, products, given), input=given)


def products_for(where: str, products: Iterable[Product] | None, given: object) -> tuple[Product, ...]:
    found = chosen(f"{where}: products", products, Product)
    if given is None:
        return found
    takes: dict[type, tuple[Product, ...]] = {
        FixedPoint: tuple(Product),
        Affine: (Product.AFFINE,),
        Minifloat: (Product.FLOAT,),
    }
    left = tuple(product for product in found if product in takes.get(type(given), ()))
    if not left:
        names = ", ".join(product.name for product in found)
        raise InputError(
            f"{where}: found input={given} with products {names}, which take no such format; allowed is one that they take."
        )
    return left
