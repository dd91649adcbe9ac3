"""ShiftAdd: its bounds are reached and never left, and what cannot be built is refused."""

from __future__ import annotations

import pytest

from hwsim.arith.rounding import Rounding
from hwsim.arith.shift_add import SignOrder, shift_add_product
from hwsim.contract.product import ShiftAdd
from hwsim.errors import ContractError
from hwsim.formats.fixed import FixedPoint
from hwsim.formats.pow2 import PowerOfTwo, ZeroCode

by_mode = pytest.mark.parametrize("mode", list(Rounding), ids=lambda mode: mode.name)


@by_mode
@pytest.mark.parametrize("order", list(SignOrder), ids=lambda order: order.name)
def test_bounds_are_the_extremes_of_all_products(mode, order):
    for weight in (PowerOfTwo(-4, -1), PowerOfTwo(-9, -6), PowerOfTwo(-2, 3, ZeroCode.NONE), PowerOfTwo(1, 2)):
        for x in (FixedPoint(5, 0), FixedPoint(4, 2, signed=False)):
            for guard_bits in (0, 2):
                products = [
                    shift_add_product(code, negative, e, guard_bits, mode, order)
                    for code in range(x.low, x.high + 1)
                    for negative in (0, 1)
                    for e in range(weight.exp_min, weight.exp_max + 1)
                ]
                assert ShiftAdd(guard_bits, mode, order).bounds(x, weight) == (min(products), max(products))


def test_repr_names_the_sign_order():
    assert "sign_order=SignOrder.AFTER_ROUNDING" in repr(ShiftAdd(2, sign_order=SignOrder.AFTER_ROUNDING))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: ShiftAdd(-1), "ShiftAdd.guard_bits: found -1, allowed an integer in 0..62"),
        (lambda: ShiftAdd(63), "ShiftAdd.guard_bits: found 63, allowed an integer in 0..62"),
        (lambda: ShiftAdd(2.0), "ShiftAdd.guard_bits: found 2.0"),
        (lambda: ShiftAdd(2, 0), "ShiftAdd.rounding: found 0, allowed Rounding: FLOOR, CEIL"),
        (lambda: ShiftAdd(2, sign_order=True), "sign_order: found True, allowed SignOrder: BEFORE_ROUNDING, AFTER_ROUNDING"),
        (lambda: ShiftAdd(50).bounds(FixedPoint(16, 0), PowerOfTwo(-8, -1)), "found 50, with which products of 16 bits"),
        (lambda: ShiftAdd(8).bounds(FixedPoint(8, 0), PowerOfTwo(0, 48)), "allowed are at most 7"),
    ],
)
def test_a_contract_refuses_in_one_sentence(build, said):
    with pytest.raises(ContractError) as caught:
        build()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
