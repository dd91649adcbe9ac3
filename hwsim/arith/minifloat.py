"""Minifloat: unpacked to exact integers, computed exactly, rounded once.

An operand becomes (sign, significand, exponent), value = (-1)**sign * significand * 2**exponent. Every operation forms its
exact result, or one that rounds alike, and ends in `round_pack`: the only place that loses a bit. (The shape is that of
Berkeley SoftFloat.) The rules that all operations share:

* (code, event): event = 1 if the exact finite result, rounded as if exponents had no end, lies beyond the largest number.
* Overflow: a saturating format gives its largest number; another one gives infinity, or NaN where it has no infinity. Modes
  that round toward zero on that side give the largest number, as IEEE 754-2019 section 7.4 says of its own.
* An infinite operand is no event; its result is infinity, or what the format gives at overflow.
* NaN in any operand, infinity - infinity and 0 * infinity give the format's one NaN; in a format without NaN, its zero.
* x - x is +0, under FLOOR -0; formats without negative zero have one zero for both (IEEE 754-2019 section 6.3 for the rest).
* Formats without subnormals: what is below the smallest normal number before rounding is zero.

Leaves: they validate nothing and run on Python ints and on int64. Domain in int64: man_bits <= 23, |bias| <= 512,
significands given to `round_pack` < 2**62, to `add_exact` < 2**48; then no intermediate leaves int64, as each leaf shows.
"""

from enum import IntEnum
from typing import NamedTuple

from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import Activation, finish_rounded, fit
from hwsim.arith.rounding import Rounding, increment, round_shift


class Specials(IntEnum):
    """Which codes are no numbers.

    IEEE: all-ones exponent is infinity (fraction 0) or NaN.  FN: no infinity, NaN at all ones of either sign.
    FNUZ: no infinity and no negative zero; its code is the one NaN.  NONE: every code is a number.
    """

    IEEE = 0
    FN = 1
    FNUZ = 2
    NONE = 3


class FloatLayout(NamedTuple):
    """What a leaf must know of a minifloat, as plain ints (`Minifloat.layout` makes it).

    sign_shift: position of the sign bit, exp_bits + man_bits.  lowest: smallest exponent field of a normal number, 0 or 1.
    largest: code of the largest number.  zero: code of +0.  signed_zero: 1 if zero with the sign bit set is -0.
    """

    man_bits: int
    sign_shift: int
    bias: int
    lowest: int
    subnormals: int
    specials: int
    largest: int
    saturate: int
    zero: int
    signed_zero: int


def bit_length(x):
    """bit_length(x) = the least n with x < 2**n, for x >= 0.

    >>> bit_length(0), bit_length(255), bit_length(256), bit_length(1 << 91)
    (0, 8, 9, 92)
    """
    n = 0
    while x >> 32 > 0:
        x >>= 32
        n += 32
    for step in (16, 8, 4, 2, 1):
        if x >> step > 0:
            x >>= step
            n += step
    return n + x


def shift_right_sticky(x, n):
    """shift_right_sticky(x, n) = x >> n, its last bit set if any dropped bit was: it rounds as the exact quotient does.

    x >= 0, n >= 0. Any n: a shift of 62 or more leaves at most the sticky bit of an int64.

    >>> shift_right_sticky(8, 2), shift_right_sticky(9, 2), shift_right_sticky(1, 1000)
    (2, 3, 1)
    """
    if n > bit_length(x):
        return int(x > 0)
    q = x >> n
    return q | int(q << n != x)


def unpack(code, f):
    """unpack(code) = (sign, significand, exponent): the number is (-1)**sign * significand * 2**exponent.

    significand < 2**(man_bits + 1), 0 for every zero. Infinity and NaN unpack as if they were numbers: ask first.
    Runs on int64 arrays of codes too.
    """
    magnitude = code & ((1 << f.sign_shift) - 1)
    field = magnitude >> f.man_bits
    fraction = magnitude & ((1 << f.man_bits) - 1)
    normal = (field >= f.lowest) * 1
    significand = normal * (fraction + (1 << f.man_bits)) + (1 - normal) * f.subnormals * fraction
    significand = significand * (code != f.zero)  # where the lowest binade gives one code up for zero
    sign = ((code >> f.sign_shift) & 1) * (code != f.zero)  # the one zero of such a format has no sign, whatever its code
    return sign, significand, field + (1 - normal) - f.bias - f.man_bits


def is_nan(code, f):
    """Return whether the code is NaN."""
    magnitude = code & ((1 << f.sign_shift) - 1)
    if f.specials == Specials.IEEE:
        return magnitude > f.largest + 1
    if f.specials == Specials.FNUZ:
        return code == 1 << f.sign_shift
    return magnitude > f.largest  # the one code above the largest in FN, none in NONE


def is_infinite(code, f):
    """Return whether the code is an infinity."""
    return (code & ((1 << f.sign_shift) - 1) == f.largest + 1) & (f.specials == Specials.IEEE)


