"""A contract that cannot be built is refused in one sentence: the field, what was found, what is allowed."""

import numpy as np
import pytest

import hwsim.contract
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, MacContract, Multiplier, Output, Scaling
from hwsim.contract.mac import Activation
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import FullyConnected, Rescale

S8 = FixedPoint(8, 4)
OUT = Output(S8)
FLOAT64 = Output(Affine(8, 1.0), Rounding.TIES_AWAY, scaling=Multiplier(Scaling.FLOAT64, 1 << 52, 80))
DOUBLE_ROUND = Multiplier(Scaling.DOUBLE_ROUND, (1 << 31) - 1, 59)


def fc(codes, biases=None, **contract):
    contract = {"input": S8, "weight": S8, "output": OUT, **contract}
    return FullyConnected(MacContract(**contract), np.array(codes), None if biases is None else np.array(biases))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Accumulator(1), ["Accumulator.bits", "found 1", "2..64"]),
        (lambda: Accumulator(65), ["Accumulator.bits", "found 65", "2..64"]),
        (lambda: Accumulator(32.0), ["Accumulator.bits", "found 32.0", "2..64"]),
        (lambda: Accumulator(32, 400), ["fractional_length", "found 400", "-256..256"]),
        (lambda: Accumulator(32, require_proof=1), ["Accumulator.require_proof", "found 1", "True or False"]),
        (lambda: Accumulator(32).grid(), ["Accumulator.fractional_length", "found None"]),
        (lambda: Output(FixedPoint(49, 0)), ["Output.format", "49 bits", "at most 48"]),
        (lambda: Output(FixedPoint(8, (1, 2))), ["Output.format", "per channel", "a single one"]),
        (lambda: Output("s8"), ["Output.format", "'s8'", "FixedPoint"]),
        (lambda: Output(S8, "floor"), ["Output.rounding", "'floor'", "TIES_EVEN"]),
        (lambda: Output(S8, Rounding.FLOOR, 1), ["Output.overflow", "found 1", "SATURATE_SYMMETRIC"]),
        (lambda: Output(S8, activation=True), ["Output.activation", "found True", "RELU_BEFORE_REQUANTIZE"]),
        (lambda: MacContract(FixedPoint(17, 0), S8, OUT), ["input", "17 bits", "at most 16"]),
        (lambda: MacContract(FixedPoint(8, (1,)), S8, OUT), ["input", "per channel", "a single one"]),
        (lambda: MacContract(S8, FixedPoint(17, 0), OUT), ["weight", "17 bits", "at most 16"]),
        (lambda: MacContract(S8, S8, S8), ["MacContract.output", "FixedPoint", "an Output"]),
        (lambda: MacContract(S8, S8, OUT, 32), ["MacContract.accumulator", "found 32", "an Accumulator"]),
        (lambda: MacContract(S8, S8, OUT, bias=8), ["bias", "found 8", "FixedPoint"]),
        (lambda: MacContract(S8, S8, OUT, bias_rounding=None), ["MacContract.bias_rounding", "None", "TIES_EVEN"]),
        (lambda: fc([[1]], weight=FixedPoint(8, (1, 2))), ["fractional_length", "2 lengths", "1 output channels"]),
        (lambda: fc([[1]], [1], bias=FixedPoint(8, (1, 2))), ["fractional_length", "2 lengths", "1 output channels"]),
        (
            lambda: fc([[1], [2], [3]], accumulator=Accumulator(32, (8, 9))),
            ["fractional_length", "2 lengths", "3 output channels"],
        ),
        (
            lambda: fc([[1]], accumulator=Accumulator(32, (8, 9, 10))),
            ["fractional_length", "3 lengths", "1 output channels"],
        ),
        (lambda: fc([[1]], accumulator=Accumulator(32, 7)), ["7 is coarser", "product's 8", "allowed"]),
        (lambda: fc([[127]], accumulator=Accumulator(64, 8 + 50)), ["more than 64 bits", "left shift of 50"]),
        (lambda: fc([[0]], accumulator=Accumulator(64, 8 + 63)), ["more than 64 bits", "left shift of 63"]),
        (lambda: fc([[0]], [128], accumulator=Accumulator(8)), ["bias", "128", "-128..127"]),
        (lambda: fc([[0]], [1], accumulator=Accumulator(8, 15), bias=S8), ["bias 0 is 2048", "8 bits do not hold"]),
        (lambda: fc([[1]], [1 << 37], accumulator=Accumulator(40), output=FLOAT64), ["FLOAT64 takes", "37 bits", "found 39"]),
        (
            lambda: Rescale(Affine(32, 1.0, signed=False), Output(S8, Rounding.TIES_UP, scaling=DOUBLE_ROUND)),
            ["values of 33 bits", "need 64 bits", "allowed are 63"],
        ),
        (lambda: Output(Affine(8, 1.0, narrow=True), overflow=Overflow.WRAP), ["Output.overflow", "WRAP", "narrow", "SATURATE"]),
        (lambda: fc([[1]], output=Output(FixedPoint(8, -55))), ["shift", "63 bits", "up to 62"]),
        (lambda: fc([[1]], output=Output(FixedPoint(8, 65))), ["shift", "-57 bits", "within 64 bits"]),
        (lambda: fc([[128]]), ["fully_connected.weight", "128..128", "-128..127"]),
        (lambda: fc([[1.0]]), ["fully_connected.weight", "float64", "integer codes"]),
        (lambda: fc([1]), ["fully_connected.weight", "shape (1,)", "K I"]),
        (lambda: fc(np.zeros((0, 3), int)), ["fully_connected.weight", "shape (0, 3)", "none of them empty"]),
        (lambda: fc([[1]], [1, 2]), ["fully_connected.bias", "2 codes", "allowed 1"]),
        (lambda: fc([[1]], [[1]]), ["fully_connected.bias", "shape (1, 1)", "axes K"]),
    ],
)
def test_a_contract_refuses_in_one_sentence(build, said):
    with pytest.raises(ContractError) as caught:
        build()
    message = str(caught.value)
    for part in said:
        assert part in message
    assert "\n" not in message and message.endswith(".")


def test_the_widest_shifts_that_stay_in_int64_are_taken():
    fc([[1]], output=Output(FixedPoint(8, 8 - 62)))
    fc([[1]], output=Output(FixedPoint(8, 8 + 56)))  # an exact sum of 8 bits, shifted left by 56
    fc([[1]], accumulator=Accumulator(64, 8 + 56))
    for weight in (2, -1):  # -1: the sum reaches +128, which 56 more bits do not hold
        with pytest.raises(ContractError):
            fc([[weight]], accumulator=Accumulator(64, 8 + 56))


def test_a_repr_rebuilds_the_contract():
    contract = MacContract(
        S8,
        FixedPoint(8, (1, 2)),
        Output(S8, Rounding.FLOOR, Overflow.WRAP, Activation.RELU_AFTER_REQUANTIZE),
        Accumulator(40, (3, 4), True),
        FixedPoint(16, 5),
    )
    text = repr(contract)
    for kind in (Rounding, Overflow, Activation):
        for value in kind:
            text = text.replace(repr(value), f"{kind.__name__}({int(value)})")
    scope = {
        **vars(hwsim.contract),
        "FixedPoint": FixedPoint,
        "Rounding": Rounding,
        "Overflow": Overflow,
        "Activation": Activation,
    }
    assert eval(text, scope) == contract
