"""A second oracle, from another house: APyTypes has the same ten rounding modes, and wraps and saturates."""

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation
from hwsim.arith.rounding import Rounding, round_shift
from hwsim.formats import FixedPoint
from support.stages import finish_by_shift

apytypes = pytest.importorskip("apytypes", reason="apytypes is not installed (pip install 'hwsim[test]')")

THEIRS = {
    Rounding.FLOOR: "TO_NEG",
    Rounding.CEIL: "TO_POS",
    Rounding.TOWARD_ZERO: "TO_ZERO",
    Rounding.AWAY_FROM_ZERO: "TO_AWAY",
    Rounding.TIES_UP: "TIES_POS",
    Rounding.TIES_DOWN: "TIES_NEG",
    Rounding.TIES_AWAY: "TIES_AWAY",
    Rounding.TIES_TO_ZERO: "TIES_ZERO",
    Rounding.TIES_EVEN: "TIES_EVEN",
    Rounding.TIES_ODD: "TIES_ODD",
}
by_mode = pytest.mark.parametrize("mode", list(Rounding), ids=lambda mode: mode.name)


@by_mode
@pytest.mark.parametrize("shift", [1, 2, 5])
def test_round_shift_is_their_cast_to_an_integer(mode, shift):
    codes = np.arange(-600, 600)
    theirs = apytypes.APyFixedArray.from_array(codes, int_bits=12, frac_bits=0) >> shift
    theirs = theirs.cast(int_bits=12, frac_bits=0, quantization=getattr(apytypes.QuantizationMode, THEIRS[mode]))
    assert round_shift(codes, shift, mode).tolist() == theirs.to_numpy().astype(int).tolist()


@by_mode
@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SATURATE], ids=lambda overflow: overflow.name)
def test_encode_is_their_cast(mode, overflow):
    sixteenths = np.arange(-3000, 3000) / 16.0
    their_overflow = apytypes.OverflowMode.WRAP if overflow == Overflow.WRAP else apytypes.OverflowMode.SAT
    theirs = apytypes.APyFixedArray.from_float(sixteenths, int_bits=16, frac_bits=4).cast(
        int_bits=5, frac_bits=1, quantization=getattr(apytypes.QuantizationMode, THEIRS[mode]), overflow=their_overflow
    )
    codes = FixedPoint(6, 1).encode_array(sixteenths, mode, overflow)
    assert (codes / 2).tolist() == theirs.to_numpy().tolist()


@by_mode
@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SATURATE], ids=lambda overflow: overflow.name)
def test_every_code_of_10_bits_into_4_is_their_cast(mode, overflow):
    """Codes with 0 to 9 fraction bits become integers, in every rounding mode and the two overflows that they have."""
    codes = np.arange(-512, 512)
    their_overflow = apytypes.OverflowMode.WRAP if overflow == Overflow.WRAP else apytypes.OverflowMode.SAT
    for shift in range(10):
        theirs = apytypes.APyFixedArray(codes.tolist(), int_bits=10 - shift, frac_bits=shift).cast(
            int_bits=4, frac_bits=0, quantization=getattr(apytypes.QuantizationMode, THEIRS[mode]), overflow=their_overflow
        )
        ours = [finish_by_shift(int(c), shift, mode, overflow, Activation.NONE, 4, True, -8, 7)[0] for c in codes]
        assert ours == theirs.to_numpy().astype(int).tolist(), shift