def nan_code(f):
    """Return the code of every NaN result: positive, quiet; the format's zero where there is no NaN."""
    if f.specials == Specials.IEEE:
        return f.largest + 1 + (1 << (f.man_bits - 1))
    if f.specials == Specials.FN:
        return f.largest + 1
    if f.specials == Specials.FNUZ:
        return 1 << f.sign_shift
    return f.zero


def zero_code(sign, f):
    """Return the code of zero with that sign, or of the one zero that the format has."""
    return f.zero | ((sign & f.signed_zero) << f.sign_shift)


def infinity_code(sign, f):
    """Return what stands for infinity: the largest number if saturating, else infinity, else NaN."""
    if f.saturate:
        return f.largest | (sign << f.sign_shift)
    if f.specials == Specials.FNUZ:
        return 1 << f.sign_shift
    return (f.largest + 1) | (sign << f.sign_shift)  # infinity in IEEE, NaN in FN


def relu_float(code, f):
    """relu_float(code) = the code of max(value, +0): zeros become +0, NaN passes.

    Under NaN at the code of -0 (FNUZ) and a zero at the code of the most negative magnitude, each is what it means.
    """
    if (code >> f.sign_shift == 1) & (not is_nan(code, f)):
        return f.zero
    return code


def overflows_outward(sign, mode):
    """Return whether a result beyond the largest number goes on to infinity under that mode.

    Infinity is the next neighbour, and the nearer one: as if the value stood three quarters of the way to it.

    >>> [int(overflows_outward(0, mode)) for mode in Rounding]
    [0, 1, 0, 1, 1, 1, 1, 1, 1, 1]
    """
    if sign:
        return increment(-1, 1, 4, mode) == 0
    return increment(0, 3, 4, mode) == 1


def pack(sign, magnitude, mode, f):
    """pack(sign, magnitude) = (code, event) of a rounded result: the code without its sign, had the exponent no end."""
    if magnitude > f.largest:
        if overflows_outward(sign, mode):
            return infinity_code(sign, f), 1
        return f.largest | (sign << f.sign_shift), 1
    if (magnitude == 0) & (f.lowest == 1):
        return zero_code(sign, f), 0
    return magnitude | (sign << f.sign_shift), 0


def round_pack(sign, significand, exponent, mode, f):
    """round_pack(s, m, e) = (code, event) of (-1)**s * m * 2**e, rounded to the format: the end of every operation.

    significand >= 0, any Python int; its last bit may be sticky if it has at least man_bits + 3 bits.
    int64: significand < 2**62, |exponent| < 2**31. A right shift is at most 62, since a longer one than the significand is
    replaced by a quarter of a unit, which rounds alike; a left shift leaves at most man_bits + 1 <= 24 bits. The field
    is below 2**32, so field << man_bits is below 2**56.
    """
    if significand == 0:
        return zero_code(sign, f), 0
    length = bit_length(significand)
    field = length - 1 + exponent + f.bias
    if field < f.lowest:
        if f.subnormals == 0:
            return zero_code(sign, f), 0
        field = f.lowest
    shift = field - f.bias - f.man_bits - exponent
    if shift > length:
        significand, shift = 1, 2
    rounded = abs(round_shift(-significand if sign else significand, shift, mode))
    # a rounded significand of 2**(man_bits + 1) carries into the field, and a subnormal one lacks the hidden bit: one sum
    return pack(sign, ((field - 1) << f.man_bits) + rounded, mode, f)


def add_exact(sign_a, a, exp_a, sign_b, b, exp_b, mode):
    """add_exact = (sign, significand, exponent) of the sum: exact, or with a sticky last bit that rounds as the exact sum.

    int64: a, b < 2**48. The term of the larger exponent moves left by all it can: A < 2**61. If that aligns them, the
    sum is exact and below 2**62. Else 2**60 <= A, A is even, and the other is at most half of its 2**48 after a sticky
    right shift. The exact sum and the sticky one then lie between the same two even numbers, and every boundary of a
    rounding to 24 bits or fewer is even, since the sum has 59 bits or more: both round alike.
    mode: only the sign of an exact zero depends on it.
    """
    if (a == 0) | ((exp_a < exp_b) & (b != 0)):
        sign_a, a, exp_a, sign_b, b, exp_b = sign_b, b, exp_b, sign_a, a, exp_a
    if b == 0:
        if (a != 0) | (sign_a == sign_b):
            return sign_a, a, exp_a
        return int(mode == Rounding.FLOOR), 0, exp_a
    left = min(exp_a - exp_b, 61 - bit_length(a))
    a <<= left
    b = shift_right_sticky(b, exp_a - exp_b - left)
    total = (-a if sign_a else a) + (-b if sign_b else b)
    if total == 0:
        return int(mode == Rounding.FLOOR), 0, exp_a
    return int(total < 0), abs(total), exp_a - left


def add_infinities(infinite_a, sign_a, infinite_b, sign_b, f):
    """Return the code of a sum with an infinite term: infinity with its sign, NaN if two of them disagree."""
    if infinite_a & infinite_b & (sign_a != sign_b):
        return nan_code(f)
    return infinity_code(sign_a if infinite_a else sign_b, f)


