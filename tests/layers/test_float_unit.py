"""Sums with a minifloat in them: the specification against Fractions, against numpy's own floats, and at what it refuses."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract.accumulator import BiasPoint, PaddedTaps, Schedule, Spill, Tree
from hwsim.contract.float_mac import ExactSum, FloatAccumulator, FloatMacContract, FloatOutput
from hwsim.contract.mac import Output
from hwsim.contract.stochastic import Lfsr, StochasticRounding
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint, PowerOfTwo, catalog
from hwsim.layers import Convolution, FullyConnected, Shape
from oracles.float_cases import FLOATS, float_case
from oracles.floats import code_of, number, output_at, round_to
from oracles.minifloat import NAN, oracle_of, ties_and_neighbours

E4M3, E5M2, BINARY16, BINARY32 = catalog.E4M3, catalog.E5M2, catalog.BINARY16, catalog.BINARY32


@pytest.mark.parametrize("part", range(6))
def test_every_code_sum_and_event_is_the_oracles(part):
    for i in range(part, 600, 6):
        case = float_case(i, plain=i % 4 == 0)
        (x,), layer = case.inputs, case.layer
        shape = layer.output_shape([Shape(*x.shape[1:])])
        codes = x.tolist()
        for at in list(np.ndindex(len(x), *shape))[i % 7 :: 7]:
            cell = layer.spec([codes], *at)
            assert (cell.code, cell.acc, tuple(cell.events)) == output_at(layer, x, at), (case.name, at, layer.contract)


@pytest.mark.parametrize("mode", list(Rounding), ids=lambda mode: mode.name)
def test_the_oracles_own_rounding_is_that_of_the_grid(mode):
    """Two oracles: one looks numbers up in a table of all of a format's codes, the other knows only its fields."""
    for f in [f for f in FLOATS if f.bits <= 8]:
        for real in ties_and_neighbours(f)[::3]:
            made, event = round_to((real < 0, abs(real)), f, mode)
            assert (code_of(made, f), event) == oracle_of(f).round(real, mode), (f, real)
            assert number(code_of(made, f), f) == made or made[1] == NAN


def fully_connected(weight, bias, accumulator, fmt, out=BINARY32, bias_format=None):
    contract = FloatMacContract(fmt, fmt, FloatOutput(out), accumulator, bias_format)
    return FullyConnected(contract, weight, bias)


def cell_of(layer, x: np.ndarray, k: int = 0):
    return layer.spec([np.asarray(x).reshape(1, -1, 1, 1).tolist()], 0, k, 0, 0)


def in_order(layer, x: np.ndarray) -> int:
    return cell_of(layer, x).acc


@pytest.mark.parametrize(("name", "theirs"), [("e4m3", ml_dtypes.float8_e4m3fn), ("e5m2", ml_dtypes.float8_e5m2)])
@pytest.mark.parametrize(("register", "numpys"), [(BINARY32, np.float32), (BINARY16, np.float16)], ids=["32", "16"])
def test_a_register_adds_products_in_order_as_numpy_does(name, theirs, register, numpys):
    """Around 1, a product and a sum so far are less than 53 bits apart: float64 adds them exactly, and numpy rounds once."""
    rng = np.random.default_rng(5)
    f = catalog.FORMATS[name]
    for _ in range(20):
        x, w = (rng.normal(size=60).astype(theirs).view(np.uint8) for _ in range(2))
        layer = fully_connected(w[None], None, FloatAccumulator(register), f)
        total = numpys(0)
        for a, b in zip(x.view(theirs).astype(np.float64), w.view(theirs).astype(np.float64), strict=True):
            total = numpys(np.float64(total) + a * b)
        assert in_order(layer, x) == total.view(f"uint{register.bits}")


def test_a_binary32_register_rounds_as_numpys_float32_adds_do():
    """Nothing but float32 adds: no float64 in between."""
    rng = np.random.default_rng(6)
    for _ in range(20):
        x, w = (rng.normal(size=80).astype(ml_dtypes.float8_e4m3fn) for _ in range(2))
        total = np.float32(rng.normal())
        bias = total.view(np.uint32)
        layer = fully_connected(w.view(np.uint8)[None], bias[None], FloatAccumulator(), E4M3)
        for product in x.astype(np.float32) * w.astype(np.float32):
            total = total + product
        assert in_order(layer, x.view(np.uint8)) == total.view(np.uint32)


def test_products_rounded_to_binary16_then_added_as_numpys_float16_do():
    rng = np.random.default_rng(7)
    for _ in range(20):
        x, w = (rng.normal(size=50).astype(np.float16) for _ in range(2))
        layer = fully_connected(w.view(np.uint16)[None], None, FloatAccumulator(BINARY16, product=BINARY16), BINARY16)
        total = np.float16(0)
        for a, b in zip(x, w, strict=True):
            total = total + a * b
        assert in_order(layer, x.view(np.uint16)) == total.view(np.uint16)


