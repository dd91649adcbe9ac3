"""Sums, products, maxima, shifts, averages and softmaxes as text and back: every field returns, none is invented."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from hwsim.arith.rounding import Rounding
from hwsim.contract import Output, Scaling
from hwsim.contract.operand import FloatSteps, Operand
from hwsim.contract.reciprocals import folded_reciprocal, full_reciprocals
from hwsim.contract.scaling import Multiplier, quantized_multiplier
from hwsim.errors import HwsimError
from hwsim.formats import Affine, FixedPoint
from hwsim.golden import describe
from hwsim.layers import (
    ArithmeticShiftRight,
    AveragePool,
    CountRule,
    EltwiseMax,
    EltwiseMin,
    EltwiseProduct,
    EltwiseSum,
    SoftmaxFixed,
    Window,
)
from hwsim.network import layer_stanzas
from hwsim.network.strict import Fields

S8, A8, U5 = FixedPoint(8, 3), Affine(8, 0.25, -3), FixedPoint(5, 0, signed=False)
CODES = np.arange(-2, 4, dtype=np.int8).reshape(6, 1, 1)
HALF = Multiplier(Scaling.HIGH_MULTIPLY, *quantized_multiplier(0.5))
SHARES = Output(Affine(8, 1 / 256, -128), Rounding.TIES_AWAY)

LAYERS = {
    "plain sum": EltwiseSum((S8, S8, S8), Output(S8)),
    "scaled sum": EltwiseSum(
        (A8, Affine(8, 0.5)), Output(A8, scaling=HALF), (Operand(20, HALF, negate=True), Operand(None, HALF, Rounding.CEIL))
    ),
    "float sum": EltwiseSum((A8, A8), Output(A8), FloatSteps((0.25, -0.25), 0.5), True),
    "sum with a constant": EltwiseSum((A8,), Output(A8), constant=CODES, constant_format=A8),
    "product": EltwiseProduct((S8, S8), Output(S8), stretch=True),
    "float product with a constant": EltwiseProduct((A8,), Output(A8), FloatSteps((0.25, 0.5), 0.5), False, CODES, S8),
    "maximum": EltwiseMax((A8, A8)),
    "minimum with a constant": EltwiseMin((S8,), constant=CODES, constant_format=S8),
    "shift": ArithmeticShiftRight((S8, U5), Rounding.TIES_UP),
    "exact average": AveragePool(S8, Window((2, 3)), CountRule.CAFFE, Output(S8)),
    "average of codes": AveragePool(A8, Window((2, 3)), CountRule.EXCLUDE_PADDING, Output(A8, Rounding.TIES_AWAY), True),
    "average by reciprocals": AveragePool(
        A8,
        Window((3, 3), pad=(1, 1)),
        CountRule.EXCLUDE_PADDING,
        Output(A8, Rounding.TIES_UP),
        division=full_reciprocals((4, 6, 9)),
    ),
    "mean": AveragePool(A8, Window(None), CountRule.CAFFE, Output(A8, Rounding.TIES_AWAY), division=folded_reciprocal(49, 0.7)),
    "softmax": SoftmaxFixed.from_scale(A8, 0.25, SHARES),
}


def same(a, b) -> bool:
    """Field by field; arrays by their codes."""
    fields = [f.name for f in dataclasses.fields(a)]
    return type(a) is type(b) and all(np.array_equal(x, y) for x, y in ((getattr(a, n), getattr(b, n)) for n in fields))


def arrays(layer) -> dict:
    return {name: getattr(layer, name) for name in layer_stanzas.array_fields(type(layer))}


@pytest.mark.parametrize("name", LAYERS)
def test_a_manifest_keeps_every_field(name):
    layer = LAYERS[name]
    text = json.dumps(describe.plain(layer))
    again = describe.build(layer.kind, json.loads(text), arrays(layer), "here")
    assert same(layer, again) and json.dumps(describe.plain(again)) == text


@pytest.mark.parametrize("name", LAYERS)
def test_a_stanza_keeps_every_field(name):
    layer = LAYERS[name]
    text = json.dumps(layer_stanzas.attributes(layer))
    fields = Fields(json.loads(text), "here")
    again = layer_stanzas.build(layer.kind, fields, layer.input_formats, arrays(layer), None)
    fields.done()
    assert same(layer, again)


def test_what_a_file_says_wrongly_is_one_sentence():
    plain = describe.plain(LAYERS["average by reciprocals"])
    plain["division"]["shifts"][1] = 63
    with pytest.raises(HwsimError, match="shift: found 63") as caught:
        describe.build("average_pool", plain, {}, "here")
    assert "\n" not in str(caught.value)
