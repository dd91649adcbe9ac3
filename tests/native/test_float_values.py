"""Layers of the C core that a minifloat enters or leaves: what a backend says it can, it makes; what is forged, it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.backends.native import NATIVE
from hwsim.backends.native.value_kernels import new_float
from hwsim.contract.float_mac import FloatOutput
from hwsim.contract.mac import Output
from hwsim.errors import BackendError
from hwsim.formats import FixedPoint, Minifloat, Specials, catalog
from hwsim.layers import AveragePool, CountRule, EltwiseSum, Rescale, Shape, Window

SPECIALS = st.sampled_from([Specials.IEEE, Specials.FN])
FLOATS = st.sampled_from(list(catalog.FORMATS.values())) | st.builds(
    Minifloat,
    st.integers(2, 8),
    st.integers(1, 23),
    st.integers(-512, 512),
    specials=st.sampled_from([Specials.IEEE, Specials.FN]),
)
FIXED = st.builds(FixedPoint, st.integers(1, 32), st.integers(-256, 256), st.booleans())
REALS = FLOATS | FIXED
STAGES = st.builds(FloatOutput, FLOATS) | st.builds(Output, FIXED)


@settings(max_examples=150, deadline=None)
@given(formats=st.lists(REALS, min_size=2, max_size=5), output=STAGES, window=st.sampled_from([Window(None), Window((3, 5))]))
def test_every_layer_that_it_says_it_can_is_made(library, formats, output, window):
    layers = [
        EltwiseSum((catalog.E4M3, *formats), output),
        AveragePool(catalog.BINARY16, window, CountRule.CAFFE, output),
        *(AveragePool(f, window, CountRule.CAFFE, output) for f in formats if isinstance(f, Minifloat)),
        *(Rescale(f, output) for f in formats if isinstance(f, Minifloat)),
    ]
    for layer in layers:
        shapes = [Shape(2, 1024, 1024)] * len(layer.input_formats)
        if NATIVE.can(layer):
            assert NATIVE.prepare(layer, shapes)
        else:
            with pytest.raises(BackendError, match=f"no {layer.kind} for this contract"):
                NATIVE.prepare(layer, shapes)


def test_it_takes_the_sums_of_narrow_formats(library):
    """So that the property above is not about nothing."""
    for name in ("e4m3", "e5m2", "binary16", "ristretto_e4m3", "e4m3_fnuz"):
        fmt = catalog.FORMATS[name]
        assert NATIVE.can(AveragePool(fmt, Window(None), CountRule.CAFFE, FloatOutput(fmt)))
        assert NATIVE.can(EltwiseSum((fmt, FixedPoint(8, 4)), FloatOutput(fmt)))


def forged(library, **fields):
    """Return an hw_float_value of a cast from E4M3 to E5M2 with some fields of another value."""
    value = library.ffi.new("hw_float_value *")
    value.c = value.h = value.w = value.scale = 1
    value.input_bits, value.input, value.out = 8, new_float(library, catalog.E4M3)[0], new_float(library, catalog.E5M2)[0]
    for name, number in fields.items():
        setattr(value, name, number)
    return value


@pytest.mark.parametrize(
    "fields",
    [
        {"c": 0}, {"h": 1 << 25}, {"scale": 2}, {"mean_shift": 1}, {"mean_per_pixel": 1}, {"relu": 2}, {"input_fixed": 2},
        {"input_bits": 9}, {"input_bits": 33}, {"input_signed": 1}, {"input_exponent": 601}, {"output_fixed": 2},
        {"relu": 1, "output_fixed": 1}, {"output_length": -601}, {"output_fixed": 1},
    ],
    ids=str,
)  # fmt: skip
def test_forged_casts_are_refused_with_a_status(library, fields):
    ffi, lib = library.ffi, library.lib
    status = ffi.new("hw_status *")
    op = lib.hw_float_value_new(forged(library), 0, status)
    assert op != ffi.NULL
    lib.hw_op_free(op)
    assert lib.hw_float_value_new(forged(library, **fields), 0, status) == ffi.NULL
    assert status.code


@pytest.mark.parametrize(
    "fields",
    [{"n": 0}, {"divides": 2}, {"grid": -8}, {"grid": 601}, {"grid": -120}, {"output_fixed": 1}, {"output_length": 601}],
    ids=str,
)
def test_forged_sums_are_refused_with_a_status(library, fields):
    ffi, lib = library.ffi, library.lib
    layouts, zero, bits = new_float(library, catalog.E4M3), ffi.new("int32_t[]", [0]), ffi.new("int32_t[]", [8])

    def made(**changed):
        value, status = ffi.new("hw_float_sum *"), ffi.new("hw_status *")
        value.n, value.divides, value.grid, value.out = 1, 1, -9 - 64, new_float(library, catalog.E4M3)[0]
        value.format, value.fixed, value.bits, value.exponent = layouts, zero, bits, zero
        window = value.window
        window.r = window.s = 1024
        window.stride_h = window.stride_w = 1
        for name, number in changed.items():
            setattr(value, name, number)
        return lib.hw_float_sum_new(value, 0, status), status

    op, status = made()
    assert op != ffi.NULL, (status.code, status.index, status.value)
    lib.hw_op_free(op)
    op, status = made(**fields)
    assert op == ffi.NULL and status.code
