"""Named minifloat formats, each with its source.

OCP OFP8: OCP 8-bit Floating Point Specification (OFP8), revision 1.0, 2023.  OCP MX: OCP Microscaling Formats (MX)
Specification, version 1.0, 2023, which fixes the elements of FP6 and FP4.  OFP8 describes both a saturating and a
non-saturating conversion: the names below overflow to infinity or NaN; `dataclasses.replace(E4M3, saturate=True)` is the
other. ml_dtypes (github.com/jax-ml/ml_dtypes) has all but Ristretto's: the tests compare every code.
"""

from __future__ import annotations

from fractions import Fraction
from types import MappingProxyType

from hwsim.arith.minifloat import Specials
from hwsim.arith.rounding import Rounding, round_ratio
from hwsim.errors import ContractError
from hwsim.formats.minifloat import Minifloat

# IEEE 754-2019 table 3.5
BINARY16 = Minifloat(5, 10)
BINARY32 = Minifloat(8, 23)
# The upper half of binary32
BFLOAT16 = Minifloat(8, 7)
# OCP OFP8: E5M2 follows IEEE, E4M3 spends the top binade on numbers and keeps one NaN
E5M2 = Minifloat(5, 2)
E4M3 = Minifloat(4, 3, specials=Specials.FN)
# OCP MX section 5.3: no infinity, no NaN, overflow saturates
E3M2 = Minifloat(3, 2, specials=Specials.NONE, saturate=True)
E2M3 = Minifloat(2, 3, specials=Specials.NONE, saturate=True)
E2M1 = Minifloat(2, 1, specials=Specials.NONE, saturate=True)
# The plain IEEE scheme at 8 bits, as ml_dtypes float8_e4m3 and float8_e3m4
E4M3_IEEE = Minifloat(4, 3)
E3M4_IEEE = Minifloat(3, 4)
# Noune, Jones, Justus, Masters, Luschi, 8-bit Numerical Formats for Deep Neural Networks, arXiv 2206.02915
E4M3_FNUZ = Minifloat(4, 3, bias=8, specials=Specials.FNUZ)
E5M2_FNUZ = Minifloat(5, 2, bias=16, specials=Specials.FNUZ)
# As ml_dtypes float8_e4m3b11fnuz
E4M3_B11_FNUZ = Minifloat(4, 3, bias=11, specials=Specials.FNUZ)


def ristretto(exp_bits: int, man_bits: int, zero_code: int = 0) -> Minifloat:
    """Return Ristretto's minifloat as hardware can build it: no subnormals, no NaN, all-ones exponent is a number.

    Ristretto's own has one value more than codes, a zero beside 2**(1 + exp_bits + man_bits) numbers, and rounds past its
    maximum (`ristretto_real`). Here the declared zero_code, one of the two least codes, means 0 instead of its power of two,
    and a result beyond the maximum saturates after rounding. All else is the same.

    >>> f = ristretto(4, 3)
    >>> f.largest, f.decode(0), f.decode(1), f.decode(0x80)
    (Fraction(480, 1), Fraction(0, 1), Fraction(9, 1024), Fraction(-1, 128))
    """
    return Minifloat(exp_bits, man_bits, subnormals=False, specials=Specials.NONE, saturate=True, zero_code=zero_code)


def ristretto_real(real: float | Fraction, exp_bits: int, man_bits: int, rounding: Rounding = Rounding.TIES_AWAY) -> Fraction:
    """ristretto_real(real) = what Ristretto's software makes of a float32: no format, since no code stands for some of it.

    The fraction of |real| is rounded to man_bits, TIES_AWAY on its CPU path and TIES_EVEN on its GPU path, and may carry past
    the maximum to 2**(2**exp_bits - bias); from there on it clips to the maximum, below. Under 2**-bias all is zero.
    Source: Trim2MiniFloat_cpu in Ristretto's base_ristretto_layer.cpp, without its early return at the first zero.

    >>> ristretto_real(479.0, 4, 3), ristretto_real(500.0, 4, 3), ristretto_real(512.0, 4, 3), ristretto_real(0.0078, 4, 3)
    (Fraction(480, 1), Fraction(512, 1), Fraction(480, 1), Fraction(0, 1))
    """
    if isinstance(real, float) and real - real != 0:
        raise ContractError(f"ristretto_real: found {real!r}; only finite values are allowed.")
    bias = (1 << (exp_bits - 1)) - 1
    magnitude = abs(Fraction(real))
    if magnitude < Fraction(2) ** -min(bias, 126):  # 2**-126: it takes subnormal float32 numbers for zero
        return Fraction(0)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    exponent -= magnitude < Fraction(2) ** exponent
    top = (1 << exp_bits) - 1 - bias
    if exponent > top:
        magnitude = (2 - Fraction(1, 1 << man_bits)) * Fraction(2) ** top
    else:
        scaled = magnitude / Fraction(2) ** (exponent - man_bits)
        magnitude = round_ratio(scaled.numerator, scaled.denominator, rounding) * Fraction(2) ** (exponent - man_bits)
    return -magnitude if real < 0 else magnitude


# Ristretto's default split of 8 bits (its tool takes at least 4 exponent bits)
RISTRETTO_E4M3 = ristretto(4, 3)

FORMATS = MappingProxyType(
    {
        "binary32": BINARY32,
        "binary16": BINARY16,
        "bfloat16": BFLOAT16,
        "e5m2": E5M2,
        "e4m3": E4M3,
        "e3m2": E3M2,
        "e2m3": E2M3,
        "e2m1": E2M1,
        "e4m3_ieee": E4M3_IEEE,
        "e3m4_ieee": E3M4_IEEE,
        "e4m3_fnuz": E4M3_FNUZ,
        "e5m2_fnuz": E5M2_FNUZ,
        "e4m3_b11_fnuz": E4M3_B11_FNUZ,
        "ristretto_e4m3": RISTRETTO_E4M3,
    }
)


def named(name: str) -> Minifloat:
    """Return the format of that name in FORMATS.

    >>> named("e5m2").largest
    Fraction(57344, 1)
    """
    if name not in FORMATS:
        raise ContractError(f"minifloat format: found {name!r}, allowed {', '.join(FORMATS)}.")
    return FORMATS[name]
