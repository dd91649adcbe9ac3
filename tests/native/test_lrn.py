"""Local response normalization in the C core: what it refuses is data, and no code finds an entry outside the table."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.backends.base import Step, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.native.lrn_kernels import LRNKernel
from hwsim.backends.native.program import Calls
from hwsim.contract import Output
from hwsim.errors import BackendError
from hwsim.formats import FixedPoint
from hwsim.layers import IntegerLRN, Region, Shape
from hwsim.layers.lrn_table import SumLookup, TableDesign

S8 = FixedPoint(8, 3)
SHAPE = Shape(3, 4, 5)

FIELDS = [
    ({"low": -(1 << 15) - 1}, "HW_BAD_ARGUMENT", 0),
    ({"high": -129}, "HW_BAD_ARGUMENT", 1),
    ({"zero": 1 << 16}, "HW_BAD_ARGUMENT", 2),
    ({"reach_c": -1}, "HW_BAD_ARGUMENT", 3),
    ({"reach_h": 1 << 16}, "HW_BAD_ARGUMENT", 4),
    ({"reach_w": -1}, "HW_BAD_ARGUMENT", 5),
    ({"entries": 0}, "HW_BAD_ARGUMENT", 6),
    ({"entries": (1 << 16) + 1}, "HW_BAD_ARGUMENT", 6),
    ({"shift": 63}, "HW_BAD_ARGUMENT", 7),
    ({"mantissa_bits": 63}, "HW_BAD_ARGUMENT", 8),
    ({"mantissa_bits": 17}, "HW_BAD_ARGUMENT", 8),
    ({"fraction_bits": 17}, "HW_BAD_ARGUMENT", 9),
    ({"dropped_bits": 1}, "HW_BAD_ARGUMENT", 10),
    ({"rounding": 10}, "HW_BAD_ARGUMENT", 11),
    ({"reach_h": 65535, "reach_w": 65535, "high": 65535, "reach_c": 9}, "HW_OUT_OF_RANGE", -1),
    ({"table": 1 << 32}, "HW_OUT_OF_RANGE", 0),
    ({"table": -(1 << 31), "high": 65535, "fraction_bits": 16}, "HW_OUT_OF_RANGE", 0),
]


def new_lrn(library):
    made, table = library.ffi.new("hw_lrn *"), library.ffi.new("int64_t[4]", [9, 5, 3, 2])
    made.low, made.high, made.entries, made.table = -128, 127, 4, table
    made.output.acc_bits, made.output.low, made.output.high, made.output.overflow = 40, -128, 127, 1
    return made, table


def test_what_is_whole_is_made(library):
    made, table = new_lrn(library)
    status = library.ffi.new("hw_status *")
    op = library.lib.hw_lrn_new(made, status)
    assert op != library.ffi.NULL and status.code == 0
    library.lib.hw_op_free(op)
    del table


@pytest.mark.parametrize(("changes", "code", "index"), FIELDS, ids=lambda v: str(v))
def test_fields_are_checked(library, changes, code, index):
    made, table = new_lrn(library)
    for name, value in changes.items():
        if name == "table":
            table[0] = value
        else:
            setattr(made, name, value)
    status = library.ffi.new("hw_status *")
    assert library.lib.hw_lrn_new(made, status) == library.ffi.NULL
    assert (status.code, status.index) == (getattr(library.lib, code), index)


def kernel(region: Region = Region.ACROSS_CHANNELS) -> LRNKernel:
    layer = IntegerLRN.from_real(S8, region, 3, 1.0, 0.75, 1.0, Output(S8), TableDesign(16))
    return LRNKernel(layer, [SHAPE])


def step(inputs: int = 1, c: int = 3, out=np.int8) -> Step:
    """The kernel bound to tensors of which one thing is wrong."""
    fed = tuple(Buffer.allocate(2, Shape(c, 4, 5), np.dtype(np.int8)) for _ in range(inputs))
    return Step(kernel(), fed, Buffer.allocate(2, SHAPE, np.dtype(out)), Taps())


def test_tensors_that_do_not_fit_are_refused(library):
    Calls([step()]).run()
    for wrong, said in (({"inputs": 2}, "argument"), ({"c": 2}, "sizes"), ({"out": np.uint8}, "element type")):
        with pytest.raises(BackendError, match=said):
            Calls([step(**wrong)]).run()


@pytest.mark.parametrize("region", list(Region))
def test_codes_beyond_the_format_find_an_entry_all_the_same(library, region):
    """The caller promises codes of the format; sums of others, which may wrap, still end within the table."""
    out, far = Buffer.allocate(1, SHAPE, np.dtype(np.int8)), Buffer.allocate(1, SHAPE, np.dtype(np.int64))
    far.codes[...] = np.array([3037000500, -(1 << 62), 1 << 62, 7, -1]).reshape(1, 1, 1, 5)
    Calls([Step(kernel(region), (far,), out, Taps())]).run()


def test_one_entry_is_a_table_too(library):
    lookup = SumLookup(FixedPoint(16, 15, False), 0, None, 8, 8)
    layer = IntegerLRN(S8, Region.WITHIN_CHANNEL, 3, 0.0, 0.75, 1.0, lookup, np.array([1 << 14]), Output(S8))
    x = np.arange(-30, 30).reshape(1, 3, 4, 5).astype(np.int8)
    np.testing.assert_array_equal(LRNKernel(layer, [SHAPE])([x]).codes, np.rint(x / 2))