def test_an_exact_sum_rounds_once_where_a_register_loses_all():
    """2**-9 * 2**-9 is far below one unit of 448 * 448 + ... in binary16, but not in the exact sum."""
    x = E4M3.encode_array(np.array([448.0, 2**-9, -448.0]))
    w = E4M3.encode_array(np.array([448.0, 2**-9, 448.0]))
    exact = fully_connected(w[None], None, ExactSum(), E4M3)
    cell = cell_of(exact, x)
    assert cell.acc == 1 and BINARY32.decode(cell.code) == E4M3.decode(1) ** 2
    assert in_order(fully_connected(w[None], None, FloatAccumulator(), E4M3), x) == 0


def test_the_register_of_an_exact_sum_is_as_wide_as_its_formats_ask():
    for fmt, bits in ((E5M2, 74), (BINARY16, 91)):
        layer = fully_connected(np.zeros((2, 576), dtype=fmt.dtype), None, ExactSum(), fmt)
        assert layer.unit.register.bits == bits and layer.unit.acc_words == 2


def lanes(count: int, **kinds) -> FloatAccumulator:
    return FloatAccumulator(E5M2, schedule=Schedule(lanes=count, **kinds))


def numbers(*reals: float) -> np.ndarray:
    return E5M2.encode_array(np.array(reals))


ONES = numbers(1, 1, 1, 1)[None]


@pytest.mark.parametrize(
    ("accumulator", "total"),
    [
        (lanes(1), 4.0),  # 4, then three times 4 + 0.5 = 4.5, a tie that goes to the even 4
        (lanes(4), 5.0),  # (4 + 0.5) + (0.5 + 0.5): 4 and 1
        (lanes(4, tree=Tree(Pairing.CHAIN)), 4.0),
        (lanes(2), 5.0),  # 4.5 becomes 4, then + 1
    ],
)
def test_the_tree_rounds_each_sum(accumulator, total):
    """Fraction bits of E5M2: two, so that from 4 on the numbers are 1 apart, and a tie goes to the even one."""
    layer = fully_connected(ONES, None, accumulator, E5M2)
    assert E5M2.decode(in_order(layer, numbers(4, 0.5, 0.5, 0.5))) == total


def test_negative_zero_stands_until_a_zero_of_the_other_sign_comes():
    minus = int(E5M2.encode(-0.0))
    x, w = numbers(0.0, 0.0), numbers(-1.0, -2.0)[None]
    bias = np.array([minus], dtype=np.uint8)
    assert in_order(fully_connected(w, bias, lanes(1), E5M2), x) == minus  # -0 + -0 + -0
    assert in_order(fully_connected(w, None, lanes(1), E5M2), x) == 0  # no bias is +0
    assert in_order(fully_connected(w, bias, lanes(1, bias=BiasPoint.LAST), E5M2), x) == 0  # the register begins at +0
    skipping = Schedule(padded=PaddedTaps.SKIPPED)
    for schedule, code in ((Schedule(), 0), (skipping, minus)):
        contract = FloatMacContract(E5M2, E5M2, FloatOutput(E5M2), FloatAccumulator(E5M2, schedule=schedule))
        layer = Convolution(contract, numbers(1.0, 1.0).reshape(1, 1, 1, 2), bias, pad=(0, 1))
        assert in_order(layer, np.array([minus])) == code


def test_events_are_transient_where_the_exact_sum_fits():
    x = numbers(57344.0, 57344.0, -57344.0)
    layer = fully_connected(numbers(1, 1, 1)[None], None, lanes(1), E5M2, E5M2)
    events = cell_of(layer, x).events  # infinity - 57344 is no event: infinity is an operand
    assert (events.accumulator, events.transient_accumulator) == (1, 1)
    events = cell_of(layer, x[[0, 1, 0]]).events
    assert (events.accumulator, events.transient_accumulator) == (1, 0)


@pytest.mark.parametrize("accumulator", [ExactSum(), lanes(1), lanes(2), FloatAccumulator(E5M2, product=E5M2)])
def test_infinity_times_zero_is_nan_and_times_another_weight_infinity(accumulator):
    x = numbers(np.inf, 1.0)
    layer = fully_connected(np.stack([numbers(0.0, 1.0), numbers(-0.0, 1.0), numbers(-2.0, 1.0)]), None, accumulator, E5M2)
    reals = [float(BINARY32.decode(cell_of(layer, x, k).code)) for k in range(3)]
    assert np.isnan(reals[:2]).all() and reals[2] == -np.inf


