"""Combined operands and softmaxes of the C core: forged requests and tensors that do not fit are refused as data."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.arith.rounding import Rounding
from hwsim.backends.native import NATIVE
from hwsim.contract import Output
from hwsim.errors import BackendError
from hwsim.formats import Affine, FixedPoint, catalog
from hwsim.layers import EltwiseMax, EltwiseSum, Shape, SoftmaxFixed

S8 = FixedPoint(8, 3)


@pytest.fixture
def forged(library):
    """A maker of hw_combine of two 8-bit operands with some fields of another value; operand 0's fields by name, too."""
    ffi = library.ffi
    kept = []

    def make(**fields):
        made, terms, multiplier = ffi.new("hw_combine *"), ffi.new("hw_operand[2]"), ffi.new("int64_t[1]", [1])
        for term in terms:
            term.low, term.high, term.sign, term.multiplier = -128, 127, 1, 1
        made.n, made.terms, made.way, made.divisor = 2, terms, library.lib.HW_SUM, 1.0
        out = made.output
        out.acc_bits, out.low, out.high, out.overflow, out.multiplier = 64, -128, 127, 1, multiplier
        kept.extend((terms, multiplier))
        for name, number in fields.items():
            setattr(terms[0] if name in dir(terms[0]) and name not in ("shift", "rounding") else made, name, number)
        status = ffi.new("hw_status *")
        return library.lib.hw_combine_new(made, status), status

    return make


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1}, {"n": (1 << 14) + 1}, {"way": -1}, {"way": 9}, {"rounding": 10}, {"way": 4, "n": 3}, {"way": 5}, {"way": 8},
        {"low": 128}, {"low": -(1 << 49)}, {"high": 1 << 49}, {"zero": 1 << 49}, {"align": 61}, {"align": -1}, {"sign": 0},
        {"sign": 2}, {"scaling": 9}, {"scaling": 2, "multiplier": -1}, {"shift": 200},
    ],
    ids=str,
)  # fmt: skip
def test_forged_combinations_are_refused_with_a_status(library, forged, fields):
    op, status = forged()
    assert op != library.ffi.NULL, (status.code, status.index, status.value)
    library.lib.hw_op_free(op)
    op, status = forged(**fields)
    assert op == library.ffi.NULL and status.code


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 1, 0), (1 << 20, 1 << 20, 1), (1 << 20, 1, 1 << 20)], ids=str)
def test_a_constant_of_no_size_or_of_any_is_refused_before_it_is_read(library, forged, sizes):
    constant = library.ffi.new("int64_t[1]")
    h, w, c = sizes
    op, status = forged(constant=constant, constant_h=h, constant_w=w, constant_c=c)
    assert op == library.ffi.NULL and status.code


@pytest.mark.parametrize(
    "fields",
    [
        {"c": 0}, {"c": 4096}, {"multiplier": 0}, {"multiplier": 1 << 31}, {"left": -1}, {"left": 31}, {"reach": -1},
        {"reach": 1 << 20}, {"bits": 0}, {"bits": 17},
    ],
    ids=str,
)  # fmt: skip
def test_forged_softmaxes_are_refused_with_a_status(library, fields):
    ffi, lib = library.ffi, library.lib
    multiplier = ffi.new("int64_t[1]", [1])

    def made(**changed):
        softmax, status = ffi.new("hw_softmax *"), ffi.new("hw_status *")
        softmax.c, softmax.multiplier, softmax.left, softmax.reach, softmax.bits = 10, 1 << 30, 24, 100, 8
        out = softmax.output
        out.acc_bits, out.high, out.overflow, out.multiplier = 64, 255, 1, multiplier
        for name, number in changed.items():
            setattr(softmax, name, number)
        return lib.hw_softmax_new(softmax, status), status

    op, status = made()
    assert op != ffi.NULL, (status.code, status.index, status.value)
    lib.hw_op_free(op)
    op, status = made(**fields)
    assert op == ffi.NULL and status.code


def test_tensors_that_do_not_fit_are_refused(library):
    """A kernel made for some shapes and bound to others: the C core looks at every extent itself."""
    x = np.zeros((1, 3, 5, 7), np.int8)
    maximum = NATIVE.prepare(EltwiseMax((S8, S8), True), [Shape(3, 5, 7), Shape(3, 1, 1)])
    maximum.input_shapes = (Shape(3, 5, 7), Shape(2, 5, 7))
    with pytest.raises(BackendError, match="the native core found"):
        maximum([x, x[:, :2]])
    softmax = SoftmaxFixed.from_scale(S8, 0.1, Output(Affine(8, 1 / 256, -128), Rounding.TIES_AWAY))
    kernel = NATIVE.prepare(softmax, [Shape(4, 5, 7)])
    kernel.input_shapes = (Shape(3, 5, 7),)
    kernel.output_shape = Shape(3, 5, 7)
    with pytest.raises(BackendError, match="the native core found"):
        kernel([x])


def test_what_the_core_has_no_kernel_for_is_said(library):
    assert not NATIVE.can(EltwiseMax((catalog.E4M3, catalog.E4M3)))
    constant = np.zeros((3, 1, 1), np.int8)
    assert NATIVE.can(EltwiseSum((S8,), Output(S8), constant=constant, constant_format=S8))
