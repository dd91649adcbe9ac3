"""Elementwise arithmetic in float32, step by step, as codes: the operands' products, their combination, a quotient, an integer.

f: the layout of binary32. Every step is rounded to it, ties to even. Leaves: they validate nothing and run on Python ints
and on int64.
"""

from hwsim.arith.minifloat import (
    add_floats,
    bit_length,
    fixed_from_float,
    float_from_fixed,
    infinity_code,
    is_infinite,
    is_nan,
    multiply_add_floats,
    multiply_floats,
    nan_code,
    round_pack,
    unpack,
)
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding

QUOTIENT_BITS = 60
FAR_BITS = 62


def float_term(value, scale, f):
    """float_term(v) = float32(float32(v) * scale), as a code; value: any int below 2**62, scale: a code.

    >>> from hwsim.formats.catalog import BINARY32
    >>> hex(float_term(-3, 0x3F000000, BINARY32.layout))  # 0.5
    '0xbfc00000'
    """
    number = float_from_fixed(value, 0, f, Rounding.TIES_EVEN)[0]
    return multiply_floats(number, f, scale, f, f, Rounding.TIES_EVEN)[0]


def fused_term(code, scale, total, f):
    """fused_term(c) = float32(c * scale + total), rounded once; code: below 2**24, so that it is a float32 number.

    >>> from hwsim.formats.catalog import BINARY32
    >>> hex(fused_term(3, 0x3F000000, 0x40000000, BINARY32.layout))  # 3 * 0.5 + 2
    '0x40600000'
    """
    number = float_from_fixed(code, 0, f, Rounding.TIES_EVEN)[0]
    return multiply_add_floats(number, f, scale, f, total, f, f, Rounding.TIES_EVEN)[0]


def offset_term(value, scale, offset, f):
    """offset_term(v) = float32(float32(float32(v) * scale) + offset).

    >>> from hwsim.formats.catalog import BINARY32
    >>> hex(offset_term(3, 0x3F000000, 0x40000000, BINARY32.layout))  # 3 * 0.5 + 2
    '0x40600000'
    """
    return add_floats(float_term(value, scale, f), f, offset, f, f, Rounding.TIES_EVEN)[0]


def divide_floats(a, b, f, mode):
    """divide_floats(a, b) = (code, event) of round(a / b); b is a number and not 0.

    The quotient's last bit is sticky below 35 others or more.

    >>> from hwsim.formats.catalog import BINARY32
    >>> hex(divide_floats(0x3F800000, 0x40400000, BINARY32.layout, Rounding.TIES_EVEN)[0])  # 1 / 3
    '0x3eaaaaab'
    """
    if is_nan(a, f):
        return nan_code(f), 0
    sign_a, m_a, exp_a = unpack(a, f)
    sign_b, m_b, exp_b = unpack(b, f)
    if is_infinite(a, f):
        return infinity_code(sign_a ^ sign_b, f), 0
    left = QUOTIENT_BITS - bit_length(m_a)
    dividend = m_a << left
    quotient = dividend // m_b
    sticky = quotient | (quotient * m_b != dividend)
    return round_pack(sign_a ^ sign_b, sticky, exp_a - left - exp_b, mode, f)


def float_integer(code, divisor, mode, f):
    """float_integer(x) = round(float32(x / divisor)), within +-2**61; NaN gives 0.

    >>> from hwsim.formats.catalog import BINARY32
    >>> float_integer(0x40A00000, 0x40000000, Rounding.TIES_EVEN, BINARY32.layout)  # 5 / 2
    2
    """
    quotient = divide_floats(code, divisor, f, Rounding.TIES_EVEN)[0]
    high = (1 << (FAR_BITS - 1)) - 1
    return fixed_from_float(quotient, f, 0, mode, Overflow.SATURATE, FAR_BITS, True, -high, high)[0]
