"""The layers that run on the host in float: next to the exact value, and the same whole as output by output."""

from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import Output
from hwsim.formats import FixedPoint
from hwsim.layers import HostLRN, Region, Softmax, host
from oracles.cases import family
from oracles.compare import by_spec
from oracles.exact import fitted, rounded

getcontext().prec = 60
LRNS = [case for case in family("host") if isinstance(case.layer, HostLRN)]


def exact_lrn(layer: HostLRN, x: np.ndarray, at: tuple[int, ...]) -> Decimal:
    """Caffe's formula, read off its paper form: x / (k + alpha / n * sum of squares) ** beta, over all cells that exist."""
    n, k, y, column = at
    reach = layer.local_size // 2
    total = Fraction(0)
    for c, row, col in np.ndindex(*x.shape[1:]):
        if layer.region == Region.ACROSS_CHANNELS:
            near = abs(c - k) <= reach and (row, col) == (y, column)
        else:
            near = c == k and abs(row - y) <= reach and abs(col - column) <= reach
        if near:
            total += Fraction(int(x[n, c, row, col])) ** 2 / Fraction(4) ** layer.format.fractional_length
    count = layer.local_size ** (1 if layer.region == Region.ACROSS_CHANNELS else 2)
    base = Fraction(layer.k) + Fraction(layer.alpha) / count * total
    real = Fraction(int(x[at])) / Fraction(2) ** layer.format.fractional_length
    power = (Decimal(base.numerator) / Decimal(base.denominator)) ** Decimal(layer.beta)
    return Decimal(real.numerator) / Decimal(real.denominator) / power


@pytest.mark.parametrize("case", LRNS, ids=str)
def test_lrn_is_the_exact_value_rounded_once(case):
    layer, codes = case.layer, by_spec(case).codes
    f, output = layer.output.format, layer.output
    for at in list(np.ndindex(*codes.shape))[:: 7 if layer.local_size > 1 else 1]:
        scaled = exact_lrn(layer, case.inputs[0], at) * 2**f.fractional_length
        error = Fraction(1, 1 << 40)  # float64 on values below 2**12: a rounding boundary nearer than this decides either way
        allowed = {
            fitted(rounded(Fraction(scaled) + side * error, output.rounding), output.overflow, f.bits, f.signed)
            for side in (-1, 0, 1)
        }
        assert codes[at] in allowed, at


@given(
    region=st.sampled_from(list(Region)),
    size=st.sampled_from([1, 3, 5, 7]),
    alpha=st.floats(0, 10),
    beta=st.sampled_from([0.5, 0.75, 1.0]) | st.floats(0, 3),
    k=st.floats(0.01, 10),
    mode=st.sampled_from(list(Rounding)),
    overflow=st.sampled_from(list(Overflow)),
    seed=st.integers(0, 1 << 30),
)
def test_compute_is_spec_of_every_output(region, size, alpha, beta, k, mode, overflow, seed):
    rng = np.random.default_rng(seed)
    f = FixedPoint(int(rng.integers(1, 17)), int(rng.integers(-3, 12)), bool(rng.integers(2)))
    out = FixedPoint(int(rng.integers(1, 17)), f.fl() + int(rng.integers(-3, 3)), bool(rng.integers(2)))
    layer = HostLRN(f, region, size, alpha, beta, k, Output(out, mode, overflow))
    x = rng.integers(f.low, f.high, size=(2, 5, 3, 4), endpoint=True)
    codes, events = layer.compute(x)
    cells = {at: layer.spec([x.tolist()], *at) for at in np.ndindex(*x.shape)}
    assert {at: int(codes[at]) for at in cells} == {at: cell.code for at, cell in cells.items()}
    assert events == sum(cell.events.output for cell in cells.values())


def test_softmax_passes_codes_and_sums_to_one():
    layer = Softmax(FixedPoint(8, 3))
    x = np.random.default_rng(2).integers(-128, 128, size=(3, 7, 1, 2))
    codes, events = layer.compute(x)
    assert codes is x and events == 0
    p = layer.probabilities(x)
    assert p.shape == x.shape and np.allclose(p.sum(axis=1), 1.0)
    assert (np.argmax(p, axis=1) == np.argmax(x, axis=1)).all()
    ratio = p[0, 0, 0, 0] / p[0, 1, 0, 0]
    assert np.isclose(ratio, np.exp((x[0, 0, 0, 0] - x[0, 1, 0, 0]) / 8))


def test_softmax_of_the_widest_codes_neither_overflows_nor_is_nan():
    x = np.array([[1 << 30], [-(1 << 31)]]).reshape(1, 2, 1, 1)
    assert Softmax(FixedPoint(32, 0)).probabilities(x).ravel().tolist() == [1.0, 0.0]


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("reach", [0, 1, 2, 5, 6, 10**9, 10**39])
def test_a_moving_sum_of_any_reach_takes_no_more_than_its_array(axis: int, reach: int) -> None:
    """A file of a few lines may say any size; the sum is what a loop over the neighbours gives."""
    values = np.random.default_rng(1).integers(0, 1 << 46, (2, 6, 5, 4))
    lines = np.moveaxis(values, axis, -1)
    rows = lines.reshape(-1, lines.shape[-1]).tolist()
    expected = [[sum(row[max(i - reach, 0) : i + reach + 1]) for i in range(len(row))] for row in rows]
    found = np.moveaxis(host._moving_sum(values, axis, reach), axis, -1)
    assert found.reshape(-1, lines.shape[-1]).tolist() == expected
