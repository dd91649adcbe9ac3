"""The minifloat leaves of the C core are the leaves of hwsim/arith/minifloat.py."""

from __future__ import annotations

import itertools
import random

import pytest

from hwsim.arith import minifloat as leaves
from hwsim.arith.minifloat import Specials
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.formats import Minifloat
from hwsim.formats.catalog import BFLOAT16, BINARY16, BINARY32, E2M1, E4M3, E4M3_FNUZ, E5M2, RISTRETTO_E4M3, ristretto

WIDE = Minifloat(8, 23, bias=-512)
NARROW = Minifloat(2, 0, bias=512, specials=Specials.FN, subnormals=False)
FORMATS = (BFLOAT16, BINARY16, BINARY32, E2M1, E4M3, E4M3_FNUZ, E5M2, RISTRETTO_E4M3, ristretto(5, 2, 128), WIDE, NARROW)


class Twin:
    """The C leaves with the signatures of the Python ones."""

    def __init__(self, library) -> None:
        self.ffi, self.lib = library.ffi, library.lib
        self.event = self.ffi.new("int32_t *", -1)
        self.layouts = {f.layout: self.ffi.new("hw_float *", list(f.layout)) for f in FORMATS}

    def call(self, name: str, *arguments) -> tuple[int, int]:
        """(code, event) of a leaf; layouts become hw_float, in their order."""
        ready = [self.layouts[a] if isinstance(a, leaves.FloatLayout) else a for a in arguments]
        return getattr(self.lib, f"hw_float_{name}")(*ready, self.event), self.event[0]


@pytest.fixture(scope="module")
def twin(library) -> Twin:
    return Twin(library)


def some_codes(f: Minifloat, count: int, rng: random.Random) -> list[int]:
    """Random words, and those at the ends of the binades of either sign: zeros, the largest number, infinity, NaN."""
    largest = f.layout.largest
    ends = {0, 1, (1 << f.man_bits) - 1, 1 << f.man_bits, largest - 1, largest, largest + 1, f.high >> 1}
    both = [code | sign << (f.bits - 1) for code in ends if 0 <= code < 1 << (f.bits - 1) for sign in (0, 1)]
    return both + [rng.randrange(f.high + 1) for _ in range(count)]


@pytest.mark.parametrize("f", [E4M3, E5M2], ids=str)
def test_every_sum_and_product_of_two_bytes_is_the_leafs(twin, f):
    m = Rounding.TIES_EVEN
    for a, b in itertools.product(range(256), repeat=2):
        to = (a, f.layout, b, f.layout, f.layout, m)
        assert twin.call("add", *to) == leaves.add_floats(*to), (a, b)
        assert twin.call("multiply", *to) == leaves.multiply_floats(*to), (a, b)


@pytest.mark.parametrize("mode", Rounding)
def test_operations_are_the_leaves_in_every_mode_and_mixture_of_formats(twin, mode):
    rng = random.Random(int(mode))
    for of_a, of_b, to in itertools.product(FORMATS, repeat=3):
        a, b, c = (rng.choice(some_codes(f, 12, rng)) for f in (of_a, of_b, to))
        pair = (a, of_a.layout, b, of_b.layout, to.layout, mode)
        assert twin.call("add", *pair) == leaves.add_floats(*pair), pair
        assert twin.call("multiply", *pair) == leaves.multiply_floats(*pair), pair
        three = (*pair[:4], c, to.layout, to.layout, mode)
        assert twin.call("multiply_add", *three) == leaves.multiply_add_floats(*three), three


@pytest.mark.parametrize("mode", Rounding)
def test_unpack_casts_and_roundings_are_the_leaves(twin, mode):
    rng = random.Random(100 + int(mode))
    parts = twin.ffi.new("int64_t[3]")
    for of, to in itertools.product(FORMATS, repeat=2):
        for code in some_codes(of, 4, rng):
            twin.lib.hw_float_unpack(code, twin.layouts[of.layout], parts)
            assert tuple(parts) == leaves.unpack(code, of.layout), (code, of)
            cast = (code, of.layout, to.layout, mode)
            assert twin.call("cast", *cast) == leaves.cast_float(*cast), cast
        sign, significand = rng.randrange(2), rng.randrange(1 << rng.randrange(1, 62))
        exact = (sign, significand, rng.randrange(-700, 700), mode, to.layout)
        assert twin.call("round_pack", *exact) == leaves.round_pack(*exact), exact


@pytest.mark.parametrize("mode", Rounding)
def test_fixed_point_to_and_fro_is_the_leafs(twin, mode):
    rng = random.Random(200 + int(mode))
    for f, bits, signed in itertools.product(FORMATS, (2, 8, 32), (True, False)):
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        for code in some_codes(f, 6, rng):
            fl = rng.randrange(-40, 40)
            for overflow in (Overflow.WRAP, Overflow.SATURATE):
                output = twin.ffi.new("hw_output *", (64, mode, int(overflow != Overflow.WRAP), 0, low, high))
                expected = leaves.fixed_from_float(code, f.layout, fl, mode, overflow, bits, signed, low, high)
                assert twin.call("to_fixed", code, f.layout, fl, output) == expected, (code, f, fl, overflow)
            fixed = (rng.randrange(-(1 << 61), 1 << 61) >> rng.randrange(62), fl, f.layout, mode)
            assert twin.call("from_fixed", *fixed) == leaves.float_from_fixed(*fixed), fixed