@pytest.mark.parametrize("code", [0x7F, 0xFF])
def test_nan_in_weights_and_biases_is_refused_with_its_position(code):
    weight = np.zeros((3, 5), dtype=np.uint8)
    weight[2, 4] = code
    with pytest.raises(ContractError, match=rf"fully_connected.weight: found NaN \(code {code:#x}\) at position \(2, 4\)"):
        fully_connected(weight, None, ExactSum(), E4M3)
    bias = np.array([0, code, 0], dtype=np.uint8)
    with pytest.raises(ContractError, match=r"fully_connected.bias: found NaN .* at position \(1,\)"):
        fully_connected(np.zeros((3, 5), dtype=np.uint8), bias, ExactSum(), E4M3, bias_format=E4M3)


def test_infinity_in_weights_is_refused_with_its_position():
    weight = np.zeros((2, 3, 1, 2), dtype=np.uint8)
    weight[1, 2, 0, 1] = 0xFC
    with pytest.raises(ContractError, match=r"convolution.weight: found infinity \(code 0xfc\) at position \(1, 2, 0, 1\)"):
        Convolution(FloatMacContract(E5M2, E5M2, FloatOutput(E5M2)), weight)


def test_a_bias_beyond_the_registers_format_is_refused():
    bias = BINARY32.encode_array(np.array([1.0, 1e6]))
    with pytest.raises(ContractError, match=r"bias: found code .* at position \(1,\), beyond the largest number"):
        fully_connected(np.zeros((2, 5), dtype=np.uint8), bias, FloatAccumulator(BINARY16), E4M3, bias_format=BINARY32)


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(lanes=2, tree=Tree(bits=(8,))),
        Schedule(lanes=2, tree=Tree(overflow=Overflow.SATURATE)),
        Schedule(spill=Spill(4, 8)),
    ],
)
def test_a_float_register_takes_no_widths_and_no_spill(schedule):
    with pytest.raises(ContractError, match="allowed None: sums are floats"):
        FloatAccumulator(schedule=schedule)


def test_an_output_that_draws_its_rounding_is_refused():
    with pytest.raises(ContractError, match="FloatMacContract.output.rounding: found a StochasticRounding"):
        FloatMacContract(E4M3, E4M3, Output(FixedPoint(8, 0), StochasticRounding(Lfsr(16))))


def test_operands_are_checked():
    with pytest.raises(ContractError, match="input"):
        FloatMacContract(PowerOfTwo(-3, 0), E4M3, FloatOutput(E4M3))  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="output"):
        FloatMacContract(E4M3, E4M3, E4M3)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="allowed 0..255"):
        fully_connected(np.array([[256]]), None, ExactSum(), E4M3)
    with pytest.raises(ContractError, match="MacContract"):
        fully_connected(ONES, None, ExactSum(), E5M2).numbers  # noqa: B018


def test_proven_bits_hold_what_the_worst_input_makes():
    rng = np.random.default_rng(8)
    weight = E4M3.encode_array(rng.normal(size=(3, 40)))
    bias = BINARY32.encode_array(rng.normal(size=3))
    layer = fully_connected(weight, bias, ExactSum(), E4M3)
    top = E4M3.layout.largest
    worst = []
    for k in range(3):
        for flip in (0, 0x80):
            x = top | (weight[k] & 0x80 ^ flip)
            worst.append(cell_of(layer, x, k).acc)
    assert layer.unit.proven_bits == max(map(abs, worst)).bit_length() + 1 <= layer.unit.register.bits
    assert layer.bounds.accumulator == (min(worst), max(worst))


def test_a_minifloat_without_zero_at_code_zero_pads_with_its_zero():
    """Code 0 is a number there: 2**-bias times 2**0."""
    f = catalog.ristretto(3, 4, zero_code=0x80)
    one = f.encode(1.0)
    contract = FloatMacContract(f, f, FloatOutput(BINARY32))
    layer = Convolution(contract, np.full((1, 1, 1, 3), one), pad=(0, 1))
    assert BINARY32.decode(cell_of(layer, np.array([one])).code) == 1
    assert f.decode(0) != 0


def test_fixed_point_meets_minifloat_and_leaves_as_fixed_point():
    contract = FloatMacContract(FixedPoint(8, 4), E4M3, Output(FixedPoint(8, 2), Rounding.TIES_AWAY))
    layer = FullyConnected(contract, E4M3.encode_array(np.array([[1.5, -0.25]])))
    cell = cell_of(layer, np.array([24, 3]))
    assert (cell.code, cell.acc) == (9, 24 * 768 - 3 * 128)  # 1.5 * 1.5 - 3/16 * 0.25 = 2.203, on a grid of 2**-13
