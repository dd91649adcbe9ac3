"""The product of a shift-add unit as a contract: guard bits, rounding, and where the sign stands."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.arith.rounding import Rounding
from hwsim.arith.shift_add import SignOrder, shift_add_product
from hwsim.errors import ContractError
from hwsim.formats.fixed import FixedPoint
from hwsim.formats.pow2 import PowerOfTwo

MAX_GUARD_BITS = 62


@dataclass(frozen=True)
class ShiftAdd:
    """product = round(x * w) on a grid `guard_bits` finer than the input's: fl_product = fl_input + guard_bits.

    guard_bits: 0..62.  rounding, sign_order: of no account where guard_bits >= -exp_min of the weights.

    >>> ShiftAdd(3).is_exact(PowerOfTwo(-8, -1)), ShiftAdd(8).is_exact(PowerOfTwo(-8, -1))
    (False, True)
    """

    guard_bits: int
    rounding: Rounding = Rounding.FLOOR
    sign_order: SignOrder = SignOrder.BEFORE_ROUNDING

    def __post_init__(self) -> None:
        if type(self.guard_bits) is not int or not 0 <= self.guard_bits <= MAX_GUARD_BITS:
            raise ContractError(f"ShiftAdd.guard_bits: found {self.guard_bits!r}, allowed an integer in 0..{MAX_GUARD_BITS}.")
        for name, kind in (("rounding", Rounding), ("sign_order", SignOrder)):
            if not isinstance(getattr(self, name), kind):
                names = ", ".join(member.name for member in kind)
                raise ContractError(f"ShiftAdd.{name}: found {getattr(self, name)!r}, allowed {kind.__name__}: {names}.")

    def is_exact(self, weight: PowerOfTwo) -> bool:
        """Return whether no product is ever rounded."""
        return self.guard_bits >= max(0, -weight.exp_min)

    def bounds(self, x: FixedPoint, weight: PowerOfTwo) -> tuple[int, int]:
        """Return the smallest and the largest product of an input format's codes: some code times +-2**exp_max.

        Rounding is monotone, so that no smaller power goes beyond.  Errors: products that int64 does not hold.

        >>> ShiftAdd(0).bounds(FixedPoint(8, 0), PowerOfTwo(-8, -1))
        (-64, 64)
        """
        if x.bits + max(self.guard_bits, self.guard_bits + weight.exp_max) > 63:
            raise ContractError(
                f"ShiftAdd.guard_bits: found {self.guard_bits}, with which products of {x.bits} bits and 2**{weight.exp_max} "
                f"leave 63 bits; allowed are at most {max(0, 63 - x.bits - max(0, weight.exp_max))}."
            )
        products = [
            shift_add_product(code, negative, weight.exp_max, self.guard_bits, self.rounding, self.sign_order)
            for code in (x.low, x.high)
            for negative in (0, 1)
        ]
        return min(0, *products), max(0, *products)
