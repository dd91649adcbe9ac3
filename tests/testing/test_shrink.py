"""What the reducer's moves do one by one: sums by fewer products, codes nearer to zero, contracts cut to some channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwsim
from hwsim.contract import Multiplier
from hwsim.contract.scaling import Scaling
from hwsim.formats import Affine, FixedPoint, Minifloat, PowerOfTwo, ZeroCode
from hwsim.layers import FullyConnected
from hwsim.testing import BitMismatch, assert_bit_exact
from hwsim.testing.judge import Example
from hwsim.testing.resteer import factors
from hwsim.testing.simpler import complexity, cost, simpler_codes, simpler_contracts, size_of, with_channels, zero_of

S8 = FixedPoint(8, 4)
WIDE = hwsim.MacContract(S8, S8, hwsim.Output(FixedPoint(16, 4)), hwsim.Accumulator(16, overflow=hwsim.Overflow.SATURATE))


def wraps(layer, inputs):
    """The exact sum modulo 2**16: wrong where, and only where, a sum leaves the register."""
    exact = inputs.reshape(len(inputs), -1).astype(int) @ layer.weight.astype(int).T
    exact += 0 if layer.bias is None else layer.bias
    acc = (exact + (1 << 15)) % (1 << 16) - (1 << 15)
    floor, rest = acc >> 4, acc & 15
    return (floor + ((rest > 8) | ((rest == 8) & (floor & 1 == 1))))[..., None, None]


@pytest.mark.parametrize("fixed", [False, True], ids=["weights and inputs", "inputs alone"])
def test_a_sum_of_many_small_products_becomes_one_of_few_large_ones(fixed: bool, tmp_path: Path) -> None:
    """32 products of 1,100 are just beyond 16 bits: take one away, and nothing is wrong any more."""
    layer = FullyConnected(WIDE, np.full((1, 32), 100))
    with pytest.raises(BitMismatch) as caught:
        assert_bit_exact(wraps, layer, np.full((1, 32, 1, 1), 11), fixed=fixed, save=tmp_path)
    report = caught.value.report
    assert report.operands <= 4 and not report.effort.stopped
    assert not fixed or report.example.layer is layer


@given(st.integers(-300_000, 300_000), st.integers(2, 9), st.integers(2, 9), st.booleans())
def test_factors_are_products_in_range_that_sum_up(goal: int, x_bits: int, w_bits: int, signed: bool) -> None:
    xs = (-(1 << (x_bits - 1)), (1 << (x_bits - 1)) - 1) if signed else (0, (1 << x_bits) - 1)
    ws = (-(1 << (w_bits - 1)), (1 << (w_bits - 1)) - 1)
    found = factors(goal, xs, ws)
    for x, w in found or []:
        assert xs[0] <= x <= xs[1] and ws[0] <= w <= ws[1]
    assert found is None or (sum(x * w for x, w in found) == goal and goal != 0)
    if goal and found is None:  # it gives up for what four of the largest products cannot make, or the last of them not exactly
        assert abs(goal) > 2 * max(abs(x * w) for x in xs for w in ws if x * w * goal >= 0)


FORMATS = [
    FixedPoint(8, 0),
    FixedPoint(5, 2, False),
    Affine(8, 0.5, 3),
    Affine(8, 0.5, 250, signed=False),
    Minifloat(4, 3),
    Minifloat(5, 2),
    PowerOfTwo(-7, -1),
    PowerOfTwo(-8, -1, ZeroCode.NONE),
]


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_simpler_codes_stay_in_the_format_and_lead_to_zero(fmt) -> None:
    codes = fmt.codes if isinstance(fmt, PowerOfTwo) else range(fmt.low, fmt.high + 1)
    zero = zero_of(fmt)
    for code in codes:
        found = list(simpler_codes(code, fmt, zero))
        assert all(fmt.low <= simpler <= fmt.high for simpler in found)
        assert all(size_of(simpler, fmt, zero) < size_of(code, fmt, zero) for simpler in found)
        assert (zero in found) == (code != zero)


def test_a_contract_is_cut_to_some_channels() -> None:
    """Each of its numbers per channel, and those alone."""
    weight = Affine(8, (0.5, 0.25, 0.125), (0, 0, 0))
    scaling = Multiplier(Scaling.MULTIPLY, (1 << 30, 1 << 29, 1 << 28), (31, 32, 33))
    output = hwsim.Output(Affine(8, 1.0, 4), scaling=scaling)
    contract = hwsim.MacContract(Affine(8, 0.5, 3), weight, output, hwsim.Accumulator(20, fractional_length=(0, 0, 0)))
    cut = with_channels(contract, 3, [2, 0])
    assert cut.weight.scale == (0.125, 0.5) and cut.output.scaling.shift == (33, 31)
    assert cut.accumulator.fractional_length == (0, 0)
    layer = FullyConnected(contract, np.arange(6).reshape(3, 2))
    inputs = np.array([[[[50]], [[-70]]]])
    whole = hwsim.run_layer(layer, inputs, backend="spec").codes
    part = hwsim.run_layer(FullyConnected(cut, layer.weight[[2, 0]]), inputs, backend="spec").codes
    assert (part == whole[:, [2, 0]]).all()


def test_simpler_contracts_have_one_field_more_as_it_is_by_default() -> None:
    schedule = hwsim.Schedule(hwsim.Order.RSC, lanes=2)
    contract = hwsim.MacContract(
        S8, S8, hwsim.Output(S8), hwsim.Accumulator(16, overflow=hwsim.Overflow.SATURATE, schedule=schedule)
    )
    found = list(simpler_contracts(contract))
    assert complexity(contract) > max(map(complexity, found)) and len(set(map(repr, found))) == len(found) >= 4
    assert complexity(hwsim.MacContract(S8, S8, hwsim.Output(S8))) == 0


def test_fewer_codes_that_are_not_zero_come_first() -> None:
    layer = FullyConnected(WIDE, np.array([[1, 0]]), np.array([7]))
    few, many = (Example(layer, np.array([[[[a]], [[b]]]])) for a, b in ((127, 0), (1, 1)))
    assert cost(few) < cost(many)
    assert cost(Example(FullyConnected(WIDE, np.array([[1, 0]])), few.inputs)) < cost(few)