def add_floats(a, of_a, b, of_b, f, mode):
    """add_floats(a, b) = (code, event) of round(a + b) in format f.

    of_a, of_b, f: FloatLayout of a, of b and of the result, three formats that need not agree.
    """
    if is_nan(a, of_a) | is_nan(b, of_b):
        return nan_code(f), 0
    sign_a, m_a, exp_a = unpack(a, of_a)
    sign_b, m_b, exp_b = unpack(b, of_b)
    if is_infinite(a, of_a) | is_infinite(b, of_b):
        return add_infinities(is_infinite(a, of_a), sign_a, is_infinite(b, of_b), sign_b, f), 0
    sign, significand, exponent = add_exact(sign_a, m_a, exp_a, sign_b, m_b, exp_b, mode)
    return round_pack(sign, significand, exponent, mode, f)


def multiply_floats(a, of_a, b, of_b, f, mode):
    """multiply_floats(a, b) = (code, event) of round(a * b) in format f. The exact product is below 2**48."""
    if is_nan(a, of_a) | is_nan(b, of_b):
        return nan_code(f), 0
    sign_a, m_a, exp_a = unpack(a, of_a)
    sign_b, m_b, exp_b = unpack(b, of_b)
    if is_infinite(a, of_a) | is_infinite(b, of_b):
        if (m_a == 0) | (m_b == 0):
            return nan_code(f), 0
        return infinity_code(sign_a ^ sign_b, f), 0
    return round_pack(sign_a ^ sign_b, m_a * m_b, exp_a + exp_b, mode, f)


def multiply_add_floats(a, of_a, b, of_b, c, of_c, f, mode):
    """multiply_add_floats(a, b, c) = (code, event) of round(a * b + c) in format f: the exact product, one rounding."""
    if is_nan(a, of_a) | is_nan(b, of_b) | is_nan(c, of_c):
        return nan_code(f), 0
    sign_a, m_a, exp_a = unpack(a, of_a)
    sign_b, m_b, exp_b = unpack(b, of_b)
    sign_c, m_c, exp_c = unpack(c, of_c)
    sign = sign_a ^ sign_b
    infinite = is_infinite(a, of_a) | is_infinite(b, of_b)
    if infinite & ((m_a == 0) | (m_b == 0)):
        return nan_code(f), 0
    if infinite | is_infinite(c, of_c):
        return add_infinities(infinite, sign, is_infinite(c, of_c), sign_c, f), 0
    sign, significand, exponent = add_exact(sign, m_a * m_b, exp_a + exp_b, sign_c, m_c, exp_c, mode)
    return round_pack(sign, significand, exponent, mode, f)


def cast_float(code, of_code, f, mode):
    """cast_float(code) = (code, event) of the same value rounded to format f."""
    if is_nan(code, of_code):
        return nan_code(f), 0
    sign, significand, exponent = unpack(code, of_code)
    if is_infinite(code, of_code):
        return infinity_code(sign, f), 0
    return round_pack(sign, significand, exponent, mode, f)


def float_from_fixed(code, fractional_length, f, mode):
    """float_from_fixed(code) = (code, event) of code * 2**-fractional_length in format f. int64: |code| < 2**62."""
    return round_pack(int(code < 0), abs(code), -fractional_length, mode, f)


def fixed_from_float(code, of_code, fractional_length, mode, overflow, bits, signed, low, high):
    """fixed_from_float(code) = (code, event) of the value * 2**fractional_length, rounded, then fit into low..high.

    NaN gives 0 and infinity the end of its sign, whatever the overflow mode; both are events.
    """
    if is_nan(code, of_code):
        return 0, 1
    sign, significand, exponent = unpack(code, of_code)
    if is_infinite(code, of_code):
        return (low if sign else high), 1
    return fixed_from_exact(sign, significand, exponent + fractional_length, 0, mode, overflow, bits, signed, low, high)


def fixed_from_exact(sign, significand, left, beyond, mode, overflow, bits, signed, low, high):
    """fixed_from_exact = (code, event) of (-1)**sign * significand * 2**left, rounded, then fit into low..high.

    beyond: 1 if bits of the magnitude from 2**58 on are left out of the significand (then bits <= 58 and left >= -2).
    int64: bits <= 62, significand < 2**62. What reaches 2**62 is beyond every register: only its low 62 bits count, and only
    under WRAP. Python ints: no bound.
    """
    length = bit_length(significand)
    if -left > length:  # under half a unit, whatever it is
        significand, left, length = min(significand, 1), -2, min(length, 1)
    elif significand == 0:
        left = 0
    if (beyond == 1) | (length + left > 62):
        if (overflow != Overflow.WRAP) & (overflow != Overflow.TRAP):
            return (low if sign else high), 1
        if left >= 0:
            kept = (significand & ((1 << max(62 - left, 0)) - 1)) << min(left, 62)
            return fit(-kept if sign else kept, overflow, bits, signed, low, high), 1
    rounded = round_shift(-significand if sign else significand, -left, mode)
    code, event = finish_rounded(rounded, overflow, Activation.NONE, bits, signed, low, high)
    return code, event | beyond
