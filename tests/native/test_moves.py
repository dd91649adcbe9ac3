"""Operators that move codes, look them up or have slopes: what they refuse is data, and nothing is read beyond a table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hwsim.arith.rounding import Rounding
from hwsim.backends.base import Step, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.native.move_kernels import FlattenKernel, LookupKernel, MoveKernel, PReluKernel
from hwsim.backends.native.program import Calls
from hwsim.contract import Output
from hwsim.errors import BackendError
from hwsim.formats import FixedPoint
from hwsim.layers import Flatten, LookupTable, Pad, PReLU, Shape

S8 = FixedPoint(8, 3)
SHAPE = Shape(3, 4, 5)
PLACES = {"rows": 4, "columns": 5, "channels": 3}


def new_move(library, **changes):
    """An hw_move that copies 3 x 4 x 5 codes, with some fields changed; what it points to is kept beside it."""
    made = library.ffi.new("hw_move *")
    made.in_c, made.in_h, made.in_w = made.c, made.h, made.w = SHAPE
    kept = {name: library.ffi.new("int32_t[]", list(range(extent))) for name, extent in PLACES.items()}
    for name, places in kept.items():
        setattr(made, name, places)
    for name, value in changes.items():
        setattr(made, name, value) if name not in kept else kept[name].__setitem__(1, value)
    return made, kept


def refused(library, make: Callable) -> tuple[int, int, int]:
    status = library.ffi.new("hw_status *")
    assert make(status) == library.ffi.NULL
    return status.code, status.index, status.value


@pytest.mark.parametrize(("name", "limit"), PLACES.items())
def test_a_place_beyond_the_input_is_refused(library, name, limit):
    made, kept = new_move(library, **{name: limit})
    assert refused(library, lambda s: library.lib.hw_move_new(made, s)) == (library.lib.HW_OUT_OF_RANGE, 1, limit)
    del kept


@pytest.mark.parametrize(("name", "index"), [("in_h", 0), ("in_w", 1), ("in_c", 2), ("h", 3), ("w", 4), ("c", 5)])
def test_sizes_of_a_move_are_checked(library, name, index):
    for size in (0, -1, 1 << 31):
        made, kept = new_move(library, **{name: size})
        assert refused(library, lambda s, m=made: library.lib.hw_move_new(m, s)) == (library.lib.HW_BAD_SHAPE, index, size)
        del kept


FIELDS = [
    ({"low": -(1 << 15) - 1}, "HW_BAD_ARGUMENT", 0),
    ({"high": -129}, "HW_BAD_ARGUMENT", 1),
    ({"high": 1 << 16}, "HW_BAD_ARGUMENT", 1),
    ({"fraction_bits": 16}, "HW_BAD_ARGUMENT", 2),
    ({"dropped_bits": 1}, "HW_BAD_ARGUMENT", 3),
    ({"rounding": 10}, "HW_BAD_ARGUMENT", 4),
    ({"entries": 255}, "HW_BAD_ARGUMENT", 5),
    ({"fraction_bits": 4}, "HW_BAD_ARGUMENT", 5),
    ({"fraction_bits": 4, "entries": 17, "table": 1 << 44}, "HW_OUT_OF_RANGE", 0),
    ({"table": 1 << 48}, "HW_OUT_OF_RANGE", 0),
]


@pytest.mark.parametrize(("changes", "code", "index"), FIELDS, ids=lambda v: str(v))
def test_fields_of_a_table_are_checked(library, changes, code, index):
    made, table = library.ffi.new("hw_lookup *"), library.ffi.new("int64_t[256]")
    made.low, made.high, made.entries, made.table = -128, 127, 256, table
    for name, value in changes.items():
        if name == "table":
            table[0] = value
        else:
            setattr(made, name, value)
    found = refused(library, lambda s: library.lib.hw_lookup_new(made, s))
    assert found[:2] == (getattr(library.lib, code), index)


SLOPES = [({"c": 0}, 0), ({"slopes": 2}, 1), ({"low": 5, "high": 4}, 3), ({"zero": 1 << 49}, 4)]


@pytest.mark.parametrize(("changes", "index"), SLOPES, ids=lambda v: str(v))
def test_fields_of_a_prelu_are_checked(library, changes, index):
    made, slope = library.ffi.new("hw_prelu *"), library.ffi.new("int32_t[]", [1, 1, 1])
    made.c, made.slopes, made.slope, made.low, made.high = 3, 3, slope, -128, 127
    for name, value in changes.items():
        setattr(made, name, value)
    assert refused(library, lambda s: library.lib.hw_prelu_new(made, s))[:2] == (library.lib.HW_BAD_ARGUMENT, index)


def test_a_slope_that_leaves_int64_is_refused(library):
    made, slope = library.ffi.new("hw_prelu *"), library.ffi.new("int32_t[]", [1 << 30])
    made.c, made.slopes, made.slope, made.low, made.high = 3, 1, slope, -(1 << 40), 127
    assert refused(library, lambda s: library.lib.hw_prelu_new(made, s)) == (library.lib.HW_OUT_OF_RANGE, 0, 1 << 30)


KERNELS = {
    "move": lambda: MoveKernel(Pad(S8, (0, 1, 2), (0, 0, 1)), [SHAPE]),
    "flatten": lambda: FlattenKernel(Flatten(S8), [SHAPE]),
    "lookup": lambda: LookupKernel(LookupTable(S8, S8, np.arange(256) - 128), [SHAPE]),
    "prelu": lambda: PReluKernel(PReLU(S8, S8, np.array([1]), Output(S8, Rounding.FLOOR)), [SHAPE]),
}


def step(kernel, inputs: int = 1, c: int = 3, dtype=np.int8) -> Step:
    """The kernel bound to tensors of which one thing is wrong."""
    fed = tuple(Buffer.allocate(2, Shape(c, 4, 5), np.dtype(dtype)) for _ in range(inputs))
    return Step(kernel, fed, Buffer.allocate(2, kernel.output_shape, np.dtype(np.int8)), Taps())


@pytest.mark.parametrize("name", KERNELS)
def test_tensors_that_do_not_fit_are_refused(library, name):
    kernel = KERNELS[name]()
    Calls([step(kernel)]).run()
    for wrong, said in (({"inputs": 2}, "argument"), ({"c": 2}, "sizes"), ({"dtype": np.int64}, "element type")):
        if name == "prelu" and "dtype" in wrong:
            continue  # codes of any type
        with pytest.raises(BackendError, match=said):
            Calls([step(kernel, **wrong)]).run()


def test_codes_beyond_the_table_read_nothing_beyond_it(library):
    """The caller promises codes of the format; a byte outside of it still finds an entry of the table's own memory."""
    f = FixedPoint(5, 0)
    kernel = LookupKernel(LookupTable(f, f, np.arange(15, -17, -1)), [Shape(1, 16, 16)])
    x = Buffer.allocate(1, Shape(1, 16, 16), np.dtype(np.int8))
    x.codes[...] = np.arange(-128, 128).reshape(1, 1, 16, 16)
    out = Buffer.allocate(1, Shape(1, 16, 16), np.dtype(np.int8))
    Calls([Step(kernel, (x,), out, Taps())]).run()
    assert out.codes.ravel()[112:144].tolist() == list(range(15, -17, -1))
